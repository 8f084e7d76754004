"""Finished ensembles kept with the book: one Parquet file each, named by digest, and refused where it is not what is asked for.

A file holds the held-out metrics of all runs and, in its metadata, the specification, the digest, the engine's version, the versions of
the packages and the machine. The digest covers specification and engine, so that a file is found only where these are as asked.
Specifications are compared by digest and never made again from a file: nothing in it is executed.
"""

from __future__ import annotations

import platform
import typing
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

from companion import ROOT
from companion.experiments.rows import Metric, Row
from fptlib.errors import InputError
from fptlib.spec import ENGINE_VERSION, EnsembleSpec
from fptlib.trajectories import Target, Trajectories, read_shard, write_shard

FOLDER = ROOT / "book" / "results" / "ensembles"
_PACKAGES = ("numpy", "torch", "numba", "scipy")
# What /proc/cpuinfo says of it, on x86 and on ARM.
_GENERATION = ("cpu family", "model", "stepping", "CPU part", "CPU revision")
_REMEDY = "delete it and train it again: fpt experiments"


def kept_path(spec: EnsembleSpec) -> Path:
    """Return the file of an ensemble: ``DIGEST.parquet``."""
    return FOLDER / f"{spec.digest()}.parquet"


def machine() -> dict[str, str]:
    """Return processor and versions that numbers depend on: where all agree, the same seed gives the same bits."""
    result = {"cpu": _cpu(), "system": f"{platform.system()} {platform.machine()}", "python": platform.python_version()}
    for name in _PACKAGES:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            result[name] = "none"
    return result


def keep(trajectories: Trajectories, spec: EnsembleSpec) -> None:
    """Keep a finished ensemble, all that its specification asks for; trained on this machine, unless its ``meta`` names another."""
    names = ("data", "n_evaluated", "n_validated", "device", "retirement")
    metrics = {name: trajectories.metrics[name] for name in typing.get_args(Metric) if name in trajectories.metrics}
    meta: dict[str, Any] = {name: trajectories.meta[name] for name in names if name in trajectories.meta}
    meta |= {"spec": spec.identity(), "digest": spec.digest(), "engine": ENGINE_VERSION}
    meta |= {"runs": spec.runs, "epochs": spec.epochs, "machine": trajectories.meta.get("machine") or machine()}
    record = Trajectories(metrics=metrics, run=trajectories.run, meta=meta, followed=trajectories.followed)
    write_shard(kept_path(spec), record, level=19)


def read_kept(spec: EnsembleSpec, *, retirement: Target | None = None) -> Trajectories | None:
    """Read the kept ensemble of a specification; return ``None`` where none is kept.

    Parameters
    ----------
    spec
        Specification, with the runs and epochs that are needed.
    retirement
        Where its runs must have left their training; ``None``: all followed to the horizon.

    Raises
    ------
    InputError
        If the file is stale or damaged: it is of another ensemble, its numbers are not those that were written, it holds fewer runs or
        epochs than are needed, or its runs were retired elsewhere.
    """
    path = kept_path(spec)
    if not path.exists():
        return None
    try:
        record = read_shard(path, digest=path.stem, first=0)
    except InputError as error:
        raise InputError(f"{error}; {_REMEDY}") from None
    if record.n_runs < spec.runs or record.n_epochs < spec.epochs:
        raise InputError(
            f"{path}: stale ({record.n_runs} runs of {record.n_epochs} epochs, {spec.runs} of {spec.epochs} are asked for); {_REMEDY}"
        )
    if record.retirement != retirement:
        here, requested = (str(at) if at else "nowhere" for at in (record.retirement, retirement))
        raise InputError(f"{path}: stale (runs retired at {here}, asked for is {requested}); {_REMEDY}")
    meta = {**record.meta, "source": str(path)}
    known = Trajectories(metrics=record.metrics, run=record.run, meta=meta, followed=record.followed)
    return known.head(runs=spec.runs, epochs=spec.epochs)


def refuse_orphans(rows: Iterable[Row]) -> None:
    """Make sure that every kept file belongs to a row.

    Raises
    ------
    InputError
        If one belongs to none: the row that asked for it has changed, or is gone.
    """
    requested = {f"{row.ensemble(key).digest()}.parquet" for row in rows for key in row.members()}
    for path in sorted(FOLDER.glob("*")):
        if path.name not in requested and not path.name.startswith("."):
            raise InputError(f"{path}: no row asks for it; delete it, or undo the change of the row it belonged to")


def _cpu() -> str:
    """Return name and generation of the processor: in virtual machines several generations have one name."""
    try:
        first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        first = ""
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}
    name = fields.get("model name") or platform.processor() or "unknown"
    generation = ", ".join(f"{key} {fields[key]}" for key in _GENERATION if key in fields)
    return f"{name} ({generation})" if generation else name
