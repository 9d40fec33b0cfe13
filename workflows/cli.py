"""The command line: its commands in the order of its help, and the exit codes.

A command is one call into `workflows/`; its options and help stand in `workflows/commands/`.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 data, 4 store, 5 lease lost, 6
checkpoint, 7 training, 8 cluster, 9 registry, 10 refused by the gate, 11 serving, 12 a step failed,
13 an endpoint does not answer, 70 a fault of lavaflow, 130 interrupted. A user's mistake is one
readable message, never a traceback.
"""

import errno
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer
from rich.markup import escape

from components.core.errors import LavaflowError
from components.core.logs import open_console, setup_logging
from workflows.commands.convert import export_, import_
from workflows.commands.data import data_app
from workflows.commands.evaluate import compare, eval_, score, submission
from workflows.commands.recipe import adopt, pin, plan, recipes, run, submit
from workflows.commands.service import chat, deploy, models, promote, scale, status, stop

errors = open_console(stderr=True)

app = typer.Typer(
    name="lavaflow",
    help="Train, judge, promote and serve LLaVA-1.5 style vision-language models on Ray.\n\n"
    "Start with: lavaflow run tiny (the whole chain on this machine, some minutes).",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Help shows these panels and their commands in this order; that of `data` comes last.
PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Every day": (run, plan, submit, status, promote, scale),
    "Models and service": (models, deploy, chat, stop, export_, import_),
    "Judging models": (eval_, compare, score, submission),
    "Recipes and steps": (recipes, pin, adopt),
}
for _panel, _commands in PANELS.items():
    for _command in _commands:
        # `import_` is the command `import`: the word itself is Python's.
        app.command(_command.__name__.rstrip("_"), rich_help_panel=_panel)(_command)
app.add_typer(data_app, name="data", rich_help_panel="Your data")


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show log lines and tracebacks.")
    ] = False,
) -> None:
    context.obj = {"verbose": verbose}
    setup_logging(1 if verbose else 0)


def main() -> None:
    """Run the command line and exit with a code that scripts can trust."""
    verbose = "-v" in sys.argv[1:3] or "--verbose" in sys.argv[1:3]
    code = 0
    try:
        # Out of standalone mode an exit code comes back as the result; commands return nothing.
        code = app(standalone_mode=False) or 0
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except LavaflowError as error:
        _fail(str(error), error.exit_code, verbose)
    except OSError as error:
        _fail(_readable_os_error(error), 4, verbose)
    except Exception as error:  # noqa: BLE001 -- the last border: told apart just below
        show = getattr(error, "show", None)
        if show is not None:  # a usage error of the command line's own parser
            show()
            sys.exit(getattr(error, "exit_code", 2))
        _fail_by_own_fault(error, verbose)
    sys.exit(code)


def _fail(message: str, code: int, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()
    errors.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(code)


def _readable_os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full; free some space and run the same command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}may not be written or read ({error.strerror}); check the rights"
    return f"{where}{error.strerror or error}"


def _fail_by_own_fault(error: Exception, verbose: bool) -> None:
    text = "".join(traceback.format_exception(error))
    if verbose:
        sys.stderr.write(text)
    errors.print(
        f"[bold red]unexpected error:[/] {escape(f'{type(error).__name__}: {error}')}\n"
        "This is a fault of lavaflow. Run the command again with --verbose for the traceback.",
        highlight=False,
        soft_wrap=True,
    )
    sys.exit(70)


if __name__ == "__main__":
    main()
