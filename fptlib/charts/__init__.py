"""Charts of estimates (Altair): tidy tables (`fptlib.tables`) in, one chart with a description in words out.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; shapes tell the status as well.
"""

from fptlib.charts.common import GREY, HEIGHT, MAX_POINTS, PALETTE, STATUS_COLOURS, STATUS_SHAPES
from fptlib.charts.curves import distance, fan, hazard, survival, trajectories
from fptlib.charts.ranking import ranking, speedup
from fptlib.charts.regret import regret
from fptlib.charts.response import response

__all__ = [
    "GREY",
    "HEIGHT",
    "MAX_POINTS",
    "PALETTE",
    "STATUS_COLOURS",
    "STATUS_SHAPES",
    "distance",
    "fan",
    "hazard",
    "ranking",
    "regret",
    "response",
    "speedup",
    "survival",
    "trajectories",
]
