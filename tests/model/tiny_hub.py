"""A model hub of one repository on the loopback, for the hub's own client.

It answers what `huggingface_hub` 2.4 asks when it fetches a repository: the commit of a revision,
the list of its files, and each file.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from tests.loopback import served

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def tiny_hub(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder as repository `name`; yields the address and the files asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def _answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            names = {file.relative_to(folder).as_posix(): file for file in files}
            if path in (f"/api/models/{name}", f"/api/models/{name}/revision/main"):
                self._send({"id": name, "sha": COMMIT, "siblings": []})
            elif path == f"/api/models/{name}/tree/{COMMIT}":
                self._send([_entry(inside, file) for inside, file in names.items()])
            elif path.startswith(f"/{name}/resolve/{COMMIT}/"):
                inside = path.removeprefix(f"/{name}/resolve/{COMMIT}/")
                if with_body:
                    asked.append(inside)
                self._send_bytes(names[inside].read_bytes(), with_body)
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, value: Any) -> None:
            self._send_bytes(json.dumps(value).encode(), True)

        def _send_bytes(self, body: bytes, with_body: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
            self.end_headers()
            if with_body:
                self.wfile.write(body)

    with served(Handler) as address:
        yield address, asked


def _entry(inside: str, file: Path) -> dict[str, Any]:
    return {"type": "file", "path": inside, "size": file.stat().st_size, "oid": "0" * 40}
