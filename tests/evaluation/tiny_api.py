"""An OpenAI-compatible API on the loopback that answers by rule and fails as it is told."""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from threading import Lock
from typing import Any

from tests.loopback import served

Answer = Callable[[dict[str, Any]], tuple[int, dict[str, Any]]]
"""From a request's body to a status and a reply's body."""


def said(text: str) -> tuple[int, dict[str, Any]]:
    """Return a completion."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return 200, {"id": "1", "object": "chat.completion", "created": 0, "choices": [choice]}


def failed(status: int, message: str, param: str | None = None) -> tuple[int, dict[str, Any]]:
    """Return an error as the API writes it."""
    return status, {"error": {"message": message, "type": "a_kind", "param": param}}


def parts(body: dict[str, Any]) -> tuple[str, bytes | None]:
    """Return the words and the image of a request."""
    content = body["messages"][-1]["content"]
    if isinstance(content, str):
        return content, None
    by_kind = {part["type"]: part for part in content}
    data = by_kind["image_url"]["image_url"]["url"].partition(",")[2]
    return by_kind["text"]["text"], base64.b64decode(data)


@contextmanager
def tiny_api(
    answer: Answer, models: tuple[str, ...] = ("tiny",)
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the base URL and the bodies of the completions asked for."""
    asked: list[dict[str, Any]] = []
    lock = Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            entries = [{"id": name, "object": "model"} for name in models]
            self._send(200, {"object": "list", "data": entries})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked.append(body)
            self._send(*answer(body))

        def _send(self, status: int, body: dict[str, Any]) -> None:
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status == 429:
                self.send_header("Retry-After-Ms", "10")
            self.end_headers()
            self.wfile.write(data)

    with served(Handler) as address:
        yield f"{address}/v1", asked
