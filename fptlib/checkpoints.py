"""Snapshots of unfinished training: written in one step, checked when read, and read without executing code."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fptlib.errors import InputError
from fptlib.files import write_atomically

# First bytes of a snapshot; the number is raised when the content changes shape.
_NAME = b"fptlib snapshot "
_MAGIC = _NAME + b"3\n"
_SUM_BYTES = 64


class OtherFormatError(InputError):
    """A valid snapshot that another version of this library wrote."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Some runs of an ensemble, each after some epoch, perturbed if that epoch was due.

    Parameters
    ----------
    digest
        Digest of the specification.
    run, epoch, learning_rate
        Number of each run and the epochs it has done, int64, and its learning rate, float64, shape ``(runs,)``.
    momentum
        Of each run, float64, where it is no longer the one that training began with; else NaN, or ``None`` for all.
    parameters, buffers
        Name to tensor ``(runs, ...)``, on the CPU.
    optimiser
        The optimiser's state as PyTorch's ``state_dict()["state"]`` has it, with an axis of runs everywhere.
    metrics
        Name to what was recorded, float64, shape ``(runs, epochs)``; NaN beyond a run's own epoch.
    best
        ``parameters``, ``buffers`` and ``optimiser`` of each run after the epoch with its best validation metric so far,
        where a perturbation goes by them.
    """

    digest: str
    run: Tensor
    epoch: Tensor
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    optimiser: Mapping[Any, Any]
    learning_rate: Tensor
    metrics: Mapping[str, Tensor]
    best: Mapping[str, Any] | None = None
    momentum: Tensor | None = None


def write(path: str | os.PathLike[str], snapshot: Snapshot) -> None:
    """Write a snapshot: whenever the process is stopped, the file is the old one or the new one."""
    content = {name: getattr(snapshot, name) for name in Snapshot.__slots__}
    buffer = io.BytesIO()
    torch.save({key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}, buffer)
    payload = buffer.getvalue()
    checksum = hashlib.sha256(payload).hexdigest().encode()
    write_atomically(Path(path), lambda file: file.writelines((_MAGIC, checksum, payload)))


def read(path: str | os.PathLike[str]) -> Snapshot:
    """Read a snapshot; an InputError if it is missing, damaged or none, an `OtherFormatError` if of another version."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a snapshot is needed") from None
    if not raw.startswith(_MAGIC):
        other = re.match(re.escape(_NAME) + rb"\d+\n", raw)
        raise (OtherFormatError if other else InputError)(f"{path}: not a snapshot of this version")
    start = len(_MAGIC) + _SUM_BYTES
    payload = raw[start:]
    if hashlib.sha256(payload).hexdigest().encode() != raw[len(_MAGIC) : start]:
        raise InputError(f"{path}: damaged snapshot (its checksum differs)")
    try:
        # weights_only: tensors and plain values are rebuilt, and nothing in the file is called.
        content = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        return Snapshot(**content)
    except (pickle.UnpicklingError, RuntimeError, TypeError):
        raise InputError(f"{path}: not a snapshot of this version") from None


def merge(first: Snapshot, second: Snapshot) -> Snapshot:
    """Return the runs of two snapshots of one ensemble at one epoch, in order; where both have a run, that of the first is used."""
    keep = [i for i, run in enumerate(second.run.tolist()) if run not in set(first.run.tolist())]
    order = torch.argsort(torch.cat([first.run, second.run[keep]]))

    def joined(a: Any, b: Any) -> Any:
        if isinstance(a, Mapping):
            return None if b is None else {key: joined(value, b[key]) for key, value in a.items()}
        return a if a is None or isinstance(a, str) else torch.cat([a, b[keep]])[order]

    return Snapshot(**{name: joined(getattr(first, name), getattr(second, name)) for name in Snapshot.__slots__})
