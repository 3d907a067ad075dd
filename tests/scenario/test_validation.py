# ruff: noqa: E501  (messages stand whole)
"""Spoilt scenario files: each mistake's whole message, and all of them at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.engines.trtllm_options.options import CudaGraphConfig, LlmApiOptions, MoeBackend
from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.run import options_of
from pytest_dsr1.metrics.catalogue import targetable
from pytest_dsr1.scenario.schema.engine import engines
from pytest_dsr1.scenario.schema.scenario import Load
from pytest_dsr1.scenario.variables import resolve
from pytest_dsr1.scenario.writer import dump
from tests.helpers.plugins import plugged_in
from tests.helpers.scenario_files import GOOD, changed, load_text, mistakes, name_or_message, one_of
from tests.helpers.suites import Suites

ENGINES = one_of(sorted(engines()))
BACKENDS = f"the {len(get_args(MoeBackend))} names in `pytest-dsr1 docs scenario`"
FIND_PLUGIN = (
    "is its plugin installed? The command pytest-dsr1 finds plugins by their entry points only; pytest also "
    "finds them in the conftest.py of the folders it starts with (see: pytest-dsr1 docs extend)"
)
UNCHECKED = "if your version has it, put it into `engine.llm_api.unchecked`"
METRICS_PAGE = f"one of the {len(targetable())} names in `pytest-dsr1 docs scenario`"

MALFORMED = [
    # keys
    (
        "descr",
        ("description: A", "descripton: A"),
        "2:1: descripton: unknown key (did you mean 'description'?)",
    ),
    (
        "key of the engine",
        ("  max_batch_size:", "  max_batchsize:"),
        "20:3: engine.max_batchsize: unknown key (did you mean 'max_batch_size'?)",
    ),
    (
        "dashes for underscores",
        ("  max_num_tokens:", "  max-num-tokens:"),
        "21:3: engine.max-num-tokens: unknown key (did you mean 'max_num_tokens'?)",
    ),
    (
        "deep key",
        ("      batch_sizes:", "      batchsizes:"),
        "25:7: engine.llm_api.cuda_graph_config.batchsizes: unknown key (did you mean 'batch_sizes'?)",
    ),
    (
        "key beside the right one",
        ("  tp: 8", "  tp: 8\n  tp_: 8"),
        "19:3: engine.tp_: unknown key (did you mean 'tp', which is already there?)",
    ),
    (
        "key in the wrong mapping",
        ("  tp: 8", "  tp: 8\n  concurrency: 8"),
        "19:3: engine.concurrency: unknown key here; it belongs in `load`",
    ),
    (
        "key of the top level in a mapping",
        ("  count: 8", "  count: 8\n  gpu_setup: {}"),
        "6:3: hardware.gpu_setup: unknown key here; it belongs in `the top level`",
    ),
    (
        "unknown key with nothing near",
        ("  concurrency: 1024", "  concurrency: 1024\n  xyzzy: 1"),
        f"15:3: load.xyzzy: unknown key; expected {one_of(Load.model_fields)}",
    ),
    (
        "option of the other engine",
        ("  tp: 8", "  tp: 8\n  threads: 2"),
        "19:3: engine.threads: unknown key here; it belongs in `engine`",
    ),
    (
        "former name of an option",
        ("    enable_attention_dp: true", "    enable_attention_dp: true\n    cuda_graph_batch_sizes: [128]"),
        "24:5: engine.llm_api.cuda_graph_batch_sizes: unknown key; in the newest TensorRT-LLM, it is "
        "`cuda_graph_config.batch_sizes`",
    ),
    (
        "key of the engine itself, by TensorRT-LLM's name",
        ("    enable_attention_dp: true", "    enable_attention_dp: true\n    tensor_parallel_size: 8"),
        "24:5: engine.llm_api.tensor_parallel_size: unknown key; it is `engine.tp`",
    ),
    (
        "option that the plugin does not know",
        ("    enable_attention_dp: true", "    enable_attention_dp: true\n    zzz_workers: 4"),
        "24:5: engine.llm_api.zzz_workers: unknown key; expected "
        f"{one_of(LlmApiOptions.model_fields)}; {UNCHECKED}",
    ),
    (
        "unknown option in a mapping of options",
        ("      batch_sizes:", "      log2_of_tokens: 1\n      batch_sizes:"),
        "25:7: engine.llm_api.cuda_graph_config.log2_of_tokens: unknown key; expected "
        f"{one_of(CudaGraphConfig.model_fields)}; {UNCHECKED}",
    ),
    (
        "unknown mapping whose keys are not those of the nearest name",
        (
            "    enable_attention_dp: true",
            "    zzz_compile_config: {all: true}\n    enable_attention_dp: true",
        ),
        "23:5: engine.llm_api.zzz_compile_config: unknown key; expected "
        f"{one_of(LlmApiOptions.model_fields)}; {UNCHECKED}",
    ),
    (
        "misspelled mapping with one of its keys",
        ("    enable_attention_dp: true", "    moe_cfg: {backend: TRTLLM}\n    enable_attention_dp: true"),
        f"23:5: engine.llm_api.moe_cfg: unknown key (did you mean 'moe_config'?); {UNCHECKED}",
    ),
    (
        "mapping for a key with one value",
        ("  tp: 8", "  tp: 8\n  epp: {size: 3}"),
        f"19:3: engine.epp: unknown key; expected {one_of(TrtllmBench.model_fields)}",
    ),
    (
        "null without a meaning",
        ("  ep: 8", "  ep: null"),
        "19:7: engine.ep: expected a whole number of at least 1, found nothing; remove the key, which does the same",
    ),
    (
        "null of a mapping",
        ("    cuda_graph_config:\n      batch_sizes: [128]\n", "    moe_config: null\n"),
        "24:17: engine.llm_api.moe_config: expected a mapping, found nothing; remove the key, which does the same",
    ),
    (
        "null of an optional part",
        ("targets:", "slo:\ntargets:"),
        "28:5: slo: expected a mapping, found nothing; remove the key, which does the same",
    ),
    (
        "merge key",
        ("load:\n", "load:\n  <<: {num_requests: 1}\n"),
        "14:3: load.<<: unknown key; YAML merge keys are not supported: use `extends: NAME` to build on a "
        "scenario",
    ),
    (
        "duplicate key",
        ("  tp: 8", "  tp: 8\n  tp: 4"),
        "19:3: the key 'tp' appears a second time; it is already on line 18",
    ),
    (
        "list as key",
        ("  tp: 8", "  tp: 8\n  ? [1]\n  : 2"),
        "19:5: expected text as a key, found a list or mapping",
    ),
    # missing
    (
        "no name",
        ("name: mine\n", ""),
        "1:1: name: missing; expected text of the form `^[A-Za-z0-9][A-Za-z0-9._-]*$`",
    ),
    (
        "no load key",
        ("  concurrency: 1024\n", ""),
        "14:3: load.concurrency: missing; expected a whole number of at least 1, or 'all'",
    ),
    (
        "no metric",
        ("  - metric: request_throughput\n    value", "  - value"),
        f"31:5: targets.1.metric: missing; expected {METRICS_PAGE}",
    ),
    (
        "no engine type",
        ("  type: trtllm-bench\n", ""),
        f"17:3: engine.type: missing; expected {ENGINES}",
    ),
    (
        "half a distribution",
        ("input_tokens: 1024", "input_tokens: {mean: 900}"),
        "11:17: dataset.input_tokens.stdev: missing; expected a number of at least 0",
    ),
    # values
    (
        "engine type",
        ("type: trtllm-bench", "type: trtlm-bench"),
        f"17:9: engine.type: expected {ENGINES}, found the text 'trtlm-bench' (did you mean 'trtllm-bench'?)",
    ),
    (
        "metric",
        ("metric: request_throughput", "metric: request_thruput"),
        "31:13: targets.1.metric: expected "
        f"{METRICS_PAGE}, found the text 'request_thruput' (did you mean 'request_throughput'?)",
    ),
    (
        "part of a metric",
        ("metric: request_throughput", "metric: per_user"),
        "31:13: targets.1.metric: expected "
        f"{METRICS_PAGE}, found the text 'per_user' (did you mean 'per_user_output_throughput'?)",
    ),
    (
        "metric that describes",
        ("metric: request_throughput", "metric: steady_window"),
        f"31:13: targets.1.metric: expected {METRICS_PAGE}, found the text 'steady_window'",
    ),
    (
        "metric of a plugin that is not there",
        ("metric: request_throughput", "metric: beauty"),
        f"31:13: targets.1.metric: expected {METRICS_PAGE}, found the text 'beauty'; {FIND_PLUGIN}",
    ),
    (
        "case of a literal",
        ("    cuda_graph_config:", "    moe_config: {backend: trtllm}\n    cuda_graph_config:"),
        "24:27: engine.llm_api.moe_config.backend: expected one of "
        f"{BACKENDS}, found the text 'trtllm' (did you mean 'TRTLLM'?)",
    ),
    (
        "value that the plugin does not know",
        ("    cuda_graph_config:", "    moe_config: {backend: ZZZ}\n    cuda_graph_config:"),
        "24:27: engine.llm_api.moe_config.backend: expected one of "
        f"{BACKENDS}, found the text 'ZZZ'; {UNCHECKED}",
    ),
    (
        "unknown value that is like a known one",
        ("    cuda_graph_config:", "    moe_config: {backend: MEGAGEMM}\n    cuda_graph_config:"),
        "24:27: engine.llm_api.moe_config.backend: expected one of "
        f"{BACKENDS}, found the text 'MEGAGEMM' (did you mean 'MEGAMOE_DEEPGEMM'?); {UNCHECKED}",
    ),
    (
        "only value of a literal",
        (
            "    cuda_graph_config:",
            "    speculative_config: {decoding_type: MPT, max_draft_len: 3}\n    cuda_graph_config:",
        ),
        "24:41: engine.llm_api.speculative_config.decoding_type: "
        "expected 'MTP', found the text 'MPT' (did you mean 'MTP'?)",
    ),
    (
        "text for a number",
        ("  tp: 8", "  tp: eight"),
        "18:7: engine.tp: expected a whole number of at least 1, found the text 'eight'",
    ),
    (
        "quoted number",
        ("  tp: 8", '  tp: "8"'),
        "18:7: engine.tp: expected a whole number of at least 1, found the text '8'; remove the quotes",
    ),
    (
        "thousands",
        ("max_num_tokens: 1151", "max_num_tokens: 1_151"),
        "21:19: engine.max_num_tokens: expected a "
        "whole number of at least 1, found the text '1_151'; write 1151",
    ),
    (
        "sexagesimal",
        ("concurrency: 1024", "concurrency: 17:04"),
        "14:16: load.concurrency: expected a whole number of at least 1, or 'all', found the text '17:04'",
    ),
    (
        "too small",
        ("  tp: 8", "  tp: 0"),
        "18:7: engine.tp: expected a whole number of at least 1, found the number 0",
    ),
    (
        "decimal for a whole number",
        ("  count: 8", "  count: 8.0"),
        "5:10: hardware.count: expected a whole number of at least 0, found the number 8.0; write 8",
    ),
    (
        "true for a number",
        ("  count: 8", "  count: true"),
        "5:10: hardware.count: expected a whole number of at least 0, found true",
    ),
    (
        "endless number",
        ("value: 5.61", "value: .inf"),
        "32:12: targets.1.value: expected a number above 0, found the text '.inf'",
    ),
    (
        "huge number",
        ("value: 5.61", "value: 1e999"),
        "32:12: targets.1.value: expected a number above 0, found the text '1e999'",
    ),
    (
        "negative target",
        ("value: 5.61", "value: -5.61"),
        "32:12: targets.1.value: expected a number above 0, found the number -5.61",
    ),
    (
        "tolerance",
        ("value: 5.61", "value: 5.61\n    tolerance_percent: 100"),
        "33:24: targets.1.tolerance_percent: "
        "expected a number of at least 0 and below 100, found the number 100",
    ),
    (
        "yes",
        ("enable_attention_dp: true", "enable_attention_dp: yes"),
        "23:26: engine.llm_api.enable_attention_dp: expected true or false, found the text 'yes'; write true",
    ),
    (
        "off",
        ("enable_attention_dp: true", "enable_attention_dp: Off"),
        "23:26: engine.llm_api.enable_attention_dp:"
        " expected true or false, found the text 'Off'; write false",
    ),
    (
        "number for text",
        ("  ep: 8", "  ep: 8\n  dialect: 1.20"),
        '20:12: engine.dialect: expected text, found the number 1.20; put it in quotes: "1.20"',
    ),
    (
        "share in percent",
        ("name: mine", "name: mine\naccuracy:\n  tasks:\n    - at_least: 95"),
        "4:17: accuracy.tasks.0.at_least: expected a number above 0 and at most 1, or one of "
        "'trtllm-gsm8k-fp8', 'trtllm-gsm8k-fp4', 'trtllm-gsm8k-fp8-kv-cache', 'trtllm-gpqa', "
        "'inferencex-gsm8k', 'inferencex-gpqa', 'mlperf', found the number 95",
    ),
    (
        "number in the environment",
        ('TRTLLM_DG_JIT_USE_NVCC: "1"', "TRTLLM_DG_JIT_USE_NVCC: 1"),
        "27:29: "
        "engine.environment.TRTLLM_DG_JIT_USE_NVCC: expected text, found the number 1; put it in quotes: "
        '"1"',
    ),
    (
        "name of a variable",
        ("TRTLLM_DG_JIT_USE_NVCC:", "TRTLLM-DG:"),
        "27:5: engine.environment.TRTLLM-DG: "
        "expected text of the form `^[A-Za-z_][A-Za-z0-9_]*$`, found the text 'TRTLLM-DG'",
    ),
    (
        "name of the scenario",
        ("name: mine", "name: my scenario"),
        "1:7: name: expected text of the form `^[A-Za-z0-9][A-Za-z0-9._-]*$`, found the text 'my scenario'",
    ),
    (
        "no value",
        ("  tp: 8", "  tp:"),
        "18:6: engine.tp: expected a whole number of at least 1, found nothing",
    ),
    (
        "item of a list",
        ("batch_sizes: [128]", "batch_sizes: [128, x]"),
        "25:26: "
        "engine.llm_api.cuda_graph_config.batch_sizes.1: expected a whole number of at least 1, found the text "
        "'x'",
    ),
    (
        "single value for a list",
        ("batch_sizes: [128]", "batch_sizes: 128"),
        "25:20: "
        "engine.llm_api.cuda_graph_config.batch_sizes: expected a list, each a whole number of at least 1, found the "
        "number 128",
    ),
    (
        "list for a mapping",
        ("load:\n  concurrency: 1024\n  num_requests: 5120", "load: [1024, 5120]"),
        "13:7: load: expected a mapping with `concurrency`, `num_requests`, found a list",
    ),
    (
        "text for the engine",
        (GOOD[GOOD.index("engine:") : GOOD.index("targets:")], "engine: trtllm-bench\n"),
        "16:9: engine: expected a mapping with `type`, found the text 'trtllm-bench'",
    ),
    (
        "empty list",
        ("  environment:", "  command: []\n  environment:"),
        "26:12: engine.command: expected a list of at least one item, each text, found an empty list",
    ),
    (
        "published metric",
        ("targets:", "published:\n  - version: V1\n    values: {total_latencies: 5}\ntargets:"),
        f"30:14: published.0.values.total_latencies: expected {METRICS_PAGE}, found the text 'total_latencies' "
        "(did you mean 'total_latency'?)",
    ),
    (
        "empty path",
        ("path: ${DSR1_MODELS}/DeepSeek-R1", 'path: ""'),
        "8:9: model.path: expected text that is not empty, found the text ''",
    ),
    (
        "driver",
        ("  count: 8", '  count: 8\n  min_driver: "new"'),
        "6:15: hardware.min_driver: expected text of the form `^[0-9]+(\\.[0-9]+)*$`, found the text 'new'",
    ),
    # variables
    (
        "variable in a description",
        ("A scenario of the tests", "A ${X}"),
        "2:14: description: variables (${...}) are expanded only in accuracy.tasks.N.path, "
        "dataset.path, engine.arguments, engine.ca_file, engine.command, "
        "engine.disaggregated.context.environment, engine.disaggregated.generation.environment, "
        "engine.environment, engine.url, "
        "load.arrival.path, model.path; write the value itself",
    ),
    (
        "variable without braces",
        ("path: ${DSR1_MODELS}/", "path: $DSR1_MODELS/"),
        "8:9: model.path: expected variables of the form ${NAME}, found '$DSR1_MODELS/DeepSeek-R1'",
    ),
    (
        "variable that is none",
        ("path: ${DSR1_MODELS}/", "path: ${DSR1-MODELS}/"),
        "8:9: model.path: expected variables of the form ${NAME}, found '${DSR1-MODELS}/DeepSeek-R1'",
    ),
    # YAML
    (
        "tag",
        ("  tp: 8", "  tp: !!int 8"),
        "18:7: the tag '!!int' is not allowed; write the plain value (quotes make it text)",
    ),
    (
        "Python object",
        ("  tp: 8", "  tp: 8\n  dialect: !!python/name:os.system x"),
        "19:12: the tag "
        "'!!python/name:os.system' is not allowed; write the plain value (quotes make it text)",
    ),
    (
        "NUL",
        ("gpu: NVIDIA H200", 'gpu: "NVIDIA\\0H200"'),
        "4:8: the text 'NVIDIA\\x00H200' contains a character that is not allowed in a path or option",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [case[1:] for case in MALFORMED], ids=[case[0] for case in MALFORMED]
)
def test_each_mistake_is_told_with_its_place(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert mistakes(tmp_path, changed(change)) == [f"s.yaml:{message}"]


def test_each_is_an_error_without_a_traceback(pytester: pytest.Pytester) -> None:
    """All of them named in one run of pytest: as many collection errors, each with its place."""
    assert len(MALFORMED) >= 12
    names = []
    for number, (_, change, _) in enumerate(MALFORMED):
        path = pytester.path / f"bad{number}.yaml"
        path.write_text(changed(change), encoding="utf-8")
        names.append(path.name)
    result = Suites(pytester).run(*names, "--continue-on-collection-errors")
    result.assert_outcomes(errors=len(names))
    text = result.stdout.str()
    assert "Traceback" not in text
    assert not [name for name in names if f"{name}:" not in text]
    assert not (pytester.path / "engine-runs.txt").exists()


def test_the_valid_file_has_no_mistake(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, GOOD)
    assert loaded.scenario.name == "mine"
    assert loaded.warnings == ()


def test_all_mistakes_are_told_at_once_though_one_hides_others(tmp_path: Path) -> None:
    text = changed(
        ("description: A", "descripton: A"),
        ("type: trtllm-bench", "type: trtlm-bench"),
        ("  ep: 8", "  ep: 3"),
        ("max_num_tokens: 1151", "max_num_tokens: 1000"),
        ("batch_sizes: [128]", "batchsizes: [0]"),
        ("  - metric: request_throughput", "  - metric: request_thruput"),
    )
    assert mistakes(tmp_path, text, "engine.max_batchsize=64") == [
        "s.yaml:2:1: descripton: unknown key (did you mean 'description'?)",
        f"s.yaml:17:9: engine.type: expected {ENGINES}, found the text 'trtlm-bench' "
        "(did you mean 'trtllm-bench'?)",
        "s.yaml:19:3: engine.ep: expected a divisor of engine.tp, 8; found 3",
        "s.yaml:21:3: engine.max_num_tokens: expected at least the longest input, 1024 tokens, as "
        "enable_chunked_context is false; found 1000",
        "s.yaml:25:7: engine.llm_api.cuda_graph_config.batchsizes: unknown key (did you mean 'batch_sizes'?)",
        "s.yaml:25:20: engine.llm_api.cuda_graph_config.batch_sizes.0: expected a whole number of at least 1, found "
        "the number 0",
        f"s.yaml:31:13: targets.1.metric: expected {METRICS_PAGE}, found the text "
        "'request_thruput' (did you mean 'request_throughput'?)",
        "--dsr1-set engine.max_batchsize=64: engine.max_batchsize: unknown key (did you mean 'max_batch_size'?)",
    ]


def test_an_engine_that_is_not_there_is_one_mistake(tmp_path: Path) -> None:
    """Its keys are not those of another engine, and no rule of another engine holds; the rest is checked."""
    before, _, after = GOOD.partition("engine:\n")
    _, _, after = after.partition("targets:\n")
    text = f"{before}engine: {{type: echo, delay_s: 0.02, tp: 3}}\ntargets:\n{after}"
    for change in ("", "dataset.input_tokens=-1"):
        first, *rest = mistakes(tmp_path, text, *filter(None, [change]))
        assert first == (
            f"s.yaml:16:16: engine.type: expected {ENGINES}, found the text 'echo'; {FIND_PLUGIN}"
        )
        assert [line.split(": ")[1] for line in rest] == ["dataset.input_tokens"] * bool(change)


VALIDATED = """
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.scenario.schema.base import ExpandedStr
from pytest_dsr1.scenario.schema.engine import EngineSettings

class Echo(EngineSettings):
    'An engine of the tests.'

    type: Literal["echo"]
    delay_s: float = 0.01
    tick: int
    where: ExpandedStr = "/tmp"
    api_key: str = ""
    mode: Literal["a1", "b2", "c3", "d4", "e5", "f6", "g7", "h8", "i9", "j10", "k11"] = "a1"

    @field_validator("delay_s")
    @classmethod
    def whole_ticks(cls, value):
        if value == 0.5:
            raise PydanticCustomError("half", "must not be a half")
        assert value != 0.25, "must not be a quarter"
        if value == 0.02:
            raise ValueError("must be a multiple of the tick")
        1 / value
        return value

    @field_validator("api_key")
    @classmethod
    def long(cls, value):
        raise ValueError(f"{value} is short")

    @field_validator("tick")
    @classmethod
    def odd(cls, value):
        if value % 2 == 0:
            raise ValueError("must be odd")
        return value

    @field_validator("where")
    @classmethod
    def known(cls, value):
        if value == "/gone":
            raise ValueError("is gone")
        return value

    @model_validator(mode="after")
    def together(self):
        if self.tick == 9:
            raise ValueError("tick and delay_s contradict each other")
        return self

def pytest_dsr1_engines():
    return [EngineSpec(settings=Echo, create=print)]
"""
ECHO = GOOD.partition("engine:")[0] + "engine: {type: echo, delay_s: 0.01, tick: 3}\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("0.01", "0.02"), "31: engine.delay_s: must be a multiple of the tick; found the number 0.02"),
        (("0.01", "0.5"), "31: engine.delay_s: must not be a half; found the number 0.5"),
        (("0.01", "0.25"), "31: engine.delay_s: must not be a quarter; found the number 0.25"),
        (("tick: 3", "tick: 4"), "43: engine.tick: must be odd; found the number 4"),
        (
            ("tick: 3", "tick: 3, api_key: hush"),
            "55: engine.api_key: refused by a validator of the engine's plugin; found a value that is (not shown)",
        ),
        (("tick: 3", "tick: 9"), "9: engine: tick and delay_s contradict each other; found a mapping"),
        (
            ("tick: 3", "tick: 3, mode: zz"),
            "52: engine.mode: expected one of 'a1', 'b2', 'c3', 'd4', 'e5', 'f6', 'g7', 'h8', 'i9', 'j10', "
            "'k11', found the text 'zz'",
        ),
    ],
)
def test_what_a_validator_of_a_plugin_says_is_shown(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    with plugged_in(tmp_path, "acme", VALIDATED):
        assert load_text(tmp_path, ECHO).warnings == ()
        assert mistakes(tmp_path, ECHO.replace(*change)) == [f"s.yaml:16:{message}"]


def test_a_validator_of_a_plugin_that_crashes_names_it(tmp_path: Path) -> None:
    with plugged_in(tmp_path, "acme", VALIDATED), pytest.raises(UserError) as caught:
        load_text(tmp_path, ECHO.replace("0.01", "0.0"))
    assert str(caught.value) == (
        "the pytest-dsr1 plugin acme is broken: a validator of its engine echo failed: "
        "ZeroDivisionError('float division by zero')"
    )


def test_a_validator_may_refuse_what_a_variable_stands_for(tmp_path: Path) -> None:
    with plugged_in(tmp_path, "acme", VALIDATED):
        scenario = load_text(tmp_path, ECHO.replace("tick: 3", 'tick: 3, where: "${PLACE}"')).scenario
        environ = {"DSR1_MODELS": "/m", "PLACE": "/gone"}
        with pytest.raises(UserError) as caught:
            resolve(scenario, environ)
    assert str(caught.value) == (
        "scenario mine: with the variables expanded, engine.echo.where: Value error, is gone"
    )


def test_null_removes_what_another_scenario_sets(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(GOOD, encoding="utf-8")
    text = "extends: ./base.yaml\nname: mine\nengine: {ep: null, llm_api: {moe_config: null}}\n"
    engine = load_text(tmp_path, text, "engine.max_seq_len=null").scenario.engine
    assert isinstance(engine, TrtllmBench)
    assert (engine.ep, engine.max_seq_len) == (None, None)


def test_null_is_kept_in_a_free_mapping(tmp_path: Path) -> None:
    text = changed(("    enable_attention_dp: true", "    unchecked: {zzz_compile_config: null}"))
    engine = load_text(tmp_path, text).scenario.engine
    assert isinstance(engine, TrtllmBench)
    assert engine.llm_api.unchecked == {"zzz_compile_config": None}


@pytest.mark.parametrize("overridden", [False, True])
@pytest.mark.parametrize("extending", [False, True])
def test_null_that_means_something_is_kept(tmp_path: Path, overridden: bool, extending: bool) -> None:
    """In TensorRT-LLM `cuda_graph_config: null` switches CUDA graphs off, which are on by default."""
    text = changed(("    cuda_graph_config:\n      batch_sizes: [128]\n", "    cuda_graph_config: null\n"))
    if overridden:
        text = GOOD
    if extending:
        (tmp_path / "base.yaml").write_text(GOOD, encoding="utf-8")
        text = "extends: ./base.yaml\nname: mine\nengine: {llm_api: {cuda_graph_config: null}}\n"
    options = ["engine.llm_api.cuda_graph_config=null"] if overridden else []
    scenario = load_text(tmp_path, text, *options).scenario
    assert isinstance(scenario.engine, TrtllmBench)
    graphs = scenario.engine.llm_api.cuda_graph_config
    assert graphs == CudaGraphConfig(enabled=False)
    assert resolve(scenario, {"DSR1_MODELS": "/m"}).engine == scenario.engine
    again = load_text(tmp_path, dump(scenario)).scenario
    assert again == scenario
    assert options_of(scenario)["option.engine.llm_api.cuda_graph_config.enabled"] is False


def test_saved_results_that_say_null_ran_with_cuda_graphs() -> None:
    """Results have a key for every option, with null for the ones that were not given."""
    saved = TrtllmBench.model_validate_json(
        '{"type": "trtllm-bench", "llm_api": {"cuda_graph_config": null}}'
    )
    assert saved.llm_api.cuda_graph_config is None


def test_unchecked_options_are_facts(tmp_path: Path) -> None:
    text = changed(
        (
            "    enable_attention_dp: true",
            "    unchecked:\n      zzz_backend: TRTLLM\n      kv_cache_config: {zzz_per_block: 64}\n"
            "      zzz_config: {}\n      zzz_null: null\n      some: [1, {a: null}]",
        )
    )
    prefix = "option.engine.llm_api.unchecked."
    facts = {
        key.removeprefix(prefix): value
        for key, value in options_of(load_text(tmp_path, text).scenario).items()
        if key.startswith(prefix)
    }
    assert facts == {
        "zzz_backend": "TRTLLM",
        "kv_cache_config.zzz_per_block": 64,
        "zzz_config": "{}",
        "zzz_null": "null",
        "some": ["1", "{'a': None}"],
    }


def test_an_empty_mapping_that_switches_an_option_on_is_a_fact(tmp_path: Path) -> None:
    text = changed(("    enable_attention_dp: true", "    torch_compile_config: {}"))
    facts = options_of(load_text(tmp_path, text).scenario)
    assert facts["option.engine.llm_api.torch_compile_config"] == "{}"
    assert not {key for key, fact in options_of(load_text(tmp_path, GOOD).scenario).items() if fact == "{}"}


def test_fields_of_a_request_are_facts(tmp_path: Path) -> None:
    """Null removes a field that we would send, such as `ignore_eos`, so it changes the load."""
    body = "{ignore_eos: null, min_tokens: 1, chat_template_kwargs: {}, x: {y: null, z: {}}, some: [null]}"
    engine = f"engine:\n  type: openai\n  server: vllm\n  body: {body}\n"
    text = GOOD[: GOOD.index("engine:")] + engine + GOOD[GOOD.index("targets:") :]
    scenario = load_text(tmp_path, text).scenario
    prefix = "option.engine.body."
    facts = {
        key.removeprefix(prefix): value
        for key, value in options_of(scenario).items()
        if key.startswith(prefix)
    }
    assert facts == {
        "ignore_eos": "null",
        "min_tokens": 1,
        "chat_template_kwargs": "{}",
        "x.y": "null",
        "x.z": "{}",
        "some": ["None"],
    }
    assert not any("null" in str(value) for value in options_of(load_text(tmp_path, GOOD).scenario).values())
    saved = type(scenario).model_validate_json(scenario.model_dump_json())
    assert saved == scenario, "the words are facts, not the saved scenario"


def test_an_empty_mapping_lacks_each_required_key_once(tmp_path: Path) -> None:
    keys = [line.split(": ")[1] for line in mistakes(tmp_path, "{}")]
    assert keys == ["name", "description", "hardware", "model", "dataset", "load", "engine"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    text=st.text(
        alphabet=st.sampled_from("ab:-[]{}&*!|>'\"#%@`,? \n\t\\0x1.~<$\x00\ufeff\u2028"), max_size=60
    )
)
def test_any_text_is_a_user_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError):
        load_text(tmp_path, text)


LINES = GOOD.splitlines()
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.sampled_from(["type", "mean", "minimum", "a"]), st.integers(), max_size=2),
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(line=st.integers(0, len(LINES) - 1), value=VALUES)
def test_any_value_in_any_place_is_read_or_a_user_error(tmp_path: Path, line: int, value: object) -> None:
    key = LINES[line].partition(":")[0]
    text = "\n".join([*LINES[:line], f"{key}: {json.dumps(value)}", *LINES[line + 1 :]])
    found = name_or_message(tmp_path, text)
    assert found == "mine" or "in this scenario" in found or LINES[line].startswith("name:")
    assert "Input should" not in found
