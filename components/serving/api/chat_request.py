"""Chat messages to the conversation of the training data: turns of `human` and `gpt`, one image.

In: a `ChatRequest`. Out: the turns that `components.data.conversation.render` takes, and the bytes
of the image; `components.data.chat` reads both, as it does for training. Neighbours of one role
are merged here, a last question is asked for, and the limits of the service hold.

Only `data:` URLs are read. Fetching an address that a stranger names makes the server a tool
against its own network (CVE-2026-24779 is one of a series in other servers), so the client embeds
the image. Decoding, resizing and colour belong to `components.data.images`.
"""

import io
from dataclasses import dataclass

from PIL import Image, UnidentifiedImageError

from components.data.chat import (
    INVALID_IMAGE,
    MEDIA_TYPES,
    BadMessage,
    Messages,
    check_one_image,
    is_data_url,
    read_data_url,
    read_messages,
)
from components.data.records import Turn
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import ChatRequest
from components.serving.config import ServingConfig


@dataclass(frozen=True)
class Conversation:
    """What is asked: alternating turns that end with the human's, and at most one image."""

    turns: list[Turn]
    image: bytes | None


def read_conversation(request: ChatRequest, config: ServingConfig) -> Conversation:
    """Read the messages, or raise RequestRefused naming the message that does not fit."""
    if len(request.messages) > config.max_messages:
        raise RequestRefused(
            f"messages: {len(request.messages)} messages; at most {config.max_messages} are "
            "allowed",
            param="messages",
        )
    try:
        messages = read_messages([message.model_dump() for message in request.messages])
        turns = _alternating(messages, len(request.messages) - len(messages.turns))
        check_one_image(len(messages.images))
        image = next(
            (read_image_url(each.source, config, each.param) for each in messages.images), None
        )
    except BadMessage as error:
        raise RequestRefused(error.reason, param=error.param, code=error.code) from None
    return Conversation(turns, image)


def read_image_url(url: str, config: ServingConfig, param: str) -> bytes:
    """Return the checked bytes of the image in a data URL; of a GIF the first frame counts.

    Raises BadMessage for any other URL, wrong base64 or a format that is not offered,
    RequestRefused for an image over the limits; `param` is the field that the message names.
    """
    if not is_data_url(url):
        raise BadMessage(
            f"{url[:60]!r} is not a data: URL. This server fetches nothing from the network, so "
            "that nobody can make it reach addresses of its own network; send the image itself as "
            "data:image/jpeg;base64,<the file's bytes in base64>",
            param,
            INVALID_IMAGE,
        )
    media_type, data = read_data_url(url, param)
    if media_type not in {"", *MEDIA_TYPES.values(), "image/jpg"}:
        raise BadMessage(
            f"media type {media_type!r}; expected one of {', '.join(MEDIA_TYPES.values())}",
            param,
            INVALID_IMAGE,
        )
    if len(data) > config.max_image_bytes:
        raise _too_large(f"{len(data)} bytes; at most {config.max_image_bytes} are allowed", param)
    try:
        # PIL reads only the header here; the pixels are decoded later, once, by the data floor.
        with Image.open(io.BytesIO(data), formats=list(MEDIA_TYPES)) as image:
            width, height = image.size
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise BadMessage(
            f"the {len(data)} bytes are not a readable image ({error}); "
            f"send {', '.join(MEDIA_TYPES)}",
            param,
            INVALID_IMAGE,
        ) from None
    if width * height > config.max_image_pixels:
        raise _too_large(
            f"{width}x{height} = {width * height} pixels; at most {config.max_image_pixels} are "
            "allowed, scale it down",
            param,
        )
    return data


def _alternating(messages: Messages, start: int) -> list[Turn]:
    """Merge neighbours of one role and check that questions and answers alternate; `start` is the
    number of the first turn's message.
    """
    with_image = {image.turn for image in messages.images}
    turns: list[Turn] = []
    for number, turn in enumerate(messages.turns):
        if not turn.text and number not in with_image:
            raise BadMessage("the content is empty", f"messages.{start + number}")
        if turns and turns[-1].role == turn.role:
            turn = Turn(turn.role, "\n".join(filter(None, [turns.pop().text, turn.text])))
        turns.append(turn)
    if not turns or turns[0].role != "human" or turns[-1].role != "human":
        raise BadMessage("the conversation must begin and end with a user message")
    if any(not turn.text for turn in turns):
        raise BadMessage("an image without a question; add a text part")
    return list(messages.with_instructions(turns))


def _too_large(what: str, param: str) -> RequestRefused:
    return RequestRefused(
        f"{param}: the image has {what}", status=413, param=param, code=INVALID_IMAGE
    )
