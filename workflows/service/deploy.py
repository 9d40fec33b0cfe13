"""Brings a registered version up as the service, and takes the service down.

In: options of the command line. Out: a service that is left up, or a machine where nothing runs.
"""

from rich.console import Console

from components.registry.versions import Registry
from components.serving.config import ServingConfig
from workflows.cluster import local as cluster
from workflows.cluster.connect import connected, is_remote, run_there
from workflows.home import Home
from workflows.recipes import RECIPES, get_recipe
from workflows.registration.references import version_to_serve


def deploy_model(
    home: Home, reference: str | None, address: str | None, port: int | None, console: Console
) -> None:
    """Serve a registered version and leave it up."""
    if is_remote(address):
        arguments = ["deploy", *([reference] if reference else [])]
        run_there(home, str(address), arguments + (["--port", str(port)] if port else []))
        return
    version = version_to_serve(Registry(home.tracking_uri), reference)
    if address is None:
        cluster.keep_cluster(home.cluster_file)
    with connected(home, address):
        from components.serving.service import app

        settings = _serving(version.name)
        config = settings.with_(port=port) if port else settings
        endpoint = app.deploy(version.uri, config, version.name, str(version.version))
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


def _serving(model: str) -> ServingConfig:
    """The serving settings of the recipe that makes this model."""
    for name in RECIPES:
        recipe = get_recipe(name)
        if recipe.registry.model_name == model:
            return recipe.serving
    return ServingConfig()
