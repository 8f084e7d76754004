"""The labelled array runs x epochs, and its Parquet store."""

from fptlib.trajectories.record import (
    DEFAULT_METRIC,
    Direction,
    Retirement,
    Trajectories,
    concatenate,
    reached,
    retire,
)
from fptlib.trajectories.store import STORE_FILE, read_shard, read_store, write_shard

__all__ = [
    "DEFAULT_METRIC",
    "STORE_FILE",
    "Direction",
    "Retirement",
    "Trajectories",
    "concatenate",
    "reached",
    "read_shard",
    "read_store",
    "retire",
    "write_shard",
]
