"""The library's shape: one direction of flow, an analysis half without torch, small modules, no ties to one machine."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fptlib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "fptlib"
# A module imports only from modules before it.
ORDER = [
    "errors",
    "record",
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
    "settling",
    "ensemble",
    "hooks",
    "equilibrium",
    "processes",
    "firstpassage",
    "study",
    "qss",
    "response",
    "search",
    "calibrate",
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
    "study",
    "settling",
    "qss",
    "response",
    "tables",
    "charts",
    "report",
]
LONGEST = 400
# Lines of Python in all, docstrings included.
LINES = {
    "fptlib": 19_100,
    "fptlib/readers": 1_620,
    "fptlib/search": 1_530,
    "fptlib/hooks": 1_000,
    "fptlib/equilibrium": 350,
    "companion": 4_400,
    "tests": 18_740,
    "benchmarks": 4_280,
}
FILES, EXPORTED, AT_THE_TOP = 137, 167, 20


def sources(package: str = "fptlib") -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def stage(path: Path) -> str:
    """Return the part of the flow to which a file belongs: the first name below `fptlib`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for package in ("fptlib", "companion") for path in sources(package)}


def imported(path: Path, *, at_import_time: bool = False) -> Iterator[str]:
    """Return absolute names of all modules that a file imports, in functions and for types too; or only at its top level."""
    tree = ast.parse(path.read_text())
    for node in tree.body if at_import_time else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else str(node.module) for name in inside)


def test_a_module_imports_only_from_earlier_ones() -> None:
    for path in sources():
        own = stage(path)
        if own == "__init__":
            continue
        assert own in ORDER, f"fptlib.{own} has no place in the flow: add it to ORDER in {Path(__file__).name}"
        for name in imported(path):
            package, _, rest = name.partition(".")
            assert package != "companion", f"fptlib.{own} imports {name}"
            other = rest.partition(".")[0]
            if package == "fptlib" and other:
                assert other == own or ORDER.index(other) < ORDER.index(own), f"fptlib.{own} imports the later {name}"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Inside packages too; the package of the top has no names of its own."""
    before = {
        name: {other for other in imported(path) if other in MODULES and other != name}
        for name, path in MODULES.items()
        if name != "fptlib"
    }
    try:
        list(graphlib.TopologicalSorter(before).static_order())
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def exported(path: Path) -> list[str]:
    """Return the names in ``__all__`` of a file; at the top it is the list of where they live."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return list(fptlib.__all__) if path == PACKAGE / "__init__.py" else list(ast.literal_eval(node.value))
    return []


def test_the_library_stays_small() -> None:
    files = sources()
    assert len(files) <= FILES
    assert len(fptlib.__all__) <= AT_THE_TOP
    assert all(hasattr(fptlib, name) for name in fptlib.__all__)
    assert sum(len(exported(path)) for path in files) <= EXPORTED
    for path in files:
        assert len(path.read_text().splitlines()) <= LONGEST, f"{path.name} holds two ideas"


@pytest.mark.parametrize("package", LINES)
def test_packages_keep_their_number_of_lines(package: str) -> None:
    lines = sum(len(path.read_text().splitlines()) for path in sources(package))
    assert lines <= LINES[package], f"{package} has {lines} lines"


def test_scikit_learn_is_imported_only_where_data_is_loaded() -> None:
    for path in sources():
        where = imported(path, at_import_time=stage(path) == "data")
        assert not any(name.startswith("sklearn") for name in where), path


def loaded_after(statement: str) -> set[str]:
    """Modules loaded in a fresh interpreter after a statement."""
    code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
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


def test_an_answer_from_csv_files_loads_what_it_needs() -> None:
    loaded = loaded_after("import fptlib.readers, fptlib.study, fptlib.response")
    assert not loaded & {"pandas", "pyarrow", "pydantic", "altair", "scipy.stats", "scipy.optimize"}


@pytest.mark.parametrize("statement", ["import fptlib", "import fptlib.sources", "from companion import book"])
def test_import_is_light(statement: str) -> None:
    heavy = {"torch", "pandas", "scipy", "altair", "sphinx", "papermill", "nbformat", "pooch"}
    assert not loaded_after(statement) & heavy


def test_no_file_names_a_place_on_somebodys_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name] or sources()
    # Written so that it does not match itself.
    machine = re.compile(r"(?<![\w.<])/(?:work|home|root|Users)" + r"/\w")
    for path in paths:
        if not path.is_file() or path.suffix in (".png", ".parquet", ".npz", ".gz"):
            continue
        match = machine.search(path.read_text(errors="replace"))
        assert match is None, f"{path.relative_to(ROOT)}: {match[0] if match else ''}"


def test_every_module_is_in_the_api_pages() -> None:
    pages = "".join(path.read_text() for path in (ROOT / "book").glob("api_*.md"))
    public = {stage(path) for path in sources()} - {"__init__", "__main__", "cli", "files", "parameters", "progress"}
    missing = [name for name in sorted(public) if f"automodule:: fptlib.{name}\n" not in pages]
    assert not missing, f"book/api_*.md do not show fptlib.{', fptlib.'.join(missing)}"
