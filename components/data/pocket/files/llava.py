"""Training files in LLaVA JSON: captions, LLaVA-Instruct, ShareGPT, the groceries, the mixture.

In: a `RawFolder` to write to, the settings, a random generator per data set. Out: one JSON array
per file, and images. Every scene is of the training split. Format: shared facts of LLaVA-1.5's
data.
"""

import base64
import hashlib
import random
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.questions import phrases, talk
from components.data.pocket.scenes.scene import Scene, sample_scene

CAPTION_REQUESTS = (
    "Say briefly what the picture shows.",
    "Describe this picture in one line.",
    "What does the picture show? Keep it short.",
)
KINDS_MIXED = {"objects": 0.6, "sign": 0.2, "groceries": 0.2}
INSTRUCT_KINDS = {"conversation": 58, "detail": 23, "reasoning": 77}
"""Weights of the three kinds: thousands of rows in LLaVA-Instruct (maintainer, issue 702)."""


def draw_scenes(
    rng: random.Random, number: int, kinds: dict[str, float], split: str = "train"
) -> list[Scene]:
    """Draw so many scenes of a split, their kinds by weight."""
    drawn = rng.choices(list(kinds), list(kinds.values()), k=number)
    return [sample_scene(rng, kind, split) for kind in drawn]


def write_captions(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the caption set: one caption per image."""
    rows = []
    for number, scene in enumerate(draw_scenes(rng, config.num_caption_images, KINDS_MIXED)):
        key = f"{number:09d}"
        image = f"{number // 1000:05d}/{key}.jpg"
        folder.image(f"llava_pretrain/images/{image}", scene)
        request = _with_image(rng, rng.choice(CAPTION_REQUESTS))
        rows.append(_row(key, image, [(request, phrases.caption(scene, rng))]))
    folder.json("llava_pretrain/blip_laion_cc_sbu_558k.json", rows, len(rows))


def write_coco(folder: RawFolder, config: PocketConfig, rng: random.Random) -> dict[int, Scene]:
    """Write the images of coco/train2017; return their scenes by image id."""
    ids = rng.sample(range(9, 581930), config.num_coco_images)
    scenes = dict(zip(ids, draw_scenes(rng, len(ids), KINDS_MIXED), strict=True))
    for image_id, scene in scenes.items():
        folder.image(f"coco/train2017/{image_id:012d}.jpg", scene)
    return scenes


def write_instruct(
    folder: RawFolder, coco: dict[int, Scene], rng: random.Random, num_bad_rows: int
) -> None:
    """Write LLaVA-Instruct: about each image a conversation, a description or reasoning."""
    writers = {
        "conversation": talk.conversation,
        "detail": talk.detailed,
        "reasoning": talk.reasoning,
    }
    rows = []
    for image_id, scene in coco.items():
        kind = rng.choices(list(INSTRUCT_KINDS), list(INSTRUCT_KINDS.values()))[0]
        (question, answer), *later = writers[kind](scene, rng)
        turns = [(_with_image(rng, question), answer), *later]
        rows.append(_row(f"{image_id:012d}", f"{image_id:012d}.jpg", turns))
    rows += [_bad_row(folder, number, rng) for number in range(num_bad_rows)]
    folder.json("llava_instruct/llava_instruct_150k.json", rows, len(rows))


def write_sharegpt(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the text-only dialogues."""
    rows = []
    for number in range(config.num_dialogues):
        key = base64.urlsafe_b64encode(hashlib.sha256(f"dialogue {number}".encode()).digest())[
            :7
        ].decode()
        rows.append(_row(f"{key}_0", None, talk.dialogue(rng)))
    folder.json("sharegpt/sharegpt_v3.json", rows, len(rows))


def write_mix665k(folder: RawFolder, scenes: dict[str, Scene], rng: random.Random) -> None:
    """Write the released mixture's file out of what is written already, and of scenes by path.

    Its image paths are relative to the raw folder, and its text-only rows have the field `model`.
    """
    rows: list[dict[str, Any]] = []
    for row in folder.rows("llava_instruct/llava_instruct_150k.json"):
        rows.append({**row, "image": f"coco/train2017/{row['image']}"})
    for path, scene in scenes.items():
        (question, answer), *later = talk.conversation(scene, rng)
        turns = [(_with_image(rng, question), answer), *later]
        rows.append(_row(path.rsplit("/", 1)[-1].removesuffix(".jpg"), path, turns))
    for row in folder.rows("sharegpt/sharegpt_v3.json"):
        rows.append({**row, "model": ""})
    folder.json("llava_v1_5_mix665k.json", rows, len(rows))


def write_groceries(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the groceries with the one JSON instruction; their images are in coco/train2017."""
    rows = []
    scenes = draw_scenes(rng, config.num_grocery_images, {"groceries": 1.0})
    for number, scene in enumerate(scenes):
        key = f"8{number:011d}"
        folder.image(f"coco/train2017/{key}.jpg", scene)
        turn = (f"<image>\n{phrases.GROCERY_INSTRUCTION}", phrases.grocery_answer(scene))
        rows.append(_row(key, f"{key}.jpg", [turn]))
    folder.json("grocery/grocery_train.json", rows, len(rows))


def _row(key: str, image: str | None, turns: list[talk.Turn]) -> dict[str, Any]:
    """One row of LLaVA JSON; `image` is left out of text-only rows."""
    spoken = [
        {"from": speaker, "value": value}
        for question, answer in turns
        for speaker, value in (("human", question), ("gpt", answer))
    ]
    return {"id": key, **({"image": image} if image else {}), "conversations": spoken}


def _with_image(rng: random.Random, question: str) -> str:
    return f"<image>\n{question}" if rng.random() < 0.5 else f"{question}\n<image>"


def _bad_row(folder: RawFolder, number: int, rng: random.Random) -> dict[str, Any]:
    """A row to be rejected: its image is cut off or missing, or its answer is empty."""
    image = f"9{number:011d}.jpg"
    scene = sample_scene(rng)
    if number % 3 != 1:
        folder.image(f"coco/train2017/{image}", scene)
    if number % 3 == 0:
        path = folder.root / "coco/train2017" / image
        path.write_bytes(path.read_bytes()[:400])
    answer = "" if number % 3 == 2 else phrases.detail(scene)
    return _row(
        image.removesuffix(".jpg"), image, [("<image>\nDescribe the image in detail.", answer)]
    )
