"""OCR-VQA in its official format: book covers with a printed title, and questions about them.

In: a `RawFolder` to write to, the settings, a random generator. Out: ocr_vqa/dataset.json and the
images. A cover is a scene with a sign on top, which is its title; what stands below is of one
genre. Covers name no author, so nothing is asked about one. Every scene is of the training split.
"""

import random
from typing import Any

from components.data.pocket.config import PocketConfig
from components.data.pocket.files.writing import RawFolder
from components.data.pocket.scenes.scene import Scene, sample_scene
from components.data.pocket.things import BY_NAME

GENRES = {  # category of the things on a cover -> genre, names as in the official file
    "fruit": "Cookbooks, Food & Wine",
    "food": "Cookbooks, Food & Wine",
    "animal": "Science & Math",
    "vehicle": "Travel",
    "item": "Crafts, Hobbies & Home",
}
SPLITS = (1, 1, 1, 1, 1, 1, 1, 1, 2, 3)
"""Splits of the books in turn: the one file holds training, validation and test."""


def write_ocrvqa(folder: RawFolder, config: PocketConfig, rng: random.Random) -> dict[str, Scene]:
    """Write the books, four questions to each; return the scenes of the covers by their path."""
    books: dict[str, dict[str, Any]] = {}
    covers: dict[str, Scene] = {}
    for number in range(config.num_ocrvqa_images):
        key = f"{140_000_000 + number:010d}"
        scene = _draw_cover(rng)
        path = f"ocr_vqa/images/{key}.jpg"
        folder.image(path, scene)
        covers[path] = scene
        books[key] = _book(key, scene, SPLITS[number % len(SPLITS)], rng)
    folder.json("ocr_vqa/dataset.json", books, len(books))
    return covers


def genre_of(scene: Scene) -> str | None:
    """Return the one genre of the things in a scene, or None when they are of several."""
    genres = {GENRES[BY_NAME[placed.name].category] for placed in scene.objects}
    return genres.pop() if len(genres) == 1 else None


def _draw_cover(rng: random.Random) -> Scene:
    """A scene whose sign stands on top of things of one genre; about one in seven is."""
    while True:
        scene = sample_scene(rng, "sign")
        if scene.sign is not None and scene.sign.row == 0 and genre_of(scene) is not None:
            return scene


def _book(key: str, scene: Scene, split: int, rng: random.Random) -> dict[str, Any]:
    assert scene.sign is not None
    genre = genre_of(scene)
    others = sorted(set(GENRES.values()) - {genre})
    asked = [
        ("What is the title of this book?", scene.sign.word),
        ("What is the genre of this book?", genre),
        (f"Is this book related to {genre}?", "Yes"),
        (f"Is this book related to {rng.choice(others)}?", "No"),
    ]
    rng.shuffle(asked)
    return {
        "imageURL": f"https://example.org/covers/{key}.jpg",
        "questions": [question for question, _ in asked],
        "answers": [answer for _, answer in asked],
        "title": scene.sign.word,
        "authorName": "",
        "genre": genre,
        "split": split,
    }
