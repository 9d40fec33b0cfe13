"""What a plan says about a step that will run."""

import io

from rich.console import Console

from workflows.show import MAX_MODULES, print_plan
from workflows.steps import PlannedStep
from workflows.steps.identity.payloads import Change, describe_changes


def explained(diff: list[Change]) -> list[str]:
    """Return the lines about the one step of a plan."""
    screen = Console(file=io.StringIO(), width=80)
    step = PlannedStep("finetune", "run", "changed", "key", diff, nearest_key="earlier")
    print_plan(screen, [step], explain=True, as_json=False)
    assert isinstance(screen.file, io.StringIO)
    text = screen.file.getvalue()
    return text[text.index("finetune differs from result earlier:") :].splitlines()[1:]


def test_a_changed_module_has_a_line_of_its_own() -> None:
    diff: list[Change] = [
        ("code.components.data.text_encoder", "ab", "cd"),
        ("code.components.data.words", "ab", None),
        ("code.workflows.hops:train_stage", None, "cd"),
        ("learning_rate", 2e-5, 1e-5),
    ]
    assert explained(diff) == [
        "  learning_rate: 2e-05 -> 1e-05",
        "  code components.data.text_encoder: changed",
        "  code components.data.words: gone",
        "  code workflows.hops:train_stage: new",
    ]
    assert describe_changes(diff) == (
        "learning_rate 2e-05 -> 1e-05, code components.data.text_encoder, "
        "code components.data.words and 1 more"
    )


def test_many_changed_modules_are_counted() -> None:
    lines = explained([(f"code.components.m{n:03}", "a", "b") for n in range(MAX_MODULES + 30)])
    assert lines[MAX_MODULES - 1 :] == [
        f"  code components.m{MAX_MODULES - 1:03}: changed",
        "  and code of 30 more modules",
    ]
