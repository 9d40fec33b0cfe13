"""MM-Vet: 218 open questions that need several capabilities at once, graded 0 to 1 by a judge.

    mm-vet.json         {"v1_0": {"imagename": "v1_0.png", "question": "What is x in the equation?",
                                  "answer": "-1<AND>-5", "capability": ["ocr", "math"], ...}}
    llava-mm-vet.jsonl  {"question_id": 0, "image": "v1_0.png", "text": "What is x in the ..."}
                        (optional; the prompts of the original, equal to the questions)
    images/v1_0.png

Graded as by mm-vet_evaluator.py (yuweihao/MM-Vet at acde843): the prompt of mm_vet_prompt.py at
temperature 0, three tokens; the text before the first space is a number from 0 to 1, else the judge
is asked again, with one more sentence, at temperatures 0, 0.5, 1 and 1.5. The original asks a sixth
time, does not look at the reply and puts 0.0; here an answer without a grade is left out and
counted, and `official/total` in the details is the figure with the 0.0. Score: 100 x mean, also per
capability and per set of capabilities; of several runs the mean. Submission: {"v1_0": answer}
(scripts/convert_mmvet_for_eval.py of LLaVA at c121f04).
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError
from components.evaluation.benchmark import (
    Counts,
    FloatArray,
    Judgement,
    JudgeRequest,
    Prediction,
    Question,
)
from components.evaluation.files import field, located_rows, read_json
from components.evaluation.judge.mm_vet_prompt import VERSION, grading_prompt
from components.evaluation.judge.offline_proxy import word_f1
from components.evaluation.scoring.metrics import MeanAccuracy, tally
from components.evaluation.submissions import Answer, Written, joined, write_json

ID_PREFIX = "v1_"
# The first request is without the insisting sentence, the others with it.
TEMPERATURES = (0.0, 0.0, 0.5, 1.0, 1.5)


class MmVet(MeanAccuracy):
    name = "mm_vet"
    title = "MM-Vet"
    folder = "mm-vet"
    headline_name = "judge's mean grade"
    max_new_tokens = 1024  # llava/eval/model_vqa.py
    published = {  # arXiv 2310.03744 table 4
        "LLaVA-1.5-7B": 31.1, "LLaVA-1.5-13B": 36.1, "LLaVA-1.5-13B-HD": 39.4,
        "BLIP2-14B": 22.4, "InstructBLIP-8B": 26.2, "InstructBLIP-14B": 25.6, "LLaVA-7B": 25.5,
    }  # fmt: skip
    official_judge = "gpt-4-0613"
    note = ""

    def read(self, root: Path) -> list[Question]:
        path, prompted = root / "mm-vet.json", root / "llava-mm-vet.jsonl"
        entries = read_json(path)
        if not isinstance(entries, dict):
            raise DataError(f"{path}: expected an object of questions by id, such as 'v1_0'")
        prompts = _prompts(prompted, entries) if prompted.exists() else {}
        questions = []
        for key, entry in entries.items():
            where = f"{path}[{key}]"
            row = prompts.get(key, {})
            image = row.get("image") or field(entry, "imagename", where)
            asked = field(entry, "question", where)
            questions.append(
                Question(
                    id=key,
                    benchmark=self.name,
                    prompt=row.get("text") or asked,
                    target=field(entry, "answer", where),
                    image_path=str(root / "images" / image),
                    group=image,
                    max_new_tokens=self.max_new_tokens,
                    meta={
                        "question": asked,
                        "capability": sorted(set(field(entry, "capability", where))),
                    },
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        return raw

    def score(self, answer: str, question: Question) -> float:
        """The offline proxy: the best word overlap with one of the <OR> parts of the truth."""
        truths = question.target.replace("<AND>", " ").split("<OR>")
        return max(word_f1(answer, truth) for truth in truths)

    def prompt_version(self, question: Question) -> str:
        return VERSION

    def requests(self, question: Question, raw: str | None) -> tuple[JudgeRequest, ...]:
        """What the official evaluator asks in turn; a missing answer is wrong without a judge."""
        if raw is None:
            return ()
        asked = question.meta["question"]
        return tuple(
            JudgeRequest(
                grading_prompt(asked, question.target, raw, insisting=turn > 0),
                temperature,
                max_tokens=3,
            )
            for turn, temperature in enumerate(TEMPERATURES)
        )

    def readable(self, reply: str) -> bool:
        return read_grade(reply) is not None

    def grade(self, judgements: Sequence[Judgement], question: Question) -> float | None:
        grades = [grade for each in judgements if (grade := _grade(each)) is not None]
        return sum(grades) / len(grades) if grades else None

    def kind(self, prediction: Prediction) -> str | None:
        return _integration(prediction)

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        def entries() -> Iterator[tuple[str, int, float]]:
            for prediction in predictions:
                # A failed judgement adds nothing, and its image stays a cluster.
                weight = float(prediction.graded)
                yield prediction.question.cluster, 0, weight * prediction.score
                yield prediction.question.cluster, 1, weight

        return tally(entries(), num_columns=2)

    def maximum(self, totals: FloatArray) -> float:
        return 100.0 if totals[1] else 0.0

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        groups: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            if not prediction.graded:
                continue
            for name in prediction.question.meta["capability"]:
                groups.setdefault(f"capability/{name}", []).append(prediction)
            groups.setdefault(f"integration/{_integration(prediction)}", []).append(prediction)
        details = {name: _percent(members) for name, members in sorted(groups.items())}
        runs = _official_runs(predictions)
        details["official/total"] = round(float(runs.mean()), 1)
        details["official/std"] = round(float(runs.std()), 1)
        if len(runs) > 1:
            details |= {f"official/run_{n}": round(float(run), 1) for n, run in enumerate(runs)}
        return details


def read_grade(reply: str) -> float | None:
    """Return the grade as the official evaluator reads it; None where it would ask again.

    Not a number counts as no grade; the original's bounds let it through.
    """
    try:
        grade = float(reply.split(" ")[0].strip())
    except ValueError:
        return None
    return grade if 0.0 <= grade <= 1.0 else None


def _grade(judgement: Judgement) -> float | None:
    if judgement.error or not judgement.replies:
        return None
    return read_grade(judgement.replies[-1])


def _integration(prediction: Prediction) -> str:
    return "_".join(prediction.question.meta["capability"])


def _percent(predictions: Sequence[Prediction]) -> float:
    """Return the mean over runs of the mean grade, added up as the evaluator does, so that the
    last bit, and with it the rounding, agrees.
    """
    runs: dict[int, list[float]] = {}
    for prediction in predictions:
        grades = [_grade(judgement) for judgement in prediction.judgements] or [0.0]
        for run, grade in enumerate(grades):
            if grade is not None:
                runs.setdefault(run, []).append(grade)
    return float(np.mean([sum(grades) / len(grades) * 100 for grades in runs.values()]))


def _official_runs(predictions: Sequence[Prediction]) -> FloatArray:
    """Return each run's score with 0.0 for what has no grade, added up as the evaluator does."""
    num_runs = max((len(p.judgements) for p in predictions), default=1) or 1
    sums = [0.0] * num_runs
    for prediction in predictions:
        for run, judgement in enumerate(prediction.judgements):
            sums[run] += _grade(judgement) or 0.0
    return np.array(sums) / max(1, len(predictions)) * 100


def _prompts(path: Path, entries: dict[str, Any]) -> dict[str, dict[str, Any]]:
    prompts = {}
    for where, row in located_rows(path):
        key = f"{ID_PREFIX}{field(row, 'question_id', where)}"
        if key not in entries:
            raise DataError(f"{where}: mm-vet.json has no {key!r}; use files of one release")
        prompts[key] = row
    return prompts


class MmVetEvaluator:
    """The answers for the authors' own grading: their script, or their Space with GPT-4."""

    name = "mm-vet"
    benchmark = "mm_vet"
    server = "https://huggingface.co/spaces/whyu/MM-Vet_Evaluator"
    file_name = "mm-vet.json"

    def read(self, root: Path) -> list[Question]:
        return MmVet().read(root)

    def write(self, root: Path, answers: Iterable[Answer], path: Path) -> Written:
        """The evaluator stops at a missing answer, so none may be. Ids may be the original's
        (`0`), as its answers files have them, or the benchmark's (`v1_0`).
        """
        ids = [question.id for question in self.read(root)]
        full = ((_full_id(key), raw) for key, raw in answers)
        found = joined(self.name, ids, full, complete=True)
        write_json(path, {key: found.raws[key] for key in ids})
        return found.written(path, len(ids))


def _full_id(key: str) -> str:
    return key if key.startswith(ID_PREFIX) else ID_PREFIX + key


BENCHMARK = MmVet()
SUBMISSIONS = (MmVetEvaluator(),)
