"""The model card: what a version is, from what, how good, how to load it. Markdown.

In: typed facts. Out: text, a pure function of them. It reads no file and no registry.
"""

from pydantic import Field

from components.core.config import Config
from components.registry.gate import GateReport
from components.registry.lineage import LineageNode, render_tree
from components.registry.scores import ScoreRow


class StageSummary(Config):
    """One training stage in a row."""

    name: str
    trained: tuple[str, ...]
    """Parts that learnt: connector, language_model, vision_tower."""
    num_steps: int = 0
    global_batch: int = 0
    learning_rate: float = 0.0
    precision: str = ""
    final_loss: float | None = None
    train_s: float | None = None
    """Wall-clock time, seconds."""


class DataSummary(Config):
    """One prepared data set in a row."""

    name: str
    num_rows: int
    num_rejected: int = 0
    digest: str = ""
    sources: dict[str, int] = {}
    """Rows per public source."""


class CardFacts(Config):
    """Everything the card says."""

    model: str
    recipe: str
    vision_tower: str = ""
    language_model: str = ""
    connector: str = ""
    num_parameters: int = 0
    checkpoint_uri: str = ""
    checkpoint_digest: str = ""
    code_version: str = ""
    created: str = ""
    """UTC, ISO 8601."""
    stages: tuple[StageSummary, ...] = ()
    data: tuple[DataSummary, ...] = ()
    scores: tuple[ScoreRow, ...] = ()
    gate: GateReport | None = None
    lineage: LineageNode | None = None
    intended_use: str = Field(
        default="Answering questions about images and describing them, for research and for "
        "services that check the answers. Not for decisions about people, medical or safety "
        "matters: it can name things that are not in the image."
    )
    licences: tuple[str, ...] = ()
    """Licences of the base models, as their folders state them."""


def render_card(facts: CardFacts) -> str:
    """Return the card in markdown."""
    sections = [
        _head(facts),
        _stages(facts),
        _data(facts),
        _scores(facts),
        _section("Intended use", facts.intended_use),
        _section("Licences", "\n".join(f"* {line}" for line in facts.licences)),
        _section("Lineage", f"```\n{render_tree(facts.lineage)}\n```" if facts.lineage else ""),
        _loading(facts),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _head(facts: CardFacts) -> str:
    opening = (
        "A vision-language model of the LLaVA-1.5 kind: a vision tower, a small connector and a "
        f"language model, trained by lavaflow's recipe `{facts.recipe}`."
    )
    rows = {
        "vision tower": facts.vision_tower,
        "connector": facts.connector,
        "language model": facts.language_model,
        "parameters": f"{facts.num_parameters:,}" if facts.num_parameters else "",
        "checkpoint": f"`{facts.checkpoint_uri}`" if facts.checkpoint_uri else "",
        "checkpoint digest": f"`{facts.checkpoint_digest}`" if facts.checkpoint_digest else "",
        "code version": facts.code_version,
        "made": facts.created,
    }
    table = [f"| {name} | {_cell(value)} |" for name, value in rows.items() if value]
    parts = [f"# {facts.model}", opening]
    if table:
        parts.append("\n".join(["| | |", "|---|---|", *table]))
    return "\n\n".join(parts)


def _stages(facts: CardFacts) -> str:
    rows = [
        "| stage | learns | steps | global batch | learning rate | precision | final loss | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for stage in facts.stages:
        loss = "-" if stage.final_loss is None else f"{stage.final_loss:.4f}"
        time = "-" if stage.train_s is None else f"{stage.train_s:.0f} s"
        rows.append(
            f"| {stage.name} | {', '.join(stage.trained)} | {stage.num_steps} | "
            f"{stage.global_batch} | {stage.learning_rate:g} | {stage.precision or '-'} | "
            f"{loss} | {time} |"
        )
    return _section("Training", "\n".join(rows) if facts.stages else "")


def _data(facts: CardFacts) -> str:
    rows = ["| data | rows | rejected | digest | sources |", "|---|---|---|---|---|"]
    for data in facts.data:
        sources = ", ".join(f"{name} {count:,}" for name, count in data.sources.items())
        rows.append(
            f"| {data.name} | {data.num_rows:,} | {data.num_rejected:,} | "
            f"`{data.digest[:12] or '-'}` | {_cell(sources) or '-'} |"
        )
    return _section("Data", "\n".join(rows) if facts.data else "")


def _scores(facts: CardFacts) -> str:
    if not facts.scores:
        return _section("Scores", "Not evaluated.")
    rows = [
        "| benchmark | metric | score | interval | other image | above other image | questions |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in facts.scores:
        interval = (
            "-"
            if row.ci_low is None or row.ci_high is None
            else f"{row.ci_low:.1f} to {row.ci_high:.1f}"
        )
        blind = "-" if row.blind_percent is None else f"{row.blind_percent:.1f}"
        above = "-" if row.blind_percent is None else f"{row.percent - row.blind_percent:+.1f}"
        value = "" if row.value is None else f" ({row.value:.1f})"
        rows.append(
            f"| {row.benchmark} | {row.metric or '-'} | {row.percent:.1f}{value} | {interval} | "
            f"{blind} | {above} | {row.num_questions or '-'} |"
        )
    confidence = {round(100 * row.confidence) for row in facts.scores}
    note = (
        "Scores are of 100 (a benchmark's own unit in brackets); intervals hold "
        f"{', '.join(str(each) for each in sorted(confidence))}%. The control *other image* "
        "asks each question with the image of another question: what is scored above it comes "
        "from looking."
    )
    body = "\n".join(rows) + "\n\n" + note
    if facts.gate is not None:
        answer = "passes" if facts.gate.passed else "is refused"
        body += f"\n\nGate: the version {answer}.\n\n" + facts.gate.table()
        body += "".join(f"\n* {reason}" for reason in facts.gate.reasons)
    return _section("Scores", body)


def _loading(facts: CardFacts) -> str:
    uri = facts.checkpoint_uri or "CHECKPOINT"
    return _section(
        "Loading",
        "The checkpoint is an ordinary Hugging Face folder of safetensors:\n\n"
        "```python\n"
        "from transformers import AutoProcessor, LlavaForConditionalGeneration\n\n"
        f'folder = "{uri}"  # copy it to a local disk first when it is remote\n'
        "model = LlavaForConditionalGeneration.from_pretrained(folder)\n"
        "processor = AutoProcessor.from_pretrained(folder)\n"
        "```\n\n"
        f"Served by lavaflow: `lavaflow deploy {facts.model}@champion`.",
    )


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}" if body else ""


def _cell(text: str) -> str:
    """Keep a value inside its table cell."""
    return text.replace("|", "\\|").replace("\n", " ")
