"""Endless batches of training images of the pocket world, with what each patch of them shows.

In: a seed. Out: uint8 pixels of scenes of the training split, their captions, and per-patch
targets. Nothing of the evaluation split is ever drawn here.
"""

import io
import random
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Queue
from threading import Thread

import numpy as np
from PIL import Image

from components.data.pocket.scenes.scene import GRID, PATCHES_PER_CELL, Scene, render, sample_scene
from components.data.pocket.things import COLOURS, OBJECTS, SIGN_WORDS

IMAGE_PX = 84
SIDE = GRID * PATCHES_PER_CELL
NUM_PATCHES = SIDE * SIDE

EMPTY = "nothing"
SIGN_CARD = "sign"
WHAT: tuple[str, ...] = (EMPTY, *(thing.name for thing in OBJECTS), *SIGN_WORDS)
"""What a patch can belong to: no object, one of the objects, or the card with one of the sign
words.
"""
GROUND: tuple[str, ...] = (*COLOURS, SIGN_CARD)
"""What the object of a patch stands on: a mat or the background of that colour, or it is a card."""

KIND_WEIGHTS = {"objects": 5, "sign": 4, "groceries": 2}
"""Signs are drawn often because reading needs the most images."""


@dataclass(frozen=True)
class SceneBatch:
    """Pixels uint8 [B, 3, 84, 84] and targets int64 [B, 36] for `what` and `ground`."""

    pixels: np.ndarray
    captions: list[str]
    what: np.ndarray
    ground: np.ndarray


def draw_scene(rng: random.Random, split: str = "train") -> Scene:
    """Draw a scene of a random kind."""
    kind = rng.choices(list(KIND_WEIGHTS), weights=list(KIND_WEIGHTS.values()))[0]
    return sample_scene(rng, kind, split)


def pixels_of(scene: Scene, rng: random.Random) -> np.ndarray:
    """Render the scene at the model's size, [3, 84, 84] uint8, half of the time through JPEG."""
    image = render(scene)
    if rng.random() < 0.5:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=rng.randint(80, 95))
        image = Image.open(buffer)
    image = image.convert("RGB").resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def patch_targets(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Return indices into WHAT and GROUND for every patch in reading order."""
    what = np.zeros((SIDE, SIDE), dtype=np.int64)
    ground = np.full((SIDE, SIDE), GROUND.index(scene.background), dtype=np.int64)
    for placed in scene.objects:
        cell = _cell(placed.row, placed.column)
        what[cell] = WHAT.index(placed.name)
        ground[cell] = GROUND.index(placed.mat or scene.background)
    if scene.sign:
        for column in (scene.sign.column, scene.sign.column + 1):
            cell = _cell(scene.sign.row, column)
            what[cell] = WHAT.index(scene.sign.word)
            ground[cell] = GROUND.index(SIGN_CARD)
    return what.reshape(-1), ground.reshape(-1)


def scene_caption(scene: Scene, rng: random.Random) -> str:
    """Say in words all that the scene shows, objects in random order."""
    parts = [
        f"{placed.name} {placed.position} on {placed.mat or scene.background}"
        for placed in rng.sample(scene.objects, len(scene.objects))
    ]
    if scene.sign:
        parts.append(f"sign {scene.sign.word} in {('top', 'middle', 'bottom')[scene.sign.row]} row")
    return f"{scene.background} background: " + ", ".join(parts)


def scene_batches(seed: int, batch_size: int, num_batches: int, split: str) -> Iterator[SceneBatch]:
    """Yield batches drawn ahead by one thread, so that they depend on the seed alone."""
    queue: Queue[SceneBatch] = Queue(maxsize=4)

    def fill() -> None:
        rng = random.Random(seed)
        for _ in range(num_batches):
            queue.put(_draw_batch(rng, batch_size, split))

    Thread(target=fill, daemon=True).start()
    for _ in range(num_batches):
        yield queue.get()


def _draw_batch(rng: random.Random, batch_size: int, split: str) -> SceneBatch:
    scenes = [draw_scene(rng, split) for _ in range(batch_size)]
    targets = [patch_targets(scene) for scene in scenes]
    return SceneBatch(
        pixels=np.stack([pixels_of(scene, rng) for scene in scenes]),
        captions=[scene_caption(scene, rng) for scene in scenes],
        what=np.stack([what for what, _ in targets]),
        ground=np.stack([ground for _, ground in targets]),
    )


def _cell(row: int, column: int) -> tuple[slice, slice]:
    top, left = row * PATCHES_PER_CELL, column * PATCHES_PER_CELL
    return slice(top, top + PATCHES_PER_CELL), slice(left, left + PATCHES_PER_CELL)
