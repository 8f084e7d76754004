"""Files from elsewhere: found, fetched once, checked before anything is kept; never the network without being asked."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from fptlib import sources
from fptlib.errors import InputError
from fptlib.sources import Source, digest_of, fetch, find, fingerprint, where

FILES = {"Data/b/2.csv": b"acc\n0.2\n", "Data/a/1.csv": b"acc\n0.1\n"}


def pack(path: Path, files: dict[str, bytes], *, prefix: str = "Repo-1/") -> Path:
    """Write a tar archive of these files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def digest(files: dict[str, bytes]) -> str:
    """Compute the digest as `Source` describes it."""
    lines = sorted(f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Make a source of two files known, with an empty cache and an empty data folder."""
    source = Source(
        name="small",
        summary="two files",
        folder="Data",
        suffix=".csv",
        archive="small.tar.gz",
        url=(tmp_path / "server" / "small.tar.gz").as_uri(),
        digest=digest(FILES),
    )
    monkeypatch.setitem(sources.SOURCES, "small", source)
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FPTLIB_DATA", str(tmp_path / "data"))
    return source


def kept(tmp_path: Path) -> list[str]:
    """Name everything in the cache."""
    return sorted(p.name for p in (tmp_path / "cache").rglob("*"))


# Closed forms


def test_the_digest_is_over_names_and_contents_and_not_over_the_packing(small: Source, tmp_path: Path) -> None:
    pack(tmp_path / "data" / small.archive, dict(reversed(FILES.items())), prefix="Other-2/deep/")
    folder = fetch("small")
    assert digest_of(folder, ".csv") == small.digest
    (folder / "a" / "notes.txt").write_text("no part of it")
    assert digest_of(folder, ".csv") == small.digest
    (folder / "a" / "1.csv").rename(folder / "a" / "3.csv")
    assert digest_of(folder, ".csv") != small.digest


# Fetching


def test_what_lies_in_the_data_folder_is_unpacked_once(small: Source, tmp_path: Path) -> None:
    archive = pack(
        tmp_path / "data" / small.archive, {**FILES, "Data/readme.md": b"not this", "Else/1.csv": b"nor this"}
    )
    assert where("small") == f"{archive} (not unpacked)"
    folder = fetch("small")
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == ["a/1.csv", "b/2.csv"]
    assert (folder / "a" / "1.csv").read_bytes() == FILES["Data/a/1.csv"]
    archive.unlink()
    before = (folder / "a" / "1.csv").stat().st_mtime_ns
    assert fetch("small") == find("small") == folder == Path(where("small"))
    assert (folder / "a" / "1.csv").stat().st_mtime_ns == before
    assert f"small:{small.digest[:16]}" in fingerprint().split(",")


def test_what_is_nowhere_else_is_downloaded_and_only_by_fetch(small: Source, tmp_path: Path) -> None:
    pack(tmp_path / "server" / small.archive, FILES)
    assert find("small") is None
    assert where("small") == "not here: fpt data fetch small"
    assert "small" not in fingerprint()
    assert kept(tmp_path) == []
    assert fetch("small") == find("small")


# What is refused


@pytest.mark.parametrize(
    "files",
    [
        {**FILES, "Data/a/1.csv": b"acc\n0.9\n"},
        {**FILES, "Data/c/3.csv": b"acc\n0.3\n"},
        {"Data/a/1.csv": FILES["Data/a/1.csv"]},
        {"Data/a/2.csv": FILES["Data/b/2.csv"], "Data/b/1.csv": FILES["Data/a/1.csv"]},
        {},
    ],
    ids=["changed", "added", "missing", "swapped", "empty"],
)
@pytest.mark.parametrize("place", ["data", "server"])
def test_a_tampered_archive_leaves_nothing(small: Source, tmp_path: Path, files: dict[str, bytes], place: str) -> None:
    pack(tmp_path / place / small.archive, files)
    with pytest.raises(InputError, match=f"expected {small.digest[:16]}; nothing was kept"):
        fetch("small")
    assert kept(tmp_path) == []


def test_nothing_is_written_outside_the_cache(small: Source, tmp_path: Path) -> None:
    pack(tmp_path / "data" / small.archive, {**FILES, "Data/../../../evil.csv": b"x"}, prefix="")
    fetch("small")
    assert not list(tmp_path.rglob("evil.csv"))


def test_a_damaged_archive_and_a_failing_download_are_one_line(small: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"download of file:.*failed.*put small\.tar\.gz into a folder"):
        fetch("small")
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / small.archive).write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch("small")
    whole = pack(tmp_path / "whole.tar.gz", FILES).read_bytes()
    (tmp_path / "server" / small.archive).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch("small")
    assert kept(tmp_path) == []


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    for ask in (fetch, find, where):
        with pytest.raises(InputError, match="data source 'publishd' is not known; there is published"):
            ask("publishd")


def test_a_source_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        sources.PUBLISHED.url = "elsewhere"  # type: ignore[misc]
