"""LLaVA-Bench and MM-Vet of the pocket world: true of their images, read by the benchmarks."""

import re

from components.data.pocket.questions import phrases
from components.data.pocket.things import BY_NAME
from components.evaluation.benchmark import get_benchmark
from tests.data.pocket.conftest import World
from tests.data.pocket.reading import NUMBERS, thing, truth

BENCH = "eval/llava-bench-in-the-wild"


def test_llava_bench_reads_and_asks_three_kinds_of_question(world: World) -> None:
    questions = get_benchmark("llava_bench").read(world.root / BENCH)
    assert len(questions) == 24
    kinds = [question.meta["category"] for question in questions]
    assert {kind: kinds.count(kind) for kind in kinds} == {"conv": 8, "detail": 8, "complex": 8}
    for question in questions:
        scene = world.scenes[f"{BENCH}/images/{question.group}"]
        assert scene.split == "eval"
        assert question.meta["context"] == phrases.detail(scene)
        assert question.target
        assert len(question.target.split()) > 2, "a sentence"


def test_llava_bench_references_name_only_what_is_there(world: World) -> None:
    for question in get_benchmark("llava_bench").read(world.root / BENCH):
        scene = world.scenes[f"{BENCH}/images/{question.group}"]
        if question.meta["category"] == "detail":
            assert all(f"{name}" in question.target for name in scene.names())
            continue
        if question.meta["category"] == "complex":
            words = set(re.findall(r"\w+", question.target))
            named = {n for n, t in BY_NAME.items() if {n, t.plural.split()[-1]} & words}
            assert named <= set(scene.names())


def test_mm_vet_truths_are_those_of_the_scenes(world: World) -> None:
    entries = world.json("eval/mm-vet/mm-vet.json")
    assert len(entries) == 24
    for entry in entries.values():
        scene = world.scenes[f"eval/mm-vet/images/{entry['imagename']}"]
        assert scene.split == "eval"
        question, parts = entry["question"], entry["answer"].split("<AND>")
        said = "What does the sign say, and what else is in the image?"
        if question in ("Which objects are in the image?", said):
            if question == said:
                assert scene.sign is not None
                assert parts.pop(0) == scene.sign.word
            assert [_counted(part) for part in parts] == [
                (name, scene.count(name)) for name in scene.names()
            ]
        elif "know" not in entry["capability"]:
            forms = entry["answer"].split("<OR>")
            assert forms[0] == truth(scene, question)
            assert len(forms) == (2 if forms[0].isdigit() else 1)
        else:
            assert entry["answer"]


def _counted(words: str) -> tuple[str, int]:
    first, _, rest = words.partition(" ")
    return (thing(rest), NUMBERS[first]) if first in NUMBERS else (thing(words), 1)


def test_mm_vet_covers_the_six_capabilities_and_reads(world: World) -> None:
    questions = get_benchmark("mm_vet").read(world.root / "eval/mm-vet")
    capabilities = {name for question in questions for name in question.meta["capability"]}
    assert capabilities == {"rec", "ocr", "know", "gen", "spat", "math"}
    assert all(question.prompt == question.meta["question"] for question in questions)
