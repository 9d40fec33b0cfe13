"""The life of the service: deploy, roll over to another version, scale, status.

In: a `ServedModel` and a connected Ray cluster. Out: an `Endpoint`. What runs can be read back and
changed by any process that connects to the cluster, because Serve keeps the applied configuration.
A rollout brings every new replica up before it takes an old one away; one that fails leaves the old
replicas answering and its configuration is taken back.

The replicas import this project from the environment of the application: the packages that are
installed on the nodes, or the job's `working_dir`, which is kept alive for as long as the service
runs (see `keep_code`).
"""

import logging
import time
from dataclasses import dataclass
from typing import NoReturn

import httpx
from ray.serve.schema import ApplicationStatus, DeploymentSchema, ServeApplicationSchema

from components.core.errors import ServingError
from components.serving.config import ReplicaRange, ServedModel, ServingConfig
from components.serving.service import controller
from components.serving.service.address import base_url, check_port
from components.serving.service.code_keeper import code_environment, end_keepers, keep_code
from components.serving.service.replica import DEPLOYMENT, replica_options

log = logging.getLogger(__name__)

SERVICE, TRIAL = controller.APPLICATIONS
TRIAL_PREFIX = "/trial"
IMPORT_PATH = "components.serving.service.replica:build_application"


@dataclass(frozen=True)
class Endpoint:
    """Where the service answers and with what."""

    url: str
    """Base of the API without `/v1`, such as http://127.0.0.1:8000."""
    model_name: str
    version: str


@dataclass(frozen=True)
class ServiceStatus:
    """What runs now."""

    endpoint: Endpoint
    status: str
    """Serve's word: RUNNING, DEPLOYING, DEPLOY_FAILED, UNHEALTHY ..."""
    message: str
    num_running: int
    """Replicas that take requests."""
    model: ServedModel
    """What was asked for; `config.replicas` is what the last scale made of it."""


def serve_checkpoint(
    checkpoint: str, config: ServingConfig, model_name: str, version: str
) -> Endpoint:
    """Serve a checkpoint, and return when every replica answers with it.

    Replaces a version that is already served, without a gap. Raises ServingError when the port is
    taken, when the replicas do not come up (the version before keeps answering), or when time runs
    out.
    """
    _start_serve(config)
    return _roll_out(
        ServedModel(checkpoint=checkpoint, model_name=model_name, version=version, config=config)
    )


def try_out(checkpoint: str, config: ServingConfig, model_name: str, version: str) -> Endpoint:
    """Serve a checkpoint with one replica beside the running service, to try it out.

    The service is not touched. End it with `end_try_out`. Raises ServingError as
    `serve_checkpoint` does.
    """
    _start_serve(config)
    model = ServedModel(
        checkpoint=checkpoint,
        model_name=model_name,
        version=version,
        config=config.with_(replicas=ReplicaRange()),
    )
    controller.apply(_application(model, TRIAL, TRIAL_PREFIX, code_environment()))
    try:
        _wait_until_running(TRIAL, model.config.replicas, model.config.startup_timeout_s)
        endpoint = Endpoint(
            base_url(*controller.http_address()) + TRIAL_PREFIX, model_name, version
        )
        _wait_until_answering(endpoint, model.config.startup_timeout_s)
    except ServingError as error:
        end_try_out()
        raise ServingError(
            f"{model_name} version {version} ({checkpoint}) could not be served: {error}"
        ) from None
    return endpoint


def end_try_out() -> None:
    """Take away what `try_out` started; harmless when there is nothing."""
    if controller.applied(TRIAL) is not None:
        controller.remove(TRIAL)


def roll_over(checkpoint: str, version: str, config: ServingConfig) -> Endpoint:
    """Serve another version with its settings, at the running service's address and with its name
    and replica numbers: those are the operator's.
    """
    current = _running().model
    kept = current.config
    config = config.with_(host=kept.host, port=kept.port, replicas=kept.replicas)
    return _roll_out(current.with_(checkpoint=checkpoint, version=version, config=config))


def set_replicas(replicas: ReplicaRange) -> ServiceStatus:
    """Change the replica numbers in place, and return when they are reached.

    Replicas that stay are not restarted. Raises ServingError when no service runs or time runs out.
    """
    current = _running()
    application = controller.applied(SERVICE)
    assert application is not None  # _running() has just read it
    wanted = current.model.config.with_(replicas=replicas)
    scaled = application.model_copy(update={"deployments": [_deployment(wanted)]})
    controller.apply(scaled)
    try:
        _wait_until_running(SERVICE, replicas, current.model.config.startup_timeout_s)
    except ServingError as error:
        controller.apply(application)
        raise ServingError(
            f"scaling to {replicas} replicas failed, back to {current.model.config.replicas}: "
            f"{error}"
        ) from None
    return _running()


def service_status() -> ServiceStatus | None:
    """Return what runs on the connected cluster, or None when nothing is served."""
    if not controller.is_running():
        return None
    application, state = controller.applied(SERVICE), controller.state(SERVICE)
    if application is None or state is None:
        return None
    model = ServedModel.model_validate(application.args)
    config = model.config.with_(replicas=_replicas(application))
    return ServiceStatus(
        endpoint=Endpoint(base_url(*controller.http_address()), model.model_name, model.version),
        status=state.status.value,
        message=state.message,
        num_running=state.num_running,
        model=model.with_(config=config),
    )


def _start_serve(config: ServingConfig) -> None:
    if not controller.is_running():
        check_port(config.host, config.port)
        with controller.readable_errors("Starting Ray Serve"):
            controller.start(config.host, config.port)
        return
    host, port = controller.http_address()
    if (host, port) != (config.host, config.port):
        wanted = f"{config.host}:{config.port}"
        log.warning("Serve listens on %s:%d already, not on %s; using it", host, port, wanted)


def _application(
    model: ServedModel, name: str, prefix: str, environment: dict[str, object]
) -> ServeApplicationSchema:
    return ServeApplicationSchema(
        name=name,
        route_prefix=prefix,
        import_path=IMPORT_PATH,
        runtime_env=environment,
        args=model.model_dump(mode="json"),
        deployments=[_deployment(model.config)],
    )


def _roll_out(model: ServedModel) -> Endpoint:
    """Apply a model, wait for it, and take it back when it does not come up."""
    before = controller.applied(SERVICE)
    environment = code_environment()
    keeper = keep_code(environment)
    log.info("Rolling out %s version %s", model.model_name, model.version)
    with controller.readable_errors("Handing the application to Ray Serve"):
        controller.apply(_application(model, SERVICE, "/", environment))
    try:
        _wait_until_running(SERVICE, model.config.replicas, model.config.startup_timeout_s)
        endpoint = Endpoint(base_url(*controller.http_address()), model.model_name, model.version)
        _wait_until_answering(endpoint, model.config.startup_timeout_s)
    except ServingError as error:
        _take_back(before, model, error)
    end_keepers(but=keeper)
    return endpoint


def _take_back(
    before: ServeApplicationSchema | None,
    failed: ServedModel,
    error: ServingError,
) -> NoReturn:
    """Restore what was served before a failed rollout, then raise."""
    what = f"{failed.model_name} version {failed.version} ({failed.checkpoint})"
    if before is None:
        controller.remove(SERVICE)
        raise ServingError(f"{what} could not be served: {error}") from None
    model = ServedModel.model_validate(before.args)
    # The surviving replicas have the code version of this configuration, so none is restarted.
    controller.apply(before)
    try:
        _wait_until_running(SERVICE, _replicas(before), failed.config.startup_timeout_s)
        outcome = f"version {model.version} keeps answering"
    except ServingError as second:
        outcome = f"and version {model.version} could not be restored: {second}"
    end_keepers(but=keep_code(before.runtime_env))
    raise ServingError(f"{what} could not be served, {outcome}. Cause: {error}") from None


def _running() -> ServiceStatus:
    status = service_status()
    if status is None:
        raise ServingError(
            "no service runs on this cluster; start one with `lavaflow deploy` or `lavaflow run "
            "--keep`"
        )
    return status


def _deployment(config: ServingConfig) -> DeploymentSchema:
    return DeploymentSchema(name=DEPLOYMENT, **replica_options(config))


def _replicas(application: ServeApplicationSchema) -> ReplicaRange:
    """The numbers that were applied last, which may differ from the ones of the first deploy."""
    options = application.deployments[0].model_dump(exclude_unset=True)
    if scaling := options.get("autoscaling_config"):
        return ReplicaRange(minimum=scaling["min_replicas"], maximum=scaling["max_replicas"])
    return ReplicaRange(minimum=options["num_replicas"], maximum=options["num_replicas"])


def _wait_until_running(name: str, replicas: ReplicaRange, timeout_s: float) -> None:
    """Return when the replicas run and the rollout is over; raises ServingError with the cause."""
    state = None
    for state in controller.states(name, timeout_s):
        if state is None:
            continue
        if state.status == ApplicationStatus.DEPLOY_FAILED:
            raise ServingError(_cause(state.message))
        reached = replicas.minimum <= state.num_running <= replicas.maximum
        if state.status == ApplicationStatus.RUNNING and reached:
            return
    found = f"{state.num_running} of {replicas} replicas run" if state else "no replica runs"
    hint = f" Serve says: {state.message.strip()}" if state and state.message else ""
    raise ServingError(
        f"after {timeout_s:.0f} s {found}.{hint} If CPUs or GPUs are short, free some, add a "
        "node, or "
        "lower serving.num_cpus_per_replica (a rollout needs room for one replica more)"
    )


def _wait_until_answering(endpoint: Endpoint, timeout_s: float) -> None:
    """Return when the HTTP address answers with the endpoint's version."""
    end = time.monotonic() + timeout_s
    last = "no answer"
    while time.monotonic() < end:
        try:
            answer = httpx.get(f"{endpoint.url}/health", timeout=5, trust_env=False)
            if answer.is_success and answer.json().get("version") == endpoint.version:
                return
            last = f"{answer.status_code} {answer.text[:200]}"
        except (httpx.HTTPError, ValueError) as error:
            last = str(error)
        time.sleep(controller.POLL_S)
    raise ServingError(
        f"{endpoint.url}/health did not answer with version {endpoint.version}: {last}"
    )


def _cause(message: str) -> str:
    """The error in a message of Serve, without the frames of Ray and of this program."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line for line in lines if "Error: " in line or "Exception: " in line]
    return errors[-1] if errors else " ".join(lines[-3:])
