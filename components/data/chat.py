"""Chat messages with an image, as OpenAI's API and the Hugging Face libraries write them.

    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "..."}]},
                  {"role": "assistant", "content": "..."}], "images": ["cat.jpg"]}

In: an object out of a file, or the messages of a request. Out: a `Record`, or turns and the image
that they show: the one reader for training and serving, and the one writer of what a model behind
an API is asked. Content is a text, or a list of parts: `text`, and `image` or `image_url`, which
carries a path or a `data:` URL, or takes the next of `images`. A system message goes before the
first question and parts are joined by newlines. Fetches nothing.
Reference: OpenAI's chat completions; docs of transformers, "chat templates with images".
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.data.records import (
    IMAGE_PLACEHOLDER,
    BadRecord,
    Record,
    Role,
    Turn,
    check_turns,
    check_unicode,
    record_id,
    take_placeholder,
)

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
"""Pillow's name -> media type of the formats that OpenAI's API takes."""

INVALID_IMAGE = "invalid_image"
"""Code of an image that cannot be used."""

_ROLES: dict[str, Role] = {"user": "human", "assistant": "gpt"}
_INSTRUCTIONS = ("system", "developer")
_IMAGE_PARTS = ("image", "image_url", "input_image")
_TEXT_PARTS = ("text", "input_text")
_SIGNATURES = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"GIF8": "GIF", b"RIFF": "WEBP"}


class BadMessage(BadRecord):
    """Messages that cannot be read; `param` is the field and `code` the fault, as in the API."""

    def __init__(self, reason: str, param: str = "messages", code: str | None = None) -> None:
        super().__init__(f"{param}: {reason}")
        self.param, self.code = param, code


@dataclass(frozen=True, slots=True)
class ShownImage:
    """An image part of a question."""

    turn: int
    param: str
    """Its field, such as `messages.0.content.1.image_url.url`."""
    source: Any
    """Path, `data:` URL, bytes or an object with one; None: the image is beside the messages."""


@dataclass(frozen=True, slots=True)
class Messages:
    """What messages say; turns need not alternate yet."""

    instructions: tuple[str, ...]
    turns: tuple[Turn, ...]
    """One per message of the user and of the assistant."""
    images: tuple[ShownImage, ...]

    def with_instructions(self, turns: Sequence[Turn]) -> tuple[Turn, ...]:
        """Return the turns with the instructions before the first question.

        The model never saw another system sentence than its template's.
        """
        if not self.instructions or not turns:
            return tuple(turns)
        first, *rest = turns
        return (Turn(first.role, "\n".join(filter(None, [*self.instructions, first.text]))), *rest)


def read_messages(messages: Any) -> Messages:
    """Return what messages say. Raises BadMessage naming the one that does not fit."""
    if not isinstance(messages, list) or not messages:
        raise BadMessage("expected a list of at least one message")
    instructions: list[str] = []
    turns: list[Turn] = []
    shown: list[ShownImage] = []
    for position, message in enumerate(messages):
        where = f"messages.{position}"
        role, text, images = _read_message(message, where)
        if images and role != "user":
            raise BadMessage(
                f"an image in a message of the {role}; only user messages can show images",
                images[0][0],
            )
        if role not in _INSTRUCTIONS:
            shown += [ShownImage(len(turns), param, source) for param, source in images]
            turns.append(Turn(_ROLES[role], text))
        elif turns:
            raise BadMessage(
                f"a {role} message after the conversation began; put it before the first user "
                "message",
                where,
            )
        elif text:
            instructions.append(text)
    return Messages(tuple(instructions), tuple(turns), tuple(shown))


def check_one_image(number: int) -> None:
    """Raise BadMessage where a conversation is about more than one image."""
    if number > 1:
        raise BadMessage(
            f"{number} images; a LLaVA-1.5 model takes one image per conversation. Paste them into "
            "one image, or ask about each on its own",
            code="too_many_images",
        )


def parse_messages(raw: Mapping[str, Any], source: str, file: str = "", index: int = 0) -> Record:
    """Return the record of a row with `messages`. Raises BadRecord with the reason."""
    messages = read_messages(raw.get("messages"))
    image = _the_image(messages.images, _listed(raw))
    turns = messages.turns
    if not messages.images:
        in_text = IMAGE_PLACEHOLDER in "\n".join(t.text for t in turns if t.role == "human")
        if image is None or in_text:
            turns = take_placeholder(turns, has_image=image is not None)
    turns = messages.with_instructions(turns)
    check_turns(turns, has_image=image is not None)
    name, data = (None, None) if image is None else read_address(image, file)
    return Record(record_id(raw, index), turns, name, source, file, index, data)


def read_address(image: Any, file: str) -> tuple[str, bytes | None]:
    """Return (path, None), or (name, encoded image) for an image that the row itself holds.

    `image` is a path, a `data:` URL, bytes, or an object with one of them under `bytes`, `path` or
    `url`. Raises BadRecord for anything else, addresses in a network among it.
    """
    if isinstance(image, Mapping):
        values = [image.get(key) for key in ("bytes", "path", "url") if image.get(key)]
        image = values[0] if values else None
    if isinstance(image, bytes):
        return _embedded_name(file, image), image
    if not isinstance(image, str) or not image:
        raise BadRecord(f"image is {type(image).__name__}; expected a path, a data URL or bytes")
    if is_data_url(image):
        _, data = read_data_url(image, "image")
        return _embedded_name(file, data), data
    check_unicode(image, "image")
    if "://" in image:
        raise BadRecord(
            f"image {image[:80]!r} is an address; fetch the image and give the path of its file"
        )
    return image, None


def is_data_url(url: str) -> bool:
    """Return whether an address holds its content itself."""
    return url[:5].lower() == "data:"


def read_data_url(url: str, param: str) -> tuple[str, bytes]:
    """Return the media type that a `data:` URL names ("" for none) and its bytes.

    Raises BadMessage where it is not base64 or empty. What the bytes are is not looked at.
    """
    head, comma, encoded = url.partition(",")
    media_type, *parameters = head[5:].lower().split(";")
    if not comma or "base64" not in parameters:
        raise BadMessage(f"{head[:60]!r} is a data: URL without ;base64", param, INVALID_IMAGE)
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadMessage(
            f"the base64 text cannot be decoded ({error})", param, INVALID_IMAGE
        ) from None
    if not data:
        raise BadMessage("the data: URL holds no bytes", param, INVALID_IMAGE)
    return media_type, data


def image_format(data: bytes) -> str | None:
    """Return the format of `MEDIA_TYPES` that an image's first bytes tell, None for any other."""
    return next((name for start, name in _SIGNATURES.items() if data.startswith(start)), None)


def write_question(text: str, image: bytes | None) -> Any:
    """Return the content of a user message: the image first, as the model was trained, then the
    words; words alone as text. An image of an unknown format goes as JPEG, for the API to judge.
    """
    if image is None:
        return text
    media_type = MEDIA_TYPES[image_format(image) or "JPEG"]
    url = f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    return [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]


def _read_message(message: Any, where: str) -> tuple[str, str, list[tuple[str, Any]]]:
    """Return role, text and images of a message, each image with its field."""
    if not isinstance(message, Mapping):
        raise BadMessage(f"{type(message).__name__}; expected an object", where)
    role, content = message.get("role"), message.get("content")
    if role not in (*_ROLES, *_INSTRUCTIONS):
        known = ", ".join((*_INSTRUCTIONS, *_ROLES))
        raise BadMessage(f"role {role!r}; expected one of {known}", where)
    if message.get("weight") == 0:
        # OpenAI's "do not learn this answer"; learning it all the same would be a silent fault.
        raise BadMessage("weight 0 is not supported; leave the row out, or the weight", where)
    if isinstance(content, str):
        return role, content.strip(), []
    if not isinstance(content, list):
        raise BadMessage(f"content is {type(content).__name__}; expected text or parts", where)
    texts: list[str] = []
    images: list[tuple[str, Any]] = []
    for place, part in enumerate(content):
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _IMAGE_PARTS:
            field, source = _source_of(part)
            images.append((f"{where}.content.{place}{field}", source))
        else:
            raise BadMessage(f"a part of type {kind!r}; expected text or an image", where)
    return role, "\n".join(texts).strip(), images


def _source_of(part: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the field of an image part that says where its image is, and what it says."""
    for key in ("image_url", "image", "path", "url", "bytes"):
        if value := part.get(key):
            if key == "image_url" and isinstance(value, Mapping):
                return ".image_url.url", value.get("url")
            return f".{key}", value
    return "", None


def _embedded_name(file: str, data: bytes) -> str:
    """Return the name of an image that lies inside an annotation file: equal for equal bytes."""
    return f"{file}#{hashlib.blake2b(data, digest_size=12).hexdigest()}"


def _listed(raw: Mapping[str, Any]) -> list[Any]:
    """Return the images beside the messages, under `images` or `image`."""
    value = raw.get("images") if raw.get("images") is not None else raw.get("image")
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _the_image(shown: Sequence[ShownImage], listed: list[Any]) -> Any:
    """Return the row's one image, or None. Raises BadMessage when parts and list do not match."""
    own = [image.source for image in shown if image.source is not None]
    bare = len(shown) - len(own)
    if shown and bare != len(listed):
        raise BadMessage(f"{bare} image parts without an address but {len(listed)} in `images`")
    check_one_image(len(own) + len(listed))
    if shown and shown[0].turn != 0:
        raise BadMessage(
            "the image stands in a later question; expected in the first", shown[0].param
        )
    return next(iter(own + listed), None)
