"""Room for a stage's workers on the cluster: never, later, or now.

In: the settings of a stage and the Ray cluster that is connected. Out: an error, or what is waited
for. Nothing is reserved here: Ray Train does that. What a killed stage has reserved is given back.
"""

import time

from components.core.errors import ClusterError
from components.training.config import StageConfig
from components.training.ray_internals import autoscaler_limits, orphaned_groups

PATIENCE_S = 15.0
"""So long a stage waits for free processors before it says so."""


def check_cluster(config: StageConfig) -> None:
    """Raise ClusterError where the cluster could never offer the workers of a stage.

    Busy nodes, and those that an autoscaler may add, are waited for.
    """
    import ray

    if not ray.is_initialized():
        raise ClusterError("no Ray cluster is connected; start one with ray.init() or an address")
    places = 0
    for node in ray.nodes():
        have = node["Resources"] if node["Alive"] else {}
        fits = have.get("CPU", 0) // config.num_cpus_per_worker
        if config.uses_gpu:
            fits = min(fits, have.get("GPU", 0) // config.num_gpus_per_worker)
        places += int(fits)
    if places < config.num_workers and not _may_grow_to(config):
        offer = ray.cluster_resources()
        raise ClusterError(
            f"{config.name} wants {config.num_workers} workers of {config.num_cpus_per_worker:g} "
            f"CPU and {config.num_gpus_per_worker:g} GPU; the cluster has room for {places} "
            f"({offer.get('CPU', 0):g} CPU, {offer.get('GPU', 0):g} GPU in all); lower "
            f"{config.name}.num_workers or add nodes"
        )


def waits_for(config: StageConfig, patience_s: float = PATIENCE_S) -> str:
    """Return what the workers wait for, or nothing as soon as there is room within the patience.

    Steps that end in a moment are no news; a service that holds the processors is.
    """
    import ray

    wanted = _wanted(config)
    end = time.monotonic() + patience_s
    while True:
        free = ray.available_resources()
        short = [name for name, amount in wanted.items() if free.get(name, 0.0) + 1e-6 < amount]
        if not short:
            return ""
        if time.monotonic() >= end:
            break
        time.sleep(0.25)
    lacks = ", ".join(f"{wanted[name]:g} {name} ({free.get(name, 0.0):g} free)" for name in short)
    return (
        f"waits for {lacks}: other steps, jobs or a service hold the rest (`ray status` shows "
        f"them); it starts by itself when they are free, or stop them, or lower "
        f"{config.name}.num_cpus_per_worker or num_workers"
    )


def free_orphans() -> int:
    """Give back the processors of stages that were killed; returns how many reservations ended.

    Ray keeps the placement group of an actor that died until the job ends as well. A stage that is
    tried again within its job would wait for ever for what it holds itself. Ray Train's own cleaner
    needs the dashboard, which a local cluster has not.
    """
    import ray
    from ray.util.placement_group import PlacementGroup, remove_placement_group

    orphans = orphaned_groups()
    for orphan in orphans:
        remove_placement_group(PlacementGroup(ray.PlacementGroupID(orphan)))
    return len(orphans)


def _may_grow_to(config: StageConfig) -> bool:
    """Return whether an autoscaler could add what the workers want."""
    limits = autoscaler_limits() or {}
    return all(limits.get(name, 0.0) >= amount for name, amount in _wanted(config).items())


def _wanted(config: StageConfig) -> dict[str, float]:
    """Return what all workers together reserve."""
    wanted = {"CPU": config.num_cpus_per_worker * config.num_workers}
    if config.uses_gpu:
        wanted["GPU"] = config.num_gpus_per_worker * config.num_workers
    return wanted
