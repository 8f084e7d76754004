"""Does the choice of a perturbation transfer? Rows of experiments, their finished ensembles, and what they say.

``params/experiments/*.yml`` -> `Row` -> an `fptlib.spec.EnsembleSpec` for each ensemble -> trained and kept in
``book/results/ensembles/DIGEST.parquet`` -> `measure` each row -> `transfer` between rows -> tables and figures.
"""

from companion.experiments.gather import Ensembles, keep_row, missing_of, read_rows, run_epochs, train_row
from companion.experiments.kept import refuse_orphans
from companion.experiments.measure import Measured, measure, measure_runs
from companion.experiments.rows import STEPS, Row, chain, load_rows
from companion.experiments.tables import (
    cells_of,
    compare,
    on_validation,
    published_means,
    row_table,
    size_table,
    status_table,
)
from companion.experiments.transfer import rank_correlation, step_table, summary, transfer
from companion.experiments.verification import verify

__all__ = [
    "STEPS",
    "Ensembles",
    "Measured",
    "Row",
    "cells_of",
    "chain",
    "compare",
    "keep_row",
    "load_rows",
    "measure",
    "measure_runs",
    "missing_of",
    "on_validation",
    "published_means",
    "rank_correlation",
    "read_rows",
    "refuse_orphans",
    "row_table",
    "run_epochs",
    "size_table",
    "status_table",
    "step_table",
    "summary",
    "train_row",
    "transfer",
    "verify",
]
