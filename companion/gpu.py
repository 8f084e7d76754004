"""What `benchmarks/gpu.py` measured on a GPU, for the one place of the book that speaks of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from companion import ROOT, book

__all__ = ["show", "table"]

FILE = ROOT / "book" / "results" / "gpu.json"
_NAMES = {
    "digits": "digits, 64 hidden units",
    "digits_bn": "digits, two hidden layers with BatchNorm",
    "mnist5k": "MNIST",
    "cnn": "small convolutional network",
    "resnet16": "ResNet-18, width 16",
    "resnet64": "ResNet-18, width 64",
}
_LOOPS = ("loop", "tuned loop")


def show(file: Path = FILE) -> None:
    """Show the speeds and the cost of the paper's ensembles that are kept, or a note that nothing was measured."""
    kept = json.loads(file.read_text()) if file.is_file() else None
    if kept is None or kept["head"]["toy"]:
        text = "No number in this book was measured on a GPU, and no test has run on one. The command python3 benchmarks/gpu.py does both."
        book.note(text, title="Not yet measured on a GPU")
        return
    import pandas as pd

    head, cases = kept["head"], kept["cases"]
    checks = [result.get("passed", False) for result in cases.get("checks", {}).values()]
    hours = [
        f"{'unperturbed' if 'plain' in file else 'perturbed'}, {result['runs']} runs of {result['epochs_trained']} epochs, "
        f"{result['hours']:.0f} hours"
        for file, result in cases.get("cost", {}).items()
        if "hours" in result
    ]
    versions = f"driver {head['driver']}, PyTorch {head['versions']['torch']}"
    sentences = [f"Measured on one {head['card']} ({versions})", f"{sum(checks)} of {len(checks)} tests passed there."]
    if hours:
        sentences.append(f"The paper's ensembles would take: {'; '.join(hours)}.")
    book.note(sentences, title="Measured on a GPU")
    book.table(pd.DataFrame(table(cases)), digits=2)


def table(cases: dict[str, Any]) -> list[dict[str, Any]]:
    """Return run-epochs a second of each network: in the loops, by the library's fastest arrangement and by JAX's."""
    rows = []
    for case, name in _NAMES.items():
        speeds = {item: result for item, result in cases.get(case, {}).items() if "median_per_second" in result}
        ours = {item: r for item, r in speeds.items() if item not in _LOOPS and "JAX" not in item and "CPU" not in item}
        if not ours:
            continue
        fastest = max(ours, key=lambda item: ours[item]["median_per_second"])
        best = ours[fastest]
        jax = [r["median_per_second"] for item, r in speeds.items() if "JAX" in item]
        loops = {item: speeds[item]["median_per_second"] if item in speeds else "not measured" for item in _LOOPS}
        rows.append(
            {
                "network": name,
                **loops,
                "this library": best["median_per_second"],
                "arrangement": fastest,
                "share of the peak": f"{best['share_of_peak']:.0%}",
                "JAX": max(jax) if jax else "not measured",
            }
        )
    return rows
