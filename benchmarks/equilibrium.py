# ruff: noqa: T201
"""Simulate minibatch descent around a minimum, for the chapter *In and out of equilibrium*.

Run with ``python benchmarks/equilibrium.py [PART ...]``; ``--help`` lists the parts and options. A part consists of blocks, each with its
own seed; finished ones are read from the folder of work, so that an interrupted command goes on where it was.

- *regression*: 200 points, seven weights, with replacement: areas, entropy of up to 3 000 steps, covariance;
- *epochs*: the same without replacement, from the minimum of the loss: where the mean goes, and the covariance;
- *orders*: diffusion over rates, with and without replacement, simulated from a point beside the minimum;
- *linear*, *network*: MNIST at 7 x 7 pixels, a linear softmax and a small network with a hidden layer;
- *samplers*: three samplers of a posterior; *drawing*: training runs with and without replacement.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd
import torch
from drawing import drawing
from numpy.typing import NDArray
from samplers import samplers
from scipy import optimize
from torch import Tensor

from companion.published.kept import record
from fptlib import data, equilibrium
from fptlib.equilibrium import simulate
from fptlib.files import write_atomically
from fptlib.spec.datasets import Mnist5kSpec

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "book" / "results" / "equilibrium"
COMMAND = "python benchmarks/equilibrium.py"
Array = NDArray[np.float64]
Tables = dict[str, Array]

POINTS, NOISE, DECAY = 200, 0.1, 0.001
START = (1.28, 1.23, 0.70, -0.53, 0.93, -0.91, 0.0)
RATE, BATCH, SEED = 1e-7, 10, 0
FASTER = 4e-7  # of the epochs, which at the rate of the steps would take ten times longer to settle
RATES = (1e-8, 3e-8, 1e-7, 3e-7, 1e-6)
LINEAR = {"rate": 1e-2, "batch": 10}
NETWORK = {"rate": 0.1, "batch": 100}
PENALTY, CLASSES, SIDE, HIDDEN = 1e-2, 10, 7, 10
LEADING = 20  # directions of largest curvature in which the theorems are tested on images


def points() -> tuple[Array, Array]:
    """Return the data of the regression."""
    x = -3 + 0.03 * np.arange(POINTS)
    return x, np.exp(-(x**2)) + NOISE * np.random.default_rng(SEED).standard_normal(POINTS)


def regression(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of a point: two hidden units, mean square and decay, in units in which exp(-loss) is a posterior."""
    f = w[4] * torch.tanh(w[0] * x + w[2]) + w[5] * torch.tanh(w[1] * x + w[3]) + w[6]
    return POINTS / (2 * NOISE**2) * ((y - f) ** 2 + DECAY * w @ w)


def slope_of(x: Array, y: Array) -> Callable[[Array, NDArray[np.int64] | None], Array]:
    """Return the gradient of `regression` over batches, by hand: ten times quicker than by `batch_gradient`."""

    def gradient(w: Array, rows: NDArray[np.int64] | None) -> Array:
        assert rows is not None
        at, aim, v = x.take(rows), y.take(rows), w.T[:, :, None]
        one, two = np.tanh(v[0] * at + v[2]), np.tanh(v[1] * at + v[3])
        off = v[4] * one + v[5] * two + v[6] - aim
        back, front = off * v[4] * (1 - one**2), off * v[5] * (1 - two**2)
        parts = (back * at, front * at, back, front, off * one, off * two, off)
        return POINTS / NOISE**2 * (np.stack([part.mean(axis=1) for part in parts], axis=1) + DECAY * w)

    return gradient


def theory(loss: equilibrium.Loss, sample: Any, at: Array, *, rate: float, batch: int) -> dict[str, Array]:
    """Return curvature, diffusion, covariance and circulation at a minimum."""
    curve = equilibrium.hessian(equilibrium.mean_loss(loss, sample), at)
    noise = equilibrium.diffusion(loss, sample, at, rate=rate, batch=batch)
    cloud = equilibrium.covariance(curve, noise, rate=rate)
    turn = equilibrium.circulation(curve, cloud, rate=rate)
    return {"hessian": curve, "diffusion": noise, "covariance": cloud, "circulation": turn}


def flow(known: dict[str, Array]) -> dict[str, Array]:
    """Return what `fptlib.equilibrium.entropy` asks for."""
    return {name: known[name] for name in ("circulation", "diffusion", "covariance")}


class Block:
    """Blocks of a part, each computed once and kept as arrays in the folder of work."""

    def __init__(self, folder: Path, part: str) -> None:
        self.folder, self.part = folder, part

    def __call__(self, number: int, compute: Callable[[np.random.Generator], Tables]) -> Tables:
        """Return the arrays of a block, read or computed."""
        path = self.folder / f"{self.part}-{number}.npz"
        if not path.exists():
            arrays = compute(np.random.default_rng([SEED, number]))
            write_atomically(path, lambda file: np.savez(file, **arrays))
            print(f"{self.part}: block {number}", flush=True)
        with np.load(path) as kept:
            return dict(kept)


def interval(values: Array) -> tuple[Any, Any, Any]:
    """Return the mean over the first axis and the ends of its 95 % interval."""
    mean, half = values.mean(axis=0), 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return mean, mean - half, mean + half


def save(folder: Path, name: str, table: pd.DataFrame) -> None:
    """Write a table."""
    write_atomically(folder / f"{name}.csv", lambda file: table.to_csv(file, index=False, float_format="%.6g"))


def measure(folder: Path, quantity: str, mean: float, low: float, high: float, *, runs: int) -> None:
    """Keep a number for the reproduction index."""
    record(folder, [{"quantity": quantity, "mean": mean, "low": low, "high": high, "runs": runs}])


def detailed(sigma: Array) -> tuple[float, float, float]:
    """Return the slope of ln p(s)/p(-s) against s, by logistic regression of the sign on the size, and its 95 % interval."""
    size, up, slope, info = np.abs(sigma), sigma > 0, 0.0, 1.0
    for _ in range(20):
        share = 1 / (1 + np.exp(-slope * size))
        info = float((size**2 * share * (1 - share)).sum())
        slope += float((size * (up - share)).sum()) / info
    return slope, slope - 1.96 / np.sqrt(info), slope + 1.96 / np.sqrt(info)


def walk(
    gradient: Callable[[Array, NDArray[np.int64] | None], Array],
    start: Array,
    at: Array,
    known: dict[str, Array],
    *,
    basis: Array | None,
    marks: Sequence[int],
    rng: np.random.Generator,
    chunk: int = 50,
    **how: Any,
) -> Tables:
    """Follow replicas with replacement: the areas that they sweep, the entropy until some steps, and exp(-entropy) of a step.

    With a basis, in its coordinates; ``known`` is then in these too.
    """
    w, area, sigma, weight, sums = start, 0.0, np.zeros(len(start)), 0.0, []
    for step in range(0, max(marks), chunk):
        path = simulate(gradient, w, steps=chunk, rng=rng, **how)
        w = path[:, -1]
        x = path - at if basis is None else (path - at) @ basis
        steps = equilibrium.entropy(x, **flow(known))
        area, sigma, weight = (
            area + equilibrium.swept_area(x),
            sigma + steps.sum(axis=1),
            weight + np.exp(-steps).mean(axis=1),
        )
        if step + chunk in marks:
            sums.append(sigma)
    blocks = max(marks) // chunk
    return {"area": area / blocks, "entropy": np.stack(sums, axis=1), "step": weight / blocks, "last": w}


def do_regression(folder: Path, work: Path, *, replicas: int = 2000, blocks: int = 5) -> None:
    """With replacement."""
    sample = points()
    at = equilibrium.minimum(equilibrium.mean_loss(regression, sample), START)
    known, marks = theory(regression, sample, at, rate=RATE, batch=BATCH), (50, 500, 1500, 3000)
    how = {"size": POINTS, "rate": RATE, "batch": BATCH, "basis": None, "marks": marks}
    block, kept = Block(work, "regression"), []
    for number in range(blocks):

        def compute(rng: np.random.Generator) -> Tables:
            start = rng.multivariate_normal(at, known["covariance"], replicas)
            return walk(slope_of(*sample), start, at, known, rng=rng, **how)

        kept.append(block(number, compute))
    every = {name: np.concatenate([each[name] for each in kept]) for name in kept[0]}
    i, j = np.triu_indices(len(at), 1)
    mean, low, high = interval(every["area"][:, i, j])
    save(
        folder,
        "areas",
        pd.DataFrame(
            {
                "first": i + 1,
                "second": j + 1,
                "theory": known["circulation"][i, j],
                "mean": mean,
                "low": low,
                "high": high,
            }
        ),
    )
    save(folder, "entropy", pd.DataFrame(every["entropy"].round(4), columns=[str(mark) for mark in marks]))
    weight = np.exp(-every["entropy"])
    rows = [("integral theorem 1 step", *interval(every["step"]))]
    rows += [(f"integral theorem {mark} steps", *interval(weight[:, k])) for k, mark in enumerate(marks)]
    rows.append(("entropy production of a step", *interval(every["entropy"][:, -1] / marks[-1])))
    save(folder, "regression", pd.DataFrame(rows, columns=["quantity", "mean", "low", "high"]).assign(runs=len(weight)))
    certain, expected = 1 / every["area"][:, i, j].var(axis=0), known["circulation"][i, j]
    share = every["area"][:, i, j] @ (certain * expected) / (certain * expected**2).sum()
    measure(folder, "area swept / circulation", *interval(share), runs=len(share))
    measure(folder, "integral theorem, regression", *interval(weight[:, 0]), runs=len(weight))
    measure(folder, "detailed theorem, regression", *detailed(every["entropy"][:, -1]), runs=len(weight))


def do_epochs(folder: Path, work: Path, *, replicas: int = 100, epochs: int = 4600, every: int = 46) -> None:
    """Without replacement, from the minimum of the loss."""
    sample, how = points(), {"rate": FASTER, "batch": BATCH}
    at = equilibrium.minimum(equilibrium.mean_loss(regression, sample), START)
    effective = equilibrium.effective_loss(regression, sample, **how)
    aim, n = equilibrium.minimum(effective, at), POINTS // BATCH
    curve, times = equilibrium.hessian(effective, aim), {"steps": n * every, "every": n * every}

    def compute(rng: np.random.Generator) -> Tables:
        start, kept = np.tile(at, (replicas, 1)), []
        for _ in range(epochs // every):
            path = simulate(slope_of(*sample), start, size=POINTS, rng=rng, replacement=False, **how, **times)
            start = path[:, -1]
            kept.append(start)
        return {"paths": np.stack(kept, axis=1)}

    paths = Block(work, "epochs")(0, compute)["paths"]  # (replicas, times, p)
    values, axes = np.linalg.eigh(curve)
    rows: list[tuple[float, ...]] = []
    for k in range(paths.shape[1]):
        epoch = (k + 1) * every
        theory = axes @ (np.exp(-FASTER * values * epoch) * (axes.T @ (at - aim)))
        size, mean = float(np.linalg.norm(theory)), paths[:, k].mean(axis=0)
        along = interval((paths[:, k] - aim) @ theory / size)
        rows.append((epoch, size, *along, np.linalg.norm(mean - at), np.linalg.norm(mean - aim)))
    columns = ["epoch", "theory", "mean", "low", "high", "from_minimum", "from_effective"]
    save(folder, "epochs", pd.DataFrame(rows, columns=columns))
    drawn = np.random.default_rng(SEED).integers(0, replicas, (1000, replicas))
    ends = paths[drawn, -1].mean(axis=1)
    ratios = np.linalg.norm(ends - aim, axis=1) / np.linalg.norm(ends - at, axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    quantity = "mean without replacement, distance to effective minimum / to minimum"
    measure(folder, quantity, rows[-1][-1] / rows[-1][-2], low, high, runs=replicas)


def do_orders(folder: Path, work: Path, *, draws: int = 20_000) -> None:
    """Half the variance of a displacement, of a step with replacement and of an epoch without."""
    sample, block, rows = points(), Block(work, "orders"), []
    at = equilibrium.minimum(equilibrium.mean_loss(regression, sample), START)

    def compute(rate: float, rng: np.random.Generator) -> Tables:
        result = {}
        for name, steps in (("with", 1), ("without", POINTS // BATCH)):
            how: dict[str, Any] = {"size": POINTS, "rate": rate, "batch": BATCH, "replacement": name == "with"}
            path = simulate(slope_of(*sample), np.tile(at, (draws, 1)), steps=steps, every=steps, rng=rng, **how)
            move = path[:, 1] - path[:, 0]
            result[name] = ((move - move.mean(axis=0)) ** 2).sum(axis=1) / 2
        return result

    for number, rate in enumerate(RATES):
        for name, square in block(number, partial(compute, rate)).items():
            noise = equilibrium.diffusion(regression, sample, at, rate=rate, batch=BATCH, replacement=name == "with")
            rows.append((name, rate, np.trace(noise), *interval(square), draws))
    table = pd.DataFrame(rows, columns=["replacement", "rate", "theory", "mean", "low", "high", "runs"])
    save(folder, "orders", table)
    small = table[table["rate"] <= RATE]  # above, the next order in the rate counts
    for name, part in small.groupby("replacement"):
        error = (part["high"] - part["low"]) / 3.92 / part["mean"]
        x = np.log(part["rate"]) - np.log(part["rate"]).mean()
        power, half = (
            float((x * np.log(part["mean"])).sum() / (x @ x)),
            1.96 * float(np.sqrt(((x * error) ** 2).sum()) / (x @ x)),
        )
        measure(folder, f"diffusion exponent, {name} replacement", power, power - half, power + half, runs=draws)


def images() -> tuple[Array, NDArray[np.int64]]:
    """Return the training images of MNIST, 7 x 7 mean pixels from 0 to 1, and their labels."""
    loaded = data.load(Mnist5kSpec(pool=2))
    x = loaded.x_train.astype(float).reshape(-1, SIDE, 2, SIDE, 2).mean(axis=(2, 4)).reshape(-1, SIDE * SIDE)
    return x, loaded.y_train.astype(np.int64)


def linear(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of an image: linear softmax with weight decay."""
    return -torch.log_softmax(w.reshape(CLASSES, -1) @ x, 0).gather(0, y[None])[0] + PENALTY / 2 * w @ w


def network(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the loss of an image: a hidden layer of ten rectified units, with decay of the weights and not of the biases."""
    first, second, inner, outer = torch.split(w, [HIDDEN * SIDE**2, HIDDEN * CLASSES, HIDDEN, CLASSES])
    hidden = torch.relu(first.reshape(HIDDEN, -1) @ x + inner)
    score = torch.log_softmax(second.reshape(CLASSES, -1) @ hidden + outer, 0)
    return -score.gather(0, y[None])[0] + PENALTY / 2 * (first @ first + second @ second)


def found_minimum(loss: equilibrium.Loss, sample: Any, start: Array) -> Array:
    """Return where a quasi-Newton method stops."""
    mean, slope = equilibrium.mean_loss(loss, sample), equilibrium.batch_gradient(loss, sample)
    result = optimize.minimize(
        lambda w: float(mean(torch.as_tensor(w))), start, jac=lambda w: slope(w[None], None)[0], method="L-BFGS-B",
        options={"maxiter": 3000, "maxfun": 4000, "ftol": 0, "gtol": 1e-8, "maxcor": 30},
    )  # fmt: skip
    return np.asarray(result.x)


def on_images(name: str, folder: Path, work: Path, *, replicas: int, steps: int, chunk: int = 20) -> None:
    """Follow replicas on MNIST from one point; their squared distance from it, covariance, and entropy in the leading directions."""
    loss, how = {"linear": (linear, LINEAR), "network": (network, NETWORK)}[name]
    sample, rate, block = images(), float(how["rate"]), Block(work, name)
    size = CLASSES * SIDE**2 if name == "linear" else HIDDEN * (SIDE**2 + CLASSES + 1) + CLASSES

    def prepare(rng: np.random.Generator) -> Tables:
        at = found_minimum(loss, sample, 0.3 * rng.standard_normal(size) * (name == "network"))
        rest = equilibrium.gradients(loss, sample, at).mean(axis=0)
        curve = equilibrium.hessian(equilibrium.mean_loss(loss, sample), at)
        return {"at": at, "hessian": curve, "diffusion": equilibrium.diffusion(loss, sample, at, **how), "slope": rest}

    local = block(0, prepare)
    at, values, axes = local["at"], *np.linalg.eigh(local["hessian"])
    noise, top = axes.T @ local["diffusion"] @ axes, slice(-LEADING, None)
    cov = equilibrium.covariance(np.diag(values[top]), noise[top, top], rate=rate)
    known = {"diffusion": noise[top, top], "covariance": cov}
    known["circulation"] = equilibrium.circulation(np.diag(values[top]), cov, rate=rate)

    def compute(rng: np.random.Generator) -> Tables:
        w, gradient = np.tile(at, (replicas, 1)), equilibrium.batch_gradient(loss, sample)
        away, entropy, second, count = [], [], np.zeros((size, size)), 0
        for step in range(0, steps, chunk):
            path = simulate(gradient, w, size=len(sample[0]), steps=chunk, rng=rng, **how)
            w = path[:, -1]
            away.append(((w - at) ** 2).sum(axis=1))
            if 2 * step >= steps:
                entropy.append(equilibrium.entropy((path - at) @ axes[:, top], **known).sum(axis=1))
                if step % (10 * chunk) == 0:
                    x = (w - at) @ axes
                    second, count = second + x.T @ x / replicas, count + 1
        return {"away": np.array(away), "entropy": np.array(entropy), "second": second / count}

    run = block(1, compute)
    times, decay = np.arange(chunk, steps + 1, chunk), 1 - rate * values
    theory = [float(np.trace(noise * grown(decay, t))) for t in times]
    mean, low, high = interval(run["away"].T)
    table = pd.DataFrame({"step": times, "theory": theory, "mean": mean, "low": low, "high": high})
    save(folder, name, table.iloc[np.unique(np.geomspace(1, len(times), 40).astype(int)) - 1])
    seen = [t for t in times if 2 * (t - chunk) >= steps and (t - chunk) % (10 * chunk) == 0]
    misfit = residual(run["second"], noise, decay, seen)
    alike = [residual(second, noise, decay, seen) for second in sampled_alike(noise, decay, seen, replicas)]
    product = entropy_rows(run["entropy"], equilibrium.entropy_production(**known), chunk)
    stats = {
        "residual of the Lyapunov equation": misfit,
        "smallest curvature": values[0], "largest curvature": values[-1], "slope": np.linalg.norm(local["slope"]),
        "loss": float(equilibrium.mean_loss(loss, sample)(torch.as_tensor(at))),
    }  # fmt: skip
    rows = [(key, value, np.nan, np.nan, replicas) for key, value in stats.items()] + product
    rows.append(
        ("residual of linear dynamics sampled alike", np.mean(alike), *np.quantile(alike, [0.025, 0.975]), len(alike))
    )
    if name == "linear":
        measure(folder, "integral theorem, linear MNIST", *product[2][1:4], runs=replicas)
        measure(folder, "detailed theorem, linear MNIST", *product[-1][1:4], runs=replicas)
    save(folder, f"{name}_numbers", pd.DataFrame(rows, columns=["quantity", "mean", "low", "high", "runs"]))


def grown(decay: Array, steps: int) -> Array:
    """Return the factor by which noise has grown to a covariance after some steps from a point, in the axes of the curvature."""
    each = np.outer(decay, decay)
    still = abs(1 - each) < 1e-12
    return 2 * np.where(still, steps, (1 - each**steps) / np.where(still, 1, 1 - each))


def residual(second: Array, noise: Array, decay: Array, seen: Sequence[int]) -> float:
    """Return by how much, relative to its norm, the noise is missed that a covariance over some times stands for (Lyapunov equation)."""
    factor = np.mean([grown(decay, t) for t in seen], axis=0)
    return float(np.linalg.norm(second / factor - noise) / np.linalg.norm(noise))


def sampled_alike(noise: Array, decay: Array, seen: Sequence[int], replicas: int, repeats: int = 40) -> Iterator[Array]:
    """Yield covariances of as many replicas at the same times of linear dynamics with normal noise, for which theory is exact."""
    rng, roots = np.random.default_rng(SEED), {}
    for gap in {int(gap) for gap in np.diff([0, *seen])}:
        size, axes = np.linalg.eigh(noise * grown(decay, gap))
        roots[gap] = axes * np.sqrt(np.clip(size, 0, None))
    for _ in range(repeats):
        x, second = np.zeros((replicas, len(decay))), np.zeros_like(noise)
        for gap in map(int, np.diff([0, *seen])):
            x = x * decay**gap + rng.standard_normal(x.shape) @ roots[gap].T
            second += x.T @ x / replicas / len(seen)
        yield second


def entropy_rows(sigma: Array, rate: float, chunk: int) -> list[tuple[Any, ...]]:
    """Return the production of a step in theory and as simulated, and the integral theorem over pieces that produce about one."""
    long = int(np.clip(round(1 / max(rate * chunk, 1e-9)), 1, len(sigma)))
    pieces = sigma[: len(sigma) // long * long].reshape(-1, long, sigma.shape[1]).sum(axis=1)  # (pieces, replicas)
    rows: list[tuple[Any, ...]] = [("entropy production of a step in theory", rate, np.nan, np.nan, sigma.shape[1])]
    rows.append(("entropy production of a step", *interval(sigma.mean(axis=0) / chunk), sigma.shape[1]))
    rows.append((f"integral theorem {chunk} steps", *interval(np.exp(-sigma).mean(axis=0)), sigma.shape[1]))
    rows.append((f"integral theorem {long * chunk} steps", *interval(np.exp(-pieces).mean(axis=0)), sigma.shape[1]))
    rows.append((f"detailed theorem {long * chunk} steps", *detailed(pieces.ravel()), sigma.shape[1]))
    return rows


PARTS: dict[str, Callable[[Path, Path], None]] = {
    "regression": do_regression,
    "epochs": do_epochs,
    "orders": do_orders,
    "linear": lambda folder, work: on_images("linear", folder, work, replicas=100, steps=10_000),
    "network": lambda folder, work: on_images("network", folder, work, replicas=32, steps=10_000),
    "samplers": lambda folder, _: samplers(folder),
    "drawing": lambda folder, _: drawing(folder),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the parts that are asked for and write their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "parts", nargs="*", default=list(PARTS), metavar="PART", help=f"of {', '.join(PARTS)}; all by default"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="folder for tables")
    parser.add_argument("--work", type=Path, default=ROOT / "_build" / "equilibrium", help="folder of finished blocks")
    options = parser.parse_args(arguments)
    for folder in (options.out, options.work):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {"seed": SEED, "rate": RATE, "batch": BATCH}
    about: dict[str, Any] = {"command": COMMAND, "machine": machine.describe(), "settings": settings}
    about["versions"] = {name: metadata.version(name) for name in ("numpy", "scipy", "torch")}
    torch.set_num_threads(1)
    for part in options.parts:
        PARTS[part](options.out, options.work)
    write_atomically(options.out / "about.json", lambda file: file.write((json.dumps(about, indent=1) + "\n").encode()))


if __name__ == "__main__":
    main()
