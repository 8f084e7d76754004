"""Functions for chapters: offline charts, ensembles by name, numbers for the prose, and a record of what the page rests on.

They work in any Jupyter session; inside a build they also record what the page's provenance box shows.
"""

from __future__ import annotations

import html
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion import ROOT
from fptlib.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from companion.experiments import Ensembles
    from fptlib.spec import EnsembleSpec
    from fptlib.trajectories import Trajectories

# The folder of MIME types that myst-nb reads glued values from and shows nowhere else.
_GLUE = "application/papermill.record/"
_TRAINED = "trained for this page, or read from a store"

# What the page rests on, since `setup`.
record: dict[str, list[Any]] = {"ensembles": [], "sources": []}


def setup() -> None:
    """Draw charts so that they work offline and without JavaScript, and start the record anew; call it in a chapter's first cell."""
    from fptlib.charts import render

    render.enable()
    for entries in record.values():
        entries.clear()
    _write_record()


def ensemble(name: str | os.PathLike[str], **overrides: Any) -> Trajectories:
    """Return the ensemble of ``params/ensembles/NAME.yml``, from the user's store or trained now.

    Parameters
    ----------
    name
        Stem of a file in ``params/ensembles``, or a path to a parameter file.
    **overrides
        Parameters to change, nested as in the file: ``runs=64``, ``perturbation={"period": 20}``, or with dotted keys
        ``**{"perturbation.period": 20}``.

    Raises
    ------
    InputError
        If there is no such file, or a parameter is wrong.
    """
    from fptlib import ensemble as training
    from fptlib import spec as specs
    from fptlib.parameters import nearest

    path = Path(name)
    if path.suffix not in (".yml", ".yaml"):
        path = ROOT / "params" / "ensembles" / f"{name}.yml"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.yml"))
            raise InputError(f"{path.parent}: no ensemble {str(name)!r}{nearest(name, known)}")
    spec = specs.override(specs.load(path), overrides)
    _record_ensemble(path.stem, spec, _TRAINED, overrides)
    return training.train(spec)


def experiments(names: Sequence[str] = (), *, stored: bool, **sizes: Any) -> dict[str, Ensembles]:
    """Return the runs of rows of experiments: kept with the book, or trained now with other sizes.

    Parameters
    ----------
    names
        Rows; all by default.
    stored
        Whether to read what is kept in ``book/results/ensembles``. A note on the page names what is missing there.
    **sizes
        Where they are trained now: what is changed in each row, see `companion.experiments.Row.sized`.

    Raises
    ------
    InputError
        If a row is not known, or a kept ensemble is stale or belongs to no row.
    """
    from companion import experiments as library

    rows = library.load_rows(names)
    if stored:
        result, missing = library.read_rows(rows)
        if missing:
            note(" ".join(missing), title="Not stored")
    else:
        result = {name: library.train_row(row.sized(**sizes) if sizes else row) for name, row in rows.items()}
    where = "kept with the book in book/results/ensembles" if stored else _TRAINED
    for name, study in result.items():
        origin = f"with {len(study.perturbed)} perturbed ensembles of {study.row.perturbed_runs} runs each, {where}"
        _record_ensemble(name, study.row.unperturbed, origin)
    return result


def uses(source: str) -> None:
    """Record a source of data, in words, for the provenance box: ``"published trajectories"``."""
    if source not in record["sources"]:
        record["sources"].append(source)
        _write_record()


def glue(values: Mapping[str, object], *, digits: int = 2) -> None:
    """Keep values for the prose, where ``{glue:text}`NAME``` shows them.

    Parameters
    ----------
    values
        By name, unique in the chapter: a string (shown as it is), a number, or an estimate with attributes or keys ``mean``, ``low``
        and ``high``.
    digits
        Decimals of floating-point numbers.
    """
    for name, value in values.items():
        # Quoted, because myst-nb evaluates the text as a literal: an unquoted 2.50 would become 2.5.
        _display(
            {f"{_GLUE}text/plain": repr(spell(value, digits=digits))},
            metadata={"scrapbook": {"name": name, "mime_prefix": _GLUE}},
        )


def spell(value: object, *, digits: int = 2) -> str:
    """Put a value into words, as `glue` does; of a prediction that is open, the range alone.

    Examples
    --------
    >>> spell("open"), spell(1000), spell(76.963), spell(0.5, digits=1)
    ('open', '1000', '76.96', '0.5')
    >>> spell({"mean": 29.74, "low": 27.11, "high": 32.49}, digits=1)
    '29.7 (95 % interval 27.1 to 32.5)'
    """
    import numpy as np

    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating):
        return f"{float(value):.{digits}f}"
    # A row of a table has keys too, and a method named mean.
    part_of: Any = value.get if hasattr(value, "get") else lambda name: getattr(value, name, None)
    mean, low, high = (part_of(name) for name in ("mean", "low", "high"))
    if low is None or high is None:
        kind = type(value).__name__
        raise InputError(f"glue: cannot put {kind} into words; give a string, a number, or mean, low and high")
    ends, level = f"{float(low):.{digits}f} to {float(high):.{digits}f}", part_of("level") or 0.95
    return ends if mean is None else f"{float(mean):.{digits}f} ({100 * level:g} % interval {ends})"


def table(frame: pd.DataFrame, *, names: Mapping[str, str] | None = None, digits: int = 1, rows: int = 8) -> None:
    """Show a table with headings in words; rows beyond the first ``rows`` are folded.

    Parameters
    ----------
    frame
        The table; missing values are left empty.
    names
        Headings by column: these columns are shown, in this order. All columns by default.
    digits
        Decimals of floating-point numbers.
    rows
        Rows that are always visible.
    """
    shown = (frame[list(names)].rename(columns=dict(names)) if names else frame).rename_axis(columns=None)
    spelt = shown.map(lambda value: "" if value is None or value != value else spell(value, digits=digits))
    page = spelt.head(rows).to_html(index=False, border=0)
    if (more := len(spelt) - rows) > 0:
        page += f"<details><summary>{more} more row{'s' * (more > 1)}</summary>"
        page += f"{spelt.iloc[rows:].to_html(index=False, border=0)}</details>"
    _display({"text/html": page, "text/plain": spelt.to_string(index=False)})


def note(text: str | Sequence[str], *, title: str = "Note") -> None:
    """Show a visible note among the outputs of a cell: plain text, or several sentences, the first in bold and a line for each."""
    sentences = [text] if isinstance(text, str) else list(text)
    lines = [html.escape(sentence) for sentence in sentences]
    if len(lines) > 1:
        lines[0] = f"<strong>{lines[0]}</strong>"
    heading = f'<p class="admonition-title">{html.escape(title)}</p>'
    page = f'<div class="admonition note fpt-note">{heading}{"".join(f"<p>{line}</p>" for line in lines)}</div>'
    _display({"text/html": page, "text/plain": f"{title}: {' '.join(sentences)}"})


def _record_ensemble(name: str, spec: EnsembleSpec, origin: str, overrides: Mapping[str, Any] | None = None) -> None:
    changes = json.loads(json.dumps(overrides or {}, default=str))
    entry = {"name": name, "overrides": changes, "digest": spec.digest(), "origin": origin}
    record["ensembles"].append({**entry, "runs": spec.runs, "epochs": spec.epochs, "seed": spec.seed})
    _write_record()


def _display(content: dict[str, str], metadata: dict[str, Any] | None = None) -> None:
    """Show something among the outputs of a cell; does nothing where no notebook is run."""
    from IPython import display
    from IPython.core.getipython import get_ipython

    if get_ipython() is not None:
        show: Any = display.display
        show(content, metadata=metadata, raw=True)


def _write_record() -> None:
    """Hand the record to the builder, if there is one."""
    if target := os.environ.get("FPTLIB_SIDECAR"):
        Path(target).write_text(json.dumps(record, sort_keys=True))
