"""What a person sees: whole lines in a log, tables that fit a terminal of 80 characters."""

import io
from pathlib import Path

from rich.console import Console

from tests.workflows.command_line import Lavaflow
from workflows import show
from workflows.artifacts import Deployment, SampleAnswer
from workflows.home import open_home
from workflows.run import StepChoice, plan_recipe


def test_a_plan_in_a_log_has_a_line_for_each_step(lavaflow: Lavaflow, tmp_path: Path) -> None:
    result = lavaflow("plan", "tiny", "--home", tmp_path)
    rows = [line.split(maxsplit=2) for line in result.stdout.splitlines() if " run " in line]
    assert [row[0] for row in rows][:3] == ["raw", "prepare-pretrain", "prepare-finetune"]
    assert rows[-2][2].strip() == "input finetune, evaluate-vqav2 and 13 more will run"


def test_the_tables_of_plan_and_recipes_fit_80_characters(tmp_path: Path) -> None:
    planned = plan_recipe(open_home(str(tmp_path)), "tiny", [], StepChoice())
    console = Console(file=io.StringIO(), width=80)
    show.print_plan(console, planned, explain=False, as_json=False)
    show.print_recipes(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    first_words = {line.split()[0] for line in text.splitlines() if line.strip()}
    assert {step.name for step in planned} <= first_words
    assert planned[0].key in text


def test_a_question_of_two_lines_is_told_in_one() -> None:
    console = Console(file=io.StringIO(), width=80)
    asked = SampleAnswer(image_path="/a.jpg", question="Is it red?\nOne word.", answer="yes")
    service = Deployment(
        uri="/s",
        digest="d",
        model_name="tiny",
        version=1,
        checkpoint_uri="/c",
        url="http://h",
        serves=True,
        answers=(asked,),
    )
    show._print_answers(console, service, fresh=True)
    assert "  question  Is it red? One word.\n" in console.file.getvalue()  # type: ignore[attr-defined]
