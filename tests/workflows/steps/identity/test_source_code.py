"""A key holds the code that makes the result: all that a step imports, and nothing else.

The reference for what is imported is the graph of grimp, on which import-linter stands.
"""

import ast
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grimp
import pytest

from components.core.artifact import Artifact
from components.core.errors import ConfigError
from components.core.store import Store
from workflows import hops, pipeline
from workflows.base import BaseParts
from workflows.recipes.tiny import tiny
from workflows.steps import Chain
from workflows.steps.graph import Node
from workflows.steps.identity import source_cache, source_code, unwatched
from workflows.steps.identity.keys import encode
from workflows.steps.identity.source_code import ROOT, code_digests, module_facts
from workflows.steps.identity.unwatched import UNWATCHED, is_unwatched
from workflows.tiny_base.chain import add_tiny_base, tiny_base_recipe

# What each step function imports itself: read off its source by hand.
IMPORTED = {
    "draw_world": ["components.data.pocket.world", "components.data.pocket.config"],
    "prepare_data": [
        "components.data.config",
        "components.data.prepare.parts",
        "components.data.prepare.passes",
        "components.data.prepare.ray_map",
        "components.model.folders",
        "components.model.tokenizer",
        "components.model.tower",
        "workflows.base",
    ],
    "train_stage": [
        "components.training.config",
        "components.training.trainer",
        "workflows.base",
    ],
    "evaluate_benchmark": [
        "components.data.pocket.config",
        "components.evaluation.config",
        "components.evaluation.evaluate",
        "components.evaluation.targets.pool",
        "components.training.config",
    ],
    "register_version": [
        "components.data.pocket.config",
        "components.evaluation.config",
        "components.evaluation.targets.actor_names",
        "workflows.artifacts",
        "workflows.registration.register",
    ],
    "deploy_version": [
        "components.data.pocket.config",
        "components.serving.client",
        "components.serving.service.rollout",
        "workflows.artifacts",
        "workflows.service.samples",
    ],
    "build_base": [
        "components.core.artifact",
        "workflows.tiny_base.build",
        "workflows.tiny_base.config",
    ],
}
BENCHMARKS = "components.evaluation.benchmarks"
KINDS = ["pope"]


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leave the user's folder alone."""
    cache = source_cache.SourceCache(tmp_path_factory.mktemp("cache") / "facts", module_facts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_code, "user_cache", lambda read: cache)
        yield


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Node]:
    """All steps of the tiny recipe and the one of the tiny base, by name."""
    chain = Chain(Store(str(tmp_path_factory.mktemp("store"))), "tiny")
    base = BaseParts(
        uri="", digest="x", vision_tower="", language_model="", connector="", feature_layer=-2,
        select="",
    )  # fmt: skip
    pipeline.build(chain, tiny(), base, None, "sqlite://")
    add_tiny_base(chain, tiny_base_recipe())
    return chain._nodes


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    found = grimp.build_graph(
        *source_code.PACKAGES, exclude_type_checking_imports=True, cache_dir=None
    )
    # What no parser sees: Ray Serve is given this module's name as a text.
    found.add_import(
        importer="components.serving.service.rollout", imported="components.serving.service.replica"
    )
    for module in list(found.modules):
        if is_unwatched(module):
            found.remove_module(module)
    return found


def code(node: Node, root: Path = ROOT) -> dict[str, str]:
    return code_digests(node.function, encode(node.config), root)


def with_packages(modules: set[str]) -> set[str]:
    return {
        ".".join(module.split(".")[:count])
        for module in modules
        for count in range(1, module.count(".") + 2)
    }


def test_all_that_a_step_imports_is_in_its_key(
    nodes: dict[str, Node], graph: grimp.ImportGraph
) -> None:
    for name, node in nodes.items():
        starts = set(IMPORTED[node.function.__name__])
        if name.startswith("evaluate-"):
            starts.add(f"{BENCHMARKS}.{name.removeprefix('evaluate-')}")
        if name == "register":
            starts |= graph.find_children(BENCHMARKS)
        expected = starts.union(*(graph.find_upstream_modules(start) for start in starts))
        found = {one for one in code(node) if ":" not in one and "/" not in one}
        # The package around the step layer, which itself is not watched.
        assert found == with_packages(expected) | {"workflows"}, name


def test_the_faults_of_lists_kept_by_hand_are_gone(nodes: dict[str, Node]) -> None:
    evaluate, prepare, train = (
        set(code(nodes[name])) for name in ("evaluate-pope", "prepare-finetune", "finetune")
    )
    assert all("components.data.text_encoder" in one for one in (evaluate, prepare, train))
    assert {"components.data.loader.image_cache", "components.data.raw.containers"} <= train
    assert not any(one.startswith("components.training.planning") for one in train)
    assert not any(one.startswith("components.evaluation.pages") for one in evaluate)
    assert "components.model.convert.importing" not in evaluate
    assert not any(one.startswith("components.data.gallery") for one in prepare)
    assert not any(one.startswith("components.data.pocket") for one in prepare)


def test_of_its_own_module_a_step_holds_what_it_uses(nodes: dict[str, Node]) -> None:
    found = {one for one in code(nodes["evaluate-gqa"]) if ":" in one}
    assert found == {
        f"workflows.hops:{one}" for one in ("evaluate_benchmark", "_raw_with_benchmarks")
    }


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source that may be edited."""
    root = tmp_path_factory.mktemp("tree")
    ignored = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.json")
    for package in source_code.PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=ignored)
    return root


@pytest.fixture(scope="module")
def rekeyed(nodes: dict[str, Node], copy: Path) -> Callable[..., set[str]]:
    """Return a function that edits a file of the copy, and names the steps whose keys change."""
    before = {name: code(node, copy) for name, node in nodes.items()}

    def edit(path: str, pattern: str, new: str) -> set[str]:
        file = copy / path
        old = file.read_bytes()
        text, count = re.subn(pattern, lambda _: new, old.decode("latin-1"), count=1, flags=re.S)
        assert count == 1, f"{path} has no {pattern}"
        try:
            file.write_bytes(text.encode("latin-1"))
            return {name for name, node in nodes.items() if code(node, copy) != before[name]}
        finally:
            file.write_bytes(old)

    return edit


@pytest.mark.parametrize(
    ("path", "pattern", "new"),
    [
        ("components/evaluation/pages/report.py", r"\Z", "\nCOLOUR = 3\n"),
        ("components/data/gallery/page.py", r"\Z", "\nCOLOUR = 3\n"),
        ("components/training/planning/memory.py", r"\Z", "\nRESERVE = 3\n"),
        ("components/core/logs.py", r"\Z", "\nWIDTH = 3\n"),
        ("workflows/steps/running/scheduler.py", r"\Z", "\nTICKS = 3\n"),
        ("workflows/recipes/llava15.py", r"\Z", "\nEXTRA = 3\n"),
        ("components/training/loop.py", r'\A"""[^\n]*', '"""Other words.'),
        ("components/data/tokens.py", r"\Z", "\n# A comment.\n"),
        ("components/data/config.py", r'"""Channel means[^"]*"""', '"""Means."""'),
        ("components/model/tower.py", r'(?<=Error\(\n)\s+f"[^\n]*"', 'f"no"'),
        ("components/data/records.py", r'BadRecord\("no human turn"\)', 'BadRecord("nobody")'),
        ("workflows/hops.py", r'"""Step function of `evaluate-\*`', '"""The step'),
    ],
)
def test_what_is_for_people_changes_no_key(
    rekeyed: Callable[..., set[str]], path: str, pattern: str, new: str
) -> None:
    assert rekeyed(path, pattern, new) == set()


def test_what_makes_a_result_changes_its_key_and_no_other(
    rekeyed: Callable[..., set[str]], nodes: dict[str, Node]
) -> None:
    def edited(path: str, pattern: str = r"\Z", new: str = "\nCHANGED = 1\n") -> set[str]:
        return rekeyed(path, pattern, new)

    prepares = {"prepare-pretrain", "prepare-finetune"}
    trains = {"pretrain", "finetune"}
    evaluates = {name for name in nodes if name.startswith("evaluate-")}
    assert len(evaluates) == 13
    text = edited("components/data/text_encoder.py")
    assert text == {*prepares, *trains, *evaluates, "deploy", "tiny-base"}
    assert edited("components/data/loader/image_cache.py") == trains
    assert edited("components/data/pocket/world.py") == {"raw"}
    assert edited("components/data/pocket/scenes/sprites.png", r"\A", "x") == {"raw", "tiny-base"}
    assert edited("components/data/prepare/passes.py") == prepares
    assert edited("components/evaluation/benchmarks/pope.py") == {"evaluate-pope", "register"}
    assert edited("components/evaluation/controls.py") == evaluates
    assert edited("components/registry/gate.py") >= {"register"}
    assert edited("components/serving/service/replica.py") == {"deploy"}
    assert edited("components/serving/engine/batching.py") == {"deploy"}
    assert edited("workflows/tiny_base/vision.py") == {"tiny-base"}
    helper = edited("workflows/hops.py", r'local_copy\("eval"\)', 'local_copy("tests")')
    assert helper == {*evaluates, "register", "deploy"}
    assert edited("workflows/hops.py", r"write_world\(config", "write_world(None") == {"raw"}


def test_each_entry_of_the_list_is_there_and_is_reached(
    nodes: dict[str, Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_code, "is_unwatched", lambda module: False)
    reached = set().union(*(code(node) for node in nodes.values()))
    for module, reason in UNWATCHED.items():
        place = ROOT.joinpath(*module.split("."))
        assert place.is_dir() or place.with_suffix(".py").is_file(), f"{module} is gone"
        assert module in reached, f"no step reaches {module}"
        assert reason
    assert not is_unwatched("components.core.errors_of_others")
    assert is_unwatched("workflows.steps.chain") == ("workflows.steps" in unwatched.UNWATCHED)


def test_no_constant_of_the_list_gets_into_a_result(nodes: dict[str, Node]) -> None:
    """What decides a result may not stand in a module that is not watched."""
    reached = set().union(*(code(node) for node in nodes.values()))
    taken = {
        alias.name
        for module in reached
        if (path := source_code._module_path(module, ROOT)) is not None
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and is_unwatched(node.module or "")
        for alias in node.names
        if alias.name.isupper()
    }
    assert taken == {"CACHE_FOLDER"}  # a place


def test_no_import_and_no_file_is_reached_in_another_way(nodes: dict[str, Node]) -> None:
    """A new way to import or to open what lies beside the code must be taught to `source_code`."""
    reached = set().union(*(code(node) for node in nodes.values()))
    importers, openers = set(), set()
    for module in sorted(one for one in reached if not re.search("[:/]", one)):
        path = source_code._module_path(module, ROOT)
        assert path is not None
        source = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(source)):
            name = getattr(node, "attr", getattr(node, "id", ""))
            if name in ("import_module", "__import__", "find_spec", "spec_from_file_location"):
                importers.add(module)
            opened = ("__file__", "PackageLoader", "get_data")
            if name in opened or getattr(node, "module", "") == "importlib.resources":
                openers.add(module)
    assert importers == {
        "components.evaluation.benchmark",  # f"{BENCHMARKS}.{name}"
        "components.evaluation.submissions",  # the same
        "components.training.engines.deepspeed_engine",  # deepspeed
    }
    assert openers == {
        "components.data.pocket.scenes.scene",  # sprites.png
        "workflows.registration.register",  # where git is asked for the version of the code
    }


def test_a_function_outside_the_project_counts_by_what_it_uses() -> None:
    def one(config: Any, inputs: Any, context: Any) -> Artifact:
        return Artifact()

    def two(config: Any, inputs: Any, context: Any) -> list[str]:
        return list(BENCHMARKS + KINDS[0])

    here = test_a_function_outside_the_project_counts_by_what_it_uses.__qualname__
    first, second = code_digests(one, {}), code_digests(two, {})
    assert f"{__name__}:{here}.<locals>.one" in first
    assert "components.core.artifact" in first
    assert {f"{__name__}:{name}" for name in ("KINDS", "BENCHMARKS")} <= set(second)
    assert "components.core.artifact" not in second
    for wrong in (len, lambda config: config):
        with pytest.raises(ConfigError, match="has no source file; define it with `def`"):
            code_digests(wrong, {})


def test_source_with_an_error_is_named(rekeyed: Callable[..., set[str]]) -> None:
    with pytest.raises(ConfigError, match=r"tokens.py:\d+: not Python .* mend it"):
        rekeyed("components/data/tokens.py", r"\Z", "\ndef broken(:\n")


def test_a_name_of_its_own_is_not_the_module_s(nodes: dict[str, Node]) -> None:
    """`raw` is a parameter of the helper and a function of the module."""
    assert callable(hops.raw)
    assert "workflows.hops:raw" not in code(nodes["evaluate-pope"])


def test_kept_facts_are_found_again_and_only_for_equal_source(tmp_path: Path) -> None:
    asked: list[bytes] = []

    def read(source: bytes) -> source_cache.SourceFacts:
        asked.append(source)
        return module_facts(source)

    def ask(*sources: bytes) -> list[source_cache.SourceFacts]:
        cache = source_cache.SourceCache(tmp_path / "deep" / "facts.json", read)
        found = [cache.facts(source) for source in sources]
        cache.save()
        return found

    first = ask(b"import components.core\n", b"x = 1\n")
    again = ask(b"import components.core\n", b"x = 2\n", b"x = 1\n")
    assert asked == [b"import components.core\n", b"x = 1\n", b"x = 2\n"]
    assert (again[0], again[2]) == (first[0], first[1])
    (tmp_path / "deep" / "facts.json").write_text("{broken")
    assert ask(b"x = 2\n") == [again[1]]
