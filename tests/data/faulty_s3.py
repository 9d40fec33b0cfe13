"""An S3 server that misbehaves: a proxy on loopback which spoils the answers it is told to.

In: the address of a real server and a plan, asked at each request. Out: the real answer, an error,
an answer that comes late, or one that breaks off in the middle.
"""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Literal
from urllib.parse import urlsplit

from tests.loopback import served

Fault = Literal["", "error", "busy", "refused", "slow", "cut"]
Plan = Callable[[str, int], Fault]
"""Takes the path and how often it was asked for before."""

SLOW_S = 0.8
_BODIES = {
    "error": (500, "InternalError", "We encountered an internal error"),
    "busy": (503, "SlowDown", "Please reduce your request rate"),
    "refused": (403, "InvalidAccessKeyId", "The access key does not exist in our records"),
}


@contextmanager
def faulty_s3(address: str, plan: Plan) -> Iterator[str]:
    """Give the address of a proxy before the server at `address`."""
    asked: dict[str, int] = {}
    lock = threading.Lock()
    target = urlsplit(address)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            path = self.path.partition("?")[0]
            with lock:
                before = asked[path] = asked.get(path, -1) + 1
            fault = plan(path, before)
            if fault in _BODIES:
                self.refuse(*_BODIES[fault])
                return
            if fault == "slow":
                time.sleep(SLOW_S)
            self.forward(cut=fault == "cut")

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_one  # noqa: N815

        def refuse(self, status: int, code: str, message: str) -> None:
            body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def forward(self, cut: bool) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            connection = http.client.HTTPConnection(target.hostname, target.port)
            connection.request(
                self.command, self.path, self.rfile.read(length), dict(self.headers.items())
            )
            answer = connection.getresponse()
            body = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            # A HEAD answer has no body but tells how long it would be.
            told = answer.getheader("Content-Length") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(told or 0))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            connection.close()
            if cut:
                self.close_connection = True

    with served(Handler) as address:
        yield address
