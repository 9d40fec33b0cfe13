"""A judge's replies, kept by what was asked, so that nothing is asked twice.

In: a request with the judge's name and the version of its wording. Out: the reply that is kept for
it, if any. Each is one small file named by the hash of all that, written atomically below any store
address; who answers under the name, and where, is not part of it. Failures are not kept.
"""

import dataclasses
import hashlib
import json
import logging
from dataclasses import dataclass

from components.core.errors import ArtifactError
from components.core.store import Store, encode_json
from components.evaluation.benchmark import JudgeRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reply:
    text: str
    answered_by: str
    """The name the endpoint gave itself."""


class KeptReplies:
    """The replies below one folder or store address."""

    def __init__(self, uri: str) -> None:
        self._store = Store(uri)

    def read(self, model: str, prompt: str, request: JudgeRequest) -> Reply | None:
        """Return the kept reply; a file that cannot be read is told and counts as none."""
        name = _name(model, prompt, request)
        try:
            record = self._store.read_json(name)
            return Reply(str(record["text"]), str(record["answered_by"]))
        except FileNotFoundError:
            return None
        except (ArtifactError, KeyError, TypeError) as error:
            log.warning("%s is not used (%s); asked again", self._store.uri(name), error)
            return None

    def add(self, model: str, prompt: str, request: JudgeRequest, reply: Reply) -> None:
        """Keep a reply, with the request for whoever reads the files."""
        record = {
            "model": model,
            "prompt": prompt,
            "request": dataclasses.asdict(request),
            **dataclasses.asdict(reply),
        }
        self._store.write_bytes(_name(model, prompt, request), encode_json(record))


def _name(model: str, prompt: str, request: JudgeRequest) -> str:
    parts = [model, prompt, dataclasses.asdict(request)]
    return f"{hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()}.json"
