"""One source, and how it is found, fetched and checked."""

from __future__ import annotations

import hashlib
import os
import tarfile
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from platformdirs import user_cache_path

from fptlib.errors import InputError
from fptlib.progress import bar

DATA_VARIABLE = "FPTLIB_DATA"
CACHE_VARIABLE = "FPTLIB_CACHE"


@final
@dataclass(frozen=True, slots=True)
class Source:
    """Data from elsewhere: a file that somebody brings, a folder that torchvision downloads, or one in an archive.

    Parameters
    ----------
    name, summary
        Its name on the command line, and what it is.
    digest
        Hexadecimal digits that identify its content: of the archive that torchvision downloads and checks (MD5), of what `fptlib.data`
        reads (SHA-256), or of the files of an archive, as `digest_of` computes it, however they were packed.
    place
        The file or folder, in ``$FPTLIB_DATA``, in the cache or in the archive.
    files
        The files that have to be in the folder, each as it is or with the ending ``.gz``.
    torchvision, system
        Torchvision's class that downloads it, and the folder in which a package of the operating system puts the files.
    url, archive, suffix
        Where an archive is downloaded from, its name when it lies in ``$FPTLIB_DATA``, and the ending of the files that count.
    """

    name: str
    summary: str
    digest: str
    place: str
    files: tuple[str, ...] = ()
    torchvision: str = ""
    system: str = ""
    url: str = ""
    archive: str = ""
    suffix: str = ""

    def find(self) -> Path | None:
        """Return the file or folder if it is at hand, unpacked from ``$FPTLIB_DATA`` if need be; never downloads."""
        ready = self._ready()
        packed = None if ready else self._in_data(self.archive)
        return ready if packed is None else self._unpack(packed)

    def fetch(self) -> Path:
        """Return the file or folder, downloaded and checked if it is not at hand; an InputError if that fails."""
        if (ready := self.find()) is not None:
            return ready
        if self.url:
            import pooch  # here, because in a notebook it warns that there is no widget for its progress

            with tempfile.TemporaryDirectory() as scratch:
                archive = Path(scratch) / "archive.tar.gz"
                download = pooch.HTTPDownloader(timeout=60, progressbar=bar(1, f"download {self.name} (bytes)"))
                try:
                    download(self.url, str(archive), None)
                except OSError as error:
                    raise self._failed(error, of=f" of {self.url}") from None
                return self._unpack(archive)
        if not self.torchvision:
            raise InputError(f"{self.name} is not to be downloaded; {self.remedy}")
        with _new(self._cache()) as folder:
            try:
                self.open(folder, train=True, download=True)
            except (OSError, RuntimeError) as error:
                raise self._failed(error) from None
            for packed in folder.rglob("*.gz"):
                packed.unlink()
        return self._cache() / self.place

    def open(self, root: Path, *, train: bool, download: bool = False) -> Any:
        """Open torchvision's data set from the files below ``root / place``, which it checks."""
        try:
            from torchvision import datasets
        except ImportError:
            raise InputError(f"{self.name} needs torchvision, which is not installed; pip install '.[train]'") from None
        with warnings.catch_warnings():
            # NumPy 2.4.0 to 2.4.4 warn of files that were pickled as long ago as CIFAR.
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            return getattr(datasets, self.torchvision)(root, train=train, download=download)

    @property
    def at_hand(self) -> bool:
        """Test whether it can be read without a download."""
        return (self._ready() or self._in_data(self.archive)) is not None

    @property
    def where(self) -> str:
        """Return the place from which it would be read, in words."""
        packed = self._in_data(self.archive)
        return str(self._ready() or (f"{packed} (not unpacked)" if packed else f"not here: {self.remedy}"))

    @property
    def remedy(self) -> str:
        """Return the way to get it, in words."""
        return f"fpt data fetch {self.name}" if self.url or self.torchvision else self._by_hand()

    def _by_hand(self) -> str:
        what = self.archive or (f"the folder {self.place}" if self.files else self.place)
        return f"put {what} into a folder and name that folder in ${DATA_VARIABLE}"

    def _failed(self, error: Exception, of: str = "") -> InputError:
        reason = " ".join(str(getattr(error, "reason", error)).split())
        return InputError(f"{self.name}: download{of} failed ({reason}); {self._by_hand()}")

    def _ready(self) -> Path | None:
        named = None if self.archive else self._in_data(self.place)
        places = [named, self._cache() / self.place, Path(self.system) if self.system else None]
        return next((place for place in places if place is not None and self._complete(place)), None)

    def _complete(self, place: Path) -> bool:
        files = [((place / name).is_file() or (place / f"{name}.gz").is_file()) for name in self.files]
        return place.exists() and all(files)

    def _in_data(self, name: str) -> Path | None:
        folder = os.environ.get(DATA_VARIABLE)
        path = Path(folder) / name if folder and name else None
        return path if path is not None and path.exists() else None

    def _cache(self) -> Path:
        return cache_dir() / f"{self.name}-{self.digest[:16]}"

    def _unpack(self, archive: Path) -> Path:
        """Unpack the folder into the cache, if its content is the right one."""
        with _new(self._cache()) as folder:
            scratch = folder.parent / "unpacked"
            try:
                with tarfile.open(archive) as tar:
                    members = [member for member in tar if member.isfile() and member.name.endswith(self.suffix)]
                    tar.extractall(scratch, members, filter="data")
            except (tarfile.TarError, EOFError, OSError) as error:
                raise InputError(f"{archive}: cannot be unpacked ({error})") from None
            for unpacked in list(scratch.rglob(self.place))[:1]:
                unpacked.rename(folder / self.place)
            digest = digest_of(folder / self.place, self.suffix)
            if digest != self.digest:
                given = f"{archive}: its content has digest {digest[:16]}"
                raise InputError(f"{given}, expected {self.digest[:16]}; nothing was kept")
        return self._cache() / self.place


def cache_dir() -> Path:
    """Return the folder for fetched data and trained ensembles."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named) if named else user_cache_path("fptlib")


def digest_of(folder: Path, suffix: str) -> str:
    """Return the SHA-256 over the sorted lines ``path, NUL, SHA-256 of the file, newline`` of the files with an ending below a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob(f"*{suffix}"), key=lambda p: p.relative_to(folder.parent).as_posix()):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        total.update(f"{path.relative_to(folder.parent).as_posix()}\0{content}\n".encode())
    return total.hexdigest()


@contextmanager
def _new(target: Path) -> Iterator[Path]:
    """Give a folder to fill, which appears at its place when that is done, or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as scratch:
        folder = Path(scratch) / target.name
        folder.mkdir()
        yield folder
        try:
            folder.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster
                raise
