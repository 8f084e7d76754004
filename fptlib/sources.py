"""Files from elsewhere: where they are looked for, how they are fetched and how they are known to be the right ones.

``$FPTLIB_DATA`` names a folder that is searched first. Fetched files go to the user's cache (``$FPTLIB_CACHE``, else the platform's
cache folder). Only `fetch` ever uses the network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from platformdirs import user_cache_path

from fptlib.errors import InputError
from fptlib.progress import bar

DATA_VARIABLE = "FPTLIB_DATA"
CACHE_VARIABLE = "FPTLIB_CACHE"


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of files in somebody else's archive, at one commit.

    Parameters
    ----------
    name, summary
        Its name on the command line, and what it is.
    folder, suffix
        The folder in the archive, and the ending of the files that count.
    archive
        Name of the archive when it lies in ``$FPTLIB_DATA``.
    url
        Where it is downloaded from.
    digest
        SHA-256 over the sorted lines ``path, NUL, SHA-256 of the file, newline``: it does not depend on how the archive was packed.
    """

    name: str
    summary: str
    folder: str
    suffix: str
    archive: str
    url: str
    digest: str


PUBLISHED = Source(
    name="published",
    summary="trajectories published with arXiv:2502.04121 (Hirshberg-Lab/OptPerturbationsNN)",
    folder="Figures_data",
    suffix=".csv",
    archive="OptPerturbationsNN-5be6f0e-Figures_data.tar.gz",
    url="https://github.com/Hirshberg-Lab/OptPerturbationsNN/archive/5be6f0eaea5f4966c624288b11aca0eccd2465e8.tar.gz",
    digest="fe731a2691744da3b63b5b9ded17a056f9aa9481227c266d69085102c3715a7b",
)
SOURCES = {source.name: source for source in (PUBLISHED,)}


def cache_dir() -> Path:
    """Folder for fetched data and trained ensembles."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("fptlib")


def fetch(name: str) -> Path:
    """Bring a source into the cache and return its folder; nothing is done if it is there.

    It is taken from ``$FPTLIB_DATA`` where that has it, else downloaded. The content is checked before anything is kept.

    Raises
    ------
    InputError
        If the name is not known, the download fails, or the content is not what it has to be.
    """
    source = _known(name)
    folder = _cached(source)
    if folder.exists():
        return folder
    local = _local_archive(source)
    if local is not None:
        return _unpack(source, local)
    with tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch) / "archive.tar.gz"
        _download(source, archive)
        return _unpack(source, archive)


def find(name: str) -> Path | None:
    """Folder of a source that is at hand (in the cache, or to be unpacked from ``$FPTLIB_DATA``), else ``None``; never downloads."""
    source = _known(name)
    return fetch(name) if _cached(source).exists() or _local_archive(source) is not None else None


def where(name: str) -> str:
    """Where a source would be read from, for people."""
    source = _known(name)
    if _cached(source).exists():
        return str(_cached(source))
    local = _local_archive(source)
    return f"{local} (not unpacked)" if local else f"not here: fpt data fetch {name}"


def fingerprint() -> str:
    """Which sources are at hand, by name and digest: a key for results that depend on them."""
    at_hand = [s for s in SOURCES.values() if _cached(s).exists() or _local_archive(s) is not None]
    return ",".join(f"{s.name}:{s.digest[:16]}" for s in at_hand)


def digest_of(folder: Path, suffix: str) -> str:
    """Digest over the contents of all files with this ending below a folder, as `Source` describes it."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob(f"*{suffix}"), key=lambda p: p.relative_to(folder.parent).as_posix()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder.parent).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _known(name: str) -> Source:
    if name not in SOURCES:
        raise InputError(f"data source {name!r} is not known; there is {', '.join(sorted(SOURCES))}")
    return SOURCES[name]


def _cached(source: Source) -> Path:
    return cache_dir() / f"{source.name}-{source.digest[:16]}" / source.folder


def _local_archive(source: Source) -> Path | None:
    named = os.environ.get(DATA_VARIABLE)
    if not named:
        return None
    path = Path(named) / source.archive
    return path if path.is_file() else None


def _unpack(source: Source, archive: Path) -> Path:
    """Unpack the folder into the cache in one step, after its content was checked."""
    target = _cached(source).parent
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        try:
            _extract(source, archive, scratch)
        except (tarfile.TarError, EOFError, OSError) as error:
            raise InputError(f"{archive}: cannot be unpacked ({error})") from None
        found = digest_of(scratch / source.folder, source.suffix)
        if found != source.digest:
            raise InputError(
                f"{archive}: its content has digest {found[:16]}, expected {source.digest[:16]}; nothing was kept"
            )
        try:
            scratch.rename(target)
        except OSError:
            if not _cached(source).exists():  # else another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _cached(source)


def _extract(source: Source, archive: Path, target: Path) -> None:
    """Regular files of the folder only, at the place that their names say below ``source.folder``."""
    (target / source.folder).mkdir()
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if (
                not member.isfile()
                or source.folder not in parts
                or ".." in parts
                or not member.name.endswith(source.suffix)
            ):
                continue
            path = target.joinpath(*parts[parts.index(source.folder) :])
            path.parent.mkdir(parents=True, exist_ok=True)
            content = tar.extractfile(member)
            assert content is not None
            path.write_bytes(content.read())


def _download(source: Source, path: Path) -> None:
    try:
        with urllib.request.urlopen(source.url, timeout=60) as response, path.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0)
            with bar(total, f"download {source.name} (bytes)") as progress:
                while block := response.read(1 << 20):
                    file.write(block)
                    progress.update(len(block))
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"{source.name}: download of {source.url} failed ({reason}); "
            f"put {source.archive} into a folder and name that folder in ${DATA_VARIABLE}"
        ) from None
