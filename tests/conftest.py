"""Claims: ``@pytest.mark.claim(id)`` marks the test of a claim, the fixture `claim` measures it.

``pytest --claims FILE`` writes what was measured as JSON, one record a claim, in the order of the tests.
"""

import json
import math
from pathlib import Path

import pytest

CHECKS = pytest.StashKey[list]()
RECORDS = pytest.StashKey[dict]()


class Claim:
    """Compares measured numbers with what a claim promises, and keeps both for the page."""

    def __init__(self):
        self.checks = []

    def at_most(self, name, measured, bound):
        """Assert measured <= bound."""
        self._check(name, measured, "at most", bound, None, lambda value: value <= bound)

    def at_least(self, name, measured, bound):
        """Assert measured >= bound."""
        self._check(name, measured, "at least", bound, None, lambda value: value >= bound)

    def equal(self, name, measured, expected, tolerance):
        """Assert |measured - expected| <= tolerance."""
        self._check(
            name, measured, "equal", expected, tolerance, lambda value: abs(value - expected) <= tolerance
        )

    def _check(self, name, measured, relation, expected, tolerance, holds):
        measured, expected, tolerance = plain(measured), plain(expected), plain(tolerance)
        passed = measured is not None and bool(holds(measured))
        self.checks.append(
            {
                "name": name,
                "relation": relation,
                "measured": measured,
                "expected": expected,
                "tolerance": tolerance,
                "passed": passed,
            }
        )
        within = "" if tolerance is None else f" within {tolerance}"
        assert passed, f"{name}: measured {measured}, promised {relation} {expected}{within}"


def plain(number):
    """A Python int or float of a scalar of any kind; None when it is not finite, which JSON cannot say."""
    if number is None:
        return None
    value = number.item() if hasattr(number, "item") else number
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a claim compares real numbers, got {value!r}")
    return value if math.isfinite(value) else None


@pytest.fixture
def claim(request):
    if request.node.get_closest_marker("claim") is None:
        pytest.fail("a test that uses `claim` needs the mark pytest.mark.claim(id)")
    measured = Claim()
    request.node.stash[CHECKS] = measured.checks
    return measured


def pytest_addoption(parser):
    parser.addoption("--claims", type=Path, metavar="FILE", help="write what the claims measured as JSON")


def pytest_configure(config):
    config.addinivalue_line("markers", "claim(id): the one test that asserts this claim of the book")
    # pytest-xdist knows it too; the tests also run without.
    config.addinivalue_line("markers", "xdist_group(name): tests that stay in one process")
    config.stash[RECORDS] = {}


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    seen = {}
    for item in items:
        # pytest-xdist 3.8 writes the group of a test where pytest 9.2 no longer reads it (pytest-xdist#1386).
        grouped = vars(item).get("_nodeid", item.nodeid)
        if grouped != item.nodeid:
            item._id = type(item._id).parse(grouped)
        for mark in item.iter_markers("claim"):
            (id,) = mark.args
            if id in seen:
                raise pytest.UsageError(f"claim {id} has two tests: {seen[id]} and {item.nodeid}")
            seen[id] = item.nodeid


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    mark = item.get_closest_marker("claim")
    if mark is None:
        return report
    checks = item.stash.get(CHECKS, [])
    if report.when == "call" and report.passed and not checks:
        report.outcome = "failed"
        report.longrepr = "the test of a claim has to measure something: claim.at_most, at_least or equal"
    record = item.config.stash[RECORDS].setdefault(mark.args[0], {"passed": True})
    headline = checks[0] if checks else {}
    path, line, _ = item.location
    record |= {
        "id": mark.args[0],
        "test": item.nodeid,
        "source": Path(path).as_posix(),
        "line": line + 1,
        "passed": record["passed"] and report.passed,
        **{key: headline.get(key) for key in ("measured", "expected", "tolerance")},
        "checks": checks,
    }
    return report


def pytest_sessionfinish(session):
    file = session.config.getoption("claims")
    if file is None:
        return
    records = list(session.config.stash[RECORDS].values())
    text = json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    # An unchanged file keeps its date, and the pages that depend on it stay as they are.
    if not file.exists() or file.read_text("utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
