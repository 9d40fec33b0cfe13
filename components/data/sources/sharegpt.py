"""ShareGPT: text-only conversations with assistants, filtered as Vicuna does.

In: <raw>/sharegpt/sharegpt_v3.json, an array of {id, conversations: [{from, value}]}. Out:
text-only records; leading system or assistant turns and an unanswered last question are dropped,
what is left must alternate. Longer conversations are cut later, where tokens are counted (Vicuna
splits them instead). Reference: LLaVA-1.5 Appendix A; FastChat's cleaning of ShareGPT.
"""

import re
from collections.abc import Iterator
from typing import Any

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_array
from components.data.records import BadRecord, Record, Rejected, Role, Turn, check_turns, record_id

_ROLES: dict[str, Role] = {"human": "human", "user": "human", "gpt": "gpt", "chatgpt": "gpt"}
_RESTARTED_LIST = re.compile(r"^1\. (?:(?!^2\. ).)*^1\. ", re.MULTILINE | re.DOTALL)
"""A numbered list whose every item is 1: the mark of a conversation spoilt by HTML conversion."""


def read(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the conversations that survive the filter; the others are rejected with the reason."""
    path = root / "sharegpt" / "sharegpt_v3.json"
    for index, raw in read_json_array(path):
        name = record_id(raw, index)
        try:
            yield Record(name, clean(raw), None, "sharegpt", path.name, index)
        except BadRecord as error:
            yield Rejected("sharegpt", path.name, index, name, error.reason)


def clean(raw: Any) -> tuple[Turn, ...]:
    """Return the usable turns of a raw conversation. Raises BadRecord when it is invalid."""
    items = raw.get("conversations") if isinstance(raw, dict) else None
    if not isinstance(items, list):
        raise BadRecord("`conversations` must be a list of turns")
    turns: list[Turn] = []
    for position, item in enumerate(items):
        role = item.get("from") if isinstance(item, dict) else None
        value = item.get("value") if isinstance(item, dict) else None
        if not isinstance(role, str) or not isinstance(value, str):
            raise BadRecord(f"turn {position}: expected `from` and `value` as text")
        known = _ROLES.get(role)
        if not turns and known != "human":
            continue
        if known is None:
            raise BadRecord(f"turn {position}: role {role!r}; expected human or gpt")
        turns.append(Turn(known, value))
    if len(turns) % 2 and turns[-1].role == "human":
        turns.pop()
    if not turns:
        raise BadRecord("no question with an answer")
    check_turns(turns, has_image=False)
    if any(_RESTARTED_LIST.search(turn.text) for turn in turns):
        raise BadRecord(
            "a numbered list starts over at 1 for each item (damaged by HTML conversion)"
        )
    return tuple(turns)
