# ruff: noqa: T201
"""When should the learning rate drop?  Training at two rates, and drops from one to the other, on nine settings; tables for the chapter.

Run with ``FPTLIB_DATA=FOLDER python benchmarks/two_regimes.py --work FOLDER``: an interrupted study goes on where it was. Settings are
three data sets, each plain, with BatchNorm, and with a fifth of the labels wrong; 64 runs of each way to train, with common seeds, are
followed to the end. Ways to decide on an epoch for each run by itself are played back on the runs at the large rate, up to the end of the
epoch at which they decide; the run that follows is the one with the same seed whose rate dropped at the next epoch of `DROPS`.

- ``curves.csv``: mean test accuracy and training loss in each epoch;
- ``times.csv``: mean time to three thresholds and mean residual time, for each epoch of the drop;
- ``predictions.csv``: times to these thresholds predicted from one epoch of the drop;
- ``policies.csv``: what each way to choose the epoch needs, and ends with, and its regret against the best fixed epoch;
- ``decisions.csv``: at which epochs each way drops; ``claims.csv``: loss, rising loss, momentum and final accuracy;
- ``measures.csv``: those of the plain digits, for the index of claims.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

import fptlib as fpt
from fptlib import settling
from fptlib.ensemble.resources import UNIT
from fptlib.ensemble.store import Store, store_path
from fptlib.files import write_atomically
from fptlib.firstpassage import Estimate, residual_times, restricted_mean
from fptlib.firstpassage.resampling import bootstrap_weights, corrected_interval, generator
from fptlib.response import compare, predict
from fptlib.spec import EnsembleSpec, load, override

ROOT = Path(__file__).resolve().parents[1]
DATA: Mapping[str, dict[str, Any]] = {
    "digits": {},
    "MNIST": {"data": {"name": "mnist5k", "pool": 2, "train_size": 400, "test_size": 600}},
    # 784 inputs: fewer images and a smaller rate.
    "Fashion-MNIST": {"data": {"name": "fashion-mnist", "train_size": 200, "test_size": 500}, "optimiser.lr": 0.2},
}
KINDS: Mapping[str, dict[str, Any]] = {
    "plain": {},
    "BatchNorm": {"model.normalisation": "batch"},
    "wrong labels": {"data.label_noise": 0.2},
}
SETTINGS = {f"{data}, {kind}": (data, kind) for data in DATA for kind in KINDS}
# Epochs after which the rate drops, and the factor on it.
DROPS = (2, 3, 4, 5, 6, 8, 10, 12, 14, 17, 20, 24, 28, 32, 36)
FACTOR = 0.1
MOMENTA = (0.5, 0.9)
WITH_MOMENTUM = 10  # epoch of the drop that is followed by a momentum
LONG = 4  # horizons that the small rate is followed alone
PILOT = {"runs": 160, "epochs": 80}  # at the large rate: what the test for a quasi-steady state needs
PARTS = {"half of the gain": 0.5, "80 % of the gain": 0.8, "95 % of the gain": 0.95}  # thresholds
SHORT = (
    12  # epochs after the drop to which residual times are restricted: the last fork that is followed so far is at 28
)
SOURCES = (5, 10, 20)  # epochs of the drop that predict the others
FEWEST = 8  # runs left at such an epoch
SETTLED = 10  # losses that a run has to settle for, fewer than by default: these fall within a few epochs
NEAR = 0.01  # tolerance of the fluctuation-dissipation test
Reals = NDArray[np.float64]


def base(setting: str) -> EnsembleSpec:
    """Return the parameters of a setting at the large rate."""
    data, kind = SETTINGS[setting]
    spec = load(ROOT / "params" / "ensembles" / "digits_rate.yml")
    return override(override(spec, DATA[data]), KINDS[kind])


def fluctuating(spec: EnsembleSpec) -> EnsembleSpec:
    """Return the same training with sums over the fluctuations of the weights."""
    files = [*spec.uses, str(ROOT / "benchmarks" / "fluctuation.py")]
    summing = {"name": "summing_sgd", "lr": spec.optimiser.lr, "weight_decay": spec.optimiser.weight_decay}
    return override(spec, {"uses": files, "optimiser": summing, "epochs": DROPS[-1]})


def variants(spec: EnsembleSpec, *, digits: bool) -> Iterator[tuple[str, EnsembleSpec]]:
    """Yield the other ways to train, with their names."""
    rate = spec.optimiser.lr
    yield "cosine", override(spec, {"optimiser.schedule": {"name": "cosine", "epochs": spec.epochs}})
    small = override(spec, {"optimiser.lr": FACTOR * rate})
    yield "small rate", override(small, {"epochs": LONG * spec.epochs}) if digits else small
    drop = {"name": "rate_drop", "repeat": "once", "factor": FACTOR}
    for epoch in DROPS:
        yield f"drop {epoch}", override(spec, {"perturbation": {**drop, "period": epoch}})
    yield "pilot", override(spec, PILOT)
    if not digits:
        return
    for mu in MOMENTA:
        for name, eta in (("large rate", rate), ("small rate", FACTOR * rate)):
            changes = {"optimiser.momentum": mu, "optimiser.lr": (1 - mu) * eta}
            yield f"{name}, momentum {mu:g}", override(spec, changes)
    mu = MOMENTA[-1]
    kick = {**drop, "factor": (1 - mu) * FACTOR, "momentum": mu, "period": WITH_MOMENTUM}
    yield f"drop {WITH_MOMENTUM}, momentum {mu:g}", override(spec, {"perturbation": kick})
    yield "fluctuations", fluctuating(spec)


def trained(setting: str, work: Path) -> dict[str, fpt.Trajectories]:
    """Train what the folder lacks of a setting; returns the runs of all ways to train by name."""
    spec = base(setting)
    ensembles = {"large rate": fpt.train(spec, out=work, keep=DROPS, workers=1)}
    for name, other in variants(spec, digits=SETTINGS[setting][0] == "digits"):
        keep = DROPS if name == "fluctuations" else ()
        ensembles[name] = fpt.train(other, out=work, keep=keep, workers=1)
        print(f"{setting}: {name}, {ensembles[name].meta['trained']} run-epochs", flush=True)
    return ensembles


def fluctuations(spec: EnsembleSpec, work: Path) -> Reals:
    """Return ``2 <w u> / (eta <u^2>)`` over the last half of the steps, at each epoch of `DROPS`, shape ``(runs, epochs)``."""
    spec = fluctuating(spec)
    store = Store(store_path(spec, work), spec.digest())
    sums = np.zeros((2, spec.runs, 1 + len(DROPS)))
    for unit in range(0, spec.runs, UNIT):
        for k, epoch in enumerate(DROPS):
            snapshot = store.snapshot(unit, epoch)
            assert snapshot is not None  # kept when it was trained
            for entries in snapshot.optimiser.values():
                for i, name in enumerate(("work", "square")):
                    sums[i, unit : unit + UNIT, k + 1] += entries[name].double().flatten(1).sum(1).numpy()
    since = [max(j for j, e in enumerate((0, *DROPS)) if e <= epoch / 2) for epoch in DROPS]
    work_done, square = sums[:, :, 1:] - sums[:, :, since]
    return np.asarray(2 * work_done / (spec.optimiser.lr * square))


def first(decided: NDArray[np.bool_], epochs: Sequence[int], never: int) -> NDArray[np.int64]:
    """Return the first epoch at which each run decides, ``never`` where it does not."""
    return np.where(decided.any(axis=1), np.array(epochs)[decided.argmax(axis=1)], never)


def on_plateau(losses: Reals) -> NDArray[np.int64]:
    """Return the epoch at which PyTorch's ReduceLROnPlateau, with its defaults, would reduce the rate first; beyond the end: never."""
    runs, epochs = losses.shape
    drops = np.full(runs, epochs + 1)
    for run in range(runs):
        optimiser = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser)
        for epoch in range(epochs):
            schedule.step(losses[run, epoch])
            if optimiser.param_groups[0]["lr"] < 1:
                drops[run] = epoch + 1
                break
    return drops


def mean(values: Reals) -> Estimate:
    """Return the mean over seeds with its 95 % bootstrap interval."""
    weights = bootstrap_weights([np.arange(len(values))], n_boot=2000, rng=generator(0)).astype(np.float64)
    means = weights @ values / weights.sum(axis=1)
    return Estimate(float(means[0]), *corrected_interval(means, 0.95, n_runs=len(values)), len(values), 0)


def ratio(above: Reals, below: Reals) -> Estimate:
    """Return the ratio of two means over the same seeds with its 95 % bootstrap interval."""
    weights = bootstrap_weights([np.arange(len(above))], n_boot=2000, rng=generator(0)).astype(np.float64)
    ratios = (weights @ above) / (weights @ below)
    return Estimate(float(ratios[0]), *corrected_interval(ratios, 0.95, n_runs=len(above)), len(above), 0)


def ends(estimate: Estimate, name: str = "") -> dict[str, float]:
    """Return a mean and its interval as columns."""
    return {f"{name}{key}": getattr(estimate, key) for key in ("mean", "low", "high")}


@dataclass(frozen=True)
class Setting:
    """A setting with its runs, by the way they were trained."""

    name: str
    runs: Mapping[str, fpt.Trajectories]
    spec: EnsembleSpec
    work: Path

    @property
    def horizon(self) -> int:
        """Epochs of all ways to train."""
        return self.spec.epochs

    def metric(self, way: str, name: str = "test_metric") -> Reals:
        """Return a metric up to the horizon, ``(runs, epochs)``."""
        return self.runs[way].head(epochs=self.horizon).metric(name)

    @cached_property
    def thresholds(self) -> dict[str, float]:
        """Accuracies that lie a part of the way from the plateau at the large rate to the best final accuracy after a drop."""
        low = float(self.metric("large rate")[:, -10:].mean())
        high = max(float(self.metric(f"drop {epoch}")[:, -1].mean()) for epoch in DROPS)
        return {name: round(low + part * (high - low), 4) for name, part in PARTS.items()}

    @cached_property
    def relaxation(self) -> int | None:
        """The relaxation epoch of the library's test, on the pilot runs at the large rate, none of which reaches an accuracy of 1."""
        return fpt.assess_qss(fpt.Study(self.runs["pilot"], {}, 1.0)).relaxation_epoch

    def time(self, values: Reals, threshold: float) -> Reals:
        """Return the first-passage times of runs, those that do not pass at the horizon."""
        reached = values >= threshold
        return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, self.horizon).astype(np.float64)

    @cached_property
    def decisions(self) -> dict[str, NDArray[np.int64]]:
        """Epochs at which rules that look at single runs, or at the ensemble, drop the rate; beyond the horizon: never."""
        losses, never = self.metric("large rate", "train_loss"), self.horizon + 1
        n = len(losses)
        epochs = {"quasi-steady state": np.full(n, self.relaxation or never)}
        epochs["settled loss"] = first(settling.settled(losses, window=SETTLED), range(1, self.horizon + 1), never)
        epochs["ReduceLROnPlateau"] = on_plateau(losses)
        if "fluctuations" in self.runs:
            away = fluctuations(self.spec, self.work) - 1
            epochs["fluctuation test"] = first(np.abs(away) <= NEAR, DROPS, never)
            epochs["fluctuation test, one-sided"] = first(away >= -NEAR, DROPS, never)
        return epochs

    def dropped(self, epochs: NDArray[np.int64]) -> Reals:
        """Return the accuracy of runs, each from the ensemble whose rate dropped at its own epoch, or at the next one that there is."""
        values = self.metric("large rate").copy()
        for run, epoch in enumerate(epochs):
            if (at := next((e for e in DROPS if e >= epoch), None)) is not None:
                values[run] = self.metric(f"drop {at}")[run]
        return values

    def curves(self) -> Iterator[dict[str, Any]]:
        """Yield mean accuracy and loss by epoch."""
        for way in self.runs:
            if way in ("pilot", "fluctuations"):
                continue
            for name, quantity in (("test_metric", "accuracy"), ("train_loss", "loss")):
                means = self.metric(way, name).mean(axis=0)
                yield {"way": way, "quantity": quantity, **{str(k + 1): value for k, value in enumerate(means)}}

    def times(self) -> Iterator[dict[str, Any]]:
        """Yield mean times and residual times for each threshold and epoch of the drop."""
        for part, threshold in self.thresholds.items():
            for epoch in DROPS:
                runs = self.runs[f"drop {epoch}"]
                times = fpt.first_passage(runs, threshold)
                row = {"part": part, "threshold": threshold, "drop": epoch, "left": float((times.time > epoch).mean())}
                row |= {"before": float(np.minimum(times.time, epoch).mean())}
                row |= ends(restricted_mean(times, horizon=self.horizon), "time_")
                if epoch + SHORT <= self.horizon and row["left"] > 0:
                    tau = restricted_mean(residual_times(times, period=epoch), horizon=SHORT)
                    row |= ends(tau, "tau_") | {"tau_runs": tau.n_runs, "tau_censored": tau.n_censored}
                yield row

    def predictions(self) -> Iterator[dict[str, Any]]:
        """Yield predictions from single epochs of the drop beside what was measured at the others."""
        for part, threshold in self.thresholds.items():
            left = {e: (fpt.first_passage(self.runs[f"drop {e}"], threshold).time > e).sum() for e in DROPS}
            forks = {("rate_drop", e): self.runs[f"drop {e}"] for e in DROPS if left[e]}
            study = fpt.Study(self.runs["large rate"], forks, threshold)
            means = study.means()
            for source in (e for e in SOURCES if left[e] >= FEWEST):
                answer = predict(study.only(("rate_drop", source)), [e for _, e in forks])
                for row in compare(answer, means).rows():
                    names = ("period", "predicted", "low", "high", "grade", "measured", "covered", "at_horizon")
                    yield {"part": part, "source": source, **{name: row[name] for name in names}}

    def policies(self) -> Iterator[dict[str, Any]]:
        """Yield what ways to choose the epoch of the drop need, and end with."""
        fixed = {f"epoch {e}": self.metric(f"drop {e}") for e in DROPS}
        ways = {"never": self.metric("large rate"), "from the start": self.metric("small rate")}
        ways |= {"cosine": self.metric("cosine")}
        ways |= {name: self.dropped(epochs) for name, epochs in self.decisions.items()}
        for part, threshold in self.thresholds.items():
            needed = {name: self.time(values, threshold) for name, values in (fixed | ways).items()}
            best = min(fixed, key=lambda name: needed[name].mean())
            for name in (best, *ways):
                values = (fixed | ways)[name]
                row = {"policy": "best fixed epoch" if name == best else name, "quantity": part}
                row |= {"best": best, "reached": float((values >= threshold).any(axis=1).mean())}
                yield row | ends(mean(needed[name])) | ends(mean(needed[name] - needed[best]), "regret_")
        best = max(fixed, key=lambda name: fixed[name][:, -1].mean())
        for name in (best, *ways):
            last = (fixed | ways)[name][:, -1]
            row = {"policy": "best fixed epoch" if name == best else name, "quantity": "final accuracy", "best": best}
            yield row | ends(mean(last)) | ends(mean(fixed[best][:, -1] - last), "regret_")

    def decided(self) -> Iterator[dict[str, Any]]:
        """Yield at which epochs the rules drop the rate."""
        for name, epochs in self.decisions.items():
            inside = epochs[epochs <= DROPS[-1]]
            row = {"policy": name, "runs": len(epochs), "dropped": len(inside)}
            middle = np.quantile(inside, (0.5, 0.1, 0.9)) if len(inside) else [np.nan] * 3
            yield row | dict(zip(("median", "tenth", "ninetieth"), middle, strict=True))

    def claims(self) -> Iterator[dict[str, Any]]:
        """Yield the numbers that test the claims."""

        def loss(way: str) -> Reals:
            return self.metric(way, "train_loss")

        large, small = loss("large rate"), loss("small rate")
        rising = [(np.diff(x, axis=1) > 0).mean(axis=1) for x in (large, small)]
        claims = {"loss at the large rate / at the small rate": ratio(large[:, -5:].mean(1), small[:, -5:].mean(1))}
        claims |= {"share of epochs with rising loss, large rate": mean(rising[0])}
        claims |= {"share of epochs with rising loss, small rate": mean(rising[1])}
        claims |= {"share of epochs with rising loss, large - small": mean(rising[0] - rising[1])}
        for mu in MOMENTA:
            for rate, plain in (("large rate", large), ("small rate", small)):
                if (way := f"{rate}, momentum {mu:g}") in self.runs:
                    claims[f"loss with momentum {mu:g} / without, {rate}"] = ratio(loss(way).mean(1), plain.mean(1))
        last = {way: self.metric(way)[:, -1] for way in self.runs if way not in ("pilot", "fluctuations")}
        claims["accuracy after the best drop - small rate alone"] = mean(last[self.best_final] - last["small rate"])
        if self.runs["small rate"].n_epochs > self.horizon:
            whole = self.runs["small rate"].metric("test_metric")[:, -1]
            losses = self.runs["small rate"].metric("train_loss")[:, -1]
            claims["accuracy after the best drop - small rate alone for four times as long"] = mean(
                last[self.best_final] - whole
            )
            claims["loss at the large rate / at the small rate after four times as long"] = ratio(large[:, -1], losses)
        claims["accuracy, drop at 20 - drop at 3"] = mean(last["drop 20"] - last["drop 3"])
        with_momentum = f"drop {WITH_MOMENTUM}, momentum {MOMENTA[-1]:g}"
        if with_momentum in last:
            gain = mean(last[with_momentum] - last[f"drop {WITH_MOMENTUM}"])
            claims["accuracy, momentum after the drop - without"] = gain
        if self.relaxation is not None:
            ours, cosine = self.dropped(self.decisions["quasi-steady state"]), self.metric("cosine")
            threshold = self.thresholds["80 % of the gain"]
            sooner = self.time(ours, threshold) - self.time(cosine, threshold)
            claims["epochs with a drop at the relaxation epoch - with a cosine"] = mean(sooner)
            claims["accuracy with a drop at the relaxation epoch - with a cosine"] = mean(ours[:, -1] - cosine[:, -1])
        for name, value in claims.items():
            yield {"quantity": name.replace(",", ""), **ends(value), "runs": value.n_runs}

    @cached_property
    def best_final(self) -> str:
        """The drop with the best final accuracy, in hindsight."""
        return max((f"drop {e}" for e in DROPS), key=lambda way: float(self.metric(way)[:, -1].mean()))


TABLES = {
    "curves": Setting.curves,
    "times": Setting.times,
    "predictions": Setting.predictions,
    "policies": Setting.policies,
    "decisions": Setting.decided,
    "claims": Setting.claims,
}


def save(path: Path, new: pd.DataFrame, key: str) -> pd.DataFrame:
    """Write a table in which rows with a known key replace the old ones; returns it."""
    old = pd.read_csv(path) if path.exists() else new.head(0)
    table = pd.concat([old[~old[key].isin(new[key])], new])
    if key == "setting":
        table = table.sort_values(key, key=lambda column: column.map([*SETTINGS].index), kind="stable")
    text = str(table.round(4).to_csv(index=False))
    write_atomically(path, lambda file: file.write(text.encode()))
    return table


def write(folder: Path, setting: Setting) -> None:
    """Write the rows of a setting into the tables."""
    for name, rows in TABLES.items():
        save(
            folder / f"{name}.csv", pd.DataFrame([{"setting": setting.name, **row} for row in rows(setting)]), "setting"
        )
    if setting.name == "digits, plain":
        claims = pd.read_csv(folder / "claims.csv").query("setting == @setting.name").drop(columns="setting")
        save(folder / "measures.csv", claims, "quantity")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder of the trained runs; without it they are not kept")
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=SETTINGS, metavar="SETTING")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "two_regimes", help="for the tables")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        for name in options.settings:
            setting = Setting(name, trained(name, work), base(name), work)
            write(options.out, setting)
            print(f"{name}: thresholds {setting.thresholds}, relaxation epoch {setting.relaxation}", flush=True)
    about = machine.head("fptlib", "torch", "numpy") | {
        "command": "FPTLIB_DATA=FOLDER python benchmarks/two_regimes.py",
        "seeds": [0, 63],
        "settings": {name: base(name).identity() for name in SETTINGS},
        "horizon": base("digits, plain").epochs,
        "drops": DROPS,
        "factor": FACTOR,
        "window of the settled loss": SETTLED,
        "pilot": PILOT,
    }
    write_atomically(options.out / "about.json", lambda file: file.write((json.dumps(about, indent=1) + "\n").encode()))


if __name__ == "__main__":
    main()
