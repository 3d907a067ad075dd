# ruff: noqa: E501  (messages stand whole)
"""A forced acceptance length, in the terms of each kind of server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.server import command as command_module
from pytest_dsr1.engines.openai.server.command import launch_command
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.variables import resolve
from tests.helpers.scenario_files import load_text, mistakes
from tests.helpers.values import scenario

MTP3 = '{"method": "mtp", "num_speculative_tokens": 3}'
EAGLE = ["--speculative-algorithm", "EAGLE", "--speculative-num-steps=3", "--speculative-eagle-topk", "1"]
SERVED = """\
name: served
description: A scenario against a server
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1, path: /models/r1}
dataset: {input_tokens: 8, output_tokens: 4}
load: {concurrency: 2, num_requests: 4}
gate: {metric: total_output_throughput}
"""
LENGTH = "speculation: {acceptance_length: 2.4}\n"
KEY = "speculation.acceptance_length"


def text(engine: dict[str, Any], speculation: str = LENGTH) -> str:
    return f"{SERVED}{speculation}engine: {json.dumps({'type': 'openai', **engine})}\n"


def vllm(config: str) -> dict[str, Any]:
    return {"server": "vllm", "arguments": ["--speculative-config", config]}


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        ({"url": "http://host:1"}, "not possible with `engine.url`, because that server is running"),
        ({"command": ["serve"]}, "not possible with `engine.server: other`, only with trtllm-serve, vllm or sglang"),
        ({"server": "vllm"}, "expected --speculative-config with a mapping in JSON in engine.arguments; found none"),
        (vllm("mtp"), "expected --speculative-config with a mapping in JSON in engine.arguments; found none"),
        (vllm("{}"), "expected num_speculative_tokens in --speculative-config, a whole number; found None"),
        (vllm(MTP3.replace("3", "1")), "expected at most 2, one more than num_speculative_tokens 1; found 2.4"),
        ({"server": "sglang"}, "expected --speculative-algorithm in engine.arguments; found none"),
        ({"server": "sglang", "arguments": EAGLE[:2]}, "expected --speculative-num-steps in engine.arguments; found none"),
        (
            {"server": "sglang", "arguments": [*EAGLE[:-1], "2"]},
            "expected --speculative-eagle-topk 1, with which SGLang takes its draft tokens; found 2",
        ),
        (
            {"server": "sglang", "arguments": [*EAGLE[:2], "--speculative-num-steps", "1"]},
            "expected at most 2, one more than --speculative-num-steps 1; found 2.4",
        ),
        ({"server": "trtllm-serve"}, "expected `engine.llm_api.speculative_config`, without which no draft token is accepted; found none"),
    ],
)  # fmt: skip
def test_a_server_that_cannot_force_it_says_why(tmp_path: Path, engine: dict[str, Any], why: str) -> None:
    assert mistakes(tmp_path, text(engine)) == [f"s.yaml:8:15: {KEY}: {why}"]


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (["--speculative-config", MTP3, "--more"], ["--speculative-config", "JSON", "--more"]),
        ([f"--speculative_config={MTP3}", "--more"], ["--speculative_config=JSON", "--more"]),
        (["-sc", MTP3], ["-sc", "JSON"]),
    ],
)
def test_vllm_gets_it_in_its_speculative_config(tmp_path: Path, given: list[str], written: list[str]) -> None:
    loaded = load_text(tmp_path, text({"server": "vllm", "arguments": given}))
    command = launch_command(loaded.scenario, 1)
    config = (
        '{"method": "mtp", "num_speculative_tokens": 3, "rejection_sample_method": "synthetic", '
        '"synthetic_acceptance_length": 2.4}'
    )
    assert command.argv[-len(written) :] == [word.replace("JSON", config) for word in written]
    assert command.environment == {}


def test_sglang_gets_it_in_variables(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, text({"server": "sglang", "arguments": EAGLE}))
    assert launch_command(loaded.scenario, 1).environment == {
        "SGLANG_SIMULATE_ACC_LEN": "2.4",
        "SGLANG_SIMULATE_ACC_METHOD": "match-expected",
        "SGLANG_SIMULATE_ACC_TOKEN_MODE": "real-draft-token",
    }


def test_trtllm_serve_gets_one_less_in_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = {
        "type": "openai",
        "server": "trtllm-serve",
        "llm_api": {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}},
    }
    one = scenario(model={"name": "m", "path": "/m"}, engine=engine, speculation={"acceptance_length": 2.4})
    for version in (None, "1.3.0rc15", "1.3.0", "1.4.0rc1"):
        monkeypatch.setattr(command_module, "installed_version", lambda *_, v=version: v)
        assert launch_command(one, 1).environment == {"TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS": "1.4"}
        assert "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=1.4 trtllm-serve" in launch_command(one, 1).shell()
    monkeypatch.setattr(command_module, "installed_version", lambda *_: "1.2.1")
    with pytest.raises(UserError) as caught:
        launch_command(one, 1)
    assert str(caught.value) == (
        "small: speculation.acceptance_length: TensorRT-LLM 1.2.1 does not force 2.4 tokens per step: it "
        "forces none before 1.2, and only whole numbers before 1.3.0rc15; use a newer TensorRT-LLM, or remove "
        "the key"
    )


def test_without_the_key_nothing_is_written(tmp_path: Path) -> None:
    for engine in (vllm(MTP3), {"server": "sglang", "arguments": EAGLE}, {"server": "trtllm-serve"}):
        command = launch_command(load_text(tmp_path, text(engine, "")).scenario, 1)
        assert command.environment == {}
        assert "synthetic" not in command.shell()


@pytest.mark.parametrize(
    ("engine", "key", "length"),
    [
        (
            vllm('{"num_speculative_tokens": 3, "rejection_sample_method": "synthetic", "synthetic_acceptance_length": 2.6}'),
            "engine.arguments",
            "2.6",
        ),
        (
            vllm('{"rejection_sample_method": "synthetic", "synthetic_acceptance_rates": [0.9, 0.5, 0.2]}'),
            "engine.arguments",
            "2.6",
        ),
        (
            {"server": "vllm", "arguments": ["--speculative-config.rejection_sample_method", "synthetic"]},
            "engine.arguments",
            None,
        ),
        (
            vllm('{"num_speculative_tokens": 3, "synthetic_acceptance_rates": [0.9, 0.5, 0.2]}'),
            "engine.arguments",
            "2.6",
        ),
        (
            vllm('{"num_speculative_tokens": 3, "synthetic_acceptance_length": 2.6}'),
            "engine.arguments",
            "2.6",
        ),
        (
            {"server": "sglang", "environment": {"SGLANG_SIMULATE_ACC_LEN": "3.1"}},
            "engine.environment.SGLANG_SIMULATE_ACC_LEN",
            "3.1",
        ),
        (
            {"server": "trtllm-serve", "environment": {"TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS": "2"}},
            "engine.environment.TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS",
            "3",
        ),
        (
            {"command": ["env", "SGLANG_SIMULATE_ACC_LEN=3.1", "python3", "-m", "sglang.launch_server"]},
            "engine.command",
            "3.1",
        ),
        (
            {"command": ["docker", "run", "--env=TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=2", "image"]},
            "engine.command",
            "3",
        ),
        (
            {"command": ["sh", "-c", "export TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=2; trtllm-serve m"]},
            "engine.command",
            "3",
        ),
        (
            {"command": ["sh", "-c", 'export SGLANG_SIMULATE_ACC_LEN="3.1"; serve']},
            "engine.command",
            "3.1",
        ),
        (
            {"command": ["sh", "-c", "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=$DRAFTS serve"]},
            "engine.command",
            None,
        ),
        (
            {"command": ["sh", "-c", 'SGLANG_SIMULATE_ACC_LEN="$(cat length)" serve']},
            "engine.command",
            None,
        ),
        (
            {"command": ["docker", "run"], "arguments": ["-e", "SGLANG_SIMULATE_ACC_LEN='3.1'", "image"]},
            "engine.arguments",
            "3.1",
        ),
    ],
)  # fmt: skip
def test_what_is_forced_by_hand_must_use_the_key(
    tmp_path: Path, engine: dict[str, Any], key: str, length: str | None
) -> None:
    (found,) = mistakes(tmp_path, text(engine, ""))
    value, known = (", its value is not known", "") if length is None else ("", f": {length}")
    assert found.endswith(f": {key}: forces the acceptance length{value}: remove it, and set {KEY}{known}")


def test_a_variable_that_is_expanded_before_the_run_is_looked_at_there(tmp_path: Path) -> None:
    engine = {"command": ["sh", "-c", "SGLANG_SIMULATE_ACC_LEN=${LENGTH} serve"]}
    of = load_text(tmp_path, text(engine, "")).scenario
    assert list(of.engine.forced_by_hand({})) == []
    assert list(resolve(of, {"LENGTH": "0"}).engine.forced_by_hand({})) == []
    assert list(resolve(of, {"LENGTH": "3.1"}).engine.forced_by_hand({})) == [("engine.command", 3.1)]
    default = text(engine, "").replace("${LENGTH}", "${LENGTH:-3}")
    (found,) = mistakes(tmp_path, default)
    assert (
        "expected variables of the form ${NAME}, found 'SGLANG_SIMULATE_ACC_LEN=${LENGTH:-3} serve'" in found
    )


def test_inherited_variables_count_unless_the_scenario_sets_them() -> None:
    forced = {"SGLANG_SIMULATE_ACC_LEN": "3.1", "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS": "2"}
    names = dict.fromkeys(forced, "0")
    served = {"type": "openai", "server": "sglang"}
    assert list(OpenAi.model_validate(served).forced_by_hand(forced)) == [
        ("TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS", 3.0),
        ("SGLANG_SIMULATE_ACC_LEN", 3.1),
    ]
    assert list(OpenAi.model_validate({**served, "environment": names}).forced_by_hand(forced)) == []
    attached = OpenAi.model_validate({"type": "openai", "url": "http://host:1"})
    assert list(attached.forced_by_hand(forced)) == []
    assert list(OpenAi.model_validate(served).forced_by_hand({"SGLANG_SIMULATE_ACC_LEN": "many"})) == []
