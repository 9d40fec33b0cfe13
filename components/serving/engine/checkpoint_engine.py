"""The model behind an engine: a checkpoint of `components.model` on the path of training samples.

In: a checkpoint folder or URI. Out: a `ChatEngine`. Rendering, tokenising and image loading are the
data floor's; the forward passes are the model floor's; here only the choice of the next token is
made.
"""

import logging
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from components.core.errors import DataError
from components.core.store import local_copy
from components.data.conversation import render
from components.data.images import load_image
from components.data.records import Turn
from components.data.tokens import encode
from components.model.checkpoint import Loaded, load_checkpoint
from components.model.generation.greedy import advance, embed_distinct, prefill
from components.serving.api.chat_request import Conversation
from components.serving.api.refusal import RequestRefused
from components.serving.config import ServingConfig
from components.serving.engine.batching import Batcher, Prompt, Sampling
from components.serving.engine.chat_engine import ChatEngine

log = logging.getLogger(__name__)

# Shapes: B rows of the batch, V vocabulary rows


def load_engine(checkpoint: str, config: ServingConfig) -> ChatEngine:
    """Load a checkpoint and return the engine that answers with it, warmed up by one question.

    Sets the number of torch threads of the whole process: a replica owns its process.
    Raises CheckpointError for a damaged folder, StoreError for one that cannot be reached.
    """
    device = "cpu"
    if config.num_gpus_per_replica > 0:
        device = "cuda"
    else:
        torch.set_num_threads(config.num_threads)
    folder = local_copy(checkpoint)
    loaded = load_checkpoint(folder, dtype=config.dtype, device=device)
    log.info("Loaded %s on %s in %s", checkpoint, device, config.dtype)
    decoder = LlavaDecoder(loaded)
    maker = LlavaPrompts(loaded)
    _warm_up(maker, decoder)
    batcher = Batcher(decoder, [loaded.eos_token_id], config.max_batch_size, config.batch_wait_s)
    return ChatEngine(maker, batcher, config)


class LlavaPrompts:
    """Conversations to token ids and pixels, exactly as training makes them."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.tokenizer = loaded.tokenizer
        self.max_tokens = int(loaded.model.config.text_config.max_position_embeddings)
        # The plain template of pretrain ends a caption with a newline instead of an end token.
        self.stop_strings: tuple[str, ...] = ("\n",) if loaded.template == "plain" else ()

    def prompt(self, conversation: Conversation) -> Prompt:
        """Return ids with one image token, and uint8 pixels."""
        loaded, image = self._loaded, conversation.image
        segments = render(
            conversation.turns, loaded.template, has_image=image is not None, generation=True
        )
        encoded = encode(segments, loaded.tokenizer, loaded.image_token_id)
        try:
            pixels = None if image is None else load_image(image, loaded.image_spec)
        except DataError as error:
            # The header was well (chat_request.py read it), the rest of the file is not.
            raise RequestRefused(str(error), param="messages", code="invalid_image") from None
        return Prompt(encoded.input_ids, pixels)

    def num_tokens(self, prompt: Prompt) -> int:
        """Positions that the prompt takes in the language model."""
        patches = self._loaded.patches_per_image if prompt.pixels is not None else 1
        return len(prompt.ids) + patches - 1


class LlavaDecoder:
    """Steps a batch through the model; each row has its own temperature, nucleus and seed."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        # Rows of the embedding beyond the tokenizer only fill up to a multiple of 64.
        self._num_tokens = len(loaded.tokenizer)

    def steps(
        self,
        prompts: Sequence[Prompt],
        sampling: Sequence[Sampling],
        alive: Callable[[], list[bool]],
    ) -> Iterator[list[int]]:
        """Yield one token per prompt and step (0 for rows that are done), until nobody is alive."""
        generators = [_generator(each) for each in sampling]
        pixels = [
            None if each.pixels is None else torch.from_numpy(each.pixels) for each in prompts
        ]
        with torch.inference_mode():
            images = embed_distinct(self._loaded, pixels)
            hidden_BD, cache, mask_BS = prefill(
                self._loaded, [each.ids for each in prompts], images
            )
        rows = list(range(len(prompts)))  # the prompt of each row that is still computed
        while True:
            with torch.inference_mode():
                logits_BV = self._loaded.model.lm_head(hidden_BD)
                chosen = [
                    self._choose(logits_BV[place], sampling[row], generators[row])
                    for place, row in enumerate(rows)
                ]
            tokens = [0] * len(prompts)
            for row, token in zip(rows, chosen, strict=True):
                tokens[row] = token
            yield tokens
            flags = alive()
            keep = [place for place, row in enumerate(rows) if flags[row]]
            if not keep:
                return
            with torch.inference_mode():
                if len(keep) < len(rows):
                    kept = torch.tensor(keep, device=mask_BS.device)
                    cache.batch_select_indices(kept)
                    mask_BS = mask_BS[kept]
                    rows = [rows[place] for place in keep]
                hidden_BD, mask_BS = advance(
                    self._loaded.model, [tokens[row] for row in rows], cache, mask_BS
                )

    def _choose(self, logits_V: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
        """Greedy at temperature 0, else a draw from the nucleus of `top_p`."""
        if sampling.temperature == 0:
            # Over all rows, as evaluation does, so that served and evaluated answers are equal.
            return int(logits_V.argmax())
        scaled_V = logits_V[: self._num_tokens].float().cpu() / sampling.temperature
        # The model never saw its own image token as an answer.
        scaled_V[self._loaded.image_token_id] = -torch.inf
        chances_V, ids_V = scaled_V.softmax(-1).sort(descending=True)
        # A token belongs to the nucleus when those before it have less than top_p together.
        outside_V = chances_V.cumsum(-1) - chances_V >= sampling.top_p
        chances_V[outside_V] = 0
        return int(ids_V[torch.multinomial(chances_V, 1, generator=generator)])


def _generator(sampling: Sampling) -> torch.Generator:
    generator = torch.Generator()
    if sampling.seed is None:
        generator.seed()
    else:
        generator.manual_seed(sampling.seed)
    return generator


def _warm_up(maker: LlavaPrompts, decoder: LlavaDecoder) -> None:
    """Answer one question with an image, so that no user waits for first-use work or finds a model
    that loads but does not run.
    """
    import numpy as np

    spec = maker._loaded.image_spec
    pixels = np.zeros((3, spec.size_px, spec.size_px), dtype=np.uint8)
    turns = [Turn("human", "What is this?")]
    segments = render(turns, maker._loaded.template, has_image=True, generation=True)
    ids = encode(segments, maker.tokenizer, maker._loaded.image_token_id).input_ids
    steps = decoder.steps([Prompt(ids, pixels)], [Sampling(max_new_tokens=2)], lambda: [True])
    for _ in range(2):
        next(steps)
