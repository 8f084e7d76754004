"""What a chapter calls: charts on, ensembles by name, numbers for the prose, and a record of what the page rests on."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptlib.errors import InputError

if TYPE_CHECKING:
    from companion.experiments import Ensembles
    from fptlib.trajectories import Trajectories

# The folder of MIME types that myst-nb reads glued values from and shows nowhere else.
_GLUE = "application/papermill.record/"
_ENSEMBLES = "params/ensembles"
_RESULTS = "book/results"

_record: dict[str, list[Any]] = {"ensembles": [], "sources": []}


def setup() -> None:
    """Draw Altair charts so that they work offline and without JavaScript; call it in the first cell of a chapter.

    Starts the record of the page's provenance anew.
    """
    from fptlib.charts import render

    render.enable()
    for entries in _record.values():
        entries.clear()
    _write_record()


def ensemble(name: str | os.PathLike[str], **overrides: Any) -> Trajectories:
    """The ensemble of ``params/ensembles/NAME.yml``: kept with the book, in the user's store, or trained now.

    Parameters
    ----------
    name
        Stem of a file in ``params/ensembles``, or a path to a parameter file.
    **overrides
        Parameters to change, nested as in the file: ``runs=64``, ``perturbation={"period": 20}``, or with dotted keys
        ``**{"perturbation.period": 20}``.

    Returns
    -------
    Trajectories
        The runs and epochs asked for.

    Raises
    ------
    InputError
        If there is no such file, a parameter is wrong, or the result kept for this name in ``book/results`` is stale.
    """
    from fptlib import ensemble as training
    from fptlib import spec as specs

    path = _ensemble_file(name)
    spec = specs.load(path)
    if overrides:
        spec = specs.override(spec, overrides)
    digest = spec.digest()
    started = time.perf_counter()
    kept = _kept_result(path, digest, spec.runs, spec.epochs, overridden=bool(overrides))
    if kept is not None:
        trajectories, origin = kept, f"kept with the book in {_RESULTS}"
    else:
        stored = _holds(training.store_path(spec), spec.runs, spec.epochs)
        trajectories = training.train(spec)
        origin = "read from a store" if stored else "trained for this page"
    entry = {
        "name": path.stem,
        "overrides": json.loads(json.dumps(overrides, default=str)),
        "digest": digest,
        "runs": trajectories.n_runs,
        "epochs": trajectories.n_epochs,
        "seed": spec.seed,
        "origin": origin,
        "seconds": round(time.perf_counter() - started, 1),
    }
    _record["ensembles"].append(entry)
    _write_record()
    return trajectories


def experiments(names: Sequence[str] = (), *, stored: bool, **sizes: Any) -> dict[str, Ensembles]:
    """The runs of rows of experiments: kept with the book, or trained now with other sizes.

    Parameters
    ----------
    names
        Rows; all by default.
    stored
        Whether to read what is kept in ``book/results/ensembles``. What is not there is said on the page and left out.
    **sizes
        Where they are trained now: what is changed in each row, see `companion.experiments.Row`; ``perturbations`` may be a list of
        those of the row that are wanted.

    Raises
    ------
    InputError
        If a row or a perturbation is not known, or a kept ensemble is stale or belongs to no row.
    """
    from companion import experiments as library
    from fptlib.spec.faults import nearest

    rows = library.load_rows(names)
    started = time.perf_counter()
    if stored:
        found, missing = library.read_rows(rows)
        if missing:
            note(" ".join(missing), title="Not stored")
    else:
        found = {}
        known = sorted({perturbation for row in rows.values() for perturbation in row.perturbations})
        for unknown in sorted(set(sizes.get("perturbations", ())).difference(known)):
            raise InputError(f"perturbations: no row has {unknown!r}{nearest(unknown, known)}")
        for name, row in rows.items():
            wanted = sizes.get("perturbations", list(row.perturbations))
            chosen = {key: section for key, section in row.perturbations.items() if key in wanted}
            found[name] = library.train_row(row.sized(**{**sizes, "perturbations": chosen}) if sizes else row)
    for name, ensembles in found.items():
        spec = ensembles.row.unperturbed
        where = (
            "kept with the book in book/results/ensembles" if stored else "trained for this page, or read from a store"
        )
        entry = {
            "name": name,
            "overrides": {},
            "digest": spec.digest(),
            "runs": spec.runs,
            "epochs": spec.epochs,
            "seed": spec.seed,
            "origin": f"with {len(ensembles.perturbed)} perturbed ensembles of {ensembles.row.perturbed_runs} runs each, {where}",
            "seconds": round((time.perf_counter() - started) / len(found), 1),
        }
        _record["ensembles"].append(entry)
    _write_record()
    return found


def uses(source: str) -> None:
    """Record a source of data, in words, for the provenance box: ``"published trajectories"``."""
    if source not in _record["sources"]:
        _record["sources"].append(source)
        _write_record()


def glue(name: str, value: object, *, digits: int = 2, level: float = 0.95) -> None:
    """Keep a value for the prose, where ``{glue:text}`NAME``` shows it.

    Parameters
    ----------
    name
        Name, unique in the chapter.
    value
        A string (shown as it is), a number, or an estimate with attributes or keys ``mean``, ``low`` and ``high``.
    digits
        Decimals of floating-point numbers.
    level
        Level of the estimate's interval, for its wording.
    """
    text = spell(value, digits=digits, level=level)
    display = _display()
    if display is not None:
        # Quoted, because myst-nb evaluates the text as a literal: an unquoted 2.50 would become 2.5.
        display(
            {f"{_GLUE}text/plain": repr(text)},
            metadata={"scrapbook": {"name": name, "mime_prefix": _GLUE}},
            raw=True,
        )


def spell(value: object, *, digits: int = 2, level: float = 0.95) -> str:
    """The words in which `glue` puts a value.

    Examples
    --------
    >>> spell("not valid"), spell(1000), spell(76.963), spell(0.5, digits=1)
    ('not valid', '1000', '76.96', '0.5')
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
    parts: list[Any] = [part_of(name) for name in ("mean", "low", "high")]
    if any(part is None for part in parts):
        raise InputError(
            f"glue: cannot put {type(value).__name__} into words; "
            "give a string, a number, or an estimate with mean, low and high"
        )
    mean, low, high = (f"{float(part):.{digits}f}" for part in parts)
    return f"{mean} ({100 * level:g} % interval {low} to {high})"


def note(text: str, *, title: str = "Note") -> None:
    """Show a visible note among the outputs of a cell; plain text, one paragraph."""
    display = _display()
    if display is None:
        return
    page = (
        f'<div class="admonition note fpt-note"><p class="admonition-title">{html.escape(title)}</p>'
        f"<p>{html.escape(text)}</p></div>"
    )
    display({"text/html": page, "text/plain": f"{title}: {text}"}, raw=True)


def published_note() -> None:
    """Record whether the published trajectories or their summary are shown, and say so on the page where it is the summary."""
    from companion import published

    uses(published.origin())
    if not published.available():
        note(
            "The published trajectories are not on this machine. What is shown here comes from the summary table kept with this "
            "book, which was computed from them; fpt data fetch published brings the trajectories themselves.",
            title="From the summary table",
        )


def provenance() -> dict[str, list[Any]]:
    """What has been recorded since `setup`: ``ensembles`` and ``sources``."""
    return {key: list(entries) for key, entries in _record.items()}


def _ensemble_file(name: str | os.PathLike[str]) -> Path:
    """Parameter file of an ensemble, looked for from the working folder upwards."""
    path = Path(name)
    if path.suffix in (".yml", ".yaml"):
        if path.is_file():
            return path
        raise InputError(f"{path}: no such parameter file")
    for root in (Path.cwd(), *Path.cwd().parents):
        folder = root / _ENSEMBLES
        if folder.is_dir():
            file = folder / f"{name}.yml"
            if file.is_file():
                return file
            known = ", ".join(sorted(p.stem for p in folder.glob("*.yml"))) or "none"
            raise InputError(f"{folder}: no ensemble {str(name)!r}; there is {known}")
    raise InputError(f"no folder {_ENSEMBLES} here or above {Path.cwd()}; start the notebook inside the project")


def _kept_result(path: Path, digest: str, runs: int, epochs: int, *, overridden: bool) -> Trajectories | None:
    """An ensemble kept with the book, if one matches and is large enough.

    Raises
    ------
    InputError
        If the result kept under this very name was made from other parameters: it would be shown for what it is not.
    """
    from fptlib import trajectories

    if path.parent.as_posix().endswith(_ENSEMBLES):
        folder = path.parents[2] / _RESULTS
        for store in sorted(folder.glob(f"*/{trajectories.STORE_FILE}")):
            content = trajectories.read_store_file(store.parent)
            if content["digest"] == digest and _covers(content, runs, epochs):
                return trajectories.read_store(store.parent).head(runs=runs, epochs=epochs)
        named = folder / path.stem
        if not overridden and (named / trajectories.STORE_FILE).exists():
            found = trajectories.read_store_file(named)["digest"]
            if found != digest:
                raise InputError(
                    f"{named}: stale (digest {found}, but {path.name} has {digest}); train it again or delete it"
                )
    return None


def _covers(content: dict[str, Any], runs: int, epochs: int) -> bool:
    """Whether so many runs were asked for, each followed for so many epochs."""
    return bool(content["runs"] >= runs and content["epochs"] >= epochs and content.get("retirement") is None)


def _holds(store: Path, runs: int, epochs: int) -> bool:
    """Whether a store has all that is asked for, so that nothing is left to train."""
    from fptlib import trajectories

    try:
        content = trajectories.read_store_file(store)
        if not _covers(content, runs, epochs):
            return False
        trajectories.read_store(store)
    except InputError:
        return False
    return True


def _display() -> Any:
    """IPython's ``display``, or None where no notebook is being run."""
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError:
        return None
    return display if get_ipython() is not None else None


def _write_record() -> None:
    """Hand the record to the builder, if there is one."""
    target = os.environ.get("FPTLIB_SIDECAR")
    if target:
        Path(target).write_text(json.dumps(_record, sort_keys=True))
