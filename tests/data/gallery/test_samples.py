"""The gallery: what it shows is what training gets, nothing in it can act, a browser draws it."""

import base64
import re
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from components.core.errors import ArtifactError, ConfigError, DataError
from components.data.config import ImageSpec, PrepareConfig
from components.data.conversation import render
from components.data.gallery.page import gallery_page
from components.data.gallery.samples import View, show_own, show_prepared, spans_of
from components.data.images import load_image
from components.data.own.forms import open_own
from components.data.prepare.passes import prepare
from components.data.records import Turn
from components.data.tokens import encode
from components.model.tokenizer import load_tokenizer
from tests.browser import NEEDS_CHROMIUM, browse, measured, measuring
from tests.data.samples import jpeg, llava_row, put, transcript, write_captions

ACT = "<script>document.title='acted'</script><img src=x onerror=\"document.title='acted'\">"
TINY = Path(__file__).parents[3] / "workflows/tiny_base/language_model"


@pytest.fixture(scope="module")
def view():
    """The shipped tiny base's way to read; the tests' own tokenizer cannot decode."""
    return View(*load_tokenizer(TINY), image=ImageSpec(size_px=84), patches_per_image=36)


@pytest.fixture
def own(tmp_path):
    """Rows with images in two folders, text alone, hostile text, bad rows and a bad image."""
    put(tmp_path / "coco/a.jpg", jpeg(1, (300, 200)))
    put(tmp_path / "gqa/b.jpg", jpeg(2, (90, 120)))
    put(tmp_path / "gqa/cut.jpg", jpeg(2)[:-300])
    rows = [
        llava_row("one", "coco/a.jpg", "<image>\nWhat is this?", "a cat", "And that?", "a dog"),
        llava_row("two", "gqa/b.jpg", "<image>\nWhat is this?", "red"),
        llava_row("text", None, "What is this?", "a dog " * 40),
        llava_row(f"id {ACT}", "gqa/cut.jpg", f"<image>\n{ACT}", f"</mark></div>{ACT}</s>"),
        llava_row("bad", "gqa/b.jpg", "What?", "a cat"),
        llava_row("unanswered", None, "What?"),
    ]
    return open_own(put(tmp_path / "own.json", rows))


def test_the_text_shown_is_the_text_rendered(view):
    turns = [
        Turn("human", "What is this?\n <b>&amp;</b>"),
        Turn("gpt", "a cat, \u00e9 \u732b"),
        Turn("human", "And </s> that <image>?"),
        Turn("gpt", "USER: dog"),
    ]
    segments = render(turns, "vicuna_v1", has_image=True)
    encoded = encode(segments, view.tokenizer, view.image_token_id)
    spans = spans_of(encoded.input_ids, encoded.labels, view.tokenizer, view.image_token_id)
    assert [span.kind for span in spans] == [
        *("prompt", "image", "prompt", "answer", "prompt", "answer")
    ]
    text = "".join("<image>" if span.kind == "image" else span.text for span in spans)
    assert text.removeprefix("<s>").lstrip() == transcript(segments)
    assert [span.text for span in spans if span.kind == "answer"] == [
        " a cat, \u00e9 \u732b</s>",
        " USER: dog</s>",
    ]


def test_counts_of_all_rows(own, view):
    gallery = show_own(own, view, number=2)
    assert len(gallery.samples) == 2
    assert gallery.num_rows == 4
    assert gallery.composition == {"coco": 1, "gqa": 2, "text only": 1}
    assert sum(gallery.reasons.values()) == 2
    assert show_own(own, view, number=2).samples[0].id == gallery.samples[0].id
    drawn = {show_own(own, view, 1, seed).samples[0].id for seed in range(20)}
    assert len(drawn) == 4


def test_samples_are_what_training_gets(own, view):
    one, _, text, cut = show_own(own, view, number=9).samples
    assert np.array_equal(one.pixels, load_image(own.image_root / "coco/a.jpg", view.image))
    segments = render(
        [
            *(Turn("human", "What is this?"), Turn("gpt", "a cat")),
            *(Turn("human", "And that?"), Turn("gpt", "a dog")),
        ],
        has_image=True,
    )
    encoded = encode(segments, view.tokenizer, view.image_token_id)
    assert one.num_tokens == len(encoded.input_ids) + 35
    assert one.num_supervised == encoded.num_supervised
    assert (text.pixels, text.problem) == (None, "")
    assert cut.pixels is None
    assert "cannot be decoded" in cut.problem


def test_a_row_that_the_template_does_not_take_is_counted(own, view):
    gallery = show_own(own, replace(view, template="plain"), number=9)
    assert gallery.num_rows == 3
    assert any("plain template" in reason for reason in gallery.reasons)


def test_nothing_to_show_is_an_error(tmp_path, view):
    with pytest.raises(DataError, match=r"no row can be shown \(it is empty\)"):
        show_own(open_own(put(tmp_path / "own.json", "[]")), view, number=3)


def test_prepared_data_is_shown_as_it_was_prepared(tmp_path, view):
    write_captions(tmp_path / "raw")
    config = PrepareConfig(stage="pretrain", image={"size_px": 28}, max_tokens=512)
    prepare(config, tmp_path / "raw", view.tokenizer, view.image_token_id, 4, tmp_path / "out")
    gallery = show_prepared(tmp_path / "out", view, number=3)
    assert (gallery.view.template, gallery.view.image.aspect) == ("plain", "crop")
    assert gallery.composition == {"llava_pretrain": 6}
    assert gallery.num_rows == 6
    for sample in gallery.samples:
        path = tmp_path / "raw" / sample.where
        assert np.array_equal(sample.pixels, load_image(path, gallery.view.image))
        assert [span.kind for span in sample.spans] == ["prompt", "image", "answer"]
    with pytest.raises(ArtifactError, match="run prepare first"):
        show_prepared(tmp_path, view, number=3)
    with pytest.raises(ConfigError, match="image token"):
        show_prepared(tmp_path / "out", replace(view, image_token_id=7), number=3)


def test_the_page_holds_the_very_pixels_and_escapes_all_text(own, view):
    page = gallery_page(show_own(own, view, number=9))
    assert "<script" not in page
    assert "<img src=x" not in page
    assert page.count("<mark>") == 1 + 5  # the legend and five answers
    encoded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    images = [Image.open(BytesIO(base64.b64decode(data))) for data in encoded]
    expected = load_image(own.image_root / "coco/a.jpg", view.image)
    assert np.array_equal(np.asarray(images[0]).transpose(2, 0, 1), expected)
    assert not re.search(r"(src|href)=\"?https?:", page)


MEASURE = measuring("""
  const root = document.documentElement;
  const inside = [...document.querySelectorAll(".card, .panel")].every(
    box => box.getBoundingClientRect().right <= root.clientWidth);
  return {
    title: document.title,
    width: innerWidth,
    sizes: [...document.images].map(image => image.naturalWidth),
    cards: document.querySelectorAll(".card").length,
    bars: document.querySelectorAll("svg rect").length,
    marked: [...document.querySelectorAll(".text mark")].map(mark => mark.textContent),
    scripts: document.scripts.length,
    overflow: root.scrollWidth - root.clientWidth,
    inside,
  };
""")


@NEEDS_CHROMIUM
@pytest.mark.parametrize("width", [420, 1400])
def test_a_browser_draws_the_page_and_runs_nothing_of_it(own, view, tmp_path, width):
    page = gallery_page(show_own(own, view, number=9))
    found, _ = measured(page, MEASURE, tmp_path, width)
    assert found["width"] == width
    assert found["title"] == "own.json"
    assert found["sizes"] == [84, 84]
    assert found["cards"] == 4
    assert found["bars"] >= 2
    assert found["scripts"] == 1
    assert f" </mark></div>{ACT}</s></s>" in found["marked"]
    assert found["overflow"] == 0
    assert found["inside"]


@NEEDS_CHROMIUM
def test_the_policy_of_the_page_forbids_scripts(own, view, tmp_path):
    page = gallery_page(show_own(own, view, number=9)).replace("<main", MEASURE + "<main")
    shown, console = browse(page, tmp_path, 800)
    assert 'id="measured"' not in shown
    assert console  # it says that it refused to
