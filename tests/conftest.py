"""Fixtures and rules of all tests: nothing is skipped where CI forbids it, and no store lies outside a test's own folder."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

import small_book
from companion.build import keys
from companion.published import archive
from fptlib import cli, sources
from known import Fpt

collect_ignore = ["logs", "reference"]  # scripts
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# What no installation can provide may be skipped: a CUDA device, data that would have to be downloaded, or data whose
# folder $FPTLIB_DATA does not name.
_EXCUSED = ("cuda", "cifar") if os.environ.get("FPTLIB_DATA") else ("cuda", "cifar", "published")

# Every run of the tests tries the same examples; `pytest --hypothesis-profile search` tries many others.
settings.register_profile("fixed", deadline=None, max_examples=30, derandomize=True)
settings.register_profile("search", deadline=None, max_examples=1000)
settings.load_profile("fixed")


def pytest_configure(config: pytest.Config) -> None:
    """Let one thread compute: threads that wait for each other cost more than the tests' small networks do."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count tests on the small site, which is built first, and in a browser as slow."""
    for item in items:
        if {"small_site", "chromium"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs the published trajectories where they are not."""
    archive = Path(os.environ.get("FPTLIB_DATA") or "nowhere") / sources.PUBLISHED.archive
    if item.get_closest_marker("published") and not archive.is_file():
        pytest.skip(f"no {archive.name} in $FPTLIB_DATA")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Generator[None]:
    """Keep training runs and fetched data apart from those of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPTLIB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the root folder of the project."""
    return Path(__file__).resolve().parents[1]


@pytest.fixture
def fpt(capsys: pytest.CaptureFixture[str]) -> Fpt:
    """Run the command line; return its status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.run([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def refused(fpt: Fpt) -> Callable[..., str]:
    """Run the command line; return the one line with which it refuses."""

    def run(*arguments: object) -> str:
        status, out, err = fpt(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("fpt: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture
def without_trajectories(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take the published trajectories away."""
    monkeypatch.delenv("FPTLIB_DATA", raising=False)
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path))
    archive.read.cache_clear()
    assert sources.find("published") is None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure where ``FPTLIB_NO_SKIP`` is set, unless it is excused."""
    report = yield
    forbidden = os.environ.get("FPTLIB_NO_SKIP") == "1" and not any(item.get_closest_marker(m) for m in _EXCUSED)
    if report.skipped and forbidden and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden (FPTLIB_NO_SKIP=1): {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole file into a failure likewise."""
    report = yield
    if report.outcome == "skipped" and os.environ.get("FPTLIB_NO_SKIP") == "1":
        report.outcome = "failed"
        report.longrepr = f"skipping is forbidden (FPTLIB_NO_SKIP=1): {collector.nodeid}"
    return report


@pytest.fixture(scope="session")
def library_as_it_is() -> Generator[None]:
    """Digest the library once, so that somebody may go on editing it while the tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keys, "library_digest", functools.cache(keys.library_digest))
        yield


@pytest.fixture(scope="session")
def small_site(tmp_path_factory: pytest.TempPathFactory, root: Path, library_as_it_is: None) -> Path:
    """Root folder of a small project whose site has been built; tests leave it as it is."""
    site = pytest.importorskip("companion.build.site", reason="the packages that build the book are not installed")
    folder = small_book.write(tmp_path_factory.mktemp("book"), like=root)
    site.build(folder)
    return folder


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Return a browser."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=_FLAGS)
        yield browser
        browser.close()
