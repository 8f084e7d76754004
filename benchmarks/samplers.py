"""How far from a posterior that is known the samples of three samplers are, against the learning rate; a part of ``equilibrium.py``.

Two linear regressions: data drawn from the model, and the masses of nuclei (what the liquid drop leaves, on the principal components of
the features, scaled to deviation 1). All three samplers see the same noise, and the full batch's covariance is known exactly. What it
misses in the simulation is therefore subtracted from the others' covariances: that sampling error is theirs too.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from companion.published.kept import record
from fptlib import data
from fptlib.equilibrium import divergence, sampled, simulate
from fptlib.files import write_atomically
from fptlib.spec.datasets import NuclearMassesSpec

SAMPLERS = {"full batch": (1, True), "SGLD": (100, True), "SGWORLD": (100, False)}  # batches an epoch, replacement
STEPS = (0.1, 0.03, 0.01, 0.003, 0.001)  # learning rate times the largest curvature
RUNS, KEPT = (
    {"regression": 2000, "nuclear masses": 500},
    12,
)  # of each run: weights, half a relaxation time or an epoch apart
BEFORE = 4  # relaxation times that are left out at first
N_BOOT, SEED = 1000, 15
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Regression:
    """Bayesian linear regression of ``y`` on ``x`` with deviations of noise and prior."""

    x: Array
    y: Array
    noise: float
    prior: float = 1.0

    @cached_property
    def hessians(self) -> Array:
        """Curvatures of the losses of single samples, ``(M, p, p)``."""
        own = self.x[:, :, None] * self.x[:, None]
        return np.asarray(len(self.y) / self.noise**2 * own + np.eye(self.x.shape[1]) / self.prior**2)

    @cached_property
    def precision(self) -> Array:
        """Inverse of the posterior's covariance, ``(p, p)``."""
        return np.asarray(self.hessians.mean(axis=0))

    @cached_property
    def mean(self) -> Array:
        """Mean of the posterior, ``(p,)``."""
        return np.linalg.solve(self.precision, self.x.T @ self.y / self.noise**2)

    def gradient(self, w: Array, rows: Any = None) -> Array:
        """Return gradients at weights ``(runs, p)``, for `simulate`; of single samples where ``rows`` asks for them."""
        if rows is None:
            return np.asarray((w - self.mean) @ self.precision)
        x, scale = self.x.take(rows, axis=0), len(self.y) / rows.shape[1] / self.noise**2
        off = np.einsum("rmp,rp->rm", x, w) - self.y.take(rows)
        return np.asarray(scale * np.einsum("rm,rmp->rp", off, x) + w / self.prior**2)


def regression() -> Regression:
    """Return 500 points drawn from the model with three weights."""
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((500, 3))
    return Regression(x, x @ rng.standard_normal(3) + rng.standard_normal(500), 1.0)


def nuclear_masses() -> Regression:
    """Return 1800 nuclei; the noise is what the best linear model leaves."""
    known = data.load(NuclearMassesSpec(train_size=1800, target="residual"))
    y, (left, _, _) = known.y_train.astype(float), np.linalg.svd(known.x_train.astype(float), full_matrices=False)
    x = left * np.sqrt(len(y))
    return Regression(x, y, float((y - x @ (x.T @ y) / len(y)).std()))


def compare(model: Regression, *, step: float, runs: int) -> pd.DataFrame:
    """Return a row for each sampler at one learning rate, and beneath the ratio of SGLD's divergence to SGWORLD's."""
    size, each, (rng, boot) = len(model.y), model.hessians, np.random.default_rng(SEED).spawn(2)
    h, p = model.precision, each.shape[1]
    values = np.linalg.eigvalsh(h)
    rate, n = step / values[-1], SAMPLERS["SGLD"][0]
    apart = max(1, round(0.5 / (n * rate * values[0])))  # epochs between samples
    left_out = 1 + int(BEFORE / (apart * n * rate * values[0]))
    steps = (left_out + KEPT) * apart * n
    start = rng.multivariate_normal(model.mean, np.linalg.inv(h), size=runs)
    pull = model.gradient(np.tile(model.mean, (size, 1)), np.arange(size)[:, None])
    weights = np.vstack([np.full(runs, 1 / runs), boot.multinomial(runs, np.full(runs, 1 / runs), size=N_BOOT) / runs])
    rows, error, scores = [], (0.0, 0.0), {}
    for name, (batches, replacement) in SAMPLERS.items():
        way: dict[str, Any] = {"rate": rate, "batch": size // batches, "replacement": replacement}
        again = np.random.default_rng(SEED)
        w = simulate(model.gradient, start, size=size, steps=steps, every=apart * n, rng=again, noise=True, **way)
        w = w[:, 1 + left_out :] - model.mean
        first, second = w.mean(axis=1), np.einsum("rki,rkj->rij", w, w) / w.shape[1]
        exact, seen = sampled(pull, each, **way), (weights @ first, np.einsum("br,rij->bij", weights, second))
        bare = seen[1] - seen[0][:, :, None] * seen[0][:, None] if name == "full batch" else seen[1] - error[1]
        off = seen[0] - error[0]
        error = (seen[0], seen[1] - exact) if name == "full batch" else error
        excess = np.trace(h @ bare, axis1=1, axis2=2) / p - 1
        far = divergence(bare, h, off=off)
        bias = far[1:].mean() - far[0]  # a divergence is never negative, so that errors add to it
        scores[name] = np.maximum(far - np.where(np.arange(len(far)), 2, 1) * bias, 0)
        for quantity, value, theory in (
            ("divergence", scores[name], divergence(exact, h)),
            ("excess", excess, np.trace(h @ exact) / p - 1),
        ):
            low, high = np.quantile(value[1:], [0.025, 0.975])
            rows.append((name, quantity, value[0], low, high, float(theory)))
    table = pd.DataFrame(rows, columns=["sampler", "quantity", "mean", "low", "high", "theory"])
    share = scores["SGLD"] / np.maximum(scores["SGWORLD"], 1e-12)
    ends = [share[0], *np.quantile(share[1:], [0.025, 0.975])]
    theory = table.query("quantity == 'divergence'").set_index("sampler")["theory"]
    table.loc[len(table)] = ["SGLD / SGWORLD", "ratio", *ends, theory["SGLD"] / theory["SGWORLD"]]
    return table.assign(step=step, runs=runs)


def samplers(folder: Path) -> None:
    """Write ``samplers.csv``, a row for each data set, learning rate, sampler and quantity, and the ratios into ``measures.csv``."""
    path, tables = folder / "samplers.csv", []
    kept = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["data", "step", "runs"])
    for name, model in (("regression", regression()), ("nuclear masses", nuclear_masses())):
        for step in STEPS:
            table = kept[(kept["data"] == name) & (kept["step"] == step) & (kept["runs"] == RUNS[name])]
            if table.empty:
                table = compare(model, step=step, runs=RUNS[name]).assign(data=name)
            tables.append(table)
            done = pd.concat(tables)
            write_atomically(path, lambda file, done=done: done.to_csv(file, index=False, float_format="%.5g"))
    ratios = done[done["quantity"] == "ratio"].set_index(["data", "step"])
    names = {
        ("regression", 0.01): "SGLD / SGWORLD, one epoch per relaxation time",
        ("regression", 0.001): "SGLD / SGWORLD, a tenth of the learning rate",
        ("regression", 0.1): "SGLD / SGWORLD, ten times the learning rate",
        ("nuclear masses", 0.01): "SGLD / SGWORLD, nuclear masses",
    }
    record(
        folder,
        [
            {"quantity": names[at]} | dict(row[["mean", "low", "high", "runs"]])
            for at, row in ratios.iterrows()
            if at in names
        ],
    )


if __name__ == "__main__":
    samplers(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "book/results/equilibrium")
