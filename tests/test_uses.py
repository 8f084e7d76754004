"""Kinds from files of your own: what the digest sees, other processes, what is refused; diffGrad as the example."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Fpt
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from companion.experiments import kept
from fptlib import ensemble, spec, trajectories
from fptlib.ensemble import cluster, updates
from fptlib.errors import InputError
from fptlib.perturbations import State
from known import small

SMALL = ["model.widths=[8]", "data.test_size=100", "runs=8", "epochs=3"]
SIGNS = '''"""Steps of one size."""
import torch
from fptlib.ensemble import optimisers


@optimisers.rule("signs")
class Signs(torch.optim.Optimizer):
    def __init__(self, params, lr=0.01):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p -= group["lr"] * p.grad.sign()
'''
FLIP = """from dataclasses import dataclass, replace
from fptlib.perturbations import Perturbation, rule


@rule("flip")
@dataclass(frozen=True)
class Flip(Perturbation):
    factor: float = -1.0

    def apply(self, state, context):
        return replace(state, parameters={name: self.factor * value for name, value in state.parameters.items()})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "signs.py").write_text(SIGNS)
    (tmp_path / "flip.py").write_text(FLIP)
    (tmp_path / "mine.yml").write_text(
        "uses: [signs.py, flip.py]\ndata: {name: digits, test_size: 100}\nmodel: {name: mlp, widths: [8]}\n"
        "optimiser: {name: signs}\ntraining: {batch_size: 50}\nruns: 8\nepochs: 3\n"
    )
    return tmp_path


# -- the digest


def test_the_digest_covers_the_text_of_a_file_and_not_where_it_lies(folder: Path) -> None:
    before = spec.load(folder / "mine.yml").digest()
    shutil.copytree(folder, folder / "elsewhere")
    (folder / "elsewhere" / "signs.py").rename(folder / "elsewhere" / "renamed.py")
    there = spec.load(folder / "elsewhere" / "mine.yml", [f"uses=[{folder}/elsewhere/renamed.py]"])
    assert there.digest() == before
    (folder / "signs.py").write_text(SIGNS.replace("lr=0.01", "lr=0.02"))
    after = spec.load(folder / "mine.yml")
    assert (after.optimiser.lr, there.optimiser.lr) == (0.02, 0.01)
    assert after.digest() != before
    (folder / "signs.py").write_text(SIGNS + "# one more line\n")
    assert spec.load(folder / "mine.yml").digest() not in (before, after.digest())


def test_files_of_which_nothing_is_used_stay_outside_the_digest(folder: Path) -> None:
    whole = spec.load(folder / "mine.yml")
    assert len(whole.uses) == 2
    alone = spec.load(folder / "mine.yml", [f"uses=[{folder}/signs.py]"])
    assert alone.digest() == whole.digest()
    flipped = spec.override(whole, {"perturbation": {"name": "flip", "period": 1}})
    assert flipped.digest() != whole.digest()
    assert spec.override(flipped, {"perturbation": None}).digest() == whole.digest()
    plain = spec.override(whole, {"optimiser": {"name": "sgd"}})
    assert plain.digest() == spec.override(plain, {"uses": []}).digest()
    assert "uses" not in plain.identity()


def test_a_kind_is_known_to_the_parameters_that_name_its_file_only(folder: Path) -> None:
    whole = spec.load(folder / "mine.yml")
    assert "signs" not in spec.kinds_of("optimiser")
    with pytest.raises(InputError, match=r"optimiser\.name: unknown optimiser 'signs'"):
        spec.override(whole, {"uses": [], "optimiser": {"name": "signs"}})
    with pytest.raises(InputError, match=r"optimiser\.name: unknown optimiser 'sings'; did you mean 'signs'\?"):
        spec.override(whole, {"optimiser": {"name": "sings"}})
    with pytest.raises(InputError, match=r"optimiser\.momentum: unknown key"):
        spec.override(whole, {"optimiser": {"name": "signs", "momentum": 0.9}})


def test_paths_are_relative_to_the_file_and_otherwise_to_the_working_directory(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = spec.load(folder / "mine.yml")
    values: dict[str, Any] = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "optimiser": {"name": "signs"}}
    with pytest.raises(InputError, match=r"uses: signs\.py: No such file or directory; a Python file is needed"):
        spec.EnsembleSpec(uses=["signs.py"], **values)
    monkeypatch.chdir(folder)
    assert spec.EnsembleSpec(uses=["signs.py"], **values).optimiser == whole.optimiser
    assert spec.load(folder / "mine.yml", ["uses=[signs.py]"]).digest() == whole.digest()


# -- other processes


@pytest.mark.slow
def test_parameters_with_files_of_ones_own_can_be_pickled(folder: Path) -> None:
    whole = spec.override(
        spec.load(folder / "mine.yml"), {"perturbation": {"name": "flip", "period": 1, "factor": 0.5}}
    )
    assert pickle.loads(pickle.dumps(whole)) == whole
    content = folder / "spec.pickle"
    content.write_bytes(pickle.dumps(whole))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).digest())"
    run = [sys.executable, "-c", code, str(content)]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout.strip() == whole.digest()


def test_other_processes_know_the_kinds(folder: Path) -> None:
    kick = {"name": "flip", "period": 1, "factor": 0.9}
    whole = spec.override(spec.load(folder / "mine.yml"), {"runs": 16, "perturbation": kick})
    here = ensemble.train(whole, out=folder / "here", workers=1)
    try:
        there = ensemble.train(whole, out=folder / "there", workers=2)
    finally:
        cluster.stop()
    assert np.array_equal(here.metrics["test_metric"], there.metrics["test_metric"])


def test_a_store_keeps_names_and_digests_of_files_also_of_those_that_a_fork_may_use(folder: Path) -> None:
    parent, files = spec.load(folder / "mine.yml"), [folder / "signs.py", folder / "flip.py"]
    ensemble.train(spec.override(parent, {"uses": files[:1]}), out=folder, workers=1)
    ensemble.train(spec.override(parent, {"epochs": 2}), out=folder, workers=1)
    store = ensemble.store_path(parent, out=folder)
    kept = json.loads((store / "store.json").read_text())["spec"]["uses"]
    assert kept == [{"name": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in files]
    again, _ = ensemble.read_request(store, uses=files)
    assert (again, again.epochs) == (parent, 3)
    forked = ensemble.fork(again, at=1, perturbation={"name": "flip"}, out=folder, workers=1)
    assert forked.spec.digest() == spec.override(parent, {"perturbation": {"name": "flip", "period": 1}}).digest()


# -- nothing that is read is executed


def test_a_store_that_uses_a_file_goes_on_with_that_file_only(folder: Path, fpt: Any, refused: Any) -> None:
    store = ensemble.store_path(spec.load(folder / "mine.yml"), out=folder)
    ensemble.train(spec.load(folder / "mine.yml"), out=folder, workers=1)
    (folder / "other.py").write_text(f"open({str(folder / 'marker')!r}, 'w')\n" + SIGNS)
    fork = ("fork", store, "--at", 1, "--perturbation", "full_reset", "--workers", 1)
    assert "uses: 'signs.py', whose SHA-256 is '" in (missing := refused(*fork))
    assert "is needed and not kept here; give it with --uses FILE" in missing
    assert "other.py is another one (" in refused(*fork, "--uses", folder / "other.py")
    assert "'flip.py'" in refused(*fork, "--uses", folder / "signs.py")
    assert not (folder / "marker").exists()
    (folder / "signs.py").rename(folder / "renamed.py")
    status, out, _ = fpt(*fork, "--uses", folder / "renamed.py", "--uses", folder / "flip.py")
    assert (status, Path(out.strip()).parent) == (0, folder)


@pytest.mark.parametrize("entry", ["source", "path", "text", "mapping", "null"])
def test_a_received_store_executes_nothing(folder: Path, refused: Any, entry: str) -> None:
    plain = small(epochs=2)
    ensemble.train(plain, out=folder, workers=1)
    store, marker = ensemble.store_path(plain, out=folder), folder / "marker"
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w')\n" + SIGNS)
    text = (folder / "evil.py").read_text()
    entries: dict[str, Any] = {
        "source": [{"source": text, "name": "evil.py"}],
        "path": [str(folder / "evil.py")],
        "text": [text],
        "mapping": {"source": text},
        "null": None,
    }
    content = json.loads((store / "store.json").read_text())
    content["spec"]["uses"] = entries[entry]
    (store / "store.json").write_text(json.dumps(content))
    assert "uses: not a list of digests of files" in refused("fork", store, "--at", 1, "--perturbation", "full_reset")
    with pytest.raises(InputError, match="not a list of digests of files"):
        spec.restore(content["spec"])
    assert not marker.exists()


def test_a_kept_ensemble_executes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "FOLDER", folder)
    plain, marker = small(epochs=2), folder / "marker"
    kept.keep(ensemble.train(plain, out=folder, workers=1), plain)
    path = kept.kept_path(plain)
    record = trajectories.read_shard(path)
    uses = [{"source": f"open({str(marker)!r}, 'w')\n" + SIGNS}]
    changed = replace(record, meta={**record.meta, "spec": {**record.meta["spec"], "uses": uses}})
    trajectories.write_shard(path, changed)
    assert kept.read_kept(plain) is not None  # it is known by its digest; its parameters are only shown
    assert not marker.exists()


# -- what is refused


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import torch\n", "makes no kind known; a Python file is needed that decorates kinds"),
        ("a = 1\nb = (\n", r"line 2: not valid Python"),
        ("import no_such_package_anywhere\n", r"line 1: does not import \(ModuleNotFoundError: No module"),
        ("def f():\n    return 1 / 0\n\nf()\n", r"line 2: does not import \(ZeroDivisionError: division by zero\)"),
        ("import sys\nsys.exit(3)\n", r"line 2: does not import \(SystemExit: 3\)"),
        (SIGNS.replace('"signs"', '"adam"'), "optimiser 'adam' is built in; another name is needed"),
        (FLIP.replace('"flip"', '"full_reset"'), "perturbation 'full_reset' is built in"),
        (SIGNS.replace("lr=0.01", "rate=0.01"), "optimiser 'signs': its constructor takes no lr"),
    ],
)
def test_a_file_that_gives_no_kind_is_refused_in_one_line(folder: Path, source: str, message: str) -> None:
    (folder / "flip.py").write_text(source)
    for _ in range(2):
        with pytest.raises(InputError, match=rf"mine\.yml: uses: .*flip\.py: {message}") as caught:
            spec.load(folder / "mine.yml")
        assert "\n" not in str(caught.value)


def test_what_is_no_list_of_files_is_refused(folder: Path) -> None:
    for text, message in [
        ("signs.py", r"uses: 'signs\.py' is not a list; allowed: paths of Python files"),
        ("[3]", "uses: 3 is not a path"),
        ("[gone.py]", r"uses: gone\.py: No such file or directory"),
    ]:
        with pytest.raises(InputError, match=message):
            spec.load(folder / "mine.yml", [f"uses={text}"])
    (folder / "flip.py").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"flip\.py: not a text file"):
        spec.load(folder / "mine.yml")
    (folder / "flip.py").write_text(SIGNS + "# the same kind\n")
    with pytest.raises(InputError, match=r"flip\.py: optimiser 'signs' is defined in .*signs\.py already"):
        spec.load(folder / "mine.yml")
    (folder / "flip.py").write_text(SIGNS)
    assert len(spec.load(folder / "mine.yml").uses) == 1


# -- the example: diffGrad


@pytest.fixture(scope="session")
def diffgrad(root: Path) -> spec.EnsembleSpec:
    return spec.load(root / "params" / "ensembles" / "digits_diffgrad.yml")


def stepped(section: spec.OptimiserSpec, start: NDArray[Any], gradients: NDArray[Any]) -> NDArray[Any]:
    """All points on the way, ``(steps + 1, entries)``."""
    parameter = torch.from_numpy(start.copy())[None]
    stack = updates.Stack(section, [parameter], State({}, {}, {}, section.lr))
    path = [start]
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient.copy())[None]
        stack.step()
        path.append(parameter[0].numpy().copy())
    return np.array(path)


def from_the_paper(
    start: NDArray[Any], gradients: NDArray[Any], *, lr: float, betas: tuple[float, float], eps: float
) -> NDArray[Any]:
    """Section III of arXiv:1909.11015, number by number."""
    path = [list(start)]
    for i in range(len(start)):
        theta, m, v, before = float(start[i]), 0.0, 0.0, 0.0
        for t, g in enumerate(map(float, gradients[:, i]), start=1):
            m = betas[0] * m + (1 - betas[0]) * g
            v = betas[1] * v + (1 - betas[1]) * g * g
            xi = 1 / (1 + math.exp(-abs(before - g)))
            theta -= lr * xi * (m / (1 - betas[0] ** t)) / (math.sqrt(v / (1 - betas[1] ** t)) + eps)
            before = g
            if i == 0:
                path.append([])
            path[t].append(theta)
    return np.array(path)


numbers = st.floats(-10, 10).filter(lambda x: x == 0 or abs(x) > 1e-6)


@given(
    gradients=st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12),
    lr=st.floats(1e-4, 0.5),
    betas=st.tuples(st.floats(0, 0.99), st.floats(0.5, 0.9999)),
)
def test_diffgrad_is_the_rule_of_the_paper(
    diffgrad: spec.EnsembleSpec, gradients: list[tuple[float, float]], lr: float, betas: tuple[float, float]
) -> None:
    section = spec.override(diffgrad, {"optimiser": {"lr": lr, "betas": betas}}).optimiser
    start, given_ = np.array([1.0, -2.0]), np.array(gradients)
    expected = from_the_paper(start, given_, lr=lr, betas=betas, eps=1e-8)
    np.testing.assert_allclose(stepped(section, start, given_), expected, rtol=1e-9, atol=1e-12)


def test_diffgrad_trains_through_the_command_line(fpt: Fpt, root: Path, tmp_path: Path) -> None:
    file = root / "params" / "ensembles" / "digits_diffgrad.yml"
    overrides = [item for text in [*SMALL, "optimiser.lr=0.01", "epochs=6"] for item in ("--set", text)]
    arguments = ["train", os.path.relpath(file), *overrides, "--out", str(tmp_path)]
    assert fpt(*arguments)[0] == 0
    requested = spec.load(file, [*SMALL, "optimiser.lr=0.01", "epochs=6"])
    trained = ensemble.train(requested, out=tmp_path)
    assert trained.meta["trained"] == 0
    assert (trained.metrics["train_loss"][:, -1] < trained.metrics["train_loss"][:, 0]).all()
    # Going on from snapshots is the same as going through.
    longer = spec.override(requested, {"epochs": 9})
    assert np.array_equal(
        ensemble.train(longer, out=tmp_path).metrics["train_loss"],
        ensemble.train(longer, out=tmp_path / "afresh").metrics["train_loss"],
    )
