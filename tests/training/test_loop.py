"""One optimizer step: the mean over the supervised tokens of the global batch, however cut."""

import math
import threading

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from components.core.config import parse
from components.core.errors import ConfigError, DataError, TrainingError
from components.model.embed import normalise_pixels
from components.model.learning.freeze import freeze_for_stage
from components.training.config import StageConfig
from components.training.engines.engine import (
    SummedLoss,
    optimizer_for,
    set_learning_rate,
)
from components.training.loop import learning_rate, train_step, validation_loss, warmup_steps
from tests.training.plain import Alone, PlainEngine
from tests.training.tiny import stage

# Sums of the same terms in another order differ in the last bits of fp32. Plain gradient descent
# keeps such differences small; Adam's first step is the sign of a gradient, even of a tiny one.
TOLERANCE = {"rtol": 1e-4, "atol": 1e-6}
OPENING = threading.Lock()  # building a model draws from torch's one generator


class Rank:
    """One of two ranks in threads: adds up with the other over a barrier."""

    world_size = 2

    def __init__(self, shared):
        self.shared = shared

    def sum(self, values):
        return [sum(column) for column in zip(*self._all(list(values)), strict=True)]

    def agree(self, error):
        return next((found for found in self._all(error) if found is not None), None)

    def _all(self, value):
        rank = int(threading.current_thread().name)
        self.shared["values"][rank] = value
        self.shared["barrier"].wait()
        found = list(self.shared["values"])
        self.shared["barrier"].wait()
        return found


class Averaging(PlainEngine):
    """A plain engine whose gradients are averaged over two ranks, as DeepSpeed does."""

    def __init__(self, module, optimizer, clipping, rank):
        super().__init__(module, optimizer, clipping)
        self.rank = rank

    def accumulate(self, piece, scale, last):
        return super().accumulate(piece, scale * self.rank.world_size, last)

    def apply(self, learning_rate):
        for parameter in self._parameters:
            parameter.grad = sum(self.rank._all(parameter.grad.clone())) / 2
        return super().apply(learning_rate)


def engine(materials, config, rank=None):
    with OPENING:
        opened = materials.open_model(config)
        opened.set_up(config)
    module = SummedLoss(opened.loss_module(), autocast=config.precision == "bf16")
    optimizer = torch.optim.SGD([p for p in module.parameters() if p.requires_grad])
    clipping = config.gradient_clipping
    made = Averaging(module, optimizer, clipping, rank) if rank else None
    return opened, made or PlainEngine(module, optimizer, clipping)


def run(materials, config, micro_batch, steps=3, number=0, rank=None):
    opened, plain = engine(materials, config, rank)
    collective = rank or Alone()
    batches = materials.open_batches(opened, config, number, collective.world_size).batches()
    outcomes = [
        train_step(plain, lambda: next(batches), 0.3, micro_batch, collective) for _ in range(steps)
    ]
    learnt = {n: p.detach() for n, p in opened.model.named_parameters() if p.requires_grad}
    return outcomes, learnt


def assert_same(one, other):
    for left, right in zip(one[0], other[0], strict=True):
        assert left.loss == pytest.approx(right.loss, rel=1e-5)
        assert left.grad_norm == pytest.approx(right.grad_norm, rel=1e-4)
        assert left.num_supervised_tokens == right.num_supervised_tokens
    for name, weight in one[1].items():
        torch.testing.assert_close(weight, other[1][name], **TOLERANCE)


@pytest.mark.parametrize("micro_batch", [1, 3, 4])
def test_accumulation_equals_one_big_batch(materials, config, micro_batch):
    assert_same(run(materials, config, 8), run(materials, config, micro_batch))


@pytest.mark.parametrize("pack_tokens", [700, 1500])
def test_packs_equal_one_big_batch(materials, config, pack_tokens):
    packed = stage(pack_tokens=pack_tokens)
    assert_same(run(materials, config, 8), run(materials, packed, 8))


@pytest.mark.parametrize("changes", [{}, {"pack_tokens": 700}], ids=["micro-batches", "packs"])
def test_two_ranks_equal_one(materials, config, changes):
    whole = run(materials, config, 8)
    config = stage(**changes)
    shared = {"values": [None, None], "barrier": threading.Barrier(2)}
    results = [None, None]

    def work(number):
        results[number] = run(materials, config, 2, number=number, rank=Rank(shared))

    threads = [threading.Thread(target=work, args=(n,), name=str(n)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results[0][0] == results[1][0]
    assert_same(whole, results[0])


def test_the_loss_is_the_mean_over_tokens_not_over_samples(materials, config):
    opened, plain = engine(materials, config)
    batch = next(materials.open_batches(opened, config, 0, 1).batches())
    with torch.no_grad():
        output = opened.model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            pixel_values=normalised(opened, batch),
        )
    losses = torch.nn.functional.cross_entropy(
        output.logits[:, :-1].flatten(0, 1), batch.labels[:, 1:].flatten(), reduction="sum"
    )
    expected = losses.item() / int((batch.labels[:, 1:] != -100).sum())
    outcome = train_step(plain, lambda: batch, 0.0, 3, Alone())
    assert outcome.loss == pytest.approx(expected, rel=1e-5)
    assert outcome.num_samples == 8


def normalised(opened, batch):
    return normalise_pixels(batch.pixels, opened.image_spec, torch.float32)


def test_bf16_autocast_keeps_weights_and_moments_in_fp32(materials):
    config = stage(precision="bf16")
    outcomes, learnt = run(materials, config, 4)
    exact, _ = run(materials, stage(), 4)
    assert {weight.dtype for weight in learnt.values()} == {torch.float32}
    # bf16 keeps 8 bits of a product; the mean over hundreds of tokens evens that out.
    assert outcomes[0].loss == pytest.approx(exact[0].loss, rel=1e-2)
    assert outcomes[-1].loss < outcomes[0].loss


def test_a_loss_that_is_not_finite_names_its_samples_and_changes_nothing(materials, config):
    opened, plain = engine(materials, config)
    batch = next(materials.open_batches(opened, config, 0, 1).batches())
    before = opened.model.lm_head.weight.detach().clone()
    with torch.no_grad():
        opened.model.model.multi_modal_projector.linear_1.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match=f"loss is nan.*{batch.sample_ids[0]}"):
        train_step(plain, lambda: batch, 1e-2, 4, Alone())
    assert torch.equal(opened.model.lm_head.weight, before)


def test_a_batch_that_cannot_be_read_stops_the_step(materials, config):
    _, plain = engine(materials, config)

    def broken():
        raise DataError("images/7.jpg: cannot be decoded")

    with pytest.raises(DataError, match=r"images/7\.jpg"):
        train_step(plain, broken, 1e-2, 4, Alone())


def test_only_matrices_decay(materials, config):
    opened = materials.open_model(config)
    freeze_for_stage(opened.model, ("connector",))
    groups = optimizer_for(opened.model, config.with_(weight_decay=0.1)).param_groups
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.1, 2), (0, 2)]


def test_losses_are_told_apart_by_source(materials, config):
    opened, plain = engine(materials, config)
    batch = next(materials.open_batches(opened, config, 0, 1).batches())
    outcome = train_step(plain, lambda: batch, 0.0, 3, Alone(), materials.sources())
    assert set(outcome.of_sources) == set(batch.sources)
    tokens = [part.num_supervised_tokens for part in outcome.of_sources.values()]
    assert sum(tokens) == outcome.num_supervised_tokens
    total = sum(part.loss_sum for part in outcome.of_sources.values())
    assert total / sum(tokens) == pytest.approx(outcome.loss, rel=1e-9)
    # Rows of one source alone have the loss that is told of them.
    for source, part in outcome.of_sources.items():
        rows = [row for row, name in enumerate(batch.sources) if name == source]
        alone = sum(
            plain.evaluate(piece)[0].item()
            for row, piece in enumerate(batch.micro_batches(1))
            if row in rows
        )
        assert alone == pytest.approx(part.loss_sum, rel=1e-4)


@pytest.mark.parametrize("ranks", [1, 2])
def test_evaluation_is_the_mean_over_all_rows_and_learns_nothing(materials, config, ranks):
    opened, plain = engine(materials, config)
    before = {name: weight.clone() for name, weight in opened.model.state_dict().items()}
    whole = validation_loss(
        plain, materials.open_batches(opened, config, 0, 1).batches(), 4, Alone()
    )
    assert whole == pytest.approx(first_losses(plain, opened, materials, config), rel=1e-6)
    assert plain.module.training
    for name, weight in opened.model.state_dict().items():
        assert torch.equal(weight, before[name])
    if ranks == 2:
        shared = {"values": [None, None], "barrier": threading.Barrier(2)}
        results = [None, None]

        def work(number):
            batches = materials.open_batches(opened, config, number, 2).batches()
            results[number] = validation_loss(Locked(plain, lock), batches, 3, Rank(shared))

        lock = threading.Lock()
        threads = [threading.Thread(target=work, args=(n,), name=str(n)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results[0] == results[1] == pytest.approx(whole, rel=1e-5)


class Locked:
    """One engine for two ranks in threads."""

    def __init__(self, engine, lock):
        self.engine, self.lock = engine, lock

    def evaluate(self, piece):
        with self.lock:
            return self.engine.evaluate(piece)


def first_losses(plain, opened, materials, config):
    """The mean over every token of every batch, row by row."""
    total = tokens = 0
    for batch in materials.open_batches(opened, config, 0, 1).batches():
        for piece in batch.micro_batches(1):
            total += plain.evaluate(piece).sum().item()
        tokens += int((batch.labels[:, 1:] >= 0).sum())
    return total / tokens


def test_a_text_only_piece_runs_the_tower_only_where_others_wait_for_it(materials, config):
    opened, plain = engine(materials, config)
    calls = []
    opened.model.model.vision_tower.register_forward_pre_hook(lambda *a: calls.append("tower"))
    opened.model.model.vision_tower.embeddings.register_forward_pre_hook(
        lambda *a: calls.append("tower")
    )
    batch = next(materials.open_batches(opened, config, 0, 1).batches())
    text = next(p for p in batch.micro_batches(1) if not p.has_image.any())
    expected = plain.accumulate(text, 1.0, True)
    assert not calls
    gradients = [p.grad for p in opened.model.model.multi_modal_projector.parameters()]
    assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)
    plain.module.loss_module.runs_tower_for_text = True
    assert torch.equal(plain.accumulate(text, 1.0, True), expected)
    assert calls


def test_the_connector_may_learn_at_another_rate(materials, config):
    config = config.with_(learning_rate=2e-4, connector_learning_rate=2e-5)
    opened = materials.open_model(config)
    opened.set_up(config)
    optimizer = optimizer_for(opened.model, config)
    set_learning_rate(optimizer, 1e-4)  # half way down the schedule
    rates = [(group["lr"], len(group["params"])) for group in optimizer.param_groups]
    assert sorted(rates) == [(pytest.approx(1e-5), 4), (pytest.approx(1e-4), 21)]


def test_adapters_learn_in_place_of_the_language_model(materials):
    lora = {"rank": 4, "alpha": 8, "dropout": 0.0}
    config = stage(lora=lora)
    plain, first = (run(materials, c, 4, steps=1)[0][0] for c in (stage(), config))
    assert first.loss == pytest.approx(plain.loss, rel=1e-5)  # adapters begin without effect
    outcomes, learnt = run(materials, config, 4)
    assert {"lora_A", "lora_B"} <= {part for name in learnt for part in name.split(".")}
    assert all("lora" in name or "projector" in name for name in learnt)
    assert outcomes[-1].loss < outcomes[0].loss
    with pytest.raises(ConfigError, match="name `language_model` in train"):
        parse(StageConfig, {**stage().model_dump(), "lora": lora, "train": ["connector"]})


@pytest.mark.parametrize(("num_steps", "ratio"), [(1, 0.03), (10, 0.0), (100, 0.03), (37, 0.5)])
def test_equals_hugging_face_at_every_step(num_steps, ratio):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-5)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps(num_steps, ratio), num_steps)
    for step in range(num_steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, num_steps, ratio, 2e-5) == pytest.approx(expected, abs=1e-18)
        optimizer.step()
        schedule.step()


def test_warm_up_rounds_up_as_the_original():
    assert warmup_steps(2181, 0.03) == 66
    assert warmup_steps(5198, 0.03) == 156
