"""Images while data are prepared: in files or containers, checked or trusted."""

import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.core.errors import DataError
from components.data import images
from components.data.loader.loader import Loader
from components.data.prepare import passes as prepare_module
from components.data.raw import image_files
from components.data.shards import ImageReader
from tests.data.preparing import CONFIG, pack_parquet, pack_tar, pixels_of, rejects_of, run
from tests.data.samples import put

CONTAINERS = {
    "one tar": lambda raw: pack_tar(raw, "coco/train2017", "coco/train2017.tar", ""),
    "tar of the folder": lambda raw: pack_tar(
        raw, "coco/train2017", "coco/train2017.tar", "./train2017/"
    ),
    "numbered tar": lambda raw: pack_tar(raw, "gqa", "gqa-00000.tar", "gqa/"),
    "whole paths": lambda raw: pack_tar(raw, "vg", "vg_1.tar", "vg/"),
    "parquet": lambda raw: pack_parquet(raw, "coco/train2017", "coco/train2017.parquet", "", False),
    "parquet of the hub": lambda raw: pack_parquet(
        raw, "coco/train2017", "coco/train2017-00000-of-00001.parquet", "train2017/", True
    ),
}


@pytest.mark.parametrize("embed", [True, False])
@pytest.mark.parametrize("pack", CONTAINERS.values(), ids=CONTAINERS)
def test_images_may_lie_in_containers(raw, tokenizer, tmp_path, pack, embed):
    config = CONFIG.with_(embed_images=embed)
    run(raw, tokenizer, tmp_path / "loose", config)
    batch = Loader(tmp_path / "loose", 60, 0).batch(0)
    expected = pixels_of(batch)
    pack(raw)
    prepared = run(raw, tokenizer, tmp_path / "packed", config)
    assert (prepared.num_rows, prepared.num_rejected, prepared.num_images) == (60, 0, 20)
    assert pixels_of(Loader(tmp_path / "packed", 60, 0).batch(0)) == expected


def test_an_image_that_no_container_holds_is_a_reject(raw, tokenizer, tmp_path):
    (raw / "coco/train2017/000000000001.jpg").unlink()
    pack_tar(raw, "coco/train2017", "coco/train2017.tar", "")
    prepared = run(raw, tokenizer, tmp_path / "out")
    assert 0 < prepared.num_rejected <= prepare_module.REJECTS_TOLERATED
    assert "000000000001.jpg does not exist" in (tmp_path / "out/rejects.jsonl").read_text()


def test_a_container_that_cannot_be_read_says_so(raw, tokenizer, tmp_path):
    put(raw / "coco/train2017.tar", b"no tar at all" * 100)
    with pytest.raises(DataError, match=r"train2017\.tar: not a readable tar file"):
        run(raw, tokenizer, tmp_path / "out")
    (raw / "coco/train2017.tar").unlink()
    put(raw / "coco/train2017.parquet", b"PAR1 but no more")
    with pytest.raises(DataError, match=r"train2017\.parquet: cannot be read as Parquet"):
        run(raw, tokenizer, tmp_path / "out")
    pq.write_table(pa.table({"a": [1]}), raw / "coco/train2017.parquet")
    with pytest.raises(DataError, match="expected the encoded image in one of"):
        run(raw, tokenizer, tmp_path / "out")


def test_a_tar_that_was_cut_off_costs_its_last_images_only(raw, tokenizer, tmp_path):
    pack_tar(raw, "coco/train2017", "coco/train2017.tar", "")
    data = (raw / "coco/train2017.tar").read_bytes()
    with tarfile.open(raw / "coco/train2017.tar") as archive:
        last = archive.getmembers()[-1]
    (raw / "coco/train2017.tar").write_bytes(data[: last.offset_data + 100])
    run(raw, tokenizer, tmp_path / "out", CONFIG.with_(max_reject_share=1))
    reasons = {line["reason"] for line in rejects_of(tmp_path / "out")}
    assert len(reasons) == 1
    assert "is cut off" in reasons.pop()


def test_trusted_images_are_not_opened(raw, tokenizer, tmp_path):
    config = CONFIG.with_(embed_images=False, verify_images=False)
    (raw / "coco/train2017/000000000001.jpg").unlink()
    prepared = run(raw, tokenizer, tmp_path / "out", config)
    assert (prepared.num_rows, prepared.num_rejected) == (60, 0)
    with pytest.raises(DataError, match=r"000000000001.jpg was there .* prepare again"):
        Loader(tmp_path / "out", 60, 0).batch(0)


@pytest.mark.parametrize("pack", [None, "one tar", "parquet"])
def test_trusted_images_are_copied_and_not_decoded(raw, tokenizer, tmp_path, monkeypatch, pack):
    """None is copied in part: reading ends at the limit, which is looked at all the same."""
    for module in (images, image_files):
        monkeypatch.setattr(module, "MAX_IMAGE_BYTES", 50_000)
    put(raw / "coco/train2017/000000000001.jpg", b"no image")
    put(raw / "coco/train2017/000000000002.jpg", b"too large " * 5_001)
    if pack:
        CONTAINERS[pack](raw)
    prepared = run(raw, tokenizer, tmp_path / "out", CONFIG.with_(verify_images=False))
    reader = ImageReader(tmp_path / "out")
    stored = {each.path: each.encoded for each in map(reader.image, range(len(reader)))}
    assert stored["coco/train2017/000000000001.jpg"] == b"no image"
    assert len(stored) == 19
    reasons = {line["reason"] for line in rejects_of(tmp_path / "out")}
    assert prepared.num_rejected > 0
    assert len(reasons) == 1
    assert "000000000002.jpg" in (reason := reasons.pop()) and "the limit is 50,000" in reason
