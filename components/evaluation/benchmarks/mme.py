"""MME: two yes/no questions per image, fourteen subtasks (2,374 questions).

    llava_mme.jsonl
        {"question_id": "existence/000000006040.jpg", "image": "existence/000000006040.jpg",
         "category": "existence",
         "text": "Is there a train in this image?\\nAnswer the question using a single ..."}
    MME_Benchmark_release_version/existence/000000006040.{jpg,txt}
        txt: "Is there a train in this image? Please answer yes or no.<tab>Yes", one question a line
        (some subtasks keep them in images/ and questions_answers_YN/)

Scored as by eval_tool/calculation.py (BradyFU, branch Evaluation at dd295090): lower case; exactly
yes or no, else `yes` and then `no` looked for in the first four characters ("know" is no), else
other, which is wrong. A subtask gives 100 x accuracy + 100 x accuracy+ (both questions of an image
right). Perception sums ten subtasks (at most 2,000), the headline; cognition four (800). The
original pairs questions by their order in a file; here by image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Counts, FloatArray, Prediction, Question
from components.evaluation.files import field, located_rows
from components.evaluation.scoring.metrics import ratio, tally

OFFICIAL_LINE = "Please answer yes or no."
PERCEPTION = (
    "existence", "count", "position", "color", "posters",
    "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = (
    "commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning",
)  # fmt: skip
SUBTASKS = PERCEPTION + COGNITION
_RIGHT, _ASKED, _IMAGE_RIGHT, _IMAGES = range(4)
_RELEASE = "MME_Benchmark_release_version"


class Mme:
    name = "mme"
    title = "MME perception"
    folder = "MME"
    headline_name = "sum of accuracy and accuracy+"
    full_maximum = 2000.0
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    published = {  # arXiv 2310.03744 table 4
        "LLaVA-1.5-7B": 1510.7, "LLaVA-1.5-13B": 1531.3, "LLaVA-1.5-13B-HD": 1500.1,
        "BLIP2-14B": 1293.8, "InstructBLIP-14B": 1212.8, "Qwen-VL-Chat": 1487.5, "LLaVA-7B": 809.6,
    }  # fmt: skip
    note = ""

    def read(self, root: Path) -> list[Question]:
        prompted = root / "llava_mme.jsonl"
        answers = _read_answers(root / _RELEASE)
        questions = []
        for where, row in located_rows(prompted):
            key, prompt = str(field(row, "question_id", where)), field(row, "text", where)
            subtask, stem = row.get("category") or key.split("/")[0], Path(key).stem
            text = _bare(prompt)
            if (subtask, stem, text) not in answers:
                raise DataError(
                    f"{where}: {root / _RELEASE / subtask} has no answer for {stem}.txt, {text!r}; "
                    f"use question and answer files of one release"
                )
            questions.append(
                Question(
                    # The original's id names the image, so two rows share it.
                    id=f"{subtask}/{stem}: {text}",
                    benchmark=self.name,
                    prompt=prompt,
                    target=answers[subtask, stem, text],
                    image_path=str(_image_path(root / _RELEASE, field(row, "image", where))),
                    group=f"{subtask}/{stem}",
                    max_new_tokens=self.max_new_tokens,
                    meta={"subtask": subtask},
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        text = raw.lower()
        if text in ("yes", "no"):
            return text
        return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else "other"

    def score(self, answer: str, question: Question) -> float:
        return float(answer == question.target)

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        images: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            images.setdefault(prediction.question.cluster, []).append(prediction)

        def entries() -> Iterator[tuple[str, int, float]]:
            for cluster, pair in images.items():
                start = 4 * SUBTASKS.index(pair[0].question.meta["subtask"])
                scores = [prediction.score for prediction in pair]
                yield cluster, start + _RIGHT, sum(scores)
                yield cluster, start + _ASKED, len(scores)
                yield cluster, start + _IMAGE_RIGHT, float(all(score == 1.0 for score in scores))
                yield cluster, start + _IMAGES, 1.0

        strata = {name: pair[0].question.meta["subtask"] for name, pair in images.items()}
        return tally(entries(), num_columns=4 * len(SUBTASKS), strata=strata)

    def headline(self, totals: FloatArray) -> FloatArray:
        return _subtask_scores(totals)[..., : len(PERCEPTION)].sum(axis=-1)

    def maximum(self, totals: FloatArray) -> float:
        asked = totals.reshape(len(SUBTASKS), 4)[: len(PERCEPTION), _ASKED]
        return 200.0 * float((asked > 0).sum())

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        totals = self.count(predictions).table.sum(axis=0)
        cells, scores = totals.reshape(len(SUBTASKS), 4), _subtask_scores(totals)
        details: dict[str, float] = {}
        for place, subtask in enumerate(SUBTASKS):
            right, asked, image_right, images = cells[place].tolist()
            if asked:
                details[subtask] = float(scores[place])
                details[f"{subtask}/accuracy"] = 100.0 * right / asked
                details[f"{subtask}/accuracy_plus"] = 100.0 * image_right / images
        count = len(PERCEPTION)
        details["perception"] = float(scores[:count].sum())
        details["perception_subtasks"] = float((cells[:count, _ASKED] > 0).sum())
        if (cells[count:, _ASKED] > 0).any():
            details["cognition"] = float(scores[count:].sum())
            details["cognition_subtasks"] = float((cells[count:, _ASKED] > 0).sum())
        details["pictures_without_two_questions"] = float(_odd_images(predictions))
        details["answers_neither_yes_nor_no"] = float(sum(p.answer == "other" for p in predictions))
        return details


def _subtask_scores(totals: FloatArray) -> FloatArray:
    cells = totals.reshape(*totals.shape[:-1], len(SUBTASKS), 4)
    accuracy = ratio(cells[..., _RIGHT], cells[..., _ASKED])
    return 100.0 * accuracy + 100.0 * ratio(cells[..., _IMAGE_RIGHT], cells[..., _IMAGES])


def _odd_images(predictions: Sequence[Prediction]) -> int:
    sizes: dict[str, int] = {}
    for prediction in predictions:
        sizes[prediction.question.cluster] = sizes.get(prediction.question.cluster, 0) + 1
    return sum(size != 2 for size in sizes.values())


def _bare(text: str) -> str:
    """Return the question without response-format lines; single spaces, as some files have two."""
    return " ".join(text.replace(SHORT_ANSWER, " ").replace(OFFICIAL_LINE, " ").split())


def _image_path(release: Path, name: str) -> Path:
    direct = release / name
    nested = direct.parent / "images" / direct.name
    return nested if nested.exists() and not direct.exists() else direct


def _read_answers(release: Path) -> dict[tuple[str, str, str], str]:
    """Return yes or no by (subtask, file stem, question).

    Raises DataError naming a malformed line.
    """
    if not release.is_dir():
        raise DataError(f"{release}: folder missing; it holds one folder of .txt files per subtask")
    answers = {}
    for folder in sorted(path for path in release.iterdir() if path.is_dir()):
        if folder.name not in SUBTASKS:
            raise DataError(f"{folder}: not an MME subtask; expected one of {', '.join(SUBTASKS)}")
        nested = folder / "questions_answers_YN"
        for path in sorted((nested if nested.is_dir() else folder).glob("*.txt")):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                if not line.strip():
                    continue
                text, _, answer = line.strip().partition("\t")
                if answer.lower() not in ("yes", "no"):
                    raise DataError(
                        f"{path}:{number}: expected QUESTION<tab>Yes or No, found {line!r}"
                    )
                answers[folder.name, path.stem, _bare(text)] = answer.lower()
    return answers


BENCHMARK = Mme()
