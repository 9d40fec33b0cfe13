"""A stage on a node that is taken away after a notice, while another node stands ready.

As a program: `python -m tests.training.taken_node ORDER` with the order of `kills`; it runs the
stage on a Ray cluster of its own.
"""

import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.training.config import StageConfig
from components.training.materials import BatchSource, Materials, OpenedModel
from tests.training.kills import Order

NOTICE_S = 6
"""Seconds from the notice to the end of the node."""


@dataclass(frozen=True)
class SlowMaterials(Materials):
    """Materials whose batches take their time, so that there is some for a notice."""

    def open_batches(
        self, opened: OpenedModel, config: StageConfig, rank: int, world_size: int
    ) -> BatchSource:
        return _Slow(super().open_batches(opened, config, rank, world_size))


class _Slow:
    def __init__(self, source: BatchSource):
        self.num_steps, self._source = source.num_steps, source

    def batches(self, start_step: int = 0) -> Iterator[Any]:
        for batch in self._source.batches(start_step):
            time.sleep(1.0)
            yield batch


def run(order: Order) -> None:
    """Run the stage to its end."""
    import ray
    from ray.cluster_utils import Cluster

    from components.training import trainer

    trainer.Materials = SlowMaterials  # type: ignore[misc] # plays the product's class
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    nodes = [cluster.add_node(num_cpus=2) for _ in range(2)]
    ray.init(cluster.address, log_to_driver=False)
    threading.Thread(target=_take_away, args=(cluster, nodes, order), daemon=True).start()
    order.train()
    ray.shutdown()
    cluster.shutdown()


def _take_away(cluster: Any, nodes: list[Any], order: Order) -> None:
    """Announce the end of the node that the workers are on, and end it."""
    from ray._private.state import available_resources_per_node

    while not order.points.path.exists() or len(order.points.read()) < 2:
        time.sleep(0.05)
    free = available_resources_per_node()
    node = next(node for node in nodes if not free[node.node_id].get("CPU"))
    _drain(cluster.address, node.node_id)
    time.sleep(NOTICE_S)
    cluster.remove_node(node, allow_graceful=False)


def _drain(address: str, node_id: str) -> None:
    import ray
    from ray.core.generated import autoscaler_pb2

    client = ray._raylet.GcsClient(address=address)
    deadline_ms = int((time.time() + NOTICE_S) * 1000)
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, why_not = client.drain_node(node_id, reason, "a test", deadline_ms)
    assert accepted, why_not


if __name__ == "__main__":
    run(Order.model_validate_json(Path(sys.argv[1]).read_text()))
