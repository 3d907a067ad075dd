"""Clues about the model and its text: unexpected weights, or drafts that the text does not confirm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.consistency import real_text_acceptance
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.roofline.model import SPECULATES, asked_cache

_SAME = {"BFLOAT16": "BF16", "": "NONE"}


@clue("number-format")
def number_format(measurement: Measurement) -> str | None:
    """Weights or a KV cache that the engine reports in a number format other than the scenario's."""
    for what, reported, wanted in _formats(measurement):
        found = _SAME.get(reported.upper(), reported.upper())
        if found not in {"AUTO", wanted.upper()}:
            return (
                f"the engine reports {what} {reported}, but the scenario expects {wanted}: the targets are "
                "for a different checkpoint or option; correct model.path or the scenario"
            )
    return None


def _formats(measurement: Measurement) -> Iterator[tuple[str, str, str]]:
    """Yield (what, format reported, format expected) for what the engine reports."""
    facts, scenario = measurement.result.facts, measurement.scenario
    cache = facts.kv_cache_dtype
    if facts.quantization is not None:
        yield "the quantization", facts.quantization, scenario.model.quantization
    if cache is not None and cache.upper() != "NONE":  # "NONE": the engine does not say
        yield "a KV cache of", cache, asked_cache(scenario)


@clue("acceptance-length")
def acceptance_length(measurement: Measurement) -> str | None:
    """Speculative decoding whose drafts are rejected because the text is not real."""
    drafts = measurement.scenario.engine.draft_tokens
    accepted = measurement.metrics.get("acceptance_length")
    if accepted is None or measurement.scenario.speculation is not None:
        return None  # verdict/validity.py holds a forced length against the one that was seen
    if measurement.workload.synthetic and (drafts or accepted.value > SPECULATES):
        return (
            "the requests are random tokens, and the engine speculates (acceptance length "
            f"{accepted.value:.2f}): with multi-token prediction the speed depends on the text, so use "
            "real text in dataset.path (`pytest-dsr1 docs datasets`)"
        )
    expected = real_text_acceptance(drafts)
    if expected is None or accepted.value >= expected[0]:
        return None
    return (
        f"acceptance length {accepted.value:.2f} is below the {expected[0]:.1f} to {expected[1]:.1f} that "
        f"MTP with {drafts} draft tokens reaches on real text: suspect the dataset, not the machine "
        "(`pytest-dsr1 docs datasets`)"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the model."""
    return number_format, acceptance_length
