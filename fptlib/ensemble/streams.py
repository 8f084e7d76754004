"""Random numbers of one run for one purpose in one epoch, which depend on nothing else.

No random state has to be kept to resume or to fork, and two specifications with the same seed share them: a perturbed
run is the unperturbed one until its first perturbation.
"""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.spec import TrainingSpec

Purpose = Literal["initial", "order", "fresh", "perturb"]
_NUMBER: Final[dict[Purpose, int]] = {"initial": 0, "order": 1, "fresh": 2, "perturb": 3}


def stream(seed: int, run: int, purpose: Purpose, epoch: int = 0) -> np.random.Generator:
    """Return the generator of run ``run`` for a purpose in one epoch (counted from 1; 0: before the first).

    Philox is counter based: the key says whose numbers they are, the counter in which epoch. Epochs lie 2**64 blocks apart.
    """
    return np.random.Generator(np.random.Philox(key=_key(seed, run, _NUMBER[purpose]), counter=[0, epoch, 0, 0]))


def streams(seed: int, runs: Iterable[int], purpose: Purpose, epochs: Iterable[int]) -> list[np.random.Generator]:
    """Return one generator for each run in its epoch."""
    return [stream(seed, int(run), purpose, int(epoch)) for run, epoch in zip(runs, epochs, strict=True)]


def order(rng: np.random.Generator, images: int, training: TrainingSpec) -> NDArray[np.int64]:
    """Return the images that an epoch shows, batch after batch, drawn as ``training.sampling`` has it, shape ``(images,)`` or less."""
    size = training.batch_size
    rest = 0 if training.drop_last else images % size
    if training.sampling == "reshuffle":
        return rng.permutation(images)[: images - images % size + rest]
    sizes = [size] * (images // size) + [rest] * (rest > 0)
    return np.concatenate([rng.choice(images, n, replace=False) for n in sizes])


@lru_cache(maxsize=1 << 14)
def _key(seed: int, run: int, purpose: int) -> NDArray[np.uint64]:
    return np.asarray(
        np.random.SeedSequence(seed, spawn_key=(run, purpose)).generate_state(2, np.uint64), dtype=np.uint64
    )
