"""Chat messages with a picture, as OpenAI's API and the Hugging Face libraries write them.

    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "..."}]},
                  {"role": "assistant", "content": "..."}], "images": ["cat.jpg"]}

In: an object out of a file. Out: a `Record`. Content is a text, or a list of parts: `text`, and
`image` or `image_url`, which carries a path or a `data:` URL, or takes the next of `images`. As in
serving, a system message goes before the first question and parts are joined by newlines. Fetches
nothing. Reference: OpenAI's chat completions; docs of transformers, "chat templates with images".
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from components.data.raw.image_files import embedded_name
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

_ROLES: dict[str, Role] = {"user": "human", "assistant": "gpt"}
_INSTRUCTIONS = ("system", "developer")
_IMAGE_PARTS = ("image", "image_url", "input_image")
_TEXT_PARTS = ("text", "input_text")


def parse_messages(raw: Mapping[str, Any], source: str, file: str = "", index: int = 0) -> Record:
    """Return the record of a row with `messages`. Raises BadRecord with the reason."""
    messages = raw.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRecord("`messages` must be a list of at least one message")
    instructions: list[str] = []
    turns: list[Turn] = []
    shown: list[tuple[int, Any]] = []
    for position, message in enumerate(messages):
        role, text, images = _read_message(message, f"message {position}")
        if images and role != "user":
            raise BadRecord(f"message {position}: an image in a message of the {role}")
        if role in _INSTRUCTIONS:
            if turns:
                raise BadRecord(f"message {position}: a {role} message after the first question")
            instructions += [text] if text else []
            continue
        shown += [(len(turns), image) for image in images]
        turns.append(Turn(_ROLES[role], text))
    image = _the_image(shown, _listed(raw), turns)
    if image is not None and not shown and IMAGE_PLACEHOLDER not in _questions(turns):
        shown = [(0, image)]
    if not shown:
        turns = list(take_placeholder(tuple(turns), has_image=image is not None))
    if turns and instructions:
        question = "\n".join([*instructions, turns[0].text] if turns[0].text else instructions)
        turns[0] = Turn(turns[0].role, question)
    check_turns(turns, has_image=image is not None)
    name, data = (None, None) if image is None else read_address(image, file)
    return Record(record_id(raw, index), tuple(turns), name, source, file, index, data)


def read_address(image: Any, file: str) -> tuple[str, bytes | None]:
    """Return (path, None), or (name, encoded picture) for a picture that the row itself holds.

    `image` is a path, a `data:` URL, bytes, or an object with one of them under `bytes`, `path` or
    `url`. Raises BadRecord for anything else, addresses in a network among it.
    """
    if isinstance(image, Mapping):
        values = [image.get(key) for key in ("bytes", "path", "url") if image.get(key)]
        image = values[0] if values else None
    if isinstance(image, bytes):
        return embedded_name(file, image), image
    if not isinstance(image, str) or not image:
        raise BadRecord(f"image is {type(image).__name__}; expected a path, a data URL or bytes")
    if image[:5].lower() == "data:":
        data = _decode_url(image)
        return embedded_name(file, data), data
    check_unicode(image, "image")
    if "://" in image:
        raise BadRecord(
            f"image {image[:80]!r} is an address; fetch the picture and give the path of its file"
        )
    return image, None


def _read_message(message: Any, where: str) -> tuple[str, str, list[Any]]:
    """Return role, text and images (None for one that stands in `images`) of a message."""
    if not isinstance(message, Mapping):
        raise BadRecord(f"{where}: {type(message).__name__}; expected an object")
    role, content = message.get("role"), message.get("content")
    if role not in (*_ROLES, *_INSTRUCTIONS):
        known = ", ".join((*_INSTRUCTIONS, *_ROLES))
        raise BadRecord(f"{where}: role {role!r}; expected one of {known}")
    if message.get("weight") == 0:
        # OpenAI's "do not learn this answer"; learning it all the same would be a silent fault.
        raise BadRecord(f"{where}: weight 0 is not supported; leave the row out, or the weight")
    if isinstance(content, str):
        return role, content.strip(), []
    if not isinstance(content, list):
        raise BadRecord(f"{where}: content is {type(content).__name__}; expected text or parts")
    texts: list[str] = []
    images: list[Any] = []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in _TEXT_PARTS and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind in _IMAGE_PARTS:
            images.append(_address_of(part))
        else:
            raise BadRecord(f"{where}: a part of type {kind!r}; expected text or an image")
    return role, "\n".join(texts).strip(), images


def _address_of(part: Mapping[str, Any]) -> Any:
    """Return what an image part says about where its picture is, or None when it says nothing."""
    for key in ("image_url", "image", "path", "url", "bytes"):
        if part.get(key):
            value = part[key]
            return value.get("url") if key == "image_url" and isinstance(value, Mapping) else value
    return None


def _listed(raw: Mapping[str, Any]) -> list[Any]:
    """Return the pictures beside the messages, under `images` or `image`."""
    value = raw.get("images") if raw.get("images") is not None else raw.get("image")
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _the_image(shown: list[tuple[int, Any]], listed: list[Any], turns: list[Turn]) -> Any:
    """Return the row's one picture, or None. Raises BadRecord when parts and list do not match."""
    own = [image for _, image in shown if image is not None]
    bare = len(shown) - len(own)
    if shown and bare != len(listed):
        raise BadRecord(f"{bare} image parts without an address but {len(listed)} in `images`")
    pictures = own + listed
    if len(pictures) > 1:
        raise BadRecord(f"{len(pictures)} images in one row; a LLaVA-1.5 sample has one")
    if shown and shown[0][0] != 0:
        raise BadRecord("the image stands in a later question; expected in the first")
    return pictures[0] if pictures else None


def _questions(turns: list[Turn]) -> str:
    return "\n".join(turn.text for turn in turns if turn.role == "human")


def _decode_url(url: str) -> bytes:
    head, comma, encoded = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise BadRecord(f"image {head[:60]!r} is a data: URL without ;base64")
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRecord(f"the base64 text of the image cannot be decoded ({error})") from None
