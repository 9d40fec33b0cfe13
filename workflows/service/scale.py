"""The number of replicas of the running service, changed.

In: a number or a range. Out: the service's status once the number is reached. Against
`http://HEAD:8265` the same command runs there as a small job; else this process connects to the
cluster itself.
"""

import logging
from collections.abc import Callable, Mapping

from components.core.errors import ConfigError
from components.serving.config import ReplicaRange
from workflows.cluster.local import ensure_cluster
from workflows.cluster.submit import run_remote

log = logging.getLogger(__name__)


def replica_range(replicas: int | None, minimum: int | None, maximum: int | None) -> ReplicaRange:
    """Read the options of `lavaflow scale`: --replicas N, or --min and --max."""
    if replicas is not None and (minimum is not None or maximum is not None):
        raise ConfigError("--replicas fixes the number, --min and --max give a range: use one form")
    if replicas is None and (minimum is None or maximum is None):
        raise ConfigError("say how many: --replicas N, or both --min N and --max M")
    low = replicas if replicas is not None else minimum
    high = replicas if replicas is not None else maximum
    assert low is not None and high is not None
    if low < 1:
        raise ConfigError(f"{low} replicas: at least 1 must run; `lavaflow stop` ends the service")
    if low > high:
        raise ConfigError(f"--min {low} is more than --max {high}")
    return ReplicaRange(minimum=low, maximum=high)


def is_job_address(address: str) -> bool:
    """Whether an address takes jobs (`http://HEAD:8265`) instead of connections."""
    return address.startswith(("http://", "https://"))


def scale(address: str, replicas: ReplicaRange) -> dict[str, str]:
    """Change the replicas of the service on a cluster; returns a row for a table once they run.

    `address` is `auto` or HOST:PORT. Raises ServingError when no service runs there or the number
    is not reached.
    """
    ensure_cluster(address)
    from components.serving.service import app

    log.info("Scaling the service to %s replicas", replicas)
    return service_row(app.scale(replicas))


def scale_remotely(
    address: str,
    replicas: ReplicaRange,
    *,
    env_vars: Mapping[str, str] | None = None,
    write: Callable[[str], None] = print,
) -> int:
    """Run `lavaflow scale` as a job on the head at `http://HEAD:8265`; returns its exit status."""
    numbers = ["--min", str(replicas.minimum), "--max", str(replicas.maximum)]
    if replicas.fixed:
        numbers = ["--replicas", str(replicas.minimum)]
    return run_remote(
        ["scale", *numbers, "--address", "auto"], address, env_vars=env_vars, write=write
    )


def service_row(status: object) -> dict[str, str]:
    """The columns of a service in a table: model, version, address, replicas, state."""
    from components.serving.service.app import ServiceStatus

    assert isinstance(status, ServiceStatus)
    endpoint = status.endpoint
    return {
        "model": endpoint.model_name,
        "version": endpoint.version,
        "address": endpoint.url,
        "replicas": f"{status.num_running} of {status.model.config.replicas}",
        "state": status.status,
    }
