"""The labelled array runs x epochs, and its Parquet store."""

from fptlib.trajectories.record import DEFAULT_METRIC, Trajectories, concatenate, retire
from fptlib.trajectories.store import STORE_FILE, read_shard, read_store, write_shard
from fptlib.trajectories.target import Direction, Target, reached

__all__ = [
    "DEFAULT_METRIC",
    "STORE_FILE",
    "Direction",
    "Target",
    "Trajectories",
    "concatenate",
    "reached",
    "read_shard",
    "read_store",
    "retire",
    "write_shard",
]
