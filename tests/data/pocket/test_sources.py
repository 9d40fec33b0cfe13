"""The written world through the project's own readers: every source, end to end, none rejected."""

from collections import Counter

import pytest

from components.data.config import CAPTION_SOURCES, KNOWN_SOURCES, MixtureConfig
from components.data.pocket.files.books import GENRES, SPLITS, genre_of
from components.data.pocket.scenes.scene import SCENE_PX, box, render, sign_box
from components.data.records import Record, Rejected, check_turns
from components.data.sources import llava, ocrvqa, refcoco, visual_genome, vqa
from tests.data.pocket.conftest import SMALL
from tests.data.pocket.reading import truth
from tests.data.samples import build_mixture
from tests.data.sources.test_boxes import from_square


@pytest.mark.parametrize("source", KNOWN_SOURCES)
def test_every_source_is_read_from_end_to_end(world, source):
    rows = list(build_mixture(world.root, MixtureConfig(sources=(source,)), 0))
    assert rows
    for row in rows:
        assert isinstance(row, Record), row
        check_turns(row.turns, has_image=row.image is not None)
        assert row.image is None or row.image in world.scenes
    if source in CAPTION_SOURCES:
        assert len(rows) == SMALL.num_caption_images


def test_okvqa_answers_are_true_and_told_by_most(world):
    annotations = world.json(vqa.OKVQA_FILES[1])["annotations"]
    rows = list(vqa.read_okvqa(world.root))
    assert len(rows) == len({row.image for row in rows}) == 40
    for row, annotation in zip(rows, annotations, strict=True):
        assert row.answer == truth(world.scenes[row.image], row.question)
        humans = [human["answer"] for human in annotation["answers"]]
        assert humans[::2] == humans[1::2]
        assert humans.count(row.answer) >= 8
    others = [human["answer"] for a in annotations for human in a["answers"]]
    assert any(answer.startswith(("a ", "an ")) for answer in others)


def test_books_have_a_title_on_top_and_one_genre(world):
    books = world.json(ocrvqa.FILE)
    assert Counter(book["split"] for book in books.values()) == {1: 24, 2: 3, 3: 3}
    assert len(SPLITS) == 10
    for key, book in books.items():
        scene = world.scenes[f"ocr_vqa/images/{key}.jpg"]
        assert (scene.sign.row, scene.sign.word) == (0, book["title"])
        assert genre_of(scene) == book["genre"]
    rows = list(ocrvqa.read(world.root))
    assert len(rows) == 4 * 24
    for row in rows:
        scene = world.scenes[row.image]
        if "title" in row.question:
            assert row.answer == scene.sign.word
        elif "genre" in row.question:
            assert row.answer == genre_of(scene)
        else:
            (genre,) = [g for g in set(GENRES.values()) if f"related to {g}?" in row.question]
            assert row.answer == ("Yes" if genre == genre_of(scene) else "No")


def test_regions_are_described_by_what_is_there_alone(world):
    rows = list(visual_genome.read(world.root))
    described = world.json("vg/region_descriptions.json")
    assert len(rows) == sum(len(row["regions"]) for row in described)
    assert len({row.id for row in rows}) == len(rows)
    assert {row.image.split("/")[1] for row in rows} == {"VG_100K", "VG_100K_2"}
    # Some images have more regions than a row of the mixture takes.
    assert max(Counter(row.image for row in rows).values()) > 10
    for row in rows:
        scene = world.scenes[row.image]
        corners = [round(value) for value in from_square(row.box, SCENE_PX, SCENE_PX)]
        left, top, right, bottom = corners
        found = (left, top, right - left, bottom - top)
        if row.expression.startswith("sign that says"):
            assert row.expression == f"sign that says {scene.sign.word}"
            assert found == sign_box(scene.sign)
            continue
        (placed,) = [placed for placed in scene.objects if box(scene, placed) == found]
        assert row.expression.startswith(placed.name)
        if row.expression.endswith(" mat"):
            assert f" {placed.mat} mat" in row.expression
        same = [(other.image, other.expression) for other in rows].count(
            (row.image, row.expression)
        )
        assert same == 1


def test_the_sign_fills_its_box(world):
    scene = next(scene for scene in world.scenes.values() if scene.sign)
    x, y, width, height = sign_box(scene.sign)
    image = render(scene)
    outline = {image.getpixel(at) for at in ((x, y), (x + width - 1, y + height - 1))}
    assert len(outline) == 1
    assert image.getpixel((x - 1, y)) not in outline
    assert image.getpixel((x + width, y + height)) not in outline


def test_the_released_mixture_has_several_data_sets_and_text_only_rows(world):
    raw = world.json(llava.MIX665K)
    assert {row["model"] for row in raw if "image" not in row} == {""}
    assert not [row for row in raw if "image" in row and "model" in row]
    rows = list(llava.read_mix665k(world.root))
    folders = Counter(row.image.split("/")[0] if row.image else None for row in rows)
    assert folders == {"coco": 80, "ocr_vqa": 30, "vg": 20, None: 10}


def test_references_are_read_without_rejects(world):
    rows = list(refcoco.read(world.root))
    assert len(rows) > 80
    assert not [row for row in rows if isinstance(row, Rejected)]
