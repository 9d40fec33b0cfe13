"""Brings a registered version up as the service, and takes the service down.

In: options of the command line. Out: a service that is left up, or a machine where nothing runs.
"""

from collections.abc import Sequence

from rich.console import Console

from components.core.config import override
from components.registry.versions import Registry
from workflows.cluster import local as cluster
from workflows.cluster.connect import connected, is_remote, run_there
from workflows.home import Home
from workflows.registration.references import version_to_serve
from workflows.registration.settings import settings_of


def deploy_model(
    home: Home,
    reference: str | None,
    *,
    address: str | None,
    port: int | None,
    recipe: str | None,
    assignments: Sequence[str],
    console: Console,
) -> None:
    """Serve a registered version with the settings kept with it, and leave it up."""
    if is_remote(address):
        arguments = ["deploy", *([reference] if reference else [])]
        arguments += ["--port", str(port)] if port else []
        arguments += ["--recipe", recipe] if recipe else []
        arguments += [word for each in assignments for word in ("--set", each)]
        run_there(home, str(address), arguments)
        return
    version = version_to_serve(Registry(home.tracking_uri), reference)
    changes = [each.removeprefix("serving.") for each in assignments]
    changes += [f"port={port}"] if port else []
    config = override(settings_of(version, recipe).serving, changes)
    if address is None:
        cluster.keep_cluster(home.cluster_file)
    with connected(home, address):
        from components.serving.service import rollout

        endpoint = rollout.serve_checkpoint(version.uri, config, version.name, str(version.version))
    console.print(
        f"{version.reference} answers at [bold]{endpoint.url}[/] (OpenAI API under /v1)\n"
        f'  lavaflow chat IMAGE "QUESTION" --url {endpoint.url}\n  lavaflow stop',
        highlight=False,
    )


def stop_service(home: Home, console: Console) -> None:
    """End the kept cluster with its service."""
    if cluster.stop_kept_cluster(home.cluster_file):
        console.print("The service and its cluster are stopped.")
    else:
        console.print("Nothing runs that --keep or deploy left here.")
