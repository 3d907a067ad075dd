# ruff: noqa: E501  (messages stand whole)
"""A forced acceptance length: when it is possible, and what else would force it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.scenario.loading import load
from tests.helpers.scenario_files import changed, load_text, mistakes

MTP = ("  llm_api:\n", "  llm_api:\n    speculative_config: {decoding_type: MTP, max_draft_len: 3}\n")
FORCED = ("targets:\n", "speculation: {acceptance_length: 2.4}\ntargets:\n")
VARIABLE = '    TRTLLM_DG_JIT_USE_NVCC: "1"'
BY_HAND = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
KEY = "speculation.acceptance_length"


def length(value: str) -> tuple[str, str]:
    return FORCED[0], f"speculation: {{acceptance_length: {value}}}\ntargets:\n"


def test_synthetic_tokens_are_right_with_a_forced_length(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, changed(MTP, FORCED))
    assert loaded.warnings == ()
    assert loaded.scenario.forced == "acceptance length 2.4 forced"
    assert loaded.scenario.machine == "8 x NVIDIA H200, engine trtllm-bench, acceptance length 2.4 forced"
    (without,) = mistakes(tmp_path, changed(MTP))
    assert without.startswith("s.yaml:10:1: dataset: the speed of multi-token prediction depends on the text")
    assert load_text(tmp_path, changed()).scenario.forced == ""


def test_targets_of_published_results_are_natural(tmp_path: Path) -> None:
    published = (
        "targets:\n",
        "published: [{version: mine, values: {total_output_throughput: 11489}}]\ntargets:\n",
    )
    (warning,) = load_text(tmp_path, changed(MTP, published, FORCED)).warnings
    assert warning.partition(": ")[2] == (
        "targets.0: 11489.2671 is close to the published 11489, which was measured without forcing (acceptance "
        "length 2.4 forced here): change the target"
    )
    assert load_text(tmp_path, changed(published)).warnings == ()
    other = load_text(tmp_path, changed(MTP, published, FORCED), "targets.0.value=15000")
    assert other.warnings == ()


def test_an_override_can_force_a_shipped_scenario(tmp_path: Path) -> None:
    forced = load_text(tmp_path, changed(MTP), "speculation.acceptance_length=4")
    assert forced.scenario.forced == "acceptance length 4 forced"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([FORCED], f"28:15: {KEY}: expected `engine.llm_api.speculative_config`, without which no draft token is accepted; found none"),
        ([MTP, length("4.1")], f"29:15: {KEY}: expected at most 4, the 3 draft tokens of a step and one more; found 4.1"),
        ([MTP, length("1")], f"29:15: {KEY}: expected more than 1, because TensorRT-LLM cannot reject every draft token; found 1"),
        ([MTP, length("0.9")], f"29:35: {KEY}: expected a number of at least 1, found the number 0.9"),
        (
            [MTP, FORCED, ("hardware:\n", "slo: {preset: mlperf-interactive}\nhardware:\n")],
            f"30:15: {KEY}: not possible for an MLPerf scenario (slo.preset mlperf-interactive): MLPerf forbids artificial acceptance",
        ),
        (
            [MTP, FORCED, ("hardware:\n", "source: {document: mlcommons/inference_results_v5.1}\nhardware:\n")],
            f"30:15: {KEY}: not possible for an MLPerf scenario (source.document mlcommons/inference_results_v5.1): MLPerf forbids artificial acceptance",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_forced(tmp_path: Path, changes: list[tuple[str, str]], message: str) -> None:
    (found,) = mistakes(tmp_path, changed(*changes))
    assert found.partition(KEY)[2] == message.partition(KEY)[2]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ((VARIABLE, f'    {BY_HAND}: "1.4"'), f"engine.environment.{BY_HAND}"),
        (
            ("  llm_api:\n", f'  llm_api:\n    env_overrides: {{{BY_HAND}: "1.4"}}\n'),
            "engine.llm_api.env_overrides",
        ),
        (("engine:\n", f"engine:\n  command: [env, {BY_HAND}=1.4, trtllm-bench]\n"), "engine.command"),
    ],
)
@pytest.mark.parametrize("also", [[], [MTP, FORCED]])
def test_a_variable_set_by_hand_is_a_mistake_with_the_key_to_use(
    tmp_path: Path, change: tuple[str, str], key: str, also: list[tuple[str, str]]
) -> None:
    text = changed(*also).replace(*change)
    (found,) = mistakes(tmp_path, text)
    assert found.endswith(f": {key}: forces the acceptance length: remove it, and set {KEY}: 2.4")


@pytest.mark.parametrize("value", ["0", "-1", "many", ""])
def test_a_variable_that_forces_nothing_is_allowed(tmp_path: Path, value: str) -> None:
    load_text(tmp_path, changed((VARIABLE, f'    {BY_HAND}: "{value}"')))


def test_an_engine_that_has_no_speculation_refuses(tmp_path: Path) -> None:
    text = changed(FORCED).partition("engine:")[0] + "engine: {type: transformers, device: cuda}\n"
    text = text.replace("count: 8", "count: 1").replace(
        "  path: ${DSR1_MODELS}/DeepSeek-R1\n", "  random_weights: {}\n"
    )
    text += "speculation: {acceptance_length: 2}\ngate: {metric: total_output_throughput}\n"
    (found,) = mistakes(tmp_path, text)
    assert found.endswith(f": {KEY}: the engine `transformers` cannot force it")


@pytest.mark.parametrize(
    ("line", "forced", "warning"),
    [
        (f'    {BY_HAND}: "1.4"', "acceptance length 2.4 forced", f"environment.{BY_HAND}: forced the acceptance length: 2.4"),
        (f'    {BY_HAND}: "0"', "", ""),
        (VARIABLE, "", ""),
    ],
)  # fmt: skip
def test_a_saved_scenario_says_what_forced_its_acceptance(
    tmp_path: Path, line: str, forced: str, warning: str
) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(changed((VARIABLE, line)), encoding="utf-8")
    found = load(path, saved=True)
    assert found.scenario.forced == forced
    assert list(found.warnings) == ([f"{path}:27: engine.{warning}"] if warning else [])
