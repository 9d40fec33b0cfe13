"""Models of transformers answer as they do alone; what cannot be loaded safely is refused."""

import dataclasses
import json
import logging
import shutil
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

from components.core.errors import CheckpointError
from components.evaluation.benchmark import Question
from components.evaluation.targets.checkpoint import CheckpointTarget
from components.evaluation.targets.vlm import TransformersTarget

SIDE = 28
LENGTHS = (6, 3)


def square(shade: int) -> bytes:
    """An image of the tower's own size: no two ways of resizing can differ."""
    file = BytesIO()
    Image.effect_noise((SIDE, SIDE), shade).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    asked = [
        Question(str(n), "gqa", "Is there a dog? " * (1 + n % 4), "yes", image_bytes=square(9 * n))
        for n in range(1, 8)
    ]
    asked.append(Question("text", "gqa", "Is there a cat?", "yes"))
    return [dataclasses.replace(q, max_new_tokens=LENGTHS[n % 2]) for n, q in enumerate(asked)]


def test_our_own_model_answers_the_same_through_transformers(
    tiny_checkpoint: Path, questions: list[Question]
) -> None:
    """Two ways from a question to tokens and pixels, and two loops that generate."""
    ours = CheckpointTarget(tiny_checkpoint, device="cpu").answer(questions)
    theirs = TransformersTarget(tiny_checkpoint, device="cpu", batch_size=3)
    assert theirs.answer(questions) == ours
    assert len(set(ours)) > 1, "answers that are all alike would prove nothing"


@pytest.fixture(scope="module")
def instructblip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random InstructBLIP: no chat template, generates from embeddings."""
    from transformers import (
        BlipImageProcessorPil,
        InstructBlipConfig,
        InstructBlipForConditionalGeneration,
        InstructBlipProcessor,
        InstructBlipQFormerConfig,
        InstructBlipVisionConfig,
        LlamaConfig,
    )

    from tests.data.samples import build_tokenizer

    folder = tmp_path_factory.mktemp("instructblip")
    tokenizer = build_tokenizer()
    tokenizer.pad_token = "<unk>"
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2}
    shape |= {"num_hidden_layers": 2}
    text = LlamaConfig(
        **shape, vocab_size=len(tokenizer) + 1, bos_token_id=1, eos_token_id=2, pad_token_id=0
    )
    config = InstructBlipConfig(
        vision_config=InstructBlipVisionConfig(**shape, image_size=SIDE, patch_size=14),
        qformer_config=InstructBlipQFormerConfig(
            **shape, vocab_size=len(tokenizer), encoder_hidden_size=32, cross_attention_frequency=1
        ),
        text_config=text,
        num_query_tokens=4,
        image_token_index=len(tokenizer),
    )
    torch.manual_seed(0)
    InstructBlipForConditionalGeneration(config).save_pretrained(folder)
    images = BlipImageProcessorPil(size={"height": SIDE, "width": SIDE})
    InstructBlipProcessor(images, tokenizer, tokenizer, num_query_tokens=4).save_pretrained(folder)
    return folder


def test_a_model_without_a_template_gets_the_words_as_they_are(
    instructblip: Path, questions: list[Question], caplog: pytest.LogCaptureFixture
) -> None:
    shown = questions[:-1]
    batched = TransformersTarget(instructblip, device="cpu", batch_size=4).answer(shown)
    alone = TransformersTarget(instructblip, device="cpu", batch_size=1)
    assert batched == [alone.answer([question])[0] for question in shown]
    assert all(answer is not None for answer in batched)
    broken = dataclasses.replace(shown[0], image_bytes=b"no image")
    with caplog.at_level(logging.WARNING):
        assert alone.answer([broken]) == [None]
    assert "gqa 1 is left without an answer" in caplog.text


@pytest.mark.parametrize("kind", ["own code", "pickle", "language alone", "nothing"])
def test_what_transformers_cannot_load_by_itself_is_refused(
    kind: str, instructblip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    if kind != "nothing":
        left_out = shutil.ignore_patterns("*.safetensors" if kind == "pickle" else "")
        shutil.copytree(instructblip, folder, ignore=left_out)
    config = json.loads((instructblip / "config.json").read_text())
    if kind == "own code":
        config["model_type"] = "qwen"
        config["auto_map"] = {"AutoModelForImageTextToText": "modeling_qwen.QWenLMHeadModel"}
    if kind == "pickle":
        torch.save({}, folder / "pytorch_model.bin")
    if kind == "language alone":
        config = {**config["text_config"], "model_type": "llama"}
    if kind != "nothing":
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"loads by itself .* asked by its address"):
        TransformersTarget(folder, device="cpu")
