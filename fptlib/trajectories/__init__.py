"""The labelled array runs x epochs, and its Parquet store."""

from fptlib.trajectories.record import (
    DEFAULT_METRIC,
    Direction,
    Retirement,
    Trajectories,
    concatenate,
    holds,
    reached,
    retire,
)
from fptlib.trajectories.store import (
    STORE_FILE,
    STORE_FORMAT,
    read_shard,
    read_store,
    read_store_file,
    to_table,
    write_shard,
    write_store_file,
)

__all__ = [
    "DEFAULT_METRIC",
    "STORE_FILE",
    "STORE_FORMAT",
    "Direction",
    "Retirement",
    "Trajectories",
    "concatenate",
    "holds",
    "reached",
    "read_shard",
    "read_store",
    "read_store_file",
    "retire",
    "to_table",
    "write_shard",
    "write_store_file",
]
