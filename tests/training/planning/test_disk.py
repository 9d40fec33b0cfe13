"""What a stage writes, and that a disk without room or a closed store is known beforehand."""

import math
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from components.core.errors import ConfigError, StoreError
from components.training.checkpoints.checkpointing import Progress, take_snapshot
from components.training.planning.disk import DiskNeed, disk_need, dry_save
from tests.training.checkpoints.test_checkpointing import Pieces
from tests.training.tiny import stage

NEED = DiskNeed(checkpoint=3_000, model=500, stored_checkpoints=3)


class Usage(NamedTuple):
    free: int


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"checkpoint_every_steps": 5}, DiskNeed(1_200, 800, 3)),
        ({"checkpoint_every_s": 60, "keep_checkpoints": 4}, DiskNeed(1_200, 800, 5)),
        ({"precision": "bf16"}, DiskNeed(1_200, 400, 1)),  # one when it is told to stop
    ],
)
def test_the_need_follows_from_the_sizes(settings: dict[str, object], expected: DiskNeed) -> None:
    assert disk_need(stage(**settings), num_learning=100, num_parameters=200) == expected


def test_a_checkpoint_holds_as_many_bytes_as_was_told() -> None:
    learning = sum(math.prod(shape) for shape in Pieces.sizes.values())
    snapshots = [take_snapshot(Pieces(rank), Progress(1, [])) for rank in range(2)]
    held = [tensor.nbytes for snapshot in snapshots for tensor in snapshot.tensors.values()]
    assert sum(held) == disk_need(stage(), learning, learning).checkpoint


def test_room_that_lacks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch, store = tmp_path / "scratch", tmp_path / "store"
    scratch.mkdir()
    store.mkdir()
    free = {scratch: 1_500, store: 9_500}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(free[Path(path)]))
    dry_save(NEED, str(store), scratch, local_workers=1, num_workers=2)
    with pytest.raises(ConfigError, match=r"scratch: .* need .* are free; set TMPDIR"):
        dry_save(NEED, str(store), scratch, local_workers=2, num_workers=2)
    free[store] = 9_499
    with pytest.raises(ConfigError, match=r"store: .* lower keep_checkpoints"):
        dry_save(NEED, str(store), scratch, local_workers=1, num_workers=2)


def test_a_store_that_takes_nothing_is_known_before_the_first_step(
    tmp_path: Path, s3_environment: str
) -> None:
    with pytest.raises(StoreError, match="no-such-bucket"):
        dry_save(NEED, "s3://no-such-bucket/run", tmp_path, local_workers=1, num_workers=1)
