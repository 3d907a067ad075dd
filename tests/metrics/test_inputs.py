"""What metrics are computed from: columns, times and windows of hand-made requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_dsr1.metrics.inputs import NO_SERVER, Answered, MetricInputs, ServerStatistics, span_s
from tests.helpers.values import records


@pytest.mark.parametrize(("steps", "counted"), [(1, True), (0, False), (None, False)])
def test_steps_are_counted_where_each_request_has_at_least_one(steps: int | None, counted: bool) -> None:
    rows = [replace(records()[0], decoding_iterations=steps), *records()[1:]]
    assert MetricInputs(rows).columns.counted_steps == counted


def test_a_run_is_on_the_cpu_and_not_timed_unless_it_says_so() -> None:
    inputs = MetricInputs(records())
    assert (inputs.gpus, inputs.measured_s) == (0, 0.0)


def test_without_requests_no_time_passes() -> None:
    assert span_s([]) == 0.0


@pytest.mark.parametrize("tokens", [0, 1])
def test_a_run_without_output_tokens_answered_nothing(tokens: int) -> None:
    answered = Answered(1, tokens, 1.0) if tokens else None
    one = replace(records()[0], submitted_s=100.0, last_token_s=101.0, output_tokens=tokens)
    assert MetricInputs([one]).answered == answered
    assert MetricInputs([], reported=Answered(1, tokens, 1.0)).answered == answered


def test_one_user_of_two_fills_no_window() -> None:
    """Four requests one after another of two users, and one that takes no time."""
    alone = tuple(
        replace(one, submitted_s=100.0 + 2 * one.id, first_token_s=None, last_token_s=101.0 + 2 * one.id)
        for one in records()
    )
    assert MetricInputs(alone, concurrency=2).steady_window is None
    assert MetricInputs(alone, concurrency=1).steady_window == (100.0, 101.0)
    instant = replace(alone[0], last_token_s=100.0)
    assert MetricInputs([instant], concurrency=1).steady_window is None


def test_a_servers_statistics_are_saved_without_what_it_does_not_report() -> None:
    found = ServerStatistics(path="/metrics", samples=3, complete=True, other={"later": 1})
    assert found.saved() == {"path": "/metrics", "readings": 3, "whole": True, "later": 1}
    assert ServerStatistics.of(found.saved()) == found
    assert NO_SERVER.saved() == {}
