"""Goodput: what keeps a service level, as MLPerf and the public load generators count it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.load import Slo

PRESETS = {"mlperf-server": (2000.0, 80.0), "mlperf-interactive": (1500.0, 15.0)}
"""TTFT and TPOT in ms: MLPerf Inference's limits for DeepSeek-R1 (``mlperf.conf``), there at P99."""


def goodput_metrics(records: Sequence[RequestRecord], slo: Slo) -> dict[str, float]:
    """The metrics ``goodput`` (requests per s) and ``slo_attainment`` (%); empty without requests.

    A failed request keeps no level, nor does one whose TTFT or TPOT is limited and unknown.
    """
    if not records:
        return {}
    ttft_ms, tpot_ms = PRESETS.get(slo.preset or "", (None, None))
    limits = slo.ttft_ms or ttft_ms, slo.tpot_ms or tpot_ms, slo.request_latency_ms
    good = sum(_keeps(record, *limits) for record in records)
    total_s = max(r.last_token_s for r in records) - min(r.start_s for r in records)
    if total_s <= 0:
        return {}
    return {"goodput": good / total_s, "slo_attainment": 100 * good / len(records)}


def _keeps(
    record: RequestRecord, ttft_ms: float | None, tpot_ms: float | None, latency_ms: float | None
) -> bool:
    if record.error is not None:
        return False
    if latency_ms is not None and (record.last_token_s - record.start_s) * 1e3 > latency_ms:
        return False
    if ttft_ms is None and tpot_ms is None:
        return True
    first_s = record.first_token_s
    if first_s is None:
        return False
    if ttft_ms is not None and (first_s - record.start_s) * 1e3 > ttft_ms:
        return False
    steps = max(record.output_tokens - 1, 1)
    return tpot_ms is None or (record.last_token_s - first_s) * 1e3 / steps <= tpot_ms
