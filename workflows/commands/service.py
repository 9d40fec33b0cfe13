"""The commands about registered models and the service that answers with one of them.

In: options. Out: one call into the module that does the work, which is imported when a command
runs, so that help stays fast. `cli.py` gives the commands their order.
"""

from pathlib import Path
from typing import Annotated

import typer

from components.core.logs import open_console
from workflows.commands.options import (
    AddressOption,
    HomeOption,
    ModelOption,
    SettingsOption,
    StoreOption,
    TrackingOption,
)
from workflows.home import open_home

console = open_console()


def status(
    address: AddressOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Show the running service, the steps in the store and who is running them."""
    from workflows.service.status import show_status

    show_status(open_home(home, store, tracking), address, console)


def promote(
    version: Annotated[
        int | None,
        typer.Argument(help="Version to promote. Default: the candidate.", show_default=False),
    ] = None,
    model: ModelOption = None,
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Promote although the gate refuses; entered as such.")
    ] = False,
    recipe: SettingsOption = None,
    address: AddressOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Make a version champion if the gate passes it, and roll the running service over to it."""
    from workflows.service.promote import promote_version

    promote_version(
        open_home(home, store, tracking),
        model,
        version,
        address=address,
        reason=reason,
        force=force,
        recipe=recipe,
        console=console,
    )


def scale(
    replicas: Annotated[
        int | None, typer.Option(help="A fixed number of replicas.", min=1, show_default=False)
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option("--min", help="Fewest replicas under load.", min=1, show_default=False),
    ] = None,
    maximum: Annotated[
        int | None,
        typer.Option("--max", help="Most replicas under load.", min=1, show_default=False),
    ] = None,
    address: AddressOption = None,
    home: HomeOption = None,
) -> None:
    """Change the number of replicas of the running service, without restarting any."""
    from workflows.service.scale import scale_service

    scale_service(open_home(home), address, replicas, minimum, maximum, console)


def deploy(
    reference: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="NAME, NAME@ALIAS or NAME/VERSION. Default: the champion of the only model.",
            show_default=False,
        ),
    ] = None,
    address: AddressOption = None,
    port: Annotated[
        int | None,
        typer.Option(help="Port of the service. Default: the version's.", show_default=False),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a setting kept with the version, such as serving.dtype=float32.",
        ),
    ] = None,
    recipe: SettingsOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Serve a registered model, here or on a cluster, until lavaflow stop."""
    from workflows.service.deploy import deploy_model

    deploy_model(
        open_home(home, store, tracking),
        reference,
        address=address,
        port=port,
        recipe=recipe,
        assignments=set_ or [],
        console=console,
    )


def chat(
    image: Annotated[Path, typer.Argument(help="Image file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to ask about it.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option(help="Service. Default: the kept one, else port 8000.", show_default=False),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.", min=1)] = None,
    home: HomeOption = None,
) -> None:
    """Ask the running service a question about an image."""
    from workflows.service.chat import chat_once

    chat_once(open_home(home), image, question, url, max_tokens)


def models(
    model: ModelOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """List registered models: versions, aliases, scores."""
    from workflows.registration.models import list_models

    list_models(open_home(home, store, tracking), model, console)


def stop(home: HomeOption = None) -> None:
    """Stop the service and the cluster that --keep or deploy left running on this machine."""
    from workflows.service.deploy import stop_service

    stop_service(open_home(home), console)
