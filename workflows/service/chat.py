"""Asks the running service a question about an image.

In: an image file, a question. Out: the answer, streamed to standard output.
"""

import contextlib
import sys
from pathlib import Path

from components.core.errors import LavaflowError
from workflows.cluster import local as cluster
from workflows.cluster.connect import connected
from workflows.home import Home

DEFAULT_URL = "http://127.0.0.1:8000"


def chat_once(
    home: Home, image: Path, question: str, url: str | None, max_tokens: int | None
) -> None:
    """Ask one question; the answer streams to standard output."""
    from components.serving.client import ask

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    ask(_url(home, url), question, image, max_tokens=max_tokens, on_text=write)
    sys.stdout.write("\n")


def _url(home: Home, url: str | None) -> str:
    """The service to talk to: the one named, the kept one, else the default port."""
    if url:
        return url.rstrip("/").removesuffix("/v1")
    if cluster.kept_cluster(home.cluster_file) is not None:
        with contextlib.suppress(LavaflowError), connected(home, None):
            from components.serving.service import rollout

            status = rollout.service_status()
            if status is not None:
                return status.endpoint.url
    return DEFAULT_URL
