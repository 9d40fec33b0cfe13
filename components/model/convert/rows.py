"""The rows of the vocabulary that a LLaVA has and its language model has not.

In: a tokenizer, or the stored tables. Out: how many rows are the base's own, or the new ones as
`build_llava` draws them. Nothing is written.

Reference: the llava-hf conversion (new rows from the mean and covariance of the old ones, their
number a multiple of 64).
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from components.model.convert.keys import EMBEDDING_ROWS, HEAD_ROWS
from components.model.convert.weights import Stored
from components.model.vocabulary import NEW_TOKENS, ROW_MULTIPLE


def base_rows(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return how many tokens the base's vocabulary has, without `<image>` and `<pad>` behind it."""
    added = {tokenizer.convert_tokens_to_ids(text) for text in NEW_TOKENS}
    num_rows = len(tokenizer)
    while num_rows - 1 in added:
        num_rows -= 1
    return num_rows


def new_rows(tables: Mapping[str, Stored], num_tokens: int, seed: int) -> dict[str, Tensor]:
    """Return the rows that `build_llava` adds for the same seed: a model without any layer has the
    same tables, and so draws the same numbers.
    """
    old_rows, width = tables[EMBEDDING_ROWS].shape
    if old_rows >= num_tokens and old_rows % ROW_MULTIPLE == 0:
        return {}
    sizes = {"hidden_size": width, "intermediate_size": 1, "num_attention_heads": 1}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=old_rows, num_hidden_layers=0, **sizes))
    modules = {EMBEDDING_ROWS: model.model.embed_tokens, HEAD_ROWS: model.lm_head}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for name, table in tables.items():
            modules[name].weight.copy_(table.read())
        torch.manual_seed(seed)
        model.resize_token_embeddings(max(num_tokens, old_rows), pad_to_multiple_of=ROW_MULTIPLE)
    modules = {EMBEDDING_ROWS: model.model.embed_tokens, HEAD_ROWS: model.lm_head}
    return {name: modules[name].weight.detach()[old_rows:].clone() for name in tables}
