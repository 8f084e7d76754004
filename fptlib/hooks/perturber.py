"""Perturb one network in anybody's training loop."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any, Literal, final

import torch
from torch import nn

from fptlib.ensemble.streams import stream
from fptlib.errors import InputError
from fptlib.hooks.fresh import Factory, Tensors, draw, unwrapped
from fptlib.hooks.single import (
    BestSoFar,
    Optimisers,
    RateFactor,
    check_trained_by,
    like,
    rates,
    read,
    several,
    write,
)
from fptlib.parameters import NaturalNumber, Number, Part, Seed, build
from fptlib.perturbations import Context, Perturbation, Schedule, State, schedule
from fptlib.trajectories import Target, reached

Rule = Perturbation | Schedule | Mapping[str, Any] | str


@final
class Perturber:
    """Perturbs a network at its epochs; called right after the evaluation of every epoch.

    An InputError says that the rule is not known or an argument is impossible.

    Parameters
    ----------
    rule
        A value of `fptlib.perturbations`, a section ``perturbation`` of a parameter file, or the name of one.
    period
        Epochs between perturbations, 1 or more. This and the next two replace the values of a section.
    repeat
        ``periodic`` (default): at ``period``, ``2 * period``, ...; ``once``: at ``period``.
    fresh_optimiser
        Whether the optimiser forgets its state (momenta) as well. By default what is the rule's own.
    seed, run
        The perturbation at an epoch is a function of seed, run and epoch, as in `fptlib.ensemble.train`. Without ``seed`` it is the one
        that PyTorch was last given (`torch.initial_seed`), so that training runs with different seeds are perturbed independently.
    threshold, direction
        With a threshold each call of `step` needs the epoch's metric. From the first epoch that reaches it, ``above`` or ``below``,
        the network is no longer perturbed.
    fresh
        Builds a freshly initialised network with the names and shapes of the trained one. It may be left out where every module with
        parameters of its own has ``reset_parameters``, as PyTorch's layers do.

    Attributes
    ----------
    passed
        First epoch that reached the threshold: the first-passage time; ``None`` until then.
    epoch
        Last epoch for which `step` was called; ``None`` before the first.

    Notes
    -----
    Parameters change in place. Frozen ones (``requires_grad`` false), and the buffers of modules all of whose parameters are
    frozen, are left alone; those shared by several modules are perturbed once. Half precision is widened to single for the
    arithmetic. Fresh values are drawn on the CPU in single precision, and PyTorch's random numbers are as before afterwards.

    A network that does not keep PyTorch's default initialisation (``reset_parameters``), such as torchvision's ResNets and most
    transformers, needs ``fresh`` to start as it did.

    A rule that goes back to the best epoch takes it from the metric that `step` is given: give a validation metric. A rule that
    changes the learning rate for a while multiplies what the optimiser has; a scheduler that sets rates outright undoes this.

    Save what is to be kept of an epoch before `step`, and what training is to be resumed from after it, with `state_dict`.

    >>> from torch import nn, optim
    >>> from fptlib.perturbations import ShrinkPerturb
    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    >>> perturber = Perturber(ShrinkPerturb(shrink=0.4, perturb=0.1), period=5)
    >>> for epoch in range(1, 13):
    ...     pass  # train for an epoch and evaluate, as always
    ...     if perturber.step(epoch, model, optimizer):
    ...         print("perturbed after epoch", epoch)
    perturbed after epoch 5
    perturbed after epoch 10
    """

    def __init__(
        self,
        rule: Rule,
        *,
        period: int | None = None,
        repeat: Literal["periodic", "once"] | None = None,
        fresh_optimiser: bool | None = None,
        seed: int | None = None,
        run: int = 0,
        threshold: float | None = None,
        direction: Literal["above", "below"] = "above",
        fresh: Factory | None = None,
    ) -> None:
        timing = {"period": period, "repeat": repeat, "fresh_optimiser": fresh_optimiser}
        self.schedule = _scheduled(rule, {key: value for key, value in timing.items() if value is not None})
        own = {} if seed is None else {"seed": seed}
        given = build(_Given, {**own, "run": run, "threshold": threshold, "direction": direction}, "")
        self.seed = torch.initial_seed() if seed is None else given.seed
        self.run, self.threshold, self.direction = given.run, given.threshold, given.direction
        self.passed: int | None = None
        self.epoch: int | None = None
        self._own_seed = seed is not None
        self._fresh = fresh
        self._best = BestSoFar(direction) if "best" in self.schedule.rule.needs else None
        self._factor = RateFactor()
        self._last = 0
        self._rates: tuple[float, ...] | None = None
        self._warned = self._tried = False

    @property
    def takes_metric(self) -> bool:
        """True if `step` needs the epoch's metric."""
        return self.threshold is not None or self._best is not None

    def step(self, epoch: int, model: nn.Module, optimizer: Optimisers, *, metric: float | None = None) -> bool:
        """Perturb the network if it is time, and return whether it was; to be called right after every epoch's evaluation.

        An InputError says that the epochs do not rise or one that was to be perturbed is left out, the metric is missing or has no
        threshold, the optimiser does not train this model, or there is no fresh initialisation of it: the first call tries. A UserWarning
        comes once, if the learning rate is not that of the epoch before.

        Parameters
        ----------
        epoch
            Number of the epoch that has just been evaluated: 1, 2, ...
        model, optimizer
            The network, also in a wrapper of `torch.compile` or for several GPUs, and what trains it, one or several.
        metric
            The epoch's metric, where there is a threshold or the rule goes back to the best epoch. NaN does not reach a
            threshold and is worse than any number.
        """
        epoch, network, optimisers = self._next(epoch), unwrapped(model), several(optimizer)
        self._watch(epoch, optimisers)
        if self.takes_metric or metric is not None:
            self.observe(epoch, metric)
        if self._best is not None and metric is not None:
            self._best.note(float(metric), read(network, optimisers))
        acts = self.due(epoch)
        if acts:
            self.perturb(epoch, model, optimizer)
        elif not self._tried:
            # What is missing shows now and not after many epochs.
            self._after(epoch, network, optimisers)
        if self.schedule.changes_rate and self._last:
            self._factor.set(optimisers, self.schedule.factor(epoch + 1, self._last))
        self.epoch, self._rates, self._tried = epoch, rates(optimisers), True
        return acts

    def due(self, epoch: int) -> bool:
        """Test whether the network is perturbed after this epoch: it is the epoch's turn, and no epoch so far reached the threshold."""
        return self.passed is None and self.schedule.due(epoch)

    def observe(self, epoch: int, metric: float | None) -> bool:
        """Take note of an epoch's metric, as `step` does; returns whether the threshold has been reached by now."""
        if not self.takes_metric:
            raise InputError("metric: there is no threshold to compare it with; give the Perturber a threshold")
        if metric is None:
            why = "with a threshold" if self.threshold is not None else "to find the best epoch"
            raise InputError(f"metric: missing at epoch {epoch}; {why} each step needs the epoch's metric")
        if self.threshold is None:
            return False
        value = torch.as_tensor(metric, dtype=torch.float64).numpy(force=True)
        if self.passed is None and bool(reached(value, Target(self.threshold, self.direction))):
            self.passed = epoch
        return self.passed is not None

    def perturb(self, epoch: int, model: nn.Module, optimizer: Optimisers) -> None:
        """Perturb the network now, as is done after this epoch, whether or not it is time."""
        network, optimisers = unwrapped(model), several(optimizer)
        write(network, optimisers, *self._after(epoch, network, optimisers))
        self._last = epoch

    @torch.no_grad()
    def _after(
        self, epoch: int, network: nn.Module, optimisers: Sequence[torch.optim.Optimizer]
    ) -> tuple[State, State]:
        """Return the state now and that after the perturbation; nothing is changed yet."""
        check_trained_by(network, optimisers)

        def fresh() -> tuple[Tensors, Tensors]:
            # The number that seeds the initialisation is drawn as for a run of an ensemble.
            seed = int(stream(self.seed, self.run, "fresh", epoch).integers(2**63))
            parameters, buffers = draw(network, seed=seed, factory=self._fresh)
            return like(parameters, state.parameters), like(buffers, state.buffers)

        state = read(network, optimisers)
        best = None if self._best is None else self._best.state
        context = Context(
            fresh=fresh,
            generators=[stream(self.seed, self.run, "perturb", epoch)],
            best=None if best is None else replace(best, learning_rate=state.learning_rate),
        )
        return state, self.schedule.apply(state, context)

    def state_dict(self) -> dict[str, Any]:
        """Return what resumed training needs, as plain values that ``torch.load(weights_only=True)`` reads."""
        return {
            "epoch": self.epoch,
            "passed": self.passed,
            "last": self._last,
            "factor": self._factor.factor,
            "base": self._factor.base,
            "best": None if self._best is None else self._best.content(),
            **self._identity(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`, also with its seed, if none was given; an InputError if it is of one that perturbs in another way."""
        mine = self._identity()
        if set(state) != {"epoch", "passed", "last", "factor", "base", "best", *mine}:
            raise InputError(
                f"state: has {', '.join(sorted(map(str, state)))}; what Perturber.state_dict gave is needed"
            )
        for key, value in mine.items():
            if state[key] != value and (key != "seed" or self._own_seed):
                raise InputError(
                    f"{key}: {value!r} here but {state[key]!r} in the checkpoint; build the Perturber as it was, or do not load "
                    "its state"
                )
        self.seed, self.epoch, self.passed = state["seed"], state["epoch"], state["passed"]
        self._last, base = state["last"], state["base"]
        self._factor = RateFactor(state["factor"], None if base is None else tuple(base))
        if self._best is not None:
            self._best.take(state["best"])

    def _identity(self) -> dict[str, Any]:
        rule = self.schedule.rule
        return {
            "rule": repr(rule) if is_dataclass(rule) else type(rule).__qualname__,
            **{key: getattr(self.schedule, key) for key in ("period", "repeat", "fresh_optimiser")},
            **{key: getattr(self, key) for key in ("seed", "run", "threshold", "direction")},
        }

    def _next(self, epoch: int) -> int:
        try:
            epoch = operator.index(epoch)
        except TypeError:
            raise InputError(f"epoch: {epoch!r} is not a whole number") from None
        if epoch < 1:
            raise InputError(f"epoch: {epoch} is not possible; epochs count from 1")
        if self.epoch is None:  # training may have begun without perturbation
            return epoch
        if epoch <= self.epoch:
            raise InputError(
                f"epoch: {epoch} comes after {self.epoch}; call step once after each epoch, in their order"
            )
        if missed := [k for k in range(self.epoch + 1, epoch) if self.due(k)]:
            raise InputError(f"epoch: {epoch} comes after {self.epoch}, but epoch {missed[0]} was to be perturbed")
        if self.schedule.changes_rate and self._last and epoch > self.epoch + 1:
            raise InputError(
                f"epoch: {epoch} comes after {self.epoch}, but the rule sets the learning rate of every epoch; call step "
                "after each"
            )
        return epoch

    def _watch(self, epoch: int, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        before, self._rates = self._rates, rates(optimisers)
        if before not in (None, self._rates) and not self._warned:
            self._warned = True
            warnings.warn(
                f"the learning rate at epoch {epoch} is not that of the epoch before: predictions for other periods need "
                "training that is the same at every epoch",
                stacklevel=3,
            )


class _Given(Part):
    """Arguments of a `Perturber` that are checked as parameters are."""

    seed: Seed = 0
    run: NaturalNumber
    threshold: Number | None
    direction: Literal["above", "below"]


def _scheduled(rule: Rule, timing: Mapping[str, Any]) -> Schedule:
    """Return the rule with its schedule, checked as a section of a parameter file is; ``timing`` replaces its own keys."""
    if isinstance(rule, Perturbation):
        return build(Schedule, {"rule": rule, **timing}, "perturbation")
    section = {"name": rule} if isinstance(rule, str) else rule.model_dump() if isinstance(rule, Schedule) else rule
    if not isinstance(section, Mapping):
        raise InputError(
            f"rule: {rule!r} is not possible; allowed: a Perturbation such as FullReset(), or a section such as "
            "{'name': 'full_reset', 'period': 20}"
        )
    return schedule({**section, **timing})
