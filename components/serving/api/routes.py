"""The HTTP side of a replica: FastAPI routes around an engine.

In: HTTP requests. Out: /v1/chat/completions (plain and streamed), /v1/models, /health. Knows no
Ray, so that it can be tested, and run, without a cluster.
"""

import json
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from components.core.errors import DataError
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import (
    ChatRequest,
    Head,
    chunk,
    completion,
    model_card,
    parse_request,
    usage,
    usage_chunk,
)
from components.serving.config import ServingConfig
from components.serving.engine.chat_engine import ChatEngine, Completion

log = logging.getLogger(__name__)

VERSION_HEADER = "x-lavaflow-version"
"""Header of every answer: the registry version that made it."""


def build_routes(
    engine: ChatEngine, config: ServingConfig, model_name: str, version: str
) -> FastAPI:
    """Return the FastAPI application that answers for one model version."""
    app = FastAPI(title="lavaflow", version=version, description=f"{model_name}, version {version}")
    created = int(time.time())
    names = {model_name, f"{model_name}@{version}"}

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "model": model_name, "version": version, **engine.load}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model_card(model_name, version, created)]}

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        _check_model(name, names)
        return model_card(name, version, created)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Any:
        chat = parse_request(await _read_body(request, config.max_request_bytes))
        _check_model(chat.model, names)
        answer = await engine.answer(chat)
        head = Head.new(chat.model, version)
        if chat.stream:
            return _EventStream(answer, _stream(answer, head, chat))
        text = "".join([piece async for piece in answer.texts])
        counts = usage(answer.prompt_tokens, answer.num_new_tokens)
        return JSONResponse(completion(head, text, answer.finish, counts))

    app.add_middleware(_VersionHeader, version=version)
    _speak_openai_errors(app)
    return app


class _VersionHeader:
    """Adds the version to every answer. Plain ASGI, so that streams pass unbuffered."""

    def __init__(self, app: ASGIApp, version: str) -> None:
        self._app = app
        self._header = (VERSION_HEADER.encode(), version.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), self._header]
            await send(message)

        await self._app(scope, receive, send_with_version)


class _EventStream(StreamingResponse):
    """A stream that ends the computation with it, also when the client leaves."""

    def __init__(self, answer: Completion, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self.headers["cache-control"] = "no-cache"
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._answer.cancel()


async def _stream(answer: Completion, head: Head, chat: ChatRequest) -> AsyncIterator[str]:
    """Server-sent events of one answer; the status is sent by then, so errors go inline."""
    with_usage = chat.stream_options is not None and chat.stream_options.include_usage
    try:
        yield _event(chunk(head, first=True, with_usage=with_usage))
        async for piece in answer.texts:
            yield _event(chunk(head, text=piece, with_usage=with_usage))
        yield _event(chunk(head, finish=answer.finish, with_usage=with_usage))
        if with_usage:
            counts = usage(answer.prompt_tokens, answer.num_new_tokens)
            yield _event(usage_chunk(head, counts))
    except Exception:  # whatever broke, the client must learn that the text is cut
        log.exception("An answer broke off while streaming")
        yield _event(_server_error().body())
    yield "data: [DONE]\n\n"


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"


async def _read_body(request: Request, limit: int) -> bytes:
    """Read at most `limit` bytes, so that a huge body is refused before it fills the memory."""
    too_large = RequestRefused(
        f"the request body is larger than {limit} bytes; send a smaller image",
        status=413,
        code="request_too_large",
    )
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) > limit:
        raise too_large
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > limit:
            raise too_large
    return bytes(body)


def _check_model(name: str, names: set[str]) -> None:
    if name not in names:
        raise RequestRefused(
            f"model {name!r} is not served here; available: {', '.join(sorted(names))}",
            status=404,
            param="model",
            code="model_not_found",
        )


def _server_error() -> RequestRefused:
    return RequestRefused(
        "the model could not answer; the replica's log has the cause",
        status=500,
        kind="server_error",
        code="internal_error",
    )


def _speak_openai_errors(app: FastAPI) -> None:
    """Give every error the body that OpenAI clients understand."""

    @app.exception_handler(RequestRefused)
    async def refused(_: Request, error: RequestRefused) -> JSONResponse:
        return JSONResponse(error.body(), status_code=error.status)

    @app.exception_handler(DataError)
    async def unreadable(_: Request, error: DataError) -> JSONResponse:
        # The data floor found the image unreadable after its header had looked well.
        refusal = RequestRefused(str(error), param="messages", code="invalid_image")
        return JSONResponse(refusal.body(), status_code=refusal.status)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        refusal = RequestRefused(
            f"{request.method} {request.url.path}: {error.detail}", status=error.status_code
        )
        return JSONResponse(refusal.body(), status_code=refusal.status, headers=error.headers)

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> JSONResponse:
        log.error("A request failed", exc_info=error)
        refusal = _server_error()
        return JSONResponse(refusal.body(), status_code=refusal.status)
