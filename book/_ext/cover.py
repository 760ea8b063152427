"""Draw the picture of the README and the landing page: ``python book/_ext/cover.py``."""

from pathlib import Path

import matplotlib
import numpy as np

import optlab
from optlab import plotting

STATIC = Path(__file__).resolve().parent.parent / "_static"
INK = {"light": "#222832", "dark": "#ced6dd"}


def draw(ink):
    A, b, start = np.diag([1.0, 12.0]), np.array([1.0, 12.0]), np.array([7.0, 2.0])

    def bowl(x):
        return 0.5 * x @ A @ x - b @ x, A @ x - b

    zigzag = optlab.steepest_descent(bowl, start, jac=True, maxiter=14).history.x
    direct = optlab.cg(A, b, start, history=True).history.x
    fig, ax = plotting.figure(6.4, 3.0)
    plotting.contour(lambda x: bowl(x)[0], (0, 7.6), (-0.6, 2.6), ax, n=80)
    plotting.path(ax, zigzag, "steepest descent", color=plotting.COLORS[1])
    plotting.path(ax, direct, "conjugate gradients", color=plotting.COLORS[0], linestyle="--", marker="s")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
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
