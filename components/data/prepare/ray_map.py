"""Parts of a job are done by the processes of a Ray cluster, through Ray Data.

In: a function and its tasks, both picklable. Out: the results, in whatever order they come. Ray
Data hands out a task at a time, only as many as there are processors for, and once more when a
process or a machine dies.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from components.core import errors
from components.core.errors import LavaflowError

Task = TypeVar("Task")
Result = TypeVar("Result")


def ray_map(
    function: Callable[[Task], Result], tasks: Sequence[Task], num_cpus: float = 1
) -> Iterator[Result]:
    """Yield `function(task)` of every task. Raises the LavaflowError that a task raised.

    A task that is alone is done in this process, for there is nothing to share out.
    """
    if len(tasks) < 2:
        yield from map(function, tasks)
        return
    import ray.data

    # The job tells of its progress itself.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    # A block per task, so that each is scheduled, and repeated, by itself.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    for row in dataset.map(_Call(function), num_cpus=num_cpus).iter_rows():
        outcome = pickle.loads(row["result"])
        if isinstance(outcome, _Raised):
            raise outcome.error()
        yield outcome


class _Call:
    """A row's function for Ray Data, which passes on only what Arrow can hold."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self._function = function

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        # Ray shares out the processors; a tokenizer that takes all of them would slow others.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        try:
            outcome = self._function(pickle.loads(row["task"]))
        except LavaflowError as error:
            # Ray would wrap it in an error of its own and try again.
            outcome = _Raised(type(error).__name__, str(error))
        return {"result": pickle.dumps(outcome)}


class _Raised:
    def __init__(self, kind: str, message: str) -> None:
        self._kind, self._message = kind, message

    def error(self) -> LavaflowError:
        kind = getattr(errors, self._kind, LavaflowError)
        return kind(self._message)
