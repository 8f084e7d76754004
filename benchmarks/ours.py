"""`fptlib` at the same work: its engine as it trains a task, without the store."""

from __future__ import annotations

from functools import cache

import numpy as np
from cases import Case, Conv, Data, Linear

from fptlib import spec
from fptlib.data import Dataset
from fptlib.ensemble.resources import numerics
from fptlib.ensemble.training import Task, Training

# Runs in one call of `train` in one process, by case; two stacks where nothing is said.
RUNS: dict[str, int] = {"cnn": 4}


@cache
def _data(case: Case) -> Dataset:
    return dataset(case.load())


def dataset(data: Data) -> Dataset:
    """Return the data as the library takes them."""

    def images(x: np.ndarray) -> np.ndarray:
        return x if x.ndim == 2 else np.ascontiguousarray(np.moveaxis(x, -1, 1))

    return Dataset(images(data.x_train), data.y_train, None, None, images(data.x_test), data.y_test, 10)


@cache
def spec_of(case: Case) -> spec.EnsembleSpec:
    """Return the parameters of a case; their section ``data`` is only a name."""
    widths = [layer.outputs for layer in case.layers[:-1] if isinstance(layer, Linear)]
    convolutions = [layer for layer in case.layers if isinstance(layer, Conv)]
    norm = "batch" if any(isinstance(layer, Linear) and layer.norm for layer in case.layers) else "none"
    model = {"name": "mlp", "widths": widths, "normalisation": norm}
    if convolutions:
        channels, kernel = [layer.outputs for layer in convolutions], convolutions[0].kernel
        model = {"name": "cnn", "channels": channels, "kernel": kernel, "widths": widths}
    return spec.EnsembleSpec(
        data={"name": "digits"},
        model=model,
        optimiser={"name": "sgd", "lr": case.lr},
        training={"batch_size": case.batch},
        device="cpu",
    )


class OurTrainer:
    """Ensembles in memory; with two cores the other arrangement, one process for each, is how this library uses them."""

    def __init__(self, case: Case, threads: int) -> None:
        if threads != 1:
            raise NotImplementedError("one process for each core is how fptlib uses several")
        self.case, self.runs = case, RUNS.get(case.name, 48)

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Return the accuracy of each run on the evaluated images after the last epoch."""
        runs = tuple(range(first_run, first_run + self.runs))
        with numerics():
            training = Training(Task(spec_of(self.case), runs, epochs, "cpu"), _data(self.case))
            while training.active:
                training.step_epoch()
        return [float(value) for value in training.metrics["test_metric"][:, -1]]
