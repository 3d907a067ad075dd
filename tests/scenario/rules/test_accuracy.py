# ruff: noqa: E501  (messages stand whole)
"""Questions: which engines answer them, which weights know an answer, and the names of their tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.scenario.schema.accuracy import PRESETS, Task
from pytest_dsr1.scenario.variables import resolve, unset_variables
from tests.helpers.scenario_files import changed, load_text, mistakes

ENGINE = ("  type: trtllm-bench\n", "  type: trtllm\n")


def asked(value: str) -> tuple[str, str]:
    return "targets:\n", f"accuracy: {value}\ntargets:\n"


def test_both_parts_and_their_defaults(tmp_path: Path) -> None:
    text = changed(
        ENGINE, asked("{same_answers: {}, tasks: [{}, {path: a b/gsm 8k.v1.jsonl, at_least: mlperf}]}")
    )
    accuracy = load_text(tmp_path, text).scenario.accuracy
    assert accuracy is not None
    assert accuracy.same_answers is not None
    assert (accuracy.same_answers.prompts, accuracy.same_answers.output_tokens) == (32, 64)
    assert list(accuracy.test_names) == ["same_answers", "questions", "gsm-8k.v1"]
    first, second = accuracy.tasks
    assert (first.least_share, first.limit, first.max_output_tokens) == (None, None, 16_384)
    assert second.least_share == pytest.approx(0.8109, abs=5e-5)
    assert Task(at_least=0.5).least_share == 0.5


def test_presets_are_the_published_shares() -> None:
    assert {name: round(preset.share, 4) for name, preset in PRESETS.items()} == {
        "trtllm-gsm8k-fp8": 0.9538,
        "trtllm-gsm8k-fp4": 0.9462,
        "trtllm-gsm8k-fp8-kv-cache": 0.9606,
        "trtllm-gpqa": 0.697,
        "inferencex-gsm8k": 0.91,
        "inferencex-gpqa": 0.3,
        "mlperf": 0.8109,
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([ENGINE, asked("{}")], "28:1: accuracy: expected `same_answers`, `tasks` or both; found none"),
        (
            [asked("{same_answers: {}}")],
            "28:1: accuracy: the engine `trtllm-bench` does not return its answers: use one of `trtllm`, `transformers`, `openai`, or ask with a second scenario that extends this one",
        ),
        (
            [
                ENGINE,
                (
                    "  llm_api:\n",
                    "  llm_api:\n    speculative_config: {decoding_type: MTP, max_draft_len: 3}\n",
                ),
                asked("{same_answers: {}}\nspeculation: {acceptance_length: 2.4}"),
            ],
            "29:1: accuracy: not possible with `speculation`: acceptance length 2.4 forced, which changes the text",
        ),
        (
            [
                ENGINE,
                asked("{tasks: [{}, {name: same_answers}]}"),
                ("  path: ${DSR1_MODELS}/DeepSeek-R1\n", "  random_weights: {}\n"),
            ],
            "28:12: accuracy.tasks: not possible with `model.random_weights`, which answer no question rightly; use `accuracy.same_answers`, or `model.path`",
        ),
        (
            [ENGINE, asked("{tasks: [{name: same_answers}]}")],
            "28:20: accuracy.tasks.0: same_answers is the name of the other part; set another `name`",
        ),
        (
            [ENGINE, asked("{tasks: [{}, {path: questions.jsonl}]}")],
            "28:24: accuracy.tasks.1: questions is the name of another task; set another `name`",
        ),
        (
            [ENGINE, asked("{tasks: [{path: '${GSM8K}'}]}")],
            "28:20: accuracy.tasks.0: expected `name`, because the name of the file is known only when it runs; found none",
        ),
        (
            [ENGINE, asked("{same_answers: {prompts: 3000000}}")],
            "28:27: accuracy.same_answers.prompts: expected at most load.num_requests, 5120; found 3000000",
        ),
        (
            [ENGINE, asked("{tasks: [{at_least: gsm8k}]}")],
            "28:31: accuracy.tasks.0.at_least: expected a number above 0 and at most 1, or one of 'trtllm-gsm8k-fp8', 'trtllm-gsm8k-fp4', 'trtllm-gsm8k-fp8-kv-cache', 'trtllm-gpqa', 'inferencex-gsm8k', 'inferencex-gpqa', 'mlperf', found the text 'gsm8k' (did you mean 'trtllm-gsm8k-fp8'?)",
        ),
        (
            [ENGINE, asked("{same_answers: {prompts: 1}}")],
            "28:36: accuracy.same_answers.prompts: expected a whole number of at least 2, found the number 1",
        ),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, changes: list[tuple[str, str]], message: str) -> None:
    assert f"s.yaml:{message}" in mistakes(tmp_path, changed(*changes))


OPENAI = ("  type: trtllm-bench\n  tp: 8\n  ep: 8\n", "  type: openai\n  server: vllm\n")
NO_OPTIONS = (
    """  llm_api:
    enable_attention_dp: true
    cuda_graph_config:
      batch_sizes: [128]
""",
    "",
)


@pytest.mark.parametrize("engine", [(ENGINE,), (OPENAI, NO_OPTIONS)])
def test_answers_fit_into_the_longest_sequence(tmp_path: Path, engine: tuple[tuple[str, str], ...]) -> None:
    def length(tokens: int) -> tuple[str, str]:
        return "  max_num_tokens: 1151\n", f"  max_num_tokens: 1151\n  max_seq_len: {tokens}\n"

    same, task = asked("{same_answers: {output_tokens: 3000}}"), asked("{tasks: [{max_output_tokens: 5000}]}")
    for question, needed in ((same, 4024), (task, 5001)):
        (message,) = mistakes(tmp_path, changed(*engine, question, length(needed - 1)))
        assert message.partition(": ")[2] == (
            f"engine.max_seq_len: expected at least {needed} tokens, which `accuracy` needs for its longest answer; found {needed - 1}"
        )
        assert load_text(tmp_path, changed(*engine, question, length(needed))).scenario.accuracy is not None


def test_variables_are_expanded_in_the_path_of_every_task(tmp_path: Path) -> None:
    text = changed(ENGINE, asked("{tasks: [{}, {path: '${GSM8K}', name: a}, {path: '${OTHER}/b.jsonl'}]}"))
    scenario = load_text(tmp_path, text).scenario
    assert {"GSM8K", "OTHER"} <= set(unset_variables(scenario, {}))
    environ = dict.fromkeys(unset_variables(scenario, {}), "/m") | {"GSM8K": "/g.jsonl", "OTHER": "/o"}
    accuracy = resolve(scenario, environ).accuracy
    assert accuracy is not None
    assert [task.path for task in accuracy.tasks] == [None, "/g.jsonl", "/o/b.jsonl"]
