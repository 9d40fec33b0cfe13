"""A tiny random tower and language model on disk: real parts, small enough for seconds."""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from components.data.config import ImageSpec
from components.model.build import LlavaParts, build_llava
from tests.model.tiny_parts import IMAGE_PX, metaspace_tokenizer, write_tower

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def image_spec() -> ImageSpec:
    return ImageSpec(size_px=IMAGE_PX, aspect="pad", mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture(scope="session")
def vision_tower_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tower("clip", tmp_path_factory.mktemp("tower"))


@pytest.fixture(scope="session")
def language_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("language_model")
    tokenizer = metaspace_tokenizer()
    tokenizer.save_pretrained(path)
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,  # large, so that the choices of a random model are clear-cut
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture
def parts(vision_tower_path: Path, language_model_path: Path) -> LlavaParts:
    return build_llava(vision_tower_path, language_model_path, seed=3)


@pytest.fixture(scope="session")
def wide_tower_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tower as wide as the language model, for the connector `identity`."""
    return write_tower("clip", tmp_path_factory.mktemp("wide_tower"), width=24)


@pytest.fixture
def built(
    request: pytest.FixtureRequest, wide_tower_path: Path, language_model_path: Path
) -> LlavaParts:
    """A model with the connector that the test's parameter names."""
    return build_llava(wide_tower_path, language_model_path, connector=request.param, seed=3)
