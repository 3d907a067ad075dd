"""Figures of several processes together, and of each of several servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_dsr1.engines.facts import ServerFigures
from pytest_dsr1.records import RequestRecord

IDLE_SHARE = 0.1
IDLE_S = 1.0
"""The share of a measurement, and the time, for which a server may already be without requests."""


def together(facts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the facts of several processes' load: the CPU time of all, and the worst of everything else.

    Args:
        facts: :meth:`~pytest_dsr1.engines.openai.client.self_check.ClientLoad.facts` of each process.
    """
    if len(facts) == 1:
        return dict(facts[0])
    names = dict.fromkeys(name for each in facts for name in each)
    worst = {name: max(each.get(name, 0.0) for each in facts) for name in names}
    return {"processes": len(facts), **worst, "cpu_s": round(sum(each["cpu_s"] for each in facts), 3)}


def per_server(urls: Sequence[str], records: Sequence[RequestRecord]) -> tuple[ServerFigures, ...]:
    """Return each server's figures.

    Args:
        urls: the address of each server.
        records: of all servers, at least one.
    """
    import numpy as np

    seconds = max(r.last_token_s for r in records) - min(r.start_s for r in records)
    found = []
    for index, url in enumerate(urls):
        mine = [record for record in records if record.server == index]
        good = [record for record in mine if record.error is None]
        tokens = sum(record.output_tokens for record in good)
        took_ms = [(r.first_token_s - r.start_s) * 1e3 for r in good if r.first_token_s is not None]
        found.append(
            ServerFigures(
                url=url,
                requests=len(mine),
                failed=len(mine) - len(good),
                output_tokens=tokens,
                output_tok_s=round(tokens / seconds, 2) if seconds else 0.0,
                ttft_mean_ms=round(float(np.mean(took_ms)), 3) if took_ms else None,
                ttft_p99_ms=round(float(np.percentile(took_ms, 99)), 3) if took_ms else None,
            )
        )
    return tuple(found)


def idle_early(urls: Sequence[str], records: Sequence[RequestRecord]) -> str | None:
    """Return a warning if a server was done with its share of a closed loop long before another one.

    Equal servers end up to the time of a request apart; up to twice that is normal.

    Args:
        urls: the address of each server.
        records: of all servers; a measurement that was not ended early.
    """
    began_s, to_s = min(r.start_s for r in records), max(r.last_token_s for r in records)
    mine = [[record for record in records if record.server == index] for index in range(len(urls))]
    ends_s = [max((record.last_token_s for record in some), default=began_s) for some in mine]
    first = ends_s.index(min(ends_s))
    longest_s = max((record.last_token_s - record.start_s for record in mine[first]), default=0.0)
    if to_s - ends_s[first] <= max(IDLE_S, IDLE_SHARE * (to_s - began_s), 2 * longest_s):
        return None
    return (
        f"{urls[first]} had no more requests after {ends_s[first] - began_s:.1f} s of "
        f"{to_s - began_s:.1f} s, because requests are divided evenly and {urls[ends_s.index(to_s)]} was "
        "slower: throughput is limited by the slower server; measure them one by one, or with load.duration_s"
    )
