"""A raw folder in an object store: the same data as from a disk, or an error that says why not."""

import json
from contextlib import contextmanager

import pytest

from components.core import store_faults
from components.core.errors import DataError, StoreError, StoreUnavailable
from components.data.loader.image_cache import ImageCache
from components.data.loader.loader import Loader
from components.data.raw import folder as raw_folder
from components.data.raw.folder import names_in, open_raw, open_text, read_range
from components.data.raw.json_files import read_json_array
from components.data.shards import ImageReader
from tests.conftest import BUCKET
from tests.data.faulty_s3 import SLOW_S, faulty_s3
from tests.data.preparing import CONFIG, pack_parquet, pack_tar, pixels_of, run


def upload(folder, address):
    import s3fs

    files = s3fs.S3FileSystem(use_listings_cache=False)
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    root = address.removeprefix("s3://")
    files.put(
        [str(path) for path in paths],
        [f"{root}/{path.relative_to(folder).as_posix()}" for path in paths],
    )


@pytest.fixture
def remote(raw, s3_environment, tmp_path):
    """The raw folder of the other tests, in a bucket; returns its address."""
    address = f"s3://{BUCKET}/{tmp_path.name}/raw"
    upload(raw, address)
    return address


@contextmanager
def misbehaving(address, plan, monkeypatch, read_timeout_s=5):
    """Let every new file system ask a proxy that follows the plan, and be less patient."""
    import s3fs

    monkeypatch.setattr(raw_folder, "READ_TIMEOUT_S", read_timeout_s)
    monkeypatch.setattr(raw_folder, "MAX_ATTEMPTS", 1)
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setattr(store_faults, "MAX_TRIES", 3)
    with faulty_s3(address, plan) as proxy, monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy)
        s3fs.S3FileSystem.clear_instance_cache()
        try:
            yield
        finally:
            s3fs.S3FileSystem.clear_instance_cache()


def files_of(folder):
    names = [path.name for path in folder.iterdir() if path.suffix != ".json" and path.is_file()]
    return {name: (folder / name).read_bytes() for name in names}


def test_the_same_bytes_as_from_a_disk(raw, remote, tokenizer, tmp_path):
    here = run(raw, tokenizer, tmp_path / "here")
    there = run(remote, tokenizer, tmp_path / "there")
    assert there.model_copy(update={"raw_uri": here.raw_uri}) == here
    assert there.raw_uri == remote
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


def test_the_work_folder_may_be_remote_too(raw, remote, tokenizer, tmp_path):
    work = f"s3://{BUCKET}/{tmp_path.name}/work"
    run(raw, tokenizer, tmp_path / "here")
    run(remote, tokenizer, tmp_path / "there", work_uri=work)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")

    def nothing(function, tasks):
        assert not tasks
        return []

    run(remote, tokenizer, tmp_path / "again", work_uri=work, run=nothing)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "again")


@pytest.mark.parametrize("pack", ["tar", "parquet"])
def test_containers_may_be_remote(raw, s3_environment, tokenizer, tmp_path, pack):
    config = CONFIG.with_(embed_images=False)
    run(raw, tokenizer, tmp_path / "loose", config)
    expected = pixels_of(Loader(tmp_path / "loose", 60, 0).batch(0))
    if pack == "tar":
        pack_tar(raw, "coco/train2017", "coco/train2017.tar", "train2017/")
    else:
        pack_parquet(raw, "coco/train2017", "coco/train2017.parquet", "", nested=True)
    address = f"s3://{BUCKET}/{tmp_path.name}/raw"
    upload(raw, address)
    prepared = run(address, tokenizer, tmp_path / "packed", config)
    assert (prepared.num_rows, prepared.num_images) == (60, 20)
    assert pixels_of(Loader(tmp_path / "packed", 60, 0).batch(0)) == expected


def test_remote_images_are_fetched_once_and_kept_below_the_limit(
    remote, tokenizer, tmp_path, monkeypatch
):
    run(remote, tokenizer, tmp_path / "out", CONFIG.with_(embed_images=False))
    assert all(ImageReader(tmp_path / "out").image(n).encoded is None for n in range(20))
    fetched = []
    original = read_range
    monkeypatch.setattr(
        "components.data.raw.image_files.read_range",
        lambda path, *where: fetched.append(path.name) or original(path, *where),
    )

    def batch(cache):
        return Loader(tmp_path / "out", 60, 0, image_cache=cache, cache_bytes=0).batch(0)

    first = batch(ImageCache(tmp_path / "cache", 10**9))
    assert len(fetched) == 20
    again = batch(ImageCache(tmp_path / "cache", 10**9))
    assert len(fetched) == 20
    assert (first.pixels == again.pixels).all()
    size = sum(path.stat().st_size for path in (tmp_path / "cache").rglob("*") if path.is_file())
    small = ImageCache(tmp_path / "small", size // 3)
    assert (batch(small).pixels == first.pixels).all()
    kept = [path.stat().st_size for path in (tmp_path / "small").rglob("*") if path.is_file()]
    assert kept
    assert sum(kept) <= size // 3
    # Where nothing can be kept, the images come all the same.
    (tmp_path / "file").write_text("")
    assert (batch(ImageCache(tmp_path / "file", 10**9)).pixels == first.pixels).all()


def test_a_missing_remote_image_is_a_reject_and_a_missing_file_an_error(
    raw, s3_environment, tokenizer, tmp_path
):
    address = f"s3://{BUCKET}/{tmp_path.name}/raw"
    (raw / "gqa/images/2.jpg").unlink()
    upload(raw, address)
    prepared = run(address, tokenizer, tmp_path / "out")
    assert prepared.num_rejected == 1
    reject = json.loads((tmp_path / "out/rejects.jsonl").read_text())
    assert reject["reason"] == "image gqa/images/2.jpg does not exist"
    with pytest.raises(DataError, match=r"s3://.*no such annotation file"):
        ready = CONFIG.with_(mixture={"sources": ["llava_mix665k"]})
        run(address, tokenizer, tmp_path / "x", ready)
    with pytest.raises(DataError, match="no such raw folder"):
        run(f"{address}/nowhere", tokenizer, tmp_path / "y")


@pytest.mark.parametrize("fault", ["error", "busy", "cut", "slow"])
def test_passing_trouble_costs_no_row(
    raw, remote, s3_address, tokenizer, tmp_path, monkeypatch, fault
):
    """Every second file is spoilt when it is first asked for."""
    here = run(raw, tokenizer, tmp_path / "here")

    def plan(path, before):
        return fault if before == 0 and len(path) % 2 else ""

    with misbehaving(s3_address, plan, monkeypatch, read_timeout_s=SLOW_S / 2):
        there = run(remote, tokenizer, tmp_path / "there")
    assert (there.num_rows, there.num_rejected) == (here.num_rows, 0)
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


@pytest.mark.parametrize("place", ["dataset.json", "b2.jpg"])
@pytest.mark.parametrize("fault", ["error", "busy", "cut", "slow"])
def test_lasting_trouble_is_an_error_and_no_reject(
    remote, s3_address, tokenizer, tmp_path, monkeypatch, fault, place
):
    def plan(path, before):
        return fault if path.endswith(place) else ""

    work = str(tmp_path / "work")
    with (
        misbehaving(s3_address, plan, monkeypatch, read_timeout_s=SLOW_S / 2),
        pytest.raises(StoreUnavailable, match=f"s3://.*{place}"),
    ):
        run(remote, tokenizer, tmp_path / "out", work_uri=work)
    assert not (tmp_path / "out/prepared.json").exists()
    # The same command later finds what was done before the trouble.
    assert run(remote, tokenizer, tmp_path / "out", work_uri=work).num_rows == 60


def test_wrong_credentials_say_so(remote, s3_address, tokenizer, tmp_path, monkeypatch):
    for refused in ("", "dataset.json", "1.jpg"):  # everything, an annotation file, some images

        def plan(path, before, refused=refused):
            return "refused" if path.endswith(refused) else ""

        with (
            misbehaving(s3_address, plan, monkeypatch),
            pytest.raises(StoreError, match="check the AWS credentials") as caught,
        ):
            run(remote, tokenizer, tmp_path / "out")
        assert not caught.value.retryable


def test_a_file_that_is_cut_in_the_middle_is_read_on(s3_environment, monkeypatch, tmp_path):
    rows = [{"id": n, "text": "x" * 1000} for n in range(3000)]
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(rows))
    address = f"s3://{BUCKET}/{tmp_path.name}/data"
    upload(folder, address)

    def plan(path, before):
        return "cut" if path.endswith("rows.json") and before in (1, 3) else ""

    with misbehaving(s3_environment, plan, monkeypatch):
        read = [row for _, row in read_json_array(open_raw(address) / "rows.json")]
    assert read == rows


def test_addresses(tmp_path):
    assert open_raw(tmp_path) == tmp_path
    assert open_raw(f"file://{tmp_path}") == tmp_path
    assert str(open_raw("s3://bucket/raw") / "coco/a.jpg") == "s3://bucket/raw/coco/a.jpg"
    memory = open_raw("memory://raw-folder-test")
    (memory / "a").mkdir(parents=True)
    (memory / "a/rows.txt").write_bytes(b"\xef\xbb\xbfone\ntwo")
    with open_text(memory / "a/rows.txt") as file:
        assert list(file) == ["one\n", "two"]
    assert names_in(memory) == ["a"]
    assert names_in(memory / "none") == []
    assert read_range(memory / "a/rows.txt", 3, 3) == b"one"
