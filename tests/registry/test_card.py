"""The form of the card. What it says of a real run is tested in tests/integration/test_chain.py."""

from components.registry.card import CardFacts, render_card
from components.registry.gate import GateConfig, decide
from components.registry.scores import ScoreRow

POPE = ScoreRow(
    benchmark="pope",
    percent=91.2,
    ci_low=89.0,
    ci_high=93.1,
    metric="f1",
    blind_percent=52.0,
    num_questions=500,
)


def test_a_score_stands_beside_its_interval_control_and_verdict():
    facts = CardFacts(model="m", recipe="r", scores=(POPE,))
    refused = decide([POPE], None, GateConfig(floors={"pope": 95.0}))
    lines = render_card(facts.with_(gate=refused)).splitlines()
    assert "| pope | f1 | 91.2 | 89.0 to 93.1 | 52.0 | +39.2 | 500 |" in lines
    assert "Gate: the version is refused." in lines
    assert "* pope: 91.2, the gate requires at least 95.0" in lines


def test_a_value_stays_in_its_cell():
    card = render_card(CardFacts(model="m", recipe="r", vision_tower="a|b\nc"))
    assert "| vision tower | a\\|b c |" in card.splitlines()


def test_absent_facts_make_no_section():
    card = render_card(CardFacts(model="m", recipe="r"))
    assert "## Training" not in card
    assert "## Licences" not in card
    assert "## Lineage" not in card
    assert "Not evaluated." in card
