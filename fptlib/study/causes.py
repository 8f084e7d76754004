"""Causes for doubt: one sentence for each thing that a record or the runs themselves say against a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """Reasons to doubt a prediction or to read it with care; what stands in braces comes from the case."""

    SCHEDULE = "{schedule}, so that training is not the same after epoch {period} as after epoch {source}, where it was perturbed"
    SCHEDULE_RESTART = (
        "{schedule}, so that a network drawn afresh at epoch {period} is not trained as the first one was"
    )
    TIED = "{rule} anneals the learning rate over its period of {source} epochs; with another period it is another perturbation"
    UNSETTLED = "without a quasi-steady state of unperturbed training the residual time may differ between epochs {source} and {period}"
    RELAXATION = "epoch {epoch} lies before the quasi-steady state, which begins at epoch {start}"
    NONE_PASSED = (
        "no unperturbed run reaches the threshold by epoch {epoch}, so that training may be in another state there"
    )
    FEW_SURVIVORS = (
        "only {n} of the perturbed runs are left at epoch {source}, too few to say anything but the possible range"
    )
    DISJOINT = (
        "from the runs perturbed every {source} epochs the interval is {low:.1f} to {high:.1f}: the two do not overlap"
    )
    PERIOD = "the runs of {name} equal unperturbed ones {until}, although they are said to be perturbed at epoch {period}; check the period"
    UNLIKE = (
        "up to epoch {period}, before they are perturbed, the runs of {name} need {perturbed:.1f} epochs and the unperturbed ones "
        "{plain:.1f}: check that the period is right and that both were trained alike"
    )
    TRAINING = "the runs without perturbation and those of {name} were trained differently: {differences}"
    CUT = "many runs end early, so means are counted up to epoch {horizon} of {length}"
    NO_METRIC = "only first-passage times were given, and the quasi-steady state is a matter of the metric"

    def note(self, **words: object) -> Note:
        """Return a note with the sentence of this cause."""
        return Note(self, self.value.format(**words))


@dataclass(frozen=True, slots=True)
class Note:
    """A cause, and its sentence for the case at hand."""

    cause: Cause
    message: str

    def __str__(self) -> str:
        return self.message
