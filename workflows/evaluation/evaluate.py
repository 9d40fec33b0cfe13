"""Judges a model outside of a chain: any model that can be asked, on any of the benchmarks.

In: what names a model (a folder, an address, a registered version, a name on the hub, the URL of an
API), a raw folder with `eval/`, settings. Out: a folder per benchmark as the chain's steps write
them. A command that was interrupted goes on where it was; what is finished is found again.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from components.core.artifact import Artifact
from components.core.errors import ConfigError, DataError
from components.core.logs import format_duration
from components.core.store import Store, local_copy
from components.evaluation.benchmark import benchmark_names, get_benchmark
from components.evaluation.config import REPORT, BenchmarkScores, EvaluationConfig
from components.evaluation.scoring.score import SCORES
from components.evaluation.submissions import Written, get_submission, submission_folder
from components.evaluation.targets.checkpoint import Target
from components.registry.versions import Registry
from workflows.evaluation.subject import ModelUnderTest
from workflows.home import Home, api_key
from workflows.registration.references import names_version
from workflows.steps.identity.keys import canonical_json, payload_key, step_payload
from workflows.steps.identity.payloads import is_code, payload_changes

_RESUME = "resume"
_ASKED = "asked.json"
"""What a folder's answers depend on, as a step's payload; written last, so it vouches for the rest.
"""


def find_raw(home: Home, raw: str | None) -> Path:
    """Return the raw folder with the benchmarks: the one named, or the newest drawn world."""
    if raw is not None:
        path = Path(raw).expanduser()
        if not (path / "eval").is_dir():
            raise ConfigError(f"--raw {raw}: no folder eval there; it holds one per benchmark")
        return path
    store = Store(home.store_uri)
    records = []
    for key in store.list("raw"):
        try:
            records.append((store.read_json(f"raw/{key}/record.json"), key))
        except FileNotFoundError:
            continue
    if not records:
        raise ConfigError(
            "no benchmarks are known here: name a folder whose eval/ holds them with --raw, or "
            "draw the pocket world with `lavaflow run tiny --only raw`"
        )
    record, key = max(records, key=lambda pair: float(pair[0]["started_at"]))
    return store.local_copy(f"raw/{key}/{record['attempt']}/files")


def choose_benchmarks(raw: Path, wanted: Sequence[str]) -> list[str]:
    """Return the benchmarks asked for, or all whose files are there."""
    names = [name for each in wanted for name in each.split(",") if name]
    if names:
        return [get_benchmark(name).name for name in dict.fromkeys(names)]
    found = [
        name for name in benchmark_names() if (raw / "eval" / get_benchmark(name).folder).is_dir()
    ]
    if not found:
        raise DataError(f"{raw / 'eval'}: no folder of a benchmark; see the README for the layout")
    return found


def evaluate_model(
    home: Home,
    model: ModelUnderTest,
    raw: Path,
    config: EvaluationConfig,
    output: Path | None,
    force: bool,
    console: Console,
) -> tuple[Path, list[BenchmarkScores]]:
    """Return the folder of the results, with a page that shows them, and the scores."""
    from components.evaluation.evaluate import evaluate
    from components.evaluation.pages.report import write_report

    folder = output or _default_output(home, model, raw, config)
    target: Target | None = None
    scores = []
    for name in config.benchmarks:
        place = folder / name
        asked = _payload(name, evaluate_model, model, raw, config.for_benchmark(name))
        resume_path = place / f"{_RESUME}-{payload_key(asked)}"
        found = None if force else _finished(place, asked)
        if found is not None:
            console.print(f"= {name}  found in {place}", highlight=False, soft_wrap=True)
            scores.append(found)
            continue
        target = target or model.open(config)
        with _Shown(console, name) as shown:
            found = evaluate(
                config.for_benchmark(name),
                name,
                raw,
                target,
                place,
                resume_path,
                shown.move,
                judge_key=api_key,
            )
        (place / _ASKED).write_text(json.dumps(asked, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(resume_path, ignore_errors=True)
        scores.append(found)
    write_report([folder / name for name in config.benchmarks], folder / REPORT, model.name, raw)
    return folder, scores


def write_submission(
    name: str,
    model: ModelUnderTest,
    raw: Path,
    config: EvaluationConfig,
    output: Path | None,
    home: Home,
    console: Console,
) -> Written:
    """Ask a model what a benchmark's server keeps the answers of, and write the server's file.

    Answers of an interrupted run are not asked for again. Raises ConfigError for an unknown
    submission, DataError for files it cannot use or a file that the server would refuse.
    """
    from components.evaluation.resume import ResumeLog
    from components.evaluation.targets.asking import ask

    submission = get_submission(name)
    root = submission_folder(submission, raw)
    questions = submission.read(root)
    folder = _default_output(home, model, raw, config) / name
    path = output or folder / submission.file_name
    with _Shown(console, name) as shown:
        asked = config.for_benchmark(submission.benchmark)
        key = payload_key(_payload(name, write_submission, model, raw, asked))
        resume = ResumeLog(folder / f"{_RESUME}-{key}")
        target = model.open(config)
        answers = ask(target, {name: questions}, config.batch_size, resume, shown.move)[name]
    return submission.write(root, answers.items(), path)


def results_of(home: Home, side: str) -> tuple[list[Path], str]:
    """Return the result folders that a word names, and what to call them.

    A folder that `eval` wrote, or a registered version, whose results the chain has in its store.
    Raises ConfigError for a place without results, RegistryError for an unknown version.
    """
    if not names_version(side):
        place = Path(side).expanduser()
        return result_folders([place]), place.resolve().name
    version = Registry(home.tracking_uri).resolve(side)
    folders = [local_copy(row.uri) for row in version.scores if row.uri]
    if not folders:
        raise ConfigError(f"{version.reference} was registered without results")
    return folders, version.reference


def result_folders(places: Sequence[Path]) -> list[Path]:
    """Return the folders with answers, of the places themselves or one level below them.

    Raises ConfigError for a place without any.
    """
    from components.evaluation.scoring.score import PREDICTIONS

    found: list[Path] = []
    for place in places:
        here = (
            [place]
            if (place / PREDICTIONS).is_file()
            else sorted(path.parent for path in place.glob(f"*/{PREDICTIONS}"))
        )
        if not here:
            raise ConfigError(f"{place}: no {PREDICTIONS} there or one level below")
        found += here
    return found


def show_scores(console: Console, name: str, scores: Sequence[BenchmarkScores]) -> None:
    """Print the table of a model's scores, and what must be known beside it."""
    from components.evaluation.score_table import notes, score_table

    table = score_table(scores)
    table.title = f"{name}: scores, 0 to 100"
    console.print(table)
    for line in notes(scores):
        console.print(f"[dim]{escape(line)}[/]", highlight=False)


class _Shown:
    """Shows how far a benchmark is, and what it came to."""

    def __init__(self, console: Console, name: str) -> None:
        self._console, self._name = console, name
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_interactive,  # elsewhere it would leave empty lines
        )
        self._task = self._bars.add_task(name, total=None)

    def __enter__(self) -> "_Shown":
        self._started = time.monotonic()
        self._bars.start()
        return self

    def move(self, done: int, total: int) -> None:
        self._bars.update(self._task, completed=done, total=total)

    def __exit__(self, kind: type | None, *_: object) -> None:
        self._bars.stop()
        if kind is None:
            took = format_duration(time.monotonic() - self._started)
            self._console.print(f"+ {self._name}  done in {took}", highlight=False)


def _default_output(home: Home, model: ModelUnderTest, raw: Path, config: EvaluationConfig) -> Path:
    """Return a folder that the same question always leads to, whichever the benchmarks."""
    asked = _payload("evaluate", evaluate_model, model, raw, config.with_(benchmarks=()))
    question = {name: asked[name] for name in ("config", "inputs")}
    digest = hashlib.sha256(canonical_json(question)).hexdigest()[:8]
    return home.path / "evaluations" / f"{model.name}-{digest}"


def _payload(
    name: str,
    function: Callable[..., Any],
    model: ModelUnderTest,
    raw: Path,
    config: EvaluationConfig,
) -> dict[str, Any]:
    """Return what the answers depend on, in the form in which a step of a chain has it."""
    inputs = {"model": model.identity, "raw": str(raw.resolve())}
    artifacts = {name: Artifact(uri="", digest=digest) for name, digest in inputs.items()}
    return step_payload(name, function, config, artifacts)


def _finished(place: Path, asked: dict[str, Any]) -> BenchmarkScores | None:
    """Return the scores of a finished benchmark; what was cut short is asked again, and what other
    code has made.

    Raises ConfigError for results of another question: they are not overwritten unasked.
    """
    try:
        values = json.loads((place / SCORES).read_text(encoding="utf-8"))
        before = json.loads((place / _ASKED).read_text(encoding="utf-8"))
        found = BenchmarkScores.model_validate({"uri": "", "digest": "", **values})
    except (OSError, ValueError):
        return None
    changes = payload_changes(before, asked)
    for field, old, new in changes:
        if not is_code(field):
            raise ConfigError(
                f"{place} holds results with {field}={old}, not {new}; choose another --output, "
                "or ask anew with --force"
            )
    return found if not changes else None
