"""Figures of several processes together, and of each of several servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_dsr1.records import RequestRecord


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


def per_server(urls: Sequence[str], records: Sequence[RequestRecord]) -> list[dict[str, Any]]:
    """Return each server's figures: requests, failures, output tokens and tok/s, and TTFT in ms.

    The rate is over the time from the first request of all servers to the last token of all servers.

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
        ttft_ms = [(r.first_token_s - r.start_s) * 1e3 for r in good if r.first_token_s is not None]
        found.append(
            {
                "url": url,
                "requests": len(mine),
                "failed": len(mine) - len(good),
                "output_tokens": tokens,
                "output_tok_s": round(tokens / seconds, 2) if seconds else 0.0,
            }
        )
        if ttft_ms:
            found[-1]["ttft_mean_ms"] = round(float(np.mean(ttft_ms)), 3)
            found[-1]["ttft_p99_ms"] = round(float(np.percentile(ttft_ms, 99)), 3)
    return found
