"""The built book in a real browser, served on the loopback interface.

Without Chromium or without the book these tests are skipped; with OPTLAB_REQUIRE_BROWSER=1 they fail.
"""

import json
import os
import shutil
import threading
from dataclasses import dataclass, field
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HTML = ROOT / "book" / "_build" / "html"
AXE = ROOT / "book" / "node_modules" / "axe-core" / "axe.min.js"

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESKTOP = {"width": 1280, "height": 900}
NOT_PAGES = ("_static", "_sources", "mathjax3")


def pages():
    """Names of all pages of the built book; its index only leads on to the first of them."""
    found = (path.relative_to(HTML) for path in sorted(HTML.rglob("*.html")))
    return [path.as_posix() for path in found if path.parts[0] not in (*NOT_PAGES, "index.html")]


def chapters():
    """Names of the pages that were executed."""
    return [f"{path.stem}.html" for path in sorted(HTML.glob("_sources/*.ipynb"))]


def pytest_generate_tests(metafunc):
    def grouped(names):
        # All tests of a page stay in one process, which opens it once.
        return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]

    if "chapter" in metafunc.fixturenames:
        metafunc.parametrize("chapter", grouped(chapters()))
    if "visit" in metafunc.fixturenames:
        metafunc.parametrize("visit", grouped(pages()), indirect=True, scope="module")


def missing(reason):
    if os.environ.get("OPTLAB_REQUIRE_BROWSER", "0") not in ("", "0"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def book():
    if not (HTML / "index.html").exists():
        missing("the book is not built; run: make book")
    return HTML


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site(book):
    """Address of the book on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=book)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        missing("Chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that was opened, and what happened on the way."""

    page: object
    elsewhere: list = field(default_factory=list)
    errors: list = field(default_factory=list)


def open_in(browser, address):
    """Open an address in a fresh profile; requests to other origins are noted and not let through."""
    context = browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")
    visit = Visit(context.new_page())
    origin = "file://" if address.startswith("file:") else "/".join(address.split("/")[:3])

    def guard(route):
        if route.request.url.startswith((origin, "data:", "blob:")):
            route.continue_()
        else:
            visit.elsewhere.append(route.request.url)
            route.abort()

    context.route("**/*", guard)
    visit.page.on("console", lambda m: visit.errors.append(m.text) if m.type == "error" else None)
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.goto(address)
    visit.page.evaluate("() => window.MathJax?.startup?.promise")
    return visit


@pytest.fixture(scope="module")
def visit(request, browser, site):
    """One page of the book, opened once for all tests of the module."""
    visit = open_in(browser, f"{site}/{request.param}")
    yield visit
    visit.page.context.close()


@pytest.fixture
def open_page(browser):
    opened = []

    def open_(address):
        opened.append(open_in(browser, address))
        return opened[-1]

    yield open_
    for visit in opened:
        visit.page.context.close()


@cache
def axe_source():
    if not AXE.exists():
        missing("axe-core is not installed; run: make book")
    return AXE.read_text("utf-8")


@pytest.fixture
def axe():
    """Accessibility faults of a page, serious and critical, as {rule: [places]}."""

    def run(page):
        page.evaluate(axe_source())
        result = page.evaluate("axe.run({resultTypes: ['violations']})")
        return {
            fault["id"]: [json.dumps(node["target"]) for node in fault["nodes"]]
            for fault in result["violations"]
            if fault["impact"] in ("serious", "critical")
        }

    return run
