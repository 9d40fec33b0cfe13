"""A random checkpoint behind an engine: served answers equal those of the floors below."""

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
import torch

from components.data.conversation import render
from components.data.images import load_image
from components.data.records import Turn
from components.data.tokens import encode
from components.model.checkpoint import Loaded, load_checkpoint
from components.model.generation.greedy import embed_distinct, generate_greedy
from components.serving.api.chat_request import Conversation
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import ChatRequest
from components.serving.config import ServingConfig
from components.serving.engine.chat_engine import ChatEngine
from components.serving.engine.checkpoint_engine import LlavaPrompts

CONFIG = ServingConfig(max_new_tokens=40, batch_wait_s=0.05)


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Path) -> Loaded:
    return load_checkpoint(tiny_checkpoint)


def chat(question: str, image: bytes | None = None, **changes: Any) -> ChatRequest:
    content: list[Any] = [{"type": "text", "text": question}]
    if image is not None:
        url = f"data:image/jpeg;base64,{base64.b64encode(image).decode()}"
        content.append({"type": "image_url", "image_url": {"url": url}})
    return ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": "user", "content": content}], **changes}
    )


async def read(engine: ChatEngine, request: ChatRequest) -> tuple[str, str, int, int]:
    answer = await engine.answer(request)
    text = "".join([piece async for piece in answer.texts])
    return text, answer.finish, answer.prompt_tokens, answer.num_new_tokens


def ask(engine: ChatEngine, request: ChatRequest) -> tuple[str, str, int, int]:
    return asyncio.run(read(engine, request))


def test_a_served_prompt_begins_the_training_ids_of_the_same_turn(
    loaded: Loaded, image_bytes: bytes
) -> None:
    turns = [Turn("human", "What is <image> in </s> it?"), Turn("gpt", "An apple.")]
    segments = render(turns, loaded.template, has_image=True)
    trained = encode(segments, loaded.tokenizer, loaded.image_token_id).input_ids
    served = LlavaPrompts(loaded).prompt(Conversation(turns[:1], image_bytes))
    assert trained[: len(served.ids)] == served.ids
    assert served.pixels is not None
    assert (served.pixels == load_image(image_bytes, loaded.image_spec)).all()


@pytest.mark.parametrize("with_image", [False, True], ids=["text", "image"])
def test_a_greedy_answer_is_the_one_of_evaluation(
    engine: ChatEngine, loaded: Loaded, image_bytes: bytes, with_image: bool
) -> None:
    image = image_bytes if with_image else None
    prompt = LlavaPrompts(loaded).prompt(Conversation([Turn("human", "What is it?")], image))
    pixels = None if prompt.pixels is None else torch.from_numpy(prompt.pixels)
    (ids,) = generate_greedy(loaded, [prompt.ids], embed_distinct(loaded, [pixels]), 40)
    text, _, prompt_tokens, new_tokens = ask(engine, chat("What is it?", image))
    assert text == loaded.tokenizer.decode(ids, skip_special_tokens=True).removeprefix(" ")
    assert new_tokens == len(ids)
    assert prompt_tokens == len(prompt.ids) + (loaded.patches_per_image - 1) * with_image


def test_answers_of_a_batch_are_those_of_single_requests(
    engine: ChatEngine, image_bytes: bytes
) -> None:
    requests = [
        chat("What is it?", image_bytes),
        chat("Hello"),
        chat("How many are there, and of which colour?", image_bytes, max_tokens=7),
        chat("Yes or no?", temperature=1, seed=5),
    ]

    async def together() -> list[tuple[str, str, int, int]]:
        return list(await asyncio.gather(*(read(engine, each) for each in requests)))

    assert asyncio.run(together()) == [ask(engine, each) for each in requests]


def test_limits_end_an_answer(engine: ChatEngine) -> None:
    text, finish, _, new_tokens = ask(engine, chat("Hello", max_tokens=3))
    assert (finish, new_tokens) == ("length", 3)
    longer, *_ = ask(engine, chat("Hello", max_tokens=30))
    assert longer.startswith(text.rstrip("\ufffd"))


def test_a_stop_string_ends_an_answer_and_is_not_shown(engine: ChatEngine) -> None:
    whole, *_ = ask(engine, chat("Hello", max_tokens=30))
    place = len(whole) // 2
    stop = whole[place : place + 3]
    text, finish, *_ = ask(engine, chat("Hello", max_tokens=30, stop=stop))
    assert (text, finish) == (whole.partition(stop)[0], "stop")


def test_a_seed_repeats_a_sampled_answer(engine: ChatEngine) -> None:
    def sampled(seed: int) -> str:
        return ask(engine, chat("Hello", temperature=1.5, seed=seed, max_tokens=20))[0]

    assert sampled(1) == sampled(1)
    assert len({sampled(seed) for seed in range(4)}) > 1


def test_a_tiny_nucleus_is_greedy(engine: ChatEngine) -> None:
    greedy = ask(engine, chat("Hello", max_tokens=20))
    narrow = ask(engine, chat("Hello", max_tokens=20, temperature=1, top_p=1e-6, seed=3))
    assert narrow == greedy


def test_more_than_the_context_is_refused(engine: ChatEngine) -> None:
    with pytest.raises(RequestRefused, match="context is 256") as refused:
        ask(engine, chat("word " * 300))
    assert refused.value.code == "context_length_exceeded"
    with pytest.raises(RequestRefused, match="at most 40 tokens"):
        ask(engine, chat("Hello", max_tokens=41))


def test_an_image_that_breaks_off_is_refused(engine: ChatEngine, image_bytes: bytes) -> None:
    with pytest.raises(RequestRefused, match="cannot be decoded"):
        ask(engine, chat("What is it?", image_bytes[: len(image_bytes) // 2]))
