"""Training of the tiny language model on text alone.

In: the corpus of `corpus.py`, endless. Out: an ordinary Llama folder with its tokenizer. No image
is used: a scene stands in the text as 36 words where an image's patches would stand, so that stage
1 of LLaVA only has to map patches onto words that the model already reads.
"""

import logging
import math
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from components.data.pocket.questions import families as questions
from components.model.tokenizer import load_tokenizer
from workflows.tiny_base.config import LanguageConfig
from workflows.tiny_base.corpus import single_question, transcripts
from workflows.tiny_base.text_batches import (
    IGNORE_INDEX,
    BatchMaker,
    TextBatch,
    text_batches,
)
from workflows.tiny_base.tokenizer import save_tokenizer, train_tokenizer, word_ids
from workflows.tiny_base.vision import warmup_cosine

log = logging.getLogger(__name__)

EVALUATED = (*questions.FAMILIES, "choice", "groceries", "rows")

# Shapes: B samples, S positions, P patches, D model width, K supervised positions


def train_language_model(
    config: LanguageConfig,
    output_path: Path,
    seed: int,
    report: Callable[[int, dict[str, float]], None],
) -> LlamaForCausalLM:
    """Train tokenizer and model, save both to `output_path` in bfloat16 and return the model
    (fp32).
    """
    output_path.mkdir(parents=True, exist_ok=True)
    texts = transcripts(random.Random(seed), config.tokenizer_samples)
    own_tokenizer = train_tokenizer(texts, config.vocab_size)
    save_tokenizer(own_tokenizer, output_path)
    tokenizer, image_token_id = load_tokenizer(output_path)
    maker = BatchMaker(tokenizer, image_token_id, word_ids(own_tokenizer))
    torch.manual_seed(seed)
    model = LlamaForCausalLM(language_config(config, own_tokenizer)).train()
    # On a CPU in bfloat16 the fused kernel's backward pass takes a quarter of a step, this a tenth.
    model.set_attn_implementation("eager")
    initialise(model, config.embedding_std)
    optimizers = _optimizers(model, config)
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: warmup_cosine(step, config.num_steps, config.warmup_steps)
        )
        for optimizer in optimizers
    ]
    for step, batch in enumerate(
        text_batches(maker, seed, config.tokens_per_batch, config.num_steps)
    ):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = text_loss(model, batch)
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        last = step == config.num_steps - 1
        if step % config.log_every_steps == 0 or last:
            report(step, {"loss": loss.item()})
        if last or (step + 1) % config.evaluate_every_steps == 0:
            report(step, exact_answers(model, maker, seed + 1))
            model.save_pretrained(output_path)  # so that an interrupted training can be looked at
    model.eval().to(torch.bfloat16).save_pretrained(output_path)
    return model.float()


def language_config(config: LanguageConfig, tokenizer: object) -> LlamaConfig:
    """Return the transformers configuration of the tiny Llama."""
    return LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_heads,
        max_position_embeddings=2048,
        initializer_range=1 / math.sqrt(config.hidden_size),
        bos_token_id=tokenizer.bos_token_id,  # type: ignore[attr-defined]
        eos_token_id=tokenizer.eos_token_id,  # type: ignore[attr-defined]
        tie_word_embeddings=False,
    )


@torch.no_grad()
def initialise(model: LlamaForCausalLM, embedding_std: float) -> None:
    """Set the scale of fresh embeddings, and let the layers write little at first."""
    model.model.embed_tokens.weight.normal_(0.0, embedding_std)
    # The head starts as the embeddings: a word found in the scene is said by copying it, and no
    # mapping from each word's input to its output has to be learnt first.
    model.lm_head.weight.copy_(model.model.embed_tokens.weight * (0.02 / embedding_std))
    for layer in model.model.layers:
        for writer in (layer.self_attn.o_proj, layer.mlp.down_proj):
            writer.weight.mul_(embedding_std / math.sqrt(2 * len(model.model.layers)))


def text_loss(model: LlamaForCausalLM, batch: TextBatch) -> Tensor:
    """Return the mean loss over the supervised positions."""
    logits_KV, targets_K, _ = _supervised(model, batch)
    return functional.cross_entropy(logits_KV.float(), targets_K)


@torch.no_grad()
def exact_answers(
    model: LlamaForCausalLM, maker: BatchMaker, seed: int, per_family: int = 24
) -> dict[str, float]:
    """Return per family the share (%) of unspoiled evaluation scenes whose whole answer is the
    likeliest.

    Each token is predicted after the right ones before it, as greedy decoding does until its first
    error.
    """
    rng = random.Random(seed)
    samples = []
    for family in EVALUATED:
        found = 0
        while found < per_family:
            sample = single_question(rng, family, "eval")
            if sample is not None:
                samples.append(sample)
                found += 1
    right: dict[str, list[bool]] = defaultdict(list)
    rows = sorted(maker.encode(samples), key=lambda pair: len(pair[1].input_ids))
    for start in range(0, len(rows), 48):
        batch = maker.batch(rows[start : start + 48])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits_KV, targets_K, row_K = _supervised(model, batch)
        wrong = set(row_K[logits_KV.argmax(-1) != targets_K].tolist())
        for index, family in enumerate(batch.families):
            right[family].append(index not in wrong)
    shares = {family: 100 * sum(flags) / len(flags) for family, flags in right.items()}
    return {"mean": sum(shares.values()) / len(shares), **shares}


def _optimizers(model: LlamaForCausalLM, config: LanguageConfig) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the rest.

    By trial (150 steps of captions): with Muon the loss on object names fell to 1.0, with AdamW
    alone it stayed at 3.2, that is, the model had not begun to look anything up in the scene.
    """
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    taken = {id(p) for p in matrices}
    rest = [p for p in model.parameters() if id(p) not in taken]
    muon = torch.optim.Muon(
        matrices, lr=config.muon_learning_rate, momentum=0.95, weight_decay=0.01
    )
    adam = torch.optim.AdamW(
        rest, lr=config.learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    return [muon, adam]


def _supervised(model: LlamaForCausalLM, batch: TextBatch) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, targets and row numbers of the positions before a supervised token."""
    hidden_BSD = model.model(
        inputs_embeds=_embed(model, batch), attention_mask=None, use_cache=False
    ).last_hidden_state  # right padding needs no mask: under the causal mask nothing attends to it
    supervised_BS = batch.labels[:, 1:] != IGNORE_INDEX
    targets_K = batch.labels[:, 1:][supervised_BS]
    row_K = supervised_BS.nonzero()[:, 0]
    return model.lm_head(hidden_BSD[:, :-1][supervised_BS]), targets_K, row_K


def _embed(model: LlamaForCausalLM, batch: TextBatch) -> Tensor:
    """Return embeddings with the sums of the patches' words at the scene positions."""
    table = model.model.embed_tokens
    is_scene_BS = (
        batch.input_ids >= table.num_embeddings
    )  # the image token lies behind the vocabulary
    token_BSD = table(batch.input_ids.masked_fill(is_scene_BS, 0))
    # A patch is the sum of its words, at about the scale of one word.
    scene_BPD = (table(batch.words) * batch.aspect_weights[:, None, :, None]).sum(2) / 2
    spread = table.weight.detach().std()
    scene_BPD = scene_BPD + torch.randn_like(scene_BPD) * spread * batch.noise.view(-1, 1, 1)
    scene_BPD = scene_BPD * batch.scale.view(-1, 1, 1)
    has_scene_B = is_scene_BS.any(dim=1)
    return token_BSD.masked_scatter(
        is_scene_BS.unsqueeze(-1), scene_BPD[has_scene_B].to(token_BSD.dtype)
    )
