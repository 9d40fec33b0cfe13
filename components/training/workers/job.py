"""What the caller hands to each worker of a stage. Light to import: it crosses process borders."""

from dataclasses import dataclass

from components.training.config import StageConfig
from components.training.materials import Materials

FINAL = "final"
"""Name of the last checkpoint of a run: the finished model folder itself."""


@dataclass(frozen=True)
class WorkerJob:
    """All that a worker needs; picklable."""

    config: StageConfig
    materials: Materials
    fingerprint: str
    """Identity of the recipe: a checkpoint of another one is refused."""
    storage_uri: str
    """Where the runs with their checkpoints are."""
    run_name: str
    """Name of the run, and of its folder there."""
    stop_uri: str | None = None
    """Where a file appears when the run is to save a checkpoint and stop."""
    on_several_nodes: bool = False
    """Whether other nodes are there to go on when one is taken away."""

    @property
    def run_uri(self) -> str:
        """Folder of the run's checkpoints."""
        return f"{self.storage_uri.rstrip('/')}/{self.run_name}"
