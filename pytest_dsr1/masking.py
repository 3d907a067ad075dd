"""Secrets among the settings of a run: how they are recognized, and what is written instead of them.

A secret never reaches a saved file, a page or the terminal. The name of a variable is written instead, to
be exported before the saved script or scenario is used again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_dsr1.text import VARIABLE

NOT_SHOWN = "(not shown)"
LEAST = 8
"""The fewest characters of a secret that is looked for in other text, where shorter ones stand by chance."""

_NAME = re.compile(
    r"SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|BEARER|AUTHORIZATION|(?:API|ACCESS|PRIVATE)[_.-]?KEY"
    # Not MAX_NUM_TOKENS and TOKENIZER_MODE, nor options of models such as eos_token_id and --token-map.
    r"|TOKEN(?!S|I[ZS]|[_-](?:ID|INDEX|MAP|TREE|TYPE|BUDGET|LIMIT|COUNT|USAGE|SIZE|DROP|PARALLEL))"
    r"|(?:^|[_.-])KEYS?(?:[_-]?\d+)?$"  # not MONKEY, KEYBOARD, KEY_CACHE_DTYPE
    r"|(?:^|[_.-]|O)AUTH(?![A-Z])"  # not AUTHOR
    r"|(?:^|[_.-])PASS$|[_.-]PWD$",  # not PASS_THROUGH, nor PWD, the folder
    re.IGNORECASE,
)
_NO_SECRETS = frozenset({"", "0", "1", "true", "false", "on", "off", "yes", "no", "none", "auto"})
"""Values of switches, such as HF_HUB_DISABLE_IMPLICIT_TOKEN=1."""
_USER = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_VALUE = re.compile(
    r"\b(?:hf_|sk-|nvapi-|gh[opsu]_|github_pat_|glpat-|xox[abp]-)[A-Za-z0-9_-]{16,}"
    r"|\bAKIA[A-Z0-9]{16}\b|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]{10,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""Keys of Hugging Face, OpenAI, NVIDIA, GitHub, GitLab, Slack and AWS, JSON web tokens, private keys."""


def names_secret(name: str) -> bool:
    """Return whether a variable, key or option with this name holds a secret."""
    return _NAME.search(name) is not None


def is_secret(name: str, value: str) -> bool:
    """Return whether the value of a variable is a secret, by its name or by its form.

    The value of a switch is not one, nor is the name of another variable (``${NAME}``).
    """
    if value.lower() in _NO_SECRETS or VARIABLE.fullmatch(value):
        return False
    if re.fullmatch(r"[\d.]{1,8}", value) and not re.search("SECRET|PASS|PWD", name, re.IGNORECASE):
        return False  # a number of tokens or keys
    return names_secret(name) or without_secrets(value) != value


def without_secrets(text: str) -> str:
    """Return a text without what has the form of a secret: known keys, and users in addresses."""
    return _VALUE.sub(NOT_SHOWN, _USER.sub(NOT_SHOWN, text))


def variable(name: str) -> str:
    """Return the variable that stands for a secret: ``${API_KEY}`` for the option ``--api-key``."""
    return "${" + re.sub(r"\W", "_", name.lstrip("-")) + "}"


def masked_words(words: Iterable[str]) -> list[str]:
    """Return the words of a command with a variable instead of each secret.

    A secret is the word after an option that names one, the value in ``--name=value`` or ``NAME=value``, or a
    part of any word that has the form of one.
    """
    masked: list[str] = []
    option = ""
    for word in words:
        name, equals, value = word.partition("=")
        if option and not word.startswith("-"):
            masked.append(_masked(option, word))
        elif equals and re.fullmatch(r"[\w.-]+", name) and is_secret(name, value):
            masked.append(f"{name}={_masked(name, value)}")
        else:
            masked.append(without_secrets(word))
        option = word if re.fullmatch(r"--?[A-Za-z][\w.-]*", word) and names_secret(word) else ""
    return masked


def secrets_of(variables: Mapping[str, str], words: Sequence[str]) -> dict[str, str]:
    """Return what a process must not be quoted with: each secret, and what to write instead.

    Paths that exist and values of fewer than ``LEAST`` characters are left out.

    Args:
        variables: its environment.
        words: its command.
    """
    found: dict[str, str] = {}
    for name, value in variables.items():
        if is_secret(name, value):
            found |= dict.fromkeys([value] if names_secret(name) else _parts(value), variable(name))
    for word, shown in zip(words, masked_words(words), strict=True):
        begin = shown.rfind("${")
        if word == shown:
            continue
        if begin >= 0 and word.startswith(shown[:begin]):
            found[word[begin:]] = shown[begin:]
        else:
            found |= dict.fromkeys(_parts(word), NOT_SHOWN)
    return {
        value: shown
        for value, shown in found.items()
        if len(value) >= LEAST and not os.access(value, os.F_OK)
    }


def _parts(text: str) -> Iterator[str]:
    """Yield what has the form of a secret in a text."""
    yield from _VALUE.findall(text)
    for user in _USER.findall(text):
        yield from (user, user.partition(":")[2])


def _masked(option: str, value: str) -> str:
    name = option if option.lstrip("-") != option.lstrip("-").lower() else option.upper()
    return variable(name) if is_secret(option, value) else value
