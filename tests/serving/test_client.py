"""What `ask` says of a place where no service is, and of an answer that ends too soon."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from components.core.errors import ServingError
from components.serving.client import ask


def reply(body: str, kind: str, missing: int = 0) -> bytes:
    """An HTTP answer that promises `missing` bytes more than it has."""
    head = f"content-type: {kind}\r\ncontent-length: {len(body) + missing}\r\nconnection: close"
    return f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}".encode()


MODELS = reply('{"object": "list", "data": [{"id": "pocket"}]}', "application/json")
PIECE = json.dumps({"id": "1", "choices": [{"index": 0, "delta": {"content": "a cat"}}]})
PIECES = reply(f"data: {PIECE}\n\n", "text/event-stream", missing=100)


@contextmanager
def replaying(*replies: bytes) -> Iterator[str]:
    """The URL of a server that gives these answers, one per connection, and closes each."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def run() -> None:
            for each in replies:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(each)

        thread = threading.Thread(target=run)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join(20)


@pytest.mark.parametrize(
    "answer",
    [
        reply("<html>A page</html>", "text/html"),
        reply('{"detail": "something else"}', "application/json"),
        reply('{"object": "list", "data": []}', "application/json"),
    ],
    ids=["a page", "other JSON", "no model"],
)
def test_a_place_where_no_service_is_is_told(answer: bytes) -> None:
    with replaying(answer) as url, pytest.raises(ServingError, match="names no model"):
        ask(url, "What is it?")


def test_a_stream_that_is_cut_is_told_after_its_pieces() -> None:
    pieces: list[str] = []
    with (
        replaying(MODELS, PIECES) as url,
        pytest.raises(ServingError, match=r"broke off.*closed connection"),
    ):
        ask(url, "What is it?", on_text=pieces.append)
    assert pieces == ["a cat"]


def test_an_address_without_a_scheme_is_told() -> None:
    with pytest.raises(ServingError, match=r"localhost:9 does not answer .*http://"):
        ask("localhost:9", "What is it?")
