"""The library's shape: one direction of flow, an analysis half without torch, small modules, no ties to one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fptlib"
# A module imports only from modules before it.
ORDER = [
    "errors",
    "files",
    "progress",
    "sources",
    "parameters",
    "perturbations",
    "spec",
    "data",
    "models",
    "checkpoints",
    "trajectories",
    "readers",
    "ensemble",
    "hooks",
    "processes",
    "firstpassage",
    "qss",
    "response",
    "optimise",
    "tables",
    "charts",
    "report",
    "cli",
    "__main__",
]
ANALYSIS = [
    "trajectories",
    "readers",
    "processes",
    "firstpassage",
    "qss",
    "response",
    "tables",
    "charts",
    "report",
]
LONGEST = 400


def sources() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def stage(path: Path) -> str:
    """The part of the flow to which a file belongs: the first name below `fptlib`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, *, at_import_time: bool = False) -> Iterator[str]:
    """Absolute names of all modules that a file imports, wherever in it; or only at its top level."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_import_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            module = node.module or ""
            yield from (f"fptlib.{alias.name}" for alias in node.names) if module == "fptlib" else (module,)


def names(paths: list[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


@pytest.mark.parametrize("path", sources(), ids=names(sources()))
def test_a_module_imports_only_from_earlier_ones(path: Path) -> None:
    own = stage(path)
    if own == "__init__":
        return
    assert own in ORDER, f"fptlib.{own} has no place in the flow: add it to ORDER in {Path(__file__).name}"
    for name in imported(path):
        if name.startswith("fptlib."):
            other = name.split(".")[1]
            assert other == own or ORDER.index(other) < ORDER.index(own), f"fptlib.{own} imports the later {name}"


@pytest.mark.parametrize("path", sources(), ids=names(sources()))
def test_scikit_learn_is_imported_only_where_data_is_loaded(path: Path) -> None:
    assert not any(name.startswith("sklearn") for name in imported(path, at_import_time=True))
    if stage(path) != "data":
        assert not any(name.startswith("sklearn") for name in imported(path))


def loaded_after(statement: str) -> set[str]:
    """Packages loaded in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(' '.join({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_analysis_half_never_imports_torch() -> None:
    present = [name for name in ANALYSIS if (PACKAGE / name).exists() or (PACKAGE / f"{name}.py").exists()]
    assert present
    assert not loaded_after("\n".join(f"import fptlib.{name}" for name in present)) & {
        "torch",
        "torchvision",
        "sklearn",
    }


@pytest.mark.parametrize("statement", ["import fptlib", "import fptlib.sources", "from companion import book"])
def test_import_is_light(statement: str) -> None:
    heavy = {"torch", "pandas", "scipy", "altair", "sphinx", "papermill", "nbformat", "pooch"}
    assert not loaded_after(statement) & heavy


@pytest.mark.parametrize("path", sources(), ids=names(sources()))
def test_no_module_holds_two_ideas(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name] or sources()
    # Written so that it does not match itself.
    machine = re.compile(r"(?<![\w.<])/(?:work|home|root|Users)" + r"/\w")
    for path in paths:
        if not path.is_file() or path.suffix in (".png", ".parquet", ".npz", ".gz"):
            continue
        found = machine.search(path.read_text(errors="replace"))
        assert found is None, f"{path.relative_to(ROOT)}: {found[0] if found else ''}"


def test_every_module_is_in_the_api_pages() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "book").glob("api_*.md"))
    public = {stage(path) for path in sources()} - {"__init__", "__main__", "cli", "files", "parameters", "progress"}
    missing = [name for name in sorted(public) if f"automodule:: fptlib.{name}\n" not in pages]
    assert not missing, f"book/api_*.md do not show fptlib.{', fptlib.'.join(missing)}"


def test_no_modules_import_each_other() -> None:
    """Imports inside functions and for types count as well: a circle is one whoever walks it."""
    known = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path for path in sources()
    }
    graph: dict[str, set[str]] = {name: set() for name in known}
    for name, path in known.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in known:
                submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
                graph[name] |= submodules if len(submodules) == len(node.names) else {node.module, *submodules}
    TopologicalSorter(graph).prepare()
