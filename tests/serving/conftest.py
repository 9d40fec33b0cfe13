"""A LLaVA checkpoint of a few thousand random weights, written by the project's own parts."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from components.serving.engine.chat_engine import ChatEngine


CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "USER: What is in the picture? ASSISTANT: An apple and a banana on a table.",
    "The colour of the sky is blue. Is there a dog? Yes. No. How many? Two.",
]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random LLaVA model: 28 px images, 4 patches, a byte-level vocabulary."""
    return write_checkpoint(tmp_path_factory.mktemp("checkpoints") / "one", seed=0)


@pytest.fixture(scope="session")
def other_checkpoint(tiny_checkpoint: Path) -> Path:
    """A second model of the same kind that answers otherwise."""
    return write_checkpoint(tiny_checkpoint.parent / "two", seed=1)


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, tiny_checkpoint: Path) -> "Iterator[ChatEngine]":
    """The random model behind an engine, set up as the module's CONFIG says."""
    import torch

    from components.serving.engine.checkpoint_engine import load_engine

    threads = torch.get_num_threads()
    engine = load_engine(str(tiny_checkpoint), request.module.CONFIG)
    yield engine
    engine.close()
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def image_bytes() -> bytes:
    """A small JPEG file with some structure in it."""
    values = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(values).resize((90, 60)).save(file, "JPEG")
    return file.getvalue()


def write_checkpoint(folder: Path, seed: int) -> Path:
    """Write a random model; another seed gives other answers."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

    from components.data.config import ImageSpec
    from components.model.build import build_llava
    from components.model.checkpoint import save

    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=28,
                patch_size=14,
            )
        )
        language_model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=256,
                initializer_range=0.5,  # large: greedy answers vary instead of repeating
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        )
    base = folder.parent / f"{folder.name}-base"
    tower.save_pretrained(base / "tower")
    language_model.save_pretrained(base / "language_model")
    tokenizer.save_pretrained(base / "language_model")
    parts = build_llava(base / "tower", base / "language_model", seed=seed)
    spec = ImageSpec(size_px=28)
    return save(parts.model, parts.tokenizer, folder, spec, template="vicuna_v1")


def _tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
