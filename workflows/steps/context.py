"""What a step function is handed: where to write, how to reach inputs, where to report.

In: one attempt of a step, inside its Ray task. Out: local paths and messages to the driver. A step
function has the form

    def function(config: Config, inputs: dict[str, Artifact | list[Artifact]], context: StepContext)
    -> Artifact

writes its files below `context.output_path`, and returns its typed artifact with `uri` left empty.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from components.core.artifact import Artifact
from components.core.store import Store, resolve
from workflows.steps.running.messages import Discard, Sink
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.records import manifest_beside


@dataclass(frozen=True)
class StepContext:
    """One attempt of a step. Picklable; the local paths are those of the machine that runs it."""

    store: Store
    step: str
    key: str
    attempt: str
    output_path: Path
    """An empty local folder: write the artifact's files here."""
    resume_name: str = "resume"
    run_id: str = ""
    """The tracker's run of this step, or empty."""
    made_by: Mapping[str, str] = field(default_factory=dict)
    """Digest of an input artifact -> the tracker's run that made it (for lineage)."""
    sink: Sink = field(default_factory=Discard)

    def resume_path(self) -> str:
        """Return an address below the store that is the same for every attempt of this result.

        What is saved here survives a crash and a new driver (a Ray Train storage path, for one). It
        is deleted when the step has succeeded; a forced new run gets a fresh one.
        """
        return self.store.uri(StepFolder(self.step, self.key).path, self.resume_name)

    def stop_uri(self) -> str:
        """Return where a file appears when the step is asked to save what it has and stop."""
        return self.store.uri(StepFolder(self.step, self.key).stop(self.resume_name))

    def input_path(self, artifact: Artifact) -> Path:
        """Return a local folder with an input's files (a remote store's are downloaded once)."""
        inside = self.store.relative(artifact.uri)
        store, path = (self.store, inside) if inside is not None else resolve(artifact.uri)
        return store.local_copy(path, None if store.is_local else manifest_beside(store, path))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send numbers to the tracker and the terminal while the step runs; never waits.

        The bound method may be handed to other Ray tasks and actors (a Ray Train callback, say).
        """
        numbers = {name: float(value) for name, value in metrics.items()}
        self.sink.send({"kind": "metrics", "step": self.step, "metrics": numbers, "at": step})

    def log_progress(self, done: int, total: int) -> None:
        """Say on the terminal how much of the step's work is done; never waits. May be handed on as
        `log_metrics` may.
        """
        self.sink.send({"kind": "progress", "step": self.step, "done": done, "total": total})

    def log_note(self, text: str) -> None:
        """Say a sentence on the terminal that a user should know now (a wait, a fallback)."""
        self.sink.send({"kind": "note", "step": self.step, "text": text})

    def log_artifact(self, path: str | Path, name: str) -> None:
        """Hand a small file (a figure, a table of samples) to the tracker under a name."""
        stored = StepFolder(self.step, self.key).logged(self.attempt, name)
        self.store.upload(path, stored)
        self.sink.send({"kind": "artifact", "step": self.step, "path": stored, "name": name})
