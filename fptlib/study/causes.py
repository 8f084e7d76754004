"""Causes for doubt: one sentence for each thing that a record or the runs themselves say against a prediction."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from fptlib.trajectories.checks import TWICE


class Cause(Enum):
    """Reasons to doubt a prediction or to read it with care; words in braces are filled in for each case.

    No sentence names the period of a prediction, so that one sentence serves for all periods that it is about.
    """

    SCHEDULE = "{schedule}, so that training there is not the same as after epoch {source}, where it was perturbed"
    SCHEDULE_RESTART = "{schedule}, so that a network drawn afresh is not trained as the first one was"
    TIED = "{rule} anneals the learning rate over its period of {source} epochs; with another period it is another perturbation"
    UNSETTLED = (
        "unperturbed training is not seen to reach a quasi-steady state, so a perturbed run may still need another time than one perturbed "
        "at epoch {source}; confirm it with runs of its own"
    )
    RELAXATION = (
        "the quasi-steady state begins at epoch {start}; a run that is perturbed before may still need another time; confirm it with runs "
        "of its own"
    )
    NONE_PASSED = (
        "no unperturbed run reaches the threshold before epoch {epoch}; a run that is perturbed before{where} may still need another time "
        "than later; confirm it with runs of its own"
    )
    FEW_SURVIVORS = (
        "only {n} of the perturbed runs is left at epoch {source}, too few to say anything but the possible range"
    )
    RESET = (
        "with {name} training takes {mean:.1f} epochs on average, where the unperturbed runs predict {low:.1f} to {high:.1f} for "
        "a full reset: does the seed also choose data or labels, which a reset keeps?"
    )
    FEW_PASSED = (
        "{n} of the {left} runs left at epoch {source} reach the threshold, too few for a mean: the interval allows for what so few do not "
        "show"
    )
    DISJOINT = "the interval from the runs perturbed every {source} epochs does not overlap with this one"
    PERIOD = "the runs of {name} equal unperturbed ones {until}, although they are said to be perturbed at epoch {period}; check the period"
    EARLIER = "the runs of {name} differ from unperturbed ones already at epoch {epoch}; check whether they were perturbed {when}"
    SWAPPED = (
        "after epoch {period} the metric of the unperturbed runs jumps, and that of {name}, said to be perturbed there, does not; check "
        "that the two were not swapped"
    )
    UNLIKE = (
        "up to epoch {period}, before they are perturbed, the runs of {name} need {perturbed:.1f} epochs and the unperturbed ones "
        "{plain:.1f}: check that the period is right and that both were trained alike"
    )
    UNLIKE_METRIC = (
        "at epoch {period}, before they are perturbed, the runs left of {name} have a metric of {perturbed:.4g} on average and the "
        "unperturbed ones of {plain:.4g}: check that both were trained alike"
    )
    TRAINING = "the runs without perturbation and those of {name} were trained differently: {differences}"
    TWICE = "{name}, {equal}: " + TWICE
    CUT = "many runs end early, so means are counted up to epoch {horizon} of {length}"
    NO_METRIC = "only first-passage times were given, and the quasi-steady state is a matter of the metric"

    def note(self, **words: object) -> Note:
        """Return a note with the sentence for this cause."""
        return Note(self, self.value.format(**words))


@dataclass(frozen=True, slots=True)
class Note:
    """A cause, and its sentence for the present case."""

    cause: Cause
    message: str

    def __str__(self) -> str:
        return self.message
