"""Results that are kept or taken although the chain did not just make them."""

import re
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import ArtifactError, ConfigError
from components.core.store import Store
from tests.workflows.steps.watching import MakeChain, actions
from workflows.steps import Chain, StepContext


def test_pin_bridges_code_but_not_config(make_chain: MakeChain, steps: Any) -> None:
    def build(version: int, learning_rate: float = 1e-3) -> Chain:
        def one(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
            return steps.Number(value=1)

        def two(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
            return steps.Number(value=2)

        chain = make_chain(empty=True)
        config = steps.Settings(learning_rate=learning_rate)
        chain.add("train", [one, two][version], config=config, returns=steps.Number)
        return chain

    build(0).run()
    changed = build(1)
    assert re.fullmatch(
        r"changed: code \S+<locals>.one, code \S+<locals>.two", changed.plan()[0].reason
    )
    key = changed.pin("train")
    assert "pinned to " + key in changed.plan()[0].reason
    assert changed.run()["train"].value == 1  # type: ignore[attr-defined] # a Number
    assert actions(build(1, learning_rate=0.5)) == {"train": "run"}
    assert changed.run(force=["train"])["train"].value == 2  # type: ignore[attr-defined] # a Number
    assert build(0).unpin("train") == [key]
    with pytest.raises(ConfigError, match="differs in code alone"):
        build(1, learning_rate=0.7).pin("train")


def test_a_damaged_pin_is_no_silent_rerun(make_chain: MakeChain, steps: Any) -> None:
    def three(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
        return steps.Number(value=3)

    def build(version: int) -> Chain:
        chain = make_chain(empty=True)
        chain.add(
            "s", [steps.source, three][version], config=steps.Settings(), returns=steps.Number
        )
        return chain

    made = build(0).run()["s"]
    build(1).pin("s")
    Path(made.uri, "value.txt").unlink()
    with pytest.raises(ArtifactError, match=r"pinned to .* missing value.txt"):
        build(1).run()


def test_adopt_a_folder_made_elsewhere(make_chain: MakeChain, steps: Any, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "value.txt").write_text("21")
    chain = make_chain()
    with pytest.raises(ConfigError, match="give its fields"):
        chain.adopt("source", str(folder))
    with pytest.raises(ConfigError, match="its input source has no result yet"):
        chain.adopt("left", str(folder), {"value": 1})
    adopted = chain.adopt("source", str(folder), {"value": 21})
    assert adopted.uri == str(folder)
    assert chain.run()["left"].value == 42  # type: ignore[attr-defined] # a Number
    with pytest.raises(ConfigError, match="has a result already"):
        chain.adopt("source", str(folder), {"value": 21})
    (folder / "value.txt").write_text("22")
    assert "altered value.txt" in chain.plan()[0].reason


def test_adopt_from_another_store(make_chain: MakeChain, tmp_path: Path) -> None:
    theirs = make_chain(store=Store(str(tmp_path / "theirs"))).run()["source"]
    adopted = make_chain().adopt("source", theirs.uri)
    assert (adopted.uri, adopted.digest) == (theirs.uri, theirs.digest)
    assert adopted == theirs
