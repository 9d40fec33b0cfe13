"""What a person sees: headings, plans, times, scores, answers, what to try next.

In: records of a run. Out: lines and tables on a rich console. Decides and computes nothing.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from components.core.artifact import Artifact
from components.core.logs import format_duration, new_table
from components.evaluation.config import REPORT, BenchmarkScores
from workflows.artifacts import Deployment, RegisteredVersion
from workflows.home import Home
from workflows.pipeline import Pipeline
from workflows.recipes import RECIPES, get_recipe
from workflows.steps import PlannedStep
from workflows.steps.identity.payloads import CODE

MAX_MODULES = 12
"""Changed modules of a step that `plan --explain` names."""

ACTION_STYLES = {"run": "yellow", "wait": "cyan", "skip": "green"}


@dataclass(frozen=True)
class StepTime:
    """How a step came to its result: `ran` now, or `found` with the time it once took."""

    step: str
    how: str
    seconds: float


def print_heading(console: Console, recipe: str, store_uri: str, tracking_uri: str) -> None:
    """Say what runs and where its results go."""
    console.print(f"[bold]lavaflow run {recipe}[/]")
    console.print(f"  store     {store_uri}", highlight=False, soft_wrap=True)
    console.print(f"  registry  {tracking_uri}", highlight=False, soft_wrap=True)


def print_recipes(console: Console) -> None:
    """List the recipes with a line each."""
    table = new_table("Recipes")
    table.add_column("name", no_wrap=True)
    table.add_column("what it makes")
    for name in RECIPES:
        table.add_row(name, get_recipe(name).description)
    table.add_row("tiny_base", "The tiny vision tower and language model that `tiny` starts from")
    console.print(table)


def print_plan(
    console: Console,
    planned: Sequence[PlannedStep],
    *,
    explain: bool,
    as_json: bool,
    memory: Mapping[str, Any] | None = None,
) -> None:
    """Show what each step would do and why; with `explain` the fields that changed.

    As JSON, a step that `memory` knows carries what stands there.
    """
    if as_json:
        rows = [{k: v for k, v in asdict(step).items() if k != "artifact"} for step in planned]
        for row in rows:
            if memory and row["name"] in memory:
                row["memory"] = memory[row["name"]]
        console.file.write(json.dumps(rows, indent=2, default=str) + "\n")
        return
    table = new_table("Plan")
    table.add_column("step", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("why")
    table.add_column("key", no_wrap=True)
    for step in planned:
        style = ACTION_STYLES[step.action]
        table.add_row(step.name, f"[{style}]{step.action}[/]", escape(step.reason), step.key)
    console.print(table)
    if explain:
        _print_differences(console, planned)


def print_report(
    console: Console,
    recipe: Any,
    parts: Pipeline | None,
    artifacts: Mapping[str, Artifact],
    times: Sequence[StepTime],
    home: Home,
    service_url: str | None,
    run_id: str,
    on_cluster: bool = False,
) -> None:
    """Close a run: scores, times, version, answers, and what to try next."""
    console.print()
    if parts is not None:
        scores = [artifacts[each.step] for each in parts.scores if each.step in artifacts]
        _print_scores(console, [each for each in scores if isinstance(each, BenchmarkScores)])
    _print_times(console, times)
    if parts is None:
        for name, artifact in artifacts.items():
            console.print(f"{name}: {artifact.uri}", highlight=False, soft_wrap=True)
        return
    version, service = artifacts.get(parts.version.step), artifacts.get(parts.service.step)
    if isinstance(version, RegisteredVersion):
        _print_version(console, version)
    if isinstance(service, Deployment):
        _print_answers(
            console, service, fresh=any(t.step == "deploy" and t.how == "ran" for t in times)
        )
        _print_next(console, service, home, service_url, on_cluster)


def _print_differences(console: Console, planned: Sequence[PlannedStep]) -> None:
    explained = False
    for step in planned:
        if step.action != "run" or not step.diff:
            continue
        explained = True
        console.print(f"\n[bold]{step.name}[/] differs from result {step.nearest_key}:")
        code = [change for change in step.diff if change[0].startswith(CODE)]
        for field, old, new in step.diff:
            if not field.startswith(CODE):
                text = f"{field}: {_short(old)} -> {_short(new)}"
                console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)
        for field, old, new in code[:MAX_MODULES]:
            how = "new" if old is None else "gone" if new is None else "changed"
            text = f"code {field.removeprefix(CODE)}: {how}"
            console.print(f"  {escape(text)}", highlight=False, soft_wrap=True)
        if len(code) > MAX_MODULES:
            console.print(f"  and code of {len(code) - MAX_MODULES} more modules", highlight=False)
    if not explained:
        console.print("No step has an earlier result that differs.")


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _print_scores(console: Console, scores: Sequence[BenchmarkScores]) -> None:
    from components.evaluation.score_table import notes, score_table

    if not scores:
        return
    console.print(score_table(scores))
    for line in notes(scores):
        console.print(f"[dim]{escape(line)}[/]", highlight=False)
    console.print(
        "[dim]other image: each question with the image of another question. "
        "published: LLaVA-1.5-7B on the real benchmarks.[/]\n"
    )


def _print_times(console: Console, times: Sequence[StepTime]) -> None:
    table = new_table("Steps")
    table.add_column("step", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for row in times:
        how = "made now" if row.how == "ran" else "found (time when it was made)"
        table.add_row(row.step, how, format_duration(row.seconds))
    console.print(table)


def _print_version(console: Console, version: RegisteredVersion) -> None:
    gate = (
        "gate passed" if version.gate_passed else "gate refused: " + "; ".join(version.gate_reasons)
    )
    standing = (
        "made champion (it is the first)" if version.is_champion else "registered as candidate"
    )
    console.print(
        f"\n[bold]Model[/] {version.model_name} version {version.version}: {standing}; "
        f"{escape(gate)}",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"  to look at  {version.uri}/{REPORT}", highlight=False, soft_wrap=True)


def _print_answers(console: Console, service: Deployment, fresh: bool) -> None:
    when = "asked over HTTP just now" if fresh else "asked over HTTP when it was deployed"
    console.print(f"\n[bold]Answers of version {service.version}[/] ({when}, {service.url})")
    for sample in service.answers:
        console.print(f"  image     {sample.image_path}", highlight=False, soft_wrap=True)
        question = sample.question.replace("\n", " ")
        console.print(f"  question  {escape(question)}", highlight=False, soft_wrap=True)
        console.print(
            f"  answer    [bold]{escape(sample.answer)}[/]\n", highlight=False, soft_wrap=True
        )


def _print_next(
    console: Console, service: Deployment, home: Home, service_url: str | None, on_cluster: bool
) -> None:
    image = service.answers[-1].image_path if service.answers else "IMAGE"
    options = "" if home.default_addresses else f" --store {home.store_uri}"
    there = " --address http://HEAD:8265" if on_cluster else ""
    lines = []
    console.print("[bold]Try next[/]")
    if service_url:
        console.print(f"  the service is up at {service_url}", highlight=False, soft_wrap=True)
        if not service.serves:
            lines.append(f"lavaflow promote {service.version}{there}")
    else:
        lines.append(f"lavaflow deploy {service.model_name}{options}{there}")
    lines += [
        f'lavaflow chat {image} "What is in this image?"',
        f"lavaflow scale --replicas 2{there}" + ("" if service_url else "   (while it is up)"),
        "lavaflow models",
    ]
    if home.tracking_uri.startswith("http"):
        lines.append(f"a browser at {home.tracking_uri}")
    else:
        lines.append(f"mlflow ui --backend-store-uri {home.tracking_uri}")
    if not on_cluster:
        lines.append("lavaflow stop")
    for line in lines:
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
