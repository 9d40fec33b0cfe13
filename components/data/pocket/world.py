"""Writes the whole pocket world: raw annotations, images and benchmarks in the layout of the
public data sets.

In: `PocketConfig` and an empty folder. Out: the folder's files and a `RawData` record of them.
Deterministic to the byte in the settings; one core writes the default size in some seconds, so
there is no pool of workers. Trains and measures nothing.

Data card. What: drawn scenes of 96 x 96 pixels, a 3 x 3 grid of everyday-object sprites (Noto Color
Emoji, SIL OFL 1.1) on coloured grounds and mats, some with a printed English word; texts from
templates. Why: to run every part of the chain on a laptop, with data in which an answer can only
come from looking. Splits: by a hash of what a scene shows; evaluation scenes and 24 object pairs
never occur in training. What not: no photographs, no people, no personal data; scores on it say
that the chain works, and nothing about photographs. Licence: as the project, sprites excepted (see
NOTICE). Nutrition figures are rounded from USDA FoodData Central.
"""

import random
from collections.abc import Callable
from pathlib import Path

from components.data.pocket.config import PocketConfig, RawData
from components.data.pocket.files import annotations as annotation_files
from components.data.pocket.files import benchmarks as benchmark_files
from components.data.pocket.files import books as book_files
from components.data.pocket.files import choices as choice_files
from components.data.pocket.files import judged as judged_files
from components.data.pocket.files import llava as llava_files
from components.data.pocket.files import regions as region_files
from components.data.pocket.files import vizwiz as vizwiz_files
from components.data.pocket.files.writing import RawFolder

BENCHMARKS: tuple[tuple[str, Callable[[RawFolder, PocketConfig, random.Random], None]], ...] = (
    ("pope", benchmark_files.write_pope),
    ("vqav2", benchmark_files.write_vqav2),
    ("gqa", benchmark_files.write_gqa),
    ("textvqa", benchmark_files.write_textvqa),
    ("mme", benchmark_files.write_mme),
    ("mmbench", benchmark_files.write_mmbench),
    ("vizwiz", vizwiz_files.write_vizwiz),
    ("scienceqa", choice_files.write_scienceqa),
    ("mmbench_cn", choice_files.write_mmbench_cn),
    ("seed", choice_files.write_seed),
    ("grocery", benchmark_files.write_groceries),
    ("llava_bench", judged_files.write_llava_bench),
    ("mm_vet", judged_files.write_mm_vet),
)


def write_world(
    config: PocketConfig, output_path: str | Path, progress: Callable[[int], None] | None = None
) -> RawData:
    """Write every file below `output_path` and return what was written.

    `progress` is called with the number of images written so far, after each image.
    """
    folder = RawFolder(Path(output_path), progress)

    def rng(part: str) -> random.Random:
        """A generator of its own for each part, so that one part's size does not change another's
        content.
        """
        return random.Random(f"{config.seed}/{part}")

    llava_files.write_captions(folder, config, rng("captions"))
    coco = llava_files.write_coco(folder, config, rng("coco"))
    llava_files.write_instruct(folder, coco, rng("instruct"), config.num_bad_rows)
    llava_files.write_sharegpt(folder, config, rng("sharegpt"))
    annotation_files.write_vqav2(folder, config, coco, rng("vqav2"))
    annotation_files.write_gqa(folder, config, rng("gqa"))
    annotation_files.write_okvqa(folder, config, coco, rng("okvqa"))
    covers = book_files.write_ocrvqa(folder, config, rng("ocrvqa"))
    annotation_files.write_aokvqa(folder, config, coco, rng("aokvqa"))
    annotation_files.write_textcaps(folder, config, rng("textcaps"))
    annotation_files.write_refcoco(folder, coco, rng("refcoco"))
    described = region_files.write_visual_genome(folder, config, rng("visual_genome"))
    llava_files.write_mix665k(folder, {**covers, **described}, rng("mix665k"))
    llava_files.write_groceries(folder, config, rng("groceries"))
    for name, write in BENCHMARKS:
        write(folder, config, rng(f"eval/{name}"))
    return RawData(num_rows=dict(sorted(folder.num_rows.items())), num_images=folder.num_images)
