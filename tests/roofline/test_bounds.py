"""The most that the GPUs of a measurement could show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.facts import RoleServer
from pytest_dsr1.engines.tensorrt_llm.settings import TensorRtLlm
from pytest_dsr1.engines.trtllm_options.options import KvCacheConfig
from pytest_dsr1.machine.gpu.known import KNOWN_GPUS
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.roofline.bounds import Bound, bounds, roofline, why_no_bounds
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.published import SHIPPED, figures, measured, shipped
from tests.helpers.values import measurement, scenario

R1_READ = 36_625_618_432
"""Parameters that a token of DeepSeek-R1 uses."""
R1_HEAD = 61 * 2 * 7168 + 58 * 256 * 7169 + 7168 + 129280 * 7168
"""Those of norms, routers and output head, which stay BF16."""
R1_ALL = 671_026_419_200
"""All parameters of DeepSeek-R1."""


def changed(name: str, **parts: Mapping[str, Any]) -> Scenario:
    """A shipped scenario with fields of its parts replaced."""
    one = shipped(name)
    return one.model_copy(
        update={part: getattr(one, part).model_copy(update=fields) for part, fields in parts.items()}
    )


def bound(run: Measurement, metric: str = "total_output_throughput") -> Bound:
    (found,) = [one for one in bounds(run) if one.metric == metric]
    return found


@pytest.mark.parametrize("one", SHIPPED, ids=lambda scenario: scenario.name)
def test_every_published_figure_lies_well_below_its_bound(one: Scenario) -> None:
    if one.hardware.gpu is None:
        assert why_no_bounds(measured(one, {"total_output_throughput": 75.0})) == "the run used no GPU"
        return
    for values in figures(one):
        run = measured(one, values)
        if one.model.name.endswith("FP4-v2"):  # which part of its attention is stored in FP4 is not known
            unknown = f"the dimensions and number formats of {one.model.name} are unknown"
            assert why_no_bounds(run) == unknown
            continue
        assert why_no_bounds(run) is None
        found = bounds(run)
        expected = [m for m in ("per_user", "total", "per_gpu") if f"{m}_output_throughput" in values]
        assert [one.metric.removesuffix("_output_throughput") for one in found] == expected
        assert all(one.share is not None and 0.002 < one.share < 0.5 for one in found)


@pytest.mark.parametrize(("name", "steps_s", "speed"), [("h200", 1019, 158.1196), ("b200", 1663, 274.7188)])
def test_minimum_latency_is_a_twentieth_of_what_bandwidth_allows(
    name: str, steps_s: float, speed: float
) -> None:
    values = {"per_user_output_throughput": speed, "acceptance_length": 2.82}
    run = measured(shipped(f"{name}/min-latency"), values)
    assert 1 / roofline(run).step(1, 0).seconds == pytest.approx(steps_s, abs=1)
    found = bound(run, "per_user_output_throughput")
    assert found.limit == "memory bandwidth"
    assert found.share is not None
    assert 0.05 < found.share < 0.06


@pytest.mark.parametrize("name", ["h200/max-throughput", "b200/max-throughput"])
def test_maximum_throughput_is_a_tenth_of_what_tensor_cores_allow(name: str) -> None:
    run = measured(shipped(name), next(iter(figures(shipped(name)))))
    found = bound(run)
    assert found.limit == "tensor cores"
    assert found.share is not None
    assert 0.1 < found.share < 0.15


def test_the_arithmetic_can_be_checked() -> None:
    run = measured(shipped("h200/max-throughput"), {"per_gpu_output_throughput": 1436.1584})
    found = bound(run, "per_gpu_output_throughput")
    # Of the mean context of 2048 tokens the step that reads the prompt reads nothing.
    context = 2048 * (1 - 1 / 2048)
    fp8 = 2 * 1024 * (R1_READ - R1_HEAD)
    bf16 = 2 * 1024 * (R1_HEAD + 128 * (2 * 512 + 64) * context * 61)
    seconds = fp8 / (8 * 1979e12) + bf16 / (8 * 989e12)
    assert found.value == pytest.approx(1024 / seconds / 8)
    assert found.measured == 1436.1584
    assert found.share == pytest.approx(1436.1584 / found.value)
    assert found.arithmetic == (
        f"a step of 1,024 requests computes at least {fp8 / 1e12:.2f} TFLOP at 8 x 1,979 TFLOPS (FP8) and "
        f"{bf16 / 1e12:.2f} TFLOP at 8 x 989 TFLOPS (BF16), in {seconds * 1e3:.3f} ms: 1,024 tokens / "
        f"{seconds * 1e3:.3f} ms / 8 GPUs = {found.value:,.1f} tok/s/GPU"
    )


def test_of_disaggregated_servers_those_that_write_decide() -> None:
    """Each has weights of its own, and reads them for its requests alone."""
    names = ("total_output_throughput", "per_gpu_output_throughput", "per_user_output_throughput")
    run = measured(shipped("h200/max-throughput"), dict.fromkeys(names, 9.0))
    alone = {one.metric: one.value for one in bounds(run)}
    writing = (RoleServer("generation", number, [f"n{number}"], 8) for number in (1, 2))
    roles = (*writing, RoleServer("context", 1, ["n3"], 4))
    facts = replace(run.result.facts, roles=roles)
    apart = replace(run, result=replace(run.result, gpus=20, facts=facts))
    found = {one.metric: one for one in bounds(apart)}
    assert found["per_user_output_throughput"].value == pytest.approx(alone["per_user_output_throughput"])
    half = changed("h200/max-throughput", load={"concurrency": 512})
    of_half = bound(measured(half, {"total_output_throughput": 1.0})).value
    total = found["total_output_throughput"]
    assert total.value == pytest.approx(2 * of_half)
    assert found["per_gpu_output_throughput"].value == pytest.approx(2 * of_half / 20)
    assert total.arithmetic.startswith("a step of 512 requests computes ")
    assert " ms on each of 2 servers: 1,024 tokens / " in total.arithmetic


def test_a_slice_in_bf16_is_bound_by_its_weights() -> None:
    found = bound(measured(shipped("slice-h200/min-latency"), {"total_output_throughput": 330.0}))
    assert found.arithmetic == (
        "a step of 1 request reads at least 6.53 GB of weights and 0.00 GB of KV cache, in 1.361 ms at "
        "1 x 4.8 TB/s: 1 token / 1.361 ms = 734.8 tok/s"
    )


def test_random_weights_may_beat_uniform_routing() -> None:
    # vLLM generated more than the 4,826 tok/s that reading 222 experts a layer would allow.
    found = bound(measured(shipped("slice-h200/vllm-c64"), {"total_output_throughput": 10_600.0}))
    assert found.value == pytest.approx(47_028, abs=1)


def test_a_served_slice_in_fp8_reads_half_and_how_operations_are_fused_changes_nothing() -> None:
    one = shipped("full-h200/vllm-2gpus-min-latency")
    run = measured(one, {"total_output_throughput": 295.2, "per_gpu_output_throughput": 147.6})
    step = (
        "a step of 1 request reads at least 10.66 GB of weights and 0.00 GB of KV cache, in 1.110 ms at "
        "2 x 4.8 TB/s: 1 token / 1.110 ms"
    )
    assert bound(run).arithmetic == f"{step} = 900.6 tok/s"
    assert bound(run, "per_gpu_output_throughput").arithmetic == f"{step} / 2 GPUs = 450.3 tok/s/GPU"


def test_a_step_reads_the_weights_once_and_the_cache_of_every_request() -> None:
    step = roofline(measured(shipped("h200/max-throughput"), {})).step(16, 5000)
    # One FP32 scale for each block of 128 x 128 weights.
    weights = (R1_READ - R1_HEAD) * (1 + 4 / (128 * 128)) + 2 * R1_HEAD
    cache = 16 * 5000 * 576 * 61 * 2
    assert step.seconds == pytest.approx((weights + cache) / (8 * 4.8e12), rel=1e-9)
    assert step.arithmetic == (
        f"a step of 16 requests reads at least {weights / 1e9:.2f} GB of weights and {cache / 1e9:.2f} GB of "
        f"KV cache, in {step.seconds * 1e3:.3f} ms at 8 x 4.8 TB/s"
    )


def test_a_step_with_drafts_computes_every_draft() -> None:
    drafts, alone = (
        roofline(measured(shipped(f"h200/{name}"), {})) for name in ("min-latency", "max-throughput")
    )
    found = drafts.step(1024, 500)
    assert found.limit == "tensor cores"
    assert found.seconds == pytest.approx(alone.step(4 * 1024, 500).seconds)


def record(input_tokens: int, output_tokens: int) -> RequestRecord:
    return RequestRecord(0, 0.0, None, 1.0, input_tokens, output_tokens)


def with_records(*records: RequestRecord, name: str = "h200/max-throughput") -> float:
    run = measured(shipped(name), {"total_output_throughput": 1.0})
    return bound(replace(run, result=replace(run.result, records=records))).value


def test_the_context_is_that_of_the_shortest_request() -> None:
    assert with_records(record(1024, 2048), record(8192, 2048)) == with_records(record(1024, 2048))
    assert with_records(record(8192, 2048)) < with_records(record(1024, 2048))


def test_unequal_lengths_without_records_count_as_no_context() -> None:
    run = measured(shipped("h200/max-throughput"), {"total_output_throughput": 1.0})
    none = roofline(run).step(1024, 0)
    for longest in ({"max_input": 9000}, {"max_output": 9000}, {"mean_input": None, "max_input": None}):
        unequal = replace(run, workload=replace(run.workload, **longest))
        assert bound(unequal).value == pytest.approx(1024 / none.seconds)
    # Answers that may end early say as little.
    early = measured(changed("h200/max-throughput", engine={"eos_id": 1}), {"total_output_throughput": 1.0})
    assert bound(early).value == pytest.approx(1024 / none.seconds)


def test_one_token_an_answer_reads_no_cache() -> None:
    run = measured(shipped("h200/max-throughput"), {"total_output_throughput": 1.0})
    assert with_records(record(1024, 1)) == pytest.approx(1024 / roofline(run).step(1024, 0).seconds)


@pytest.mark.parametrize(
    ("answer", "context"),
    [(8, (100_000 + 4) / 2), (2, 0)],  # of two steps the first reads no cache; of one step there is no other
)
def test_answers_with_drafts_take_fewer_steps(answer: int, context: float) -> None:
    step = roofline(measured(shipped("h200/min-latency"), {})).step(1, context)
    found = with_records(record(100_000, answer), name="h200/min-latency")
    assert found == pytest.approx(4 / step.seconds)


@pytest.mark.parametrize(("accepted", "tokens"), [(2.82, 2.82), (1.5, 1.5), (0.9, 1)])
def test_drafts_are_all_taken_for_accepted_where_it_was_not_measured(accepted: float, tokens: float) -> None:
    one = shipped("h200/min-latency")
    unknown = bound(measured(one, {"total_output_throughput": 158.0}))
    strict = bound(measured(one, {"total_output_throughput": 158.0, "acceptance_length": accepted}))
    assert unknown.value / strict.value == pytest.approx(4 / tokens)


def test_no_more_requests_share_a_step_than_are_sent() -> None:
    one = changed("h200/max-throughput", load={"num_requests": 10})
    assert "a step of 10 requests" in bound(measured(one, {"total_output_throughput": 1.0})).arithmetic


@pytest.mark.parametrize(
    ("option", "reported", "token_bytes"),
    [
        (None, None, 70_272),
        ("auto", None, 70_272),
        ("fp8", None, 35_136),
        ("fp8", "auto", 35_136),
        (None, "FP8", 35_136),
        ("fp8", "bfloat16", 70_272),
    ],
)
def test_the_cache_counts_as_the_engine_reports_it(
    option: str | None, reported: str | None, token_bytes: int
) -> None:
    one = shipped("h200/max-throughput")
    assert isinstance(one.engine, TensorRtLlm)
    cache = KvCacheConfig(dtype=option, free_gpu_memory_fraction=0.8)  # type: ignore[arg-type]
    llm_api = one.engine.llm_api.model_copy(update={"kv_cache_config": cache})
    facts = {} if reported is None else {"engine.kv_cache_dtype": reported}
    run = measured(changed("h200/max-throughput", engine={"llm_api": llm_api}), {}, facts=facts)
    assert roofline(run).model.cache_token_bytes == token_bytes


def test_only_what_was_measured_has_a_bound() -> None:
    assert bounds(measured(shipped("h200/min-latency"), {"request_throughput": 0.08})) == ()


@given(batch=st.integers(1, 4096), context=st.integers(0, 100_000), more=st.integers(1, 64))
def test_more_requests_take_longer_and_make_tokens_no_slower(batch: int, context: int, more: int) -> None:
    least = roofline(measured(shipped("h200/max-throughput"), {}))
    few, many = least.step(batch, context), least.step(batch + more, context)
    assert few.seconds <= many.seconds
    assert batch / few.seconds <= (batch + more) / many.seconds * (1 + 1e-12)


R1 = {"name": "deepseek-ai/DeepSeek-R1", "path": "/models/R1", "quantization": "FP8_BLOCK_SCALES"}
SERVER = {"type": "openai", "server": "vllm"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"model": {**R1, "architecture": "LlamaForCausalLM"}},
            "the architecture LlamaForCausalLM is unknown",
        ),
        (
            {"model": {**R1, "name": "moonshotai/Kimi-K2-Instruct"}},
            "the dimensions and number formats of moonshotai/Kimi-K2-Instruct are unknown",
        ),
        (
            {"model": {**R1, "quantization": "NVFP4"}},
            "model.quantization is NVFP4, but deepseek-ai/DeepSeek-R1 was published in FP8_BLOCK_SCALES",
        ),
        (
            {"facts": {"engine.quantization": "NVFP4"}},
            "the engine reports the quantization NVFP4, but the scenario says FP8_BLOCK_SCALES",
        ),
        (
            {"model": {**R1, "kv_cache_quantization": "INT8"}},
            "the scenario asks for a KV cache of INT8, whose size is unknown",
        ),
        (
            {"engine": {"type": "trtllm", "tp": 8, "llm_api": {"kv_cache_config": {"dtype": "nvfp4"}}}},
            "the scenario asks for a KV cache of NVFP4, whose size is unknown",
        ),
        (
            {"engine": {"type": "trtllm", "tp": 8, "llm_api": {"unchecked": {"quant_config": None}}}},
            "engine.llm_api.unchecked (quant_config) may change the model",
        ),
        (
            {
                "model": {"name": "x", "random_weights": {}, "quantization": "W4A8_AWQ"},
                "engine": {"type": "trtllm", "tp": 8},
            },
            "the number formats of the quantization W4A8_AWQ are unknown",
        ),
        (
            {"facts": {"engine.kv_cache_dtype": "NVFP4"}},
            "the engine reports a KV cache of NVFP4, whose size is unknown",
        ),
        ({"gpu": "NVIDIA T4"}, "the peak performance of NVIDIA T4 is unknown"),
        (
            {"gpu": ["NVIDIA H200", "NVIDIA H100 80GB HBM3"]},
            "the fingerprint does not name a single kind of GPU",
        ),
        (
            {"model": {**R1, "name": "nvidia/DeepSeek-R1-FP4", "quantization": "NVFP4"}},
            "NVIDIA H200 has no FP4 tensor cores and computes in another format",
        ),
        (
            {"engine": {**SERVER, "url": "http://host:8000"}},
            "the server was started by the user's own command, which chooses the model",
        ),
        (
            {"engine": {**SERVER, "arguments": ["--no-enable-prefix-caching", "--quantization", "fp8"]}},
            "engine.arguments (--quantization fp8) may change the model",
        ),
        (
            {"model": {"name": "x", "random_weights": {"config": {"tie_word_embeddings": True}}}},
            "model.random_weights.config has fields that are not dimensions: tie_word_embeddings",
        ),
        (
            {"model": {"name": "x", "random_weights": {"config": {"n_routed_experts": 7}}}},
            "model.random_weights.config describes no valid model: n_routed_experts is 7, expected a "
            "multiple of n_group (8), at least 2 per group",
        ),
        (
            {"model": {"name": "x", "random_weights": {"config": {"n_routed_experts": 7, "topk_group": 9}}}},
            "model.random_weights.config describes no valid model: topk_group is 9, expected at most n_group "
            "(8)",
        ),
        ({"model": {"name": "x"}, "engine": SERVER}, "the scenario names no checkpoint"),
        (
            {"metrics": {"acceptance_length": 1.06}},
            "the engine generated 1.06 tokens per step, but the scenario has no draft tokens",
        ),
    ],
)
def test_what_is_not_known_for_sure_has_no_bound(changes: dict[str, Any], reason: str) -> None:
    parts = {"model": R1, "engine": {"type": "trtllm-bench", "tp": 8}}
    one = scenario(
        hardware={"gpu": "NVIDIA H200", "count": 8},
        **{part: changes.get(part, default) for part, default in parts.items()},
    )
    run = measured(
        one,
        {"total_output_throughput": 1e9, **changes.get("metrics", {})},
        facts=changes.get("facts", {}),
        fingerprint=Fingerprint({"gpu.name": changes.get("gpu", "NVIDIA H200")}),
    )
    assert why_no_bounds(run) == reason
    assert bounds(run) == ()


def test_an_engine_that_counts_its_steps_a_little_differently_does_not_speculate() -> None:
    run = measured(shipped("h200/max-throughput"), {"acceptance_length": 1.05})
    assert why_no_bounds(run) is None


@pytest.mark.parametrize(("dtype", "value_bytes"), [("float32", 4), ("bfloat16", 2)])
def test_the_transformers_engine_stores_all_values_alike(dtype: str, value_bytes: int) -> None:
    one = scenario(
        hardware={"gpu": "NVIDIA H200", "count": 1},
        engine={"type": "transformers", "device": "cuda", "dtype": dtype},
    )
    model = roofline(measured(one, {})).model
    assert model.weight_bytes(8) == value_bytes * R1_READ
    assert model.memory_bytes == value_bytes * R1_ALL
    assert model.cache_token_bytes == value_bytes * 576 * 61


def test_random_weights_of_tensorrt_llm_are_quantized_as_asked() -> None:
    one = scenario(
        hardware={"gpu": "NVIDIA H200", "count": 8},
        model={"name": "x", "random_weights": {}, "quantization": "FP8_BLOCK_SCALES"},
        engine={"type": "trtllm", "tp": 8},
    )
    assert roofline(measured(one, {})).model.memory_bytes == pytest.approx(673e9, rel=3e-3)


def test_a_run_on_the_cpu_has_none() -> None:
    assert why_no_bounds(measurement()) == "the run used no GPU"


def test_the_table_holds_the_gpus_of_all_shipped_scenarios() -> None:
    names = {scenario.hardware.gpu for scenario in SHIPPED}
    assert names - {None} <= set(KNOWN_GPUS)
