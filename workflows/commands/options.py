"""The options that several commands share: their names, help and defaults, each once."""

from typing import Annotated

import typer

RecipeArgument = Annotated[
    str, typer.Argument(help="Recipe name; see [bold]lavaflow recipes[/].", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a value, such as finetune.learning_rate=1e-5."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        help="Root of the artifacts: a folder or s3://BUCKET/PREFIX. Default: .lavaflow/store.",
        show_default=False,
    ),
]
TrackingOption = Annotated[
    str | None,
    typer.Option(
        "--tracking-uri",
        help="MLflow: sqlite:///FILE or http://HOST:PORT. Default: .lavaflow/mlflow.db.",
        show_default=False,
    ),
]
HomeOption = Annotated[
    str | None,
    typer.Option(
        help="Folder for this machine's state, default store and registry. Default: .lavaflow.",
        show_default=False,
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        help="Ray cluster: auto, HOST:PORT, or http://HOST:8265 (dashboard). "
        "Default: the cluster kept by --keep or deploy, else auto.",
        show_default=False,
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        help="Registered model. Default: the one that is served, or the only one.",
        show_default=False,
    ),
]
SettingsOption = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="RECIPE",
        help="Take gate and serving settings from this recipe, not from the version.",
        show_default=False,
    ),
]
OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="STEP", help="Run nothing but this step (repeatable)."),
]
FromOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="STEP", help="Run this step and all after it anew.", show_default=False
    ),
]
ForceOption = Annotated[
    list[str] | None,
    typer.Option("--force", metavar="STEP", help="Run this step anew although a result is there."),
]
