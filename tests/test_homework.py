"""Homework: solutions pass all tests, what a student starts with few, and hidden tests see more."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forks import otter

pytest.importorskip("otter", reason="otter-grader is not installed (extra: homework)")
jupytext = pytest.importorskip("jupytext", reason="jupytext is not installed (extra: homework)")

MASTERS = sorted((Path(__file__).parents[1] / "book" / "homework").glob("*.md"))

# A mistake that the tests a student sees let pass.
MISTAKES = {
    "mini-batches": ("if not replacement:", "if False:"),
    "momentum": ("if before == 0:", "if False:"),
    "adaptive-rates": ("if nu <= 4:", "if False:"),
    "cost-functions": ("np.exp(z - z.max(axis=-1, keepdims=True))", "np.exp(z)"),
    "other-normalizations": ("if not W.any():", "if False:"),
    "sgd": ("if not above.any():", "if False:"),
    "critical-points": ("if not v.any():", "if False:"),
    "quasi-newton": ("if s @ y >= 0.2 * yMy:", "if False:"),
    "conjugate-gradient": ("if not g.any():", "if False:"),
    "newton": ("if not g.any():", "if False:"),
    "ill-conditioning": ("if curve <= 0:", "if False:"),
    "cliffs": ("largest = max(abs(g).max() for g in grads)", "largest = 1.0"),
    "batch-normalization": (
        "var = ((x - mean) ** 2).mean(axis=axes, keepdims=True)",
        "var = (x**2).mean(axis=axes, keepdims=True) - mean**2",
    ),
    "initialization": ("if n_in < n_out:", "if False:"),
    "why-batch-norm-works": ("if not c.any():", "if False:"),
}


# The tests of one assignment share what is generated, so they stay in one process.
PARAMS = [pytest.param(path, id=path.stem, marks=pytest.mark.xdist_group(path.stem)) for path in MASTERS]


@pytest.fixture(scope="module", params=PARAMS)
def assignment(request, tmp_path_factory):
    """The folder of a generated assignment: student/, autograder/. otter runs all tests on the solutions,
    hidden ones too, and fails if one fails."""
    folder = tmp_path_factory.mktemp(request.param.stem)
    notebook = folder / f"{request.param.stem}.ipynb"
    jupytext.write(jupytext.read(request.param), notebook)
    otter("assign", notebook, folder)
    return folder


@pytest.fixture(scope="module")
def marks(assignment, tmp_path_factory):
    """Points and possible points of what a student starts with, and of the solutions with a mistake."""
    (student,) = assignment.glob("student/*.ipynb")
    (solutions,) = assignment.glob("autograder/*.ipynb")
    right, wrong = MISTAKES[solutions.stem]
    source = solutions.read_text("utf-8")
    assert right in source
    mistaken = tmp_path_factory.mktemp("mistaken") / solutions.name
    mistaken.write_text(source.replace(right, wrong), "utf-8")
    (autograder,) = assignment.glob("autograder/*.zip")

    def grade(submission):
        folder = submission.parent
        otter("run", "--autograder", autograder, "--output-dir", folder, "--no-logo", submission)
        tests = json.loads((folder / "results.json").read_text("utf-8"))["tests"]
        return [sum(test.get(key, 0) for test in tests) for key in ("score", "max_score")]

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(("student", "mistaken"), pool.map(grade, (student, mistaken)), strict=True))


def test_student_version_has_no_solutions(assignment):
    (notebook,) = assignment.glob("student/*.ipynb")
    source = notebook.read_text("utf-8")
    assert "SOLUTION" not in source
    assert "HIDDEN" not in source


def test_student_version_has_no_marks(marks):
    points, possible = marks["student"]
    assert points < possible / 4


def test_hidden_tests_find_what_public_ones_do_not(marks):
    points, possible = marks["mistaken"]
    assert possible / 2 < points < possible
