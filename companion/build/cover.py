"""The main figure as a file, for the README: ``python -m companion.build.cover``."""

import vl_convert

from companion import ROOT, published
from fptlib import charts
from fptlib.files import write_atomically

PATH = ROOT / "book" / "_static" / "main-figure.svg"
_WIDTH = 640  # pixels; a file has no container to fill


def draw() -> str:
    """Return the SVG of predicted and measured mean first-passage times, from the summary of the published trajectories."""
    keys = {"perturbation": "shrink_perturb", "threshold": 72.0}
    chart = charts.response(
        published.stored("predicted", **keys, from_period=50, asked="auto"),
        published.stored("measured", **keys),
        period=50,
        unperturbed=float(published.stored("unperturbed", threshold=72.0)["mean"].iloc[0]),
        cap=100,
    )
    svg = vl_convert.vegalite_to_svg(chart.properties(width=_WIDTH, background="white").to_dict())
    return svg + "\n"


if __name__ == "__main__":
    text = draw()
    write_atomically(PATH, lambda file: file.write(text.encode()))
