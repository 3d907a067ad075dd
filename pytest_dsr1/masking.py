"""Secrets among the settings of a run: how they are recognized, and what is written instead of them.

A secret never reaches a saved file, a page or the terminal. Where variables are expanded, the name of a
variable is written instead, to be exported before the saved script or scenario is used again; elsewhere
:data:`NOT_SHOWN`. Only the secret itself is replaced, because what is left is compared with other runs.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_dsr1.secret_names import names_secret, surely_secret
from pytest_dsr1.text import expanding_word

NOT_SHOWN = "(not shown)"
LEAST = 8
"""The fewest characters of a secret that is looked for in other text, where shorter ones stand by chance."""
Mark = Callable[[str], str]
"""Returns what is written instead of the secret with a name."""

_SWITCHES = frozenset({"", "0", "1", "true", "false", "on", "off", "yes", "no", "none", "null", "auto"})
"""Values of switches, such as HF_HUB_DISABLE_IMPLICIT_TOKEN=1."""
_REFERENCE = re.compile(r"(?:\$\{[A-Za-z_]\w*(?::?\?[^}]*)?\})+|\$[A-Z_][A-Z0-9_]*", re.ASCII)
"""Names of variables, for a shell also with the message for an unset one: ``${NAME:?export it first}``."""
_VARIABLE = re.compile(r"option\.engine\.(?:.+\.)?environment\.(\w+)")
"""The name of a fact about a variable of an engine's environment, or of one of its servers."""
_MARK = re.compile(r"\$\{\w+\}|\(not shown\)")
_NAMES = ("name", "key", "header")
"""The keys of a mapping whose text names what its key ``value`` has."""

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
)
_FORM = re.compile(
    r"\b(?:hf_|sk-|sk_live_|nvapi-|gh[oprsu]_|github_pat_|glpat-|xox[abp]-|xapp-|gsk_|npm_|pypi-|dckr_pat_|r8_)"
    r"[A-Za-z0-9_-]{16,}|\bA[KS]IA[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}"
    r"|\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_.-]{10,}"
)
"""Keys of Hugging Face, OpenAI, Stripe, NVIDIA, GitHub, GitLab, Slack, Groq, npm, PyPI, Docker, Replicate,
AWS and Google, and JSON web tokens."""
_USER = re.compile(r"""(?<=://)(?:[^\s/?#"'<>]*@|[^\s/?#@:"'<>]+:(?!\d*(?:[/?#\s"'<>]|$))[^\s"'<>?]*@)""")
"""User and password in an address; a password may contain ``@`` or ``/``, although it should not."""
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|Digest|ApiKey|Negotiate)[ \t]+", re.IGNORECASE)
_BEARER = re.compile(
    r"""\b((?:Bearer|Basic)[ \t]+)(?=[^\s"',;]*[\d_=.-]|[^\s"',;]{16})[A-Za-z0-9_.+/=~-]{8,}""", re.IGNORECASE
)
_SIGNED = re.compile(
    r"""((?<=[?&])(?:sig|signature|X-Amz-Signature)=)(?!\(not shown)([^&#\s"']+)""", re.IGNORECASE
)
_BLOCK = re.compile(
    r"^(([ \t]*)(?:- )?([A-Za-z_][\w.-]*):)[ \t]*(?:[|>][+-]?[ \t]*)?\n(?:(?:\2[ \t]+\S.*|\2- .*)(?:\n|\Z))+",
    re.MULTILINE,
)
"""A key of YAML with a list, a mapping or a text below it."""
_LINE = re.compile(r"^([ \t]*(?:- )?([A-Za-z_][\w.-]*):[ \t]+)([^\s{\[].*)$", re.MULTILINE)
"""A line of YAML or a header, as a whole."""
_NAMED = re.compile(
    r"""(?<![A-Za-z0-9_.-])(?P<name>-{0,2}[A-Za-z_][A-Za-z0-9_.-]*)"""
    r"""(?P<sep>\\?["']\s*:\s*(?![{\[\s])|=|:[ \t]+(?![{\[\s])|:(?=["'])|[ \t]+(?=[^\s-]))"""
)
"""A name and what separates it from its value, in any text."""
_WORD = re.compile(r"""(?:\\.|"[^"]*"|'[^']*'|[^\s"';&|<>])+""")
_WORD_IN_QUOTES = re.compile(r"""(?:\\[^"']|[^\s"'\\;&|<>])+""")
_MEMBER = re.compile(r"""(?:\$\{\w+\}|[^\s"',;}\]])+""")
"""A value of YAML in one line, or of a header."""
_OTHERS = re.compile(r",(?=[A-Za-z_]\w*=|[A-Z_][A-Z0-9_]*(?:,|$))")
"""The end of a variable in ``srun --export=ALL,HF_TOKEN=x,PATH``."""
_NAME = re.compile(r"-{0,2}[A-Za-z_][A-Za-z0-9_.-]*")
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
_SETS = re.compile(r"--?(?:e|env|setenv|x|build-arg)")
"""Options of docker, podman, apptainer and mpirun that set a variable."""
_RUNS_SCRIPT = re.compile(r"-[A-Za-z]*c")
"""The option of a shell after which a word is a script."""
_SEVERAL = re.compile(r"(?:api[_-]?key|keys|tokens|secrets|passwords|cookies|credentials)$", re.IGNORECASE)
"""Options with any number of values: vLLM's ``--api-key``."""


def hides(name: str, value: str) -> bool:
    """Return whether the name says that the whole value is a secret.

    The value of a switch is not one, nor is a small number of tokens or keys, nor a value that only names
    variables: ``${NAME}``, and ``$NAME`` in capitals. Any other value with a ``$`` may be a password that
    begins with it, such as ``$planted``, or has one in it, such as ``${NAME:-password}``.
    """
    switch = value.strip("\"'").lower() in _SWITCHES
    if switch or value.startswith(NOT_SHOWN) or _REFERENCE.fullmatch(value):
        return False
    return names_secret(name) and (surely_secret(name) or not re.fullmatch(r"[\d.]{1,8}", value))


def is_secret(name: str, value: str) -> bool:
    """Return whether the value of a variable is or contains a secret, by its name or by its form."""
    return hides(name, value) or without_secrets(value) != value


def not_shown(_: str) -> str:
    """Return what stands for a secret where no variable is expanded."""
    return NOT_SHOWN


def variable(name: str) -> str:
    """Return the variable that stands for a secret: ``${api_key}`` for the option ``--api-key``."""
    bare = re.sub(r"[^A-Za-z0-9_]", "_", name.lstrip("-"))
    return f"${{{'_' * bare[:1].isdigit()}{bare}}}"


def exported(name: str) -> str:
    """Return the :func:`variable` of an option or key, in capitals unless the name has some."""
    return variable(name if name != name.lower() else name.upper())


def shell_value(name: str, value: str) -> str:
    """Return the value of a variable as a word of a shell; a secret has to be exported first."""
    if hides(name, value):
        return f'"${{{name}:?export it first}}"'
    return expanding_word(without_secrets(value, exported))


def without_secrets(text: str, mark: Mark = not_shown) -> str:
    """Return a text without the secrets in it: known by a name before them, or by their form.

    Args:
        text: any text: an address, a header, JSON, or a script of a shell.
        mark: returns what is written instead of a secret with a name.
    """
    shown = _without_json(_PRIVATE_KEY.sub(NOT_SHOWN, text), mark)
    shown = _BLOCK.sub(
        lambda block: f"{block[1]} {mark(block[3])}\n" if names_secret(block[3]) else block[0], shown
    )
    shown = _LINE.sub(lambda line: line[1] + _masked(line[2], line[3], mark), shown)
    shown = _without_named(shown, mark)
    shown = _SIGNED.sub(lambda one: one[1] + _masked("signing_key", one[2], mark), shown)
    shown = _BEARER.sub(lambda one: one[1] + mark("authorization"), shown)
    return _FORM.sub(NOT_SHOWN, _USER.sub(f"{NOT_SHOWN}@", shown))


def _masked(name: str, value: str, mark: Mark) -> str:
    """Return what is written instead of a value; a scheme such as ``Bearer`` stays."""
    scheme = _SCHEME.match(value)
    start = scheme[0] if scheme else ""
    return start + mark(name) if hides(name, value.removeprefix(start)) else value


def masked_tree(value: Any, mark: Mark = not_shown, name: str = "") -> Any:
    """Return plain data, such as that of a YAML file, without secrets.

    Everything under the name of a secret is one, as is the value in ``{name: HF_TOKEN, value: x}``.

    Args:
        value: the data.
        mark: returns what is written instead of a secret.
        name: of the secret that holds the data; empty if none does.
    """
    if isinstance(value, Mapping):
        named = next((value[key] for key in _NAMES if "value" in value and key in value), "")
        inner = {**dict.fromkeys(_NAMES, ""), "value": str(named)} if named else {}
        names = {key: name or inner.get(key, str(key)) for key in value}
        return {
            key: masked_tree(each, mark, names[key] if names_secret(names[key]) else "")
            for key, each in value.items()
        }
    if isinstance(value, list | tuple):
        words = not name and all(isinstance(item, str) for item in value)
        return masked_words(value, mark) if words else [masked_tree(item, mark, name) for item in value]
    if (
        name
        and value is not None
        and not isinstance(value, bool)
        and (isinstance(value, str) or surely_secret(name))
    ):
        return mark(name) if hides(name, str(value)) else value
    return without_secrets(value, mark) if isinstance(value, str) else value


def masked_words(words: Iterable[str], mark: Mark = exported) -> list[str]:
    """Return the words of a command without secrets.

    A secret is what follows an option that names one, the value in ``--name=value`` or ``NAME=value``, or the
    part of any word that :func:`without_secrets` finds.

    Args:
        words: of the command.
        mark: returns what is written instead of a secret; without one, a variable.
    """
    masked: list[str] = []
    option, values, previous, in_env = "", 0, "", False
    for word in words:
        name, equals, value = word.partition("=")
        is_option, assigns = word.startswith("-"), bool(equals) and _NAME.fullmatch(name) is not None
        in_env = previous.rpartition("/")[2] == "env" or (
            in_env and (previous.startswith("-") or "=" in previous)
        )
        # The value ends with the word, unless the word is a script: bash -c "HF_TOKEN=x exec vllm".
        whole = is_option or in_env or _SETS.fullmatch(previous) or not re.search(r"\s", value)
        if option and not is_option and (not values or (_SEVERAL.search(option) and "://" not in word)):
            values += 1
            masked.append(_masked(option if values == 1 else f"{option}_{values}", word, mark))
        elif assigns and whole and names_secret(name) and not _RUNS_SCRIPT.fullmatch(previous):
            masked.append(f"{name}={_masked(name, value, mark)}")
        elif assigns and _SETS.fullmatch(name):
            masked.append(f"{name}={masked_words(['env', value], mark)[1]}")
        else:
            masked.append(without_secrets(word, mark))
        if is_option:
            option, values = word if _OPTION.fullmatch(word) and names_secret(word) else "", 0
        previous = word
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
        if hides(name, value):
            found[value] = variable(name)
        else:
            parts = _replaced(value, without_secrets(value))
            found |= {part: variable(name) for part, _ in parts}
    for word, shown in zip(words, masked_words(words), strict=True):
        found |= dict(_replaced(word, shown))
    return {
        value: shown
        for value, shown in found.items()
        if len(value) >= LEAST and not os.access(value, os.F_OK)
    }


def _replaced(text: str, shown: str) -> Iterator[tuple[str, str]]:
    """Yield each part of a text that was masked, and what was written instead."""
    around, marks = _MARK.split(shown), _MARK.findall(shown)
    found = re.fullmatch("(.+?)".join(map(re.escape, around)), text, re.DOTALL) if text != shown else None
    for value, mark in zip(found.groups() if found else (), marks, strict=False):
        yield value, mark
        if mark == NOT_SHOWN and ":" in value:  # the password of a user
            yield value.partition(":")[2], mark


def masked_fact(key: str, value: Any) -> Any:
    """Return the value of a fact of a fingerprint without secrets; earlier versions saved them."""
    if (found := _VARIABLE.fullmatch(key)) and value is not None:
        name = found[1]
        return variable(name) if hides(name, str(value)) else without_secrets(str(value), exported)
    name = next(filter(names_secret, _free_keys(key)), "")
    words = isinstance(value, list) and not name
    return masked_words(map(str, value)) if words else masked_tree(value, name=name)


def fact_is_secret(key: str) -> bool:
    """Return whether a fact has no value because its name is one of a secret."""
    return any(map(names_secret, _free_keys(key)))


def _free_keys(fact: str) -> list[str]:
    """Return the keys in the name of a fact that a person chose: an option's, or one of a file's content."""
    if fact.startswith("option.engine."):
        return fact.split(".")[2:]
    path, *content = re.split(r"(?<=\.yaml)\.|(?<=\.yml)\.|(?<=\.json)\.", fact, maxsplit=1)
    return content[0].split(".") if path.startswith("file.") and content else []


def masked_at(path: Iterable[object], value: str) -> str:
    """Return the text at a path of a scenario without secrets, for a message."""
    return str(masked_tree(value, name=next(filter(names_secret, map(str, path)), "")))


def masked_setting(text: str) -> str:
    """Return a text such as ``engine.environment.HF_TOKEN=x`` without the secret in it.

    Without an equals sign, only what can be a key is shown.
    """
    key, equals, value = text.partition("=")
    if not equals:
        start = re.match(r"[\w.-]*", text.strip())
        rest = len(text.strip()) - (start.end() if start else 0)
        return f"{start[0] if start else ''}{'...' if rest else ''}"
    name = next((part for part in key.split(".") if names_secret(part)), "")
    return (
        f"{key}{equals}{_masked(name, value.strip(), exported) if name else without_secrets(value, exported)}"
    )


def _without_json(text: str, mark: Mark) -> str:
    """Return the text with masked values in the JSON objects and lists in it."""
    shown, at, decode = "", 0, json.JSONDecoder().raw_decode
    for found in re.finditer(r"\{(?=\s*\")|\[(?=\s*[{\"])", text):
        if found.start() < at:
            continue
        try:
            value, end = decode(text, found.start())
            masked = masked_tree(value, mark)
        except (ValueError, RecursionError):
            continue
        if masked != value:
            shown += text[at : found.start()] + _dumped(masked, value, text[found.start() : end])
            at = end
    return shown + text[at:]


def _dumped(masked: Any, value: Any, text: str) -> str:
    """Return the masked value as JSON in the style of the text, so that only the secrets differ."""
    for separators in ((", ", ": "), (",", ":")):
        for ascii_only in (True, False):
            if json.dumps(value, separators=separators, ensure_ascii=ascii_only) == text:
                return json.dumps(masked, separators=separators, ensure_ascii=ascii_only)
    return json.dumps(masked)


def _without_named(text: str, mark: Mark) -> str:
    """Return a text without the values after names: ``NAME=value``, ``"name": "value"``, ``--name value``."""
    shown, at, start = "", 0, 0
    while found := _NAMED.search(text, start):
        start = found.end("name")
        if not _separates(found):
            continue
        begins, ends = _value(text, found)
        masked = _masked(found["name"], text[begins:ends], mark)
        if masked != text[begins:ends]:
            shown += text[at:begins] + masked
            at = start = ends
    return shown + text[at:]


def _separates(found: re.Match[str]) -> bool:
    """Return whether what follows a name is the value of a secret; ``Unknown key: x`` is a sentence."""
    name, sep = found["name"], found["sep"]
    if not names_secret(name) or (sep.isspace() and not name.startswith("-")):
        return False
    return sep[0] != ":" or surely_secret(name) or bool(re.search(r"[_.-]|[a-z][A-Z]|ookie", name))


def _value(text: str, found: re.Match[str]) -> tuple[int, int]:
    """Return where a value begins and ends, without its quotes: as a shell, a header or JSON has it."""
    begins, sep, outer = found.end(), found["sep"], _quote_at(text, found.start())
    scheme = _SCHEME.match(text, begins)
    after = scheme.end() if scheme else begins
    if text.startswith(NOT_SHOWN, after):
        return begins, after + len(NOT_SHOWN)
    opened = re.compile(r"\\?[\"']").match(text, begins)
    if opened and (opened[0] != outer or sep[0] in "\\\"'"):
        closed = text.find(opened[0], opened.end())
        return opened.end(), len(text) if closed < 0 else closed
    if outer and sep[0] in "=:" and (sep != "=" or text[found.start() - 1] == outer):  # all of the quotes
        closed = text.find(outer, begins)
        return begins, len(text) if closed < 0 else closed
    if "ookie" in found["name"] and sep[0] == ":":
        return begins, begins + len(re.split(r"[\"'\n]", text[begins:], maxsplit=1)[0])
    value = (_WORD_IN_QUOTES if outer else _MEMBER if ":" in sep else _WORD).match(text, after)
    ends = value.end() if value else begins
    others = _OTHERS.search(text[begins:ends])
    return begins, begins + others.start() if others and sep == "=" else ends


def _quote_at(text: str, index: int) -> str:
    """Return the quote of a shell that is open at an index; empty if none is."""
    quote, escaped = "", False
    for char in text[:index]:
        if escaped:
            escaped = False
        elif char == "\\" and quote != "'":
            escaped = True
        elif char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
    return quote
