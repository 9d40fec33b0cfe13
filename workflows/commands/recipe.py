"""The commands about recipes: run one, here or as a job; see what a run would do; keep or take the
results of its steps.

In: a recipe's name and options. Out: one call into the module that does the work, which is imported
when a command runs, so that help stays fast. `cli.py` gives the commands their order.
"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from components.core.logs import open_console
from workflows.commands.options import (
    ForceOption,
    FromOption,
    HomeOption,
    OnlyOption,
    RecipeArgument,
    SetOption,
    StoreOption,
    TrackingOption,
)
from workflows.home import open_home

console = open_console()


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
    from workflows.run import StepChoice, run_recipe

    assigned = [*(assignments or []), *([f"serving.port={port}"] if port else [])]
    run_recipe(
        open_home(home, store, tracking),
        recipe,
        assigned,
        StepChoice(tuple(only or ()), from_, tuple(force or ())),
        address=address,
        keep=keep,
        command=_this_command(),
        console=console,
    )


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
            help="Memory of a GPU, such as 80: shows the micro-batch that fits; a training stage "
            "that cannot fit is an error.",
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
    from workflows.run import StepChoice, plan_recipe
    from workflows.show import print_plan
    from workflows.stage_facts import check_memory, print_facts, read_facts

    planned = plan_recipe(
        open_home(home, store, tracking),
        recipe,
        assignments or [],
        StepChoice(tuple(only or ()), from_, tuple(force or ())),
    )
    facts = read_facts(recipe, assignments or [], gpu_memory_gb)
    print_plan(console, planned, explain=explain, as_json=as_json, memory=facts.to_json())
    if not as_json:
        print_facts(console, facts, gpu_memory_gb)
    check_memory(facts, gpu_memory_gb)


def recipes() -> None:
    """List the recipes."""
    from workflows.show import print_recipes

    print_recipes(console)


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
    from workflows.cluster.submit import submit as submit_job

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


def _this_command() -> str:
    """The command as typed, for the line that says how to resume."""
    return "lavaflow " + shlex.join(sys.argv[1:])
