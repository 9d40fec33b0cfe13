"""The settings of the pocket world and the record of what was written; cheap to import.

In: values from a recipe. Out: frozen, checked settings. Draws nothing and writes nothing (see
`world.py`).
"""

from pydantic import Field

from components.core.artifact import Artifact
from components.core.config import Config


class PocketConfig(Config):
    """How much of the pocket world is written.

    The defaults are for a laptop: about 8,700 images, 50 MB, seconds.
    """

    seed: int = 0
    """Seed of everything: equal settings give equal bytes."""
    num_caption_images: int = Field(default=4000, ge=1)
    """Images of the caption set (the 558K set's part)."""
    num_coco_images: int = Field(default=1500, ge=1)
    """Images in coco/train2017, shared by LLaVA-Instruct, VQAv2, OK-VQA, A-OKVQA, RefCOCO."""
    num_gqa_images: int = Field(default=500, ge=1)
    """Images with GQA questions."""
    num_textcaps_images: int = Field(default=250, ge=1)
    """Images with TextCaps captions; each has a sign."""
    num_okvqa_images: int = Field(default=300, ge=1)
    """Most images of coco/train2017 with an OK-VQA question; not every scene allows one."""
    num_ocrvqa_images: int = Field(default=250, ge=1)
    """Book covers with OCR-VQA questions; four fifths are of the training split."""
    num_visual_genome_images: int = Field(default=250, ge=1)
    """Images with Visual Genome regions."""
    num_grocery_images: int = Field(default=250, ge=1)
    """Images of groceries with the JSON instruction."""
    num_dialogues: int = Field(default=400, ge=1)
    """Text-only dialogues in the ShareGPT file."""
    questions_per_image: int = Field(default=6, ge=1, le=12)
    """Most VQAv2 or GQA questions about one training image."""
    num_choice_images: int = Field(default=750, ge=1)
    """Images of coco/train2017 with A-OKVQA questions; the mixture makes four rows of each."""
    choices_per_image: int = Field(default=1, ge=1, le=3)
    """A-OKVQA questions about one such image."""
    num_benchmark_questions: int = Field(default=300, ge=8)
    """Questions of VQAv2, GQA, TextVQA, MME, VizWiz, ScienceQA and SEED; each POPE split has two
    thirds, MMBench and MMBench-CN a fifth (times their rotations).
    """
    num_benchmark_groceries: int = Field(default=24, ge=1)
    """Held-out images of the grocery benchmark."""
    num_bad_rows: int = Field(default=0, ge=0)
    """Rows added to LLaVA-Instruct that must be rejected.

    In turn a damaged image, a missing image, an empty answer.
    """


class RawData(Artifact):
    """A raw folder in the layout of the public files: annotations, images and benchmarks."""

    num_rows: dict[str, int]
    """Rows of each annotation or benchmark file, by its path below the folder."""
    num_images: int
    """Images written as files (those inside mmbench's table not counted)."""
