"""``${VARIABLE}``: kept on loading, expanded for a run, and missed by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.variables import resolve, unset_variables, without_secrets
from pytest_dsr1.scenario.writer import dump
from tests.helpers.scenario_files import GOOD, changed, load_text


def test_variables_are_kept_on_loading_and_expanded_for_a_run(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, GOOD).scenario
    assert scenario.model.path == "${DSR1_MODELS}/DeepSeek-R1"
    resolved = resolve(scenario, {"DSR1_MODELS": "/data"})
    assert resolved.model.path == "/data/DeepSeek-R1"
    assert resolved.model_copy(update={"model": scenario.model}) == scenario


def test_a_value_is_not_expanded_twice(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, GOOD).scenario
    assert resolve(scenario, {"DSR1_MODELS": "${HOME}"}).model.path == "${HOME}/DeepSeek-R1"


def test_every_unset_variable_is_named_with_what_to_do(tmp_path: Path) -> None:
    text = changed(
        ("${DSR1_MODELS}/DeepSeek-R1", "${ROOT}/${DSR1_MODELS}"),
        ("dataset:\n", "dataset:\n  path: ${DSR1_DATASET}\n"),
    )
    scenario = load_text(tmp_path, text).scenario
    assert unset_variables(scenario, {"ROOT": "/"}) == ("DSR1_MODELS", "DSR1_DATASET")
    assert unset_variables(scenario, {"ROOT": "/", "DSR1_MODELS": "m", "DSR1_DATASET": "d"}) == ()
    with pytest.raises(UserError) as caught:
        resolve(scenario, {"ROOT": "", "DSR1_MODELS": "m"})
    assert str(caught.value) == (
        "scenario mine: the variables ROOT, DSR1_DATASET are not set\n"
        "  model.path: ${ROOT}/${DSR1_MODELS} needs ROOT\n"
        "  dataset.path: ${DSR1_DATASET} needs DSR1_DATASET\n"
        "Set with:\n"
        "  export ROOT=/path/to/folder\n"
        "  export DSR1_DATASET=/path/to/dataset.jsonl"
    )
    with pytest.raises(UserError, match=r"^scenario mine: the variable ROOT is not set\n"):
        resolve(scenario, {"DSR1_DATASET": "d", "DSR1_MODELS": "m"})


def test_a_scenario_without_paths_needs_nothing(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, changed(("${DSR1_MODELS}/DeepSeek-R1", "models/R1"))).scenario
    assert resolve(scenario, {}) == scenario


def test_variables_expand_in_paths_a_host_words_and_the_environment() -> None:
    assert json_schema.expanded_paths() == (
        ("model", "path"),
        ("dataset", "path"),
        ("load", "arrival", "path"),
        ("engine", "url"),
        ("engine", "url", "*"),
        ("engine", "command", "*"),
        ("engine", "arguments", "*"),
        ("engine", "disaggregated", "context", "environment", "*"),
        ("engine", "disaggregated", "generation", "environment", "*"),
        ("engine", "ca_file"),
        ("engine", "environment", "*"),
        ("accuracy", "tasks", 0, "path"),
    )


SERVED = """\
name: served
description: A server with a secret.
hardware: {}
model: {name: m, path: /m}
dataset: {input_tokens: 8, output_tokens: 4}
load: {concurrency: 2, num_requests: 4}
engine:
  type: openai
  server: vllm
  arguments: [--api-key, "${MY_KEY}", --x]
  environment: {HF_TOKEN: "${MY_TOKEN}", LD_LIBRARY_PATH: "$ORIGIN/lib", EMPTY: ""}
targets: [{metric: total_output_throughput, value: 8}]
"""


def test_variables_in_words_and_in_the_environment_of_an_engine(tmp_path: Path) -> None:
    """A secret need not stand in the scenario."""
    served = load_text(tmp_path, SERVED).scenario
    engine = OpenAi.of(resolve(served, {"MY_KEY": "sk", "MY_TOKEN": "hf"}))
    assert engine.arguments == ["--api-key", "sk", "--x"]
    assert engine.environment == {"HF_TOKEN": "hf", "LD_LIBRARY_PATH": "$ORIGIN/lib", "EMPTY": ""}
    with pytest.raises(UserError) as caught:
        resolve(served, {"MY_KEY": "sk"})
    assert str(caught.value) == (
        "scenario served: the variable MY_TOKEN is not set\n"
        "  engine.environment.HF_TOKEN: ${MY_TOKEN} needs MY_TOKEN\n"
        "Set with:\n"
        "  export MY_TOKEN=VALUE"
    )
    with pytest.raises(
        UserError, match=r"engine.arguments.1: expected variables of the form \$\{NAME\}, found"
    ):
        load_text(tmp_path, SERVED.replace("${MY_KEY}", "${MY KEY}"))


def test_a_saved_scenario_has_variables_in_the_place_of_secrets(tmp_path: Path) -> None:
    served = load_text(tmp_path, SERVED).scenario
    values = {"MY_KEY": "sk-planted", "MY_TOKEN": "hf-planted"}
    text = dump(without_secrets(resolve(served, values)))
    assert "planted" not in text
    again = load_text(tmp_path, text).scenario
    assert unset_variables(again, {}) == ("API_KEY", "HF_TOKEN")
    exported = resolve(again, {"API_KEY": "sk-planted", "HF_TOKEN": "hf-planted"})
    assert exported == resolve(served, values)
    plain = load_text(tmp_path, GOOD).scenario
    assert without_secrets(plain) is plain


BODY = """  body: {api_key: planted, auth: {value: planted}, n: 8}
targets:"""


def test_a_secret_where_no_variable_is_expanded_is_a_mark_and_a_run_refuses_it(tmp_path: Path) -> None:
    served = load_text(tmp_path, SERVED.replace("targets:", BODY)).scenario
    saved = dump(without_secrets(served))
    assert "planted" not in saved
    again = load_text(tmp_path, saved).scenario  # as a replay reads it
    assert OpenAi.of(again).body == {"api_key": "(not shown)", "auth": {"value": "(not shown)"}, "n": 8}
    assert without_secrets(again) is again
    with pytest.raises(UserError) as caught:
        resolve(again, {"MY_KEY": "x", "MY_TOKEN": "x"})
    assert str(caught.value) == (
        "scenario served: (not shown) stands for a secret, which is never saved\n"
        "  engine.body.api_key\n"
        "  engine.body.auth.value\n"
        "Write each value into the file, or set it with --dsr1-set KEY=VALUE"
    )


def test_an_earlier_version_wrote_variables_where_none_is_expanded(tmp_path: Path) -> None:
    """One such result must not end a replay of several."""
    path = tmp_path / "s.yaml"
    old = "  body: {api_key: '${api_key}'}\n  environment: {DB_PWD: planted}\ntargets:"
    text = re.sub(r"  environment:.*\n", "", SERVED).replace("targets:", old)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"variables .* are expanded only in"):
        load(path)
    engine = OpenAi.of(load(path, saved=True).scenario)
    assert engine.body == {"api_key": "${api_key}"}
    assert engine.environment == {"DB_PWD": "${DB_PWD}"}  # earlier versions wrote that in the clear


def test_a_text_around_a_secret_stays(tmp_path: Path) -> None:
    text = SERVED.replace('EMPTY: ""', 'A: "https://h/x?token=planted&n=8"').replace(
        "--x]", '--x, "https://h?sig=planted"]'
    )
    engine = OpenAi.of(without_secrets(load_text(tmp_path, text).scenario))
    assert engine.environment["A"] == "https://h/x?token=${TOKEN}&n=8"
    assert engine.arguments[3] == "https://h?sig=${SIGNING_KEY}"
    url = re.sub(
        r"  server:.*\n  arguments:.*\n  environment:.*",
        "  url: https://u:p@planted@h/x?api_key=planted",
        SERVED,
    )
    masked = OpenAi.of(without_secrets(load_text(tmp_path, url).scenario))
    assert masked.url == "https://(not shown)@h/x?api_key=${API_KEY}"
