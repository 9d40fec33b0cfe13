"""The published figures, typed a second time: by model as the paper's tables have them, while the
benchmarks hold them by column.
"""

import pytest

from components.evaluation.benchmark import benchmark_names, get_benchmark

# arXiv 2310.03744 table 3: VQAv2, GQA, VizWiz, ScienceQA-IMG, TextVQA.
ACADEMIC = ("vqav2", "gqa", "vizwiz", "scienceqa", "textvqa")
TABLE_3 = """
BLIP-2 Vic-13B    65.0 41.0 19.6 61.0 42.5
InstructBLIP 7B   -    49.2 34.5 60.5 50.1
InstructBLIP 13B  -    49.5 33.4 63.1 50.7
Shikra 13B        77.4 -    -    -    -
IDEFICS-9B        50.9 38.4 35.5 -    25.9
IDEFICS-80B       60.0 45.2 36.0 -    30.9
Qwen-VL           78.8 59.3 35.2 67.1 63.8
Qwen-VL-Chat      78.2 57.5 38.9 68.2 61.5
LLaVA-1.5-7B      78.5 62.0 50.0 66.8 58.2
LLaVA-1.5-13B     80.0 63.3 53.6 71.6 61.3
LLaVA-1.5-13B-HD  81.8 64.7 57.5 71.0 62.5
"""
# Table 4: MME, MMBench, MMBench-CN, SEED, LLaVA-Bench, MM-Vet; POPE's three splits stand below.
INSTRUCTION = ("mme", "mmbench", "mmbench_cn", "seed", "llava_bench", "mm_vet")
TABLE_4 = """
BLIP2-14B         1293.8 -    -    46.4 38.1 22.4
InstructBLIP-8B   -      36.0 23.7 53.4 60.9 26.2
InstructBLIP-14B  1212.8 -    -    - 58.2 25.6
Shikra-13B        -      58.8 -    - -    -
IDEFICS-9B        -      48.2 25.2 - -    -
IDEFICS-80B       -      54.5 38.1 - -    -
Qwen-VL           -      38.2 7.4  56.3 -    -
Qwen-VL-Chat      1487.5 60.6 56.7 58.2 -    -
LLaVA-7B          809.6  38.7 36.4 33.5 62.8 25.5
LLaVA-1.5-7B      1510.7 64.3 58.3 58.6 65.4 31.1
LLaVA-1.5-13B     1531.3 67.7 63.6 61.6 72.5 36.1
LLaVA-1.5-13B-HD  1500.1 68.8 61.9 62.6 72.0 39.4
"""
POPE_SPLITS = {
    "BLIP2-14B": (89.6, 85.5, 80.9),
    "InstructBLIP-14B": (87.7, 77.0, 72.0),
    "LLaVA-7B": (76.3, 72.2, 70.1),
    "LLaVA-1.5-7B": (87.3, 86.1, 84.2),
    "LLaVA-1.5-13B": (87.1, 86.2, 84.5),
    "LLaVA-1.5-13B-HD": (87.5, 86.4, 85.0),
}


def columns(table: str, names: tuple[str, ...]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for line in table.strip().splitlines():
        model, cells = line[:18].strip(), line[18:].split()
        for name, cell in zip(names, cells, strict=True):
            if cell != "-":
                found[name][model] = float(cell)
    return found


@pytest.mark.parametrize("name", [*ACADEMIC, *INSTRUCTION])
def test_figures_are_those_of_the_tables(name: str) -> None:
    tables = columns(TABLE_3, ACADEMIC) | columns(TABLE_4, INSTRUCTION)
    assert dict(get_benchmark(name).published) == tables[name]


def test_popes_figures_are_the_means_of_its_splits() -> None:
    published = get_benchmark("pope").published
    assert set(published) == set(POPE_SPLITS)
    for model, splits in POPE_SPLITS.items():
        assert published[model] == pytest.approx(sum(splits) / 3, abs=0.05), model


def test_every_benchmark_of_the_paper_has_both_sizes() -> None:
    for name in benchmark_names():
        published = get_benchmark(name).published
        assert not published or {"LLaVA-1.5-7B", "LLaVA-1.5-13B"} <= set(published), name
