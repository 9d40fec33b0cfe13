"""A question to a running service: what `lavaflow chat` and the samples of a deploy ask.

In: the service's URL, a question, perhaps an image file. Out: the answer's text. The official
client of OpenAI's API asks; here its errors become words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.chat_api import open_client, told
from components.core.errors import DataError, ServingError
from components.data.chat import MEDIA_TYPES, image_format, write_question

if TYPE_CHECKING:
    from openai import OpenAI


def ask(
    url: str,
    question: str,
    image_path: str | Path | None = None,
    *,
    model: str | None = None,
    max_tokens: int | None = None,
    timeout_s: float = 120,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Return the answer to a question, perhaps about an image.

    `model` defaults to the first that /v1/models names. With `on_text` the answer is streamed to
    it, piece by piece. Raises ServingError when the service cannot be reached or refuses, DataError
    for the image file.
    """
    import httpx
    import openai

    content = write_question(question, None if image_path is None else _read(Path(image_path)))
    pieces: list[str] = []
    try:
        with open_client(f"{url}/v1", "", timeout_s, retries=0) as client:
            request: dict[str, Any] = {
                "model": model or _first_model(client, url),
                "messages": [{"role": "user", "content": content}],
                "max_tokens": max_tokens,
            }
            if on_text is None:
                return str(client.chat.completions.create(**request).choices[0].message.content)
            with client.chat.completions.create(**request, stream=True) as chunks:
                for choice in (choice for chunk in chunks for choice in chunk.choices):
                    if text := choice.delta.content:
                        pieces.append(text)
                        on_text(text)
            return "".join(pieces)
    except openai.APIStatusError as error:
        raise ServingError(f"the service answered {error.status_code}: {told(error, '')}") from None
    except (openai.APIError, httpx.HTTPError) as error:
        if pieces or not isinstance(error, openai.APIConnectionError):
            raise ServingError(f"the answer broke off: {told(error, '')}") from None
        raise ServingError(
            f"{url} does not answer ({told(error, '')}); see what runs with `lavaflow status`, "
            "start a service with `lavaflow deploy`"
        ) from None


def _first_model(client: "OpenAI", url: str) -> str:
    try:
        return client.models.list().data[0].id
    except (AttributeError, TypeError, IndexError, ValueError):
        # The client takes any answer with status 200 for a list of models.
        raise ServingError(
            f"{url} names no model under /v1/models; expected the address of a service, such as "
            "http://127.0.0.1:8000"
        ) from None


def _read(path: Path) -> bytes:
    try:
        image = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give the path of an image file") from error
    if image_format(image) is None:
        raise DataError(f"{path}: expected an image file ({', '.join(MEDIA_TYPES)})")
    return image
