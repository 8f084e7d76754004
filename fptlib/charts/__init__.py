"""Charts of estimates (Altair): frames of the records (`to_frame`) in, one chart with a description in words out.

Seven colours that colour-blind readers can tell apart and that stand out from a white and from a dark page (`PALETTE`); dashes and shapes
say the same again. Every axis has its unit, and every estimate its interval where its table holds one.
"""

from fptlib.charts.common import PALETTE
from fptlib.charts.curves import distance, fan, hazard, lines, survival, trajectories
from fptlib.charts.regret import regret
from fptlib.charts.response import ranking, response, speedup

__all__ = [
    "PALETTE",
    "distance",
    "fan",
    "hazard",
    "lines",
    "ranking",
    "regret",
    "response",
    "speedup",
    "survival",
    "trajectories",
]
