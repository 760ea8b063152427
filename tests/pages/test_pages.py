"""What every page of the book promises."""

import pytest

# Faults of the theme itself, not of our pages: rule -> what it is about.
OF_THE_THEME = {
    "label-content-name-mismatch": "the search button's label does not contain its keyboard shortcut",
    "aria-required-children": "sphinxcontrib-bibtex marks the bibliography as a list without list items",
}


def test_nothing_is_fetched_from_elsewhere_and_nothing_fails(visit):
    assert visit.elsewhere == []
    assert visit.errors == []


def test_equations_are_rendered(visit):
    assert visit.page.locator("mjx-merror").count() == 0
    raw = visit.page.evaluate(
        """() => {
          const equations = [...document.querySelectorAll(".math")];
          const bare = equations.filter((equation) => !equation.querySelector("mjx-container"));
          const found = bare.map((equation) => equation.textContent);
          const texts = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
          while (texts.nextNode()) {
            const text = texts.currentNode;
            if (!text.parentElement.closest("pre, code, script, style, mjx-container")
                && /\\$\\$|\\\\\\(|\\\\\\[/.test(text.data)) found.push(text.data);
          }
          return found;
        }"""
    )
    assert raw == []


@pytest.mark.parametrize("width", [360, 1280])
def test_page_is_no_wider_than_the_screen(visit, width):
    visit.page.set_viewport_size({"width": width, "height": 900})
    content = visit.page.evaluate("document.documentElement.scrollWidth")
    visit.page.set_viewport_size({"width": 1280, "height": 900})
    assert content <= width


def test_pictures_have_alternative_text(visit):
    silent = visit.page.evaluate(
        """() => {
          const pictures = [...document.querySelectorAll("main img, main .optlab-figure svg")];
          const text = (picture) => picture.getAttribute("alt") || picture.getAttribute("aria-label") || "";
          return pictures
            .filter((picture) => !text(picture).trim() && !picture.closest("[aria-hidden=true], [role=img]"))
            .map((picture) => picture.outerHTML.slice(0, 200));
        }"""
    )
    assert silent == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_page_is_accessible(visit, scheme, axe):
    visit.page.emulate_media(color_scheme=scheme)
    faults = axe(visit.page)
    assert {rule: places for rule, places in faults.items() if rule not in OF_THE_THEME} == {}
