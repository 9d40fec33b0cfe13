"""The written world: deterministic, split cleanly, true to its scenes, in formats that parse."""

import hashlib
import itertools
import json
import pickle
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from components.core.errors import ConfigError
from components.data.pocket.config import PocketConfig
from components.data.pocket.questions.phrases import GROCERY_INSTRUCTION
from components.data.pocket.scenes.scene import HELD_OUT_PAIRS, SCENE_PX, box
from components.data.pocket.things import FRUIT
from components.data.pocket.world import write_world
from tests.data.pocket.reading import right_options, truth

TINY = PocketConfig(
    num_caption_images=5,
    num_coco_images=8,
    num_gqa_images=3,
    num_textcaps_images=2,
    num_okvqa_images=3,
    num_ocrvqa_images=3,
    num_visual_genome_images=2,
    num_grocery_images=2,
    num_dialogues=3,
    num_benchmark_questions=24,
    num_benchmark_groceries=3,
)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def pairs_of(scene):
    names = sorted({placed.name for placed in scene.objects})
    return {frozenset(pair) for pair in itertools.combinations(names, 2)}


def test_equal_settings_give_equal_bytes(tmp_path):
    first, second = write_world(TINY, tmp_path / "a"), write_world(TINY, tmp_path / "b")
    assert first == second
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_another_seed_gives_another_world(tmp_path):
    write_world(TINY, tmp_path / "a")
    write_world(TINY.with_(seed=1), tmp_path / "b")
    changed = digests(tmp_path / "a"), digests(tmp_path / "b")
    same = [path for path in changed[0] if changed[0][path] == changed[1].get(path)]
    # A benchmark's few words may be equal by chance, images and whole files may not. The list
    # of Visual Genome's images holds their sizes alone; the judge's rules have no chance in them.
    fixed = ("vg/image_data.json", "eval/llava-bench-in-the-wild/rule.json")
    assert all(path.endswith((".txt", *fixed)) for path in same)


def test_a_larger_part_leaves_the_other_parts_alone(tmp_path):
    write_world(TINY, tmp_path / "a")
    write_world(TINY.with_(num_caption_images=9), tmp_path / "b")
    small, large = digests(tmp_path / "a"), digests(tmp_path / "b")
    changed = {path for path in small if small[path] != large[path]}
    assert changed
    assert all(path.startswith("llava_pretrain/") for path in changed)


def test_no_evaluation_scene_is_in_training(world):
    train = {scene.content for path, scene in world.scenes.items() if not path.startswith("eval/")}
    held = [scene for path, scene in world.scenes.items() if path.startswith("eval/")]
    held += world.table_scenes
    assert not train & {scene.content for scene in held}
    assert all(scene.split == "eval" for scene in held)


def test_held_out_pairs_meet_only_in_evaluation(world):
    train = [scene for path, scene in world.scenes.items() if not path.startswith("eval/")]
    held = [scene for path, scene in world.scenes.items() if path.startswith("eval/")]
    assert not any(pairs_of(scene) & HELD_OUT_PAIRS for scene in train)
    assert sum(bool(pairs_of(scene) & HELD_OUT_PAIRS) for scene in held) > 20


def test_every_image_has_the_scenes_size_and_the_format_of_its_name(world):
    assert len(world.scenes) == world.record.num_images
    assert {str(path.relative_to(world.root)) for path in world.root.rglob("*.jpg")} == {
        path for path in world.scenes if path.endswith(".jpg")
    }
    for path in sorted(world.scenes)[::7]:
        # SEED's images have no ending.
        kind = "PNG" if path.endswith(".png") else "JPEG"
        with Image.open(world.root / path) as image:
            assert (image.format, image.size, image.mode) == (kind, (SCENE_PX,) * 2, "RGB")


def test_the_record_counts_the_rows(world):
    rows = world.record.num_rows
    assert rows["llava_pretrain/blip_laion_cc_sbu_558k.json"] == 60
    assert rows["eval/pope/llava_pope_test.jsonl"] == 3 * 80
    assert rows["eval/mmbench/mmbench_dev_20230712.tsv"] == 24 * 4
    assert rows["eval/mmbench_cn/mmbench_dev_cn_20231003.tsv"] == 24 * 4
    for path in ("vizwiz/val.json", "scienceqa/problems.json", "seed_bench/SEED-Bench.json"):
        assert rows[f"eval/{path}"] == 120
    for path in rows:
        assert (world.root / path).exists()


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("llava_pretrain/blip_laion_cc_sbu_558k.json", "llava_pretrain/images/"),
        ("llava_instruct/llava_instruct_150k.json", "coco/train2017/"),
        ("grocery/grocery_train.json", "coco/train2017/"),
        ("sharegpt/sharegpt_v3.json", None),
    ],
)
def test_llava_json_rows_alternate_and_show_their_image_once(world, path, folder):
    rows = world.json(path)
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2)
        values = [turn["value"] for turn in row["conversations"]]
        assert all(value.strip() for value in values)
        if folder is None:
            assert "image" not in row
            assert not any("<image>" in value for value in values)
        else:
            assert folder + row["image"] in world.scenes
            assert values[0].count("<image>") == 1
            assert not any("<image>" in value for value in values[1:])


def test_grocery_answers_parse_and_name_only_fruit(world):
    for row in world.json("grocery/grocery_train.json"):
        question, answer = (turn["value"] for turn in row["conversations"])
        assert question == f"<image>\n{GROCERY_INSTRUCTION}"
        assert all(item["name"] in FRUIT for item in json.loads(answer))


@pytest.mark.parametrize(
    ("where", "subset", "image"),
    [
        ("vqav2", "train2014", "coco/train2017/{:012d}.jpg"),
        ("eval/vqav2", "val2014", "eval/vqav2/val2014/COCO_val2014_{:012d}.jpg"),
    ],
)
def test_vqav2_answers_are_true(world, where, subset, image):
    asked = world.json(f"{where}/v2_OpenEnded_mscoco_{subset}_questions.json")
    answered = world.json(f"{where}/v2_mscoco_{subset}_annotations.json")
    assert asked["data_subtype"] == answered["data_subtype"] == subset
    assert len({row["question_id"] for row in asked["questions"]}) == len(asked["questions"])
    rows = zip(asked["questions"], answered["annotations"], strict=True)
    for question, annotation in rows:
        assert question["question_id"] == annotation["question_id"]
        right = truth(world.scenes[image.format(question["image_id"])], question["question"])
        if where.startswith("eval"):
            right = right.lower()
        assert annotation["multiple_choice_answer"] == right
        humans = [human["answer"] for human in annotation["answers"]]
        assert len(humans) == 10
        assert humans.count(right) >= 8
        assert [human["answer_id"] for human in annotation["answers"]] == list(range(1, 11))


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("gqa/train_balanced_questions.json", "gqa/images"),
        ("eval/gqa/testdev_balanced_questions.json", "eval/gqa/images"),
    ],
)
def test_gqa_answers_are_true(world, path, folder):
    for entry in world.json(path).values():
        assert entry["answer"] == truth(
            world.scenes[f"{folder}/{entry['imageId']}.jpg"], entry["question"]
        )
        yes_no = entry["answer"] in ("yes", "no")
        assert yes_no == (entry["types"]["structural"] in ("verify", "logical"))


def test_aokvqa_has_one_right_choice(world):
    for row in world.json("aokvqa/aokvqa_v1p0_train.json"):
        scene = world.scenes[f"coco/train2017/{row['image_id']:012d}.jpg"]
        right = right_options(scene, row["question"], row["choices"])
        assert right == [row["choices"][row["correct_choice_idx"]]]
        assert row["direct_answers"] == right * 10


def test_textcaps_captions_tell_the_word(world):
    rows = world.json("textcaps/TextCaps_0.1_train.json")["data"]
    assert len(rows) == 5 * 12
    for row in rows:
        scene = world.scenes[f"textvqa/train_images/{row['image_id']}.jpg"]
        assert scene.sign.word in row["caption_str"]
        assert row["caption_str"] in row["reference_strs"]


def test_refcoco_boxes_are_those_of_the_scenes(world):
    refs = pickle.loads((world.root / "refcoco/refs(unc).p").read_bytes())
    instances = world.json("refcoco/instances.json")
    regions = {region["id"]: region for region in instances["annotations"]}
    names = {kind["id"]: kind["name"] for kind in instances["categories"]}
    sizes = {image["id"]: (image["width"], image["height"]) for image in instances["images"]}
    for ref in refs:
        region = regions[ref["ann_id"]]
        scene = world.scenes[f"coco/train2017/{ref['image_id']:012d}.jpg"]
        shown = [p for p in scene.objects if list(box(scene, p)) == region["bbox"]]
        assert [placed.name for placed in shown] == [names[ref["category_id"]]]
        x, y, width, height = region["bbox"]
        assert x >= 0
        assert y >= 0
        assert x + width <= sizes[ref["image_id"]][0]
        assert y + height <= sizes[ref["image_id"]][1]
        assert [sentence["sent_id"] for sentence in ref["sentences"]] == ref["sent_ids"]
        assert all(sentence["sent"].startswith(shown[0].name) for sentence in ref["sentences"])


def test_a_box_holds_what_was_drawn(world):
    """Outside its boxes and mats an image without a sign is plain background."""
    from components.data.pocket.scenes.scene import CELL_PX, render

    for scene in itertools.islice(world.scenes.values(), 30):
        if scene.sign:
            continue
        image = render(scene)
        ground = (
            Counter(image.get_flattened_data()).most_common(1)[0][0] if not scene.objects else None
        )
        cells = {(placed.row, placed.column) for placed in scene.objects}
        empty = [(r, c) for r in range(3) for c in range(3) if (r, c) not in cells]
        for row, column in empty:
            cell = image.crop(
                (column * CELL_PX, row * CELL_PX, (column + 1) * CELL_PX, (row + 1) * CELL_PX)
            )
            assert len(cell.getcolors()) == 1
        assert ground is None


def test_bad_rows_are_planted_when_asked_for(tmp_path):
    write_world(TINY.with_(num_bad_rows=3), tmp_path)
    rows = json.loads((tmp_path / "llava_instruct/llava_instruct_150k.json").read_text())
    damaged, missing, empty = rows[-3:]
    folder = tmp_path / "coco/train2017"
    with pytest.raises(OSError), Image.open(folder / damaged["image"]) as image:
        image.load()
    assert not (folder / missing["image"]).exists()
    assert (folder / empty["image"]).exists()
    assert empty["conversations"][1]["value"] == ""


def test_progress_counts_images(tmp_path):
    seen: list[int] = []
    record = write_world(TINY, tmp_path, seen.append)
    assert seen == list(range(1, record.num_images + 1))


def test_an_impossible_size_is_refused():
    with pytest.raises(ConfigError, match="num_coco_images"):
        TINY.with_(num_coco_images=0)
