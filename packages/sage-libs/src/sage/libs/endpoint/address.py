"""Where an endpoint is and which key goes there: from options, else from the environment.

Invariant: a key from the environment only goes to the address that it was set for.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from sage.common.errors import ConfigError, Problem

__all__ = ["PUBLIC_URL", "Address", "openai_address", "vllm_address"]

PUBLIC_URL: Final = "https://api.openai.com/v1"
_VLLM_URL = "http://localhost:8000/v1"


class Address(NamedTuple):
    """Where the API begins, without a trailing slash, and the key to send there, if any."""

    url: str
    key: str | None

    @property
    def lacks_key(self) -> bool:
        """Whether it is the public API, which answers nobody without a key."""
        return self.url == PUBLIC_URL and self.key is None


def openai_address(subject: str, base_url: str | None, api_key: str | None) -> Address:
    """Return the given address, else ``$OPENAI_BASE_URL``, else OpenAI's public API.

    Args:
        subject: Who asks, for errors.
        base_url: Where the API begins, if the user said so.
        api_key: The key, if the user gave one; else ``$OPENAI_API_KEY``.

    Raises:
        ConfigError: if it is not an http or https URL.
    """
    url = base_url or os.environ.get("OPENAI_BASE_URL") or PUBLIC_URL
    return Address(_checked(subject, url), api_key or os.environ.get("OPENAI_API_KEY") or None)


def vllm_address(subject: str, base_url: str | None, api_key: str | None) -> Address:
    """Return the given address, else ``$VLLM_BASE_URL``, ``$OPENAI_BASE_URL``, else port 8000 here.

    Never the public API. The key is ``$VLLM_API_KEY``, and ``$OPENAI_API_KEY`` only where the
    address is that of ``$OPENAI_BASE_URL``.

    Raises:
        ConfigError: if it is not an http or https URL.
    """
    key = api_key or os.environ.get("VLLM_API_KEY") or None
    url = base_url or os.environ.get("VLLM_BASE_URL")
    if not url and os.environ.get("OPENAI_BASE_URL"):
        return openai_address(subject, None, key)
    return Address(_checked(subject, url or _VLLM_URL), key)


def _checked(subject: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        shown = url if "@" not in url else "***"
        problem = Problem("$.base_url", f"expected an http or https URL, got {shown!r}")
        raise ConfigError(subject, [problem])
    return url.rstrip("/")
