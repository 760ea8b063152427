"""Figures that read well on light and dark pages, on phones, and with a screen reader.

`figure` opens a figure in the style of the book; `contour`, `path` and `convergence` draw what its chapters
draw most; `show` and `player` turn figures into HTML with alternative text. Everything drawn in black takes
the color of the text around it, so that one picture serves light and dark pages.
"""

import html
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from io import StringIO
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .problems import Problem

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.contour import QuadContourSet
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["COLORS", "Picture", "contour", "convergence", "figure", "path", "player", "show"]

COLORS = ("#1f7ec2", "#d55e00", "#00946b", "#c05f98")
"""Blue, orange, green and purple, with a contrast above 3:1 on white and on near black."""

STYLES = ("-", "--", "-.", ":")


class Picture:
    """HTML of a finished figure: what `show` and `player` return and a notebook displays."""

    def __init__(self, markup: str, alt: str) -> None:
        self._markup = markup
        self._alt = alt

    def _repr_html_(self) -> str:
        return self._markup

    def __repr__(self) -> str:
        return f"<figure: {self._alt}>"


def figure(width: float = 5.2, height: float = 3.4) -> tuple["Figure", "Axes"]:
    """Open a figure with one pair of axes in the style of the book.

    The style becomes Matplotlib's default for what is drawn afterwards (``matplotlib.rcdefaults()`` undoes
    it). The default size is made for half a column on a wide screen and the full width of a phone. For panels
    side by side, open two figures and give both to `show`.

    Parameters
    ----------
    width, height : float
        Size in inches.

    Returns
    -------
    fig : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes

    Examples
    --------
    >>> fig, ax = figure()
    >>> line, = ax.plot([0, 1], [0, 1])
    >>> line.get_color(), line.get_linestyle()
    ('#1f7ec2', '-')
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    matplotlib.rcParams.update(
        {
            "axes.axisbelow": True,
            "axes.grid": True,
            "axes.linewidth": 0.8,
            "axes.prop_cycle": cycler(color=COLORS) + cycler(linestyle=STYLES),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "font.size": 14,
            "grid.alpha": 0.15,
            "grid.color": "black",
            "grid.linewidth": 0.8,
            "legend.fontsize": 12,
            "legend.frameon": False,
            "lines.linewidth": 2,
            "lines.markersize": 5,
            "mathtext.fontset": "dejavuserif",
            "xtick.labelsize": 12,
            "ytick.labelsize": 12,
        }
    )
    fig = Figure(figsize=(width, height), layout="constrained")
    return fig, fig.subplots()


def contour(
    fun: Callable[[NDArray[np.float64]], float],
    xlim: tuple[float, float],
    ylim: tuple[float, float],
    ax: "Axes",
    levels: int | ArrayLike = 12,
    n: int = 200,
) -> "QuadContourSet":
    """Draw level lines of a function of two variables, in the color of the text.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> float`` for an array `x` of shape (2,); a `Problem` is evaluated all at once.
    xlim, ylim : (float, float)
        The rectangle that is drawn.
    ax : matplotlib.axes.Axes
        Where to draw.
    levels : int or array_like
        The values of the lines, increasing; or their number: they are then chosen so that each band between
        two lines has the same area.
    n : int
        Number of grid points along each side.

    Returns
    -------
    matplotlib.contour.QuadContourSet

    Examples
    --------
    >>> fig, ax = figure()
    >>> lines = contour(lambda x: x @ x, (-1, 1), (-1, 1), ax, levels=[0.25, 1.0], n=21)
    >>> lines.levels
    array([0.25, 1.  ])
    """
    x, y = np.linspace(*xlim, n), np.linspace(*ylim, n)
    if isinstance(fun, Problem):
        values = fun.values(np.stack(np.meshgrid(x, y), axis=-1))
    else:
        values = np.array([[fun(np.array([xi, yi])) for xi in x] for yi in y])
    if isinstance(levels, int):
        levels = np.unique(np.quantile(values, (np.arange(levels) + 0.5) / levels))
    drawn = ax.contour(
        x, y, values, levels=levels, colors="black", linewidths=0.8, linestyles="solid", alpha=0.4
    )
    ax.grid(visible=False)
    return drawn


def path(ax: "Axes", points: ArrayLike, label: str | None = None, **style: Any) -> "Line2D":
    """Draw the points a method visited in two dimensions, joined by lines.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    points : array_like, shape (k, 2)
        One row for each point, for example ``result.history.x``.
    label : str, optional
        Name in the legend.
    **style
        Passed on to `matplotlib.axes.Axes.plot`.

    Returns
    -------
    matplotlib.lines.Line2D

    Examples
    --------
    >>> fig, ax = figure()
    >>> line = path(ax, [[2, 1], [1, -1], [0, 0]], "descent")
    >>> line.get_label(), line.get_xydata().shape
    ('descent', (3, 2))
    """
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points of shape (k, 2), got {points.shape}")
    # A chosen color needs no line style to tell it apart.
    usual = {"marker": "o"} | ({"linestyle": "-"} if "color" in style else {})
    (line,) = ax.plot(*points.T, label=label, **usual | style)
    return line


def convergence(
    ax: "Axes",
    values: Mapping[str, ArrayLike],
    xlabel: str = "iteration",
    ylabel: str = "error",
) -> list["Line2D"]:
    """Draw how quantities fall, on a logarithmic axis, each with its own color and line style.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Where to draw.
    values : dict
        Label to values, the first of which belongs to iteration 0; or label to a tuple ``(x, values)``.
        Values that have no logarithm leave a gap.
    xlabel, ylabel : str
        Names of the axes.

    Returns
    -------
    list of matplotlib.lines.Line2D

    Examples
    --------
    >>> fig, ax = figure()
    >>> slow, fast = convergence(ax, {"slow": 0.9 ** np.arange(50), "fast": 0.5 ** np.arange(50)})
    >>> slow.get_linestyle(), fast.get_linestyle()
    ('-', '--')
    >>> ax.get_yscale(), ax.get_xlabel(), ax.get_ylabel()
    ('log', 'iteration', 'error')
    """
    lines = []
    for label, given in values.items():
        x, y = given if isinstance(given, tuple) else (np.arange(len(np.asarray(given))), given)
        y = np.asarray(y, dtype=float)
        lines += ax.plot(x, np.where(y > 0, y, np.nan), label=label)
    ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)
    ax.legend()
    return lines


def show(*figs: "Figure", alt: str | Sequence[str], caption: str | None = None) -> Picture:
    """Make the figures and their alternative text into one picture, and close them.

    Several figures stand side by side where there is room, else one below the other.

    Parameters
    ----------
    *figs : matplotlib.figure.Figure
        The figures, in reading order.
    alt : str or sequence of str
        What somebody has to know who cannot see the picture: one text for all figures or one for each.
    caption : str, optional
        Visible text below.

    Returns
    -------
    Picture
        A notebook displays it when it is the last expression of a cell.

    Examples
    --------
    >>> fig, ax = figure()
    >>> line, = ax.plot([0, 1, 2], [0, 1, 4])
    >>> show(fig, alt="A parabola from (0, 0) to (2, 4).")
    <figure: A parabola from (0, 0) to (2, 4).>
    """
    if not figs:
        raise ValueError("expected at least one figure")
    texts = [alt] if isinstance(alt, str) else list(alt)
    for text in texts:
        _check_alt(text)
    if len(texts) not in (1, len(figs)):
        raise ValueError(f"expected one alt text, or one for each of {len(figs)} figures, got {len(texts)}")
    together = len(texts) < len(figs)
    panels = [_svg(fig, "" if together else text) for fig, text in zip_longest(figs, texts)]
    role = f' role="img" aria-label="{html.escape(texts[0])}"' if together else ""
    markup = (
        f'<figure class="optlab-figure" style="margin:1rem 0">'
        f'<div{role} style="display:flex;flex-wrap:wrap;gap:1rem;justify-content:center">'
        f"{''.join(panels)}</div>{_caption(caption)}</figure>"
    )
    return Picture(markup, " ".join(texts))


def player(
    fig: "Figure",
    frames: Sequence[Iterable["Artist"]],
    alt: str,
    caption: str | None = None,
    interval: float = 400,
    label: str | Sequence[str] = "step",
    cumulative: bool = True,
) -> Picture:
    """Make a figure into an animation with controls, and close it.

    The picture starts complete and at rest; nothing moves until the reader asks for it. Without JavaScript,
    and on paper, the last frame is seen.

    Parameters
    ----------
    fig : matplotlib.figure.Figure
        The figure with everything drawn. What is in no frame is always visible.
    frames : sequence of iterables of matplotlib.artist.Artist
        What each frame adds.
    alt : str
        What somebody has to know who cannot see the picture.
    caption : str, optional
        Visible text below.
    interval : float
        Milliseconds between two frames.
    label : str or sequence of str
        What a frame is called (its number is added), or one text for each frame.
    cumulative : bool
        Whether a frame keeps what the frames before it have drawn.

    Returns
    -------
    Picture
        A notebook displays it when it is the last expression of a cell.

    Examples
    --------
    >>> fig, ax = figure()
    >>> points = [(0, 2), (1, 1), (2, 0)]
    >>> frames = [ax.plot(*point, "o", color=COLORS[0]) for point in points]
    >>> player(fig, frames, alt="Three points on a falling line, one after the other.")
    <figure: Three points on a falling line, one after the other.>
    """
    _check_alt(alt)
    artists = [list(frame) for frame in frames]
    if not artists or not all(artists):
        raise ValueError("expected at least one frame, and at least one artist in each frame")
    if isinstance(label, str):
        labels = [f"{label} {k} of {len(artists) - 1}" for k in range(len(artists))]
    else:
        labels = list(label)
    if len(labels) != len(artists):
        raise ValueError(f"expected one label for each of {len(artists)} frames, got {len(labels)}")

    names: dict[str, int] = {}
    for k, frame in enumerate(artists):
        for artist in frame:
            # The arrow of an annotation is a group of its own.
            for part in filter(None, (artist, getattr(artist, "arrow_patch", None))):
                name = f"optlab-frame-{len(names)}"
                part.set_gid(name)
                names[name] = k
    last = len(artists) - 1
    svg = _svg(fig, alt, names)
    if not cumulative:
        svg = re.sub(rf'(data-frame="(?!{last}"))', r'style="display:none" \1', svg)
    settings = {"labels": labels, "interval": interval, "cumulative": cumulative}
    buttons = "".join(
        f'<button type="button" data-go="{go}" aria-label="{title}" title="{title}">'
        f'<svg viewBox="0 0 24 24" aria-hidden="true"><path d="{shape}"/></svg></button>'
        for go, title, shape in _BUTTONS
    )
    key = _unique(svg + json.dumps(settings))
    markup = (
        f'<figure class="optlab-figure optlab-player" data-player="{key}" style="margin:1rem 0">'
        f"<style>{_PLAYER_STYLE}</style>"
        f'<div style="display:flex;justify-content:center">{svg}</div>'
        f'<div class="optlab-controls" role="group" aria-label="Animation">{buttons}'
        f'<input type="range" aria-label="Frame" min="0" max="{last}" value="{last}" step="1"'
        f' aria-valuetext="{html.escape(labels[-1])}">'
        f'<output aria-live="polite">{html.escape(labels[-1])}</output></div>'
        f"{_caption(caption)}"
        f"<script>({_PLAYER_SCRIPT})({json.dumps(key)},{_json_in_html(settings)})</script></figure>"
    )
    return Picture(markup, alt)


def _check_alt(alt: object) -> None:
    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"expected a text that says what the figure shows, got {alt!r}")


def _caption(caption: str | None) -> str:
    if caption is None:
        return ""
    style = "margin:.5rem auto 0;max-width:40rem;text-align:center"
    return f'<figcaption style="{style}">{html.escape(caption)}</figcaption>'


def _json_in_html(value: object) -> str:
    return json.dumps(value).replace("<", "\\u003c")


_seen: Counter[str] = Counter()


def _unique(content: str) -> str:
    """A name that depends on nothing but the content, and on how often that content was shown before."""
    digest = sha256(content.encode()).hexdigest()[:10]
    _seen[digest] += 1
    return f"o{digest}" if _seen[digest] == 1 else f"o{digest}-{_seen[digest]}"


def _svg(fig: "Figure", alt: str, frames: Mapping[str, int] = {}) -> str:
    """One inline SVG; groups whose id is in `frames` get the attribute data-frame instead."""
    import matplotlib

    buffer = StringIO()
    with matplotlib.rc_context({"svg.fonttype": "path", "svg.hashsalt": "optlab"}):
        fig.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    # A hundredth of a point is finer than any screen.
    svg = re.sub(r' d="[^"]*"', lambda m: re.sub(r"(\.\d\d)\d+", r"\1", m[0]), svg)
    svg = re.sub(r"\s*\n\s*", " ", svg)
    svg = re.sub(r"#000000\b", "currentColor", svg)
    for name, k in frames.items():
        svg, found = re.subn(rf'id="{name}"', f'data-frame="{k}"', svg)
        if not found:
            raise ValueError(f"frame {k} contains an artist that is not drawn in this figure")
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: m[0] if m[1] in used else "", svg)
    prefix = _unique(svg)
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    width, height = fig.get_size_inches()
    role = f'role="img" aria-label="{html.escape(alt)}"' if alt else 'aria-hidden="true"'
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view is not None
    body = svg[svg.index(">") + 1 :]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" {view[0]} '
        f'{role} fill="currentColor" style="flex:1 1 {width / 2:.2f}in;min-width:0;max-width:{width:.2f}in;'
        f'width:100%;height:auto;aspect-ratio:{width:g}/{height:g}">{body}'
    )


_BUTTONS = (
    ("first", "First frame", "M6 5h2v14H6zM19 5v14L9 12z"),
    ("back", "One frame back", "M17 5v14L7 12z"),
    ("play", "Play", "M7 4v16l13-8z"),
    ("forward", "One frame forward", "M7 5v14l10-7z"),
    ("last", "Last frame", "M5 5v14l10-7zM16 5h2v14h-2z"),
)

_PLAYER_STYLE = """
.optlab-controls{display:flex;flex-wrap:wrap;gap:.25rem;align-items:center;justify-content:center;
margin:.5rem auto 0;max-width:32rem}
.optlab-controls button{width:2.75rem;height:2.75rem;padding:.6rem;border:1px solid currentColor;
border-radius:.4rem;background:transparent;color:inherit;cursor:pointer;line-height:0}
.optlab-controls button:hover{background:rgba(128,128,128,.25)}
.optlab-controls button svg{width:100%;height:100%;fill:currentColor}
.optlab-controls input{flex:1 1 8rem;min-width:8rem;height:2.75rem;margin:0 .5rem;accent-color:#1f7ec2}
.optlab-controls output{flex:1 0 100%;text-align:center;font-variant-numeric:tabular-nums}
""".replace("\n", "")

# JupyterLab runs the script without document.currentScript, and may show one output twice.
_PLAYER_SCRIPT = """function (key, settings) {
  const PLAY = "M7 4v16l13-8z", PAUSE = "M6 5h4v14H6zM14 5h4v14h-4z";
  for (const figure of document.querySelectorAll(`[data-player="${key}"]:not([data-ready])`)) {
    figure.dataset.ready = "";
    const parts = figure.querySelectorAll("[data-frame]");
    const slider = figure.querySelector("input"), output = figure.querySelector("output");
    const play = figure.querySelector("[data-go=play]");
    const last = settings.labels.length - 1;
    let now = last, timer = 0;
    const draw = (k) => {
      now = Math.max(0, Math.min(last, k));
      for (const part of parts) {
        const frame = Number(part.dataset.frame);
        part.style.display = frame === now || (settings.cumulative && frame < now) ? "" : "none";
      }
      slider.value = now;
      output.textContent = settings.labels[now];
      slider.setAttribute("aria-valuetext", settings.labels[now]);
    };
    const run = (wanted) => {
      clearInterval(timer);
      timer = wanted ? setInterval(() => {
        draw(now + 1);
        if (now === last || !figure.isConnected) run(false);
      }, settings.interval) : 0;
      // A screen reader could not keep up with a running animation.
      output.setAttribute("aria-live", wanted ? "off" : "polite");
      for (const name of ["aria-label", "title"]) play.setAttribute(name, wanted ? "Pause" : "Play");
      play.querySelector("path").setAttribute("d", wanted ? PAUSE : PLAY);
    };
    const go = {
      first: () => 0, back: () => now - 1, forward: () => now + 1, last: () => last,
    };
    for (const button of figure.querySelectorAll("[data-go]")) {
      button.addEventListener("click", () => {
        if (button !== play) { run(false); draw(go[button.dataset.go]()); }
        else if (timer) run(false);
        else { if (now === last) draw(0); run(true); }
      });
    }
    slider.addEventListener("input", () => { run(false); draw(Number(slider.value)); });
    draw(last);
  }
}"""
