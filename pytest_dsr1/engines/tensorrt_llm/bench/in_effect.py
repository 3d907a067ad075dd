"""The options in effect that trtllm-bench's own report and log show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_dsr1.engines.in_effect import Option, with_asked
from pytest_dsr1.engines.tensorrt_llm.bench.report import Report
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.in_effect import by_shared_names
from pytest_dsr1.engines.trtllm_options.in_log import options_in_log

_ASKED = ("tp", "pp", "ep", "max_batch_size", "max_num_tokens")
_FACTS = {"engine.quantization": "quantization", "engine.kv_cache_dtype": "kv_cache_dtype"}


def options_in_effect(
    report: Report, log: str, engine: TrtllmBench, options: Mapping[str, object], version: str | None
) -> Iterator[Option]:
    """Return the options of a report, and of the log, next to those that were asked for.

    Args:
        report: of the run.
        log: the start of its log.
        engine: the scenario's settings.
        options: the content of the options file.
        version: the installed version; None if it is unknown.
    """
    asked = by_shared_names(options)
    asked |= {name: value for name in _ASKED if (value := getattr(engine, name)) is not None}
    return with_asked([*_read(report, version), *options_in_log(log, "log")], asked)


def _read(report: Report, version: str | None) -> Iterator[Option]:
    if version is not None:
        yield Option("version", version, "tensorrt_llm")
    for key, name in _FACTS.items():
        if (value := report.facts.get(key)) is not None:
            yield Option(name, value, "report")
    for name, size in report.world.items():
        yield Option(name, size, "report")
    if report.draft_tokens is not None:
        yield Option("draft_tokens", round(report.draft_tokens), "report")
