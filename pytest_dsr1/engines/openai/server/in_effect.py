"""The options in effect of a server: from its pages, and from the log of a server that we started."""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.log_options import start_of
from pytest_dsr1.engines.openai.endpoint import Site
from pytest_dsr1.engines.openai.server import sglang_options, vllm_options
from pytest_dsr1.engines.openai.server.prometheus import Sample, samples
from pytest_dsr1.engines.trtllm_options import in_log

_TIMEOUT_S = 2.0
"""The longest wait for a page."""
_LARGEST = 1 << 24
_METRICS = "/prometheus/metrics"
_LIMITS = {
    "trtllm_max_batch_size_static": "max_batch_size",
    "trtllm_max_num_tokens_runtime": "max_num_tokens",
    "trtllm_kv_cache_max_blocks": "kv_cache_blocks",
}
"""trtllm-serve's gauges with `enable_iter_perf_stats` (``metrics/collector.py``, commit 050f80de)."""


def read_options(server: str, where: Site, log: Path | None) -> Iterator[Option]:
    """Yield what a server shows about its options; of one option the surest source comes first.

    Nothing that a server answers, or does not, is an error here: an option that cannot be read is left out.

    Args:
        server: the kind of server.
        where: its address.
        log: of a server that we started.
    """
    text, name = ("", "") if log is None else (start_of(log), log.name)
    with closing(_Pages(where)) as pages:
        if server == "vllm":
            yield from vllm_options.options_in_log(text, name)
            for info in pages.samples("/metrics", (vllm_options.CONFIG_INFO,)):
                yield from vllm_options.options_in_labels(info.labels, "/metrics")
            yield from _version(pages)
        elif server == "sglang":
            for path in sglang_options.PATHS:
                if page := pages.json(path):
                    yield from sglang_options.options_in_info(page, path)
                    break
        elif server == "trtllm-serve":
            yield from in_log.options_in_log(text, name)
            for sample in filter(
                lambda sample: math.isfinite(sample.value), pages.samples(_METRICS, _LIMITS)
            ):
                yield Option(_LIMITS[sample.name], int(sample.value), _METRICS)
            yield from _version(pages)


def _version(pages: _Pages) -> Iterator[Option]:
    """Yield the version on the page that vLLM (0.10 and newer) and trtllm-serve have."""
    if isinstance(version := pages.json("/version").get("version"), str):
        yield Option("version", version, "/version")


class _Pages:
    """The pages of a server over one connection; after a page that does not come, there are none."""

    def __init__(self, where: Site) -> None:
        self._where = where
        self._connection: http.client.HTTPConnection | None = where.connection(_TIMEOUT_S)

    def json(self, path: str) -> Mapping[str, Any]:
        """Return a page's JSON object; empty if there is none."""
        try:
            page = json.loads(self._get(path))
        except (ValueError, RecursionError):
            return {}
        return page if isinstance(page, dict) else {}

    def samples(self, path: str, names: Iterable[str]) -> list[Sample]:
        """Return the samples of these metrics; none if the page is not one of metrics."""
        try:
            return list(samples(self._get(path), names))
        except ValueError:
            return []

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _get(self, path: str) -> bytes:
        if self._connection is None:
            return b""
        try:
            status, body = self._where.ask(self._connection, path, _LARGEST)
        except (OSError, http.client.HTTPException):
            self.close()
            return b""
        return body if status == http.HTTPStatus.OK else b""
