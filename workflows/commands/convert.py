"""The commands that change a model folder's layout: `lavaflow export` and `lavaflow import`.

In: a folder, an address or a registered version. Out: a new local folder, and a line that says how
to use it. The work is that of `components.model.convert.export`, imported when a command runs, so
that help stays fast.
"""

import json
import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from components.core.errors import ConfigError
from components.core.logs import open_console, progress
from components.core.store import local_copy
from workflows.commands.options import HomeOption, TrackingOption
from workflows.commands.quiet import quieten_transformers
from workflows.home import open_home
from workflows.registration.references import find_version, names_version

console = open_console()

TargetArgument = Annotated[
    Path, typer.Argument(help="Folder to write; new, or empty.", show_default=False)
]


def export_(
    source: Annotated[
        str,
        typer.Argument(
            help="Model folder, s3:// address, NAME@ALIAS or NAME/VERSION.", show_default=False
        ),
    ],
    target: TargetArgument,
    layout: Annotated[
        Literal["original", "llava-hf", "connector"],
        typer.Option(
            help="original: as liuhaotian/llava-v1.5-7b. llava-hf: as llava-hf/llava-1.5-7b-hf. "
            "connector: mm_projector alone, with the original's names.",
            show_default=False,
        ),
    ],
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Write a model in the layout of the original LLaVA or of the hub, bit for bit the same.

    What the layout has no place for lies in TARGET/lavaflow, and lavaflow import brings it back.
    """
    from components.model.convert.export import export_model

    quieten_transformers()
    source_path = _local(source, home, tracking)
    with progress("Writing tensors") as advance:
        export_model(source_path, _local_target(target), layout, advance)
    _say(_use_of_export(target, layout))


def import_(
    source: Annotated[
        str,
        typer.Argument(help="Folder or s3:// address of the other layout.", show_default=False),
    ],
    target: TargetArgument,
    vision_tower: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the vision tower, for sources that do not hold it.",
            show_default=False,
        ),
    ] = None,
    language_model: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the language model, for a connector alone.", show_default=False
        ),
    ] = None,
    template: Annotated[
        Literal["vicuna_v1", "plain"] | None,
        typer.Option(
            help="Template it was trained with. Default: what the source says, else vicuna_v1.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a model folder of the original LLaVA's or the hub's llava-hf layout one of lavaflow's.

    Only safetensors are read: pickles (.bin) run code when they are opened.
    """
    from components.model.convert.export import import_model
    from components.model.convert.importing import Lacking

    quieten_transformers()
    lacking = Lacking(vision_tower, language_model)
    source_path = _local_folder(source)
    with progress("Writing tensors") as advance:
        import_model(source_path, _local_target(target), lacking, template, advance)
    _say(_use_of_import(target))


def _local(source: str, home: str | None, tracking: str | None) -> Path:
    """Return the local path of a folder, an address or a registered version."""
    if not names_version(source):
        return _local_folder(source)
    tracking_uri = open_home(home, tracking=tracking).tracking_uri
    return local_copy(find_version(tracking_uri, source).uri)


def _local_folder(source: str) -> Path:
    if "://" not in source and not Path(source).expanduser().is_dir():
        raise ConfigError(
            f"{source}: no such folder; expected a model folder, s3://BUCKET/PREFIX, "
            "or for an export NAME@ALIAS or NAME/VERSION (lavaflow models)"
        )
    return local_copy(source)


def _local_target(target: Path) -> Path:
    if ":/" in str(target):
        raise ConfigError(f"{target}: is no local folder; write it here, and upload it from there")
    return target


def _use_of_export(target: Path, layout: str) -> str:
    """Return how the written folder is used."""
    if layout == "llava-hf":
        return (
            f"{target} has the layout of llava-hf. Use it with\n"
            f'  LlavaForConditionalGeneration.from_pretrained("{target}")'
        )
    if layout == "connector":
        return (
            f"{target}/mm_projector.safetensors is the connector. Make a model of it with\n"
            f"  lavaflow import {target} MODEL --language-model FOLDER --vision-tower FOLDER"
        )
    hints = []
    if "llava" not in target.resolve().name.lower():
        hints.append("Its folder's name must contain llava: the original's loader goes by that.")
    if not (target / "tokenizer.model").is_file():
        hints.append("Copy tokenizer.model of the base beside it: the original reads that one.")
    return "\n".join(
        [
            *hints,
            f"{target} has the layout of the original. Use it with\n"
            f"  python -m llava.eval.run_llava --model-path {target} --conv-mode vicuna_v1 "
            '--image-file IMAGE --query "QUESTION"',
        ]
    )


def _use_of_import(target: Path) -> str:
    """Return how the folder becomes the result of a recipe's step."""
    side = json.loads((target / "lavaflow.json").read_text(encoding="utf-8"))
    step = "pretrain" if side["template"] == "plain" else "finetune"
    fields = json.dumps({"stage": step, "template": side["template"]})
    return (
        f"{target} is a model folder of lavaflow. Take it as the result of a recipe's step with\n"
        f"  echo {shlex.quote(fields)} > record.json\n"
        f"  lavaflow adopt RECIPE {step} {target} --record record.json"
    )


def _say(text: str) -> None:
    console.print(escape(text), highlight=False, soft_wrap=True)
