"""Metrics of plugins: computed, targeted, gated and reported like ours, and named when they are broken."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.case.case import case_of
from pytest_dsr1.errors import UserError
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.expected import expected_s
from pytest_dsr1.metrics.catalogue import (
    METRICS,
    MetricValue,
    combine,
    computed,
    duration_s,
    gateable,
    targetable,
)
from pytest_dsr1.metrics.inputs import GpuTotals, MetricInputs, Plan, Requests
from pytest_dsr1.metrics.registry import Metric, Metrics
from pytest_dsr1.reporting.ci.junit import properties
from pytest_dsr1.reporting.compare.comparison import compare
from pytest_dsr1.reporting.terminal.overview import overview
from pytest_dsr1.scenario import reference_pages
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.steady.figure import steady_figure
from pytest_dsr1.verdict.targets import judge
from pytest_dsr1.verdict.validity import invalid_reasons
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.loops import closed_loop
from tests.helpers.metrics import from_records
from tests.helpers.plugins import forget
from tests.helpers.scenario_files import changed, load_text, mistakes
from tests.helpers.values import NOISE, measurement, records, scenario

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics("acme-dsr1")


@contextmanager
def plugin(name: str, **hooks: Callable[..., object]) -> Iterator[None]:
    """Register a plugin with these hooks, in addition to our own plugins and the installed ones."""
    module = ModuleType(name)
    vars(module).update(hooks)
    forget()
    extensions.register(module, name)
    try:
        yield
    finally:
        forget()


@metrics.metric(
    "energy_per_input_token",
    "energy per input token",
    "J/tok",
    "lower",
    formula="energy of all GPUs / sum of input tokens",
    kind="mean",
    needs={"gpu"},
)
def _energy(inputs: MetricInputs) -> float | None:
    if inputs.gpu is None or inputs.gpu.energy_j is None:
        return None
    return inputs.gpu.energy_j / sum(record.input_tokens for record in inputs.done)


@metrics.mean(
    "average_characters",
    "average length in characters",
    "characters",
    "lower",
    formula="mean over i of 4 * output tokens",
    duration_s=lambda characters, plan: characters * plan.requests,
    headline=True,
    neutral=4.0,
)
def _characters(requests: Requests) -> Floats:
    return requests.output_tokens * 4


@pytest.fixture
def acme() -> Iterator[None]:
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: metrics):
        yield


ENERGY = {"energy_per_input_token": MetricValue(2.0, "records")}


def test_each_pytest_run_of_a_process_has_its_own_metrics() -> None:
    module = ModuleType("conftest")
    vars(module)["pytest_dsr1_metrics"] = lambda: metrics
    assert "average_characters" not in METRICS
    extensions.register(module, "conftest.py")
    assert "average_characters" in METRICS
    extensions.unregister(module)
    assert "average_characters" not in METRICS


def test_the_catalogue_lists_it_last_and_only_while_its_plugin_is_there() -> None:
    ours = list(METRICS)
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: metrics):
        assert list(METRICS) == [*ours, "energy_per_input_token", "average_characters"]
        assert targetable()[-2:] == ("energy_per_input_token", "average_characters")
        assert gateable()[-1] == "average_characters"
        assert "| `energy_per_input_token` | J/tok | lower |" in reference_pages.metrics_page()
    assert list(METRICS) == ours


@pytest.mark.usefixtures("acme")
def test_it_is_computed_from_the_run() -> None:
    found = from_records(records(), gpu=GpuTotals(power_w=16.0, energy_j=64.0))
    assert (found["energy_per_input_token"], found["average_characters"]) == (2.0, 16.0)
    assert "energy_per_input_token" not in from_records(records())
    values = combine({"energy_per_input_token": 1.5}, found)
    assert values["energy_per_input_token"] == MetricValue(1.5, "report")


@pytest.mark.usefixtures("acme")
def test_a_scenario_may_target_and_gate_it(tmp_path: Path) -> None:
    text = changed(
        ("metric: request_throughput", "metric: energy_per_input_token"),
        ("targets:\n", "gate: {metric: average_characters}\ntargets:\n"),
    )
    scenario = load_text(tmp_path, text).scenario
    assert scenario.targets[1].metric == "energy_per_input_token"
    assert scenario.gated_metric == "average_characters"
    assert "energy_per_input_token" in json.dumps(reference_pages.file_schema())


def test_without_its_plugin_it_is_a_mistake(tmp_path: Path) -> None:
    text = changed(("metric: request_throughput", "metric: energy_per_input_token"))
    (line,) = mistakes(tmp_path, text)
    assert line.startswith(f"s.yaml:31:13: targets.1.metric: expected one of the {len(targetable())} names")


@pytest.mark.usefixtures("acme")
def test_what_it_needs_is_asked_of_the_scenario(tmp_path: Path) -> None:
    text = changed(
        ("  gpu: NVIDIA H200\n  count: 8\n", "  count: 0\n"),
        ("  path: ${DSR1_MODELS}/DeepSeek-R1\n  quantization: FP8_BLOCK_SCALES\n", "  random_weights: {}\n"),
        ("metric: request_throughput", "metric: energy_per_input_token"),
    )
    engine = text.index("engine:\n"), text.index("targets:\n")
    text = f"{text[: engine[0]]}engine: {{type: transformers}}\n{text[engine[1] :]}"
    (line,) = mistakes(tmp_path, text)
    assert line.endswith("targets.1.metric: energy_per_input_token needs a GPU, but hardware.count is 0")


@pytest.mark.usefixtures("acme")
def test_it_is_judged_and_reported(tmp_path: Path) -> None:
    loaded = load_text(
        tmp_path, changed(("metric: request_throughput", "metric: energy_per_input_token"), ("5.61", "2.1"))
    )
    run = measurement(scenario=loaded.scenario, metrics=ENERGY)
    verdict = judge(loaded.scenario.targets[1], run, NOISE)
    assert verdict.status is Status.PASS
    assert verdict.message.startswith("energy per input token 2 J/tok is 4.8% below the target 2.1")
    outcome = ScenarioOutcome(loaded, "s.yaml", measurement=run, verdicts=[verdict])
    assert any(
        "energy per input token" in line
        for line, _ in overview([case_of(outcome, tmp_path / "none", datetime.now(timezone.utc))], 120, {})
    )
    assert ("dsr1_energy_per_input_token [J/tok]", "2.0") in properties(
        outcome, verdict.status, verdict.subject
    )
    other = replace(run, metrics={"energy_per_input_token": MetricValue(1.0, "records")})
    (row,) = compare([run, other], lambda _: NOISE).rows
    assert (row.metric.label, row.values) == ("energy per input token", (2.0, 1.0))
    assert row.changes[1] is not None
    assert row.changes[1].sense == "better"


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("characters", "shown"),
    [(16.0, "  also    average length in characters 16 characters"), (4.0, None)],
)
def test_the_overview_shows_a_headline_without_a_target(
    tmp_path: Path, characters: float, shown: str | None
) -> None:
    found = {"average_characters": MetricValue(characters, "records"), **ENERGY}
    run = measurement(metrics=found)
    outcome = ScenarioOutcome(load_text(tmp_path, changed()), "s.yaml", measurement=run)
    lines = overview([case_of(outcome, tmp_path / "none", datetime.now(timezone.utc))], 120, {})
    assert next((line for line, _ in lines if line.startswith("  also")), None) == shown


@pytest.mark.usefixtures("acme")
def test_it_says_how_long_a_run_takes() -> None:
    target = {"metric": "average_characters", "value": 0.5}
    assert expected_s(scenario(targets=[target])) == 2.0


@pytest.mark.usefixtures("acme")
def test_a_mean_over_requests_has_a_steady_figure() -> None:
    run = closed_loop(80, 16, lambda _, __: (0.2, 0.8))
    assert steady_figure(run, "average_characters", warmup_requests=16).value == pytest.approx(404.0)


@pytest.mark.usefixtures("acme")
def test_a_zero_makes_the_run_invalid_unless_it_is_declared_possible() -> None:
    zero = {"energy_per_input_token": MetricValue(0.0, "records")}
    assert invalid_reasons(measurement(metrics=zero, fingerprint=Fingerprint({"gpu.count": 0}))) == (
        "not finite positive numbers: energy_per_input_token",
    )


def test_one_that_fails_is_not_measured_and_warns() -> None:
    broken = Metrics("acme-dsr1")

    @broken.metric("broken", "broken", "s", "lower", formula="none", kind="total")
    def _(_: MetricInputs) -> float:
        raise ZeroDivisionError("no\ntokens")

    later = replace(METRICS["total_latency"], name="later", compute=lambda _: 7.0)

    said: list[str] = []
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [*broken, later]):
        found = computed(MetricInputs(records()), said.append)
    assert "broken" not in found
    assert (found["total_output_throughput"], found["later"]) == (8.0, 7.0)
    assert said == [
        "the pytest-dsr1 plugin acme-dsr1 is broken: its metric broken failed: "
        "ZeroDivisionError('no\\ntokens')"
    ]


@pytest.mark.parametrize("value", [math.nan, math.inf, -1.0, 0.0, "12", True, [1.0], np.float64("nan")])
def test_one_that_is_not_a_measurement_names_the_plugin(value: object) -> None:
    said: list[str] = []
    odd = replace(METRICS["total_latency"], name="odd", compute=lambda _: value)  # type: ignore[arg-type, return-value]
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [odd]):
        assert "odd" not in computed(MetricInputs(records()), said.append)
    assert said == [
        f"the pytest-dsr1 plugin acme-dsr1 is broken: its metric odd returned {value!r}, expected a finite "
        "number above 0 or None"
    ]


@pytest.mark.parametrize("value", [0, np.float32(0.0), 3])
def test_one_may_be_any_number_and_zero_if_it_is_declared_possible(value: float) -> None:
    said: list[str] = []
    odd = replace(METRICS["total_latency"], name="odd", compute=lambda _: value, may_be_zero=True)
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [odd]):
        assert computed(MetricInputs(records()), said.append)["odd"] == float(value)
    assert said == []
    assert odd.allowed == "a finite number of at least 0"


def leave(*_: object) -> float:
    raise SystemExit(3)


def test_one_that_exits_names_the_plugin() -> None:
    said: list[str] = []
    odd = replace(METRICS["total_latency"], name="odd", compute=leave)
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [odd]):
        assert "odd" not in computed(MetricInputs(records()), said.append)
    assert said == ["the pytest-dsr1 plugin acme-dsr1 is broken: its metric odd failed: SystemExit(3)"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda _value, _plan: 1 / 0, "failed: ZeroDivisionError('division by zero')"),
        (leave, "failed: SystemExit(3)"),
        (lambda _value, _plan: "1 h", "returned '1 h', expected seconds or None"),
        *(
            (lambda _value, _plan, seconds=seconds: seconds, f"returned {seconds}, expected seconds or None")
            for seconds in (math.nan, math.inf, -0.5)
        ),
    ],
)
def test_one_whose_duration_is_broken_names_the_plugin(broken: Any, message: str) -> None:
    odd = replace(METRICS["total_latency"], name="odd", duration_s=broken)
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [odd]), pytest.raises(UserError) as caught:
        duration_s("odd", 1.0, Plan(1, 1, 1.0, 1.0, 1))
    assert str(caught.value) == (
        f"the pytest-dsr1 plugin acme-dsr1 is broken: duration_s of its metric odd {message}"
    )


@pytest.mark.parametrize("seconds", [0, 0.5, 3600.0])
def test_one_may_take_any_time_or_none_at_all(seconds: float) -> None:
    timed = replace(METRICS["total_latency"], name="timed", duration_s=lambda _value, _plan: seconds)
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [timed]):
        assert duration_s("timed", 1.0, Plan(1, 1, 1.0, 1.0, 1)) == seconds


@pytest.mark.parametrize(
    "changes", [{"needs": {"moon"}}, {"kind": "rate", "counts": ("cows",)}, {"compute": None}]
)
def test_one_that_is_declared_wrongly_names_the_plugin(changes: dict[str, Any]) -> None:
    odd = replace(METRICS["total_latency"], name="odd", **changes)
    with (
        plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [odd]),
        pytest.raises(
            UserError, match=r"^the pytest-dsr1 plugin acme-dsr1 is broken: its metric odd has the "
        ),
    ):
        list(METRICS)


def test_one_that_is_there_already_names_both_plugins() -> None:
    ours = METRICS["total_latency"]
    with (
        plugin("acme-dsr1", pytest_dsr1_metrics=lambda: [ours]),
        pytest.raises(UserError) as caught,
    ):
        list(METRICS)
    assert str(caught.value) == (
        "the metric total_latency is declared twice, by pytest-dsr1 and by the plugin acme-dsr1: rename or "
        "remove one of them"
    )


def test_its_name_must_fit_a_scenario_and_a_test_id() -> None:
    with pytest.raises(ValueError, match="'Energy per token' is not a metric name: use lower-case letters"):
        replace(METRICS["total_latency"], name="Energy per token")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("total_latency", {"kind": "description"}, "kind=description needs better=neither, not `lower`"),
        (
            "average_concurrency",
            {"kind": "mean"},
            "better=neither needs kind=description, not `mean`",
        ),
        ("request_throughput", {"kind": "tail"}, "`counts` needs kind `rate`, not `tail`"),
        ("average_tpot", {"kind": "total"}, "`of_request` needs kind `mean`, not `total`"),
        ("total_latency", {"per_gpu": True}, "`per_gpu` needs `counts`"),
        ("total_latency", {"per": "energy"}, "`per` needs `counts`"),
    ],
)
def test_its_declarations_must_not_contradict_each_other(
    name: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(f'metric {name}: {message}')}$"):
        replace(METRICS[name], **changes)


def test_what_counts_energy_needs_it() -> None:
    spent = replace(METRICS["energy_per_request"], needs=frozenset())
    assert spent.needs >= {"gpu", "energy"}


def test_a_rate_is_divided_by_the_gpus_only_if_it_says_so() -> None:
    rates = Metrics("acme-dsr1")
    rates.rate("draws", "draws", "req/s", formula="N / s", counts=("requests",), needs={"gpu"})
    rates.rate("share", "share", "req/s", formula="N / s / GPU", counts=("requests",), per_gpu=True)
    draws, share = rates
    assert draws.needs == share.needs == {"gpu"}
    assert (draws.compute(MetricInputs(records(), 8)), share.compute(MetricInputs(records(), 8))) == (
        2.0,
        0.25,
    )
    assert (draws.compute(MetricInputs(records(), 0)), share.compute(MetricInputs(records(), 0))) == (
        None,
        None,
    )
    with plugin("acme-dsr1", pytest_dsr1_metrics=lambda: rates):
        run = replace(closed_loop(80, 16, lambda _, __: (0.2, 0.8)), gpus=8)
        figures = [steady_figure(run, name, warmup_requests=16).value for name in ("draws", "share")]
    assert figures[0] == pytest.approx(8 * figures[1])


def test_a_metric_that_is_made_without_the_decorator_leaves_out_the_same() -> None:
    def seconds(_: MetricInputs) -> float:
        return 1.0

    with_it = Metrics("acme-dsr1")
    with_it.metric("idle", "idle time", "s", "lower", formula="none", kind="total")(seconds)
    (declared,) = with_it
    assert Metric("idle", "idle time", "s", "lower", "none", "acme-dsr1", "total", seconds) == declared


def test_the_spread_has_the_values_at_these_places() -> None:
    spread = Metrics("acme-dsr1")

    @spread.mean_and_spread("size", "size", mean=("mean_size", "mean size"), of="i", source="none")
    def _(_: Requests) -> Floats:
        return np.arange(100.0, -1.0, -1.0)

    found = {one.name: one.compute(MetricInputs(records())) for one in spread}
    assert found == {
        "mean_size": 50.0,
        "size_minimum": 0.0,
        "size_p50": 50.0,
        "size_p90": 90.0,
        "size_p95": 95.0,
        "size_p99": 99.0,
        "size_maximum": 100.0,
    }
