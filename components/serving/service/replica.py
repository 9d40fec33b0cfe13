"""The Serve deployment: engine and HTTP application in one process, so that a token takes one hop.

In: a `ServedModel`, as arguments of the Serve application
`components.serving.service.replica:build_application` (the same import path serves in a KubeRay
`serveConfigV2`). Out: the routes of `routes.build_routes`. Replica numbers are not set here: they
are options of the deployed configuration, and so can change without a restart.
"""

import logging

from fastapi import FastAPI
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.config import AutoscalingConfig

from components.serving.api.routes import build_routes
from components.serving.config import ServedModel, ServingConfig

log = logging.getLogger(__name__)

DEPLOYMENT = "ChatService"


class _ChatService:
    """One replica. The constructor returns only when the model has answered a first question."""

    def __init__(self, model: dict[str, object]) -> None:
        # Here and not above: only replicas need torch; building the application must stay light.
        from components.serving.engine.checkpoint_engine import load_engine

        served = ServedModel.model_validate(model)
        self._engine = load_engine(served.checkpoint, served.config)
        self._routes = build_routes(self._engine, served.config, served.model_name, served.version)
        log.info("Serving %s version %s", served.model_name, served.version)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve asks for the HTTP application after the constructor."""
        return self._routes

    def check_health(self) -> None:
        """Serve replaces the replica when this raises."""
        self._engine.check()


ChatService: Deployment = serve.deployment(name=DEPLOYMENT)(serve.ingress()(_ChatService))


def build_application(model: ServedModel) -> Application:
    """Return the application for a model; Serve calls this with the deployed arguments."""
    config = model.config
    return ChatService.options(
        ray_actor_options={
            "num_cpus": config.num_cpus_per_replica,
            "num_gpus": config.num_gpus_per_replica,
        },
        max_ongoing_requests=config.max_ongoing_requests,
        max_queued_requests=config.max_queued_requests,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=config.graceful_shutdown_timeout_s,
        # A checkpoint that cannot be loaded will not load at the twentieth try either.
        max_constructor_retry_count=2,
        health_check_period_s=5,
    ).bind(model.model_dump(mode="json"))


def replica_options(config: ServingConfig) -> dict[str, object]:
    """The part of the deployment's options that scaling changes."""
    replicas = config.replicas
    # One replica more than asked for, while a rollout lasts: the new one is up before an old one
    # goes. With Serve's default of 0 a service of one replica has none for the time of a model load
    # (seen: 6 s instead of 0.5 s worst latency). Serve rounds the percentage up to whole replicas.
    surge = {"max_surge_percent": max(1, 100 // replicas.maximum)}
    if replicas.fixed:
        return {"num_replicas": replicas.minimum, **surge}
    # An object and not a dict: Serve counts dicts (not objects) into the code version, so that
    # going from a fixed number to a range would start every replica anew.
    autoscaling = AutoscalingConfig(
        min_replicas=replicas.minimum,
        max_replicas=replicas.maximum,
        initial_replicas=replicas.minimum,
        target_ongoing_requests=config.max_batch_size,
    )
    return {"autoscaling_config": autoscaling, **surge}
