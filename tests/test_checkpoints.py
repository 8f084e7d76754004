"""Snapshots: what is read is what was written, or nothing."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
import torch

from fptlib import checkpoints
from fptlib.checkpoints import OtherFormatError, Snapshot
from fptlib.errors import InputError


def snapshot() -> Snapshot:
    torch.manual_seed(0)
    return Snapshot(
        digest="0123456789abcdef",
        run=torch.arange(16, 32),
        epoch=torch.full((16,), 7),
        parameters={"a.weight": torch.randn(16, 3, 2)},
        buffers={"b.num_batches_tracked": torch.arange(16)},
        optimiser={0: {"step": torch.full((16,), 3.0), "exp_avg": torch.randn(16, 3, 2)}},
        learning_rate=torch.full((16,), 0.1, dtype=torch.float64),
        metrics={"test_metric": torch.rand(16, 7, dtype=torch.float64)},
    )


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "a.ckpt", snapshot())
    read = checkpoints.read(tmp_path / "a.ckpt")
    assert read.digest == "0123456789abcdef"
    for field in ("run", "epoch", "learning_rate"):
        assert torch.equal(getattr(read, field), getattr(snapshot(), field))
    for field in ("parameters", "buffers", "metrics"):
        expected = getattr(snapshot(), field)
        assert all(torch.equal(value, expected[name]) for name, value in getattr(read, field).items())
    assert torch.equal(read.optimiser[0]["exp_avg"], snapshot().optimiser[0]["exp_avg"])
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    # Others may read it as they may read any file.
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a.ckpt").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("where", [3, 30, 100, -2000, -1])
def test_any_damage_is_found(tmp_path: Path, where: int) -> None:
    path = tmp_path / "a.ckpt"
    checkpoints.write(path, snapshot())
    raw = bytearray(path.read_bytes())
    raw[where] ^= 1
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"a\.ckpt: (damaged snapshot|not a snapshot)"):
        checkpoints.read(path)


@pytest.mark.parametrize("length", [0, 10, 60, 500])
def test_a_torn_file_is_found(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.ckpt"
    checkpoints.write(path, snapshot())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(InputError, match=r"a\.ckpt"):
        checkpoints.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.ckpt: No such file"):
        checkpoints.read(tmp_path / "none.ckpt")


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    buffer = io.BytesIO()
    torch.save({"digest": Trap()}, buffer)
    payload = buffer.getvalue()
    path = tmp_path / "a.ckpt"
    path.write_bytes(b"fptlib snapshot 3\n" + hashlib.sha256(payload).hexdigest().encode() + payload)
    with pytest.raises(InputError, match="not a snapshot"):
        checkpoints.read(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"fptlib snapshot 2\n", OtherFormatError),
        (b"fptlib snapshot x\n", InputError),
        (b"PK", InputError),
        (b"", InputError),
    ],
)
def test_a_snapshot_of_another_format_is_told_from_what_is_none(tmp_path: Path, start: bytes, kind: type) -> None:
    (tmp_path / "a.ckpt").write_bytes(start + b"0" * 100)
    with pytest.raises(InputError, match=r"a\.ckpt: not a snapshot of this version") as caught:
        checkpoints.read(tmp_path / "a.ckpt")
    assert caught.type is kind


def test_runs_of_two_snapshots_are_put_in_order() -> None:
    whole = snapshot()

    def some(rows: list[int]) -> Snapshot:
        return Snapshot(
            digest=whole.digest,
            run=whole.run[rows],
            epoch=whole.epoch[rows],
            parameters={name: value[rows] for name, value in whole.parameters.items()},
            buffers={name: value[rows] for name, value in whole.buffers.items()},
            optimiser={0: {name: value[rows] for name, value in whole.optimiser[0].items()}},
            learning_rate=whole.learning_rate[rows],
            metrics={name: value[rows] for name, value in whole.metrics.items()},
        )

    joined = checkpoints.merge(some([1, 5, 6]), some([0, 5, 9]))
    rows = [0, 1, 5, 6, 9]
    assert torch.equal(joined.run, whole.run[rows])
    assert torch.equal(joined.parameters["a.weight"], whole.parameters["a.weight"][rows])
    assert torch.equal(joined.optimiser[0]["exp_avg"], whole.optimiser[0]["exp_avg"][rows])
