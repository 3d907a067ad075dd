from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given as given_values
from hypothesis import settings
from hypothesis import strategies as st

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.tensorrt_llm.bench.command import (
    Invocation,
    invocation,
    script,
)
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.dialects import (
    DIALECTS,
    NEWEST,
    command_line_options,
    dialect_of,
    inexpressible,
)
from pytest_dsr1.engines.trtllm_options.file import file_text
from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.schema.scenario import Scenario, Speculation
from pytest_dsr1.workload.workload import Workload
from tests.helpers import values
from tests.helpers.published import SHIPPED
from tests.helpers.trtllm_bench import bench_scenario

WORKLOAD = Workload(Path("dataset.jsonl"), 4, "", True, 8.0, 8, 16.0, 16)


def called(version: str, **engine: Any) -> Invocation:
    job = Job(bench_scenario(**engine), WORKLOAD, Path(), 60.0)
    dialect = dialect_of(version)
    return invocation(job, dialect, "# why", command_line_options(dialect), version)


def value_of(option: str, call: Invocation) -> str | None:
    return next((words[1] for words in call.arguments if words[0] == option), None)


def given(call: Invocation) -> set[str]:
    return {words[0] for words in call.arguments}


@pytest.mark.parametrize("version", ["0.19", "1.2", "1.4"])
def test_a_load_without_a_limit_has_no_concurrency(version: str) -> None:
    scenario = bench_scenario()
    load = scenario.load.model_copy(update={"concurrency": "all"})
    job = Job(scenario.model_copy(update={"load": load}), WORKLOAD, Path(), 60.0)
    dialect = dialect_of(version)
    call = invocation(job, dialect, "# why", command_line_options(dialect), version)
    assert value_of("--concurrency", called(version)) == str(scenario.load.concurrency)
    assert given(called(version)) - given(call) == {"--concurrency"}


@pytest.mark.parametrize(
    ("version", "enabled", "expected"),
    [
        ("0.19", False, set()),
        ("1.0", False, set()),
        ("1.0", True, {"--enable_chunked_context"}),
        ("1.1", False, {"--disable_chunked_context"}),
        ("1.1", True, {"--enable_chunked_context"}),
    ],
)
def test_chunked_context_is_said_where_it_must_be(version: str, enabled: bool, expected: set[str]) -> None:
    options = given(called(version, enable_chunked_context=enabled))
    assert {option for option in options if "chunked" in option} == expected


def test_backend_was_not_pytorch_before_1_0() -> None:
    assert value_of("--backend", called("0.19")) == "pytorch"
    assert value_of("--backend", called("1.0")) is None


def test_end_token_is_pinned_where_it_can_be() -> None:
    assert value_of("--eos_id", called("0.19")) is None
    assert value_of("--eos_id", called("1.3")) == "-1"
    assert value_of("--eos_id", called("1.3", eos_id=1)) == "1"
    with pytest.raises(UserError) as caught:
        called("0.19", eos_id=1)
    assert str(caught.value).startswith("small: TensorRT-LLM 0.19 does not have engine.eos_id (--eos_id); ")


def test_an_end_token_of_0_is_an_end_token() -> None:
    assert value_of("--eos_id", called("1.3", eos_id=0)) == "0"


def test_0_18_has_no_expert_parallelism() -> None:
    with pytest.raises(UserError) as caught:
        called("0.18.2", ep=4)
    assert str(caught.value) == (
        "small: TensorRT-LLM 0.18 does not have engine.ep (--ep); remove it from the scenario or use a newer "
        "TensorRT-LLM; if the detected version is wrong, set engine.dialect to the right one"
    )
    assert value_of("--ep", called("0.19", ep=4)) == "4"


def test_everything_of_the_scenario_is_passed_on() -> None:
    call = called(
        "1.2",
        pp=2,
        ep=4,
        max_batch_size=128,
        max_num_tokens=1151,
        max_seq_len=4096,
        kv_cache_free_gpu_mem_fraction=0.8,
        scheduler_policy="max_utilization",
        streaming=True,
    )
    assert call.arguments == (
        ("--model", "deepseek-ai/DeepSeek-R1"),
        ("--model_path", "/models/DeepSeek-R1"),
        ("throughput",),
        ("--dataset", "dataset.jsonl"),
        ("--tp", "8"),
        ("--num_requests", "4"),
        ("--concurrency", "2"),
        ("--warmup", "2"),
        ("--pp", "2"),
        ("--ep", "4"),
        ("--max_batch_size", "128"),
        ("--max_num_tokens", "1151"),
        ("--max_seq_len", "4096"),
        ("--kv_cache_free_gpu_mem_fraction", "0.8"),
        ("--scheduler_policy", "max_utilization"),
        ("--streaming",),
        ("--disable_chunked_context",),
        ("--eos_id", "-1"),
        ("--report_json", "report.json"),
        ("--request_json", "requests.json"),
    )


def test_paths_become_absolute_where_the_command_has_a_folder_of_its_own(tmp_path: Path) -> None:
    job = Job(bench_scenario(command=["./trtllm-bench"]), WORKLOAD, tmp_path, 60.0)
    call = invocation(job, dialect_of("1.2"), "# why", command_line_options(dialect_of("1.2")), "1.2")
    assert value_of("--dataset", call) == str(Path("dataset.jsonl").absolute())
    assert call.command == (str(Path("trtllm-bench").absolute()),)


def test_variables_are_left_to_the_shell_and_all_else_is_quoted(tmp_path: Path) -> None:
    job = Job(
        values.scenario(
            model={"name": "a/b", "path": '${DSR1_MODELS}/my "best" $1 `model`'},
            engine={"type": "trtllm-bench", "command": ["printf", "%s\\n"], "environment": {"A": "it's $B"}},
        ),
        replace(WORKLOAD, path=Path("${DSR1_DATASET}")),
        Path(),
        60.0,
    )
    call = invocation(job, dialect_of("1.2"), "# why", command_line_options(dialect_of("1.2")), "1.2")
    text = script(job, call) + 'printf "%s\\n" "$A"\n'
    done = subprocess.run(
        ["sh", "-c", text],
        env={"PATH": "/usr/bin:/bin", "DSR1_MODELS": "/m o", "DSR1_DATASET": "/d"},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    lines = done.stdout.splitlines()
    assert lines[3] == '/m o/my "best" $1 `model`'
    assert lines[lines.index("--dataset") + 1] == "/d"
    assert lines[-1] == "it's $B"


NASTY = st.text(max_size=20) | st.sampled_from(
    ["x\nDSR1_OPTIONS\nexit 9\n", "DSR1_OPTIONS", "$(exit 9)", "`exit 9`", "'", "\t- x: [", "1e5", "null", ""]
)


@settings(max_examples=60, deadline=None)
@given_values(
    st.recursive(NASTY | st.none() | st.integers(), lambda inner: st.dictionaries(NASTY, inner, max_size=3))
)
def test_no_unchecked_option_leaves_the_options_file(value: Any) -> None:
    call = called("1.2", llm_api={"unchecked": {"some_option": value}})
    lines = file_text(call.options).split("\n")
    assert not {"DSR1_OPTIONS"}.intersection(lines)
    assert yaml.safe_load(file_text(call.options)) == {"some_option": value}


PUBLISHED = [scenario for scenario in SHIPPED if scenario.engine.type == "trtllm-bench"]


@pytest.mark.parametrize("loaded", PUBLISHED, ids=lambda scenario: scenario.name)
def test_shipped_scenarios_make_a_script_the_shell_understands(loaded: Scenario) -> None:
    job = Job(loaded, replace(WORKLOAD, requests=loaded.load.num_requests), Path(), 60.0)
    options = TrtllmBench.of(loaded).llm_api
    able = [dialect for dialect in DIALECTS[1:] if not inexpressible(options, dialect)]
    if TrtllmBench.of(loaded).enable_chunked_context:
        able = [dialect for dialect in able if "--enable_chunked_context" in command_line_options(dialect)]
    assert NEWEST in able
    for dialect in able:
        version = str(dialect)
        call = invocation(job, dialect, "# why", command_line_options(dialect), version)
        assert yaml.safe_load(file_text(call.options)) == call.options
        subprocess.run(["sh", "-n"], input=script(job, call), text=True, check=True)


def test_a_scenario_without_checkpoint() -> None:
    job = Job(values.scenario(engine={"type": "trtllm-bench"}), WORKLOAD, Path(), 60.0)
    with pytest.raises(UserError) as caught:
        invocation(job, dialect_of("1.2"), "# why", frozenset(), None)
    assert str(caught.value) == (
        "small: trtllm-bench needs a checkpoint and cannot make random weights; set model.path"
    )


def test_a_scenario_of_another_engine() -> None:
    with pytest.raises(UserError) as caught:
        TrtllmBench.of(values.scenario())
    assert str(caught.value) == "small: the engine is transformers, expected trtllm-bench"


@pytest.mark.parametrize("version", ["1.3.0rc15", "1.4"])
def test_a_forced_acceptance_length_is_exported(version: str) -> None:
    one = bench_scenario().model_copy(update={"speculation": Speculation(acceptance_length=2.4)})
    job = Job(one, WORKLOAD, Path(), 60.0)
    dialect = dialect_of(version)
    call = invocation(job, dialect, "# why", command_line_options(dialect), version)
    assert call.environment["TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"] == "1.4"
    assert "\nexport TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=1.4\n" in script(job, call)
    assert "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS" not in called(version).environment
