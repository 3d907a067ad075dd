"""Secrets among settings: what is one by its name or its form, and what is not."""

from __future__ import annotations

import pytest

from pytest_dsr1.masking import is_secret, masked_words, names_secret, secrets_of, variable, without_secrets

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
