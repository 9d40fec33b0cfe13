"""What training uses of Ray that is not public, in one place: names, signatures, how they behave.

In: what Ray Train's `DataParallelTrainer` takes; a connected cluster. Out: a trainer without the
helpers that a stage has no use for, so that it starts sooner; what the cluster may grow to; what
killed stages have reserved. Ray Train starts one process each for Ray Data, for an autoscaler and
for tidying up through the dashboard; each costs about two seconds of CPU, and on two cores two CPU
seconds are one second of waiting per stage. Each is left out only where it could do nothing.
`TorchTrainer` itself is not used because it makes the caller and the controller import torch;
`ranks.py` starts the process group instead.

Nothing heavy is imported until a function is called. Where Ray has changed, its own defaults stay.
Read in ray 2.60; tests/training/test_ray_internals.py names what another version took away.
"""

import functools
import logging
import os
from typing import TYPE_CHECKING, Any

from components.core.store import resolve

if TYPE_CHECKING:
    from ray.train import Result

log = logging.getLogger(__name__)

# How often Ray Train's controller looks at its workers. Its default of 2 s is felt at the start, at
# every report and at the end of a short run.
_POLL_S = 0.1


def lean_trainer(**arguments: Any) -> Any:
    """Return a Ray Train trainer for these arguments of `DataParallelTrainer`."""
    _set_environment()
    return _trainer_class()(**arguments)


def on_several_nodes() -> bool:
    """Return whether the cluster has more than one node now."""
    import ray

    return len([node for node in ray.nodes() if node["Alive"]]) > 1


def autoscaler_limits() -> dict[str, float] | None:
    """Return what the cluster may grow to, by resource; None where nothing could be added."""
    from ray._private.state import state

    try:
        return state.get_max_resources_from_cluster_config() or None
    except Exception:  # noqa: BLE001 -- a changed internal: behave like plain Ray Train
        return {}


def last_result(run_uri: str) -> "Result | None":
    """Return what a run left in its storage, or None where there is nothing yet.

    A damaged list of checkpoints is set aside: it would keep Ray Train from ever starting, and the
    workers look at the folders themselves.
    """
    from ray.train import Result
    from ray.train.v2._internal.constants import CHECKPOINT_MANAGER_SNAPSHOT_FILENAME as LIST
    from ray.train.v2._internal.exceptions import CheckpointManagerInitializationError

    try:
        return Result.from_path(run_uri)
    except CheckpointManagerInitializationError as error:
        log.warning("%s/%s is set aside: %s", run_uri, LIST, str(error).strip().rpartition("\n")[2])
        store, run = resolve(run_uri)
        store.delete(f"{run}/{LIST}")
    except (RuntimeError, OSError, ValueError):
        pass  # nothing there yet
    return None


def orphaned_groups() -> list[bytes]:
    """Return the ids of placement groups whose creator has died, and that nobody gave back."""
    try:
        from ray._private.state import state
        from ray.core.generated.gcs_pb2 import PlacementGroupTableData

        rows = state._connect_and_get_accessor().get_placement_group_table()
        groups = [PlacementGroupTableData.FromString(row) for row in rows]
    except Exception as error:  # noqa: BLE001 -- a changed internal: behave like plain Ray Train
        log.warning("what killed stages reserved cannot be looked up: %s", error)
        return []
    removed = PlacementGroupTableData.REMOVED
    return [
        group.placement_group_id
        for group in groups
        if group.creator_actor_dead and not group.is_detached and group.state != removed
    ]


def _set_environment() -> None:
    """Set what Ray Train reads in this process and hands on to its controller and workers."""
    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", str(_POLL_S))
    if not on_several_nodes():
        # The watcher warns of other nodes being taken away; here there are none.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")


@functools.cache
def _trainer_class() -> type:
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class LeanTrainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            surplus = _surplus_callbacks(bool(self.datasets))
            callbacks = super()._create_default_callbacks()
            return [c for c in callbacks if type(c).__name__ not in surplus]

        def _initialize_and_run_controller(self, **arguments: Any) -> Any:
            if autoscaler_limits() is None:
                arguments["scaling_policy"] = _without_autoscaler(arguments["scaling_policy"])
            return super()._initialize_and_run_controller(**arguments)

    return LeanTrainer


def _surplus_callbacks(has_datasets: bool) -> set[str]:
    names = set()
    if not has_datasets:
        names.add("DatasetsCallback")
    if not _has_dashboard():
        # It asks the dashboard whether the controller lives, and without one dies with a traceback.
        names.add("PlacementGroupCleanerCallback")
    return names


def _without_autoscaler(policy: Any) -> Any:
    """Stop a fixed scaling policy from asking an autoscaler that does not exist for nodes."""
    from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

    if type(policy) is not FixedScalingPolicy:
        return policy
    return _quiet_policy_class()(policy.scaling_config)


@functools.cache
def _quiet_policy_class() -> type:
    from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

    class QuietFixedPolicy(FixedScalingPolicy):
        def _send_resource_request(self) -> None:
            pass

        def _maybe_send_resource_request(self) -> None:
            pass

        def _cancel_resource_request(self) -> None:
            pass

    return QuietFixedPolicy


def _has_dashboard() -> bool:
    """Whether the cluster runs the dashboard that answers questions about actors."""
    from ray._private.services import get_webui_url_from_internal_kv

    try:
        return bool(get_webui_url_from_internal_kv())
    except Exception:  # noqa: BLE001 -- a changed internal: behave like plain Ray Train
        return True
