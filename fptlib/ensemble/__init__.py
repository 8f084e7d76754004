"""Train many runs at once and keep their trajectories in a store, which can be reused, resumed, extended and forked.

Run ``k`` draws from its own random streams and is the same run, bit for bit on one machine and version, whatever is trained
beside it, in whatever order, by how many processes, and however often it was interrupted. Up to its first perturbation a
perturbed run is the unperturbed run of the same number: `fork` trains only what differs.
"""

from fptlib.ensemble.resources import UNIT
from fptlib.ensemble.store import store_path
from fptlib.ensemble.verbs import Fork, fork, read_request, train

__all__ = ["UNIT", "Fork", "fork", "read_request", "store_path", "train"]
