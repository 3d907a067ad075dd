# ruff: noqa: E501  (messages stand whole)
"""``--dsr1-set``: what it changes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.scenario.overrides import parse_override
from pytest_dsr1.scenario.schema.scenario import Load
from tests.helpers.scenario_files import GOOD, load_text, mistakes, name_or_message, one_of


def test_values_are_set_in_order(tmp_path: Path) -> None:
    scenario = load_text(
        tmp_path,
        GOOD,
        "engine.ep=2",
        "engine.ep=4",
        "targets.request_throughput.value=1",
        "targets.0.tolerance_percent=2.5",
        "engine.llm_api.moe_config.backend=CUTLASS",
        "engine.llm_api.cuda_graph_config.batch_sizes=[1, 128]",
        "engine.environment.A=1.0=x",
        "model.path=/models/R1",
        "engine.max_num_tokens=",
    ).scenario
    assert scenario.engine.model_dump(exclude_none=True) == {
        "type": "trtllm-bench",
        "command": ["trtllm-bench"],
        "tp": 8,
        "pp": 1,
        "ep": 4,
        "max_batch_size": 128,
        "enable_chunked_context": False,
        "eos_id": -1,
        "streaming": False,
        "llm_api": {
            "enable_attention_dp": True,
            "cuda_graph_config": {"batch_sizes": [1, 128]},
            "moe_config": {"backend": "CUTLASS"},
        },
        "environment": {"TRTLLM_DG_JIT_USE_NVCC": "1", "A": "1.0=x"},
        "startup_timeout_s": 3600.0,
    }
    assert [(target.value, target.tolerance_percent) for target in scenario.targets] == [
        (11489.2671, 2.5),
        (1, 5),
    ]
    assert scenario.model.path == "/models/R1"


def test_a_key_may_hold_an_equals_sign_after_the_first() -> None:
    override = parse_override("engine.environment.A=b=c")
    assert override.path == ("engine", "environment", "A")
    assert override.value.plain() == "b=c"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "engine.max_batchsize=64",
            "engine.max_batchsize: unknown key (did you mean 'max_batch_size'?)",
        ),
        ("engine.max_seqlen=4096", "engine.max_seqlen: unknown key (did you mean 'max_seq_len'?)"),
        ("engin.tp=8", "engin: unknown key (did you mean 'engine'?)"),
        ("engine.tp=eight", "engine.tp: expected a whole number of at least 1, found the text 'eight'"),
        ("load.concurency=3", "load.concurency: unknown key (did you mean 'concurrency'?)"),
        (
            "load.concurrency=1,4",
            "load.concurrency: expected a whole number of at least 1, or 'all', found the text '1,4'; it "
            "takes one number: for several, start a run with each",
        ),
        (
            "load.concurrency=1,400",
            "load.concurrency: expected a whole number of at least 1, or 'all', found the text '1,400'; write "
            "1400",
        ),
        (
            "targets.0.tolerance_percent=2,5",
            "targets.0.tolerance_percent: expected a number of at least 0 and below 100, found the text '2,5'; write 2.5",
        ),
        (
            "load.concurrency=[1]",
            "load.concurrency: expected a whole number of at least 1, or 'all', found a list",
        ),
        (
            "load.concurrency=al",
            "load.concurrency: expected a whole number of at least 1, or 'all', found the text 'al' (did you "
            "mean 'all'?)",
        ),
        (
            "load.concurrency=true",
            "load.concurrency: expected a whole number of at least 1, or 'all', found true",
        ),
        ("engine.ep=3", "engine.ep: expected a divisor of engine.tp, 8; found 3"),
        (
            "engine.command=[${X}]",
            "engine.command: not valid YAML: while parsing a flow sequence expected ',' or "
            "']', but got '{'; put a value with ${...} in quotes",
        ),
        (
            "engine.dialect=${X}",
            "engine.dialect: variables (${...}) are expanded only in accuracy.tasks.N.path, dataset.path, engine.arguments, engine.ca_file, engine.command, "
            "engine.disaggregated.context.environment, engine.disaggregated.generation.environment, engine.environment, engine.url, load.arrival.path, model.path; "
            "write the value itself",
        ),
        (
            "engine.llm_api={moe_confg: {}}",
            "engine.llm_api.moe_confg: unknown key (did you mean 'moe_config'?)",
        ),
        (
            "engine.llm_api={a: 1, a: 2}",
            "engine.llm_api: the key 'a' appears a second time; it is already on line 1",
        ),
        (
            "engine.command=[x]\n---\ny",
            "engine.command: a second document begins here; expected one scenario per file",
        ),
        (
            "targets.total_output_thrughput.value=5",
            "targets.total_output_thrughput.value: expected one of "
            "total_output_throughput, request_throughput or an index from 0 to 1, found 'total_output_thrughput' "
            "(did you mean 'total_output_throughput'?)",
        ),
        (
            "targets.2.value=5",
            "targets.2.value: expected one of total_output_throughput, request_throughput or an "
            "index from 0 to 1, found '2'",
        ),
        (
            "engine.llm_api.cuda_graph_config.batch_sizes.1=5",
            "engine.llm_api.cuda_graph_config.batch_sizes.1: expected an index from 0 to 0, found '1'",
        ),
        ("engine.tp.x=5", "engine.tp.x: `engine.tp` is a single value and has no key 'x'"),
        (
            "load.0=5",
            f"load.0: unknown key; expected {one_of(Load.model_fields)}",
        ),
        (
            "name=other",
            "name: cannot be set for a run: a scenario keeps its name; copy the file to give it another",
        ),
        ("extends=other", "extends: cannot be set for a run: choose a scenario with --dsr1-profile"),
    ],
)
def test_what_cannot_be_set(tmp_path: Path, option: str, message: str) -> None:
    shown = " ".join(option.split())
    assert mistakes(tmp_path, GOOD, option) == [f"--dsr1-set {shown}: {message}"]


@pytest.mark.parametrize("option", ["", "engine", "=5", "engine.=5", ".tp=5"])
def test_what_is_no_override(tmp_path: Path, option: str) -> None:
    assert mistakes(tmp_path, GOOD, option) == [
        f"--dsr1-set {option}: expected KEY=VALUE with a dotted key, such as load.concurrency=64"
    ]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    key=st.lists(
        st.sampled_from(["engine", "targets", "0", "load", "tp", "llm_api", "", "²", "x"]), max_size=4
    ),
    value=st.text(alphabet="ab1:[]{}&*!$.\n\t -\"'", max_size=8),
)
def test_any_override_is_read_or_a_user_error(tmp_path: Path, key: list[str], value: str) -> None:
    found = name_or_message(tmp_path, GOOD, f"{'.'.join(key)}={value}")
    assert found == "mine" or "--dsr1-set" in found


def test_no_mistake_repeats_a_secret(tmp_path: Path) -> None:
    served = GOOD.replace("  type: trtllm-bench\n", "  type: trtllm-bench\n  environment: {A_TOKEN: 12345}\n")
    assert served != GOOD
    options = (
        "engine.environment.WANDB_API_KEY=planted${X",
        "engine.environment.HF_TOKEN=[planted]",
        "engine.environment.DB_PWD=12345",
        "engine.nothing.api_key=planted",
        "engine.environment.PROXY=http://u:planted@h${",
    )
    for option in options:
        found = "\n".join(mistakes(tmp_path, served, option))
        assert "planted" not in found
        assert "12345" not in found
    assert mistakes(tmp_path, GOOD, options[2]) == [
        "--dsr1-set engine.environment.DB_PWD=${DB_PWD}: engine.environment.DB_PWD: expected text, found a value "
        "that is (not shown); put it in quotes"
    ]
