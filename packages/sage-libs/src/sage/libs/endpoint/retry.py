"""When to ask an endpoint again, and how long to wait before."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

__all__ = ["RetryPolicy", "retry_after_s"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter, under the endpoint's own ``Retry-After``.

    Attributes:
        retries: How often to ask again after a first failure.
        base_s: Upper bound of the first wait; it doubles with each attempt.
        max_s: Upper bound of any wait. An endpoint that asks for more is not waited for.

    Example:
        >>> policy = RetryPolicy(retries=2, base_s=0.5)
        >>> [policy.wait_s(attempt, None, draw=lambda: 1.0) for attempt in range(3)]
        [0.5, 1.0, None]
        >>> policy.wait_s(0, 7.0)
        7.0
    """

    retries: int = 2
    base_s: float = 0.5
    max_s: float = 60.0

    def wait_s(
        self, attempt: int, asked_s: float | None, *, draw: Callable[[], float] = random.random
    ) -> float | None:
        """Return the seconds to wait before asking again, or None to give up.

        Args:
            attempt: How often it has been asked again already, from 0.
            asked_s: What the endpoint's ``Retry-After`` asked for, if anything.
            draw: A random number from 0 to 1; waits of many clients must not coincide.
        """
        if attempt >= self.retries:
            return None
        if asked_s is not None:
            return asked_s if asked_s <= self.max_s else None
        return draw() * min(self.max_s, self.base_s * 2.0**attempt)


def retry_after_s(header: str | None, now_s: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for: a number or an HTTP date.

    Example:
        >>> retry_after_s("1.5", 0.0), retry_after_s("Thu, 01 Jan 1970 00:00:09 GMT", 4.0)
        (1.5, 5.0)
        >>> retry_after_s("soon", 0.0) is None
        True
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header).timestamp() - now_s
        except (ValueError, TypeError):
            return None
    return max(0.0, seconds) if seconds < float("inf") else None
