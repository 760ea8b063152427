"""The list of claims, the claims in the text and the claims in the tests: do they agree?

Nothing here needs the book to be built. The tests and the extension `claims` both use it.
"""

import ast
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

BOOK = Path(__file__).resolve().parent.parent
ROOT = BOOK.parent
RESULTS = BOOK / "_build" / "claims.json"

DIRECTIVE = re.compile(r"^:{3,}\{claim\}[ \t]*(\S*)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Chapter:
    """A chapter, written or planned; `open` and `done` map the ids of its claims to their topics."""

    name: str
    title: str
    about: str
    open: dict[str, str]
    done: dict[str, str]


def chapters(book=BOOK):
    """The chapters of claims.yml in reading order."""
    listed = yaml.safe_load((book / "claims.yml").read_text(encoding="utf-8"))
    return [
        Chapter(name, row["title"], row["about"], row.get("open", {}), row.get("done", {}))
        for name, row in listed.items()
    ]


def claims_in_text(book=BOOK):
    """Pairs (id, chapter) of all claim boxes in the pages."""
    return [
        (id, page.stem)
        for page in sorted(book.glob("*.md"))
        for id in DIRECTIVE.findall(page.read_text("utf-8"))
    ]


def claims_in_tests(folder=ROOT / "tests" / "claims"):
    """Pairs (id, "file::function") of all functions decorated with ``@pytest.mark.claim(id)``."""
    found = []
    for file in sorted(folder.glob("test_*.py")):
        for function in ast.walk(ast.parse(file.read_text("utf-8"))):
            for decorator in getattr(function, "decorator_list", []):
                match decorator:
                    case ast.Call(func=ast.Attribute(attr="claim"), args=[ast.Constant(value=id)]):
                        found.append((id, f"{file.name}::{function.name}"))
    return found


def results(file=RESULTS):
    """What `make claims` measured, by id; nothing when it has not run yet."""
    if not file.exists():
        return {}
    return {row["id"]: row for row in json.loads(file.read_text("utf-8"))}


def disagreements(chapters, text, tests):
    """Sentences that say where the list, the text and the tests differ; none if they agree."""
    home = {id: chapter for chapter in chapters for id in [*chapter.open, *chapter.done]}
    done = {id for chapter in chapters for id in chapter.done}
    in_text, in_tests = dict(text), dict(tests)
    found = []
    for where, pairs in (("text", text), ("tests", tests)):
        counts = Counter(id for id, _ in pairs)
        found += [f"{id} occurs {n} times in the {where}" for id, n in counts.items() if n > 1]
    listed = Counter(id for chapter in chapters for id in [*chapter.open, *chapter.done])
    found += [f"{id} occurs {n} times in claims.yml" for id, n in listed.items() if n > 1]
    for id in sorted(done | in_text.keys() | in_tests.keys()):
        if id not in home:
            found.append(f"{id} is not listed in claims.yml ({in_text.get(id) or in_tests[id]})")
            continue
        if id not in in_text:
            found.append(f"{id} is not stated in chapter {home[id].name}")
        elif in_text[id] != home[id].name:
            found.append(f"{id} belongs to chapter {home[id].name}, not to {in_text[id]}")
        if id not in in_tests:
            found.append(f"{id} is asserted by no test")
        if id not in done:
            found.append(f"{id} is listed as open in claims.yml")
    return found


def failures(tests, results):
    """Sentences that name the claims that were not measured or not confirmed."""
    found = []
    for id, test in tests:
        if id not in results:
            found.append(f"{id} was not measured ({test}); run: make claims")
        elif not results[id]["passed"]:
            found.append(f"{id} failed ({test})")
    return found


def digits(number, tolerance):
    """Significant digits of a number promised within a tolerance: from 3 to 8, so that the last one tells."""
    if not (tolerance and number and math.isfinite(number)):
        return 3
    return min(max(3, math.ceil(math.log10(abs(number) / tolerance)) + 1), 8)


def written(number, digits=3):
    """A number for people, as HTML: 108, 0.871, 1,234, 2.3 × 10<sup>−12</sup>."""
    if number is None:
        return "not finite"
    if isinstance(number, int):
        text = f"{number:,}"
    elif number == 0 or 1e-3 <= abs(number) < 1e3:
        text = f"{number:.{digits}g}"
    elif 1e3 <= abs(number) < 1e6:
        text = f"{number:,.{max(0, digits - 4)}f}"
    else:
        mantissa, exponent = f"{number:.{digits - 1}e}".split("e")
        mantissa = f"{float(mantissa):g}"
        power = f"10<sup>{int(exponent)}</sup>"
        text = power if mantissa == "1" else f"-{power}" if mantissa == "-1" else f"{mantissa} × {power}"
    return text.replace("-", "−")
