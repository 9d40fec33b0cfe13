"""The one error that a client of the API gets: a status and a body that OpenAI clients understand.

In: what is wrong, from any part of the serving floor. Out: the JSON body. Not a LavaflowError: it
speaks to the HTTP client, never to the person at the command line.
"""

from typing import Any


class RequestRefused(Exception):
    """The request cannot be answered; carries what the client is told."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.kind = (
            message,
            status,
            param,
            code,
            kind,
        )

    def body(self) -> dict[str, Any]:
        """The JSON that OpenAI clients turn into an exception."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }
