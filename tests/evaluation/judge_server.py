"""A real HTTP server on this machine that speaks OpenAI's chat API and replies as a test says."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.loopback import served

Body = dict[str, Any]


@dataclass
class Fault:
    """A reply that is none."""

    status: int
    message: str = "no"
    retry_after: str | None = None
    code: str | None = None
    param: str | None = None


@dataclass
class Named:
    """A reply under another name than was asked for."""

    text: str
    model: str


@dataclass
class JudgeServer:
    """`reply` gets the request's body and returns text, a `Named`, a `Fault`, or bytes to send."""

    reply: Callable[[Body], Any]
    url: str = ""
    bodies: list[Body] = field(default_factory=list)
    """Every request that came, refused ones included."""
    headers: list[dict[str, str]] = field(default_factory=list)

    @property
    def prompts(self) -> list[str]:
        return [body["messages"][-1]["content"] for body in self.bodies]


@contextmanager
def serve(reply: Callable[[Body], Any]) -> Iterator[JudgeServer]:
    judge = JudgeServer(reply)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            judge.bodies.append(body)
            judge.headers.append({k.lower(): v for k, v in self.headers.items()})
            found = judge.reply(body)
            if isinstance(found, Fault):
                error = {"message": found.message, "code": found.code, "param": found.param}
                self._send(found.status, json.dumps({"error": error}).encode(), found.retry_after)
            elif isinstance(found, bytes):
                self._send(200, found, content_type="text/html")
            elif isinstance(found, Named):
                self._send(200, completion(found.text, found.model))
            else:
                self._send(200, completion(found, body["model"]))

        def _send(
            self,
            status: int,
            data: bytes,
            retry_after: str | None = None,
            content_type: str = "application/json",
        ) -> None:
            try:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(data)))
                if retry_after is not None:
                    self.send_header("Retry-After", retry_after)
                self.end_headers()
                self.wfile.write(data)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client did not wait

    with served(Handler) as address:
        judge.url = f"{address}/v1"
        yield judge


def completion(text: str | None, model: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 0, "model": model}
    return json.dumps({**body, "choices": [choice]}).encode()


def until(true: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
