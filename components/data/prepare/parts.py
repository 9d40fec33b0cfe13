"""The parts of a long job: done once each, by whoever is there to do them.

In: a function and its tasks, whose names are those of their results in the work folder. Out: each
task with its result, at first of those that an earlier run of the job has finished. The function
writes its own result, last of all. Does not know what the parts are about.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from components.data.prepare.work_folder import WorkFolder

log = logging.getLogger(__name__)


class Task(Protocol):
    """Something to do; its name is its result's."""

    @property
    def name(self) -> str:
        """Name of the result in the work folder."""
        ...


AnyTask = TypeVar("AnyTask", bound=Task)


class Run(Protocol):
    """Applies a function to every task, in any order: `map` does, and so does `ray_map`."""

    def __call__(self, function: Callable[[Any], Any], tasks: Sequence[Any], /) -> Iterable[Any]:
        """Yield the result of each task."""
        ...


@dataclass
class Reporter:
    """Who is told how far the job is."""

    on_progress: Callable[[int, int], None] = lambda done, total: None
    """Rows and images done, of all there are."""
    on_note: Callable[[str], None] = log.info
    """A sentence at the end of a pass."""


@dataclass(frozen=True)
class Parts:
    """A work folder and a way to run tasks."""

    work: WorkFolder
    run: Run = map

    def results(
        self, function: Callable[[AnyTask], Any], tasks: Sequence[AnyTask]
    ) -> Iterator[tuple[AnyTask, Any]]:
        """Yield (task, result) of every task, in any order."""
        waiting = {}
        for task in tasks:
            result = self.work.result(task.name)
            if result is None:
                waiting[task.name] = task
            else:
                yield task, result
        for name, result in self.run(partial(_named, function), list(waiting.values())):
            yield waiting[name], result


def _named(function: Callable[[Any], Any], task: Any) -> tuple[str, Any]:
    return task.name, function(task)
