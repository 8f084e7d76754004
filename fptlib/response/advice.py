"""A ranking in words: what to do, how sure that is, and what to measure next."""

from __future__ import annotations

from collections.abc import Iterator

from fptlib.firstpassage import Estimate
from fptlib.response.results import Prediction, Ranking

_SETTLED_RUNS = 30  # unperturbed runs to leave below the threshold where a first perturbation is measured


def advise(ranking: Ranking) -> tuple[str, ...]:
    """Return the advice that follows from a ranking, the answer first."""
    return tuple(sentence for part in (_what_to_do, _how_sure, _what_next) for sentence in part(ranking))


def interval(estimate: Estimate | Prediction) -> str:
    """Return a mean in epochs with its interval, or the range alone where the mean is open."""
    if estimate.mean is None:
        return f"{estimate.low:.1f} to {estimate.high:.1f}"
    return f"{estimate.mean:.1f} ({estimate.low:.1f} to {estimate.high:.1f})"


def _what_to_do(ranking: Ranking) -> Iterator[str]:
    choice, plain, gain = ranking.choice, interval(ranking.unperturbed), ranking.speedup()
    if choice.perturbation is None:
        known = "nothing else is known to be faster" if ranking.next else "nothing that was looked at is faster"
        yield f"Train without perturbation, which needs {plain} epochs: {known}."
    elif gain.low > 1:
        yield (
            f"Use {choice}: {interval(choice)} epochs, at least {gain.low:.2g} times faster than without perturbation ({plain} epochs)."
        )
    else:
        yield (
            f"{_runs(ranking)} do not tell whether perturbing helps: {choice} needs {interval(choice)} epochs, training without "
            f"perturbation {plain}."
        )


def _runs(ranking: Ranking) -> str:
    perturbed = "" if ranking.choice.source is None else f" + {ranking.choice.n_runs}"
    return f"{ranking.unperturbed.n_runs}{perturbed} runs"


def _how_sure(ranking: Ranking) -> Iterator[str]:
    choice, plain = ranking.choice, ranking.unperturbed
    level = f"intervals are at {100 * ranking.level:g} %, means up to epoch {ranking.horizon}"
    if choice.perturbation is None:
        yield f"It was measured on {plain.n_runs} runs; {level}."
    elif choice.measured:
        yield f"It was measured, on {choice.n_runs} runs left at epoch {choice.period}; {level}."
    elif choice.source is None:
        yield f"It follows from {choice.n_runs} unperturbed runs alone, {choice.grade}; {level}."
    else:
        yield f"It is predicted {choice.grade}, from {choice.n_runs} runs perturbed at epoch {choice.source}; {level}."
    if plain.n_censored and choice.perturbation is not None:
        yield (
            f"By then {plain.n_censored} of {plain.n_runs} unperturbed runs had not reached the threshold, so the true speed-up is larger."
        )


def _what_next(ranking: Ranking) -> Iterator[str]:
    if ranking.next is not None:
        name, period = ranking.next
        promised = [p for p in ranking.predictions if (p.perturbation, p.period) == (name, period)]
        what = f"Next, measure {name} every {period} epoch{'' if period == 1 else 's'}"
        if promised:
            yield f"{what}: it may be better, with {promised[0].low:.1f} to {promised[0].high:.1f} epochs expected."
        else:
            yield f"{what}: {ranking.choice.period} is the shortest period looked at, and a shorter one may be better still."
    if all(p.source is None for p in ranking.predictions):
        start = "once they have settled" if ranking.qss is None or not ranking.qss.reached else _settled(ranking)
        yield (
            f"Measure a perturbation next: fork it from the unperturbed runs {start}, where at least {_SETTLED_RUNS} are still below "
            f"the threshold, and at most half-way to epoch {ranking.horizon}."
        )


def _settled(ranking: Ranking) -> str:
    assert ranking.qss is not None
    return f"at epoch {ranking.qss.relaxation_epoch} or later"
