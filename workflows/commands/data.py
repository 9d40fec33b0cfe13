"""The commands about the user's own data: `lavaflow data check` and `lavaflow data show`.

In: a path and options. Out: lines on the terminal, a rejects.jsonl, a page. The work is that of
`components.data`, which is imported when a command runs, so that help stays fast.
"""

import json
import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from components.core.errors import ConfigError
from components.core.logs import new_table, open_console, progress

if TYPE_CHECKING:
    from components.data.gallery.samples import Gallery
    from components.data.own.check import CheckResult
    from components.data.records import Rejected

console = open_console()

TINY_LANGUAGE_MODEL = Path(__file__).parents[1] / "tiny_base" / "language_model"
PATCH_PX = 14
"""Side of a patch of the vision tower, in pixels (CLIP-L/14 and the tiny one)."""
PREPARED = "prepared.json"

data_app = typer.Typer(
    name="data",
    help="Check your own data, and see what a model would see of it.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PathArgument = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="File (.json, .jsonl, .parquet, .csv, .tsv) or folder of images with a table.",
        show_default=False,
    ),
]
ImageRootOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that image paths are relative to. Default: the file's.", show_default=False
    ),
]
LinksOption = Annotated[
    bool, typer.Option("--follow-links", help="Admit symbolic links out of the image root.")
]


@data_app.command()
def check(
    path: PathArgument,
    image_root: ImageRootOption = None,
    output: Annotated[
        Path | None,
        typer.Option(help="File for all bad rows, a JSON line each.", show_default=False),
    ] = None,
    first: Annotated[int, typer.Option(help="How many bad rows to print.", min=0)] = 20,
    follow_links: LinksOption = False,
) -> None:
    """Validate every row and image. Exit code 0 when all are good, 1 when some are not."""
    from components.data.own.check import check as check_rows
    from components.data.own.forms import open_own

    if (path / PREPARED).is_file():
        raise ConfigError(
            f"{path} is prepared data, checked when it was made: its bad rows are in "
            "rejects.jsonl, and lavaflow data show displays it"
        )
    data = open_own(path, image_root)
    shown: list[Rejected] = []
    with ExitStack() as stack:
        file = stack.enter_context(output.open("w", encoding="utf-8")) if output else None
        advance = stack.enter_context(progress("Checking rows"))

        def on_reject(rejected: "Rejected") -> None:
            if len(shown) < first:
                shown.append(rejected)
            if file is not None:
                file.write(json.dumps(asdict(rejected)) + "\n")

        result = check_rows(data, on_reject, follow_links, os.cpu_count() or 1, advance)
    _print_check(result, shown, output)
    raise typer.Exit(int(result.num_rejected > 0))


@data_app.command()
def show(
    path: PathArgument,
    image_root: ImageRootOption = None,
    output: Annotated[Path, typer.Option(help="Page to write.")] = Path("gallery.html"),
    number: Annotated[int, typer.Option(help="Samples to show.", min=1, max=1000)] = 24,
    language_model: Annotated[
        Path | None,
        typer.Option(
            help="Folder with the tokenizer. Default: that of the tiny base.", show_default=False
        ),
    ] = None,
    template: Annotated[
        Literal["vicuna_v1", "plain"], typer.Option(help="Conversation template.")
    ] = "vicuna_v1",
    aspect: Annotated[
        Literal["pad", "crop"], typer.Option(help="How images are made square.")
    ] = "pad",
    size_px: Annotated[int, typer.Option(help="Side of the model's image.", min=PATCH_PX)] = 336,
    max_tokens: Annotated[int, typer.Option(help="Longest sample in positions.", min=8)] = 2048,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    follow_links: LinksOption = False,
) -> None:
    """Write a page with samples as the model sees them, token counts, lengths and sources.

    A folder of prepared data is shown as it was prepared; give the language model it was made for.
    """
    from components.data.config import ImageSpec
    from components.data.gallery.page import gallery_page
    from components.data.gallery.samples import View, show_own, show_prepared
    from components.data.own.forms import open_own
    from components.model.tokenizer import load_tokenizer

    if not output.parent.is_dir():
        raise ConfigError(
            f"{output.parent}: no such folder for the page; make it, or give --output"
        )
    own = None if (path / PREPARED).is_file() else open_own(path, image_root)
    tokenizer, image_token_id = load_tokenizer(language_model or TINY_LANGUAGE_MODEL)
    view = View(
        tokenizer,
        image_token_id,
        template,
        ImageSpec(size_px=size_px, aspect=aspect),
        (size_px // PATCH_PX) ** 2,
        max_tokens,
    )
    if own is None:
        gallery = show_prepared(path, view, number, seed, image_root)
    else:
        with progress("Reading rows") as advance:
            gallery = show_own(own, view, number, seed, follow_links, advance)
    output.write_text(gallery_page(gallery), encoding="utf-8", errors="replace")
    _print_shown(gallery, output)


def _print_check(result: "CheckResult", shown: "list[Rejected]", output: Path | None) -> None:
    if shown:
        table = new_table(f"First {len(shown)} of {result.num_rejected:,} bad rows")
        for name in ("file", "index", "id", "reason"):
            table.add_column(name, overflow="fold")
        for row in shown:
            table.add_row(*map(_printable, (row.file, str(row.index), row.id, row.reason)))
        console.print(table)
    if result.reasons:
        table = new_table("Bad rows by reason")
        table.add_column("rows", justify="right")
        table.add_column("reason", overflow="fold")
        for reason, count in result.reasons.items():
            table.add_row(f"{count:,}", _printable(reason))
        console.print(table)
    colour = "green" if result.num_rejected == 0 else "red"
    console.print(
        f"{result.num_rows:,} rows: [{colour}]{result.num_good:,} good, "
        f"{result.num_rejected:,} bad[/], {result.num_images:,} images",
        highlight=False,
    )
    if output is not None:
        console.print(f"bad rows: {_printable(str(output))}", highlight=False, soft_wrap=True)


def _print_shown(gallery: "Gallery", output: Path) -> None:
    rejected = sum(gallery.reasons.values())
    console.print(
        f"{gallery.num_rows:,} rows, {rejected:,} rejected; "
        f"{len(gallery.samples)} samples in {_printable(str(output))}",
        highlight=False,
        soft_wrap=True,
    )


def _printable(text: str) -> str:
    """Return text for the console: markup escaped, control characters of a terminal spelt out."""
    return escape(
        "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    )
