"""Print what logs hold, as `fpt inspect` shows it: runs, epochs, metrics, what was adjusted, and the command to type next."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from fptlib.cli.output import as_options, print_table
from fptlib.trajectories import Target, Trajectories
from fptlib.trajectories.checks import CLOCK, LOSS, RATE
from fptlib.trajectories.origin import Origin
from fptlib.trajectories.record import DEFAULT_METRIC, passages

_MOST = 11  # metrics, notes and labels that are shown without --all
_SCORE = re.compile(r"acc|top|auc|f1|\bap|iou|dice|precision|recall|score|bleu|\br2", re.IGNORECASE)
_HELD_OUT = re.compile(r"val|test|eval|dev|bbox", re.IGNORECASE)


def overview(path: Path, runs: Trajectories, *, options: str = "") -> dict[str, Any]:
    """Return what is known of logs under the names that ``--json`` prints; ``options`` are those with which they were read."""
    meta, target = runs.meta, runs.retirement or suggestion(runs)
    left_out, where = dict(meta.get("left_out", {})), shlex.quote(str(path))
    below = " --direction below" * (target.direction == "below")
    command = f"fpt qss {where} --metric {shlex.quote(target.name)} --threshold {target.threshold:g}{below}{options}"
    kind, at = Origin.of(runs).perturbation, re.search(r"\D[_-]?(\d+)$", path.stem) if runs.n_runs > 1 else None
    period = kind.get("period", int(at[1]) if at and 0 < int(at[1]) < runs.n_epochs and "spec" not in meta else None)
    arguments = command.removeprefix(f"fpt qss {where}")
    perturbed = period and f"fpt predict --unperturbed FOLDER --perturbed {period}={where}{arguments}"
    n_reach = int(passages(runs, target)[1].sum())
    why = f"{n_reach} of {_many(runs.n_runs, 'run')} reach{'es' * (n_reach == 1)} {target}"
    # Held-out data that is evaluated more rarely, where there is no other.
    for name, fault in reversed(left_out.items()):
        if _HELD_OUT.search(name) and not _HELD_OUT.search(target.name) and (apart := re.search(r"every=(\d+)", fault)):
            command, why = f"fpt inspect {where} --every {apart[1]}", f"{name} is evaluated more rarely"
    return {
        "path": str(path),
        "format": meta.get("format", "store"),
        "runs": runs.n_runs,
        "epochs": runs.n_epochs,
        "run_epochs": runs.n_trained,
        "one_epoch": {key: meta[key] for key in ("axis", "every") if key in meta},
        "names": meta.get("names") or {str(label): str(label) for label in runs.run},
        "retirement": runs.retirement and str(runs.retirement),
        "metrics": [_metric(runs, name) for name in runs.metrics],
        "notes": [note for note in meta.get("notes", ()) if note.split(" is left out: ")[0] not in left_out],
        "left_out": left_out,
        **{key: meta[key] for key in ("digest", "n_evaluated", "spec") if key in meta},
        "next": {"why": why, "command": perturbed if kind else command, "if_perturbed": perturbed},
    }


def _metric(runs: Trajectories, name: str) -> dict[str, Any]:
    """Return the scale of a metric, its means over runs at their first and last epochs, and its range."""
    values = runs.metrics[name]  # (runs, epochs)
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    scales = {
        "rate": RATE.fullmatch(name),
        "time": CLOCK.fullmatch(name),
        "loss": LOSS.search(name),
        "fraction": low >= 0 and high <= 1,
        "per cent": low >= 0 and high <= 100 and _SCORE.search(name),
    }
    scale = next((scale for scale, holds in scales.items() if holds), None)
    start, end = float(values[:, 0].mean()), float(values[range(runs.n_runs), runs.lengths - 1].mean())
    return {"metric": name, "scale": scale, "start": start, "end": end, "smallest": low, "largest": high}


def suggestion(runs: Trajectories) -> Target:
    """Return a target worth asking for: of a metric on held-out data, reached by half to two thirds of the runs where that can be."""

    def rank(row: dict[str, Any]) -> tuple[bool, ...]:
        name, idle = row["metric"], row["scale"] in ("rate", "time") or row["smallest"] == row["largest"]
        return name != DEFAULT_METRIC, idle, not _HELD_OUT.search(name), "train" in name, not _SCORE.search(name)

    row = min((_metric(runs, name) for name in runs.metrics), key=rank)
    name = row["metric"]
    below = row["scale"] == "loss" or (row["end"] < row["start"] and not _SCORE.search(name))
    best = np.nanmin(runs.metrics[name] if below else -runs.metrics[name], axis=1)  # smaller is better
    bound = np.sort(best)[-(-3 * len(best) // 5) - 1]  # three runs in five are as good
    rounded = (float(f"{bound:.{digits}g}") for digits in range(1, 7))
    bound = next((x for x in rounded if 0.5 <= np.mean(best <= x) <= 2 / 3), float(bound))
    return Target(bound if below else -bound, "below" if below else "above", name)


def print_overview(content: dict[str, Any], *, everything: bool = False) -> None:
    """Print an overview on a page of 80 columns, all metrics and notes with ``everything``."""
    n_runs, n_epochs, most = content["runs"], content["epochs"], None if everything else _MOST
    up_to = "up to " * (content["run_epochs"] < n_runs * n_epochs)
    print(f"{content['path']}: {_many(n_runs, 'run')} of {up_to}{_many(n_epochs, 'epoch')}")
    until = f", each followed until {content['retirement']}" if content["retirement"] else ""
    axis, every = content["one_epoch"].get("axis"), content["one_epoch"].get("every", 1)
    one = ", epochs as logged" if axis else ""
    if axis == "step" or every > 1:
        one = f", one epoch is {_many(every, axis)} of the log"
    print(f"{content['format']}{one}{until}")
    labels = [*content["names"]]
    if {*labels} != {str(place) for place in range(n_runs)}:
        _wrapped(f"labels of the runs: {', '.join(labels[:most])}{', ...' * (len(labels[:most]) < n_runs)}")
    heads = {"start": "mean at start", "end": "mean at end"}
    cells = [{key: f"{x:.4g}" if isinstance(x, float) else x for key, x in row.items()} for row in content["metrics"]]
    rows = [{heads.get(key, key): cell for key, cell in row.items()} for row in cells]
    print()
    print_table(rows[:most])
    _rest(rows, most)
    notes = [note for note in content["notes"] if not note.startswith("one epoch is ")]
    faults = [f"{name}: {fault}" for name, fault in content["left_out"].items()]
    for title, lines in (("Notes", notes), ("Left out", faults)):
        print(f"\n{title}\n" * bool(lines), end="")
        for line in lines[:most]:
            _wrapped(f"- {as_options(line)}")
        _rest(lines, most)
    for key in ("digest", "n_evaluated"):
        if key in content:
            print(f"{key}: {content[key]}")
    if everything and "spec" in content:
        print(json.dumps(content["spec"], indent=1))
    print(f"\n{content['next']['why']}; to go on, type\n{content['next']['command']}")
    if (other := content["next"]["if_perturbed"]) not in (None, content["next"]["command"]):
        print(f"or, if these runs were perturbed, as the name of the folder suggests:\n{other}")


def _many(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"


def _wrapped(text: str) -> None:
    print(textwrap.fill(text, 80, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False))


def _rest(lines: list[Any], most: int | None) -> None:
    if most is not None and len(lines) > most:
        print(f"({len(lines) - most} more with --all)")
