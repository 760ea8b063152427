"""Homework: solutions get full marks, what a student starts with none, and hidden tests see more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("otter", reason="otter-grader is not installed (extra: homework)")
jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed (extra: homework)")

MASTERS = sorted((Path(__file__).parents[1] / "book" / "homework").glob("*.md"))

# A mistake that the tests a student sees let pass.
MISTAKES = {
    "critical-points": ("if not v.any():", "if False:"),
    "quasi-newton": ("if s @ y >= 0.2 * yMy:", "if False:"),
    "conjugate-gradient": ("if not g.any():", "if False:"),
    "newton": ("if not g.any():", "if False:"),
    "ill-conditioning": ("if curve <= 0:", "if False:"),
    "cliffs": ("largest = max(abs(g).max() for g in grads)", "largest = 1.0"),
}


def otter(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "otter", *map(str, arguments)], capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.fixture(scope="module", params=MASTERS, ids=lambda path: path.stem)
def assignment(request, tmp_path_factory):
    """The folder of a generated assignment: student/, autograder/; otter runs all tests on the solutions."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    notebook = folder / f"{request.param.stem}.ipynb"
    jupytext.write(jupytext.read(request.param), notebook)
    otter("assign", notebook, folder)
    return folder


def grade(assignment, submission):
    """Points and possible points of a submitted notebook, public and hidden tests."""
    (autograder,) = assignment.glob("autograder/*.zip")
    otter("run", "--autograder", autograder, "--output-dir", submission.parent, "--no-logo", submission)
    tests = json.loads((submission.parent / "results.json").read_text("utf-8"))["tests"]
    return [sum(test.get(key, 0) for test in tests) for key in ("score", "max_score")]


def test_solutions_get_full_marks(assignment):
    (notebook,) = assignment.glob("autograder/*.ipynb")
    points, possible = grade(assignment, notebook)
    assert points == possible > 0


def test_student_version_has_no_solutions_and_no_marks(assignment):
    (notebook,) = assignment.glob("student/*.ipynb")
    source = notebook.read_text("utf-8")
    assert "SOLUTION" not in source
    assert "HIDDEN" not in source
    points, possible = grade(assignment, notebook)
    assert points < possible / 4


def test_hidden_tests_find_what_public_ones_do_not(assignment, tmp_path):
    (notebook,) = assignment.glob("autograder/*.ipynb")
    right, wrong = MISTAKES[notebook.stem]
    source = notebook.read_text("utf-8")
    assert right in source
    submission = tmp_path / notebook.name
    submission.write_text(source.replace(right, wrong), "utf-8")
    points, possible = grade(assignment, submission)
    assert possible / 2 < points < possible
