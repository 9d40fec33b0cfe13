"""The HTTP side without a cluster: a real server on a free port, asked by the official clients."""

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn

from components.core.errors import DataError, ServingError
from components.serving.api.routes import build_routes
from components.serving.client import ask
from components.serving.config import ServingConfig
from components.serving.engine.chat_engine import ChatEngine

CONFIG = ServingConfig(max_new_tokens=150, max_request_bytes=100_000)
QUESTION = [{"role": "user", "content": "What is it?"}]


@pytest.fixture(scope="module")
def url(engine: ChatEngine) -> Iterator[str]:
    app = build_routes(engine, CONFIG, "pocket", "3")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def about(image_bytes: bytes, question: str = "What is it?") -> list[dict[str, Any]]:
    image_url = f"data:image/jpeg;base64,{base64.b64encode(image_bytes).decode()}"
    parts = [
        {"type": "text", "text": question},
        {"type": "image_url", "image_url": {"url": image_url}},
    ]
    return [{"role": "user", "content": parts}]


def test_the_openai_client_gets_the_same_answer_plain_and_streamed(
    client: openai.OpenAI, image_bytes: bytes
) -> None:
    asked: dict[str, Any] = {"model": "pocket", "messages": about(image_bytes), "max_tokens": 30}
    plain = client.chat.completions.create(**asked)
    pieces, finish, counts = [], None, None
    options = {"include_usage": True}
    for event in client.chat.completions.create(**asked, stream=True, stream_options=options):
        counts = event.usage or counts
        for choice in event.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    assert plain.choices[0].message.content == "".join(pieces)
    assert len([piece for piece in pieces if piece]) > 3
    assert plain.choices[0].finish_reason == finish == "length"
    assert plain.usage == counts
    assert plain.usage is not None and plain.usage.completion_tokens == 30


def test_models_and_health_name_the_version(client: openai.OpenAI, url: str) -> None:
    (model,) = client.models.list()
    assert (model.id, model.to_dict()["version"]) == ("pocket", "3")
    assert client.models.retrieve("pocket").id == "pocket"
    health = httpx.get(f"{url}/health")
    assert health.json() == {
        "status": "ok",
        "model": "pocket",
        "version": "3",
        "running": 0,
        "waiting": 0,
    }
    assert health.headers["x-lavaflow-version"] == "3"


def test_a_request_may_name_the_version(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="pocket@3", messages=QUESTION, max_tokens=1)
    assert answer.system_fingerprint == "version-3"
    with pytest.raises(openai.NotFoundError, match="available: pocket, pocket@3"):
        client.chat.completions.create(model="pocket@2", messages=QUESTION)
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("other")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"messages": []}, 400, "invalid_value"),
        ({"temperature": "warm"}, 400, "invalid_value"),
        ({"n": 3}, 400, "unsupported_parameter"),
        ({"model": "other"}, 404, "model_not_found"),
        ({"messages": about(b"no image")}, 400, "invalid_image"),
        ({"messages": about(b"x" * 90_000)}, 413, "request_too_large"),
        (
            {"messages": [{"role": "user", "content": "word " * 400}]},
            400,
            "context_length_exceeded",
        ),
    ],
    ids=["no message", "type", "n", "model", "bad image", "too large", "too long"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_bad_input_is_an_openai_error_with_its_status(
    client: openai.OpenAI, changes: dict[str, Any], status: int, code: str, stream: bool
) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        client.chat.completions.create(
            **{"model": "pocket", "messages": QUESTION, **changes, "stream": stream}
        )
    assert refused.value.status_code == status
    assert refused.value.code == code


def test_a_body_without_length_is_cut_at_the_limit(url: str) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1000

    answer = httpx.post(f"{url}/v1/chat/completions", content=endless())
    assert answer.status_code == 413


def test_other_errors_have_the_same_form(url: str) -> None:
    assert (
        "JSON" in httpx.post(f"{url}/v1/chat/completions", content=b"{").json()["error"]["message"]
    )
    assert httpx.get(f"{url}/v1/completions").json()["error"]["message"].endswith("Not Found")
    assert httpx.get(f"{url}/v1/chat/completions").status_code == 405


def test_the_computation_stops_when_the_client_leaves(url: str, engine: ChatEngine) -> None:
    body = {"model": "pocket", "messages": QUESTION, "max_tokens": 150, "stream": True}
    started = []
    for _ in range(3):
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as stream:
            started.append(next(stream.iter_lines()))
    end = time.monotonic() + 10
    while any(engine.load.values()) and time.monotonic() < end:
        time.sleep(0.01)
    assert engine.load == {"running": 0, "waiting": 0}
    assert all(line.startswith("data: ") for line in started)


def test_an_error_of_the_model_is_told_plain_and_in_the_stream(
    url: str, engine: ChatEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(engine._batcher._decoder, "steps", broken)
    body = {"model": "pocket", "messages": QUESTION}
    plain = httpx.post(f"{url}/v1/chat/completions", json=body)
    assert plain.status_code == 500
    assert plain.json()["error"]["type"] == "server_error"
    assert "memory" not in plain.text
    streamed = httpx.post(f"{url}/v1/chat/completions", json={**body, "stream": True}).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if line]
    assert json.loads(events[-2])["error"]["code"] == "internal_error"
    assert events[-1] == "[DONE]"
    with pytest.raises(ServingError, match="broke off"):
        ask(url, "What is it?", on_text=lambda _: None)


def test_ask_plain_and_streamed(url: str, image_bytes: bytes, tmp_path: Path) -> None:
    file = tmp_path / "image.jpg"
    file.write_bytes(image_bytes)
    pieces: list[str] = []
    plain = ask(url, "What is it?", file, max_tokens=20)
    assert ask(url, "What is it?", file, max_tokens=20, on_text=pieces.append) == plain
    assert "".join(pieces) == plain
    assert plain != ask(url, "What is it?", max_tokens=20)


def test_ask_says_what_is_wrong(url: str, tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="404: model 'other'"):
        ask(url, "What is it?", model="other")
    with pytest.raises(ServingError, match=r"400: .*max_tokens"):
        ask(url, "What is it?", max_tokens=0, on_text=lambda _: None)
    with pytest.raises(ServingError, match="does not answer"):
        ask("http://127.0.0.1:9", "What is it?")
    with pytest.raises(DataError, match="No such file"):
        ask(url, "What is it?", tmp_path / "absent.png")
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match="expected an image file"):
        ask(url, "What is it?", tmp_path / "notes.txt")
