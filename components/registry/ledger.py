"""The promotion ledger: who made which version champion, when, why, and what the gate said.

In: entries. Out: numbered files `ledger/{model}/{000001}.json` in the store, each written once and
never changed. MLflow keeps no history of its aliases (mlflow issue 2169); this does, and it decides
between people who promote at the same moment: an entry names the number it expects to get, and of
two with the same number one loses and must look again.
"""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from components.core.config import Config, parse
from components.core.errors import RegistryError
from components.core.store import Store, encode_json
from components.registry.gate import GateReport

SCHEMA = 1


class LedgerEntry(Config):
    """One promotion, rollback or refusal."""

    schema_version: int = SCHEMA
    number: int = Field(ge=1)
    """Place in the ledger, from 1 without gaps."""
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    model: str
    action: Literal["promote", "rollback", "refuse"]
    version: int
    """Version that became champion, or was refused."""
    previous_version: int | None = None
    """Champion before."""
    who: str = ""
    when: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    """UTC, ISO 8601."""
    reason: str = ""
    forced: bool = False
    """Whether the gate's refusal was overruled."""
    report: GateReport | None = None


class Ledger:
    """The ledger of all models in one store."""

    def __init__(self, store: Store, folder: str = "ledger") -> None:
        self.store = store
        self.folder = folder

    def entries(self, model: str) -> list[LedgerEntry]:
        """Return all entries of a model, oldest first."""
        folder = f"{self.folder}/{model}"
        numbered = sorted(name for name in self.store.list(folder) if _is_entry(name))
        return [self._read(f"{folder}/{name}") for name in numbered]

    def append(self, entry: LedgerEntry) -> bool:
        """Write an entry under its number; False when that number was taken by someone else."""
        path = f"{self.folder}/{entry.model}/{entry.number:06d}.json"
        if self.store.put_if_absent(path, encode_json(entry.canonical())):
            return True
        # A request that was answered late and sent again meets its own first try.
        return self._read(path).id == entry.id

    def _read(self, path: str) -> LedgerEntry:
        values = self.store.read_json(path)
        where = self.store.uri(path)
        if not isinstance(values, dict) or values.get("schema_version") != SCHEMA:
            found = values.get("schema_version") if isinstance(values, dict) else type(values)
            raise RegistryError(
                f"{where}: ledger entry of schema {found}, this version reads {SCHEMA}; "
                "use the version of lavaflow that wrote it"
            )
        return parse(LedgerEntry, values, where=where)


def champions(entries: Iterable[LedgerEntry]) -> list[int]:
    """Return the stack of champions that the entries lead to, the present one last.

    A promotion puts a version on top; a rollback takes versions off until its target is on top.
    So rolling back twice goes back two champions, not to and fro.
    """
    stack: list[int] = []
    for entry in entries:
        if entry.action == "promote" and stack[-1:] != [entry.version]:
            stack.append(entry.version)
        elif entry.action == "rollback":
            while stack and stack[-1] != entry.version:
                stack.pop()
            stack = stack or [entry.version]
    return stack


def history(entries: Iterable[LedgerEntry]) -> str:
    """Return the entries as lines of text, oldest first."""
    lines = []
    for entry in entries:
        former = f" (was {entry.previous_version})" if entry.previous_version else ""
        words = [
            f"{entry.number:>4}  {entry.when}  {entry.action:<8}  version {entry.version}{former}"
        ]
        words += [f"by {entry.who}"] if entry.who else []
        words += ["forced"] if entry.forced else []
        words += [entry.reason] if entry.reason else []
        lines.append("  ".join(words))
    return "\n".join(lines)


def _is_entry(name: str) -> bool:
    return name.endswith(".json") and name.removesuffix(".json").isdigit()
