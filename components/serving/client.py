"""A question to a running service over HTTP: what the command line uses for `chat` and its samples.

In: the service's URL, a question, perhaps a picture file. Out: the answer's text. Any OpenAI client
does the same; this one keeps the command line free of it.
"""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from components.core.errors import DataError, ServingError

MEDIA_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".gif": "image/gif",
}


def ask(
    url: str,
    question: str,
    image_path: str | Path | None = None,
    *,
    model: str | None = None,
    max_tokens: int | None = None,
    temperature: float | None = None,
    timeout_s: float = 120,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Return the answer to a question, perhaps about a picture.

    `model` defaults to the first that /v1/models names. With `on_text` the answer is streamed to
    it, piece by piece. Raises ServingError when the service cannot be reached or refuses, DataError
    for the picture file.
    """
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": _content(question, image_path)}],
        "max_tokens": max_tokens,
        "temperature": temperature,
        "stream": on_text is not None,
    }
    try:
        with httpx.Client(base_url=url, timeout=timeout_s, trust_env=not _is_here(url)) as client:
            body["model"] = model or served_models(url, timeout_s)[0]["id"]
            if on_text is None:
                answer = client.post("/v1/chat/completions", json=body)
                return str(_checked(answer).json()["choices"][0]["message"]["content"])
            with client.stream("POST", "/v1/chat/completions", json=body) as stream:
                if not stream.is_success:
                    stream.read()
                return _read_stream(_checked(stream), on_text)
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from error


def served_models(url: str, timeout_s: float = 10) -> list[dict[str, Any]]:
    """Return the entries of /v1/models: `id` and registry `version` of each."""
    try:
        answer = httpx.get(f"{url}/v1/models", timeout=timeout_s, trust_env=not _is_here(url))
    except httpx.HTTPError as error:
        raise _unreachable(url, error) from error
    return list(_checked(answer).json()["data"])


def _is_here(url: str) -> bool:
    """Whether a service is on this machine: then a proxy of the environment must not be asked."""
    return httpx.URL(url).host in ("127.0.0.1", "localhost", "::1")


def _content(question: str, image_path: str | Path | None) -> Any:
    if image_path is None:
        return question
    path = Path(image_path)
    media_type = MEDIA_TYPES.get(path.suffix.lower())
    if media_type is None:
        raise DataError(f"{path}: expected an image file ({', '.join(MEDIA_TYPES)})")
    try:
        encoded = base64.b64encode(path.read_bytes()).decode()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give the path of an image file") from error
    url = f"data:{media_type};base64,{encoded}"
    return [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]


def _read_stream(stream: httpx.Response, on_text: Callable[[str], None]) -> str:
    pieces: list[str] = []
    for line in stream.iter_lines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            raise ServingError(f"the answer broke off: {event['error']['message']}")
        for choice in event["choices"]:
            if text := choice["delta"].get("content"):
                pieces.append(text)
                on_text(text)
    return "".join(pieces)


def _checked(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    try:
        message = answer.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = answer.text[:300]
    raise ServingError(f"the service answered {answer.status_code}: {message}")


def _unreachable(url: str, error: httpx.HTTPError) -> ServingError:
    return ServingError(
        f"{url} does not answer ({error}); see what runs with `lavaflow status`, "
        "start a service with `lavaflow deploy`"
    )
