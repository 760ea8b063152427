"""The built book in a real browser, served on the loopback interface.

Without Chromium or without the book these tests are skipped; with OPTLAB_REQUIRE_BROWSER=1 they fail.
"""

import json
import os
import shutil
import threading
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
    "--proxy-server=127.0.0.1:9",  # where nobody answers; only this machine is reached without it
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


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # one connection for many files

    def end_headers(self):
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="session")
def site(book):
    """Address of the book on a free port of this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=book)) as server:
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


def new_profile(browser):
    return browser.new_context(viewport=DESKTOP, color_scheme="light", reduced_motion="reduce")


@pytest.fixture(scope="session")
def profile(browser):
    """A profile for all tests that do not change settings: what was fetched once is there."""
    with new_profile(browser) as profile:
        yield profile


@pytest.fixture
def fresh_profile(browser):
    with new_profile(browser) as profile:
        yield profile


class Visit:
    """A tab, and what happened since it opened a page: errors, and requests to other origins, all in vain."""

    def __init__(self, profile):
        self.page, self.address, self.elsewhere, self.errors = profile.new_page(), "", [], []
        self.page.on("request", self._note)
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, address):
        self.address, self.elsewhere, self.errors = address, [], []
        self.page.set_viewport_size(DESKTOP)
        self.page.emulate_media(color_scheme="light")
        self.page.goto(address)
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self

    def _note(self, request):
        home = "file:" if self.address.startswith("file:") else "/".join(self.address.split("/")[:3])
        if not request.url.startswith((home, "data:", "blob:")):
            self.elsewhere.append(request.url)


@pytest.fixture(scope="session")
def open_once(profile, site):
    """Open a page of the book, unless it is the one that was opened last."""
    visit = Visit(profile)

    def open_(name):
        address = f"{site}/{name}"
        return visit if visit.address == address else visit.open(address)

    return open_


@pytest.fixture(scope="module")
def visit(request, open_once):
    """One page of the book after the other."""
    return open_once(request.param)


@pytest.fixture
def open_page(profile):
    """Open an address for one test."""
    opened = []

    def open_(address, profile=profile):
        opened.append(Visit(profile))
        return opened[-1].open(address)

    yield open_
    for visit in opened:
        visit.page.close()


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
