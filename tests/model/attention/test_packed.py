"""Packed rows attend as each row alone does, forward and backward, for each kind of model."""

import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto import CONFIG_MAPPING

from components.model.attention import packed as attention
from components.model.attention.packed import NO_MASK, PACKABLE, attend_packed, packed_rows

LENGTHS = (12, 11, 10, 1, 9, 9)  # runs of like length: padded, alone, alike
SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}


def language_model(kind: str, **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**SIZES, **changes)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config).model
    return model.eval()


def rows_and_mask() -> tuple[list[torch.Tensor], torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, 64, (length,), generator=generator) for length in LENGTHS]
    mask = torch.zeros((len(LENGTHS), max(LENGTHS) + 3), dtype=torch.long)
    for index, length in enumerate(LENGTHS):
        mask[index, :length] = 1
    return rows, mask


def packed(model: PreTrainedModel, rows: list[torch.Tensor]) -> torch.Tensor:
    place = packed_rows([len(row) for row in rows])
    filler = torch.zeros(place.num_filler, dtype=torch.long)
    hidden: torch.Tensor = model(
        input_ids=torch.cat([*rows, filler]).unsqueeze(0),
        attention_mask=NO_MASK,
        position_ids=place.positions.unsqueeze(0),
        use_cache=False,
        packed_rows=place,
    ).last_hidden_state[0]
    return hidden[: len(hidden) - place.num_filler]


@pytest.mark.parametrize(
    ("kind", "window"),
    [(kind, None) for kind in PACKABLE] + [(kind, 4) for kind in PACKABLE if kind != "llama"],
)
def test_packed_rows_equal_rows_alone(kind: str, window: int | None) -> None:
    changes = {"sliding_window": window, "use_sliding_window": True, "max_window_layers": 0}
    model = language_model(kind, **(changes if window else {}))
    rows, _ = rows_and_mask()
    alone = torch.cat([model(input_ids=row.unsqueeze(0)).last_hidden_state[0] for row in rows])
    alone.square().sum().backward()
    wanted = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    assert attend_packed(model)
    together = packed(model, rows)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    together.square().sum().backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-4, rtol=1e-3)


def test_bfloat16_on_a_cpu_equals_the_fused_kernel() -> None:
    """The two ways differ by rounding alone: bfloat16 keeps 8 bits."""
    model = language_model("llama")
    rows, _ = rows_and_mask()
    attend_packed(model)
    exact = packed(model, rows)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = packed(model, rows)
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)


def test_without_packed_rows_it_attends_as_before() -> None:
    model = language_model("llama")
    rows, mask = rows_and_mask()
    ids = torch.zeros_like(mask)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
    before = model(input_ids=ids, attention_mask=mask).last_hidden_state
    attend_packed(model)
    after = model(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(after[mask == 1], before[mask == 1], atol=1e-6, rtol=1e-5)


def test_a_kind_that_was_not_tried_is_left_padded() -> None:
    config = CONFIG_MAPPING["gemma2"](**SIZES)
    assert not attend_packed(AutoModelForCausalLM.from_config(config).model)


def reference_varlen(
    query, key, value, starts, _, longest, __, scale, window_size, enable_gqa=False
):
    """What torch's kernel is documented to do, row by row."""
    assert starts.dtype == torch.int32
    outputs = []
    for start, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        assert end - start <= longest
        row = [state[start:end].transpose(0, 1) for state in (query, key, value)]
        allowed = torch.ones((end - start, end - start), dtype=torch.bool).tril()
        if window_size[0] >= 0:
            allowed = allowed.triu(-window_size[0])
        outputs.append(
            torch.nn.functional.scaled_dot_product_attention(
                *row, attn_mask=allowed, scale=scale, enable_gqa=enable_gqa
            ).transpose(0, 1)
        )
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [None, 4])
def test_the_kernel_for_rows_of_any_length_is_told_of_the_rows(monkeypatch, window) -> None:
    changes = {"sliding_window": window, "use_sliding_window": True, "max_window_layers": 0}
    model = language_model("mistral", **(changes if window else {"sliding_window": None}))
    rows, _ = rows_and_mask()
    attend_packed(model)
    expected = packed(model, rows)
    calls = []

    def kernel(*states, **options):
        calls.append(options["window_size"])
        return reference_varlen(*states, **options)

    monkeypatch.setattr("torch.nn.attention.varlen.varlen_attn", kernel)
    monkeypatch.setattr(attention, "_varlen_applies", lambda *_: True)
    torch.testing.assert_close(packed(model, rows), expected, rtol=1e-5, atol=1e-6)
    assert calls == [(window - 1 if window else -1, 0)] * 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel_is_sound_on_this_gpu() -> None:
    assert attention._varlen_is_sound(torch.device("cuda", 0), torch.bfloat16, 128)
