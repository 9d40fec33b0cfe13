"""Chat messages to the conversation of the training data: turns of `human` and `gpt`, one picture.

In: a `ChatRequest`. Out: the turns that `components.data.conversation.render` takes, and the bytes
of the picture. The template's own system sentence always stands in front, as in training; a
client's system message goes before its first question, because the model never saw another system
sentence.
"""

from dataclasses import dataclass

from components.data.records import Role, Turn
from components.serving.api.media import read_image
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import ChatRequest, ImagePart, Message
from components.serving.config import ServingConfig


@dataclass(frozen=True)
class Conversation:
    """What is asked: alternating turns that end with the human's, and at most one picture."""

    turns: list[Turn]
    image: bytes | None


def read_conversation(request: ChatRequest, config: ServingConfig) -> Conversation:
    """Read the messages, or raise RequestRefused naming the message that does not fit."""
    messages = request.messages
    if len(messages) > config.max_messages:
        raise RequestRefused(
            f"messages: {len(messages)} messages; at most {config.max_messages} are allowed",
            param="messages",
        )
    num_instructions = next(
        (i for i, message in enumerate(messages) if message.role in ("user", "assistant")),
        len(messages),
    )
    instructions = [_text(message) for message in messages[:num_instructions]]
    turns = _turns(messages[num_instructions:], num_instructions)
    if any(instructions):
        question = "\n".join([*filter(None, instructions), turns[0].text])
        turns = [Turn(role="human", text=question), *turns[1:]]
    return Conversation(turns, _image(request, config))


def _turns(messages: list[Message], start: int) -> list[Turn]:
    """Merge neighbours of one role and check that questions and answers alternate."""
    turns: list[Turn] = []
    for index, message in enumerate(messages, start):
        where = f"messages.{index}"
        if message.role in ("system", "developer"):
            raise RequestRefused(
                f"{where}: a {message.role} message after the conversation began; "
                "put it before the first user message",
                param=where,
            )
        role: Role = "human" if message.role == "user" else "gpt"
        text = _text(message)
        if not text and not _pictures(message):
            raise RequestRefused(f"{where}: the content is empty", param=where)
        if turns and turns[-1].role == role:
            text = "\n".join(filter(None, [turns.pop().text, text]))
        turns.append(Turn(role=role, text=text))
    if not turns or turns[0].role != "human" or turns[-1].role != "human":
        raise RequestRefused(
            "messages: the conversation must begin and end with a user message", param="messages"
        )
    empty = next((turn for turn in turns if not turn.text), None)
    if empty is not None:
        raise RequestRefused(
            "messages: a picture without a question; add a text part", param="messages"
        )
    return turns


def _image(request: ChatRequest, config: ServingConfig) -> bytes | None:
    """The bytes of the one picture, wherever in the conversation it was shown."""
    found = [
        (f"messages.{index}.content.{place}.image_url.url", message.role, part)
        for index, message in enumerate(request.messages)
        for place, part in _pictures(message)
    ]
    if not found:
        return None
    if len(found) > 1:
        raise RequestRefused(
            f"messages: {len(found)} images; this model takes one image per conversation. Paste "
            "them "
            "into one picture, or ask about each in its own request",
            param="messages",
            code="too_many_images",
        )
    where, role, part = found[0]
    if role != "user":
        raise RequestRefused(f"{where}: only user messages can show images", param=where)
    return read_image(part.image_url.url, config, where)


def _pictures(message: Message) -> list[tuple[int, ImagePart]]:
    if isinstance(message.content, str):
        return []
    return [(i, part) for i, part in enumerate(message.content) if isinstance(part, ImagePart)]


def _text(message: Message) -> str:
    if isinstance(message.content, str):
        return message.content.strip()
    texts = [part.text for part in message.content if not isinstance(part, ImagePart)]
    return "\n".join(texts).strip()
