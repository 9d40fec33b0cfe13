"""The thin border to Ray Serve's controller: what the public Python API of Serve does not offer.

In: applications in the form of Serve's configuration files. Out: the same, applied or read back.
`serve.run` starts every replica anew at each call and forgets its arguments; a configuration that
is *applied* changes replica numbers in place and can be read back by any process. The public way to
apply one is the dashboard's REST API, and a laptop's cluster runs no dashboard: so this file talks
to the controller as the dashboard does (ray 2.60, `ServeControllerClient.deploy_apps`). It is the
one file that uses private names of Serve; tests/serving/service/test_controller.py names what
another version took away.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.serve.config import AutoscalingConfig
from ray.serve.context import _get_global_client
from ray.serve.schema import (
    ApplicationStatus,
    LoggingConfig,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from components.core.errors import ServingError

APPLICATIONS = ("lavaflow", "lavaflow-trial")
"""Our applications on a cluster's Serve: the service, and a model that is tried out beside it."""

POLL_S = 0.1


@dataclass(frozen=True)
class ApplicationState:
    """Where the application stands, as Serve tells it."""

    status: ApplicationStatus
    message: str
    num_running: int
    """Replicas of the target version that take requests."""


def is_running() -> bool:
    """Whether Serve runs on the connected cluster."""
    return _get_global_client(raise_if_no_controller_running=False) is not None


def start(host: str, port: int) -> None:
    """Start Serve's controller and HTTP proxy on the connected cluster."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    serve.start(http_options={"host": host, "port": port}, logging_config=quiet)


def http_address() -> tuple[str, int]:
    """Host and port that the HTTP proxy was started with."""
    http = _client().http_config
    return http.host, http.port


def apply(application: ServeApplicationSchema) -> None:
    """Make this the configuration of the application of its name; all others stay as they are."""
    # The controller deletes applied applications that a new configuration leaves out.
    others = [config for name, config in _applied().items() if name != application.name]
    _client().deploy_apps(ServeDeploySchema(applications=[*others, application]))


def remove(name: str, timeout_s: float = 60) -> None:
    """Take an application away and wait until it is gone; Serve and the other applications stay."""
    # Not serve.delete: it leaves the application in the configuration that Serve restores from.
    others = [config for other, config in _applied().items() if other != name]
    _client().deploy_apps(ServeDeploySchema(applications=others))
    for state in states(name, timeout_s):
        if state is None:
            return
    raise ServingError(f"the application {name} could not be removed within {timeout_s:.0f} s")


def applied(name: str) -> ServeApplicationSchema | None:
    """Read back the configuration that was applied last for an application, or None."""
    return _applied().get(name) if is_running() else None


def state(name: str) -> ApplicationState | None:
    """Return the state of an application, or None when there is none of that name."""
    found = serve.status().applications.get(name)
    if found is None:
        return None
    num_running = sum(
        number
        for deployment in found.deployments.values()
        for label, number in deployment.replica_states.items()
        if getattr(label, "value", label) == "RUNNING"
    )
    messages = [found.message, *(each.message for each in found.deployments.values())]
    message = "\n".join(dict.fromkeys(filter(None, messages)))
    return ApplicationState(found.status, message, num_running)


def states(name: str, timeout_s: float) -> Iterator[ApplicationState | None]:
    """Yield the state of an application again and again until `timeout_s` have passed."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        yield state(name)
        time.sleep(POLL_S)


@contextlib.contextmanager
def readable_errors(doing: str) -> Iterator[None]:
    """Turn Ray's errors into ServingError: for calls whose failure a user must understand."""
    try:
        yield
    except (ray.exceptions.RayError, RuntimeError, TimeoutError) as error:
        raise ServingError(f"{doing} failed: {error}") from error


def _client():  # Serve's client type is private
    return _get_global_client()


def _applied() -> dict[str, ServeApplicationSchema]:
    applications = _client().get_serve_details().get("applications", {})
    return {
        name: _schema(details["deployed_app_config"])
        for name, details in applications.items()
        if details.get("deployed_app_config")
    }


def _schema(config: dict[str, Any]) -> ServeApplicationSchema:
    """The schema as it was applied. What Serve gives back as a dict may have been an object, and
    the two do not have the same code version (see `replica.replica_options`).
    """
    if config["name"] in APPLICATIONS:
        for deployment in config["deployments"]:
            if scaling := deployment.get("autoscaling_config"):
                deployment["autoscaling_config"] = AutoscalingConfig.model_validate(scaling)
    return ServeApplicationSchema.model_validate(config)
