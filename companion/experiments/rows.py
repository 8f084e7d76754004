"""Rows of the experiments: one training set-up, the perturbations and periods it is measured with, and the threshold's rule.

A row is a file ``params/experiments/NAME.yml``. It names an ensemble's parameter file and what is changed there, and says how many runs
are trained and how far. Everything else follows: the specification of each ensemble, and the digest under which its result is kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from companion import ROOT, words
from fptlib import spec as specs
from fptlib.errors import InputError
from fptlib.parameters import Number, Part, PositiveInteger, describe, nearest
from fptlib.spec import EnsembleSpec
from fptlib.spec.written import parse
from fptlib.trajectories import Direction

FOLDER = ROOT / "params" / "experiments"
# What is kept of an ensemble.
Metric = Literal["test_metric", "valid_metric", "test_rmse"]
Step = Literal["data", "architecture", "optimiser", "task"]
STEPS: tuple[Step, ...] = ("data", "architecture", "optimiser", "task")
Share = Annotated[Number, Field(gt=0, lt=1)]
Key = tuple[str, int] | None  # perturbation and period; None without perturbation


class Row(Part):
    """One row of the experiments.

    Parameters
    ----------
    title
        A few words for tables and figures.
    steps
        Chains of comparisons that the row belongs to (``data``, ``architecture``, ``optimiser``, ``task``), with its place in each.
    base, changes
        Parameter file of an ensemble, relative to the row's file, and what is changed there (nested or dotted keys).
    metric, direction
        What is judged: ``test_metric`` (accuracy or R2), ``valid_metric`` or, of regression, ``test_rmse``; and whether it grows.
    threshold, censored
        The threshold; without one, the rule: the value that leaves as close to the share ``censored`` of the unperturbed runs below it as
        the metric's steps allow, see `companion.experiments.gather.target_of`.
    runs, perturbed_runs, epochs
        Unperturbed runs, runs of each perturbed ensemble (the same first seeds), and the horizon in epochs.
    period, periods
        ``P0``, from which everything is predicted, and the other periods that are measured, in epochs.
    retire
        Whether perturbed runs leave their training once they reach the threshold. It saves time; what they would have ended with is then
        unknown.
    perturbations, controls
        Name of each perturbation to its section of the parameters without ``period`` (``name`` by default the name itself). Controls are
        measured at ``control_periods`` only and are no candidates for a choice.
    """

    title: str
    steps: dict[Step, PositiveInteger] = Field(default_factory=dict)
    base: str
    changes: dict[str, Any] = Field(default_factory=dict)
    metric: Metric = "test_metric"
    direction: Direction = "above"
    threshold: Number | None = None
    censored: Share = 0.5
    runs: PositiveInteger
    perturbed_runs: PositiveInteger
    epochs: PositiveInteger
    period: PositiveInteger
    periods: Annotated[tuple[PositiveInteger, ...], Field(min_length=1)]
    retire: bool = True
    perturbations: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    controls: dict[str, dict[str, Any]] = Field(default_factory=dict)
    control_periods: tuple[PositiveInteger, ...] = ()

    _name: str = PrivateAttr(default="row")
    _plain: EnsembleSpec | None = PrivateAttr(default=None)

    @field_validator("perturbations", "controls")
    @classmethod
    def _sections(cls, sections: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, section in sections.items():
            if "period" in section:
                raise ValueError(f"{name}: the period belongs to the row (period, periods), and to no perturbation")
        return {name: {"name": name, **section} for name, section in sections.items()}

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for period in (self.period, *self.periods, *self.control_periods):
            if period >= self.epochs:
                raise ValueError(f"periods: {period} is not before the horizon, epochs = {self.epochs}")
        if self.period in self.periods or len(set(self.periods)) < len(self.periods):
            raise ValueError(f"periods: {list(self.periods)} repeats a period, or period = {self.period}; each once")
        if self.perturbed_runs > self.runs:
            raise ValueError(
                f"perturbed_runs: {self.perturbed_runs} exceeds runs = {self.runs}: they share their seeds"
            )
        twice = set(self.perturbations) & set(self.controls)
        if twice:
            raise ValueError(f"controls: {sorted(twice)[0]!r} is the name of a perturbation too")
        return self

    @property
    def name(self) -> str:
        """Stem of the row's file."""
        return self._name

    @property
    def short(self) -> str:
        """The title without what most rows share: a fully connected network, and SGD."""
        return self.title.replace(", MLP", "").replace(", SGD", "")

    @property
    def unperturbed(self) -> EnsembleSpec:
        """Specification of the unperturbed ensemble."""
        if self._plain is None:
            raise InputError(f"row {self.name}: made without a parameter file; use load_row")
        return self._plain

    def members(self) -> tuple[Key, ...]:
        """List all ensembles of the row: ``None``, then perturbation and period."""
        checked = sorted(set(self.control_periods) or {self.period})
        pairs = [(name, period) for name in self.perturbations for period in sorted((self.period, *self.periods))]
        return (None, *pairs, *((name, period) for name in self.controls for period in checked))

    def ensemble(self, key: Key) -> EnsembleSpec:
        """Return the specification of one ensemble."""
        if key is None:
            return self.unperturbed
        name, period = key
        section = {**self.perturbations, **self.controls}[name]
        return specs.override(
            self.unperturbed, {"perturbation": {**section, "period": period}, "runs": self.perturbed_runs}
        )

    def sized(self, **changes: Any) -> Row:
        """Return the row with other sizes: ``runs``, ``perturbed_runs``, ``epochs``, ``period``, ``periods``, ``perturbations``, ...

        Raises
        ------
        InputError
            As `load_row`.
        """
        values = {key: value for key, value in self.model_dump().items() if key in self.model_fields_set} | changes
        try:
            row = Row.model_validate(values)
        except ValidationError as error:
            raise InputError(f"row {self.name}: {describe(error, Row, '')}") from None
        return _bound(row, self.name, specs.override(self.unperturbed, {"runs": row.runs, "epochs": row.epochs}))


def load_row(path: str | os.PathLike[str]) -> Row:
    """Read the file of a row, and check that every ensemble of it is possible.

    Raises
    ------
    InputError
        One line naming file, key, value and what is allowed.
    """
    path = Path(path)
    try:
        content = parse(path.read_text(encoding="utf-8"))
        if not isinstance(content, Mapping):
            raise InputError("not a mapping; keys such as title, base and perturbations are needed")
        row = Row.model_validate(dict(content))
        changes = {**row.changes, "runs": row.runs, "epochs": row.epochs, "perturbation": None}
        plain = specs.override(specs.load(path.parent / row.base), changes)
        row = _bound(row, path.stem, plain)
        for key in row.members():
            row.ensemble(key)
        if row.metric.startswith("valid_") and not plain.data.validation_size:
            raise InputError(f"metric: {row.metric} needs data.validation_size above 0")
        if row.metric == "test_rmse" and plain.data.TASK != "regression":
            raise InputError(f"metric: test_rmse is of regression, and {plain.data.name} has classes")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the file of a row is needed") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; the file of a row is YAML") from None
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Row, '')}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return row


def load_rows(names: Iterable[str] = ()) -> dict[str, Row]:
    """Read rows by the stems of their files, in this order; by default all, in the order of their steps.

    Raises
    ------
    InputError
        If a name is not known, a file is wrong, or two rows hold the same ensemble: it belongs to one.
    """
    known = {path.stem: path for path in sorted(FOLDER.glob("*.yml"))}
    if not known:
        raise InputError(f"{FOLDER}: no rows of experiments (files NAME.yml) there")
    for name in (names := tuple(names)):
        if name not in known:
            raise InputError(f"no row {name!r}{nearest(name, known)}")
    rows = {name: load_row(path) for name, path in known.items()}
    owners: dict[str, str] = {}
    for name, row in rows.items():
        for key in row.members():
            other = owners.setdefault(row.ensemble(key).digest(), name)
            if other != name:
                raise InputError(f"{known[name]}: {words(key)} is an ensemble of row {other} already; rows share none")
    order = sorted(rows, key=lambda name: (_place(rows[name]), name))
    return {name: rows[name] for name in dict.fromkeys(names or order)}


def chain(rows: Mapping[str, Row], step: Step) -> list[str]:
    """Return the names of the rows of one step, in its order."""
    return sorted((name for name, row in rows.items() if step in row.steps), key=lambda name: rows[name].steps[step])


def _bound(row: Row, name: str, plain: EnsembleSpec) -> Row:
    row._name, row._plain = name, plain
    return row


def _place(row: Row) -> tuple[int, int]:
    return min(((STEPS.index(step), place) for step, place in row.steps.items()), default=(len(STEPS), 0))
