"""Visual Genome in its official format: images with descriptions of many regions.

In: a `RawFolder` to write to, the settings, a random generator. Out: vg/region_descriptions.json,
vg/image_data.json and the images in vg/VG_100K and vg/VG_100K_2. A region is an object with its
box in pixels, described by its name, its place and its mat, or the sign with its word; each
description fits one region of its image. Every scene is of the training split.
"""

import random
from collections import Counter
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.llava import KINDS_MIXED, draw_scenes
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.questions import phrases
from components.data.pocket.scenes.scene import SCENE_PX, Scene, box, sign_box

FOLDERS = ("VG_100K", "VG_100K_2")


def write_visual_genome(
    folder: RawFolder, config: PocketConfig, rng: random.Random
) -> dict[str, Scene]:
    """Write the regions and the list of images; return the scenes by their path."""
    described: list[dict[str, Any]] = []
    listed: list[dict[str, Any]] = []
    shown: dict[str, Scene] = {}
    num_regions = 0
    for place, scene in enumerate(draw_scenes(rng, config.num_visual_genome_images, KINDS_MIXED)):
        image_id = place + 1
        path = f"{FOLDERS[place % 2]}/{image_id}.jpg"
        folder.image(f"vg/{path}", scene)
        shown[f"vg/{path}"] = scene
        regions = _regions(scene, image_id, num_regions + 1)
        num_regions += len(regions)
        described.append({"id": image_id, "regions": regions})
        listed.append(
            {
                "image_id": image_id,
                "url": f"https://example.org/rak248/{path}",
                "width": SCENE_PX,
                "height": SCENE_PX,
                "coco_id": None,
                "flickr_id": None,
            }
        )
    folder.json("vg/region_descriptions.json", described, num_regions)
    folder.json("vg/image_data.json", listed, len(listed))
    return shown


def _regions(scene: Scene, image_id: int, first_id: int) -> list[dict[str, Any]]:
    plain = Counter(phrases.region_description(placed) for placed in scene.objects)
    told: list[tuple[str, tuple[int, int, int, int]]] = []
    for placed in scene.objects:
        description = phrases.region_description(placed)
        texts = phrases.region_phrases(scene, placed)
        if plain[description] == 1 and description not in texts:
            texts.append(description)
        told += [(text, box(scene, placed)) for text in texts]
    if scene.sign:
        told.append((f"sign that says {scene.sign.word}", sign_box(scene.sign)))
    return [
        {
            "region_id": first_id + number,
            "width": width,
            "height": height,
            "image_id": image_id,
            "phrase": text,
            "y": y,
            "x": x,
        }
        for number, (text, (x, y, width, height)) in enumerate(told)
    ]
