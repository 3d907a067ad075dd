"""Whether trtllm-bench measured what it was asked for."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.tensorrt_llm.bench.command import settings
from pytest_dsr1.engines.tensorrt_llm.bench.report import Report
from pytest_dsr1.metrics.catalogue import METRICS

LENGTH_TOLERANCE = 0.001
"""Relative difference of mean lengths; the text report prints four decimals."""


def differences(report: Report, job: Job) -> Iterator[str]:
    """How a report differs from what was asked for: requests, lengths, parallelism, limits, odd numbers."""
    engine, workload = settings(job.scenario), job.workload
    if report.requests is not None and report.requests != workload.requests:
        yield f"{report.requests} requests instead of {workload.requests}"
    lengths = {"average_input_length": workload.mean_input}
    if engine.eos_id < 0:
        lengths["average_output_length"] = workload.mean_output
    for name, wanted in lengths.items():
        found = report.metrics.get(name)
        if wanted and found is not None and abs(found - wanted) > LENGTH_TOLERANCE * wanted:
            yield f"{METRICS[name].label} {found:g} instead of {wanted:g}"
    asked = {
        "tp": engine.tp,
        "pp": engine.pp,
        "ep": engine.ep,
        "max_batch_size": engine.max_batch_size,
        "max_num_tokens": engine.max_num_tokens,
    }
    for name, value in asked.items():
        if value is not None and report.world.get(name, value) != value:
            yield f"{name} {report.world[name]} instead of {value}"
    for name, number in report.metrics.items():
        if number <= 0:
            yield f"{METRICS[name].label} is {number:g}"
