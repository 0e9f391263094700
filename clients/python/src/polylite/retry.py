"""When a request is repeated, and after how long a pause."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Optional

from .errors import CONNECTION_LOST, UNREACHABLE, PolyliteError


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how patiently requests are repeated.

    A read is repeated when the server may answer better later or elsewhere. A write is repeated only when it
    is certain that it was not applied.
    """

    #: Attempts in all; 1 means that nothing is repeated.
    attempts_max: int = 8
    #: The pause after the first attempt, in seconds; it doubles each time.
    pause_min: float = 0.05
    #: Longest pause, in seconds.
    pause_max: float = 2.0

    def pause(self, attempt: int, asked: Optional[float]) -> float:
        """The pause after an attempt, counted from 1. What the server asks for is respected.

        Chance keeps clients that failed together from coming back together.
        """
        longest = min(self.pause_min * 2.0 ** min(attempt - 1, 16), self.pause_max)
        drawn = longest * random.uniform(0.5, 1.0)
        return drawn if asked is None else max(drawn, min(asked, self.pause_max * 10))


def may_repeat(reads: bool, error: PolyliteError) -> bool:
    """Whether a request may be repeated after an error."""
    if error.code == UNREACHABLE:
        return True
    if reads:
        return error.retryable or error.code == CONNECTION_LOST or error.status in (503, 504)
    return error.retryable and error.outcome == "not_applied"


def should_move_on(error: PolyliteError) -> bool:
    """Whether another coordinator may do better: this one is gone, or says that it cannot."""
    return error.code in (UNREACHABLE, CONNECTION_LOST) or error.status in (502, 503, 504)
