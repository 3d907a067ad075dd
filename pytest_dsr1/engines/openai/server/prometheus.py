"""A reader for single metrics of a page in Prometheus' text format.

A server's page has 200 kB, but only 2 kB of it matter. So the page is searched, not parsed. This blocks the
interpreter for less than 1 ms instead of 25 ms, which would delay the measured streams. The official parser
(prometheus_client) reads whole pages, takes 45 ms to import and then registers its own collectors. That is
too much for these few lines.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/ (text, version 0.0.4). OpenMetrics
adds an exemplar after the value of a bucket, but no buckets are read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*"'
_SAMPLE = re.compile(
    r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)[ \t]*"
    rf"(?:\{{(?P<labels>[ \t]*(?:{_LABEL}(?:[ \t]*,[ \t]*{_LABEL})*[ \t]*,?[ \t]*)?)\}})?"
    r"[ \t]*(?P<value>[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[Ii]nf|[Nn]a[Nn]))"
    r"(?:[ \t]+[-+0-9.eE]+)?[ \t]*"
)
_ONE_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Sample:
    """One value of a metric."""

    name: str
    labels: Mapping[str, str]
    value: float


def is_exposition(page: bytes) -> bool:
    """Return whether a page may contain metrics: it describes a metric, or is empty."""
    return not page.strip() or page.startswith(b"# ") or b"\n# TYPE " in page


def samples(page: bytes, names: Iterable[str]) -> Iterator[Sample]:
    """Yield the samples of these metrics, in the order of the names.

    Raises:
        ValueError: a line of one of these metrics does not have the format.
    """
    page = b"\n" + page
    for name in names:
        head = b"\n" + name.encode()
        at = page.find(head)
        while at >= 0:
            end = page.find(b"\n", at + 1)
            if end < 0:
                raise ValueError(f"the page ends within a line: {page[at + 1 :][:200]!r}")
            line = page[at + 1 : end]
            if line[len(head) - 1 : len(head)] in {b"{", b" ", b"\t"}:  # not the start of a longer name
                yield _sample(line.decode().rstrip("\r"))
            at = page.find(head, end)


def _sample(line: str) -> Sample:
    match = _SAMPLE.fullmatch(line)
    if match is None:
        raise ValueError(f"not a sample in Prometheus' text format: {line[:200]!r}")
    labels = {
        name: _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), text)
        for name, text in _ONE_LABEL.findall(match["labels"] or "")
    }
    return Sample(match["name"], labels, float(match["value"]))
