"""A client of an OpenAI-compatible API, for what is asked, what is judged and who judges.

In: an address, a key. Out: the client, and errors in words that hold no key.
"""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from openai import OpenAI

_HERE = ("127.0.0.1", "localhost", "::1")


def open_client(base_url: str, key: str, timeout_s: float, retries: int) -> "OpenAI":
    """Return a client that takes nothing from the environment: no account, no key, and no proxy for
    an endpoint on this machine.
    """
    import openai

    no_account: dict[str, Any] = {
        "OpenAI-Organization": openai.Omit(),
        "OpenAI-Project": openai.Omit(),
    }
    here = urlsplit(base_url).hostname in _HERE
    return openai.OpenAI(
        base_url=base_url,
        api_key=key or "none",
        timeout=timeout_s,
        max_retries=retries,
        default_headers=no_account,
        http_client=openai.DefaultHttpxClient(trust_env=not here),
    )


def told(error: Exception, key: str) -> str:
    """Return what the endpoint or the network says, without the key, which endpoints like to
    repeat.
    """
    body, response = getattr(error, "body", None), getattr(error, "response", None)
    said = body.get("message") if isinstance(body, dict) else None
    cause = f" ({error.__cause__})" if error.__cause__ else ""
    text = str(said or getattr(response, "text", "") or f"{error}{cause}")
    # The key first: cut in two it would not be found.
    return (text.replace(key, "***") if key else text)[:300]
