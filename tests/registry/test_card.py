"""The model card says what it was given, and nothing it was not."""

from components.registry.card import CardFacts, DataSummary, StageSummary, render_card
from components.registry.gate import GateConfig, decide
from components.registry.lineage import LineageNode
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
FACTS = CardFacts(
    model="lavaflow-tiny",
    recipe="tiny",
    checkpoint_uri="/store/finetune/abc",
    checkpoint_digest="d" * 64,
    num_parameters=3_200_000,
    stages=(
        StageSummary(
            name="pretrain",
            trained=("connector",),
            num_steps=400,
            global_batch=32,
            learning_rate=1e-3,
            final_loss=0.51234,
            train_s=70.4,
        ),
    ),
    data=(DataSummary(name="finetune", num_rows=20_000, num_rejected=3, sources={"vqav2": 9000}),),
    scores=(POPE,),
    gate=decide([POPE], None, GateConfig()),
    lineage=LineageNode(step="finetune", digest="f" * 64),
)


def test_every_fact_is_on_the_card():
    card = render_card(FACTS)
    for line in (
        "# lavaflow-tiny",
        "| parameters | 3,200,000 |",
        "| pretrain | connector | 400 | 32 | 0.001 | - | 0.5123 | 70 s |",
        "| finetune | 20,000 | 3 | `-` | vqav2 9,000 |",
        "| pope | f1 | 91.2 | 89.0 to 93.1 | 52.0 | +39.2 | 500 |",
        "Gate: the version passes.",
        'folder = "/store/finetune/abc"  # copy it to a local disk first when it is remote',
    ):
        assert line in card.splitlines()
    assert card.isascii()


def test_the_same_facts_give_the_same_card():
    assert render_card(FACTS) == render_card(CardFacts.model_validate_json(FACTS.model_dump_json()))


def test_absent_facts_make_no_section():
    card = render_card(CardFacts(model="m", recipe="r"))
    assert "## Training" not in card
    assert "## Lineage" not in card
    assert "Not evaluated." in card
