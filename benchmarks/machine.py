# ruff: noqa: T201
"""The machine and the versions, for the head of a report."""

from __future__ import annotations

import os
import platform
import time
from importlib import metadata
from pathlib import Path

# Cores that other processes may keep busy during a measurement.
QUIET = 0.1
# Seconds between two looks at the machine.
_INTERVAL = 0.3


def cores() -> list[int]:
    """The two cores that every contender gets."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))[:2]
    return list(range(min(2, os.cpu_count() or 1)))


def head(*packages: str) -> dict[str, dict[str, str | int]]:
    """Return, and print, the machine and the versions of Python and packages."""
    versions: dict[str, str | int] = {"python": platform.python_version()}
    for package in packages:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    content = {"machine": describe(), "versions": versions}
    for title, values in content.items():
        print(f"{title}: " + ", ".join(f"{name} {value}" for name, value in values.items()))
    return content


def describe() -> dict[str, str | int]:
    """Processor, cores and system."""
    return {
        "processor": _processor(),
        "cores of the machine": os.cpu_count() or 1,
        "cores used": len(cores()),
        "system": platform.platform(),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def busy_seconds() -> float:
    """Processor time of the whole machine since it started, what a hypervisor took away included; 0 if unknown."""
    path = Path("/proc/stat")
    if not path.is_file():
        return 0.0
    user, nice, system, _, _, interrupts, soft, stolen = map(int, path.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Processor time of this group of processes and of children that it has had; 0 if unknown."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in parentheses may contain blanks; after it come the state, the parent and the group.
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[2]) == os.getpgrp():
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def wait_until_quiet(patience: float) -> None:
    """Return when nobody is busy, or after ``patience`` seconds; to be called when no worker works."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        before = busy_seconds()
        time.sleep(_INTERVAL)
        if busy_seconds() - before <= QUIET * _INTERVAL:
            return
