"""The metrics of disaggregated servers, by role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pytest_dsr1.engines.facts import RoleServer
from pytest_dsr1.engines.openai.disaggregated import READS, WRITES
from pytest_dsr1.engines.openai.endpoint import Site
from pytest_dsr1.engines.openai.server.sampler import ServerMetrics, ServerSummary, SeveralMetrics


class RoleMetrics(SeveralMetrics):
    """The samplers of all servers during a ``with`` block, which is the measurement.

    Each writes a file of its own, such as ``server_metrics-generation-1.jsonl``.

    Args:
        servers: each without figures, and its address.
        kind: of all servers.
        folder: keeps the files.
    """

    def __init__(self, servers: Sequence[tuple[RoleServer, Site]], kind: str, folder: Path) -> None:
        self._servers = [
            (about, ServerMetrics(where, kind, folder / f"server_metrics-{about.role}-{about.number}.jsonl"))
            for about, where in servers
        ]
        super().__init__([sampler for _, sampler in self._servers])

    def summary(self, tokens: int | None) -> ServerSummary:
        """Return the metrics of the servers that write, with what those that read warn of.

        ``tokens`` is not compared: the first token of an answer comes from a server of its own.
        """
        del tokens
        reading, writing = (
            SeveralMetrics([sampler for about, sampler in self._servers if about.role == role]).summary(None)
            for role in (READS, WRITES)
        )
        return replace(writing, warnings=(*writing.warnings, *reading.warnings))

    def roles(self) -> tuple[RoleServer, ...]:
        """Return the servers with the figures that they report."""
        return tuple(_with_figures(about, sampler) for about, sampler in self._servers)


def _with_figures(about: RoleServer, sampler: ServerMetrics) -> RoleServer:
    if sampler.why_none is not None:
        return about
    window = sampler.window()
    known = window.figures()
    return replace(
        about,
        running_requests_mean=known.get("running_requests_mean"),
        waiting_requests_mean=known.get("waiting_requests_mean"),
        kv_cache_used_share_max=known.get("kv_cache_used_share_max"),
        input_tok_s=window.per_second("prompt_tokens"),
        output_tok_s=window.per_second("generated_tokens"),
    )
