"""The acceptance length that TensorRT-LLM forces, with an environment variable.

The variable has the accepted draft tokens, which is the acceptance length minus 1 (#9371, merged on
2025-11-26). At first it was a whole number; anything else was a line in the log, and natural acceptance.
Since #13569 (spring 2026; its parser and tests were read) it may have a fraction, which is the probability of
one more token in a step. 0 forces nothing. A value above the draft tokens counts as that many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from pytest_dsr1.engines.trtllm_options.dialects import Dialect, version_of
from pytest_dsr1.engines.trtllm_options.names import Version
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.schema.scenario import Scenario

VARIABLE = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
_WHOLE: Version = (1, 2)
"""Deduced from the date of #9371."""
_FRACTION: Version = (1, 3, 15)
"""1.3.0rc15 of 2026-05-21 is the first whose release notes, as others quote them, name #13569."""


def cannot_force(acceptance_length: float) -> str | None:
    """Return why TensorRT-LLM cannot force this acceptance length; None if it can."""
    if acceptance_length > 1:
        return None
    return "expected more than 1, because TensorRT-LLM cannot reject every draft token; found 1"


def forced_length(accepted_drafts: str) -> float | None:
    """Return the acceptance length that a value of the variable forces; None if it forces none."""
    try:
        accepted = float(accepted_drafts)
    except ValueError:
        return None
    return accepted + 1 if accepted > 0 else None


_OF_A_SHELL = ("$", "`")
"""The start of a value that only a shell knows: ``$NAME``, ``$(command)``."""


def places_of(
    variable: str,
    environ: Mapping[str, str],
    environment: Mapping[str, str],
    words: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, str | None]]:
    """Yield each place that sets a variable, and the value; None if only a shell knows it.

    Args:
        variable: its name.
        environ: the environment of pytest, which counts where the scenario does not set the variable.
        environment: the scenario's `engine.environment`.
        words: the words of the command, by the scenario's key that has them. They may set it as in
            ``env NAME=2`` and ``docker -e NAME=2``. ``${NAME}`` is expanded before the run.
    """
    if variable in environment:
        yield f"engine.environment.{variable}", environment[variable]
    elif variable in environ:
        yield variable, environ[variable]
    for key, those in words.items():
        for word in those:
            for value in re.findall(rf"(?<![\w-]){variable}=[\"']?([\w.+-]+|\$(?!\{{)|`)", word):
                yield key, None if value in _OF_A_SHELL else value


def forced_by_hand(
    environ: Mapping[str, str],
    environment: Mapping[str, str],
    options: LlmApiOptions,
    words: Mapping[str, Sequence[str]],
) -> Iterator[tuple[str, float | None]]:
    """Yield each place that sets the variable, and the acceptance length that it forces; None if unknown.

    Args:
        environ: see :func:`places_of`; so are ``environment`` and ``words``.
        environment: the scenario's `engine.environment`.
        options: the scenario's options of the LLM API, which can set variables, too.
        words: the words of the command.
    """
    free = (options.unchecked or {}).get("env_overrides")
    places = [
        *places_of(VARIABLE, environ, environment, words),
        ("engine.llm_api.env_overrides", str((options.env_overrides or {}).get(VARIABLE))),
        ("engine.llm_api.unchecked", str(free.get(VARIABLE) if isinstance(free, dict) else None)),
    ]
    for place, value in places:
        length = None if value is None else forced_length(value)
        if value is None or length is not None:
            yield place, length


def forcing_variables(scenario: Scenario, installed: str | None, dialect: Dialect) -> dict[str, str]:
    """Return the variable that forces the scenario's acceptance length; empty if it forces none.

    Args:
        scenario: the scenario.
        installed: the version of TensorRT-LLM; None if it is unknown.
        dialect: counts for an unknown version.

    Raises:
        UserError: this version would ignore the variable.
    """
    if scenario.speculation is None:
        return {}
    accepted = scenario.speculation.acceptance_length - 1
    since = _WHOLE if accepted.is_integer() else _FRACTION
    version = version_of(installed) if installed else dialect.version
    if version < since[: len(version)]:  # a version without its build may be any build
        fraction = "" if accepted.is_integer() else ", and only whole numbers before 1.3.0rc15"
        raise UserError(
            f"{scenario.name}: speculation.acceptance_length: TensorRT-LLM {installed or dialect} does not "
            f"force {accepted + 1:.10g} tokens per step: it forces none before 1.2{fraction}; use a newer "
            "TensorRT-LLM, or remove the key"
        )
    return {VARIABLE: f"{accepted:.10g}"}
