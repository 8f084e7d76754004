"""The closed loop: find which perturbation to use, and how often, with as few trained epochs as possible.

Where trajectories come from (`Live` training, `Recorded` runs) is apart from the decisions, which are a function of
what was seen: the same seed gives the same search, and an interrupted one goes on from its stores. The parts of a result are in
``result.py``.
"""

from fptlib.search.ask import Search, Trial
from fptlib.search.candidates import Candidate, parse
from fptlib.search.live import Live
from fptlib.search.loop import optimise
from fptlib.search.result import Settings
from fptlib.search.source import Ledger, Recorded, Source

__all__ = ["Candidate", "Ledger", "Live", "Recorded", "Search", "Settings", "Source", "Trial", "optimise", "parse"]
