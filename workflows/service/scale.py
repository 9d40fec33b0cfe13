"""The number of replicas of the running service, changed.

In: a number or a range. Out: the service's status once the number is reached. Against
`http://HEAD:8265` the same command runs there as a small job; else this process connects to the
cluster itself.
"""

from rich.console import Console

from components.core.errors import ConfigError
from components.serving.config import ReplicaRange
from workflows.cluster.connect import connected, is_remote, run_there
from workflows.home import Home


def scale_service(
    home: Home,
    address: str | None,
    replicas: int | None,
    minimum: int | None,
    maximum: int | None,
    console: Console,
) -> None:
    """Change the replica numbers of the running service."""
    wanted = replica_range(replicas, minimum, maximum)
    if is_remote(address):
        options = ["--min", str(wanted.minimum), "--max", str(wanted.maximum)]
        run_there(home, str(address), ["scale", *options], addresses=False)
        return
    with connected(home, address):
        from components.serving.service import rollout

        row = service_row(rollout.set_replicas(wanted))
    console.print(
        f"{row['model']} version {row['version']} at {row['address']}: {row['replicas']} replicas, "
        f"{row['state']}",
        highlight=False,
    )


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


def service_row(status: object) -> dict[str, str]:
    """The columns of a service in a table: model, version, address, replicas, state."""
    from components.serving.service.rollout import ServiceStatus

    assert isinstance(status, ServiceStatus)
    endpoint = status.endpoint
    return {
        "model": endpoint.model_name,
        "version": endpoint.version,
        "address": endpoint.url,
        "replicas": f"{status.num_running} of {status.model.config.replicas}",
        "state": status.status,
    }
