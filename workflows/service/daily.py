"""The small commands around a service: deploy, chat, scale, models, stop.

In: options of the command line. Out: what the user sees. The work is done by the floors below.
"""

import contextlib
import sys
from pathlib import Path

import typer
from rich.console import Console

from components.core.errors import LavaflowError, RegistryError
from components.core.logs import new_table
from components.registry import names
from components.registry.versions import Registry, ResolvedVersion
from components.serving.config import ServingConfig
from workflows.cluster import local as cluster
from workflows.cluster.connect import connected, is_remote, run_there
from workflows.home import Home, secrets
from workflows.recipes import RECIPES, get_recipe
from workflows.registration.references import with_checkpoint
from workflows.service.promote import only_model

DEFAULT_URL = "http://127.0.0.1:8000"


def deploy_model(
    home: Home, reference: str | None, address: str | None, port: int | None, console: Console
) -> None:
    """Serve a registered version and leave it up."""
    if is_remote(address):
        arguments = ["deploy", *([reference] if reference else [])]
        run_there(home, str(address), arguments + (["--port", str(port)] if port else []))
        return
    version = with_checkpoint(_find(Registry(home.tracking_uri), reference))
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


def scale_service(
    home: Home,
    address: str | None,
    replicas: int | None,
    minimum: int | None,
    maximum: int | None,
    console: Console,
) -> None:
    """Change the replica numbers of the running service."""
    from workflows.service.scale import replica_range, scale_remotely, service_row

    wanted = replica_range(replicas, minimum, maximum)
    if is_remote(address):
        raise typer.Exit(scale_remotely(str(address), wanted, env_vars=secrets()))
    with connected(home, address):
        from components.serving.service import app

        row = service_row(app.scale(wanted))
    console.print(
        f"{row['model']} version {row['version']} at {row['address']}: {row['replicas']} replicas, "
        f"{row['state']}",
        highlight=False,
    )


def chat_once(
    home: Home, image: Path, question: str, url: str | None, max_tokens: int | None
) -> None:
    """Ask one question; the answer streams to standard output."""
    from components.serving.client import ask

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    ask(_url(home, url), question, image, max_tokens=max_tokens, on_text=write)
    sys.stdout.write("\n")


def list_models(home: Home, model: str | None, console: Console) -> None:
    """Print every version with aliases and scores."""
    registry = Registry(home.tracking_uri)
    found = [model] if model else registry.models()
    if not found:
        console.print("No model is registered yet; run a recipe first: lavaflow run tiny")
        return
    for name in found:
        versions = registry.versions(name)
        table = new_table(name)
        for column in ("version", "aliases", "scores, 0 to 100"):
            table.add_column(column)
        for version in versions:
            # One cell that wraps: thirteen columns of numbers do not fit 80 characters.
            scores = "  ".join(f"{row.benchmark}={row.percent:.1f}" for row in version.scores)
            table.add_row(str(version.version), ", ".join(version.aliases), scores)
        console.print(table)
        for version in versions:
            recipe = version.tags.get(names.RECIPE, "unknown recipe")
            # A line of its own: an address cut into a column's width cannot be copied.
            console.print(
                f"  {version.version}  {recipe}  {version.uri}", highlight=False, soft_wrap=True
            )


def stop_local(home: Home, console: Console) -> None:
    """End the kept cluster with its service."""
    if cluster.stop_kept_cluster(home.cluster_file):
        console.print("The service and its cluster are stopped.")
    else:
        console.print("Nothing runs that --keep or deploy left here.")


def _find(registry: Registry, reference: str | None) -> ResolvedVersion:
    name = reference or only_model(registry)
    if "@" not in name and "/" not in name:
        champion = registry.alias(name, names.CHAMPION)
        if champion is None:
            raise RegistryError(
                f"model {name} has no champion; promote a version, or name one: {name}/1"
            )
        return champion
    return registry.resolve(name)


def _serving(model: str) -> ServingConfig:
    """The serving settings of the recipe that makes this model."""
    for name in RECIPES:
        recipe = get_recipe(name)
        if recipe.registry.model_name == model:
            return recipe.serving
    return ServingConfig()


def _url(home: Home, url: str | None) -> str:
    """The service to talk to: the one named, the kept one, else the default port."""
    if url:
        return url.rstrip("/").removesuffix("/v1")
    if cluster.kept_cluster(home.cluster_file) is not None:
        with contextlib.suppress(LavaflowError), connected(home, None):
            from components.serving.service import app

            status = app.service_status()
            if status is not None:
                return status.endpoint.url
    return DEFAULT_URL
