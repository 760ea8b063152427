"""What a reader does with the book: play, switch to dark, search, download, follow a claim to its test."""

import json
import re

import jupytext
import ledger
import nbformat
import pytest


def test_dark_mode_can_be_switched(site, open_page, fresh_profile):
    page = open_page(f"{site}/intro.html", fresh_profile).page
    color = "getComputedStyle(document.body).backgroundColor"
    seen = {page.evaluate("document.documentElement.dataset.theme"): page.evaluate(color)}
    for _ in range(2):
        page.locator(".theme-switch-button:visible").first.click()
        seen[page.evaluate("document.documentElement.dataset.theme")] = page.evaluate(color)
    assert set(seen) == {"light", "dark"}
    assert len(set(seen.values())) == 2


def test_search_finds_a_chapter(chapter, site, open_page):
    words = chapter.removesuffix(".html").replace("-", "+")
    visit = open_page(f"{site}/search.html?q={words}")
    visit.page.locator(f'#search-results a[href*="{chapter}"]').first.wait_for()
    assert visit.errors == []


@pytest.mark.parametrize("how", ["http", "file"])
def test_chapter_plays_its_live_figure(chapter, how, book, open_once, open_page):
    visit = open_once(chapter) if how == "http" else open_page((book / chapter).as_uri())
    page = visit.page
    player = page.locator(".optlab-player").first
    player.scroll_into_view_if_needed()
    output, slider = player.locator("output"), player.locator("input")
    play = player.locator("[data-go=play]")

    def visible():
        shown = "(parts) => parts.map((part) => part.style.display !== 'none')"
        return player.locator("[data-frame]").evaluate_all(shown)

    everything = visible()
    last = int(slider.get_attribute("max"))
    assert int(slider.input_value()) == last

    player.get_by_role("button", name="First frame").click()
    at_start = output.inner_text()
    assert slider.input_value() == "0"
    assert visible() != everything

    player.get_by_role("button", name="One frame forward").click()
    assert output.inner_text() != at_start
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert output.inner_text() == at_start

    play.focus()
    page.keyboard.press("Enter")
    assert play.get_attribute("aria-label") == "Pause"
    page.wait_for_function("(slider) => Number(slider.value) > 0", arg=slider.element_handle())
    page.keyboard.press("Enter")
    assert play.get_attribute("aria-label") == "Play"

    player.get_by_role("button", name="Last frame").click()
    assert visible() == everything
    assert int(slider.input_value()) == last
    assert visit.errors == []
    assert page.locator("mjx-container").count() > 0


def test_chapter_is_offered_as_notebook(chapter, open_once, book):
    visit = open_once(chapter)
    link = visit.page.locator("a:has-text('.ipynb')").first
    response = visit.page.request.get(visit.page.evaluate("(a) => a.href", link.element_handle()))
    assert response.ok
    notebook = nbformat.reads(response.text(), as_version=4)
    nbformat.validate(notebook)
    assert json.loads(response.text())["metadata"]["kernelspec"]["name"] == "python3"
    source = jupytext.read(book.parents[1] / chapter.replace(".html", ".md"))
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert code == [cell.source for cell in source.cells if cell.cell_type == "code"]
    assert code


def test_each_claim_leads_to_its_test(chapter, open_once, open_page):
    page = open_once(chapter).page
    links = page.locator(".claim .claim-test a")
    addresses = links.evaluate_all("(links) => links.map((a) => [a.href, a.textContent])")
    assert bool(addresses) == (chapter.removesuffix(".html") in {c.name for c in ledger.chapters() if c.done})
    sources = {}  # one for each file: on an open page the browser only moves to the line
    for address, name in addresses:
        file = address.partition("#")[0]
        source = sources.get(file) or sources.setdefault(file, open_page(address).page)
        source.goto(address)
        target = source.locator(".test-source span:target")
        shown = target.evaluate("(line) => [line.textContent, line.nextElementSibling.textContent]")
        assert re.search(rf"^def {name}\(|pytest\.mark\.claim", "".join(shown))


def test_ledger_shows_every_claim(open_once):
    page = open_once("claims.html").page
    chapters = ledger.chapters()
    boxes = page.locator(".claim .admonition-title").all_inner_texts()
    assert boxes == [f"Claim {id}" for chapter in chapters for id in chapter.done]
    listed = page.locator("main li strong").all_inner_texts()
    assert listed == [id for chapter in chapters for id in chapter.open]
