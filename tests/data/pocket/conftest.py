"""A small world, written once, with the scene of every image."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from components.data.pocket.config import PocketConfig, RawData
from components.data.pocket.files import benchmarks as benchmark_files
from components.data.pocket.files import writing as files
from components.data.pocket.scenes.scene import Scene
from components.data.pocket.world import write_world

SMALL = PocketConfig(
    num_caption_images=60,
    num_coco_images=80,
    num_gqa_images=40,
    num_textcaps_images=12,
    num_okvqa_images=40,
    num_ocrvqa_images=30,
    num_visual_genome_images=20,
    num_grocery_images=12,
    num_dialogues=10,
    choices_per_image=2,
    num_benchmark_questions=120,
    num_benchmark_groceries=16,
)


class World(NamedTuple):
    root: Path
    record: RawData
    scenes: dict[str, Scene]
    """The scene of each image, by its path below the root."""
    table_scenes: list[Scene]
    """The scenes of MMBench's images and then MMBench-CN's, which are inside the tables."""
    blurred: set[str]
    """Paths of the images that are out of focus."""

    def json(self, path: str) -> Any:
        return json.loads((self.root / path).read_text())

    def lines(self, path: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.root / path).read_text().splitlines()]


def write_recorded(config: PocketConfig, root: Path) -> World:
    """Write a world and keep the scenes."""
    scenes: dict[str, Scene] = {}
    table_scenes: list[Scene] = []
    blurred: set[str] = set()
    with pytest.MonkeyPatch.context() as patch:
        write, encode = files.RawFolder.image, benchmark_files.encode_image
        write_blurred = files.RawFolder.blurred

        def image(self: files.RawFolder, path: str, scene: Scene) -> None:
            scenes[path] = scene
            write(self, path, scene)

        def image_out_of_focus(self: files.RawFolder, path: str, scene: Scene) -> None:
            scenes[path] = scene
            blurred.add(path)
            write_blurred(self, path, scene)

        def encode_image(scene: Scene) -> bytes:
            table_scenes.append(scene)
            return encode(scene)

        patch.setattr(files.RawFolder, "image", image)
        patch.setattr(files.RawFolder, "blurred", image_out_of_focus)
        patch.setattr(benchmark_files, "encode_image", encode_image)
        record = write_world(config, root)
    return World(root, record, scenes, table_scenes, blurred)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_recorded(SMALL, tmp_path_factory.mktemp("world"))
