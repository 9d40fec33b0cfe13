"""The report page: what stands on it, what must not, and that a browser draws it."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.pages.comparison import write_comparison
from components.evaluation.pages.report import write_report
from components.evaluation.scoring.comparison import compare_models
from components.evaluation.scoring.score import (
    BLIND_PREDICTIONS,
    PREDICTIONS,
    SCORES,
    predict,
    summarise,
    write_predictions,
)
from tests.browser import NEEDS_CHROMIUM, browse, measured, measuring
from tests.evaluation.conftest import write_json

TITLES = ("LLaVA-Bench (in the Wild)", "ScienceQA-IMG", "MMBench-CN", "Finegrained_perception")
ACT = "<script>document.title='acted'</script><img src=x onerror=\"document.title='acted'\">"
CHINESE = "\u4e00\u53ea\u732b"
MEASURE = measuring("""
  const page = document.documentElement, wide = innerWidth;
  const out = [...document.querySelectorAll("body *")].filter(each => !each.closest(".scroll")
    && !each.closest("svg") && each.getBoundingClientRect().right > wide + 1);
  const labels = [...document.querySelectorAll("svg.radar text")].map(
    label => label.getBoundingClientRect());
  const chart = document.querySelector("svg.radar")?.getBoundingClientRect();
  return {
    title: document.title,
    width: wide,
    overflow: page.scrollWidth - wide,
    out: out.map(each => each.className || each.tagName),
    inside: labels.every(each => each.left >= chart.left - 1 && each.right <= chart.right + 1),
    scripts: document.scripts.length,
    cards: document.querySelectorAll(".card").length,
    images: [...document.images].map(each => each.naturalWidth),
    said: [...document.querySelectorAll(".said")].map(each => each.textContent),
    text: document.body.innerText,
  };
""")

Reply = Callable[[int], str | None]


def write_result(
    folder: Path,
    benchmark_name: str = "gqa",
    reply: Reply = lambda n: "yes" if n % 3 else "no",
    count: int = 12,
    blind: bool = True,
    **changes: Any,
) -> Path:
    """A result folder as `evaluate` writes it: yes-questions, two on an image."""
    folder.mkdir(parents=True)
    benchmark = get_benchmark(benchmark_name)
    meta = {"pope": {"split": "random"}, "mme": {"subtask": "existence"}}.get(benchmark_name, {})
    target: Any = ["yes"] * 9 + ["no"] if benchmark_name in ("textvqa", "vqav2") else "yes"
    questions = [
        Question(
            str(1000 + n),
            benchmark_name,
            f"Question {n}?",
            target,
            image_path=f"/raw/n{n // 2}.jpg",
            group=str(n // 2),
            meta=meta,
        )
        for n in range(count)
    ]
    made = predict(benchmark, questions, {str(1000 + n): reply(n) for n in range(count)})
    control = predict(benchmark, questions, {str(1000 + n): "no" for n in range(count)})
    write_predictions(folder / PREDICTIONS, made)
    if blind:
        write_predictions(folder / BLIND_PREDICTIONS, control)
    scores = summarise(benchmark, made, control if blind else None, samples=200)
    record = scores.model_dump(mode="json", exclude={"uri", "digest"}) | changes
    write_json(folder / SCORES, record)
    return folder


def page(tmp_path: Path, *folders: Path, name: str = "our model", **options: Any) -> str:
    return write_report(folders, tmp_path / "out" / "report.html", name, **options).read_text()


def test_scores_controls_and_published_figures_stand_on_it(tmp_path: Path) -> None:
    text = page(
        tmp_path,
        write_result(tmp_path / "gqa", published={"LLaVA-1.5-7B": 62.0, "Qwen-VL-Chat": 57.5}),
        write_result(tmp_path / "pope", "pope"),
        write_result(tmp_path / "mme", "mme", published={"LLaVA-1.5-7B": 1510.7}),
    )
    scores = json.loads((tmp_path / "gqa" / SCORES).read_text())
    assert f"{scores['ci_low']:.1f} to {scores['ci_high']:.1f}" in text
    assert "+66.7" in text  # 8 of 12 right, none with another image
    for part in ("62.0", "57.5", "85.9", "Qwen-VL-Chat", '<svg class="radar"'):
        assert part in text
    assert "75.5" in text  # 1510.7 of 2000
    assert "LLaVA-1.5-7B 1,510.7" in text
    assert '<span class="tag">part</span>' in text  # one subtask of ten


def test_a_score_that_is_not_comparable_never_stands_beside_published_ones(tmp_path: Path) -> None:
    for number, changes in enumerate(
        ({"comparable": False}, {"note": "offline stand-in: not comparable with a judge"})
    ):
        folders = [write_result(tmp_path / f"{number}{each}", each) for each in ("pope", "textvqa")]
        proxy = write_result(
            tmp_path / f"{number}gqa", published={"LLaVA-1.5-7B": 12.3, "GPT-4V": 45.6}, **changes
        )
        text = page(tmp_path, *folders, proxy)
        assert "12.3" not in text
        assert "GPT-4V" not in text
        assert '<span class="tag">not comparable</span>' in text
        assert re.search(r"<li>GQA: .*not comparable", text)
        assert '<svg class="radar"' not in text  # two axes are left, which make no shape
        alone = page(tmp_path, proxy)
        assert "Beside published scores" not in alone


def test_text_only_control_is_read_or_computed(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "gqa")
    assert "no image" not in page(tmp_path, folder)
    shutil.copy(folder / BLIND_PREDICTIONS, folder / "predictions_text_only.jsonl")
    text = page(tmp_path, folder)
    assert '<td data-name="no image">' in text
    assert text.count("+66.7") == 2  # the same answers as with another image
    recorded = write_result(
        tmp_path / "recorded", text_only_percent=31.4, text_only_difference_percent=35.3
    )
    text = page(tmp_path, recorded)
    assert "31.4" in text
    assert "+35.3" in text


def test_missing_empty_and_duplicated_answers_are_said(tmp_path: Path) -> None:
    replies: dict[int, str | None] = {0: None, 1: "", 2: CHINESE, 3: "yes"}
    folder = write_result(tmp_path / "gqa", reply=replies.get, count=4, num_duplicates=2)
    text = page(tmp_path, folder)
    assert "no answer" in text
    assert "(empty)" in text
    assert CHINESE in text
    assert "incomplete: 1 of 4 answers are missing" in text
    assert "2 questions stand twice in the file" in text


def test_unknown_fields_and_no_scores_file_do_no_harm(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "gqa", judge={"name": "x"})
    assert "GQA 66.7" in page(tmp_path, folder)
    (folder / SCORES).unlink()
    assert "GQA 66.7" in page(tmp_path, folder)


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no result folder"):
        write_report([], tmp_path / "r.html", "m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"predictions.jsonl: file missing"):
        write_report([tmp_path / "empty"], tmp_path / "r.html", "m")
    broken = write_result(tmp_path / "gqa")
    (broken / SCORES).write_text("{")
    with pytest.raises(DataError, match=r"scores.json:1: not JSON"):
        write_report([broken], tmp_path / "r.html", "m")


def test_images_come_from_the_raw_folder_and_broken_ones_are_said(
    tmp_path: Path, gqa_root: Path
) -> None:
    folder = write_result(tmp_path / "gqa")
    images = gqa_root / "eval" / "gqa" / "images"
    (images / "n0.jpg").write_bytes(b"no image")
    (images / "n1.jpg").unlink()
    text = page(tmp_path, folder, raw_root=gqa_root, num_answers=12)
    assert text.count("data:image/png;base64,") == 8
    assert text.count("is no image that can be decoded") == 2
    assert text.count("no such image") == 2
    without = page(tmp_path, folder)
    assert without.count("image not shown: no raw folder was given") == 8
    lost = page(tmp_path, folder, raw_root=tmp_path / "nowhere")
    assert "image not shown: " in lost
    assert "file missing" in lost


def test_answers_are_drawn_by_seed_right_and_wrong(tmp_path: Path) -> None:
    folder = write_result(tmp_path / "gqa", count=90)

    def drawn(**options: Any) -> list[str]:
        return re.findall(r"</b> <span>(\d+)</span>", page(tmp_path, folder, **options))

    first = drawn()
    assert len(first) == 8
    assert [int(key) % 3 for key in first[:4]] == [1] * 4  # wrong: 1000 + n where 3 divides n
    assert drawn() == first
    assert drawn(seed=1) != first
    lines = (folder / PREDICTIONS).read_text().splitlines(keepends=True)
    (folder / PREDICTIONS).write_text("".join(reversed(lines)))
    assert drawn() == first
    mostly = write_result(tmp_path / "mostly", reply=lambda n: "yes" if n else "no")
    assert page(tmp_path, mostly).count('<article class="card right">') == 7


def test_ten_thousand_answers_make_a_small_page(tmp_path: Path) -> None:
    folder = write_result(
        tmp_path / "gqa", reply=lambda n: "long " * 2000 if n % 5 == 0 else "yes", count=10_000
    )
    text = page(tmp_path, folder)
    assert len(text) < 200_000
    assert "10,000" in text
    assert "characters more)" in text


def twelve(tmp_path: Path, hostile: bool) -> list[Path]:
    """Twelve results with long names, hostile and Chinese outputs, and missing figures."""
    names = ("gqa", "pope", "textvqa", "mme")
    word = ACT if hostile else "word"
    replies = {0: f"yes {word}", 1: CHINESE * 80, 2: "", 3: None, 4: "x" * 900}
    return [
        write_result(
            tmp_path / f"r{place}",
            names[place % 4],
            reply=lambda n: replies.get(n, "yes" if n % 2 else "no"),
            title=(f"{TITLES[place % 4]} {place} {word if place == 5 else ''}").strip(),
            published={"LLaVA-1.5-7B": 50.0, f"Qwen-VL-Chat {word}": 40.0, "InstructBLIP-7B": 30.0,
                       "A-comparator-with-a-very-long-name-13B": 20.0},
            details={f"group/{word} {'long' * 20}": 10.0, "plain": 20.0},
        )
        for place in range(12)
    ]  # fmt: skip


@NEEDS_CHROMIUM
@pytest.mark.parametrize("width", [400, 1200])
@pytest.mark.parametrize("count", [1, 12])
def test_a_browser_draws_the_page_and_runs_nothing_of_it(
    tmp_path: Path, gqa_root: Path, width: int, count: int
) -> None:
    folders = twelve(tmp_path, hostile=True)[:count]
    found, console = measured(
        page(tmp_path, *folders, name=f"model {ACT}", raw_root=gqa_root, num_answers=12),
        MEASURE,
        tmp_path,
        width,
    )
    assert found["title"] == f"Evaluation of model {ACT}"
    assert found["width"] == width
    assert found["scripts"] == 1  # ours, which measures
    assert found["overflow"] <= 0
    assert found["out"] == []
    assert found["inside"]
    assert found["cards"] == 12 * count
    assert len(found["images"]) == 12 * len(range(0, count, 4))
    assert all(found["images"])
    assert f"yes {ACT}" in found["said"]
    assert CHINESE * 80 in found["said"]
    for part in ("Scores and controls", "LLaVA-Bench (in the Wild) 0", "(empty)", "no answer"):
        assert part in found["text"]
    assert console == []


@NEEDS_CHROMIUM
@pytest.mark.parametrize("width", [400, 1200])
def test_a_browser_draws_a_comparison(tmp_path: Path, gqa_root: Path, width: int) -> None:
    a = write_result(tmp_path / "a", reply=lambda n: "no" if n < 6 else "yes")
    b = write_result(tmp_path / "b", reply=lambda n: "yes" if n < 9 else ACT)
    path = write_comparison(
        compare_models([a], [b], "old", f"new {ACT}"), tmp_path / "c.html", gqa_root
    )
    found, console = measured(path.read_text(), MEASURE, tmp_path, width)
    assert (found["scripts"], found["overflow"] <= 0, found["out"]) == (1, True, [])
    assert found["title"] == f"new {ACT} against old"
    assert found["cards"] == 8
    assert ACT in found["said"]
    for part in ("+25.0", "6", "3 lost, 6 gained", "unclear"):
        assert part in found["text"]
    assert console == []


@NEEDS_CHROMIUM
def test_the_policy_of_the_page_forbids_scripts(tmp_path: Path) -> None:
    text = page(tmp_path, write_result(tmp_path / "gqa"))
    shown, console = browse(text.replace("<h1", MEASURE + "<h1"), tmp_path, 800)
    assert 'id="measured"' not in shown
    assert console  # it says that it refused to
