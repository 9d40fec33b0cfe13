"""MMBench: multiple choice, each question asked once per rotation of its options (CircularEval),
dev split.

    mmbench_dev_20230712.tsv
        columns: index question hint A B C D answer category l2-category source comment image
        1,176 questions in 4,377 rows, their rotations (counted in LLaVA-1.5-13B's uploaded sheet;
        the paper tells of 1,164); rotation k has index + k x 1,000,000; `image` is base64
        (or the index of the row that has it); empty cells read as nan.

Scored as by VLMEvalKit at e8e78f05 without a language model (`exact_matching`): the letter is found
by rules, and a question counts when every rotation is right; a rotation without a letter makes it
wrong. The published figures come from the OpenCompass server, which asks a language model where the
rules find nothing. Prompt as in llava/eval/model_vqa_mmbench.py at c121f04: hint, question,
options, then the letter line.
"""

from components.data.response_formats import OPTION_LETTER
from components.evaluation.choice_sheet import ChoiceSheet
from components.evaluation.scoring.circular import CircularChoice


class Mmbench(CircularChoice):
    name = "mmbench"
    title = "MMBench"
    folder = "mmbench"
    table = "mmbench_dev_20230712.tsv"
    format_line = OPTION_LETTER
    published = {  # arXiv 2310.03744 table 4
        "LLaVA-1.5-7B": 64.3, "LLaVA-1.5-13B": 67.7, "LLaVA-1.5-13B-HD": 68.8,
        "InstructBLIP-8B": 36.0, "Shikra-13B": 58.8, "IDEFICS-9B": 48.2, "IDEFICS-80B": 54.5,
        "Qwen-VL": 38.2, "Qwen-VL-Chat": 60.6, "LLaVA-7B": 38.7,
    }  # fmt: skip


BENCHMARK = Mmbench()
SUBMISSIONS = (
    ChoiceSheet("mmbench-dev", BENCHMARK, BENCHMARK.table),
    ChoiceSheet("mmbench-test", BENCHMARK, "mmbench_test_20230712.tsv", answered=False),
)
