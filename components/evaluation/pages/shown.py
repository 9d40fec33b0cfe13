"""How targets and outputs are put into words for people. In: values of predictions. Out: text."""

import json
from typing import Any


def target_text(target: Any) -> str:
    """Return a target as one line: human answers with how many gave them, the most frequent first;
    text as it is; anything else as JSON.
    """
    if isinstance(target, str):
        return target
    if isinstance(target, list) and target and all(isinstance(each, str) for each in target):
        counts: dict[str, int] = {}
        for each in target:
            counts[each] = counts.get(each, 0) + 1
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        return " | ".join(f"{text} ({count})" if count > 1 else text for text, count in ordered)
    return json.dumps(target, ensure_ascii=False)
