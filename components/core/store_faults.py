"""Turn what a filesystem raises into a StoreError that says what to do.

In: any exception of the operating system, fsspec, s3fs or botocore. Out: StoreError (somebody must
act) or StoreUnavailable (trying again can help), and `FileNotFoundError` / `FileExistsError`
unchanged, because callers act on these two. Does not know what was being stored.
"""

import errno
import logging
import re
from collections.abc import Callable
from typing import TypeVar

import tenacity

from components.core.errors import StoreError, StoreUnavailable

log = logging.getLogger(__name__)

# An S3 service that throttles recovers within seconds; a longer outage is for the user to know.
MAX_TRIES = 5
MAX_WAIT_S = 8.0

# botocore and aiohttp names, compared as text so that local stores never import them.
UNREACHABLE = (
    "EndpointConnectionError",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "ConnectionClosedError",
    "ClientConnectorError",
    "ServerDisconnectedError",
    "FSTimeoutError",
    "HTTPClientError",
    # An answer that breaks off in the middle.
    "ClientPayloadError",
    "IncompleteRead",
    "IncompleteReadError",
    "ResponseStreamingError",
)
BUSY = (errno.EBUSY, errno.EREMOTEIO, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR)
BUSY_STATUS = (429, 500, 502, 503, 504)
NO_CREDENTIALS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")

Result = TypeVar("Result")

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def guarded(uri: str, action: Callable[[], Result]) -> Result:
    """Return `action()`; its trouble becomes a StoreError about `uri`, after retries where they can
    help.
    """
    waiting = tenacity.wait_random_exponential(multiplier=0.2, max=MAX_WAIT_S)
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(StoreUnavailable),
        stop=tenacity.stop_after_attempt(MAX_TRIES),
        wait=waiting,
        before_sleep=lambda state: log.debug("%s: trying again (%s)", uri, state.attempt_number),
        reraise=True,
    )
    return retrying(_translated, uri, action)


def translate(uri: str, error: BaseException) -> StoreError:
    """Return the StoreError that tells a user what `error` means for `uri`."""
    names = {kind.__name__ for kind in type(error).__mro__}
    text = str(error) or type(error).__name__
    number = error.errno if isinstance(error, OSError) else _number_in(error)
    if isinstance(error, PermissionError) or number in (errno.EACCES, errno.EPERM):
        return StoreError(f"{uri}: access refused ({text}); {_rights_advice(uri)}")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(
            f"{uri}: the disk (or the quota) is full ({text}); free some space or choose another "
            "store, then run the same command again: finished steps are kept"
        )
    if number == errno.EROFS:
        return StoreError(
            f"{uri}: the file system is read-only; choose a store that can be written"
        )
    if isinstance(error, NotADirectoryError | IsADirectoryError):
        return StoreError(
            f"{uri}: a file stands where a folder is needed, or the reverse ({text}); "
            "choose another store address"
        )
    if names & set(NO_CREDENTIALS):
        return StoreError(f"{uri}: no credentials were found ({text}); {_rights_advice(uri)}")
    if names & set(UNREACHABLE) or isinstance(error, ConnectionError):
        return StoreUnavailable(
            f"{uri}: the store cannot be reached ({text}); check the network and the endpoint"
        )
    if isinstance(error, TimeoutError) or number in BUSY or _status(error) in BUSY_STATUS:
        return StoreUnavailable(
            f"{uri}: the store does not answer for the moment ({text}); run the same command later"
        )
    return StoreError(f"{uri}: {type(error).__name__}: {text}")


def _translated(uri: str, action: Callable[[], Result]) -> Result:
    try:
        return action()
    except (StoreError, FileNotFoundError, FileExistsError):
        raise
    except Exception as error:
        if isinstance(error, OSError) or _is_remote_trouble(error) or _number_in(error):
            raise translate(uri, error) from error
        raise


def _is_remote_trouble(error: BaseException) -> bool:
    modules = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return bool(modules & {"botocore", "aiobotocore", "aiohttp", "fsspec", "s3fs"})


def _status(error: BaseException) -> int | None:
    """Return the HTTP status of an answer; s3fs keeps botocore's error as the cause of its own."""
    response = getattr(error.__cause__ or error, "response", None)
    if not isinstance(response, dict):
        return None
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if isinstance(status, int) else None


def _rights_advice(uri: str) -> str:
    if uri.startswith("s3://"):
        return (
            "check the AWS credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile) "
            "and their rights on the bucket"
        )
    return "check who owns the folder, or choose another store"


def _number_in(error: BaseException) -> int | None:
    """Return the number of the system's error that safetensors, which is no Python, only names."""
    if type(error).__name__ != "SafetensorError":
        return None
    found = _SYSTEM_ERROR.search(str(error))
    return int(found.group(1)) if found else None
