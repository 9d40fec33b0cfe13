"""Parts of a job on a real local Ray: the same bytes, the same errors, other processes."""

import os

import pytest

from components.core.errors import DataError, StoreUnavailable
from components.data.config import PrepareConfig
from components.data.prepare.passes import prepare
from components.data.prepare.ray_map import ray_map
from tests.data.preparing import CONFIG, files_of
from tests.data.samples import IMAGE_TOKEN_ID, put

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def cluster():
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def process_of(task):
    return task, os.getpid()


def failing(task):
    if task == 3:
        raise StoreUnavailable("s3://bucket: not now")
    return task


def test_tasks_are_done_once_each_by_other_processes():
    results = list(ray_map(process_of, list(range(20))))
    assert sorted(task for task, _ in results) == list(range(20))
    assert os.getpid() not in {process for _, process in results}
    assert list(ray_map(process_of, [])) == []
    assert list(ray_map(process_of, [7])) == [(7, os.getpid())]


def test_an_error_keeps_its_kind_and_its_words():
    with pytest.raises(StoreUnavailable, match="not now"):
        list(ray_map(failing, list(range(6))))


def test_a_cluster_prepares_the_same_bytes(raw, tokenizer, tmp_path):
    def run(output, **options):
        return prepare(CONFIG, raw, tokenizer, IMAGE_TOKEN_ID, 4, tmp_path / output, **options)

    assert run("here") == run("there", run=ray_map, work_uri=str(tmp_path / "work"))
    assert files_of(tmp_path / "here") == files_of(tmp_path / "there")


def test_a_damaged_file_is_named_by_the_cluster_too(raw, tokenizer, tmp_path):
    put(raw / "aokvqa/aokvqa_v1p0_train.json", '[{"image_id": 1')
    config = PrepareConfig(stage="finetune", image={"size_px": 28})
    with pytest.raises(DataError, match=r"aokvqa_v1p0_train\.json: not valid JSON"):
        prepare(config, raw, tokenizer, IMAGE_TOKEN_ID, 4, tmp_path / "out", run=ray_map)
