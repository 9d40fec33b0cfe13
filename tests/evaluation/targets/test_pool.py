"""Evaluator actors on a real Ray: shared by name, replaced when gone, leaving by themselves."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.core.errors import CheckpointError, ClusterError
from components.evaluation.benchmark import Question
from components.evaluation.config import EvaluationConfig

pytestmark = pytest.mark.ray

CONFIG = EvaluationConfig(batch_size=4, num_actors=2, cpus_per_actor=0.5, idle_timeout_s=60.0)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def empty_cluster(cluster: None) -> Iterator[None]:
    """Leave no actor behind, also none that waits for room: it would take the next test's."""
    import ray
    from ray.util import list_named_actors

    yield
    for entry in list_named_actors(all_namespaces=True):
        ray.kill(ray.get_actor(entry["name"], namespace=entry["namespace"]))
    while list_named_actors(all_namespaces=True):
        time.sleep(0.05)


def target_factory(kind: str = "echo") -> Callable[[], object]:
    """A factory whose classes are local, so that Ray ships their code to the actor."""

    class Echo:
        def __init__(self) -> None:
            self.loads = os.getpid()

        def answer(self, questions: list[Question]) -> list[str | None]:
            if questions[0].prompt == "die once" and not Path(questions[0].target).exists():
                Path(questions[0].target).touch()
                os._exit(1)
            if questions[0].prompt == "die":
                os._exit(1)
            if kind == "damaged":
                raise CheckpointError("model.safetensors: cut off")
            return [f"{q.id} {len(q.image_bytes or b'')} {self.loads}" for q in questions]

    return Echo


def pool(
    digest: str, config: EvaluationConfig = CONFIG, kind: str = "echo", timeout: float = 300.0
):
    from components.evaluation.targets.pool import PoolTarget

    return PoolTarget(target_factory(kind), digest, config, start_timeout_s=timeout)


def chunks(count: int, folder: Path) -> list[list[Question]]:
    image = folder / "image.jpg"
    image.write_bytes(b"12345")
    return [
        [Question(f"{c}.{n}", "gqa", "?", "", str(image)) for n in range(3)] for c in range(count)
    ]


def test_every_chunk_is_answered_and_actors_are_shared(cluster: None, tmp_path: Path) -> None:
    from components.evaluation.targets.actor_names import release

    asked = chunks(8, tmp_path)
    one = CONFIG.with_(num_actors=1)
    first = dict(pool("sha256:shared", one).stream(asked))
    assert sorted(first) == list(range(8))
    for place, answers in first.items():
        words = [str(answer).split() for answer in answers]
        assert [w[0] for w in words] == [q.id for q in asked[place]]
        assert {w[1] for w in words} == {"5"}  # the image travelled with its question
    (process,) = {str(a).split()[2] for answers in first.values() for a in answers}
    # A second step of the same model finds the same process.
    second = pool("sha256:shared", one).answer(asked[0])
    assert {str(a).split()[2] for a in second} == {process}
    # Another model, or the same one in other numbers, has its own.
    other = pool("sha256:shared", one.with_(dtype="bfloat16")).answer(asked[0])
    assert {str(a).split()[2] for a in other} != {process}
    assert release("sha256:shared") == 2
    assert release("sha256:other") == 0


def test_a_dead_actor_is_replaced_and_a_deadly_chunk_given_up(
    cluster: None, tmp_path: Path
) -> None:
    mark = tmp_path / "died"
    fatal = [Question("x", "gqa", "die once", str(mark))]
    answers = dict(pool("mortal").stream([fatal, *chunks(3, tmp_path)]))
    assert mark.exists()
    assert str(answers[0][0]).startswith("x 0")
    assert sorted(answers) == [0, 1, 2, 3]
    with pytest.raises(ClusterError, match="died 4 times on the same 1 questions"):
        pool("mortal").answer([Question("x", "gqa", "die", "")])


def test_the_targets_own_error_arrives_as_it_is(cluster: None, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cut off"):
        pool("damaged", kind="damaged").answer(chunks(1, tmp_path)[0])


def test_no_room_is_told(cluster: None, tmp_path: Path) -> None:
    large = CONFIG.with_(cpus_per_actor=64.0)
    with pytest.raises(ClusterError, match="each needs 64 CPU and 0 GPU"):
        pool("large", large, timeout=2.0).answer(chunks(1, tmp_path)[0])


def test_an_actor_without_room_holds_nothing_up(cluster: None, tmp_path: Path) -> None:
    from components.evaluation.targets.actor_names import release

    crowded = CONFIG.with_(cpus_per_actor=2.0, num_actors=2)
    answers = dict(pool("crowded", crowded).stream(chunks(6, tmp_path)))
    assert sorted(answers) == list(range(6))
    assert release("crowded") == 2


def test_idle_actors_leave_and_are_made_anew(cluster: None, tmp_path: Path) -> None:
    from ray.util import list_named_actors

    from components.evaluation.targets.actor_names import actor_prefix

    short = CONFIG.with_(idle_timeout_s=0.5, num_actors=1)
    first = pool("idle", short).answer(chunks(1, tmp_path)[0])
    deadline = time.monotonic() + 120

    def alive() -> bool:
        named = list_named_actors(all_namespaces=True)
        return any(entry["name"].startswith(actor_prefix("idle")) for entry in named)

    while alive() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive()
    again = pool("idle", short).answer(chunks(1, tmp_path)[0])
    assert str(first[0]).split()[2] != str(again[0]).split()[2]


def test_actors_answer_as_the_checkpoint_itself(
    cluster: None, tiny_checkpoint: Path, gqa_root: Path
) -> None:
    from components.evaluation.targets.checkpoint import CheckpointTarget
    from components.evaluation.targets.pool import PoolTarget, checkpoint_target

    images = sorted((gqa_root / "eval" / "gqa" / "images").glob("*.jpg"))
    asked = [
        Question(str(n), "gqa", "Is there a dog? " * n, "", str(image), max_new_tokens=4)
        for n, image in enumerate(images)
    ]
    one = CONFIG.with_(num_actors=1, cpus_per_actor=1.0)
    answers = PoolTarget(checkpoint_target(str(tiny_checkpoint), one), "tiny", one).answer(asked)
    assert answers == CheckpointTarget(tiny_checkpoint, device="cpu").answer(asked)
