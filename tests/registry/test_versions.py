"""Versions in a real registry: what was registered is what is resolved; errors name what exists."""

import itertools

import pytest

from components.core.errors import RegistryError
from components.registry import names
from components.registry.lineage import LineageNode
from components.registry.scores import ScoreRow
from components.registry.tracking import MlflowTracker
from components.registry.versions import Registration, Registry

numbers = itertools.count()


@pytest.fixture
def registry(tracking_uri):
    return Registry(tracking_uri)


@pytest.fixture
def model():
    """A model name no other test uses."""
    return f"model-{next(numbers)}"


def registration(**more) -> Registration:
    return Registration(checkpoint_uri="s3://bucket/finetune/abc", checkpoint_digest="d1", **more)


def test_a_version_comes_back_as_it_was_registered(registry, model, tracking_uri, client):
    tracker = MlflowTracker(tracking_uri)
    tracker.start_run("tiny", {}, {})
    tracker.start_step("register", "k", {}, {})
    run_id = tracker.step_run_id("register")
    score = ScoreRow(benchmark="pope", percent=91.0, ci_low=89.0, ci_high=93.0, metric="f1")
    lineage = LineageNode(step="finetune", digest="d1", inputs={"raw": LineageNode(step="raw")})
    made = registry.register(
        model,
        registration(
            run_id=run_id,
            recipe="tiny",
            code_version="abc",
            scores=(score.with_(per_question={"q": 1.0}),),
            lineage=lineage,
            card="# card",
            tags={"team": "vision"},
        ),
    )
    tracker.finish_run("ok")
    assert (made.name, made.version, made.reference) == (model, 1, f"{model}/1")
    assert (made.uri, made.digest, made.run_id) == ("s3://bucket/finetune/abc", "d1", run_id)
    assert made.scores == (score,)
    assert made.lineage == lineage
    assert made.aliases == ("candidate",)
    assert made.tags[names.RECIPE] == "tiny"
    assert made.tags[names.SCORE + "pope"] == "91.0 [89.0, 93.0]"
    assert made.tags["team"] == "vision"
    stored = client.get_model_version(model, "1")
    assert stored.description == "# card"
    assert stored.source == "s3://bucket/finetune/abc"
    # The scores are on the run of the step, bound to the model that MLflow's UI shows.
    assert client.get_run(run_id).data.metrics == {"eval/pope/f1": 91.0}
    assert len(client.get_run(run_id).outputs.model_outputs) == 1


def test_registering_the_same_step_again_makes_no_second_version(registry, model):
    first = registry.register(model, registration(key="k1"))
    assert registry.register(model, registration(key="k1")) == first
    assert registry.register(model, registration(key="k2")).version == 2


def test_the_newest_version_is_the_candidate(registry, model):
    registry.register(model, registration())
    registry.register(model, registration())
    assert registry.resolve(f"{model}@candidate").version == 2
    assert registry.resolve(f"{model}/1").aliases == ()


@pytest.mark.parametrize(
    "form", ["{}/1", "{}/v1", "{}@candidate", "models:/{}/1", " {}@candidate "]
)
def test_the_forms_of_a_reference(registry, model, form):
    registry.register(model, registration())
    assert registry.resolve(form.format(model)).version == 1


@pytest.mark.parametrize("reference", ["tiny", "tiny@", "tiny/", "tiny/one", "a/b/1", "", "@x"])
def test_what_is_no_reference(registry, reference):
    with pytest.raises(RegistryError, match="expected NAME@ALIAS or NAME/VERSION"):
        registry.resolve(reference)


def test_an_unknown_model_version_or_alias_names_those_there_are(registry, model):
    registry.register(model, registration())
    registry.register(model, registration())
    with pytest.raises(RegistryError, match=rf"no model named 'nothing'.* models: .*{model}"):
        registry.resolve("nothing/1")
    with pytest.raises(RegistryError, match="has no version 7; versions: 1, 2"):
        registry.resolve(f"{model}/7")
    with pytest.raises(RegistryError, match="aliases: candidate -> 2; promote a version first"):
        registry.resolve(f"{model}@champion")


def test_a_name_that_mlflow_cannot_hold_is_refused(registry):
    with pytest.raises(RegistryError, match="model name 'a/b'"):
        registry.register("a/b", registration())


def test_aliases_move_and_go(registry, model):
    registry.register(model, registration())
    registry.register(model, registration())
    registry.set_alias(model, "champion", 1)
    registry.set_alias(model, "champion", 2)
    assert registry.alias(model, "champion").version == 2
    registry.remove_alias(model, "champion")
    registry.remove_alias(model, "champion")
    assert registry.alias(model, "champion") is None


def test_many_versions_are_listed_newest_first(registry, model, client):
    client.create_registered_model(model)
    for number in range(5):
        client.create_model_version(model, f"/store/{number}")
    assert [each.version for each in registry.versions(model)] == [5, 4, 3, 2, 1]
    assert registry.versions(model)[0].uri == "/store/4"  # one registered by other means


def test_a_model_without_versions(registry, model, client):
    client.create_registered_model(model)
    assert registry.versions(model) == []
    with pytest.raises(RegistryError, match="versions: none"):
        registry.resolve(f"{model}/1")


def test_a_registration_that_was_cut_off_before_its_alias_is_completed(registry, model, client):
    registry.register(model, registration(key="k1"))
    client.delete_registered_model_alias(model, names.CANDIDATE)
    assert registry.register(model, registration(key="k1")).aliases == (names.CANDIDATE,)


def test_registering_an_old_step_again_takes_no_alias_away(registry, model):
    registry.register(model, registration(key="k1"))
    registry.register(model, registration(key="k2"))
    assert registry.register(model, registration(key="k1")).aliases == ()
    assert registry.resolve(f"{model}@candidate").version == 2
