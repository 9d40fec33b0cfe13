"""The record of a raw folder that exists already."""

import os

import pytest

from components.core.errors import ConfigError
from tests.conftest import BUCKET
from tests.data.raw.test_folder import upload
from tests.data.samples import put
from workflows.raw import read_raw
from workflows.recipes import get_recipe


def record(raw):
    return read_raw(get_recipe("llava15_7b").with_(raw_uri=str(raw)))


def test_the_digest_follows_annotation_files_and_containers_alone(raw):
    before = record(raw)
    assert before.uri == str(raw)
    put(raw / "coco/train2017/new.jpg", b"x")
    put(raw / "coco/train2017/notes.json", "{}")
    assert record(raw) == before
    put(raw / "coco/train2017.tar", b"x")
    packed = record(raw)
    assert packed.digest != before.digest
    os.utime(raw / "aokvqa/aokvqa_v1p0_train.json", ns=(1, 1))
    assert record(raw).digest not in (before.digest, packed.digest)


def test_a_folder_in_a_store(raw, s3_environment, tmp_path):
    address = f"s3://{BUCKET}/{tmp_path.name}/raw"
    upload(raw, address)
    before = record(address)
    assert before.uri == address
    assert record(address + "/") == before
    put(raw / "textcaps/TextCaps_0.1_train.json", {"data": []})
    upload(raw, address)
    assert record(address).digest != before.digest
    with pytest.raises(ConfigError, match="holds no annotation files"):
        record(address + "/nowhere")


def test_no_folder_says_so(tmp_path):
    with pytest.raises(ConfigError, match="is no folder"):
        record(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="needs the raw data"):
        read_raw(get_recipe("llava15_7b"))
