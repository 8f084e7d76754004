"""Perturb one network in any training loop."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import is_dataclass, replace
from typing import Any, Final, Literal, final

import numpy as np
import torch
from torch import nn

from fptlib.ensemble.states import Best, content, copied
from fptlib.ensemble.streams import stream
from fptlib.errors import InputError
from fptlib.hooks.fresh import Factory, Tensors, check_factory, check_initial, draw, like, plain
from fptlib.hooks.single import Optimisers, RateFactor, Training, row, set_momentum
from fptlib.parameters import NaturalNumber, Number, Part, PositiveInteger, Seed, build
from fptlib.perturbations import Context, Perturbation, Schedule, State, schedule
from fptlib.trajectories import Target, reached

Rule = Perturbation | Schedule | Mapping[str, Any] | str
_SAME: Final = "predictions for other periods need training that is the same at every epoch"


@final
class Perturber:
    """Perturbs a network at its epochs: `watch` sees it before training, `step` right after the evaluation of every epoch.

    An InputError says that the rule is not known or an argument is impossible.

    Parameters
    ----------
    rule, period
        A value of `fptlib.perturbations`, its name, or a section ``perturbation`` of a parameter file, whose period is replaced.
    seed, run
        The perturbation at an epoch is a function of seed, run and epoch, as in `fptlib.ensemble.train`. Without ``seed`` it is the one
        that PyTorch was last given (`torch.initial_seed`), so that training runs with different seeds are perturbed independently.
    threshold, direction
        With a threshold each `step` needs the epoch's metric. From the first epoch that reaches it, ``above`` or ``below``, the
        network is no longer perturbed; ``passed`` is this epoch, the first-passage time, and ``None`` before.
    fresh
        Builds a freshly initialised network with the names and shapes of the trained one: ``lambda: Net(...)``. It may be left out where
        all that is trained belongs to layers of `torch.nn` and is, when first seen, what their ``reset_parameters`` draws. That is
        tested: most transformers and torchvision's ResNets need ``fresh``.

    Notes
    -----
    Parameters that require a gradient and are held by the optimiser change in place, complex ones as pairs. Frozen parts and their
    running averages, ``padding_idx`` rows, and buffers that are integers (but counters of averages) or not saved do not. Fresh values
    are drawn on the CPU in single precision, and PyTorch's random numbers are as before afterwards.

    The best epoch is that of the metric that `step` is given: give a validation metric. A factor on the learning rate is in force only
    while the optimiser takes a step, so that any scheduler composes with it, stepped before or after, and logs the rate without it.

    Save what is to be kept of an epoch before `step`, and what training is to be resumed from after it, with `state_dict`; to resume,
    load all states, then call `watch`.

    >>> from torch import nn, optim
    >>> model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
    >>> optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    >>> perturber = Perturber("shrink_perturb", period=5)
    >>> perturber.watch(model, optimizer)
    >>> [epoch for epoch in range(1, 13) if perturber.step(epoch, model, optimizer)]  # each after training and evaluation
    [5, 10]
    """

    def __init__(
        self,
        rule: Rule,
        *,
        period: int | None = None,
        seed: int | None = None,
        run: int = 0,
        threshold: float | None = None,
        direction: Literal["above", "below"] = "above",
        fresh: Factory | None = None,
    ) -> None:
        self.schedule = _scheduled(rule, {} if period is None else {"period": period})
        own = {"seed": 0 if seed is None else seed, "run": run, "threshold": threshold, "direction": direction}
        self._given = build(_Given, own, "")
        self.seed, self.has_own_seed = torch.initial_seed() if seed is None else self._given.seed, seed is not None
        self.passed: int | None = None
        self.epoch: int | None = None
        self._fresh, self._constants = fresh, dict[str, torch.Tensor]() if fresh is None else None
        self._initial: set[str] = set()  # names of what began as its layers draw it
        self._best: tuple[float, State] | None = None
        self._factor, self._last, self._lasting = RateFactor(), 0, 1.0
        self._rates: tuple[float, ...] | None = None
        self._warned = self._watched = False

    @property
    def takes_metric(self) -> bool:
        """True if `step` needs the epoch's metric."""
        return self._given.threshold is not None or "best" in self.schedule.rule.needs

    def watch(self, model: nn.Module, optimizer: Optimisers) -> None:
        """Inspect the network before training begins or resumes; `step` does so if it was not called.

        An InputError says now what would be missing later: nothing is trained, no fresh initialisation is known, the optimiser cannot
        forget its state or does not let its learning rate be changed.
        """
        training = Training(model, optimizer)
        if self.schedule.changes_rate or self._factor.value != 1:
            self._factor.attach(training.optimisers)
        if self.schedule.fresh_optimiser:
            training.check_wrappers()
        self._after(1, training)
        self._watched = True

    def step(self, epoch: int, model: nn.Module, optimizer: Optimisers, *, metric: float | None = None) -> bool:
        """Perturb the network if it is due, and return whether it was; call this right after every epoch's evaluation.

        The first epoch is 1. A metric that is NaN does not reach a threshold and is worse than any number. An InputError says that the
        epochs do not rise or one that was to be perturbed is left out, the metric is missing or has no threshold, or what `watch` says. A
        UserWarning comes once, if the learning rate is not that of the epoch before.
        """
        epoch, training = self._next(epoch), Training(model, optimizer)
        if self._factor.value != 1 and not self._factor.acts_on(training.optimisers):
            why = "call watch(model, optimizer) before training goes on from a loaded state or with another optimiser"
            raise InputError(f"optimizer: epoch {epoch} was trained without the factor on the learning rate; {why}")
        if self._factor.value != 1 and not self._factor.used:
            why = "whose learning rate was to be changed took no step(); pass the optimiser that does, inside a wrapper"
            raise InputError(f"optimizer: in epoch {epoch} {type(training.optimisers[0]).__name__}, {why}")
        if not self._watched:
            self.watch(model, optimizer)
        if self._rates not in (None, training.rates) and not self._warned:
            self._warned = True
            warnings.warn(f"the learning rate at epoch {epoch} is not that of the epoch before: {_SAME}", stacklevel=2)
        if self.takes_metric or metric is not None:
            self.observe(epoch, metric)
        if "best" in self.schedule.rule.needs:
            values = [*([] if self._best is None else self._best[:1]), float(metric or 0.0)]
            if Best.improved(np.array(values) * (1 if self._given.direction == "above" else -1)):
                self._best = values[-1], copied(training.read(1.0))
        if acts := self.due(epoch):
            self.perturb(epoch, model, optimizer)
        if self.schedule.changes_rate:
            self._factor.attach(training.optimisers)
        self.epoch, self._rates = epoch, training.rates
        self._factor.value, self._factor.used = self._lasting * self.schedule.factor(epoch + 1, self._last), False
        return acts

    def due(self, epoch: int) -> bool:
        """Test whether the network is perturbed after this epoch: it is the epoch's turn, and no epoch so far reached the threshold."""
        return self.passed is None and self.schedule.due(epoch)

    def observe(self, epoch: int, metric: float | None) -> None:
        """Record an epoch's metric, as `step` does."""
        threshold, direction = self._given.threshold, self._given.direction
        if not self.takes_metric:
            raise InputError("metric: there is no threshold to compare it with; give the Perturber a threshold")
        if metric is None:
            raise InputError(
                f"metric: missing at epoch {epoch}; each step needs it for the threshold or the best epoch"
            )
        value = torch.as_tensor(metric, dtype=torch.float64).numpy(force=True)
        if threshold and direction == "above" and self.epoch is None and 0 <= value <= 1 < threshold <= 100:
            also = f"the metric of epoch {epoch} is {value:.4g}; if it is a fraction, is {threshold / 100:g} meant?"
            warnings.warn(f"threshold: it is {threshold:g}, and {also}", stacklevel=3)
        if self.passed is None and threshold is not None and reached(value, Target(threshold, direction)):
            self.passed = epoch

    def perturb(self, epoch: int, model: nn.Module, optimizer: Optimisers) -> None:
        """Perturb the network now, as after this epoch, whether or not a perturbation is due."""
        training = Training(model, optimizer)
        old, new = self._after(epoch, training)
        if new.learning_rate != old.learning_rate:
            self._factor.attach(training.optimisers)
            self._lasting *= new.learning_rate / old.learning_rate
        training.write(old, new)
        self._last = epoch

    @torch.no_grad()
    def _after(self, epoch: int, training: Training) -> tuple[State, State]:
        """Return the state now and that after the perturbation; nothing is changed yet."""
        network, now, state = training.network, training.tensors, training.read(self._lasting)

        def fresh() -> tuple[Tensors, Tensors]:
            unseen = {name: value for name, value in now.items() if plain(name) not in self._initial}
            if self._fresh is None and unseen:
                check_initial(network, unseen)
                self._initial |= {plain(name) for name in unseen}
            elif self._fresh is not None and self._constants is None:
                self._constants = check_factory(network, training.parameters, self._fresh)
            # The number that seeds the initialisation is drawn as for a run of an ensemble.
            seed = int(stream(self.seed, self._given.run, "fresh", epoch).integers(2**63))
            drawn = like(draw(network, seed=seed, factory=self._fresh), now)
            for name, value in (self._constants or {}).items():
                if not drawn.get(name, value).equal(value):
                    raise InputError(f"fresh: {name} follows the training; build the network anew, not from a copy")
            rows = {name: row(value).to(row(now[name])) for name, value in drawn.items()}
            whole.append({name: rows[name] for name in state.buffers})
            return {name: rows[name] for name in state.parameters}, whole[-1]

        best = state if self._best is None else replace(self._best[1], learning_rate=state.learning_rate)
        whole, generators = [dict(best.buffers)], [stream(self.seed, self._given.run, "perturb", epoch)]
        pairs = frozenset(name for name, value in training.parameters.items() if value.is_complex())
        new = self.schedule.apply(state, Context(fresh=fresh, generators=generators, best=best, pairs=pairs))
        set_momentum(training.optimisers, new.momentum, only_check=True)
        # Masks and tables are no averages: they are taken from elsewhere as a whole, or stay.
        others = [name for name in state.buffers if not name.endswith(("running_mean", "running_var"))]
        mixed = [name for name in others if not any(new.buffers[name].equal(values[name]) for values in whole)]
        new = replace(new, buffers={**new.buffers, **{name: state.buffers[name] for name in mixed}})
        if state.optimiser.keys() - new.optimiser.keys():
            new = replace(new, optimiser={**training.unstepped(), **new.optimiser})
        return state, new

    def state_dict(self) -> dict[str, Any]:
        """Return what resumed training needs, as plain values that ``torch.load(weights_only=True)`` reads."""
        best = None if self._best is None else {"metric": self._best[0], **content(self._best[1])}
        own = {"epoch": self.epoch, "passed": self.passed, "last": self._last, "lasting": self._lasting}
        return {**own, "initial": sorted(self._initial), "best": best, **self._identity()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state_dict`, with its seed if none was given; an InputError if it comes from another kind of perturbation."""
        if set(state) != set(self.state_dict()):
            given = ", ".join(sorted(map(str, state)))
            raise InputError(f"state: has {given}; what Perturber.state_dict gave is needed")
        for key, value in self._identity().items():
            if state[key] != value and (key != "seed" or self.has_own_seed):
                raise InputError(f"{key}: {value!r} here but {state[key]!r} in the checkpoint; build it as it was")
        self.seed, self.epoch, self.passed = state["seed"], state["epoch"], state["passed"]
        self._last, self._lasting, self._initial = state["last"], state["lasting"], set(state["initial"])
        if best := dict(state["best"] or {}):
            self._best = best.pop("metric"), State(**best, learning_rate=0.0)
        # The epoch may have been trained before the state was saved.
        self._factor.value = self._lasting * self.schedule.factor((self.epoch or 0) + 1, self._last)
        self._factor.used = True

    def _identity(self) -> dict[str, Any]:
        rule = self.schedule.rule
        timing = {key: getattr(self.schedule, key) for key in ("period", "repeat", "fresh_optimiser")}
        name = repr(rule) if is_dataclass(rule) else type(rule).__qualname__
        return {"rule": name, **timing, **self._given.model_dump(), "seed": self.seed}

    def _next(self, epoch: int) -> int:
        epoch = build(_Epoch, {"epoch": epoch}, "").epoch
        if self.epoch is None:  # training may have begun without perturbation
            return epoch
        where = f"epoch: {epoch} comes after {self.epoch}"
        if epoch <= self.epoch:
            raise InputError(f"{where}; call step once after each epoch, in their order")
        if missed := [k for k in range(self.epoch + 1, epoch) if self.due(k)]:
            raise InputError(f"{where}, but epoch {missed[0]} was to be perturbed")
        if self.schedule.changes_rate and self._last and epoch > self.epoch + 1:
            raise InputError(f"{where}, but the learning rate changes every epoch; call step after each")
        return epoch


class _Given(Part):
    """Arguments of a `Perturber` that are checked as parameters are."""

    seed: Seed
    run: NaturalNumber
    threshold: Number | None
    direction: Literal["above", "below"]


class _Epoch(Part):
    epoch: PositiveInteger


def _scheduled(rule: Rule, timing: Mapping[str, Any]) -> Schedule:
    """Return the rule with its schedule, checked as a section of a parameter file is; ``timing`` replaces its own keys."""
    if isinstance(rule, Perturbation):
        return build(Schedule, {"rule": rule, **timing}, "perturbation")
    section = {"name": rule} if isinstance(rule, str) else rule.model_dump() if isinstance(rule, Schedule) else rule
    if not isinstance(section, Mapping):
        raise InputError(
            f"rule: {rule!r} is not possible; allowed: a Perturbation, such as FullReset(), its name or a section"
        )
    return schedule({**section, **timing})
