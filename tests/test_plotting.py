"""Figures carry their alternative text, take the color of the page, and never ask for anything outside."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import optlab
from optlab import plotting

VOID = {"input"}


class Outline(HTMLParser):
    """All elements of an HTML text as (tag, attributes); raises when tags do not match."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Each test starts as a new session does: nothing shown so far, Matplotlib as it comes."""
    import matplotlib

    monkeypatch.setattr(plotting, "_seen", type(plotting._seen)())
    with matplotlib.rc_context():
        yield


def line_figure():
    fig, ax = plotting.figure()
    plotting.convergence(ax, {"slow": 0.9 ** np.arange(9), "fast": 0.5 ** np.arange(9)})
    return fig


def dotted_figure(n=4):
    fig, ax = plotting.figure()
    return fig, [ax.plot(k, k, "o") for k in range(n)]


def luminance(color):
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
@pytest.mark.parametrize("color", plotting.COLORS)
def test_colors_stand_out_on_light_and_dark_pages(color, page):
    dark, light = sorted(luminance(c) + 0.05 for c in (color, page))
    assert light / dark >= 3


def test_lines_differ_in_color_and_in_style():
    _, ax = plotting.figure()
    lines = plotting.convergence(ax, {str(k): [1, 0.1] for k in range(4)})
    assert [line.get_color() for line in lines] == list(plotting.COLORS)
    assert len({line.get_linestyle() for line in lines}) == 4


def test_picture_has_alt_text_and_caption_escaped():
    markup = plotting.show(line_figure(), alt='"fast" < "slow"', caption="a < b")._repr_html_()
    (svg,) = [attributes for tag, attributes in Outline(markup).found if tag == "svg"]
    assert svg["role"] == "img"
    assert svg["aria-label"] == '"fast" < "slow"'
    assert "a &lt; b</figcaption>" in markup


def test_one_alt_text_for_each_panel_or_one_for_all():
    each = Outline(plotting.show(line_figure(), line_figure(), alt=["left", "right"])._repr_html_()).found
    assert [a["aria-label"] for tag, a in each if tag == "svg"] == ["left", "right"]
    both = Outline(plotting.show(line_figure(), line_figure(), alt="both")._repr_html_()).found
    assert [a.get("aria-hidden") for tag, a in both if tag == "svg"] == ["true", "true"]
    assert [a["aria-label"] for _, a in both if a.get("role") == "img"] == ["both"]


@pytest.mark.parametrize("alt", ["", "  ", None, ["one", ""], ["one", "two", "three"], []])
def test_a_picture_without_alt_text_is_refused(alt):
    with pytest.raises((ValueError, TypeError)):
        plotting.show(line_figure(), line_figure(), alt=alt)


def test_show_wants_a_figure():
    with pytest.raises(ValueError, match="at least one figure"):
        plotting.show(alt="nothing")


def test_black_becomes_the_color_of_the_text():
    fig, ax = plotting.figure()
    plotting.contour(lambda x: x @ x, (-1, 1), (-1, 1), ax, n=11)
    ax.set_title("level lines")
    markup = plotting.show(fig, alt="circles")._repr_html_()
    assert "currentColor" in markup
    colors = set(re.findall(r"#[0-9a-fA-F]{6}\b", markup))
    assert not colors & {"#000000", "#ffffff"}


def test_nothing_is_fetched():
    fig, frames = dotted_figure()
    for markup in (
        plotting.show(line_figure(), alt="lines")._repr_html_(),
        plotting.player(fig, frames, alt="dots")._repr_html_(),
    ):
        found = Outline(markup).found
        assert not [tag for tag, a in found if "src" in a or not a.get("xlink:href", "#").startswith("#")]
        assert set(re.findall(r"https?://[^\s\"']+", markup)) == {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }


def test_same_session_same_markup():
    first = plotting.show(line_figure(), alt="lines")._repr_html_()
    plotting._seen.clear()
    assert plotting.show(line_figure(), alt="lines")._repr_html_() == first


def test_ids_are_unique_and_every_reference_is_resolved():
    markup = "".join(plotting.show(line_figure(), alt="lines")._repr_html_() for _ in range(3))
    ids = [a["id"] for _, a in Outline(markup).found if "id" in a]
    assert len(ids) == len(set(ids)) > 0
    used = set(re.findall(r"(?:href=\"|url\()#([^\")]+)", markup))
    assert used == set(ids)


def test_svg_is_well_formed_and_keeps_its_shape():
    markup = plotting.show(line_figure(), alt="lines")._repr_html_()
    svg = ElementTree.fromstring(markup[markup.index("<svg") : markup.index("</svg>") + 6])
    _, _, width, height = map(float, svg.get("viewBox").split())
    assert width / height == pytest.approx(5.2 / 3.4, rel=1e-3)


def test_figures_of_pyplot_are_closed():
    plt = pytest.importorskip("matplotlib.pyplot")
    fig, _ = plt.subplots()
    plotting.show(fig, alt="empty axes")
    assert not plt.fignum_exists(fig.number)


def test_player_marks_every_frame():
    fig, frames = dotted_figure(4)
    found = Outline(plotting.player(fig, frames, alt="dots", label="dot")._repr_html_()).found
    assert [a["data-frame"] for _, a in found if "data-frame" in a] == ["0", "1", "2", "3"]
    (slider,) = [a for tag, a in found if tag == "input"]
    assert (slider["min"], slider["max"], slider["aria-valuetext"]) == ("0", "3", "dot 3 of 3")
    buttons = [a["aria-label"] for tag, a in found if tag == "button"]
    assert buttons == ["First frame", "One frame back", "Play", "One frame forward", "Last frame"]


@pytest.mark.parametrize(("cumulative", "hidden"), [(True, 0), (False, 3)])
def test_player_shows_its_last_frame_without_a_script(cumulative, hidden):
    fig, frames = dotted_figure(4)
    found = Outline(plotting.player(fig, frames, alt="dots", cumulative=cumulative)._repr_html_()).found
    assert sum("display:none" in a.get("style", "") for _, a in found if "data-frame" in a) == hidden


def test_player_finds_texts_and_arrows():
    fig, ax = plotting.figure()
    arrow = ax.annotate("here", (0.5, 0.5), (0.1, 0.1), arrowprops={"arrowstyle": "->"})
    found = Outline(plotting.player(fig, [[arrow]], alt="an arrow")._repr_html_()).found
    assert sum("data-frame" in a for _, a in found) == 2


def test_player_labels_cannot_end_the_script():
    fig, frames = dotted_figure(2)
    markup = plotting.player(fig, frames, alt="dots", label=["one", "</script>"])._repr_html_()
    assert markup.count("</script>") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alt": " "}, "what the figure shows"),
        ({"frames": []}, "at least one frame"),
        ({"frames": [[]]}, "at least one artist"),
        ({"label": ["only one"]}, "one label for each of 4 frames"),
    ],
)
def test_player_refuses(change, message):
    fig, frames = dotted_figure(4)
    with pytest.raises(ValueError, match=message):
        plotting.player(fig, **{"frames": frames, "alt": "dots"} | change)


def test_player_refuses_what_the_figure_does_not_show():
    fig, frames = dotted_figure(2)
    _, others = dotted_figure(1)
    with pytest.raises(ValueError, match="frame 2 contains an artist"):
        plotting.player(fig, [*frames, *others], alt="dots")


def test_contour_lines_split_the_area_evenly():
    _, ax = plotting.figure()
    drawn = plotting.contour(lambda x: x[0] ** 2 + 100 * x[1] ** 2, (-1, 1), (-1, 1), ax, levels=4, n=50)
    assert len(drawn.levels) == 4
    grid = np.linspace(-1, 1, 50)
    values = grid**2 + 100 * grid[:, None] ** 2
    shares = [(values < level).mean() for level in drawn.levels]
    np.testing.assert_allclose(shares, [0.125, 0.375, 0.625, 0.875], atol=1e-3)


def test_contour_of_a_problem_is_that_of_its_values():
    _, ax = plotting.figure()
    problem = optlab.problems.booth()
    fast = plotting.contour(problem, (-1, 1), (-1, 2), ax, n=30)
    slow = plotting.contour(lambda x: problem(x), (-1, 1), (-1, 2), ax, n=30)
    np.testing.assert_array_equal(fast.levels, slow.levels)


def test_convergence_leaves_a_gap_where_there_is_no_logarithm():
    _, ax = plotting.figure()
    (line,) = plotting.convergence(ax, {"exact": ([1, 2, 4], [1.0, 0.0, 1e-3])})
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 4])
    np.testing.assert_array_equal(line.get_ydata(), [1.0, np.nan, 1e-3])


@pytest.mark.parametrize("points", [[1, 2, 3], np.zeros((2, 3))])
def test_path_wants_points_in_the_plane(points):
    _, ax = plotting.figure()
    with pytest.raises(ValueError, match=r"shape \(k, 2\)"):
        plotting.path(ax, points)


def test_matplotlib_is_loaded_only_by_a_figure():
    code = "import sys, optlab.plotting; assert 'matplotlib' not in sys.modules; optlab.plotting.figure()"
    subprocess.run([sys.executable, "-c", code], check=True)
