"""Secrets among settings: what is one by its name or its form, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.masking import (
    NOT_SHOWN,
    hides,
    is_secret,
    masked_fact,
    masked_setting,
    masked_tree,
    masked_words,
    secrets_of,
    variable,
    without_secrets,
)
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.secret_names import names_secret

SECRET = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HFTOKEN",
    "authToken",
    "--hf-token",
    "GITHUB_TOKEN_RO",
    "VLLM_API_KEY",
    "NGC_CLI_API_KEY",
    "apiKey",
    "api-key",
    "API_KEYS",
    "KEY",
    "SSH_KEY",
    "SSH_KEY_2",
    "AWS_SECRET_ACCESS_KEY",
    "PGPASSWORD",
    "DB_PASSWD",
    "SSH_PASSPHRASE",
    "BASIC_AUTH",
    "OAUTH",
    "AUTH",
    "PROXY-AUTH",
    "HTTP_AUTHORIZATION",
    "MY_PASS",
    "DB_PWD",
    "credentials",
    "HF_TOKENS",
    "API_TOKENS",
    "hf_tokens",
    "TS_AUTHKEY",
    "GITHUB_PAT",
    "AWS_CREDS",
    "AWS_ACCESS_KEY_ID",
    "PGPASS",
    "USERPASS",
    "DB_PASS_2",
    "BASICAUTH",
    "COOKIE",
    "Set-Cookie",
    "session_cookies",
    "signingKey",
    "encryptionKey",
    "ENCRYPTION_KEY_B64",
    "authHeader",
    "httpAuth",
    "dbPwd",
    "SESSION_JWT",
    "x-api-key",
]
PLAIN = [
    "TOKENIZERS_PARALLELISM",
    "VLLM_MAX_NUM_TOKENS",
    "tokens_per_block",
    "tokenizer_mode",
    "eos_token_id",
    "--token-map",
    "MONKEY",
    "KEYBOARD",
    "KEY_CACHE_DTYPE",
    "HOTKEY",
    "AUTHOR",
    "MAX_TOKENS",
    "max_num_tokens",
    "min_tokens",
    "stop_token_ids",
    "special_tokens",
    "PASSES",
    "passes",
    "compass",
    "bypass",
    "forward_pass",
    "author",
    "PATH",
    "pattern",
    "api_key_env",
    "--auth-token-file",
    "--ssl-keyfile",
    "--token-scheduler",
    "--first-token-policy",
    "--next-token-prediction",
    "--draft-token-sampler",
    "--hf-token-dtype",
    "--kv-cache-key",
    "VLLM_TOKEN_SCHED",
    "PWD",
    "OLDPWD",
    "COMPASS",
    "PASS_THROUGH",
    "NCCL_DEBUG",
    "CUDA_VISIBLE_DEVICES",
]


@pytest.mark.parametrize("name", SECRET)
def test_names_of_secrets(name: str) -> None:
    assert names_secret(name)
    assert is_secret(name, "planted")


@pytest.mark.parametrize("name", PLAIN)
def test_names_of_other_settings(name: str) -> None:
    assert not is_secret(name, "planted")


def test_switches_numbers_and_references_are_no_secrets() -> None:
    assert not is_secret("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert not is_secret("USE_AUTH", "False")
    assert not is_secret("PAD_TOKEN", "151643")
    assert not is_secret("HF_TOKEN", "${OTHER}")
    assert is_secret("DB_PASSWORD", "1234")


@pytest.mark.parametrize(
    "value",
    [
        "$planted",
        "$Passw0rd",
        "$1rst",
        "$UPPER-lower",
        "${HF_TOKEN:-planted}",
        "${2nd}",
        "${}",
        "x${HF_TOKEN}",
    ],
)
def test_a_password_may_begin_with_a_dollar(value: str) -> None:
    assert hides("DB_PASSWORD", value)
    assert value not in without_secrets(f"DB_PASSWORD={value}\n")
    assert masked_tree({"password": value}) == {"password": NOT_SHOWN}
    assert masked_setting(f"engine.environment.DB_PASSWORD={value}") == (
        "engine.environment.DB_PASSWORD=${DB_PASSWORD}"
    )


@pytest.mark.parametrize(
    "value", ["$HF_TOKEN", "$_A1", "${HF_TOKEN}", "${api_key}", "${A}${B}", "${HF_TOKEN:?export it first}"]
)
def test_a_value_that_only_names_variables_is_no_secret(value: str) -> None:
    assert not hides("DB_PASSWORD", value)
    assert masked_tree({"password": value}) == {"password": value}


@pytest.mark.parametrize(
    "value",
    [
        "hf_abcdefghijklmnopqrst",
        "sk-proj-abcdefghijklmnop",
        "nvapi-abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrst",
        "AKIAABCDEFGHIJKLMNOP",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
        "-----BEGIN RSA PRIVATE KEY-----",
        "http://me:planted@proxy:8080",
    ],
)
def test_values_with_the_form_of_a_secret(value: str) -> None:
    assert is_secret("ANY", value)
    assert value not in without_secrets(f"a {value} b")


def test_words_of_a_command() -> None:
    words = [
        "env",
        "HF_TOKEN=a",
        "serve",
        "--api-key",
        "b",
        "--auth=c",
        "--token",
        "--x",
        "--y=1",
        "http://u:d@h",
    ]
    assert masked_words(words) == [
        *(
            "env",
            "HF_TOKEN=${HF_TOKEN}",
            "serve",
            "--api-key",
            "${API_KEY}",
            "--auth=${AUTH}",
            "--token",
            "--x",
        ),
        *("--y=1", "http://(not shown)@h"),
    ]
    assert masked_words(["--eos-token-id", "5", "--hf-token", "1"]) == [
        "--eos-token-id",
        "5",
        "--hf-token",
        "1",
    ]
    assert variable("--hf.token") == "${hf_token}"


@given(
    st.sampled_from([n for n in SECRET if n.replace("_", "").isalnum()]), st.sampled_from(["", "MY_", "x-"])
)
def test_a_prefix_does_not_hide_the_name_of_a_secret(name: str, prefix: str) -> None:
    assert names_secret(prefix + name)
    assert "planted" not in str(masked_tree({prefix + name: ["planted", {"a": "planted"}]}))


@given(st.sampled_from(PLAIN), st.text(max_size=8))
def test_the_value_of_another_setting_stays(name: str, value: str) -> None:
    plain = {name: f"x{value}".replace(":", "").replace("@", "")}
    assert masked_tree(plain) == plain


def test_no_key_of_the_schema_is_the_name_of_a_secret() -> None:
    """Its value would be missing in the fingerprint."""
    assert [path for path, _ in json_schema.fields() if names_secret(str(path[-1]))] == []


@pytest.mark.parametrize(
    ("words", "masked"),
    [
        (
            "bash|-c|HF_TOKEN=x exec vllm serve m --n 8",
            "bash|-c|HF_TOKEN=${HF_TOKEN} exec vllm serve m --n 8",
        ),
        ("ssh|h|HF_TOKEN=x vllm serve m", "ssh|h|HF_TOKEN=${HF_TOKEN} vllm serve m"),
        ("sh|-c|HF_TOKEN=x;exec vllm", "sh|-c|HF_TOKEN=${HF_TOKEN};exec vllm"),
        ("sh|-c|export HF_TOKEN='x y' && vllm --n 8", "sh|-c|export HF_TOKEN='${HF_TOKEN}' && vllm --n 8"),
        ('sh|-c|env "HF_TOKEN=x y" vllm "--n" 8', 'sh|-c|env "HF_TOKEN=${HF_TOKEN}" vllm "--n" 8'),
        ("sh|-c|vllm --api-key x --n 8", "sh|-c|vllm --api-key ${API_KEY} --n 8"),
        ("sh|-c|curl -H 'x-api-key: x' u --n 8", "sh|-c|curl -H 'x-api-key: ${X_API_KEY}' u --n 8"),
        ("sbatch|--wrap=HF_TOKEN=x vllm --n 8", "sbatch|--wrap=HF_TOKEN=${HF_TOKEN} vllm --n 8"),
        (
            "env|-i|A=1|DB_PASSWORD=x y|serve|DB_MODE=a b",
            "env|-i|A=1|DB_PASSWORD=${DB_PASSWORD}|serve|DB_MODE=a b",
        ),
        ("--api-key|x|y|--n|8", "--api-key|${API_KEY}|${API_KEY_2}|--n|8"),
        ("--hf-token|x|model", "--hf-token|${HF_TOKEN}|model"),
        ("--password=x y", "--password=${PASSWORD}"),
        ("--env=HF_TOKEN=x", "--env=HF_TOKEN=${HF_TOKEN}"),
        ("-e|HF_TOKEN=x y", "-e|HF_TOKEN=${HF_TOKEN}"),
        ("srun|--export=ALL,HF_TOKEN=x,PATH|m", "srun|--export=ALL,HF_TOKEN=${HF_TOKEN},PATH|m"),
        ("--header|Authorization: Bearer x", "--header|Authorization: Bearer ${Authorization}"),
        ("--header=Cookie: a=x; b=y", "--header=Cookie: ${Cookie}"),
        ('--cfg|{"api_key": "x", "n": 8}', '--cfg|{"api_key": "${API_KEY}", "n": 8}'),
        ('--cfg={"auth":{"v":"x"},"n":8}', '--cfg={"auth":{"v":"${AUTH}"},"n":8}'),
        ("{api_key: x, n: 8}", "{api_key: ${API_KEY}, n: 8}"),
        ("https://h/x?token=x&n=8", "https://h/x?token=${TOKEN}&n=8"),
        ("http://u:p@x@h/y", "http://(not shown)@h/y"),
        ("http://u:a/x@h/y", "http://(not shown)@h/y"),
        ("http://h:80/@scope/y", "http://h:80/@scope/y"),
        ("a -----BEGIN PRIVATE KEY-----\nx\n-----END PRIVATE KEY----- b", "a (not shown) b"),
        ("--auth-token-file|/x|--token-scheduler|fcfs", "--auth-token-file|/x|--token-scheduler|fcfs"),
        ("HF_TOKEN=$OTHER|--api-key|${X}", "HF_TOKEN=$OTHER|--api-key|${X}"),
    ],
)
def test_only_the_secret_in_a_word_is_replaced(words: str, masked: str) -> None:
    """What is left decides whether two commands are the same for a gate."""
    found = masked_words(words.split("|"))
    assert "|".join(found) == masked
    assert masked_words(found) == found  # what was saved is compared with what is masked now


def test_what_a_secret_contains_does_not_show() -> None:
    assert masked_tree({"api_key": "sk-aaaaaaaaaaaaaaaaaaaaaa/REST"}) == {"api_key": "(not shown)"}
    assert masked_tree({"password": 123454321, "max_tokens": 12, "auth": {"user": "me", "on": True}}) == {
        "password": "(not shown)",
        "max_tokens": 12,
        "auth": {"user": "(not shown)", "on": True},
    }
    assert masked_tree([{"name": "HF_TOKEN", "value": "x"}, {"name": "A", "value": "y"}]) == [
        {"name": "HF_TOKEN", "value": "(not shown)"},
        {"name": "A", "value": "y"},
    ]
    assert masked_tree({"env": ["HF_TOKEN=x"], "args": ["--api-key", "x", "--n", "8"]}) == {
        "env": ["HF_TOKEN=(not shown)"],
        "args": ["--api-key", "(not shown)", "--n", "8"],
    }


_PIECES = [
    "HF_TOKEN=",
    "--api-key ",
    "planted",
    " ",
    '"',
    "'",
    ": ",
    "token",
    "(not shown)",
    "${A}",
    "{",
    "}",
    "://",
]


@given(
    st.lists(
        st.sampled_from([*_PIECES, "Authorization: ", "\n  ", "@", "?key=", "Bearer ", "\n", ",", "\\"]),
        max_size=12,
    ).map("".join)
)
def test_what_is_masked_stays_as_it_is(text: str) -> None:
    once = without_secrets(text)
    assert without_secrets(once) == once


def test_facts_and_overrides() -> None:
    assert masked_fact("option.engine.environment.HF_TOKEN", "x") == "${HF_TOKEN}"
    assert masked_fact("option.engine.environment.MODE", None) is None
    of_role = "option.engine.disaggregated.context.environment"
    assert masked_fact(f"{of_role}.HF_TOKEN", "x") == "${HF_TOKEN}"
    assert masked_fact(f"{of_role}.NCCL_PROXY", "https://a:pass@b") == "https://(not shown)@b"
    assert masked_fact("option.engine.body.auth.value", "x") == "(not shown)"
    assert masked_fact("file.my-tokens.yaml.a", "x") == "x"
    assert masked_fact("file.o.yaml.api_keys.alice", "x") == "(not shown)"
    assert masked_fact("gpu.name", "a") == "a"
    assert masked_setting("engine.environment.WANDB_API_KEY=x") == (
        "engine.environment.WANDB_API_KEY=${WANDB_API_KEY}"
    )
    assert masked_setting("engine.environment={HF_TOKEN: x, A: b}") == (
        "engine.environment={HF_TOKEN: ${HF_TOKEN}, A: b}"
    )
    assert masked_setting("load.concurrency=4") == "load.concurrency=4"


def test_the_secrets_of_a_process() -> None:
    variables = {
        "HF_TOKEN": "planted-token",
        "PROXY": "http://me:planted-pass@proxy:8080",
        "NOTE": "see sk-planted0123456789abc for more",
        "SHORT_TOKEN": "default",
        "SSH_AUTH_SOCK": "/tmp",
        "MODE": "throughput",
        "MAX_NUM_TOKENS": "123456789",
    }
    words = ["env", "DB_PASSWD=planted-word", "serve", "--api-key", "planted-key", "http://u:planted-user@h"]
    assert secrets_of(variables, words) == {
        "planted-token": "${HF_TOKEN}",
        "me:planted-pass": "${PROXY}",
        "planted-pass": "${PROXY}",
        "sk-planted0123456789abc": "${NOTE}",
        "planted-word": "${DB_PASSWD}",
        "planted-key": "${API_KEY}",
        "u:planted-user": "(not shown)",
        "planted-user": "(not shown)",
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"api_key":"planted-json","n":8}',
        '{"api_key": "planted-json", "n": 8}',
        '{"name":"Zürich","api_key":"planted-json"}',
    ],
)
def test_a_secret_in_json_is_known_whatever_the_style(text: str) -> None:
    assert secrets_of({}, ["serve", "--kv-transfer-config", text]).keys() == {"planted-json"}
    assert secrets_of({"SETTINGS": text}, []).keys() == {"planted-json"}
