"""Snapshots: what is read is what was written, or nothing."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fptlib import checkpoints
from fptlib.checkpoints import OtherFormatError, Snapshot
from fptlib.errors import InputError
from known import same


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
        best={
            "parameters": {"a.weight": torch.randn(16, 3, 2)},
            "buffers": {},
            "optimiser": {0: {"m": torch.ones(16)}},
        },
    )


def assert_equal(read: Snapshot, expected: Snapshot) -> None:
    assert read.digest == expected.digest
    for field in ("run", "epoch", "learning_rate"):
        assert torch.equal(getattr(read, field), getattr(expected, field))
    for field in ("parameters", "buffers", "metrics"):
        assert same(getattr(read, field), getattr(expected, field))
    assert same(read.optimiser[0], expected.optimiser[0])
    assert read.best is not None
    assert expected.best is not None
    assert same(read.best["parameters"], expected.best["parameters"])
    assert same(read.best["optimiser"][0], expected.best["optimiser"][0])


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    checkpoints.write(tmp_path / "a.ckpt", snapshot())
    assert_equal(checkpoints.read(tmp_path / "a.ckpt"), snapshot())
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]
    # Others may read it as they may read any file.
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "a.ckpt").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_any_damage_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    with pytest.raises(InputError, match=r"a\.ckpt: No such file"):
        checkpoints.read(path)
    checkpoints.write(path, snapshot())
    whole = path.read_bytes()
    flipped = [whole[:k] + bytes([whole[k] ^ 1]) + whole[k + 1 :] for k in (3, 30, 100, len(whole) - 2000)]
    for raw in (*flipped, *(whole[:k] for k in (0, 10, 60, 500, -1))):
        path.write_bytes(raw)
        with pytest.raises(InputError, match=r"a\.ckpt: (damaged snapshot|not a snapshot)"):
            checkpoints.read(path)


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
        def cut(value: Any) -> Any:
            if isinstance(value, dict):
                return {k: cut(v) for k, v in value.items()}
            return value if value is None else value[rows]

        kept = {name: getattr(whole, name) for name in Snapshot.__slots__}
        return Snapshot(**{k: v if k == "digest" else cut(v) for k, v in kept.items()})

    assert_equal(checkpoints.merge(some([1, 5, 6]), some([0, 5, 9])), some([0, 1, 5, 6, 9]))
    assert checkpoints.merge(some([1]), replace(some([0]), best=None)).best is None
