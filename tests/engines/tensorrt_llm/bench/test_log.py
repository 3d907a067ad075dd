from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.tensorrt_llm.bench.log import BenchLog, series
from pytest_dsr1.process.child import Line
from tests.helpers.watcher import Watcher

OLD = (
    "[TRT-LLM] [I] iter = 7, global_rank = 0, rank = 0, currank_total_requests = 1/8, elapsed_time = 0.02s, "
    "timestamp = 2025-04-04 10:00:00, num_scheduled_requests: 9, "
    "states = {'num_ctx_requests': 1, 'num_ctx_tokens': 1024, 'num_generation_tokens': 8}"
)
NEW = (
    "[TRT-LLM] [I] iter = 7, global_rank = 0, rank = 0, currank_total_requests = 1/8, host_step_time = "
    "20.1ms, prev_device_step_time = N/A, timestamp = 2026-04-04 10:00:00, num_scheduled_requests = 9, "
    "states = {num_ctx_requests = 1, num_ctx_tokens = 1024, num_generation_tokens = 8}"
)


def read(*texts: str) -> BenchLog:
    log = BenchLog(Watcher(), 16.0)
    for number, text in enumerate(texts):
        log.take(Line("log", text, float(number)))
    return log


@pytest.mark.parametrize("line", [OLD, NEW], ids=["old", "new"])
def test_iteration_lines_of_both_layouts(line: str) -> None:
    # The first token of a request comes out of its context step.
    assert read("Starting benchmark...", line).iterations == [(1.0, 9)]


def test_an_iteration_behind_a_bar_counts() -> None:
    bar = "Benchmarking:  50%|#  | 4/8 [00:01<00:01,  1.0it/s]"
    log = read("Starting benchmark...", f"{bar}{OLD}")
    assert log.iterations == [(1.0, 9)]
    assert log.requests == [(1.0, 4)]


def test_iterations_before_the_measurement_do_not_count() -> None:
    assert read("Running warmup.", OLD, "Warmup done.", OLD).iterations == []


def test_a_warm_up_is_a_small_benchmark_and_not_the_measurement() -> None:
    log = read(
        "[TRT-LLM] [I] Setting up for warmup...",
        "[TRT-LLM] [I] Running warmup.",
        "Starting benchmark...",
        "Benchmarking: 100%|###| 2/2 [00:01<00:00]",
        "Benchmark complete.",
    )
    assert str(log.phase) == "warm-up"
    assert log.requests == []
    log.take(Line("log", "Warmup done.", 5.0))
    log.take(Line("log", "Benchmarking:   0%|   | 0/8 [00:00<?, ?it/s]", 6.0))
    assert log.phase == "measuring"  # though nothing said that it starts
    log.take(Line("log", "Benchmarking:  50%|#  | 4/8 [00:01<00:01]", 7.0))
    log.take(Line("log", "Benchmark complete.", 8.0))
    assert log.requests == [(6.0, 0), (7.0, 4)]
    assert log.measuring_to_s == 8.0


def test_phases_do_not_go_back() -> None:
    assert read("Starting benchmark...", "Loading weights: 3%").phase == "measuring"


def test_a_phase_is_told_without_the_log_s_prefix() -> None:
    watcher = Watcher()
    BenchLog(watcher, 1.0).take(Line("log", "[11/23/2026-20:00:00] [TRT-LLM] [I] Running warmup.", 0.0))
    assert watcher.steps == [("warm-up", "Running warmup.")]


@given(st.text(max_size=60))
def test_any_line_is_read(text: str) -> None:
    assert read("Starting benchmark...", text).reader.count == 2


@given(
    st.lists(st.tuples(st.floats(100, 110), st.integers(1, 1000)), min_size=1, max_size=30),
    st.sampled_from([0.5, 1.0, 3.0]),
)
def test_series_integrates_to_the_output_tokens(iterations: list[tuple[float, int]], bin_s: float) -> None:
    found = series(iterations, 100.0, 110.0, 5000.0, bin_s)
    starts = [100.0, *(end for end, _ in found)]
    total = sum(rate * (end - start) for (end, rate), start in zip(found, starts, strict=False))
    last = max(int((min(time, 110.0) - 100.0) / bin_s) for time, _ in iterations)
    assert found[-1][0] == 110.0
    if last * bin_s < 10.0:  # what falls on the very end of the window has no width to stand on
        assert total == pytest.approx(5000.0)


def test_series_of_nothing() -> None:
    assert series([], 0.0, 1.0, 10.0) == ()
