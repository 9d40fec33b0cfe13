"""Training annotations in their official formats: VQAv2, OK-VQA, GQA, A-OKVQA, TextCaps, RefCOCO.

In: a `RawFolder` to write to, the settings, a random generator per data set. Out: annotation files,
and the images of GQA and TextCaps. Every scene is of the training split. Formats: VQAv2
v2_*_mscoco_train2014, OK-VQA *_mscoco_train2014, GQA train_balanced, A-OKVQA v1p0, TextCaps 0.1,
RefCOCO refs(unc).p with COCO instances. Does not merge, repeat or add response formats: the mixture
does, as for the real files.
"""

import base64
import hashlib
import pickle
import random
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.formats import gqa_entry, vqa_rows
from components.data.pocket.files.llava import draw_scenes
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.questions import choices, knowledge, phrases
from components.data.pocket.questions import families as questions
from components.data.pocket.questions.asked import NAMES
from components.data.pocket.scenes.scene import SCENE_PX, Placed, Scene, box
from components.data.pocket.things import OBJECTS

KINDS_NO_SIGN = {"objects": 0.8, "groceries": 0.2}
VQA_WEIGHTS: dict[str, float] = {
    "presence": 6, "category": 1, "exact count": 1, "place": 1, "mat check": 0.5,
    "background check": 0.5, "sign check": 1.5, "count": 4, "count all": 0.5, "what at": 3,
    "where": 1.5, "mat": 2, "on mat": 1, "background": 1.5, "sign": 4, "kind": 1.5,
}  # fmt: skip
GQA_WEIGHTS: dict[str, float] = {
    "presence": 3, "place": 2, "relation": 2.5, "mat check": 1.5, "background check": 1,
    "both": 1.5, "what at": 3, "mat": 2, "on mat": 1.5, "background": 1, "beside": 2.5, "kind": 1.5,
    "color choice": 2,
}  # fmt: skip
CHOICE_WEIGHTS: dict[str, float] = {
    "present": 3, "absent": 0.5, "what at": 2, "mat": 1, "background": 0.7, "count": 0.7, "sign": 1,
    "edible": 1, "known for": 1.2,
}  # fmt: skip


def write_vqav2(
    folder: RawFolder, config: PocketConfig, coco: dict[int, Scene], rng: random.Random
) -> None:
    """Write the VQAv2 training questions and answers. Sign words stay in capitals, as printed."""
    rows = [
        vqa_rows(image_id, number, one, rng)
        for image_id, scene in coco.items()
        for number, one in enumerate(
            questions.ask_many(scene, rng, VQA_WEIGHTS, config.questions_per_image)
        )
    ]
    write_vqa_pair(folder, "vqav2", "train2014", [row for row, _ in rows], [row for _, row in rows])


def write_okvqa(
    folder: RawFolder, config: PocketConfig, coco: dict[int, Scene], rng: random.Random
) -> None:
    """Write OK-VQA: one question to an image, ten answers, their ids made as there."""
    asked: list[dict[str, Any]] = []
    answered: list[dict[str, Any]] = []
    for image_id, scene in coco.items():
        one = knowledge.ask_knowledge(scene, rng)
        if one is None:
            continue
        key = image_id * 10 + 5
        asked.append({"image_id": image_id, "question": one.question, "question_id": key})
        answered.append(
            {
                "image_id": image_id,
                "answer_type": "other",
                "question_type": "other",
                "question_id": key,
                "answers": _five_people_twice(one.answer, rng),
                "confidence": 3,
            }
        )
        if len(asked) == config.num_okvqa_images:
            break
    write_vqa_pair(folder, "okvqa", "train2014", asked, answered, prefix="")


def write_vqa_pair(
    folder: RawFolder,
    where: str,
    subset: str,
    asked: list[dict[str, Any]],
    answered: list[dict[str, Any]],
    prefix: str = "v2_",
) -> None:
    """Write the two files of a VQA subset with their official heads."""
    head = {
        "info": {"description": "pocket world in the format of VQA v2.0", "version": "2.0"},
        "data_type": "mscoco",
        "data_subtype": subset,
        "license": {
            "name": "Apache License 2.0",
            "url": "https://www.apache.org/licenses/LICENSE-2.0",
        },
    }
    path = f"{where}/{prefix}OpenEnded_mscoco_{subset}_questions.json"
    folder.json(path, {**head, "task_type": "Open-Ended", "questions": asked}, len(asked))
    folder.json(
        f"{where}/{prefix}mscoco_{subset}_annotations.json",
        {**head, "annotations": answered},
        len(answered),
    )


def write_gqa(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the balanced GQA training questions and their images."""
    entries: dict[str, dict[str, Any]] = {}
    for number, scene in enumerate(draw_scenes(rng, config.num_gqa_images, KINDS_NO_SIGN)):
        image_id = str(2_300_000 + number)
        folder.image(f"gqa/images/{image_id}.jpg", scene)
        for one in questions.ask_many(scene, rng, GQA_WEIGHTS, config.questions_per_image):
            key = f"{len(entries) + 2_000_000:08d}"
            entries[key] = gqa_entry(key, image_id, one)
    folder.json("gqa/train_balanced_questions.json", entries, len(entries))


def write_aokvqa(
    folder: RawFolder, config: PocketConfig, coco: dict[int, Scene], rng: random.Random
) -> None:
    """Write the A-OKVQA training questions: four options, the image needed for each."""
    rows = []
    families, weights = list(CHOICE_WEIGHTS), list(CHOICE_WEIGHTS.values())
    for image_id, scene in list(coco.items())[: config.num_choice_images]:
        found: dict[str, choices.Choice] = {}
        while len(found) < config.choices_per_image:  # every scene has at least three
            choice = choices.ask_choice(scene, rng, rng.choices(families, weights)[0])
            if choice is not None:
                found.setdefault(choice.question, choice)
        for number, choice in enumerate(found.values()):
            digest = hashlib.sha256(f"{image_id} {number}".encode()).digest()
            rows.append(
                {
                    "split": "train",
                    "image_id": image_id,
                    "question_id": base64.urlsafe_b64encode(digest)[:22].decode(),
                    "question": choice.question,
                    "choices": list(choice.options),
                    "correct_choice_idx": choice.answer_index,
                    "direct_answers": [choice.answer] * 10,
                    "difficult_direct_answer": False,
                    "rationales": [choice.rationale] * 3,
                }
            )
    folder.json("aokvqa/aokvqa_v1p0_train.json", rows, len(rows))


def write_textcaps(folder: RawFolder, config: PocketConfig, rng: random.Random) -> None:
    """Write the TextCaps training captions, five to an image, and their images."""
    rows: list[dict[str, Any]] = []
    for number, scene in enumerate(draw_scenes(rng, config.num_textcaps_images, {"sign": 1.0})):
        image_id = hashlib.sha256(f"textcaps {number}".encode()).hexdigest()[:16]
        folder.image(f"textvqa/train_images/{image_id}.jpg", scene)
        captions = [phrases.sentence_caption(scene, rng) for _ in range(5)]
        for caption in captions:
            rows.append(
                {
                    "caption_id": len(rows),
                    "caption_str": caption,
                    "caption_tokens": caption.lower().rstrip(".").split(),
                    "image_id": image_id,
                    "image_name": image_id,
                    "image_path": f"train/{image_id}.jpg",
                    "image_classes": [name.capitalize() for name in scene.names()],
                    "image_width": SCENE_PX,
                    "image_height": SCENE_PX,
                    "flickr_original_url": "",
                    "flickr_300k_url": "",
                    "reference_strs": captions,
                    "reference_tokens": [text.lower().rstrip(".").split() for text in captions],
                    "set_name": "train",
                }
            )
    head = {"dataset_type": "train", "dataset_name": "textcaps", "dataset_version": "0.1"}
    folder.json("textcaps/TextCaps_0.1_train.json", {**head, "data": rows}, len(rows))


def write_refcoco(folder: RawFolder, coco: dict[int, Scene], rng: random.Random) -> None:
    """Write RefCOCO: up to three objects of every second image, with phrases fitting no other."""
    refs: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    regions: list[dict[str, Any]] = []
    num_sentences = 0
    for image_id, scene in list(coco.items())[::2]:
        images.append(_coco_image(image_id))
        chosen = rng.sample(scene.objects, min(3, len(scene.objects)))
        for placed in scene.objects:
            regions.append(_coco_region(len(regions) + 1, image_id, scene, placed))
            if placed in chosen:
                texts = phrases.region_phrases(scene, placed)
                refs.append(_reference(len(refs), num_sentences, regions[-1], texts))
                num_sentences += len(texts)
    folder.bytes("refcoco/refs(unc).p", pickle.dumps(refs, protocol=2))
    folder.num_rows["refcoco/refs(unc).p"] = len(refs)
    categories = [
        {"supercategory": thing.category, "id": number, "name": thing.name}
        for number, thing in enumerate(OBJECTS, start=1)
    ]
    instances = {
        "info": {},
        "licenses": [],
        "images": images,
        "annotations": regions,
        "categories": categories,
    }
    folder.json("refcoco/instances.json", instances, len(regions))


def _five_people_twice(answer: str, rng: random.Random) -> list[dict[str, Any]]:
    """OK-VQA's ten answers; in a fifth of the questions one person uses other words."""
    words = [answer] * 5
    if rng.random() < 0.2:
        first, _, rest = answer.partition(" ")
        article = "an" if answer[0] in "aeiou" else "a"
        words[4] = rest if first in ("it", "you") else f"{article} {answer}"
    return [
        {
            "answer_id": number,
            "raw_answer": word,
            "answer_confidence": "yes",
            "answer": word,
        }
        for number, word in enumerate((word for word in words for _ in range(2)), start=1)
    ]


def _coco_image(image_id: int) -> dict[str, Any]:
    return {
        "license": 1,
        "file_name": f"COCO_train2014_{image_id:012d}.jpg",
        "coco_url": "",
        "height": SCENE_PX,
        "width": SCENE_PX,
        "date_captured": "2023-10-05 00:00:00",
        "flickr_url": "",
        "id": image_id,
    }


def _coco_region(key: int, image_id: int, scene: Scene, placed: Placed) -> dict[str, Any]:
    x, y, width, height = (float(value) for value in box(scene, placed))
    return {
        "segmentation": [[x, y, x + width, y, x + width, y + height, x, y + height]],
        "area": width * height,
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": [x, y, width, height],
        "category_id": 1 + NAMES.index(placed.name),
        "id": key,
    }


def _reference(
    key: int, first_sentence: int, region: dict[str, Any], texts: list[str]
) -> dict[str, Any]:
    sentences = [
        {"tokens": text.split(), "raw": text, "sent_id": first_sentence + number, "sent": text}
        for number, text in enumerate(texts)
    ]
    return {
        "sent_ids": [sentence["sent_id"] for sentence in sentences],
        "file_name": f"COCO_train2014_{region['image_id']:012d}_{region['id']}.jpg",
        "ann_id": region["id"],
        "ref_id": key,
        "image_id": region["image_id"],
        "split": "train",
        "sentences": sentences,
        "category_id": region["category_id"],
    }
