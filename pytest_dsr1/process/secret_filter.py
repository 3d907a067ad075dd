"""The filter that takes secrets out of a program's output before anything reads or keeps it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from urllib.parse import quote


class SecretFilter:
    """A filter of a stream of bytes; a secret may arrive in pieces.

    Args:
        secrets: what to write instead, by the secret. Its forms in JSON and in addresses are replaced too.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._shown: dict[bytes, bytes] = {}
        for value, shown in secrets.items():
            data = value.encode("utf-8", "surrogateescape")
            for form in (data, json.dumps(value)[1:-1].encode(), quote(data, safe="").encode()):
                self._shown.setdefault(form, shown.encode())
        longest_first = sorted(self._shown, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, longest_first))) if longest_first else None
        self._longest = len(longest_first[0]) if longest_first else 0
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Return the output so far without secrets; what may begin one is kept for the next call."""
        if self._pattern is None:
            return data
        data = self._held + data
        done = max((found.end() for found in self._pattern.finditer(data)), default=0)
        held = self._start_of_secret(data[max(done, len(data) - self._longest + 1) :])
        self._held = data[len(data) - held :]
        return self._pattern.sub(lambda found: self._shown[found[0]], data[: len(data) - held])

    def end(self) -> bytes:
        """Return the rest."""
        rest, self._held = self._held, b""
        return rest

    def _start_of_secret(self, tail: bytes) -> int:
        """Return how many bytes at the end may be the start of a secret."""
        longest = 0
        for secret in self._shown:
            at = tail.find(secret[:1])
            while at >= 0 and not secret.startswith(tail[at:]):
                at = tail.find(secret[:1], at + 1)
            longest = max(longest, len(tail) - at if at >= 0 else 0)
        return longest
