"""Experiments on whether the choice of a perturbation transfers: rows, their ensembles, and tables of results.

``params/experiments/*.yml`` -> `Row` -> an `fptlib.spec.EnsembleSpec` for each ensemble -> trained and kept in
``book/results/ensembles/DIGEST.parquet`` -> `measure` each row -> `transfer` between rows -> tables and figures.
"""

from companion.experiments.gather import Ensembles, keep_row, missing_of, read_rows, run_epochs, train_row
from companion.experiments.kept import refuse_orphans
from companion.experiments.measure import Means, Measured, cells_of, measure, row_table
from companion.experiments.rows import STEPS, Row, chain, load_rows
from companion.experiments.transfer import regret, step_table, transfer
from companion.experiments.verification import verify

__all__ = [
    "STEPS",
    "Ensembles",
    "Means",
    "Measured",
    "Row",
    "cells_of",
    "chain",
    "keep_row",
    "load_rows",
    "measure",
    "missing_of",
    "read_rows",
    "refuse_orphans",
    "regret",
    "row_table",
    "run_epochs",
    "step_table",
    "train_row",
    "transfer",
    "verify",
]
