"""The published composition: sums that are known, differences told, small data left alone."""

import pytest

from components.data.config import KNOWN_SOURCES, MIXTURE_SOURCES
from components.data.mixture.published import PUBLISHED_ROWS, published_rows, unlike_published
from components.data.prepare.summary import Summary
from components.data.records import Rejected


def test_the_parts_add_up_to_the_665k_mixture():
    parts = [rows for name, rows in PUBLISHED_ROWS.items() if name in MIXTURE_SOURCES]
    assert sum(parts) == PUBLISHED_ROWS["llava_mix665k"] == 665_298
    assert set(KNOWN_SOURCES) - set(PUBLISHED_ROWS) == {"grocery"}


def test_the_images_add_up_as_counted_by_prefix():
    """Issue 657 counts the rows of the released file by image folder."""
    folders = {
        "coco": ("llava_instruct", "vqav2", "okvqa", "aokvqa", "refcoco"),
        "vg": ("visual_genome",),
        "gqa": ("gqa",),
        "ocr_vqa": ("ocrvqa",),
        "textvqa": ("textcaps",),
        None: ("sharegpt",),
    }
    counted = {
        folder: sum(PUBLISHED_ROWS[name] for name in names) for folder, names in folders.items()
    }
    assert counted == {
        "coco": 364_100,
        "vg": 86_417,
        "gqa": 72_140,
        "ocr_vqa": 80_000,
        "textvqa": 21_953,
        None: 40_688,
    }


def test_a_difference_is_told_and_a_part_is_not():
    assert unlike_published(PUBLISHED_ROWS) == []
    assert unlike_published({"vqav2": 4, "sharegpt": 20_000, "grocery": 250}) == []
    assert unlike_published({"ocrvqa": 79_645, "gqa": 72_140}) == [
        "ocrvqa has 79,645 rows where LLaVA-1.5 has 80,000 (-0.4%)"
    ]


@pytest.mark.parametrize("pilot", [0.01, 0.1, 0.5])
def test_a_pilot_is_compared_with_its_share(pilot):
    kept = {name: published_rows(name, pilot) for name in PUBLISHED_ROWS}
    assert unlike_published(kept, pilot) == []
    (sentence,) = unlike_published({**kept, "gqa": published_rows("gqa", pilot) * 2}, pilot)
    assert "gqa" in sentence
    assert "+100.0%" in sentence


def test_the_summary_shows_published_beside_kept():
    summary = Summary()
    row = {"source": "okvqa", "num_tokens": 3, "num_supervised": 1, "image_index": 0}
    for _ in range(25):
        summary.keep(row)
    summary.keep({**row, "source": "grocery"})
    summary.reject(Rejected("okvqa", "f", 0, "1", "bad"))
    sources = summary.document(num_images=1, pilot=0.001)["sources"]
    assert (sources["okvqa"]["kept"], sources["okvqa"]["published"]) == (25, 9)
    assert sources["grocery"]["published"] is None
    (sentence,) = summary.differences(pilot=0.001)
    assert sentence.startswith("okvqa has 25 rows where LLaVA-1.5 has 9 ")
