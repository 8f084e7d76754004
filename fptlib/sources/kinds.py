"""Kinds of sources: how each is found, fetched and checked."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import tempfile
import urllib.error
import urllib.request
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, final

import numpy as np
from platformdirs import user_cache_path

from fptlib.errors import InputError
from fptlib.progress import bar

DATA_VARIABLE = "FPTLIB_DATA"
CACHE_VARIABLE = "FPTLIB_CACHE"


@dataclass(frozen=True, slots=True)
class Source(ABC):
    """Somebody else's data.

    Parameters
    ----------
    name, summary
        Its name on the command line, and what it is.
    digest
        Hexadecimal digits that identify its content.
    """

    name: str
    summary: str
    digest: str

    @abstractmethod
    def find(self) -> Path | None:
        """Where it lies, ready to be read, if it is at hand; never downloads."""

    @abstractmethod
    def fetch(self) -> Path:
        """Bring it into the cache, checked, and say where it lies; nothing is done if it is at hand."""

    @property
    def at_hand(self) -> bool:
        """Whether it can be read without a download."""
        return self.find() is not None

    @property
    def where(self) -> str:
        """Where it would be read from, for people."""
        found = self.find()
        return str(found) if found is not None else f"not here: {self.remedy}"

    @property
    def remedy(self) -> str:
        """How to get it, for people."""
        return f"fpt data fetch {self.name}"

    def _cache(self) -> Path:
        return cache_dir() / f"{self.name}-{self.digest[:16]}"


@final
@dataclass(frozen=True, slots=True)
class Archive(Source):
    """A folder of files in somebody else's archive, at one commit.

    Parameters
    ----------
    digest
        SHA-256 over the sorted lines ``path, NUL, SHA-256 of the file, newline``: it does not depend on how the archive was packed.
    folder, suffix
        The folder in the archive, and the ending of the files that count.
    archive
        Name of the archive when it lies in ``$FPTLIB_DATA``.
    url
        Where it is downloaded from.
    """

    folder: str
    suffix: str
    archive: str
    url: str

    def find(self) -> Path | None:
        """Folder in the cache, unpacked from ``$FPTLIB_DATA`` if it lies there."""
        return self.fetch() if self.at_hand else None

    @property
    def at_hand(self) -> bool:
        """Whether it is in the cache or in ``$FPTLIB_DATA``."""
        return self._cached().exists() or self._local() is not None

    @property
    def where(self) -> str:
        """Where it would be read from, for people."""
        if self._cached().exists():
            return str(self._cached())
        local = self._local()
        return f"{local} (not unpacked)" if local else f"not here: {self.remedy}"

    def fetch(self) -> Path:
        """Unpack it from ``$FPTLIB_DATA`` where that has it, else download it."""
        if self._cached().exists():
            return self._cached()
        local = self._local()
        if local is not None:
            return self._unpack(local)
        with tempfile.TemporaryDirectory() as scratch:
            archive = Path(scratch) / "archive.tar.gz"
            self._download(archive)
            return self._unpack(archive)

    def _cached(self) -> Path:
        return self._cache() / self.folder

    def _local(self) -> Path | None:
        folder = _data_dir()
        path = folder / self.archive if folder else None
        return path if path is not None and path.is_file() else None

    def _unpack(self, archive: Path) -> Path:
        """Unpack the folder into the cache in one step, after its content was checked."""

        def fill(scratch: Path) -> None:
            try:
                _extract(self, archive, scratch)
            except (tarfile.TarError, EOFError, OSError) as error:
                raise InputError(f"{archive}: cannot be unpacked ({error})") from None
            found = digest_of(scratch / self.folder, self.suffix)
            if found != self.digest:
                raise InputError(
                    f"{archive}: its content has digest {found[:16]}, expected {self.digest[:16]}; nothing was kept"
                )

        _in_one_step(self._cache(), fill)
        return self._cached()

    def _download(self, path: Path) -> None:
        try:
            with urllib.request.urlopen(self.url, timeout=60) as response, path.open("wb") as file:
                total = int(response.headers.get("Content-Length") or 0)
                with bar(total, f"download {self.name} (bytes)") as progress:
                    while block := response.read(1 << 20):
                        file.write(block)
                        progress.update(len(block))
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise InputError(
                f"{self.name}: download of {self.url} failed ({reason}); "
                f"put {self.archive} into a folder and name that folder in ${DATA_VARIABLE}"
            ) from None


@final
@dataclass(frozen=True, slots=True)
class Torchvision(Source):
    """A data set that torchvision downloads.

    Parameters
    ----------
    digest
        Of the archive that is downloaded (MD5, which torchvision checks), or of the content (SHA-256, which
        `fptlib.data` checks).
    kind
        Name of torchvision's class.
    folder
        Where that class puts the files below its root.
    files
        The files that have to be there, each as it is or with the ending ``.gz``.
    system
        Folder in which a package of the system puts them.
    """

    kind: str
    folder: str
    files: tuple[str, ...]
    system: str | None = None

    def find(self) -> Path | None:
        """Folder with the files: in ``$FPTLIB_DATA``, in the cache, or of the system."""
        roots = [root for root in (_data_dir(), self._cache()) if root is not None]
        places = [root / self.folder for root in roots] + ([Path(self.system)] if self.system else [])
        return next((place for place in places if all(_there(place / name) for name in self.files)), None)

    def fetch(self) -> Path:
        """Download it as torchvision does, with torchvision's check."""
        found = self.find()
        if found is not None:
            return found

        def fill(scratch: Path) -> None:
            try:
                self.open(scratch, train=True, download=True)
            except (urllib.error.URLError, OSError, RuntimeError) as error:
                reason = " ".join(str(getattr(error, "reason", error)).split())
                raise InputError(
                    f"{self.name}: download failed ({reason}); "
                    f"put the folder {self.folder} into another and name that in ${DATA_VARIABLE}"
                ) from None
            for packed in scratch.rglob("*.gz"):
                packed.unlink()

        _in_one_step(self._cache(), fill)
        return self._cache() / self.folder

    def open(self, root: Path, *, train: bool, download: bool = False) -> Any:
        """Open torchvision's data set from the files below ``root / folder``."""
        try:
            from torchvision import datasets
        except ImportError:
            raise InputError(f"{self.name} needs torchvision, which is not installed; pip install '.[train]'") from None
        with warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 warn of files that were pickled as long ago as CIFAR.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return getattr(datasets, self.kind)(root, train=train, download=download)


@final
@dataclass(frozen=True, slots=True)
class LocalFile(Source):
    """A file that only people can bring.

    Parameters
    ----------
    digest
        SHA-256 of the content, which `fptlib.data` checks.
    file
        Its name in ``$FPTLIB_DATA``.
    """

    file: str

    def find(self) -> Path | None:
        """Return the file in ``$FPTLIB_DATA``."""
        folder = _data_dir()
        path = folder / self.file if folder else None
        return path if path is not None and path.is_file() else None

    def fetch(self) -> Path:
        """Return the file; there is nowhere to download it from."""
        found = self.find()
        if found is None:
            raise InputError(f"{self.name} is not to be downloaded; {self.remedy}")
        return found

    @property
    def remedy(self) -> str:
        """How to get it, for people."""
        return f"put {self.file} into a folder and name that folder in ${DATA_VARIABLE}"


def cache_dir() -> Path:
    """Folder for fetched data and trained ensembles."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("fptlib")


def digest_of(folder: Path, suffix: str) -> str:
    """Digest over the contents of all files with this ending below a folder, as `Source` describes it."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob(f"*{suffix}"), key=lambda p: p.relative_to(folder.parent).as_posix()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder.parent).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


def _data_dir() -> Path | None:
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named else None


def _there(path: Path) -> bool:
    return path.is_file() or path.with_name(f"{path.name}.gz").is_file()


def _in_one_step(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder that appears when it is complete, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    try:
        fill(scratch)
        try:
            scratch.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(source: Archive, archive: Path, target: Path) -> None:
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
