"""The wire format of /v1/chat/completions: what a client may send, what it gets.

In: JSON of the OpenAI Chat Completions form (https://platform.openai.com/docs/api-reference/chat).
Out: frozen pydantic models of requests, answers, stream chunks and errors. Does not compute.
Fields that only tune what this service does not do are refused by name when they ask for something
else than the default; fields without influence on the answer are ignored.
"""

import time
import uuid
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from components.serving.api.refusal import RequestRefused

FinishReason = Literal["stop", "length"]


class _Sent(BaseModel):
    """Base of what clients send: extra keys tolerated, values checked strictly (no "3" for 3)."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class TextPart(_Sent):
    type: Literal["text"]
    text: str


class ImageUrl(_Sent):
    url: str
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(_Sent):
    type: Literal["image_url"]
    image_url: ImageUrl


ContentPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _form(content: Any) -> str | None:
    """Which form a message's content has, so that an error speaks of that form only."""
    if isinstance(content, str):
        return "str"
    return "list" if isinstance(content, list) else None


class Message(_Sent):
    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[
        Annotated[str, Tag("str")] | Annotated[list[ContentPart], Tag("list")],
        Discriminator(
            _form,
            custom_error_type="content_form",
            custom_error_message="expected a string or a list of text and image_url parts",
        ),
    ]


class StreamOptions(_Sent):
    include_usage: bool = False


class ResponseFormat(_Sent):
    type: str


class ChatRequest(_Sent):
    """One call of /v1/chat/completions."""

    model: str
    messages: list[Message] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | list[str] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: int | None = 1
    response_format: ResponseFormat | None = None
    user: str | None = None
    frequency_penalty: float | None = 0
    presence_penalty: float | None = 0
    logprobs: bool | None = False
    top_logprobs: int | None = 0
    logit_bias: dict[str, float] | None = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None
    audio: dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_unsupported(cls, values: Any) -> Any:
        """Say plainly what is not offered, before the types of those fields are looked at."""
        if not isinstance(values, dict):
            return values
        for name, harmless, advice in _UNSUPPORTED:
            if name in values and values[name] not in harmless:
                raise _unsupported(name, f"{name}={values[name]!r} is not supported; {advice}")
        format_ = values.get("response_format")
        if isinstance(format_, dict) and format_.get("type") not in (None, "text"):
            raise _unsupported(
                "response_format",
                f"response_format {format_.get('type')!r} is not supported yet; "
                "ask for the form in the question and parse the text",
            )
        return values

    @property
    def answer_limit(self) -> int | None:
        """The client's limit on new tokens; `max_completion_tokens` is the newer name and wins."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stop_strings(self) -> tuple[str, ...]:
        """Strings that end the answer and are not part of it."""
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())


_UNSUPPORTED: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("n", (None, 1), "send the request several times with different seeds"),
    ("tools", (None, []), "describe the task in the text"),
    ("functions", (None, []), "describe the task in the text"),
    ("logprobs", (None, False), "leave it out"),
    ("top_logprobs", (None, 0), "leave it out"),
    ("logit_bias", (None, {}), "leave it out"),
    ("frequency_penalty", (None, 0), "leave it out or send 0"),
    ("presence_penalty", (None, 0), "leave it out or send 0"),
    ("modalities", (None, [], ["text"]), "answers are text"),
    ("audio", (None,), "answers are text"),
)
"""(field, values without effect, advice)."""


def _unsupported(param: str, message: str) -> RequestRefused:
    """Leaves a validator as it is: pydantic collects only ValueError and AssertionError."""
    return RequestRefused(message, param=param, code="unsupported_parameter")


MAX_STOP_STRINGS = 4
"""The OpenAI API takes at most four."""


def parse_request(body: bytes) -> ChatRequest:
    """Read a request body, or raise RequestRefused naming the field and what was found."""
    try:
        request = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _refusal(error) from None
    if len(request.stop_strings) > MAX_STOP_STRINGS:
        raise RequestRefused(
            f"stop: {len(request.stop_strings)} strings; at most {MAX_STOP_STRINGS} are allowed",
            param="stop",
        )
    if any(not text for text in request.stop_strings):
        raise RequestRefused(
            "stop: an empty string would end every answer at once; leave it out", param="stop"
        )
    return request


class Usage(BaseModel):
    prompt_tokens: int
    """Tokens of the prompt as the model sees it, image patches included."""
    completion_tokens: int
    total_tokens: int


def usage(prompt_tokens: int, completion_tokens: int) -> Usage:
    """Counts for the `usage` field."""
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
    )


class Head(BaseModel):
    """What an answer and all chunks of its stream have in common."""

    id: str
    created: int
    model: str
    system_fingerprint: str

    @classmethod
    def new(cls, model: str, version: str) -> "Head":
        """A head with a fresh id; the fingerprint names the version that answers."""
        return cls(
            id=f"chatcmpl-{uuid.uuid4().hex}",
            created=int(time.time()),
            model=model,
            system_fingerprint=f"version-{version}",
        )


def completion(head: Head, text: str, finish: FinishReason, counts: Usage) -> dict[str, Any]:
    """The body of a plain answer."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    return {
        **head.model_dump(),
        "object": "chat.completion",
        "choices": [choice],
        "usage": counts.model_dump(),
    }


def chunk(
    head: Head,
    *,
    text: str | None = None,
    first: bool = False,
    finish: FinishReason | None = None,
    with_usage: bool = False,
) -> dict[str, Any]:
    """One event of a stream. With `include_usage`, every chunk but the last says `usage: null`."""
    delta: dict[str, Any] = {"role": "assistant", "content": ""} if first else {}
    if text is not None:
        delta["content"] = text
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    body = {**head.model_dump(), "object": "chat.completion.chunk", "choices": [choice]}
    return {**body, "usage": None} if with_usage else body


def usage_chunk(head: Head, counts: Usage) -> dict[str, Any]:
    """The last event of a stream whose client asked for `include_usage`."""
    return {
        **head.model_dump(),
        "object": "chat.completion.chunk",
        "choices": [],
        "usage": counts.model_dump(),
    }


def model_card(name: str, version: str, created: int) -> dict[str, Any]:
    """One entry of /v1/models; `version` is the registry version behind the name."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "lavaflow",
        "version": version,
    }


def _refusal(error: ValidationError) -> RequestRefused:
    """The first problem, worded for the person who wrote the request."""
    problem = error.errors(include_url=False)[0]
    if problem["type"] == "json_invalid":
        return RequestRefused(f"the body is not valid JSON: {problem['msg']}", code="invalid_json")
    where = _field(problem["loc"])
    if problem["type"] == "missing":
        return RequestRefused(f"{where}: this field is required", param=where, code="missing")
    found = repr(problem.get("input"))
    found = found if len(found) <= 80 else f"{found[:77]}..."
    text = f"{where or 'body'}: {problem['msg']} (found {found})"
    return RequestRefused(text, param=where or None, code="invalid_value")


def _field(location: tuple[int | str, ...]) -> str:
    """The dotted field as the client wrote it, without pydantic's names of union branches."""
    names: list[str] = []
    for before, part in zip((None, *location), location, strict=False):
        branch = part in ("str", "list", "list[str]") or (
            isinstance(before, int) and part in ("text", "image_url")
        )
        if not branch:
            names.append(str(part))
    return ".".join(names)
