"""The main figure as a file, for the README: ``python -m companion.build.cover``."""

import numpy as np
import vl_convert

from companion import ROOT, published
from fptlib import charts
from fptlib.files import write_atomically
from fptlib.response import predict

PATH = ROOT / "book" / "_static" / "main-figure.svg"
THRESHOLD, SOURCE = 72.0, ("shrink_perturb", 50)
_WIDTH = 640  # pixels; a file has no container to fill


def draw() -> str:
    """Return the SVG of predicted and measured mean first-passage times of the published runs.

    A line is what one perturbation says, ``before + alive * residual time``, and a grey one its lower bound, with a residual time of 1.
    """
    measured = published.means(threshold=THRESHOLD, perturbations=[SOURCE[0]])
    answer = predict(published.study(threshold=THRESHOLD, keys=[SOURCE]), [period for _, period in measured])
    plain, perturbed = published.times(THRESHOLD), published.times(THRESHOLD, *SOURCE)
    tau = perturbed.time[perturbed.running(SOURCE[1])].mean() - SOURCE[1]
    alive = np.array([plain.running(k).mean() for k in range(max(p for _, p in measured) + 1)])
    before = np.cumsum(alive) - alive
    lines = {"formula": (before + alive * tau).round(2), "bound": (before + alive).round(2)}
    level = round(answer.unperturbed.mean, 2)
    chart = charts.response(answer.to_frame().round(2), measured, period=SOURCE[1], unperturbed=level, cap=100, **lines)
    svg = vl_convert.vegalite_to_svg(chart.properties(width=_WIDTH, background="white").to_dict())
    return svg + "\n"


if __name__ == "__main__":
    text = draw()
    write_atomically(PATH, lambda file: file.write(text.encode()))
