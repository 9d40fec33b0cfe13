"""MMBench-CN: the questions of MMBench in Chinese, dev split, each asked once per rotation.

    mmbench_dev_cn_20231003.tsv
        columns and rotations as in mmbench_dev_20230712.tsv; question, hint and options in Chinese,
        answers are letters, categories in English

Read, parsed and scored as MMBench (`components/evaluation/scoring/circular.py`): the rules that
find a letter are those for English. They split at white space, so a letter glued to Chinese
characters is not found; the published figures come from the OpenCompass server, which asks a
language model then. The letter line is that of llava/eval/model_vqa_mmbench.py at c121f04 with
--lang cn. The original's documents put the table into mmbench/, its script reads mmbench_cn/: so
does this.
"""

from components.evaluation.choice_sheet import ChoiceSheet
from components.evaluation.scoring.circular import CircularChoice

# "Please answer with the letter of the option directly."
FORMAT_LINE = "\u8bf7\u76f4\u63a5\u56de\u7b54\u9009\u9879\u5b57\u6bcd\u3002"


class MmbenchCn(CircularChoice):
    name = "mmbench_cn"
    title = "MMBench-CN"
    folder = "mmbench_cn"
    table = "mmbench_dev_cn_20231003.tsv"
    format_line = FORMAT_LINE
    published = {  # arXiv 2310.03744 table 4
        "LLaVA-1.5-7B": 58.3, "LLaVA-1.5-13B": 63.6, "LLaVA-1.5-13B-HD": 61.9,
        "InstructBLIP-8B": 23.7, "IDEFICS-9B": 25.2, "IDEFICS-80B": 38.1,
        "Qwen-VL": 7.4, "Qwen-VL-Chat": 56.7, "LLaVA-7B": 36.4,
    }  # fmt: skip


BENCHMARK = MmbenchCn()
SUBMISSIONS = (
    ChoiceSheet("mmbench-cn-dev", BENCHMARK, BENCHMARK.table),
    ChoiceSheet("mmbench-cn-test", BENCHMARK, "mmbench_test_cn_20231003.tsv", answered=False),
)
