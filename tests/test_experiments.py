"""Rows of experiments: their parameters, the ensembles kept of them, and what transfers from one row to another."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

from companion import ROOT, book, charts
from companion import experiments as ex
from companion.build.project import Project
from companion.experiments import gather, kept, rows
from companion.experiments.transfer import CHANCE, NOTHING
from companion.experiments.verification import retrain
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, ratio
from fptlib.processes import DelayedGeometric
from fptlib.study import Study
from fptlib.trajectories import Target, Trajectories, reached, read_shard

BASE = """
data: {name: digits, train_size: 60, validation_size: 50, test_size: 100}
model: {name: mlp, widths: [8]}
optimiser: {name: sgd, lr: 0.2}
training: {batch_size: 20}
"""
ROW = """
{title: tiny, steps: {data: 1}, base: ../ensembles/tiny.yml, runs: 24, perturbed_runs: 16, epochs: 12, period: 4, periods: [2, 6],
perturbations: {shrink_perturb: {shrink: 0.4, perturb: 0.1}}}
"""


def write_row(project: Path, name: str = "tiny", **changes: Any) -> Path:
    """Write the file of a row; beside it stands that of its ensemble."""
    path = project / f"params/experiments/{name}.yml"
    path.parent.mkdir(parents=True, exist_ok=True)
    (project / "params/ensembles").mkdir(exist_ok=True)
    (project / "params/ensembles/tiny.yml").write_text(BASE)
    path.write_text(yaml.safe_dump(yaml.safe_load(ROW) | changes))
    return path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with one tiny row, and a cache of its own."""
    monkeypatch.setattr(rows, "FOLDER", tmp_path / "params/experiments")
    monkeypatch.setattr(kept, "FOLDER", tmp_path / "kept")
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path / "cache"))
    write_row(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The kept files of the tiny row, trained once."""
    project = tmp_path_factory.mktemp("trained")
    row = rows.load_row(write_row(project))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept, "FOLDER", project / "kept")
        ex.keep_row(row, out=project / "stores", workers=1)
    return {path.name: path.read_bytes() for path in (project / "kept").iterdir()}


@pytest.fixture
def row(project: Path, trained: dict[str, bytes]) -> ex.Row:
    """The tiny row with all its ensembles kept."""
    kept.FOLDER.mkdir(parents=True)
    for name, content in trained.items():
        (kept.FOLDER / name).write_bytes(content)
    return ex.load_rows()["tiny"]


def complete(row: ex.Row) -> ex.Ensembles:
    """Read the kept ensembles of a row, all of which are there."""
    ensembles = gather.read_row(row)
    assert ensembles is not None
    return ensembles


def rewrite(path: Path, **meta: Any) -> None:
    """Change the metadata of a kept file."""
    table = pq.read_table(path)
    stored = dict(table.schema.metadata)
    stored[b"fptlib"] = json.dumps({**json.loads(stored[b"fptlib"]), **meta}).encode()
    pq.write_table(table.replace_schema_metadata(stored), path)


def tamper(row: ex.Row, key: Any, run: int, epoch: int, by: float, *, where: dict[str, str] | None = None) -> None:
    """Change one number of a kept ensemble, its checksum included."""
    spec = row.ensemble(key)
    record = read_shard(kept.kept_path(spec))
    values = {name: array.copy() for name, array in record.metrics.items()}
    values["test_metric"][run, epoch - 1 :] += by
    meta = {**record.meta, **({"machine": where} if where else {})}
    kept.keep(dataclasses.replace(record, metrics=values, meta=meta), spec)


# -- closed forms


@pytest.mark.parametrize(
    ("direction", "best", "share", "expected"),
    [
        ("above", [0.1, 0.2, 0.3, 0.4], 0.5, (0.25, 0.5)),
        ("above", [0.1, 0.2, 0.2, 0.2], 0.5, (0.15, 0.25)),
        ("below", [0.1, 0.2, 0.3, 0.4], 0.25, (0.35, 0.25)),
        ("above", [1.0, 2.0], 0.9, (1.5, 0.5)),
    ],
)
def test_the_threshold_leaves_the_share_censored_that_steps_allow(
    project: Path, direction: str, best: list[float], share: float, expected: tuple[float, float]
) -> None:
    row = rows.load_row(write_row(project, direction=direction, censored=share, epochs=7))
    worst = 0.0 if direction == "above" else 9.0
    runs = Trajectories(metrics={"test_metric": np.array([[b, worst] for b in best])}, run=np.arange(len(best)))
    target = gather.target_of(row, runs)
    assert (target.threshold, np.mean(~reached(runs.metric(), target).any(axis=1))) == pytest.approx(expected)
    stated = rows.load_row(write_row(project, threshold=0.3))
    assert gather.target_of(stated, runs) == Target(0.3, "above", "test_metric")
    alike = Trajectories(metrics={"test_metric": np.full((3, 2), 0.5)}, run=np.arange(3))
    with pytest.raises(InputError, match="same best"):
        gather.target_of(row, alike)


def synthetic(process: DelayedGeometric, seed: int) -> Study:
    """Return a study of a process with a known answer."""
    rngs = np.random.default_rng(seed).spawn(4)
    plain, *kicked = (
        process.sample(rng, n_runs=300, horizon=80, period=period)
        for rng, period in zip(rngs, (None, 5, 20, 40), strict=True)
    )
    perturbed = {("shrink_perturb", p): runs for p, runs in zip((5, 20, 40), kicked, strict=True)}
    return Study(plain, perturbed, 0.5, n_boot=200)


HELPS = DelayedGeometric(silent=5, hazard=0.005, silent_after=1, hazard_after=0.3)
SLOW = DelayedGeometric(silent=5, hazard=0.02, silent_after=4, hazard_after=0.06)
HARMS = DelayedGeometric(silent=5, hazard=0.03, silent_after=25, hazard_after=0.02)


def analysed(**processes: DelayedGeometric) -> dict[str, ex.Measured]:
    """Predict and measure known processes as rows."""
    return {name: ex.measure(synthetic(p, 1 + i), period=20) for i, (name, p) in enumerate(processes.items())}


def test_a_known_process_is_predicted_and_measured() -> None:
    result = analysed(helps=HELPS)["helps"]
    cells = result.comparison.to_frame().set_index("period")
    for period in (5, 40):
        exact = sum((1 - 0.005) ** max(k - 5, 0) for k in range(period)) + (1 - 0.005) ** (period - 5) * (1 + 1 / 0.3)
        assert cells.loc[period, "measured"] == pytest.approx(exact, rel=0.1)
        assert cells.loc[period, "predicted"] == pytest.approx(exact, rel=0.12)
    assert sorted(cells.index) == [5, 40], "at P0 there is nothing to predict"
    assert cells["covered"].all()
    assert result.best == result.choice() == result.choice(more=True) == ("shrink_perturb", 5)


def test_a_further_ensemble_is_measured_where_the_ensembles_at_p0_name_one() -> None:
    study = synthetic(SLOW, 1)
    result = ex.measure(study, period=20)
    assert result.choice() == ("shrink_perturb", 20)
    assert result.ranking.next == ("shrink_perturb", 5)
    assert result.choice(more=True) == ("shrink_perturb", 5)
    with pytest.raises(InputError, match="shrink_perturb is not measured at P0 = 30"):
        ex.measure(study, period=30)
    assert ex.measure(study, period=20, controls=["shrink_perturb"]).means.keys() == {None}


def test_regret_is_nothing_at_home_and_large_where_the_choice_harms() -> None:
    results = analysed(helps=HELPS, again=HELPS, harms=HARMS)
    means = {name: result.means for name, result in results.items()}
    table = ex.transfer(means).set_index(["source", "target"])
    for name in results:
        assert table.loc[(name, name), ["regret", "low", "high", "rank"]].tolist() == [0, 0, 0, 1]
    assert table.loc[("helps", "again"), "regret"] == 0
    assert table.loc[("harms", "harms"), "choice"] == "no perturbation"
    harm, there = table.loc[("helps", "harms")], means["harms"]
    expected = ratio(there["shrink_perturb", 5], there[None])
    assert harm[["regret", "low", "high"]].tolist() == [expected.mean - 1, expected.low - 1, expected.high - 1]
    assert harm["low"] > 0.3
    assert table.loc[(NOTHING, "helps"), "regret"] == ex.regret(means["helps"], None).mean
    assert table.loc[(NOTHING, "harms"), "regret"] == 0
    assert 0 < table.loc[(CHANCE, "helps"), "regret"] < table.loc[(NOTHING, "helps"), "regret"]
    assert (table["regret"] >= 0).all()
    assert (table["rank"] <= table["n_candidates"]).all()
    assert table["kind"].value_counts().to_dict() == {
        "another setting": 6,
        "the setting itself": 3,
        CHANCE: 3,
        NOTHING: 3,
    }
    with pytest.raises(InputError, match="rows other and helps have no perturbation in common"):
        ex.transfer({"helps": means["helps"], "other": {None: there[None], ("dash", 5): there[None]}})


def test_a_choice_is_carried_out_at_the_nearest_period() -> None:
    def rows(**times: float) -> dict[Any, Estimate]:
        made = {key: Estimate(mean, mean, mean, 9, 0) for key, mean in times.items()}
        return {None if key == "none" else ("kick", int(key[1:])): mean for key, mean in made.items()}

    one, other = rows(none=20, p9=10, p40=12), rows(none=20, p5=30, p20=25)
    table = ex.transfer({"one": one, "other": other}).set_index(["source", "target"])
    assert table.loc[("one", "other"), "choice"] == "kick every 5 epochs"
    assert table.loc[("one", "other"), "regret"] == pytest.approx(0.5)
    known: Any = {name: SimpleNamespace(steps={"data": place}) for place, name in enumerate(("one", "other"))}
    steps = ex.step_table(known, table.reset_index())
    assert steps[["step", "source", "target"]].to_numpy().tolist() == [["data", "one", "other"]]


# -- parity: kept is what training gives


@pytest.mark.slow
def test_what_is_kept_is_what_training_gives(row: ex.Row, tmp_path: Path) -> None:
    stored = complete(row)
    fresh = ex.train_row(row, out=tmp_path / "stores", workers=1)
    assert fresh.target == stored.target
    assert set(fresh.perturbed) == set(stored.perturbed) == {("shrink_perturb", p) for p in (2, 4, 6)}
    for key in row.members():
        a, b = fresh.of(key), stored.of(key)
        assert set(b.metrics) == {"test_metric", "valid_metric"}
        np.testing.assert_array_equal(a.lengths, b.lengths)
        for name in b.metrics:
            np.testing.assert_array_equal(a.metrics[name], b.metrics[name])
    key = ("shrink_perturb", 4)
    again = retrain(row.ensemble(key), [13, 5], stored.target)
    np.testing.assert_array_equal(again["test_metric"], stored.of(key).metrics["test_metric"][[13, 5]])


def test_verification_is_exact_here(row: ex.Row) -> None:
    compared = ex.verify({"tiny": row}, runs=12, seed=1)
    assert len({(c.ensemble, c.run) for c in compared}) == len(compared) == 12
    assert all(c.exact and c.first == 0 and not c.fault for c in compared)
    assert ex.verify({"tiny": row}, runs=3, seed=5) == ex.verify({"tiny": row}, runs=3, seed=5)


def test_training_goes_on_where_it_was(row: ex.Row, tmp_path: Path, trained: dict[str, bytes]) -> None:
    gone = kept.kept_path(row.ensemble(("shrink_perturb", 6)))
    gone.unlink()
    assert ex.missing_of(row) == [("shrink_perturb", 6)]
    assert gather.read_row(row) is None, "a row counts with all its ensembles"
    messages: list[str] = []
    assert ex.keep_row(row, out=tmp_path / "stores", workers=1, say=messages.append) > 0
    assert gone.read_bytes() == trained[gone.name]
    assert ex.keep_row(row, out=tmp_path / "stores", workers=1, say=messages.append) == 0
    assert not (tmp_path / "stores" / "tiny").exists()


def test_generation_of_the_processor_belongs_to_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "processor\t: 0\ncpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 1\n\nprocessor\t: 1\nmodel\t: 9\n"
    read = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda p, *a, **k: words if str(p) == "/proc/cpuinfo" else read(p, *a, **k))
    assert kept.machine()["cpu"] == "AMD EPYC (cpu family 25, model 1, stepping 1)"


def test_what_is_kept_decides_where_this_machine_trains_otherwise(row: ex.Row, tmp_path: Path) -> None:
    # The unperturbed runs came from another machine: they have another threshold than the same runs trained here.
    spec = row.unperturbed
    record = read_shard(kept.kept_path(spec))
    shifted = {name: values + 0.003 for name, values in record.metrics.items()}
    kept.keep(dataclasses.replace(record, metrics=shifted, meta={**record.meta, "machine": {"cpu": "another"}}), spec)
    for key in row.members()[1:]:
        kept.kept_path(row.ensemble(key)).unlink()
    todo = ex.missing_of(row)
    trained = ex.keep_row(row, out=tmp_path / "stores", workers=1)
    both = complete(row)
    assert {runs.retirement.threshold for runs in both.perturbed.values()} == {both.target.threshold}
    # Nothing of the unperturbed runs is trained but what the others branch off from: 16 runs, to epoch 6.
    assert ex.run_epochs(row, todo) == 16 * (6 + 10 + 8 + 6)
    assert trained <= 16 * (6 + 10 + 8 + 6)


# -- what is found


@pytest.mark.parametrize(
    ("epoch", "by", "fault"), [(11, 0.01, ""), (2, 0.05, "in its first 2 epochs; 0.02 is allowed")]
)
def test_elsewhere_only_the_first_epochs_must_agree(row: ex.Row, epoch: int, by: float, fault: str) -> None:
    tamper(row, None, 7, epoch, by, where={**kept.machine(), "cpu": "another"})
    compared = [c for c in ex.verify({"tiny": row}, runs=72) if c.ensemble == "no perturbation"]
    assert not any(c.exact for c in compared)
    (changed,) = [c for c in compared if c.first]
    assert (changed.run, changed.first) == (7, epoch)
    assert fault in changed.fault
    assert bool(changed.fault) == bool(fault)


def test_another_device_is_another_machine(row: ex.Row) -> None:
    record = read_shard(kept.kept_path(row.unperturbed))
    kept.keep(dataclasses.replace(record, meta={**record.meta, "device": "cuda"}), row.unperturbed)
    compared = ex.verify({"tiny": row}, runs=72)
    assert {c.ensemble for c in compared if not c.exact} == {"no perturbation"}


# -- what is refused


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("renamed", "belongs to another ensemble"),
        ("other numbers", "checksum"),
        ("other retirement", "stale .runs retired at"),
        ("cut short", "not a readable Parquet file"),
    ],
)
def test_a_stale_ensemble_is_refused(row: ex.Row, how: str, message: str) -> None:
    plain, two, four = (kept.kept_path(row.ensemble(key)) for key in row.members()[:3])
    if how == "renamed":
        two.replace(four)
    elif how == "other numbers":
        rewrite(plain, content="0" * 16)
    elif how == "other retirement":
        known = read_shard(four).meta["retirement"]
        rewrite(four, retirement={**known, "threshold": known["threshold"] + 0.001})
    else:
        plain.write_bytes(plain.read_bytes()[:200])
    with pytest.raises(InputError, match=f"{message}.*delete it and train it again"):
        ex.read_rows({"tiny": row})


def test_nothing_in_a_kept_file_is_executed(row: ex.Row, tmp_path: Path) -> None:
    path, marker = kept.kept_path(row.unperturbed), tmp_path / "executed"
    source = f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
    rewrite(path, spec={**read_shard(path).meta["spec"], "uses": [{"name": "own.py", "source": source}]})
    complete(row)
    ex.read_rows({"tiny": row})
    path.rename(path.with_stem("0" * 16))
    with pytest.raises(InputError, match="no row asks for it"):
        ex.read_rows({"tiny": row})
    assert not marker.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"runs": 32}, "24 runs of 12 epochs, 32 of 12 are asked for"),
        ({"periods": [2]}, "no row asks for it; delete it"),
    ],
)
def test_a_row_that_changes_does_not_fit_what_is_kept(
    row: ex.Row, project: Path, changes: dict[str, Any], message: str
) -> None:
    write_row(project, **changes)
    with pytest.raises(InputError, match=message):
        ex.read_rows(ex.load_rows())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"period": 12}, "not before the horizon"),
        ({"periods": [4]}, "each once"),
        ({"perturbed_runs": 25}, "exceeds runs"),
        ({"perturbations": {"kick": {}}}, "unknown perturbation 'kick'"),
        ({"perturbations": {"shrink_perturb": {"period": 3}}}, "the period belongs to the row"),
        ({"controls": {"shrink_perturb": {}}}, "name of a perturbation too"),
        ({"censored": 1.0}, "censored: 1.0 is not possible"),
        ({"base": "../ensembles/none.yml"}, "No such file"),
        ({"changes": {"optimiser.lr": -1}}, "optimiser.lr"),
        ({"metric": "valid_metric", "changes": {"data.validation_size": 0}}, "needs data.validation_size"),
        ({"metric": "test_loss"}, "allowed: 'test_metric', 'valid_metric' or 'test_rmse'"),
        ({"metric": "test_rmse"}, "test_rmse is of regression, and digits has classes"),
        ({"colour": "red"}, "colour: unknown key"),
        ({"steps": {"colour": 1}}, "steps"),
    ],
)
def test_a_wrong_row_is_one_clear_line(project: Path, changes: dict[str, Any], message: str) -> None:
    path = write_row(project, **changes)
    with pytest.raises(InputError, match=message) as caught:
        rows.load_row(path)
    assert "\n" not in str(caught.value)
    assert "tiny.yml" in str(caught.value)
    assert ": :" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "message"), [("runs: 3000", "runs: given twice"), ("threshold: 2024-13-45", "not valid YAML")]
)
def test_a_row_that_is_not_well_written_is_one_clear_line(project: Path, line: str, message: str) -> None:
    path = write_row(project)
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(InputError, match=message):
        rows.load_row(path)


def test_what_cannot_be_verified_or_found_is_one_line(project: Path) -> None:
    known = ex.load_rows()
    for choice, message in (({"runs": 0}, "runs 0"), ({"seed": -1}, "seed -1"), ({}, "nothing is kept")):
        with pytest.raises(InputError, match=message):
            ex.verify(known, **choice)
    assert ex.read_rows(known) == ({}, ["Row tiny is left out: 0 of 4 ensembles are kept."])
    with pytest.raises(InputError, match="did you mean 'tiny'"):
        ex.load_rows(["tin"])
    write_row(project, "twin", steps={})
    with pytest.raises(InputError, match="rows share none"):
        ex.load_rows()


# -- the command line


def test_commands(project: Path, fpt: Any) -> None:
    status, out, err = fpt("experiments", "--dry-run")
    assert (status, "tiny  24 + 16 x 3  12      4        672" in out) == (0, True), (out, err)
    status, out, err = fpt("experiments", "tiny", "--workers", "1")
    assert status == 0
    assert "4 of 4 ensembles are kept" in err
    status, out, _ = fpt("verify", "--runs", "6")
    assert status == 0
    assert "6 runs compared (bit by bit: tiny)" in out
    tamper(ex.load_rows()["tiny"], None, 7, 12, 0.01)
    status, out, err = fpt("verify", "--runs", "72")
    assert status == 1
    assert "run 7 of tiny, no perturbation, differs from epoch 12" in err
    assert fpt("verify", "tinny")[0] == 2


# -- the real thing


def test_the_projects_own_rows_and_results() -> None:
    known = ex.load_rows()
    for step in ex.STEPS:
        chain = ex.chain(known, step)
        assert len(chain) >= 2, step
        assert [known[name].steps[step] for name in chain] == list(range(1, len(chain) + 1))
    assert all(len(row.periods) >= 4 for row in known.values())
    ensembles, notes = ex.read_rows(known)
    assert notes == []
    assert all(len(e.perturbed) >= 10 for e in ensembles.values())
    size = sum(path.stat().st_size for path in kept.FOLDER.glob("*"))
    assert size < 20e6, f"{size / 1e6:.1f} MB are kept"


# -- tables, figures and chapters


def test_validation_data_have_a_threshold_of_their_own(row: ex.Row) -> None:
    full = complete(row)
    with pytest.raises(InputError, match="retire: false"):
        full.on_validation()
    result = ex.Ensembles(row.sized(retire=False), full.target, full.unperturbed, {}).on_validation()
    assert result.row.metric == "valid_metric"
    best = full.unperturbed.metrics["valid_metric"].max(axis=1)
    assert np.mean(best < result.target.threshold) == pytest.approx(0.5, abs=0.1)
    assert result.study().target.metric == "valid_metric"


def test_figures_hold_every_number() -> None:
    results = analysed(helps=HELPS, harms=HARMS)
    cells = ex.cells_of(results)
    assert len(cells) == 4, "two periods beside P0 in each of two rows"
    chart = charts.predictions(cells)
    assert "4 perturbed ensembles in 2 settings" in chart.description
    assert chart.to_dict()
    chart = charts.compared({name: cells[cells["row"] == name] for name in results})
    assert "helps: at most" in chart.description
    drawn = [layer["mark"].get("filled") for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == "point"]
    assert drawn == sorted({bool(covered) for covered in cells["covered"]}), "hollow where the interval misses"
    table = pd.DataFrame({"period": [5, 50], "mean": [3.0, 3.5], "low": 2.0, "high": 4.0})
    chart = charts.against_period({"a": table}, "epochs", plain=[6.0])
    assert "epochs against the period: a from 3.0 to 3.5" in chart.description
    assert chart.to_dict()["layer"][0]["encoding"]["y"]["scale"]["domain"] == pytest.approx([1.8, 6.6])
    table = ex.transfer({name: result.means for name, result in results.items()})
    drawn = charts.matrix(table)
    assert len(next(iter(drawn.to_dict()["datasets"].values()))) == len(table) == 8
    line = ex.row_table(results).set_index("row").loc["helps"]
    assert (line["best"], line["choice"]) == ("shrink-and-perturb every 5 epochs", "shrink-and-perturb every 5 epochs")
    assert line["choice_mean"] == line["best_mean"]


def test_a_chapter_gets_what_is_kept_and_says_what_is_not(row: ex.Row, monkeypatch: Any) -> None:
    notes: list[str] = []
    monkeypatch.setattr("companion.book.note", lambda text, title: notes.append(f"{title}: {text}"))
    result = book.experiments(stored=True)
    assert (set(result), notes) == ({"tiny"}, [])
    assert book.record["ensembles"][-1]["digest"] == row.unperturbed.digest()
    kept.kept_path(row.unperturbed).unlink()
    assert book.experiments(["tiny"], stored=True) == {}
    assert notes == ["Not stored: Row tiny is left out: 3 of 4 ensembles are kept."]
    fresh = book.experiments(["tiny"], stored=False, runs=16, perturbed_runs=16, periods=[2])["tiny"]
    assert set(fresh.perturbed) == {("shrink_perturb", 2), ("shrink_perturb", 4)}
    expected = result["tiny"].unperturbed.metrics["test_metric"][:16]
    np.testing.assert_array_equal(fresh.unperturbed.metrics["test_metric"], expected)


def test_a_chapter_without_stored_parameters_has_the_quick_ones() -> None:
    project = Project(root=ROOT)
    files = {name: project.parameter_file("stored", project.chapter(name)) for name in ("transfer", "when_it_fails")}
    assert [path.parent.name for path in files.values()] == ["stored", "quick"]
