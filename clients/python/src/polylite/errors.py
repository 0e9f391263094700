"""What goes wrong, and what became of the request then."""

from __future__ import annotations

from typing import Any, Mapping, Optional

#: No server could be reached; nothing was sent.
UNREACHABLE = "client_unreachable"
#: The connection was lost before the answer had come.
CONNECTION_LOST = "client_connection_lost"
#: What came is no answer of Polylite.
INVALID_ANSWER = "client_invalid_answer"


class PolyliteError(Exception):
    """A request that was not answered as it should be.

    ``outcome`` says what became of a write: ``not_applied``, ``applied``, ``partial`` or ``unknown``; it is
    never wrong. ``retryable`` says that the same request may succeed later. ``code`` is a stable word.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        outcome: str = "not_applied",
        retryable: bool = False,
        status: Optional[int] = None,
        hint: Optional[str] = None,
        statement: Optional[int] = None,
        request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.outcome = outcome
        self.retryable = retryable
        self.status = status
        self.hint = hint
        self.statement = statement
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def of_answer(status: int, body: Any, reads: bool, retry_after: Optional[float]) -> PolyliteError:
    """The error that an answer tells."""
    if isinstance(body, Mapping) and "error" in body:
        return PolyliteError(
            str(body["error"]),
            code=str(body.get("code", INVALID_ANSWER)),
            outcome=str(body.get("outcome", _silent_outcome(status, reads))),
            retryable=bool(body.get("retryable", False)),
            status=status,
            hint=body.get("hint"),
            statement=body.get("statement"),
            request_id=body.get("request_id"),
            retry_after=retry_after,
        )
    return PolyliteError(
        f"the server answered {status}",
        code=INVALID_ANSWER,
        outcome=_silent_outcome(status, reads),
        status=status,
        retry_after=retry_after,
    )


def unreachable(address: str, cause: BaseException) -> PolyliteError:
    """Nothing listens, so nothing was sent."""
    return PolyliteError(f"{address} cannot be reached: {cause}", code=UNREACHABLE, retryable=True)


def lost(address: str, cause: BaseException, reads: bool) -> PolyliteError:
    """The answer did not come; a write may have been applied."""
    outcome = "not_applied" if reads else "unknown"
    message = f"the connection to {address} was lost: {cause}"
    return PolyliteError(message, code=CONNECTION_LOST, outcome=outcome, retryable=True)


def _silent_outcome(status: int, reads: bool) -> str:
    """What became of a request whose answer is silent: a refusal (4xx) did nothing, anything else may have."""
    return "not_applied" if reads or 400 <= status < 500 else "unknown"
