"""The command line. Each command is one call into `workflows/`; here are only options, help and
exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 data, 4 store, 5 lease lost, 6
checkpoint, 7 training, 8 cluster, 9 registry, 10 refused by the gate, 11 serving, 12 a step failed,
13 an endpoint does not answer, 70 a fault of lavaflow, 130 interrupted. A user's mistake is one
readable message, never a traceback.
"""

import errno
import shlex
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from components.core.errors import LavaflowError
from components.core.logs import setup_logging
from workflows.convert_commands import convert_app
from workflows.data_commands import data_app
from workflows.evaluate_commands import evaluate_app
from workflows.home import open_home
from workflows.options import (
    AddressOption,
    ForceOption,
    FromOption,
    HomeOption,
    ModelOption,
    OnlyOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    TrackingOption,
)

console = Console()
errors = Console(stderr=True)

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


app.add_typer(data_app, name="data")
app.add_typer(convert_app)  # without a name: its commands stand beside those below
app.add_typer(evaluate_app)


@app.callback()
def _options(
    context: typer.Context,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show log lines and tracebacks.")
    ] = False,
) -> None:
    context.obj = {"verbose": verbose}
    setup_logging(1 if verbose else 0)


@app.command()
def run(
    recipe: RecipeArgument,
    assignments: SetOption = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the service up; end it with lavaflow stop.")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to use: auto or HOST:PORT. Default: a local one, stopped at the end.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port of the service.", show_default=False)
    ] = None,
    only: OnlyOption = None,
    from_: FromOption = None,
    force: ForceOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Run a recipe: data, two training stages, evaluation, registry, service.

    Finished steps are not repeated; the same command resumes after any interruption.
    """
    from workflows.run import Selection, run_recipe

    assigned = [*(assignments or []), *([f"serving.port={port}"] if port else [])]
    run_recipe(
        open_home(home, store, tracking),
        recipe,
        assigned,
        Selection(tuple(only or ()), from_, tuple(force or ())),
        address=address,
        keep=keep,
        command=_this_command(),
        console=console,
    )


@app.command()
def plan(
    recipe: RecipeArgument,
    assignments: SetOption = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which fields changed since the last run.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    gpu_memory_gb: Annotated[
        float | None,
        typer.Option(
            help="Memory of a GPU, such as 80: a training stage that cannot fit is an error.",
            min=1,
            show_default=False,
        ),
    ] = None,
    only: OnlyOption = None,
    from_: FromOption = None,
    force: ForceOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Show what a run would do with each step and why, without running anything.

    Below it: parameters, memory, arithmetic and hours of the training stages.
    """
    from workflows.run import Selection, plan_recipe
    from workflows.show import print_plan
    from workflows.stage_facts import check_memory, print_facts, read_facts

    planned = plan_recipe(
        open_home(home, store, tracking),
        recipe,
        assignments or [],
        Selection(tuple(only or ()), from_, tuple(force or ())),
    )
    facts = read_facts(recipe, assignments or [])
    print_plan(console, planned, explain=explain, as_json=as_json, memory=facts.to_json())
    if not as_json:
        print_facts(console, facts, gpu_memory_gb)
    check_memory(facts, gpu_memory_gb)


@app.command()
def recipes() -> None:
    """List the recipes."""
    from workflows.show import print_recipes

    print_recipes(console)


@app.command()
def status(
    address: AddressOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Show the running service, the steps in the store and who is running them."""
    from workflows.status import show_status

    show_status(open_home(home, store, tracking), address, console)


@app.command()
def submit(
    recipe: RecipeArgument,
    address: Annotated[
        str, typer.Option(help="Dashboard of the cluster's head, such as http://HEAD:8265.")
    ],
    assignments: SetOption = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Show the job's output until it ends.")
    ] = False,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Run a recipe as a job on a Ray cluster (started with ray start --head).

    The service stays up on the cluster when the job has ended. Submitting again resumes.
    """
    from workflows.submit import submit as submit_job

    where = open_home(home, store, tracking)
    code = submit_job(
        recipe,
        assignments or [],
        address=address,
        store=where.store_uri,
        tracking_uri=where.tracking_uri,
        follow=follow,
    )
    raise typer.Exit(code)


@app.command()
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
    address: AddressOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Make a version champion if the gate passes it, and roll the running service over to it."""
    from workflows.promote import promote_version

    promote_version(
        open_home(home, store, tracking),
        model,
        version,
        address=address,
        reason=reason,
        force=force,
        console=console,
    )


@app.command()
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
    from workflows.daily import scale_service

    scale_service(open_home(home), address, replicas, minimum, maximum, console)


@app.command()
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
        int | None, typer.Option(help="Port of the service (8000).", show_default=False)
    ] = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Serve a registered model; on this machine unless an address is given. Ends with lavaflow
    stop.
    """
    from workflows.daily import deploy_model

    deploy_model(open_home(home, store, tracking), reference, address, port, console)


@app.command()
def chat(
    image: Annotated[Path, typer.Argument(help="Picture file.", show_default=False)],
    question: Annotated[str, typer.Argument(help="What to ask about it.", show_default=False)],
    url: Annotated[
        str | None,
        typer.Option(help="Service. Default: the kept one, else port 8000.", show_default=False),
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Longest answer.", min=1)] = None,
    home: HomeOption = None,
) -> None:
    """Ask the running service a question about a picture."""
    from workflows.daily import chat_once

    chat_once(open_home(home), image, question, url, max_tokens)


@app.command()
def models(
    model: ModelOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """List registered models: versions, aliases, scores."""
    from workflows.daily import list_models

    list_models(open_home(home, store, tracking), model, console)


@app.command()
def pin(
    recipe: RecipeArgument,
    step: Annotated[str, typer.Argument(help="Step whose result is kept.")],
    key: Annotated[
        str | None,
        typer.Argument(help="Key of the result. Default: the present one.", show_default=False),
    ] = None,
    remove: Annotated[
        bool, typer.Option("--remove", help="Take the pins of the step away.")
    ] = False,
    assignments: SetOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Keep a step's result although code changed (an expensive checkpoint)."""
    from workflows.run import pin_step

    pin_step(
        open_home(home, store, tracking), recipe, assignments or [], step, key, remove, console
    )


@app.command()
def adopt(
    recipe: RecipeArgument,
    step: Annotated[str, typer.Argument(help="Step whose result this is.")],
    folder: Annotated[str, typer.Argument(help="Folder or URI with the step's output.")],
    record: Annotated[
        Path | None,
        typer.Option(
            help="JSON file with the artifact's fields; default: record.json beside the folder.",
            show_default=False,
        ),
    ] = None,
    assignments: SetOption = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Take something made elsewhere as a step's result; nothing is copied."""
    from workflows.run import adopt_output

    adopt_output(
        open_home(home, store, tracking), recipe, assignments or [], step, folder, record, console
    )


@app.command()
def stop(home: HomeOption = None) -> None:
    """Stop the service and the cluster that --keep or deploy left running on this machine."""
    from workflows.daily import stop_local

    stop_local(open_home(home), console)


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


def _this_command() -> str:
    """The command as typed, for the line that says how to resume."""
    return "lavaflow " + shlex.join(sys.argv[1:])


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
