"""Draw the picture of the README and the landing page: ``python book/_ext/cover.py``."""

from pathlib import Path

import matplotlib
import numpy as np

from optlab import plotting

STATIC = Path(__file__).resolve().parent.parent / "_static"
INK = {"light": "#222832", "dark": "#ced6dd"}


def draw(ink):
    Q = np.diag([1.0, 12.0])
    start = np.array([6.0, 1.0])
    fig, ax = plotting.figure(6.4, 3.0)
    plotting.contour(lambda x: x @ Q @ x / 2, (-1, 6.6), (-1.6, 1.6), ax, n=80)
    for name, conjugate in (("steepest descent", False), ("conjugate gradients", True)):
        points, d, g_old = [start], np.zeros(2), np.ones(2)
        for k in range(2 if conjugate else 14):
            g = Q @ points[-1]
            d = -g + (g @ g / (g_old @ g_old) * d if conjugate and k else 0)
            points.append(points[-1] - (g @ d) / (d @ Q @ d) * d)
            g_old = g
        plotting.path(ax, points, name)
    ax.legend(loc="lower left")
    ax.set_axis_off()
    for lines in ax.collections:
        lines.set_edgecolor(ink)
    for text in ax.get_legend().get_texts():
        text.set_color(ink)
    return fig


if __name__ == "__main__":
    for page, ink in INK.items():
        with matplotlib.rc_context({"svg.hashsalt": "optlab"}):
            draw(ink).savefig(
                STATIC / f"cover-{page}.svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
