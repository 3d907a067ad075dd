"""Why is my number low: each clue, when it appears and when not, and its section in the documentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.diagnosis.clues import Clue
from pytest_dsr1.diagnosis.diagnosis import FoundClue, diagnose
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.telemetry.health import GpuStatistics, GpuSummary
from pytest_dsr1.machine.values import FactValue, Fingerprint, Telemetry
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.roofline.bounds import roofline
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.checkpoint import check_checkpoint
from tests.helpers.paths import DOCS
from tests.helpers.plugins import plugged_in
from tests.helpers.published import SHIPPED, figures, measured, shipped
from tests.helpers.values import records

PAGE = (DOCS / "how-to" / "why-low.md").read_text(encoding="utf-8")
OURS = {
    clue.key: clue
    for plugin, clue in extensions.declared("pytest_dsr1_clues", Clue).values()
    if plugin in extensions.HOOKS["pytest_dsr1_clues"].ours
}

H200, B200 = "h200/max-throughput", "b200/max-throughput"
ALONE, SERVED = "h200/min-latency", "slice-h200/vllm-c256"


def changed(name: str, changes: Mapping[str, Any]) -> Scenario:
    """A shipped scenario with values replaced by their dotted keys."""
    body = shipped(name).model_dump(exclude_none=True)
    for key, value in changes.items():
        *parts, last = key.split(".")
        place = body
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return Scenario.model_validate(body)


def run(
    name: str,
    changes: Mapping[str, Any] | None = None,
    values: Mapping[str, float] | None = None,
    **fields: Any,
) -> Measurement:
    """A measurement of a shipped scenario, with options, metrics and fields of the measurement replaced."""
    one = changed(name, changes or {})
    return measured(one, values or {"total_output_throughput": 1.0}, **fields)


def gpus(different: Mapping[int, Mapping[str, float | None]]) -> GpuSummary:
    """The summary of the telemetry of 8 H200s, of which these differ."""
    usual: dict[str, Any] = {
        "sm_clock_mhz_mean": 1975.0,
        "sm_clock_mhz_max": 1980,
        "temperature_c_max": 62,
        "utilization_percent_mean": 97.0,
        "power_capped_share": 0.0,
        "throttled_share": 0.0,
    }
    return GpuSummary("", gpus=tuple(GpuStatistics(i, **{**usual, **different.get(i, {})}) for i in range(8)))


def gpu(**changes: float | None) -> GpuSummary:
    """The summary of the telemetry of 8 H200s, of which GPU 3 differs."""
    return gpus({3: changes})


TELEMETRY = Telemetry(gpus=tuple(range(8)), max_sm_clock_mhz=(1980,) * 8)


def on_gpus(changes: Mapping[str, Any] | None = None, **clocks: float | None) -> Measurement:
    return run(H200, changes, gpu_health=gpu(**clocks), telemetry=TELEMETRY)


def on_nodes(**mhz: float) -> Measurement:
    """With two GPUs on each node, at this SM clock."""
    each = [
        GpuStatistics(f"{node}:{gpu}", sm_clock_mhz_mean=clock)
        for node, clock in mhz.items()
        for gpu in (0, 1)
    ]
    return run(H200, gpu_health=GpuSummary("", gpus=tuple(each)))


def limited(watts: FactValue, capped: GpuSummary | None = None) -> Measurement:
    """GPU 3, or those of a summary, at the power cap a third of the time, with so low a limit."""
    capped = capped or gpu(power_capped_share=0.34, sm_clock_mhz_mean=1695.0)
    one = run(H200, gpu_health=capped, telemetry=TELEMETRY)
    facts = {**one.fingerprint.facts, "gpu.power_limit_w": watts, "gpu.power_default_w": 700.0}
    return replace(one, fingerprint=Fingerprint(facts))


def served(changes: Mapping[str, Any] | None = None, **metrics: float) -> Measurement:
    return run(SERVED, changes, facts={"server_metrics": {"path": "/metrics", "whole": True, **metrics}})


EXAMPLES: list[tuple[str, Measurement]] = [
    ("compile-cache", run(H200, caches_filled=("/root/.cache/vllm/torch_compile_cache",))),
    ("number-format", run(B200, facts={"engine.quantization": "FP8_BLOCK_SCALES"})),
    ("number-format", run(B200, facts={"engine.kv_cache_dtype": "FP8"})),
    ("acceptance-length", run(ALONE, values={"acceptance_length": 1.4})),
    ("acceptance-length", run(SERVED, values={"acceptance_length": 1.4})),
    ("low-concurrency", run(H200, values={"average_concurrency": 612.3})),
    ("engine-queue", run(H200, {"engine.max_batch_size": 64})),
    ("engine-queue", run("b200/min-latency", {"load.concurrency": 2})),
    ("engine-queue", served({"engine.max_batch_size": 128}, waiting_requests_mean=31.2)),
    # As two H200 had it: equal answers end together, and the next requests come together.
    ("engine-queue", served(waiting_requests_mean=59.4)),
    ("ramp-and-drain", run(H200, {"load.num_requests": 2048})),
    (
        "ramp-and-drain",
        run(H200, values={"total_output_throughput": 8000.0, "steady_output_throughput": 10500.0}),
    ),
    ("kv-cache", served(preemptions=17)),
    ("kv-cache", served({"load.concurrency": "all"}, preemptions=17)),
    ("kv-cache", served(kv_cache_used_share_max=0.993, waiting_requests_mean=31.2)),
    ("kv-cache", run(H200, facts={"kv_cache_used_share_max": 0.993, "scheduled_requests_mean": 96.4})),
    ("kv-cache", run(H200, {"engine.llm_api.enable_attention_dp": False, "engine.max_batch_size": 1024})),
    ("kv-cache", run(H200, {"engine.llm_api.kv_cache_config.max_tokens": 262144})),
    ("attention-dp", run(H200, {"load.concurrency": 1, "load.num_requests": 10})),
    ("chunked-context", run(H200, {"engine.enable_chunked_context": True})),
    ("cuda-graphs", run(H200, {"load.concurrency": 1000, "load.num_requests": 5000})),
    ("cuda-graphs", run(B200, {"engine.llm_api.cuda_graph_config.batch_sizes": [1, 2, 4, 8, 16]})),
    ("cuda-graphs", run(SERVED, {"engine.arguments": ["--enforce-eager"]})),
    ("throttled", on_gpus(throttled_share=0.003, temperature_c_max=88)),
    ("power-cap", limited(600.0)),
    ("power-cap", limited(["700.0"] * 3 + ["500.0"] + ["700.0"] * 4)),
    ("power-cap", limited(700.0)),
    ("power-cap", limited(["500.0"] + ["700.0"] * 7)),  # of another GPU
    ("power-cap", limited(None)),
    ("sm-clock", on_gpus(sm_clock_mhz_max=1500)),
    ("sm-clock", on_gpus({"gpu_setup.lock_sm_clock_mhz": 1500})),
    ("slow-node", on_nodes(node1=1970, node2=1410)),
]
"""A measurement for each sentence there is; the page quotes what it gives."""


def clues(measurement: Measurement) -> dict[str, str]:
    return {clue.key: clue.sentence for clue in diagnose(measurement)}


def section(key: str) -> str:
    """The page's section of a clue, in one line."""
    after = PAGE.split(f'<a id="{key}"></a>')[1]
    return " ".join(after.split('<a id="')[0].split())


@pytest.mark.parametrize(
    ("key", "measurement"), EXAMPLES, ids=[f"{i}-{e[0]}" for i, e in enumerate(EXAMPLES)]
)
def test_each_sentence_is_quoted_in_its_section(key: str, measurement: Measurement) -> None:
    assert clues(measurement)[key] in section(key)


def test_page_and_code_know_the_same_clues() -> None:
    ours = list(OURS)
    assert re.findall(r'<a id="([^"]+)"></a>', PAGE) == ours
    assert {key for key, _ in EXAMPLES} == set(ours)
    assert set(re.findall(r"\(#([^)]+)\)", PAGE)) == {*ours, "messages"}


def test_each_clue_says_what_it_looks_for_and_points_to_its_section() -> None:
    for key, clue in OURS.items():
        assert clue.pattern.endswith(".")
        assert clue.page == f"pytest-dsr1 docs why-low#{key}"


def test_every_declared_clue_is_listed() -> None:
    modules = [import_module(name) for name in extensions.HOOKS["pytest_dsr1_clues"].ours]
    declared = [one for module in modules for one in vars(module).values() if isinstance(one, Clue)]
    assert declared == list(OURS.values())


PLUGIN = """
from pytest_dsr1.diagnosis.clues import clue

@clue("few-gpus", page="https://acme.example/few-gpus", cost_percent=lambda measurement: 12.5)
def few_gpus(measurement):
    \"\"\"A run on few GPUs.\"\"\"
    return f"only {measurement.result.gpus} GPUs" if measurement.result.gpus < 16 else None

@clue("broken", page="")
def broken(measurement):
    \"\"\"Always fails.\"\"\"
    raise RuntimeError("no license")

@clue("leaving", page="", cost_percent=lambda measurement: 1 / 0)
def leaving(measurement):
    \"\"\"Always exits.\"\"\"
    raise SystemExit(3)

def pytest_dsr1_clues():
    return few_gpus, broken, leaving
"""


def test_a_clue_of_a_plugin_is_one_file(tmp_path: Path) -> None:
    found = run(H200, caches_filled=("/cache",))
    with plugged_in(tmp_path, "acme", PLUGIN):
        first, *rest = diagnose(found)
    assert first.key == "compile-cache"
    assert rest == [
        FoundClue("few-gpus", "only 8 GPUs", "https://acme.example/few-gpus", cost_percent=12.5),
        FoundClue(
            "broken",
            "the pytest-dsr1 plugin acme is broken: its clue broken failed: RuntimeError('no license')",
        ),
        FoundClue("leaving", "the pytest-dsr1 plugin acme is broken: its clue leaving failed: SystemExit(3)"),
    ]
    assert diagnose(found) == (first,)


def test_the_most_that_a_clue_can_have_cost() -> None:
    """Speed falls by no more than the requests in flight, or than the ends of the run lower its figure."""
    fewer = run(H200, values={"average_concurrency": 768.0})
    short = run(H200, values={"total_output_throughput": 600.0, "steady_output_throughput": 1000.0})
    costs = {clue.key: clue.cost_percent for each in (fewer, short) for clue in diagnose(each)}
    assert costs["low-concurrency"] == pytest.approx(25.0)
    assert costs["ramp-and-drain"] == pytest.approx(40.0)
    unknown = diagnose(run(H200, caches_filled=("/cache",)))
    assert [clue.cost_percent for clue in unknown] == [None]


def test_a_clue_that_returns_no_text_does_not_end_the_report(tmp_path: Path) -> None:
    found = run(H200, caches_filled=("/cache",))
    source = """
from pytest_dsr1.diagnosis.clues import Clue

def pytest_dsr1_clues():
    return [Clue('fast', '', '', lambda _: 7)]
"""
    with plugged_in(tmp_path, "acme", source):
        first, last = diagnose(found)
    assert first.key == "compile-cache"
    why = "its clue fast returned 7, expected text or None"
    assert last == FoundClue("fast", f"the pytest-dsr1 plugin acme is broken: {why}")


@pytest.mark.parametrize("one", SHIPPED, ids=lambda scenario: scenario.name)
def test_the_settings_of_a_shipped_scenario_give_no_clue(one: Scenario) -> None:
    # NVIDIA's own settings: the cache of a GPU has room for about 160 of these requests.
    expected = ["kv-cache"] if one.name == "h200-perf-sanity-8192-1024-c256" else []
    for values in figures(one):
        assert [clue.key for clue in diagnose(measured(one, values))] == expected


@pytest.mark.parametrize(
    ("name", "in_flight", "accepted"),
    [
        (B200, 3061.4, None),
        ("b200/max-throughput-0528-fp8kv", 7012.0, None),
        (H200, 1014.1, None),
        (ALONE, 1.0, 2.82),
    ],
)
def test_a_healthy_published_run_gives_no_clue(name: str, in_flight: float, accepted: float | None) -> None:
    values = {**next(iter(figures(shipped(name)))), "average_concurrency": in_flight}
    values |= {} if accepted is None else {"acceptance_length": accepted}
    facts = {
        "engine.quantization": shipped(name).model.quantization,
        "kv_cache_used_share_max": 0.97,
        "scheduled_requests_mean": in_flight / (8 if in_flight > 1 else 1),
    }
    done = measured(shipped(name), values, facts=facts, gpu_health=gpu(), telemetry=TELEMETRY)
    assert diagnose(done) == ()


@pytest.mark.parametrize(
    ("key", "measurement"),
    [
        ("low-concurrency", run(H200, values={"average_concurrency": 930.0})),
        # In an open loop the concurrency is a limit.
        (
            "low-concurrency",
            run(
                SERVED,
                {"load.arrival": {"type": "constant", "rate_req_s": 2.0}},
                {"average_concurrency": 3.0},
            ),
        ),
        # All at once: on average 5.54 of 10, one of them in the engine.
        ("low-concurrency", run("b200/min-latency-first-published", values={"average_concurrency": 5.54})),
        # Without a limit, an input fits into a step.
        (
            "chunked-context",
            run(H200, {"engine.enable_chunked_context": True, "engine.max_num_tokens": None}),
        ),
        ("low-concurrency", run(H200, {"load.concurrency": "all"}, {"average_concurrency": 612.3})),
        ("ramp-and-drain", run(SERVED, {"load.concurrency": "all"})),
        (
            "kv-cache",
            served({"load.concurrency": "all"}, kv_cache_used_share_max=0.993, waiting_requests_mean=31.2),
        ),
        (
            "kv-cache",
            run(
                H200,
                {
                    "load.concurrency": "all",
                    "engine.llm_api.enable_attention_dp": False,
                    "engine.max_batch_size": 1024,
                },
            ),
        ),
        (
            "engine-queue",
            served({"load.concurrency": "all"}, waiting_requests_mean=31.2),
        ),
        ("engine-queue", run(SERVED, {"engine.max_batch_size": 64})),  # the server itself reports its queue
        ("engine-queue", run(H200, {"engine.max_batch_size": None})),
        ("engine-queue", served(waiting_requests_mean=4.0)),
        ("engine-queue", served(waiting_requests_mean=31.2, kv_cache_used_share_max=0.99)),
        (
            "ramp-and-drain",
            run(H200, values={"total_output_throughput": 10_000.0, "steady_output_throughput": 10_500.0}),
        ),
        (
            "ramp-and-drain",
            run(SERVED, {"load.arrival": {"type": "constant", "rate_req_s": 2.0}, "load.num_requests": 9}),
        ),
        ("kv-cache", served(preemptions=0, kv_cache_used_share_max=0.99)),
        ("kv-cache", served(kv_cache_used_share_max=0.5, waiting_requests_mean=31.2)),
        # One of two figures says nothing.
        ("kv-cache", run(H200, facts={"kv_cache_used_share_max": 0.993})),
        ("kv-cache", run(H200, facts={"scheduled_requests_mean": 96.4})),
        # Of an unknown model, and of text of unknown length, nothing is estimated.
        (
            "kv-cache",
            run(
                H200,
                {
                    "engine.llm_api.enable_attention_dp": False,
                    "model.name": "x",
                    "engine.max_batch_size": 1024,
                },
            ),
        ),
        ("attention-dp", run(H200, {"load.concurrency": 8})),
        ("cuda-graphs", run(B200, {"load.concurrency": 1000})),  # padded to 128
        ("cuda-graphs", run(H200, {"engine.llm_api.cuda_graph_config": {"max_batch_size": 128}})),
        ("throttled", on_gpus(throttled_share=0.0005)),
        ("power-cap", on_gpus(power_capped_share=0.04)),
        ("power-cap", on_gpus(power_capped_share=None, sm_clock_mhz_mean=1500.0)),
        ("power-cap", on_gpus(power_capped_share=0.12, sm_clock_mhz_mean=1978.0)),  # keeps its clock
        ("sm-clock", on_gpus(sm_clock_mhz_max=1500, power_capped_share=0.9)),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1500, throttled_share=0.003)),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1500, utilization_percent_mean=10.0)),
        (
            "sm-clock",
            run(H200, gpu_health=gpu(sm_clock_mhz_max=1500), telemetry=Telemetry(gpus=TELEMETRY.gpus)),
        ),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1890)),
        ("sm-clock", on_gpus(sm_clock_mhz_max=None)),
        ("sm-clock", on_gpus({"gpu_setup.lock_sm_clock_mhz": 1980})),
        ("slow-node", on_nodes(node1=1970, node2=1940)),
        ("slow-node", on_nodes(node1=1410)),
        ("slow-node", on_gpus(sm_clock_mhz_mean=1410.0)),
        ("acceptance-length", run(ALONE, values={"acceptance_length": 2.4})),
        ("acceptance-length", run(SERVED, values={"acceptance_length": 1.0})),
        (
            "number-format",
            run(B200, facts={"engine.quantization": "NVFP4", "engine.kv_cache_dtype": "bfloat16"}),
        ),
        ("number-format", run(B200, facts={"engine.kv_cache_dtype": "auto"})),
        (
            "number-format",
            run(
                B200,
                {"model.quantization": "MIXED_PRECISION", "model.kv_cache_quantization": "NVFP4"},
                facts={"engine.quantization": "MIXED_PRECISION", "engine.kv_cache_dtype": "NVFP4"},
            ),
        ),
    ],
)
def test_what_only_looks_like_it_gives_no_clue(key: str, measurement: Measurement) -> None:
    assert key not in clues(measurement)


@pytest.mark.parametrize(
    ("key", "measurement"),
    [
        ("throttled", on_gpus(throttled_share=0.001)),
        ("power-cap", on_gpus(power_capped_share=0.05, sm_clock_mhz_mean=1695.0)),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1500, utilization_percent_mean=50.0)),
        ("kv-cache", served(kv_cache_used_share_max=0.95, waiting_requests_mean=1.0)),
        ("kv-cache", run(H200, facts={"kv_cache_used_share_max": 0.95, "scheduled_requests_mean": 96.4})),
        ("engine-queue", served(waiting_requests_mean=12.8)),  # 5% of 256
    ],
)
def test_a_value_at_its_limit_is_a_clue(key: str, measurement: Measurement) -> None:
    assert key in clues(measurement)


@pytest.mark.parametrize(
    ("key", "measurement"),
    [
        (
            "power-cap",
            run(
                H200,
                gpu_health=gpu(power_capped_share=0.12, sm_clock_mhz_mean=1980.0),
                telemetry=Telemetry(gpus=TELEMETRY.gpus, max_sm_clock_mhz=(2000,) * 8),
            ),
        ),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1881)),  # 95% of 1980
        ("sm-clock", on_gpus({"gpu_setup.lock_sm_clock_mhz": 1881})),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1500, power_capped_share=0.05)),
        ("sm-clock", on_gpus(sm_clock_mhz_max=1500, throttled_share=0.001)),
        ("low-concurrency", run(H200, values={"average_concurrency": 921.6})),  # 90% of 1024
        ("kv-cache", run(H200, facts={"kv_cache_used_share_max": 0.993, "scheduled_requests_mean": 115.2})),
        ("kv-cache", run(H200, {"engine.llm_api.kv_cache_config.max_tokens": 128 * (1024 + 2048)})),
        (
            "ramp-and-drain",
            run(H200, values={"total_output_throughput": 9000.0, "steady_output_throughput": 10_000.0}),
        ),
        ("acceptance-length", run(SERVED, values={"acceptance_length": 1.05})),
        ("acceptance-length", run(ALONE, values={"acceptance_length": 0.85 * 2.82})),
    ],
)
def test_a_value_at_its_limit_is_no_clue(key: str, measurement: Measurement) -> None:
    assert key not in clues(measurement)


WARM = "and a warmer GPU runs at a lower clock; compare temperatures across GPUs"


@pytest.mark.parametrize(
    ("watts", "cause"),
    [
        (600.0, "the power limit is 600 W (default 700 W); as root: nvidia-smi -pl 700"),
        (
            ["700.0"] * 3 + ["500.0"] + ["700.0"] * 4,
            "the power limit of GPU 3 is 500 W (default 700 W); as root: nvidia-smi -i 3 -pl 700",
        ),
        (700.0, f"the power limit is the default, {WARM}"),
        (["500.0"] + ["700.0"] * 7, f"the power limit is the default, {WARM}"),
        (None, f"NVML does not report the power limit, {WARM}"),
        (["700.0"] * 3 + ["None"] + ["700.0"] * 4, f"NVML does not report the power limit, {WARM}"),
        (["700.0"] * 3, f"NVML does not report the power limit, {WARM}"),
    ],
)
def test_a_power_cap_is_traced_to_a_lower_limit_or_to_heat(watts: FactValue, cause: str) -> None:
    found = clues(limited(watts))["power-cap"]
    assert found == (
        "GPU 3 ran at the software power cap for up to 34% of the time, at 1,695 MHz SM clock on average: "
        f"{cause}"
    )


def test_gpus_at_unequal_power_limits_are_named_with_both() -> None:
    health = gpus(
        {
            2: {"power_capped_share": 0.12, "sm_clock_mhz_mean": 1705.0},
            3: {"power_capped_share": 0.34, "sm_clock_mhz_mean": 1695.0},
        }
    )
    watts = ["700.0"] * 2 + ["600.0", "500.0"] + ["700.0"] * 4
    assert clues(limited(watts, health))["power-cap"] == (
        "GPUs 2-3 ran at the software power cap for up to 34% of the time, at 1,700 MHz SM clock on average: "
        "the power limit of GPUs 2-3 is 500 to 600 W (default 700 W); as root: nvidia-smi -i 2,3 -pl 700"
    )


def test_what_nvml_does_not_report_of_a_slow_gpu_is_not_in_the_sentence() -> None:
    capped = clues(on_gpus(power_capped_share=0.34, sm_clock_mhz_mean=None))["power-cap"]
    assert capped.startswith("GPU 3 ran at the software power cap for up to 34% of the time: ")
    assert clues(on_gpus(throttled_share=0.003, temperature_c_max=None))["throttled"] == (
        "heat or power slowed down GPU 3 for 0.3% of the time: check cooling and power supply"
    )


def test_one_idle_rank_is_named_in_the_singular() -> None:
    found = clues(run(H200, {"load.concurrency": 7, "load.num_requests": 35}))["attention-dp"]
    assert "with load.concurrency 7, so 1 of 8 ranks has no request of its own (" in found


@pytest.mark.parametrize(
    ("key", "measurement", "advice"),
    [
        (
            "engine-queue",
            run(H200, {"engine.max_batch_size": 64}),
            "so the others wait in its queue: lower load.concurrency",
        ),
        (
            "engine-queue",
            served({"engine.max_batch_size": 128}, waiting_requests_mean=31.2),
            "let the server take more at once, or lower load.concurrency",
        ),
        (
            "kv-cache",
            served(preemptions=17),
            ": lower load.concurrency, or give the cache more memory",
        ),
        ("attention-dp", run(H200, {"load.concurrency": 1, "load.num_requests": 10}), "; switch it off"),
    ],
)
def test_the_advice_for_an_engine_that_names_no_setting(
    monkeypatch: pytest.MonkeyPatch, key: str, measurement: Measurement, advice: str
) -> None:
    monkeypatch.setattr(type(measurement.scenario.engine), "settings_for", {})
    assert clues(measurement)[key].endswith(advice)


def test_a_run_that_was_ended_early_has_no_ramp_to_blame() -> None:
    short = run(H200, {"load.num_requests": 2048})
    assert clues(replace(short, result=replace(short.result, stopped=True))) == {}


def test_requests_that_ended_count_before_those_that_were_asked_for() -> None:
    cut = run(SERVED, {"load.duration_s": 60.0})
    cut = replace(cut, result=replace(cut.result, records=records(4)))
    assert clues(cut)["ramp-and-drain"].startswith("4 requests are only 0.0 waves of 256 at once")


@pytest.mark.parametrize(
    "facts", [{}, {"gpu.name": "NVIDIA H200"}, {"gpu.name": "NVIDIA T4", "gpu.memory_gib": 16.0}]
)
def test_no_memory_is_estimated_on_an_unknown_gpu(facts: dict[str, Any]) -> None:
    crowded = run(H200, {"engine.llm_api.enable_attention_dp": False, "engine.max_batch_size": 1024})
    assert "kv-cache" in clues(crowded)
    assert "kv-cache" not in clues(replace(crowded, fingerprint=Fingerprint(facts)))


def test_only_requests_that_need_more_than_the_memory_wait_for_room() -> None:
    fraction = {
        "engine.kv_cache_free_gpu_mem_fraction": 0.5,
        "engine.llm_api.kv_cache_config.free_gpu_memory_fraction": 0.5,
    }
    attention = {"engine.llm_api.enable_attention_dp": False, "engine.max_batch_size": 1024}
    crowded = run(H200, {**attention, **fraction})
    model = roofline(crowded).model
    exactly = 1024 * (1024 + 2048) * model.cache_token_bytes / 0.5 + model.memory_bytes / 8
    for less, expected in ((0, False), (1, True)):
        facts: dict[str, FactValue] = {"gpu.name": "NVIDIA H200", "gpu.memory_gib": (exactly - less) / 2**30}
        assert ("kv-cache" in clues(replace(crowded, fingerprint=Fingerprint(facts)))) is expected


def test_the_refusal_of_a_wrong_checkpoint_is_quoted(tmp_path: Path) -> None:
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(InvalidRunError) as refused:
        check_checkpoint(changed(B200, {"model.path": str(tmp_path)}).model)
    said = [line.strip() for line in str(refused.value).splitlines()]
    assert len([line for line in said if line in section("number-format")]) == 1
