"""The evidence: an unperturbed ensemble, perturbed ensembles, and the target that all runs should reach.

A `Study` checks what it is given, puts all ensembles on one horizon, recognises runs of one seed and draws them together in every
bootstrap replicate. Everything that is assessed, predicted or recommended takes one.
"""

from fptlib.study.causes import Cause, Note
from fptlib.study.records import Key, Runs
from fptlib.study.study import Study

__all__ = ["Cause", "Key", "Note", "Runs", "Study"]
