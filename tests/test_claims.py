"""The list of claims, the text and the tests agree, and disagreements would be seen."""

import json
from pathlib import Path

import ledger
import numpy  # noqa: F401 (loaded here, because the inner pytest runs cannot load it twice)
import pytest

pytest_plugins = ["pytester"]


def test_list_text_and_tests_agree():
    chapters = ledger.chapters()
    assert sum(len(chapter.open) + len(chapter.done) for chapter in chapters) > 100
    assert ledger.disagreements(chapters, ledger.claims_in_text(), ledger.claims_in_tests()) == []


CHAPTERS = [
    ledger.Chapter("bowls", "Bowls", "", {"B-2": "planned"}, {"B-1": "written"}),
    ledger.Chapter("saddles", "Saddles", "", {"S-1": "planned"}, {}),
]
TEXT, TESTS = [("B-1", "bowls")], [("B-1", "test_bowls.py::test_one")]


@pytest.mark.parametrize(
    ("text", "tests", "expected"),
    [
        (TEXT, TESTS, []),
        ([], TESTS, ["B-1 is not stated in chapter bowls"]),
        (TEXT, [], ["B-1 is asserted by no test"]),
        ([], [], ["B-1 is not stated in chapter bowls", "B-1 is asserted by no test"]),
        (TEXT * 2, TESTS, ["B-1 occurs 2 times in the text"]),
        (TEXT, TESTS * 2, ["B-1 occurs 2 times in the tests"]),
        ([("B-1", "saddles")], TESTS, ["B-1 belongs to chapter bowls, not to saddles"]),
        ([*TEXT, ("X-9", "bowls")], TESTS, ["X-9 is not listed in claims.yml (bowls)"]),
        (
            TEXT,
            [*TESTS, ("X-9", "test_x.py::test_x")],
            ["X-9 is not listed in claims.yml (test_x.py::test_x)"],
        ),
        (
            [*TEXT, ("B-2", "bowls")],
            TESTS,
            ["B-2 is asserted by no test", "B-2 is listed as open in claims.yml"],
        ),
    ],
)
def test_disagreements_are_named(text, tests, expected):
    assert ledger.disagreements(CHAPTERS, text, tests) == expected


def test_an_id_listed_twice_is_named():
    twice = [*CHAPTERS, ledger.Chapter("more-bowls", "", "", {"B-2": "again"}, {})]
    assert ledger.disagreements(twice, TEXT, TESTS) == ["B-2 occurs 2 times in claims.yml"]


def test_claims_are_found_in_text_and_tests(tmp_path):
    (tmp_path / "bowls.md").write_text(
        "# Bowls\n\n:::{claim} B-1\nTrue.\n:::\n\n::::{claim} B-2\nAlso.\n::::\n"
    )
    (tmp_path / "test_bowls.py").write_text(
        "import pytest\n"
        "@pytest.mark.claim('B-1')\ndef test_one(claim):\n    pass\n"
        "def test_other():\n    pass\n"
    )
    assert ledger.claims_in_text(tmp_path) == [("B-1", "bowls"), ("B-2", "bowls")]
    assert ledger.claims_in_tests(tmp_path) == [("B-1", "test_bowls.py::test_one")]


def test_failures_are_named():
    assert ledger.failures(TESTS, {}) == ["B-1 was not measured (test_bowls.py::test_one); run: make claims"]
    assert ledger.failures(TESTS, {"B-1": {"passed": False}}) == ["B-1 failed (test_bowls.py::test_one)"]
    assert ledger.failures(TESTS, {"B-1": {"passed": True}}) == []


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0, "0"),
        (108, "108"),
        (1000000, "1,000,000"),
        (0.8712, "0.871"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (2.3e-12, "2.3 × 10<sup>−12</sup>"),
        (1e-10, "10<sup>−10</sup>"),
        (-1e-10, "−10<sup>−10</sup>"),
        (9.9999e-9, "10<sup>−8</sup>"),
        (3.14e20, "3.14 × 10<sup>20</sup>"),
        (0.0, "0"),
        (-0.5, "−0.5"),
        (None, "not finite"),
    ],
)
def test_numbers_are_written_for_people(number, expected):
    assert ledger.written(number) == expected


@pytest.mark.parametrize(
    ("number", "tolerance", "expected"),
    [
        (9.9004983, 9.9e-9, "9.9004983"),
        (2.0, 0.1, "2"),
        (1.987, 0.05, "1.99"),
        (298.37, 0.1, "298.37"),
        (12345.678, 0.01, "12,345.6780"),
        (2.0, None, "2"),
        (0.0, 1e-9, "0"),
        (6, 0, "6"),
    ],
)
def test_a_close_promise_shows_more_digits(number, tolerance, expected):
    assert ledger.written(number, ledger.digits(number, tolerance)) == expected


@pytest.fixture
def run_claims(pytester):
    """Run a test file under the claims plugin; returns the outcome and the records."""
    pytester.makeconftest(Path(__file__).with_name("conftest.py").read_text("utf-8"))

    def run(body):
        pytester.makepyfile(test_it="import numpy as np\nimport pytest\n" + body)
        outcome = pytester.runpytest("--claims", "out/claims.json")
        file = pytester.path / "out" / "claims.json"
        return outcome, json.loads(file.read_text("utf-8")) if file.exists() else None

    return run


def test_measured_values_are_recorded(run_claims):
    outcome, records = run_claims(
        "@pytest.mark.claim('B-1')\n"
        "def test_one(claim):\n"
        "    claim.at_most('error', np.float32(0.25), 0.5)\n"
        "    claim.at_least('steps', np.int64(7), 7)\n"
        "    claim.equal('slope', 3.05, 3, 0.1)\n"
    )
    outcome.assert_outcomes(passed=1)
    (record,) = records
    checks = record.pop("checks")
    assert record == {
        "id": "B-1",
        "test": "test_it.py::test_one",
        "source": "test_it.py",
        "line": 3,
        "passed": True,
        "measured": 0.25,
        "expected": 0.5,
        "tolerance": None,
    }
    assert [
        (c["name"], c["relation"], c["measured"], c["expected"], c["tolerance"], c["passed"]) for c in checks
    ] == [
        ("error", "at most", 0.25, 0.5, None, True),
        ("steps", "at least", 7, 7, None, True),
        ("slope", "equal", 3.05, 3, 0.1, True),
    ]


@pytest.mark.parametrize(
    "check",
    [
        "claim.at_most('x', 1.1, 1)",
        "claim.at_least('x', 0.9, 1)",
        "claim.equal('x', 1.2, 1, 0.1)",
        "claim.at_most('x', float('nan'), 1)",
        "claim.at_most('x', -np.inf, 1)",
        "claim.equal('x', np.ones(1), 1, np.nan)",
        "claim.equal('x', 1 + 0j, 1, 1)",
        "claim.at_most('x', np.ones(2), 1)",
        "None",
        "pytest.skip('not today')",
    ],
)
def test_a_claim_that_does_not_hold_is_recorded_as_such(run_claims, check):
    outcome, records = run_claims(f"@pytest.mark.claim('B-1')\ndef test_one(claim):\n    {check}\n")
    assert outcome.parseoutcomes().get("passed", 0) == 0
    assert [record["passed"] for record in records] == [False]


def test_one_claim_has_one_test(run_claims):
    outcome, _ = run_claims(
        "@pytest.mark.claim('B-1')\n@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_one(claim, n):\n    claim.at_most('n', n, 2)\n"
    )
    assert outcome.ret == pytest.ExitCode.USAGE_ERROR
    outcome.stderr.fnmatch_lines(["*claim B-1 has two tests*"])


def test_an_unmarked_test_cannot_measure(run_claims):
    outcome, _ = run_claims("def test_one(claim):\n    claim.at_most('n', 1, 2)\n")
    outcome.assert_outcomes(errors=1)


def test_unchanged_results_leave_the_file_alone(run_claims, pytester):
    body = "@pytest.mark.claim('B-1')\ndef test_one(claim):\n    claim.at_most('n', 1, 2)\n"
    run_claims(body)
    file = pytester.path / "out" / "claims.json"
    before = file.stat().st_mtime_ns
    run_claims(body)
    assert file.stat().st_mtime_ns == before
    run_claims(body.replace("1, 2", "0, 2"))
    assert file.stat().st_mtime_ns > before
