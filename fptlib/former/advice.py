"""The options of a ranking, and the ranking in words: what to do, how sure that is, and what to measure next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fptlib.firstpassage import Estimate
from fptlib.former.prediction import Prediction
from fptlib.former.verdicts import MIN_SURVIVORS, Status
from fptlib.qss import QuasiSteadyState

USEFUL_RUNS = (
    100  # unperturbed runs below which few periods come out valid: a survival of one half is then known to 0.1
)
_UNDECIDED = 0.95  # share of replicates that an option must win to be called the best


@dataclass(frozen=True, slots=True)
class Option:
    """One perturbation at one period, with the mean first-passage time predicted for it, restricted to the horizon.

    Parameters
    ----------
    perturbation, period
        Its name, and the period in epochs.
    source
        Period of the runs that the prediction rests on; ``None`` where unperturbed runs are enough.
    prediction
        Mean with interval, form and verdict.
    speedup
        Unperturbed restricted mean over this one, both up to the horizon, with its interval. Where unperturbed runs are censored the
        ratio without a horizon is larger.
    best_in
        Share of the replicates in which this option has the smallest mean among the valid ones; 0 if it is not valid.
    """

    perturbation: str
    period: int
    source: int | None
    prediction: Prediction
    speedup: Estimate
    best_in: float = 0.0

    @property
    def mean(self) -> float:
        """Predicted restricted mean in epochs."""
        return self.prediction.mean

    @property
    def low(self) -> float:
        """Lower end of its interval."""
        return self.prediction.low

    @property
    def high(self) -> float:
        """Upper end of its interval."""
        return self.prediction.high

    @property
    def valid(self) -> bool:
        """True if the prediction is valid."""
        return self.prediction.valid

    @property
    def reason(self) -> str:
        """Status of the prediction and what decided it."""
        return f"{self.prediction.verdict.status.value}: {self.prediction.reason}"

    def __str__(self) -> str:
        return f"{self.perturbation} every {self.period} epoch{'s' if self.period > 1 else ''}"


def advise(
    ranking: Sequence[Option],
    *,
    unperturbed: Estimate,
    horizon: int,
    state: QuasiSteadyState,
    survivors: Mapping[tuple[str, int], int],
    suspicious: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the ranking in sentences for people.

    Parameters
    ----------
    ranking
        Options, the best first.
    unperturbed, horizon, state
        Restricted mean without perturbation, where it ends, and the verdict on the unperturbed runs.
    survivors
        Name and measured period of each perturbation to the survivors there.
    suspicious
        Sentences on oddities of the ensembles.
    """
    best = ranking[0] if ranking and ranking[0].valid else None
    sentences = [*_what_to_do(best, unperturbed, horizon), *_how_sure(best, ranking)]
    sentences += _what_next(best, ranking, horizon)
    if not state.reached:
        why = f" ({state.reasons[0]})" if state.reasons else ""
        sentences.append(
            f"Unperturbed training has not reached a quasi-steady state{why}: periods far from a measured one are a guess."
        )
    if best is not None and all(o.source is None for o in ranking):
        sentences += _first_measurement(ranking, horizon)
    return (*suspicious, *sentences, *too_few(unperturbed, survivors))


def too_few(unperturbed: Estimate, survivors: Mapping[tuple[str, int], int]) -> tuple[str, ...]:
    """Return warnings where runs are fewer than is useful."""
    sentences = []
    if unperturbed.n_runs < USEFUL_RUNS:
        sentences.append(
            f"Only {unperturbed.n_runs} unperturbed runs: below {USEFUL_RUNS} few predictions can be verified; fpt plan says how many a "
            "wanted interval needs."
        )
    sentences += [
        f"Only {n} runs of {name} are left at epoch {period}; {MIN_SURVIVORS} are needed for an interval."
        for (name, period), n in survivors.items()
        if n < MIN_SURVIVORS
    ]
    return tuple(sentences)


def _what_to_do(best: Option | None, unperturbed: Estimate, horizon: int) -> list[str]:
    plain = _interval(unperturbed)
    if best is None:
        return [
            f"No prediction is valid: nothing can be recommended over training without perturbation ({plain} epochs)."
        ]
    speedup = best.speedup
    if speedup.low <= 1:
        return [
            f"No perturbation is shown to beat training without any ({plain} epochs up to epoch {horizon}); the best is {best}, with "
            f"{_interval(best)} epochs."
        ]
    sentences = [
        f"Use {best}: a mean first-passage time of {_interval(best)} epochs, against {plain} without perturbation, counted up to epoch "
        f"{horizon}: {speedup.mean:.2f} times shorter, and at least {speedup.low:.2f} times."
    ]
    if unperturbed.n_censored:
        sentences.append(
            f"The speed-up is a lower bound: {unperturbed.n_censored} of {unperturbed.n_runs} unperturbed runs had not passed by then."
        )
    return sentences


def _how_sure(best: Option | None, ranking: Sequence[Option]) -> list[str]:
    if best is None:
        return []
    sentences = []
    rivals = [o for o in ranking if o.valid and o.perturbation != best.perturbation]
    if best.best_in < _UNDECIDED:
        near = [str(o) for o in ranking[1:] if o.valid and o.best_in >= 0.05][:3]
        if near:
            sentences.append(
                f"It has the smallest mean in {best.best_in:.0%} of the replicates; not told from it: {', '.join(near)}."
            )
    full = next((o for o in rivals if o.source is None), None)
    if full is not None:
        sentences.append(f"The best full reset is every {full.period} epochs, with {_interval(full)} epochs.")
    return sentences


def _what_next(best: Option | None, ranking: Sequence[Option], horizon: int) -> list[str]:
    if best is None:
        return _first_measurement(ranking, horizon)
    sentences = []
    own = sorted(o.period for o in ranking if o.perturbation == best.perturbation and o.valid)
    if best.period == own[0] and best.period > 1:
        shorter = [o.period for o in ranking if o.perturbation == best.perturbation and o.period < best.period]
        half = best.period / 2
        at = min(shorter, key=lambda p: abs(math.log(p / half)), default=max(1, round(half)))
        sentences.append(
            f"{best.period} is the shortest valid period of {best.perturbation}: a shorter one may be better still. Measure "
            f"{best.perturbation} at {at} directly."
        )
    elif best.period == own[-1] and len(own) > 1:
        sentences.append(
            f"{best.period} is the longest valid period of {best.perturbation}: perturbing rarely, or not at all, may be better."
        )
    tempting = [
        o
        for o in ranking
        if o.prediction.verdict.status is Status.UNVERIFIED
        and o.mean < best.mean
        and o.perturbation != best.perturbation
    ]
    for name in dict.fromkeys(o.perturbation for o in tempting):
        least = min((o for o in tempting if o.perturbation == name), key=lambda o: o.mean)
        if least.source is not None:
            sentences.append(f"{least} may be better ({least.mean:.1f} epochs, unverified): measure it there.")
    return sentences


def _first_measurement(ranking: Sequence[Option], horizon: int) -> list[str]:
    measured = sorted({o.source for o in ranking if o.source is not None})
    if not measured:
        return [
            "Measure a perturbation next: fork it from the unperturbed runs once they have settled, where at least "
            f"{MIN_SURVIVORS} of them are still below the threshold, and at most half-way to epoch {horizon}."
        ]
    periods = ", ".join(str(p) for p in measured)
    return [f"Measured so far: {periods}. Measure at a second period, with more runs, or choose another threshold."]


def _interval(estimate: Estimate | Option) -> str:
    return f"{estimate.mean:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"
