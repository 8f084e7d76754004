"""A ranking in words: what to do, how sure that is, and what to measure next."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fptlib.firstpassage import Estimate
from fptlib.response.results import WORDS, Prediction, Ranking, least, named, when
from fptlib.study import Cause

_SETTLED_RUNS = 30  # unperturbed runs to leave below the threshold where a first perturbation is measured
_WORTH = 1.2  # a speed-up that one would measure another ensemble for
_RESTART = re.compile("reset|restart|init", re.IGNORECASE)  # in names that may mean a full reset
_NEVER = 0.99  # of the horizon: a mean beyond says that hardly any run reaches the threshold


def advise(ranking: Ranking) -> tuple[str, ...]:
    """Return the advice that follows from a ranking, the answer first; before it only that a period is not the one that was given."""
    better = _better(ranking)
    wrong = (Cause.SWAPPED, Cause.PERIOD, Cause.EARLIER)
    doubts = [f"Check this first: {note}." for note in ranking.notes if note.cause in wrong]
    parts = (
        doubts,
        _answer(ranking, better),
        _how_sure(ranking, better),
        [f"But {note}" for p in ranking.predictions for note in p.notes if note.cause is Cause.RESET],
        _what_next(ranking, better),
        _horizon(ranking, better),
    )
    return tuple(sentence for part in parts for sentence in part)


def interval(estimate: Estimate | Prediction) -> str:
    """Return a mean in epochs with its interval, or the range alone where the mean is open."""
    ends = f"{estimate.low:.1f} to {estimate.high:.1f}"
    if estimate.mean is None:
        return f"{ends} epochs ({100 * estimate.level:g} % interval)"
    return f"{estimate.mean:.1f} epochs ({100 * estimate.level:g} % interval {ends})"


def _better(ranking: Ranking) -> Prediction | None:
    """Return what is faster than no perturbation for all that the intervals say: the choice, or else the one that is so by most."""
    perturbed = [p for p in ranking.predictions if p.perturbation is not None]
    candidates = [ranking.choice] if ranking.choice.perturbation is not None else []
    for among in (candidates, perturbed):
        factor, best = max(((ranking.speedup(p).low, p) for p in among), key=lambda pair: pair[0], default=(0, None))
        if factor > 1:
            return best
    return None


def _answer(ranking: Ranking, better: Prediction | None) -> Iterator[str]:
    choice, plain = ranking.choice, ranking.unperturbed
    if better is not None:
        factor = least(ranking.speedup(better).low)
        faster = f"{f'at least {factor:g} times ' if factor > 1 else ''}faster than without perturbation"
        start = f"Use {better}:" if better is choice else f"Perturbing helps: with {better}"
        yield f"{start} training takes {interval(better)}, {faster} ({plain.mean:.1f})."
    elif min(plain.mean, choice.centre) > _NEVER * ranking.horizon:
        yield f"Hardly any run reaches the threshold within {ranking.horizon} epochs, perturbed or not: train longer, or set an easier one."
    elif _pointless(ranking):
        even = f"not even {choice}, with {interval(choice)},"
        rival = even if choice.perturbation is not None else "nothing that was looked at"
        yield f"Train without perturbation, which takes {interval(plain)}: {rival} is known to be faster."
    else:
        rival = "" if choice.perturbation is None else f", {interval(choice)} with {choice}"
        yield f"{_runs(ranking)} do not tell whether perturbing helps: training takes {interval(plain)} without perturbation{rival}."


def _pointless(ranking: Ranking) -> bool:
    """Test whether neither the choice nor what is to be measured next can be much faster than no perturbation."""
    hopes = [p for p in ranking.predictions if p is ranking.choice or (p.perturbation, p.period) == ranking.next]
    return all(p.perturbation is None or ranking.speedup(p).high < _WORTH for p in hopes)


def _runs(ranking: Ranking) -> str:
    """Return the numbers of runs, the perturbed ones being those that were left at their period."""
    perturbed = {(p.perturbation, p.source): p.n_runs for p in ranking.predictions if p.source is not None}
    n = ranking.unperturbed.n_runs
    k = sum(perturbed.values())
    left = f" and {k} perturbed one{'' if k == 1 else 's'} still below the threshold at their period"
    return f"{n} unperturbed runs" + left * bool(perturbed)


def _how_sure(ranking: Ranking, better: Prediction | None) -> Iterator[str]:
    plain, n = ranking.unperturbed, 0 if better is None else better.n_runs
    if better is None:
        if _pointless(ranking):
            yield f"This was measured on {plain.n_runs} runs."
        return
    if better.measured:
        until = f"that had not reached the threshold at epoch {better.source}, when they were first perturbed"
        yield f"This was measured on the {n} runs {until}."
    else:
        runs = (
            f"{n} runs perturbed {when(better.source, once=better.once)}" if better.source else f"{n} unperturbed runs"
        )
        grade = better.grade.replace("to ", "to within ", 1).replace("factor", "factor of")
        yield f"This is predicted {grade} from {runs}." if better.mean else f"This range is predicted from {runs}."


def _horizon(ranking: Ranking, better: Prediction | None) -> Iterator[str]:
    plain = ranking.unperturbed
    if plain.n_censored:
        passed = plain.n_runs - plain.n_censored or "none"
        larger = "" if better is None or better.n_censored else ", so the true speed-up is larger"
        until = f"Means are taken up to epoch {ranking.horizon}, when {passed} of {plain.n_runs} unperturbed runs"
        yield f"{until} had reached the threshold{larger}."


def _what_next(ranking: Ranking, better: Prediction | None) -> Iterator[str]:
    choice, following = ranking.choice, ranking.next
    measured = any(p.source is not None for p in ranking.predictions)
    if better is None and _pointless(ranking):
        following = None
    elif better is None and following is None and choice.perturbation is not None and not choice.measured:
        following = choice.perturbation, choice.period or 0  # nothing but runs of its own can tell
    if following is not None:
        others = {str(p.perturbation) for p in ranking.predictions} - {*WORDS}
        expected = [p for p in ranking.predictions if (p.perturbation, p.period) == following]
        what = str(expected[0]) if expected else named(*following, once=choice.once)
        if not expected:
            yield f"Next, measure {what}: {choice.period} is the shortest period looked at, and a shorter one may be faster still."
        elif better is None:
            yield f"One more ensemble, of {what}, may tell: {_range(expected[0])} are expected of it."
        else:
            yield f"Next, measure {what}, which may be faster still: {_range(expected[0])} are expected of it."
        if expected and expected[0].method == "restart" and any(map(_RESTART.search, others)):
            yield f"If such runs are there under another name, give them as {following[0]}."
    elif better is None and not _pointless(ranking):
        yield f"More runs without perturbation and with {choice} may tell."
    elif measured and better is choice and not choice.measured:
        purpose = "narrow the range" if choice.mean is None else "confirm it"
        rivals = [p for p in ranking.predictions if p.mean is None and p.low < choice.centre and p is not choice]
        if rivals:
            rival = min(rivals, key=lambda p: p.centre)
            start = f"{str(rival)[0].upper()}{str(rival)[1:]}"
            yield f"{start}, {_range(rival)}, may be faster still; only runs of its own would tell."
        else:
            yield f"No other ensemble is needed to choose; runs with this period would {purpose}."
    if not measured:
        qss = ranking.qss
        settled = f"at epoch {qss.relaxation_epoch} or later" if qss and qss.reached else "once they have settled"
        yield (
            f"{'Next,' if following is None else 'Or'} measure another perturbation, such as shrink-and-perturb: fork the unperturbed runs "
            f"{settled}, with at least {_SETTLED_RUNS} still below the threshold, and not after epoch {ranking.horizon // 2}."
        )


def _range(prediction: Prediction) -> str:
    return f"{prediction.low:.1f} to {prediction.high:.1f} epochs"
