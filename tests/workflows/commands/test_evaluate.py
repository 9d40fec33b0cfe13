"""`lavaflow eval` and `lavaflow score`: models of each kind, found again, told what is wrong."""

import json
from pathlib import Path

import pytest

from components.core.store import Store
from components.registry.versions import Registration, Registry
from tests.conftest import BUCKET
from tests.evaluation.conftest import write_checkpoint, write_image, write_json, write_lines
from tests.evaluation.tiny_api import parts, said, tiny_api
from tests.workflows.command_line import Lavaflow

QUICK = ("--benchmarks", "gqa", "--limit", "6")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Six questions on three images; the first word of each is its answer."""
    folder = tmp_path / "raw" / "eval" / "gqa"
    entries = {}
    for number in range(6):
        entries[str(number)] = {
            "imageId": f"n{number // 2}",
            "question": f"w{number % 2} is the answer?",
            "answer": f"w{number % 2}",
            "isBalanced": True,
            "types": {"structural": "query", "semantic": "obj"},
        }
        write_image(folder / "images" / f"n{number // 2}.jpg", 40 * number)
    write_json(folder / "testdev_balanced_questions.json", entries)
    return tmp_path / "raw"


def answers(folder: Path) -> dict[str, str]:
    lines = (folder / "gqa" / "predictions.jsonl").read_text().splitlines()
    return {row["question_id"]: row["raw"] for row in map(json.loads, lines)}


def test_a_folder_is_judged_and_found_again(
    lavaflow: Lavaflow, model: Path, raw: Path, tmp_path: Path
) -> None:
    first = lavaflow("eval", model, "--raw", raw, *QUICK, "--output", "out")
    assert first.returncode == 0, first.stderr
    assert "+ gqa  done in" in first.stdout
    assert "every answer: out" in first.stdout
    assert "Scores and controls" in (tmp_path / "out" / "report.html").read_text()
    written = (tmp_path / "out" / "gqa" / "predictions.jsonl").read_bytes()
    again = lavaflow("eval", model, "--raw", raw, *QUICK, "--output", "out")
    assert "= gqa  found in" in again.stdout
    assert again.stdout.splitlines()[1:] == first.stdout.splitlines()[1:]
    (tmp_path / "out" / "gqa" / "scores.json").write_text("{")  # cut short
    cut = lavaflow("eval", model, "--raw", raw, *QUICK, "--output", "out")
    assert "+ gqa  done in" in cut.stdout
    assert (tmp_path / "out" / "gqa" / "predictions.jsonl").read_bytes() == written
    asked = tmp_path / "out" / "gqa" / "asked.json"
    payload = json.loads(asked.read_text())
    payload["code"]["components.data.tokens"] = "of an earlier version"
    asked.write_text(json.dumps(payload))
    newer = lavaflow("eval", model, "--raw", raw, *QUICK, "--output", "out")
    assert "+ gqa  done in" in newer.stdout, "answers of other code are asked for again"
    other = lavaflow("eval", model, "--raw", raw, "-b", "gqa", "--output", "out")
    assert other.returncode == 2
    assert "holds results with limit=6, not 0" in other.stderr
    rescored = lavaflow("score", "out")
    assert rescored.returncode == 0, rescored.stderr
    scores = [line for line in first.stdout.splitlines() if line.startswith(" GQA")]
    assert scores == [line for line in rescored.stdout.splitlines() if line.startswith(" GQA")]


def test_one_model_answers_the_same_by_folder_store_and_version(
    lavaflow: Lavaflow, model: Path, raw: Path, tmp_path: Path, s3_environment: str
) -> None:
    address = f"s3://{BUCKET}/{tmp_path.name}/model"
    Store(f"s3://{BUCKET}").upload(model, f"{tmp_path.name}/model")
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    registration = Registration(checkpoint_uri=address, checkpoint_digest="0" * 64)
    Registry(tracking).register("tiny", registration)
    found = []
    for name in (model, address, "tiny/1"):
        options = ("--raw", raw, *QUICK, "--tracking-uri", tracking, "--output", "out", "--force")
        done = lavaflow("eval", name, *options)
        assert done.returncode == 0, done.stderr
        found.append(answers(tmp_path / "out"))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 6


def test_an_api_is_judged_by_its_address(lavaflow: Lavaflow, raw: Path, tmp_path: Path) -> None:
    with tiny_api(lambda body: said(parts(body)[0].split()[0])) as (url, asked):
        done = lavaflow("eval", url.removesuffix("/v1"), "--raw", raw, "-b", "gqa", "--no-blind")
    assert done.returncode == 0, done.stderr
    assert {body["model"] for body in asked} == {"tiny"}
    assert "tiny: scores" in done.stdout
    assert " 100.0 " in next(line for line in done.stdout.splitlines() if "GQA" in line)
    (folder,) = (tmp_path / ".lavaflow" / "evaluations").iterdir()
    assert len(answers(folder)) == 6


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("eval", "nowhere/at-all"), 2, "NAME@ALIAS, NAME/VERSION .* or the http address"),
        (("eval", "tiny@champion"), 9, "tiny"),
        (("eval", "http://127.0.0.1:9/v1"), 13, "does not answer"),
        (("eval", "MODEL", "-b", "gaq"), 2, "did you mean gqa"),
        (("eval", "MODEL", "--raw", "."), 2, "no folder eval there"),
        (("score", "."), 2, "no predictions.jsonl there"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    lavaflow: Lavaflow,
    model: Path,
    raw: Path,
    words: tuple[str, ...],
    code: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    given = [str(model) if word == "MODEL" else word for word in words]
    if words[0] == "eval" and "--raw" not in words:
        given += ["--raw", str(raw)]
    done = lavaflow(*given)
    assert done.returncode == code, done.stderr
    assert re.search(message, done.stderr), done.stderr


def test_without_a_raw_folder_the_drawn_world_is_taken_or_asked_for(
    lavaflow: Lavaflow, model: Path
) -> None:
    done = lavaflow("eval", model)
    assert done.returncode == 2
    assert "--raw" in done.stderr
    assert "lavaflow run tiny --only raw" in done.stderr


def test_a_submission_is_answered_and_written(
    lavaflow: Lavaflow, raw: Path, tmp_path: Path
) -> None:
    folder = raw / "eval" / "vqav2"
    rows = [
        {"question_id": number, "image": f"n{number}.jpg", "text": f"w{number} is it?"}
        for number in range(3)
    ]
    for row in rows:
        write_image(folder / "test2015" / row["image"], 9 * row["question_id"])
    write_lines(folder / "llava_vqav2_mscoco_test-dev2015.jsonl", rows[:2])
    write_lines(folder / "llava_vqav2_mscoco_test2015.jsonl", rows)
    with tiny_api(lambda body: said(parts(body)[0].split()[0].upper() + ".")) as (url, asked):
        words = ("submission", "vqav2-test-dev", url, "--raw", raw, "--output", "upload.json")
        done = lavaflow(*words)
        again = lavaflow(*words)
    assert done.returncode == again.returncode == 0, done.stderr
    assert len(asked) == 2, "an answer is not asked for again"
    upload = {
        row["question_id"]: row["answer"] for row in json.loads(Path("upload.json").read_text())
    }
    assert upload == {0: "w0", 1: "w1", 2: ""}
    assert "3 answers, " in done.stdout
    unknown = lavaflow("submission", "vqav2", url)
    assert unknown.returncode == 2
    assert "vqav2-test-dev" in unknown.stderr


def test_two_models_are_compared_question_by_question(
    lavaflow: Lavaflow, raw: Path, tmp_path: Path
) -> None:
    """B knows every answer, A those of one kind."""
    rules = {"a": lambda _: said("w0"), "b": lambda body: said(parts(body)[0].split()[0])}
    for name, rule in rules.items():
        with tiny_api(rule) as (url, _):
            asked = ("eval", url, "--raw", raw, "-b", "gqa", "--no-blind", "--output", name)
            assert lavaflow(*asked).returncode == 0
    done = lavaflow("compare", "a", "b", "--page", "page.html", "--raw", raw)
    assert done.returncode == 0, done.stderr
    (row,) = (line for line in done.stdout.splitlines() if line.startswith(" GQA"))
    assert row.split()[1:4] == ["50.0", "100.0", "+50.0"]
    assert "3 / 0" in row
    assert "w1 is the answer?" in done.stdout
    assert "data:image/" in (tmp_path / "page.html").read_text()
    told = json.loads(lavaflow("compare", "b", "a", "--json").stdout)
    assert told["rows"][0]["difference_percent"] == -50.0
    seeds = lavaflow("score", "a", "b")
    assert "75.0" in seeds.stdout and "35.36" in seeds.stdout
    assert lavaflow("compare", "a", "nowhere").returncode == 2
