"""Write reference outputs, or compare what the project computes now with them.

    python tests/reference/reference.py compare [PART ...]
    python tests/reference/reference.py write [PART ...]

`write` replaces the JSON files beside this script; do that only where a change is meant, and name it in the commit. `compare` prints what
differs and exits with 1 if anything does. The parts go through files, the command line and public functions only:

- ``digests``: of all specifications in ``params/``, of the kept ensembles, and SHA-256 of the kept ensembles' files;
- ``trajectories``: eight small ensembles, one for each way of computing, rule, resumed, forked and retired; bits where the machine's record
  agrees, else the tolerance of the golden test;
- ``search``: the steps of searches on recorded runs of known processes;
- ``answers``: ``--json`` of ``fpt qss``, ``predict``, ``recommend`` and ``plan`` on kept digits ensembles, whole and ended early, and on
  the published trajectories (in ``$FPTLIB_DATA``);
- ``published``: the tables computed again from the published trajectories, against those in ``book/results/published``;
- ``glue``: the values that chapters keep for their prose, read from the newest execution in ``_build/cache``, seconds excepted.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
ENSEMBLES = ROOT / "book" / "results" / "ensembles"
RELATIVE = 1e-9  # of numbers that are not bits: what another order of summation may change


def machine() -> dict[str, str]:
    """What bits depend on."""
    import torch

    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else platform.processor()
    matches = {
        key: re.search(rf"^{key}\s*: (.*)$", text, re.MULTILINE)
        for key in ("cpu family", "model", "stepping", "model name")
    }
    cpu = " ".join(match[1] for match in matches.values() if match)
    return {"cpu": cpu, "torch": torch.__version__, "numpy": np.__version__}


def fpt(*arguments: object) -> str:
    """Output of a command of `fpt` that must succeed, run in this process."""
    from fptlib import cli

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.run([str(argument) for argument in arguments])
    if status:
        raise RuntimeError(f"fpt {' '.join(map(str, arguments))}: status {status}: {err.getvalue()}")
    return out.getvalue()


# -- digests


def digests() -> dict[str, Any]:
    """Digests of specifications, and of the numbers of kept ensembles."""
    import yaml

    from fptlib import spec

    result: dict[str, Any] = {}
    for path in sorted((ROOT / "params").rglob("*.yml")):
        name = path.relative_to(ROOT / "params").as_posix()
        if path.parent.name in ("ensembles", "paper"):
            result[name] = spec.load(path).digest()
        elif path.parent.name == "experiments":
            row = yaml.safe_load(path.read_text())
            base = spec.load(path.parent / row["base"])
            plain = spec.override(base, row.get("changes", {}))
            result[name] = plain.digest()
            for key, section in {**row["perturbations"], **row.get("controls", {})}.items():
                child = spec.override(plain, {"perturbation": {"name": key, **section, "period": row["period"]}})
                result[f"{name}: {key}"] = child.digest()
    for path in sorted(ENSEMBLES.glob("*.parquet")):
        meta = kept_meta(path)
        again = spec.EnsembleSpec(**meta["spec"])
        result[f"kept {path.stem}"] = [again.digest(), hashlib.sha256(path.read_bytes()).hexdigest()]
    return result


def kept_meta(path: Path) -> dict[str, Any]:
    """What a kept ensemble says of itself."""
    import pyarrow.parquet as pq

    return dict(json.loads(pq.read_schema(path).metadata[b"fptlib"]))


# -- trajectories

BASE: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 100, "validation_size": 100, "label_noise": 0.1, "seed": 0},
    "model": {"name": "mlp", "widths": [16], "normalisation": "batch"},
    "optimiser": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.001},
    "training": {"batch_size": 20, "dtype": "float32"},
    "perturbation": None,
    "runs": 20,
    "epochs": 8,
    "seed": 3,
    "device": "cpu",
}
KICK = {"name": "shrink_perturb", "shrink": 0.4, "perturb": 0.1, "period": 3}
CNN = {"name": "cnn", "channels": [4, 6]}
SPECS: dict[str, dict[str, Any]] = {
    "compiled, whole state": {"perturbation": {**KICK, "scope": "state"}},
    "fused, partial reset": {"perturbation": {"name": "partial_reset", "quantile": 0.8, "period": 3}},
    "stacked, adam, last layer": {
        "optimiser": {"name": "adam", "lr": 0.01},
        "perturbation": {"name": "last_layer_reset", "period": 2},
    },
    "one by one, warm restart": {"model": CNN, "perturbation": {"name": "warm_restart", "period": 4}},
    "residual network, restart from best": {
        "model": {"name": "resnet", "width": 2, "depth": 8},
        "perturbation": {"name": "restart_from_best", "period": 3},
        "runs": 4,
    },
    "resumed, weight noise, step": {
        "optimiser": {"name": "sgd", "lr": 0.1, "schedule": {"name": "step", "every": 3, "factor": 0.5}},
        "perturbation": {"name": "weight_noise", "period": 3},
    },
    "forked, full reset, adamw": {"optimiser": {"name": "adamw", "lr": 0.01}},
    "retired, rate bump, layer norm": {
        "model": {"name": "mlp", "widths": [16], "normalisation": "layer"},
        "perturbation": {"name": "rate_bump", "length": 2, "period": 3},
    },
}


def trajectories() -> dict[str, Any]:
    """SHA-256 of all metrics of small ensembles, and the numbers of one run."""
    import yaml

    import fptlib

    result: dict[str, Any] = {"machine": machine()}
    with tempfile.TemporaryDirectory() as folder:
        for name, changes in SPECS.items():
            file = Path(folder) / "spec.yml"
            file.write_text(yaml.safe_dump({**BASE, **changes}))
            arguments = ["train", file, "--out", folder, "--workers", 1]
            with fused() if name.startswith("fused") else contextlib.nullcontext():
                if name.startswith("resumed"):
                    fpt(*arguments, "--set", "epochs=5", "--runs", 9)
                if name.startswith("retired"):
                    arguments += ["--threshold", 0.6]
                store = fpt(*arguments).strip()
            if name.startswith("forked"):
                store = fpt(
                    "fork", store, "--at", 3, "--perturbation", "full_reset", "--threshold", 0.7, "--workers", 1
                ).strip()
            runs = fptlib.read(store)
            total = hashlib.sha256()
            for metric in sorted(runs.metrics):
                total.update(metric.encode() + np.ascontiguousarray(runs.metrics[metric]).tobytes())
            result[name] = {
                "sha256": total.hexdigest(),
                "train_loss": rounded(runs.metrics["train_loss"][3]),
                "test_metric": rounded(runs.metrics["test_metric"][3]),
            }
    return result


@contextlib.contextmanager
def fused() -> Iterator[None]:
    """Let fully connected networks be trained as on a GPU."""
    from fptlib.ensemble import compute

    before, compute.kind = compute.kind, lambda *_arguments: "fused"
    try:
        yield
    finally:
        compute.kind = before


def rounded(values: Any) -> list[float | None]:
    """Numbers as JSON has them."""
    return [None if math.isnan(value) else float(value) for value in values]


# -- searches


def search() -> dict[str, Any]:
    """Steps and choices of searches on recorded runs of known processes."""
    from fptlib.processes import DelayedGeometric, GeometricWithKick
    from fptlib.search import Candidate, Recorded, Settings, optimise
    from fptlib.trajectories import Target

    periods = (5, 10, 15, 20, 30, 40)
    kick = Candidate("kick", {"name": "shrink_perturb"})
    delayed = {"silent": 12, "hazard": 0.01, "silent_after": 3, "hazard_after": 0.25}
    result: dict[str, Any] = {}
    processes = {"delayed": DelayedGeometric(**delayed), "kicked": GeometricWithKick(hazard=0.02, kick=0.3)}
    for name, process in processes.items():
        rng = np.random.default_rng(7)
        runs = {p: process.sample(rng, n_runs=80, horizon=120, period=p) for p in (None, *periods)}
        perturbed = {("kick", p): runs[p] for p in periods}
        for seed in (0, 1):
            source = Recorded(runs[None], perturbed, retirement=Target(0.5, metric="test_metric"), seed=seed)
            options = {"periods": periods, "n_boot": 100, "budget": 9000}
            result[f"{name} {seed}"] = steps(optimise(source, [kick], settings=Settings(**options)))
    return result


def steps(outcome: Any) -> dict[str, Any]:
    """Return steps and choice of a search."""
    best = outcome.choice
    return {
        "steps": [[s.purpose, s.spent, s.candidate, s.period, s.mean] for s in outcome.steps],
        "best": None if best is None else [best.period, best.centre, best.low, best.high],
        "spent": outcome.spent,
        "decided": outcome.decided,
    }


# -- answers


def answers() -> dict[str, Any]:
    """What the commands of the analysis say with ``--json``."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (logs, threshold, metric) in records(Path(folder)).items():
            plain, kicked, period = logs
            common = ["--threshold", threshold, "--json", *(["--metric", metric] if metric else [])]
            one = ["--unperturbed", plain, "--perturbed"]
            commands = {
                "qss": ["qss", plain, *common],
                "predict": ["predict", *one, f"{period}={kicked}", *common],
                "predict budgets": ["predict", *one, f"{period}={kicked}", "--budgets", "20,40", *common],
                "recommend": ["recommend", *one, f"kick:{period}={kicked}", *common],
                "plan": ["plan", *one, kicked, "--period", period, "--periods", "10,30", *common],
            }
            for command, arguments in commands.items():
                result[f"{name}: {command}"] = json.loads(fpt(*arguments).replace(folder, "FOLDER"))
    return result


def records(folder: Path) -> dict[str, tuple[tuple[Path, Path, int], float, str | None]]:
    """Unperturbed and perturbed runs, the period, a threshold and a metric, by name."""
    from fptlib import sources

    kept = {digest: kept_meta(ENSEMBLES / f"{digest}.parquet") for digest in KEPT}
    plain, kicked = (digest for digest in KEPT)
    period = int(kept[kicked]["spec"]["perturbation"]["period"])
    files: dict[str, tuple[tuple[Path, Path, int], float, str | None]] = {}
    for name, early in (("digits", False), ("digits, ended early", True)):
        paths = []
        for digest in (plain, kicked):
            table = pd.read_parquet(ENSEMBLES / f"{digest}.parquet", columns=["run", "epoch", "test_metric"])
            if early:
                table = table[table["epoch"] <= 50 + 7 * table["run"] % 51]
            paths.append(folder / f"{digest}-{early}.csv")
            table.to_csv(paths[-1], index=False, quoting=csv.QUOTE_MINIMAL)
        files[name] = ((paths[0], paths[1], period), 0.936, None)
    published = sources.find("published")
    if published is not None:
        runs = published / "testacc_list_reg_training"
        for rule, threshold, at in (("s_and_p", 72, 50), ("s_and_p", 73, 20), ("partial", 74, 50)):
            kicks = sorted(published.glob(f"testacc_list_{rule}*reset{at}"))[0]
            files[f"published {rule} {at}, {threshold} %"] = ((runs, kicks, at), threshold, None)
    return files


# Unperturbed digits with SGD, and shrink-and-perturb every 20 epochs.
KEPT = ("b25729fe88873e2d", "a452d03b249c1e79")


# -- published


def published() -> dict[str, Any]:
    """SHA-256 of the content of the tables, computed again from the published trajectories."""
    from companion.published.__main__ import tables

    return {name: sha256(table) for name, table in zip(("passages", "metrics"), tables(), strict=True)}


def kept() -> dict[str, Any]:
    """SHA-256 of the content of the tables in ``book/results/published``."""
    from companion.published.table import METRICS, PASSAGES

    return {path.stem: sha256(pd.read_parquet(path)) for path in (PASSAGES, METRICS)}


def sha256(table: pd.DataFrame) -> str:
    """Hash the columns of a table in the order of their names, six digits of each number."""
    return hashlib.sha256(table[sorted(table)].to_csv(index=False, float_format="%.6g").encode()).hexdigest()


# -- glue


def glue() -> dict[str, Any]:
    """Values that chapters keep for their prose, by chapter and name."""
    result: dict[str, Any] = {}
    newest: dict[str, Path] = {}
    for path in sorted((ROOT / "_build" / "cache").glob("*.ipynb"), key=lambda path: path.stat().st_mtime):
        newest[path.stem.rpartition("-")[0]] = path
    for chapter, path in sorted(newest.items()):
        for cell in json.loads(path.read_text())["cells"]:
            for output in cell.get("outputs", []):
                name = output.get("metadata", {}).get("scrapbook", {}).get("name")
                if name is not None and not TIMES.search(name):
                    text = output["data"]["application/papermill.record/text/plain"]
                    result[f"{chapter}: {name}"] = "".join(text)
    return result


# Names of values that were timed: scaling_up, reproduction.
TIMES = re.compile("^(cheap|dear|loop|stack|wide|cost|snapshot)-|seconds|years")


# -- comparing

PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    part.__name__: part for part in (digests, trajectories, search, answers, published, glue)
}


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Places at which two results differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            place = f"{where} / {key}" if where else str(key)
            if key not in new or key not in old:
                yield f"{place}: {'missing now' if key not in new else 'new'}"
            else:
                yield from differences(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}[{i}]")
    elif isinstance(old, float) and isinstance(new, float | int):
        if not math.isclose(old, new, rel_tol=RELATIVE, abs_tol=1e-12) and not (math.isnan(old) and math.isnan(new)):
            yield f"{where}: {old} -> {new}"
    elif old != new:
        yield f"{where}: {old!r} -> {new!r}"


def compare(part: str) -> list[str]:
    """Differences of one part from its reference."""
    old = kept() if part == "published" else json.loads((HERE / f"{part}.json").read_text())
    new = json.loads(json.dumps(PARTS[part]()))
    if part == "trajectories" and old.pop("machine") != new.pop("machine"):
        return list(rough_differences(old, new))
    if part == "answers" and not any(name.startswith("published") for name in new):
        old = {name: answer for name, answer in old.items() if not name.startswith("published")}
    return list(differences(old, new))


def rough_differences(old: dict[str, Any], new: dict[str, Any]) -> Iterator[str]:
    """As between machines: losses agree to 1e-4 over the first epochs, accuracies to three of 797 images."""
    for name, reference in old.items():
        for metric, tolerance in (("train_loss", 1e-4), ("test_metric", 3 / 797)):
            one, other = (np.array(record[name][metric][:4], dtype=float) for record in (old, new))
            scale = np.abs(one) if metric == "train_loss" else 1.0
            alike = (np.abs(one - other) <= tolerance * scale) | (
                np.isnan(one) & np.isnan(other)
            )  # NaN after a passage
            if not alike.all() and reference:
                yield f"{name} / {metric}: {one} -> {other}"


def main(arguments: list[str]) -> int:
    """Write or compare the parts named, all by default."""
    mode, *parts = arguments or ["--help"]
    if mode == "write":
        parts = [part for part in parts or PARTS if part != "published"]  # these are written by their own command
    if mode not in ("write", "compare") or not set(parts) <= set(PARTS):
        print(__doc__)
        return 2
    count = 0
    for part in parts or PARTS:
        if mode == "write":
            text = json.dumps(PARTS[part](), indent=1, sort_keys=part != "trajectories")
            (HERE / f"{part}.json").write_text(text + "\n")
            print(f"{part}: written")
            continue
        lines = compare(part)
        count += len(lines)
        print(f"{part}: {'agrees' if not lines else f'{len(lines)} differences'}")
        print("".join(f"  {line}\n" for line in lines), end="")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
