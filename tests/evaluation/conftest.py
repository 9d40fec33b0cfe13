"""A random LLaVA checkpoint, a target without a model, question files in official layouts."""

import json
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from components.evaluation.benchmark import Question

# Enough text for a small vocabulary.
WORDS = ("yes", "no", "dog", "cat", "red", "Is there a", "in the image?", "single word or phrase.")


class FakeTarget:
    """Answers with a function of the question and remembers what it was asked."""

    def __init__(self, reply: Callable[[Question], str | None]) -> None:
        self.reply = reply
        self.asked: list[Question] = []

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        self.asked += questions
        return [self.reply(question) for question in questions]


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def write_image(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(image_bytes(shade))


def image_bytes(shade: int) -> bytes:
    file = BytesIO()
    Image.new("RGB", (40, 30), (shade % 256, 3 * shade % 256, 7 * shade % 256)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def fake_target() -> type[FakeTarget]:
    return FakeTarget


@pytest.fixture
def gqa_root(tmp_path: Path) -> Path:
    """A raw folder with a small GQA: 12 questions on 6 images; the image's number answers."""
    folder = tmp_path / "raw" / "eval" / "gqa"
    entries = {}
    for number in range(12):
        entries[str(1000 + number)] = {
            "imageId": f"n{number // 2}",
            "question": f"Which number is it, asked {number % 2}?",
            "answer": str(number // 2),
            "isBalanced": True,
            "types": {"structural": "query" if number % 2 else "verify", "semantic": "obj"},
        }
        write_image(folder / "images" / f"n{number // 2}.jpg", 40 * (number // 2))
    write_json(folder / "testdev_balanced_questions.json", entries)
    return tmp_path / "raw"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random LLaVA model of a few thousand weights: 28 px images, 4 patches."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoint"))


def write_checkpoint(folder: Path, size: int = 28, width: int = 32, layers: int = 2) -> Path:
    """Write a random model with a byte-level vocabulary; other sizes are for measuring speed."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        CLIPVisionConfig,
        CLIPVisionModel,
        LlamaConfig,
        LlamaForCausalLM,
        PreTrainedTokenizerFast,
    )

    from components.data.config import ImageSpec
    from components.model.build import build_llava
    from components.model.checkpoint import save

    backend = Tokenizer(models.BPE(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        WORDS,
        trainers.BpeTrainer(
            vocab_size=400,
            special_tokens=["<unk>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    shape = {"hidden_size": width, "intermediate_size": 2 * width, "num_attention_heads": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tower = CLIPVisionModel(
            CLIPVisionConfig(**shape, num_hidden_layers=layers, image_size=size, patch_size=14)
        )
        language_model = LlamaForCausalLM(
            LlamaConfig(
                **shape,
                vocab_size=len(tokenizer),
                num_hidden_layers=layers,
                max_position_embeddings=2048,
                bos_token_id=1,
                eos_token_id=2,
            )
        )
    tower.save_pretrained(folder / "vision_tower")
    language_model.save_pretrained(folder / "language_model")
    tokenizer.save_pretrained(folder / "language_model")
    parts = build_llava(folder / "vision_tower", folder / "language_model")
    spec = ImageSpec(size_px=size)
    return save(parts.model, parts.tokenizer, folder / "llava", spec, template="vicuna_v1")
