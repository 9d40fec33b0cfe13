"""The commands that judge models: `lavaflow eval`, `score`, `compare` and `submission`.

In: options of the command line. Out: tables on the terminal, folders with every answer. The work is
in `workflows/evaluation/evaluate.py` and the evaluation floor, imported when a command runs.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from components.core.logs import open_console
from workflows.commands.options import HomeOption, StoreOption, TrackingOption
from workflows.commands.quiet import quieten_transformers
from workflows.home import open_home

if TYPE_CHECKING:
    from components.evaluation.config import JudgeConfig

console = open_console()

JudgedArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="Folder, s3:// address, NAME@ALIAS, NAME/VERSION, organisation/name on the hub, "
        "or http(s)://HOST of an OpenAI-compatible API.",
        show_default=False,
    ),
]
RawOption = Annotated[
    str | None,
    typer.Option(
        help="Folder whose eval/ holds the benchmarks. Default: the drawn pocket world.",
        show_default=False,
    ),
]
BatchOption = Annotated[int, typer.Option(help="Questions answered at a time.", min=1)]
DtypeOption = Annotated[
    Literal["float32", "bfloat16", "float16"], typer.Option(help="Numbers of the weights.")
]
ApiModelOption = Annotated[
    str | None,
    typer.Option(
        help="Model of an API that has several. The key is read from OPENAI_API_KEY.",
        show_default=False,
    ),
]


def judge_at(url: str, model: str) -> "JudgeConfig":
    """Return the settings of a judge; raises ConfigError for an address that is none."""
    from components.core.config import parse
    from components.evaluation.config import JudgeConfig

    return parse(JudgeConfig, {"base_url": url, "model": model}, where="--judge-url")


def eval_(
    model: JudgedArgument,
    benchmarks: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmarks",
            "-b",
            help="Such as pope,mme. Default: all whose files are there.",
            show_default=False,
        ),
    ] = None,
    raw: RawOption = None,
    limit: Annotated[
        int, typer.Option(help="About so many questions of each benchmark; 0 for all.", min=0)
    ] = 0,
    batch_size: BatchOption = 32,
    dtype: DtypeOption = "float32",
    blind: Annotated[
        bool, typer.Option(help="The control other image: ask again with another's image.")
    ] = True,
    text_only: Annotated[
        bool, typer.Option("--text-only", help="The control no image: ask again with words alone.")
    ] = False,
    judge_url: Annotated[
        str | None,
        typer.Option(
            help="OpenAI-compatible API whose model grades LLaVA-Bench and MM-Vet. Without one an "
            "offline proxy stands in, which is marked as not comparable.",
            show_default=False,
        ),
    ] = None,
    judge_model: Annotated[
        str, typer.Option(help="The judge, by its full name: gpt-4-0613.")
    ] = "gpt-4-0613",
    seed: Annotated[int, typer.Option(help="Of the draw, the shuffle and the intervals.")] = 0,
    api_model: ApiModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the results. Default: below .lavaflow/evaluations.",
            show_default=False,
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Ask anew although there are results.")
    ] = False,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Judge any model on the benchmarks; the same command goes on after an interruption."""
    from components.evaluation.config import REPORT, EvaluationConfig
    from workflows.evaluation import evaluate
    from workflows.evaluation.subject import find_model

    quieten_transformers()
    where = open_home(home, store, tracking)
    judged = find_model(where, model, api_model)
    folder = evaluate.find_raw(where, raw)
    config = EvaluationConfig(
        benchmarks=tuple(evaluate.choose_benchmarks(folder, benchmarks or [])),
        limit=limit,
        batch_size=batch_size,
        dtype=dtype,
        blind_control=blind,
        text_only_control=text_only,
        judge=None if judge_url is None else judge_at(judge_url, judge_model),
        seed=seed,
    )
    results, scores = evaluate.evaluate_model(where, judged, folder, config, output, force, console)
    evaluate.show_scores(console, judged.name, scores)
    console.print(f"every answer: {results}", highlight=False, soft_wrap=True)
    console.print(f"to look at:   {results / REPORT}", highlight=False, soft_wrap=True)


def score(
    folders: Annotated[
        list[Path],
        typer.Argument(
            help="Folder of results, or one that holds such folders.", show_default=False
        ),
    ],
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
) -> None:
    """Compute scores anew from the answers that were written, without a model.

    Of several models (as trained with several seeds) also mean and deviation.
    """
    from components.evaluation.scoring.score import score_predictions
    from components.evaluation.scoring.seeds import seeds_table, summarise_seeds
    from workflows.evaluation import evaluate

    places = evaluate.result_folders(folders)
    found = [score_predictions(place, seed=seed) for place in places]
    evaluate.show_scores(console, "from the answers", found)
    groups: dict[str, list[Path]] = {}
    for place, row in zip(places, found, strict=True):
        groups.setdefault(row.benchmark, []).append(place)
    several = [summarise_seeds(group) for group in groups.values() if len(group) > 1]
    if several:
        console.print(seeds_table(several))


def compare(
    a: Annotated[
        str,
        typer.Argument(
            help="Folder of results that eval wrote, or NAME@ALIAS, NAME/VERSION.",
            show_default=False,
        ),
    ],
    b: Annotated[str, typer.Argument(help="The same, of the other.", show_default=False)],
    changed: Annotated[
        int, typer.Option(help="Show so many changed questions of each kind.", min=0)
    ] = 5,
    page: Annotated[
        Path | None,
        typer.Option(help="Write an HTML page with the changed questions.", show_default=False),
    ] = None,
    raw: RawOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Compare two models question by question: difference, interval, significance."""
    from components.evaluation.pages.comparison import write_comparison
    from components.evaluation.scoring.comparison import (
        changed_table,
        compare_models,
        comparison_table,
    )
    from workflows.evaluation import evaluate

    where = open_home(home, store, tracking)
    (a_folders, a_name), (b_folders, b_name) = (evaluate.results_of(where, side) for side in (a, b))
    found = compare_models(a_folders, b_folders, a_name, b_name, seed=seed)
    if as_json:
        sys.stdout.write(json.dumps(found.model_dump(mode="json")) + "\n")
    else:
        console.print(comparison_table(found))
        for row in found.rows:
            if changed and (row.gained or row.lost):
                console.print(changed_table(row, changed))
    if page is not None:
        shown = evaluate.find_raw(where, raw) if raw is not None else None
        write_comparison(found, page, shown)


def submission(
    name: Annotated[str, typer.Argument(help="Such as vqav2-test-dev; a wrong name lists all.")],
    model: JudgedArgument,
    raw: RawOption = None,
    batch_size: BatchOption = 32,
    dtype: DtypeOption = "float32",
    api_model: ApiModelOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="File to write. Default: below .lavaflow/evaluations.", show_default=False
        ),
    ] = None,
    store: StoreOption = None,
    tracking: TrackingOption = None,
    home: HomeOption = None,
) -> None:
    """Answer a benchmark whose server keeps the right answers, and write the file it takes."""
    from components.evaluation.config import EvaluationConfig
    from components.evaluation.submissions import get_submission
    from workflows.evaluation import evaluate
    from workflows.evaluation.subject import find_model

    quieten_transformers()
    server = get_submission(name).server
    where = open_home(home, store, tracking)
    judged = find_model(where, model, api_model)
    config = EvaluationConfig(batch_size=batch_size, dtype=dtype)
    folder = evaluate.find_raw(where, raw)
    written = evaluate.write_submission(name, judged, folder, config, output, where, console)
    empty = f", {written.num_missing:,} of them empty" if written.num_missing else ""
    console.print(
        f"{written.path}: {written.num_rows:,} answers{empty}, for {server}",
        highlight=False,
        soft_wrap=True,
    )
