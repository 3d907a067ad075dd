"""Rounds of pytest-benchmark."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.metrics.catalogue import combine
from pytest_dsr1.session.benchmark import Rounds, feed, seconds_per_token
from tests.helpers.metrics import from_records
from tests.helpers.values import measurement, records, scenario


@given(st.lists(st.floats(1e-3, 100), min_size=1, max_size=30))
def test_a_request_is_a_round(latencies_s: list[float]) -> None:
    rows = [record for latency_s in latencies_s for record in records(1, latency_s=latency_s)]
    rounds = seconds_per_token(rows, {})
    assert len(rounds) == len(rows)
    harmonic = len(rounds) / sum(rounds)
    assert harmonic <= from_records(rows)["per_user_output_throughput"] * (1 + 1e-9)


def test_without_records_there_is_one_round() -> None:
    assert seconds_per_token((), combine({"per_user_output_throughput": 4.0}, {})) == [0.25]
    assert seconds_per_token((), {}) == []


@pytest.mark.parametrize(
    ("speculation", "said", "name"),
    [
        (
            {"acceptance_length": 2.4},
            "acceptance length 2.4 forced",
            "small::measurement (acceptance length 2.4 forced)",
        ),
        (None, None, "small::measurement"),
    ],
)
def test_a_forced_length_has_a_name_of_its_own(
    speculation: dict[str, float] | None, said: str | None, name: str
) -> None:
    benchmark = SimpleNamespace(extra_info={}, pedantic=lambda *_, **__: None)
    feed(benchmark, Rounds(measurement(scenario=scenario(speculation=speculation))), "own/small.yaml")
    assert benchmark.extra_info.get("forced") == said
    assert benchmark.name == name
    assert benchmark.fullname == name.replace("small", "own/small.yaml")
