"""Ray actors that hold the model and answer chunks of questions, shared by all benchmarks.

In: chunks of questions. Out: their answers as they come. The benchmark steps of a run work side by
side; each asks for the actors by a name made of the model's digest, so the model is loaded
`num_actors` times and not once per benchmark. Nobody owns an actor: it leaves by itself when no
work came for a while, or when it is sent away (`actor_names.py`). Images travel with the
questions, so an actor may run on another machine than the step that asks.
"""

import dataclasses
import hashlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayActorError

from components.core.errors import ClusterError
from components.evaluation.benchmark import Question
from components.evaluation.config import EvaluationConfig
from components.evaluation.targets.actor_names import NAMESPACE, actor_prefix
from components.evaluation.targets.checkpoint import CheckpointTarget, Target, keep_freed_memory

log = logging.getLogger(__name__)

# Loading a 13B model from an object store takes minutes; waiting longer means the cluster has no
# room.
START_TIMEOUT_S = 900.0
# One that found room only after the work was done has nothing to wait for.
_UNASKED_TIMEOUT_S = 10.0
# One chunk is worked on while the next one waits in the actor's queue.
_QUEUED_PER_ACTOR = 2
# An actor may leave between being found and being asked; a chunk that kills actors is given up.
_MAX_ATTEMPTS = 4
_MAX_FAILED_STARTS = 50

TargetFactory = Callable[[], Target]


class Evaluator:
    """The actor: makes its target at the first question, leaves after some time without work."""

    def __init__(self, make_target: TargetFactory, idle_timeout_s: float) -> None:
        self._make_target = make_target
        self._target: Target | None = None
        self._idle_timeout_s = idle_timeout_s
        self._lock = threading.Lock()
        self._busy = 0
        self._asked = False
        self._last_work = time.monotonic()
        self._self = ray.get_runtime_context().current_actor
        threading.Thread(target=self._leave_when_idle, daemon=True).start()

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        with self._lock:
            self._busy += 1
            self._asked = True
        try:
            if self._target is None:
                self._target = self._make_target()
            return self._target.answer(questions)
        finally:
            with self._lock:
                self._busy -= 1
                self._last_work = time.monotonic()

    def ready(self) -> bool:
        """Return True as soon as the actor runs; the model may not be loaded yet."""
        with self._lock:
            self._last_work = time.monotonic()
        return True

    def _leave_when_idle(self) -> None:
        """Ask for a graceful end through the actor's own queue: questions that came before are
        still answered.
        """
        while True:
            time.sleep(min(1.0, self._idle_timeout_s / 4))
            with self._lock:
                idle_s = 0.0 if self._busy else time.monotonic() - self._last_work
                limit_s = self._idle_timeout_s if self._asked else _UNASKED_TIMEOUT_S
            if idle_s > limit_s:
                self._self.__ray_terminate__.remote()
                return


class PoolTarget:
    """A target made of the evaluator actors of one model; made anew, it finds the same actors."""

    def __init__(
        self,
        make_target: TargetFactory,
        digest: str,
        config: EvaluationConfig,
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """`make_target` runs inside the actor; equal digests (of the model) share actors.

        Ray must be running. The calling step should reserve no processor itself, or a small cluster
        has none left for the actors.
        """
        self._make_target = make_target
        self._config = config
        self._start_timeout_s = start_timeout_s
        # Other settings of the same model are other actors.
        variant = (
            f"{config.dtype} {config.batch_size} {config.cpus_per_actor} {config.gpus_per_actor}"
        )
        self._prefix = actor_prefix(digest) + hashlib.sha256(variant.encode()).hexdigest()[:8]

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        ((_, answers),) = self.stream([questions])
        return answers

    def stream(
        self, chunks: Sequence[Sequence[Question]]
    ) -> Iterator[tuple[int, list[str | None]]]:
        """Yield (place of the chunk, its answers) as they come.

        Only actors that run get work, so one that finds no room on the cluster holds nothing up.
        A chunk whose actor is gone goes to another. Raises ClusterError when no actor at all could
        start, or when actors keep dying; an error of the target itself (a damaged checkpoint) is
        raised as it is.
        """
        waiting = deque((place, 1) for place in range(len(chunks)))
        running: dict[Any, tuple[int, int, Any]] = {}
        crew = _Crew(self._actor, min(self._config.num_actors, len(chunks)))
        while waiting or running:
            while waiting and (actor := crew.least_loaded()) is not None:
                place, attempt = waiting.popleft()
                reference = actor.answer.remote(_with_images(chunks[place]))
                running[reference] = (place, attempt, actor)
            reference = crew.wait(running, self._start_timeout_s)
            if reference is None:
                raise ClusterError(self._no_room())
            if reference not in running:
                continue
            place, attempt, actor = running.pop(reference)
            crew.finished(actor)
            try:
                answers = ray.get(reference)
            except RayActorError as error:
                if attempt == _MAX_ATTEMPTS:
                    raise ClusterError(
                        f"an evaluator died {attempt} times on the same "
                        f"{len(chunks[place])} questions "
                        f"(out of memory? lower evaluation.batch_size): {error}"
                    ) from error
                log.warning("an evaluator is gone; its questions go to another")
                crew.lost(actor)
                waiting.append((place, attempt + 1))
                continue
            yield place, answers

    def _actor(self, index: int) -> Any:
        config = self._config
        remote = ray.remote(Evaluator).options(
            name=f"{self._prefix}-{index}",
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            num_cpus=config.cpus_per_actor,
            num_gpus=config.gpus_per_actor,
        )
        return remote.remote(self._make_target, config.idle_timeout_s)

    def _no_room(self) -> str:
        free, config = ray.available_resources(), self._config
        return (
            f"no evaluator could start within {self._start_timeout_s:.0f} s: each needs "
            f"{config.cpus_per_actor:g} CPU and {config.gpus_per_actor:g} GPU, free are "
            f"{free.get('CPU', 0):g} CPU and {free.get('GPU', 0):g} GPU; lower "
            f"evaluation.cpus_per_actor or gpus_per_actor, or add a node"
        )


class _Crew:
    """The actors of one stream: those that start, those that run, and how much each has to do."""

    def __init__(self, make: Callable[[int], Any], size: int) -> None:
        self._make = make
        self._starting: dict[Any, tuple[int, Any]] = {}
        self._load: dict[Any, int] = {}
        self._index: dict[Any, int] = {}
        self._failed_starts = 0
        for index in range(size):
            self._start(index)

    def least_loaded(self) -> Any | None:
        """Return the running actor with the least to do and count one more for it; None if all are
        full.
        """
        free = [actor for actor, load in self._load.items() if load < _QUEUED_PER_ACTOR]
        if not free:
            return None
        actor = min(free, key=lambda one: self._load[one])
        self._load[actor] += 1
        return actor

    def finished(self, actor: Any) -> None:
        if actor in self._load:
            self._load[actor] -= 1

    def lost(self, actor: Any) -> None:
        """Replace an actor that is gone; told twice about the same one, it replaces it once."""
        if self._load.pop(actor, None) is not None:
            self._start(self._index.pop(actor))

    def wait(self, running: Collection[Any], start_timeout_s: float) -> Any | None:
        """Return a finished reference, of `running` or a start; None when no actor could start."""
        timeout_s = None if self._load else start_timeout_s
        done, _ = ray.wait([*running, *self._starting], num_returns=1, timeout=timeout_s)
        if not done:
            return None
        if done[0] in self._starting:
            index, actor = self._starting.pop(done[0])
            try:
                ray.get(done[0])
            except RayActorError as error:
                self._failed_starts += 1
                if self._failed_starts > _MAX_FAILED_STARTS:
                    raise ClusterError(f"evaluators die while they start: {error}") from error
                # It was leaving when it was found; its name is free in a moment.
                time.sleep(0.1)
                self._start(index)
            else:
                self._load[actor], self._index[actor] = 0, index
        return done[0]

    def _start(self, index: int) -> None:
        actor = self._make(index)
        self._starting[actor.ready.remote()] = (index, actor)


def checkpoint_target(
    checkpoint: str | Callable[[], str | Path], config: EvaluationConfig
) -> TargetFactory:
    """Return a factory of `CheckpointTarget` to run inside an actor.

    `checkpoint` is a path that every node sees, or a picklable function that gives a local path on
    the actor's node.
    """
    return _CheckpointFactory(checkpoint, config)


@dataclasses.dataclass(frozen=True)
class _CheckpointFactory:
    checkpoint: str | Callable[[], str | Path]
    config: EvaluationConfig

    def __call__(self) -> Target:
        import torch

        if self.config.gpus_per_actor == 0:
            # Ray does not limit cores: without this every actor would use all of them.
            torch.set_num_threads(max(1, round(self.config.cpus_per_actor)))
            keep_freed_memory()
        path = self.checkpoint() if callable(self.checkpoint) else self.checkpoint
        device = "cuda" if self.config.gpus_per_actor else "cpu"
        return CheckpointTarget(path, self.config.dtype, device, self.config.batch_size)


def _with_images(questions: Sequence[Question]) -> list[Question]:
    """Return the questions carrying their encoded images; one that cannot be read is left to the
    target to tell.
    """
    loaded: dict[str, bytes | None] = {}
    result = []
    for question in questions:
        path = question.image_path
        if path is None or question.image_bytes is not None:
            result.append(question)
            continue
        if path not in loaded:
            try:
                loaded[path] = Path(path).read_bytes()
            except OSError:
                loaded[path] = None
        data = loaded[path]
        result.append(question if data is None else dataclasses.replace(question, image_bytes=data))
    return result
