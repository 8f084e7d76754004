"""The wheel as others install it: without the companion, where there is what it declares and no PyTorch."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from known import write_logs

pytestmark = pytest.mark.slow
PIP = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--no-input")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    tree, out = tmp_path_factory.mktemp("source") / "tree", tmp_path_factory.mktemp("wheel")
    made = shutil.ignore_patterns(".*", "_build", "build", "__pycache__", "*.egg-info")
    shutil.copytree(root, tree, ignore=made)
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", out, tree], check=True)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and of the packages here what it needs, and what these need."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    subprocess.run([*PIP, "--python", folder / "bin/python", "install", "--no-deps", "--no-index", wheel], check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    (distribution,) = metadata.distributions(name="fptlib", path=[str(packages)])
    for name in needed(distribution.requires or ()):
        for top in {file.parts[0] for file in metadata.files(name) or ()} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(metadata.distribution(name).locate_file(top))
    return folder


def needed(requirements: Iterable[str], extras: Iterable[str] = ()) -> set[str]:
    """Names of the packages that meet requirements, and of those that they need themselves."""
    names: set[str] = set()
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in ("", *extras)):
            names |= {requirement.name} | needed(metadata.requires(requirement.name) or (), requirement.extras)
    return names


@pytest.fixture
def run(installed: Path, tmp_path: Path) -> Run:
    """Run a program of the environment in a folder of its own."""
    plain = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}

    def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [installed / "bin" / program, *arguments]
        return subprocess.run(command, cwd=tmp_path, env=plain, capture_output=True, text=True)

    return run


def test_it_holds_the_library_with_its_data_and_nothing_else(wheel: Path, root: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    files = [path for path in (root / "fptlib").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sorted(names) == sorted(path.relative_to(root).as_posix() for path in files)
    assert {"fptlib/py.typed", "fptlib/charts/assets/draw.js"} <= set(names)


def test_it_recommends_from_csv_files_without_torch(run: Run, tmp_path: Path) -> None:
    write_logs(tmp_path / "plain", seed=0, period=None)
    write_logs(tmp_path / "every20", seed=1, period=20)
    for name in ("torch", "companion"):
        assert f"No module named '{name}'" in run("python", "-c", f"import {name}").stderr
    paths = ["--unperturbed", "plain", "--perturbed", "redraw:20=every20", "--threshold", "0.9"]
    done = run("fpt", "recommend", *paths, "--report", "report.html")
    assert (done.returncode, done.stderr) == (0, "report: report.html\n")
    assert "redraw" in done.stdout
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("command", ["book", "experiments", "verify"])
def test_commands_of_the_book_are_one_line_and_take_nothing_from_the_working_folder(
    run: Run, tmp_path: Path, command: str
) -> None:
    (tmp_path / "companion").mkdir()
    for name in ("__init__", "cli"):
        (tmp_path / "companion" / f"{name}.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "fptlib_companion.dist-info").mkdir()
    (tmp_path / "fptlib_companion.dist-info" / "METADATA").write_text("Name: fptlib-companion\nVersion: 1\n")
    (tmp_path / "fptlib_companion.dist-info" / "entry_points.txt").write_text(
        "[fptlib.commands]\ncompanion = companion.cli:register\n"
    )
    done = run("fpt", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"fpt: {command} belongs to the book")
