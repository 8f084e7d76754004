"""Treat training as a first-passage process.

The public names are loaded when they are first used, so that analysing logs never imports torch::

    import fptlib as fpt
    runs = fpt.read("logs/")
    times = fpt.first_passage(runs, 0.9)
    print(fpt.restricted_mean(times))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fptlib.ensemble import fork as fork
    from fptlib.ensemble import train as train
    from fptlib.errors import InputError as InputError
    from fptlib.firstpassage import first_passage as first_passage
    from fptlib.firstpassage import hazard as hazard
    from fptlib.firstpassage import residual_times as residual_times
    from fptlib.firstpassage import restricted_mean as restricted_mean
    from fptlib.firstpassage import survival as survival
    from fptlib.hooks import Perturber as Perturber
    from fptlib.qss import assess_qss as assess_qss
    from fptlib.readers import read as read
    from fptlib.response import predict as predict
    from fptlib.response import recommend as recommend
    from fptlib.response import sample_size as sample_size
    from fptlib.search import Search as Search
    from fptlib.spec import EnsembleSpec as EnsembleSpec
    from fptlib.study import Study as Study
    from fptlib.trajectories import Target as Target
    from fptlib.trajectories import Trajectories as Trajectories

__version__ = "0.1.0"

_NAMES = {
    "ensemble": ("fork", "train"),
    "errors": ("InputError",),
    "firstpassage": ("first_passage", "hazard", "residual_times", "restricted_mean", "survival"),
    "hooks": ("Perturber",),
    "qss": ("assess_qss",),
    "readers": ("read",),
    "response": ("predict", "recommend", "sample_size"),
    "search": ("Search",),
    "spec": ("EnsembleSpec",),
    "study": ("Study",),
    "trajectories": ("Target", "Trajectories"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fptlib' has no attribute {name!r}")
    return getattr(import_module(f"fptlib.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
