"""The command that starts a server, in the server's own terms."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.openai.acceptance import sglang_variables, with_vllm_forced
from pytest_dsr1.engines.openai.server.random_model import DUMMY_WEIGHTS, model_folder
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import Place, in_container, in_shell, step_variables, step_words
from pytest_dsr1.engines.trtllm_options.acceptance import forcing_variables
from pytest_dsr1.engines.trtllm_options.defaults import Asked, remarks
from pytest_dsr1.engines.trtllm_options.dialects import (
    Dialect,
    cannot_express,
    choose_dialect,
    inexpressible,
    newer_than_known,
    translate,
    version_of,
)
from pytest_dsr1.engines.trtllm_options.file import OPTIONS_FILE, file_lines, file_option
from pytest_dsr1.engines.trtllm_options.installed import installed_version
from pytest_dsr1.errors import UserError
from pytest_dsr1.machine.named_files import absolute_words
from pytest_dsr1.masking import masked_words, shell_value
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import expanding_word, shell_comment

_COMMANDS = {
    "trtllm-serve": ["trtllm-serve", "{model}", "--host", "{host}", "--port", "{port}"],
    "vllm": ["vllm", "serve", "{model}", "--host", "{host}", "--port", "{port}"],
    "sglang": [
        *(sys.executable, "-m", "sglang.launch_server"),
        *("--model-path", "{model}", "--host", "{host}", "--port", "{port}"),
    ],
    "transformers": ["transformers", "serve", "{model}", "--host", "{host}", "--port", "{port}"],
}
# Each server's names of the scenario's options; an option without a name is an error. transformers has none.
# Verified: trtllm-serve in TensorRT-LLM's commands/serve.py (1.2, commit 00209af1) and the commands of
# docs/source/commands/trtllm-serve.rst (autumn 2026, commit 0434755f); vllm 0.33.0, engine/arg_utils.py;
# SGLang 0.5.23, srt/arg_groups/fields/ (an option is its field's name with dashes).
_OPTIONS: dict[str, dict[str, str]] = {
    "trtllm-serve": {
        "tp": "--tp_size",
        "pp": "--pp_size",
        "ep": "--ep_size",
        "max_batch_size": "--max_batch_size",
        "max_num_tokens": "--max_num_tokens",
        "max_seq_len": "--max_seq_len",
        "gpu_memory_fraction": "--kv_cache_free_gpu_memory_fraction",
    },
    "vllm": {
        "tp": "--tensor-parallel-size",
        "pp": "--pipeline-parallel-size",
        "max_batch_size": "--max-num-seqs",
        "max_num_tokens": "--max-num-batched-tokens",
        "max_seq_len": "--max-model-len",
        "gpu_memory_fraction": "--gpu-memory-utilization",
    },
    "sglang": {
        "tp": "--tp-size",
        "pp": "--pp-size",
        "ep": "--ep-size",
        "max_batch_size": "--max-running-requests",
        "max_num_tokens": "--chunked-prefill-size",
        "max_seq_len": "--context-length",
        "gpu_memory_fraction": "--mem-fraction-static",
    },
    "transformers": {},
    "other": {},
}
_OPTION_KEYS = tuple(_OPTIONS["trtllm-serve"])


@dataclass(frozen=True, slots=True)
class LaunchCommand:
    """What starts a server.

    Attributes:
        argv: the program and its arguments, run in the folder of the job.
        step: what stands before it, so that Slurm starts it; else nothing.
        environment: variables in addition to those of pytest.
        options: the content of the options file in that folder; empty without one.
        file: its name.
        dialect: the names in the file; None without one.
        because: the version and how it is known, as a comment; empty without a file.
        warnings: sentences for the result.
    """

    argv: list[str]
    environment: dict[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    file: str = OPTIONS_FILE
    dialect: Dialect | None = None
    because: str = ""
    warnings: tuple[str, ...] = ()
    step: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The whole command line."""
        return [*self.step, *self.argv]

    def script(self) -> str:
        """Return a shell script that does the same by hand."""
        return "\n".join([*self.file_lines(), self.shell(), ""])

    def file_lines(self) -> list[str]:
        """Return the lines of a shell script that write the options file."""
        return file_lines(self.options, self.file)

    def comment(self) -> str:
        """Return what a plan says about the server, as comments."""
        rows = [f"pytest-dsr1 starts and stops this server: {self.shell()}", *self.file_lines()]
        rows += [f"warning: {warning}" for warning in self.warnings]
        return "\n".join([*filter(None, [self.because]), *map(shell_comment, rows)])

    def shell(self) -> str:
        """Return the command as a shell line; secrets are variables, to be exported first."""
        values = (f"{name}={shell_value(name, value)}" for name, value in self.environment.items())
        return " ".join([*values, *in_shell(self.step), *map(expanding_word, masked_words(self.argv))])


@dataclass(frozen=True, slots=True)
class Program:
    """The trtllm-serve that a scenario starts.

    Attributes:
        version: None if it is unknown.
        options: that it has; empty if it was not asked for them.
    """

    version: str | None
    options: frozenset[str] = frozenset()


def launch_command(
    scenario: Scenario,
    port: int,
    *,
    program: Program | None = None,
    report: str | None = None,
    host: str = "127.0.0.1",
    file: str = OPTIONS_FILE,
) -> LaunchCommand:
    """Return the command that serves the scenario's model at ``port``.

    Args:
        scenario: the scenario.
        port: the port; 0 for one that the server chooses.
        program: the trtllm-serve that is started; by default the one on PATH.
        report: the file for the address that the server chooses, in the folder of the job.
        host: the address at which it listens.
        file: the name of the options file.

    Raises:
        UserError: the server does not have one of the options.
    """
    engine = OpenAi.of(scenario)
    version = (program or program_here(engine)).version
    before = [*_words(scenario, engine, host, port), *_backend(engine, version)]
    words, environment = absolute_words([*before, *engine.arguments], Path.cwd()), dict(engine.environment)
    # The names of these two files stay as they are: pytest's folder may have files of the same names.
    words[len(before) : len(before)] = [] if report is None else ["--report_addr", report]
    if scenario.speculation is not None and engine.server == "vllm":
        words = with_vllm_forced(words, scenario.speculation.acceptance_length)
    environment |= _forcing_variables(scenario, engine, version)
    open_defaults = _remarks(engine, version)
    if not engine.llm_api.given:
        return LaunchCommand(words, environment, warnings=open_defaults)
    dialect, because = choose_dialect(engine.dialect, version)
    if problems := inexpressible(engine.llm_api, dialect):
        raise cannot_express(scenario.name, dialect, problems)
    words[len(before) : len(before)] = [file_option(dialect), file]
    newer = newer_than_known(version) if version and not engine.dialect else None
    return LaunchCommand(
        words,
        environment,
        options=translate(engine.llm_api, dialect),
        file=file,
        dialect=dialect,
        because=because,
        warnings=(*open_defaults, *filter(None, [newer])),
    )


def _forcing_variables(scenario: Scenario, engine: OpenAi, version: str | None) -> dict[str, str]:
    """Return the variables that force the scenario's acceptance length; vLLM has an option instead."""
    if scenario.speculation is None or engine.server == "vllm":
        return {}
    if engine.server == "sglang":
        return sglang_variables(scenario.speculation.acceptance_length)
    dialect, _ = choose_dialect(engine.dialect, version)
    return forcing_variables(scenario, version, dialect)


def _remarks(engine: OpenAi, version: str | None) -> tuple[str, ...]:
    """Return what the scenario leaves open in this version; nothing for a name that is not a version."""
    if engine.other_options:
        return ()
    asked = Asked(
        engine.llm_api,
        engine.environment,
        engine.max_batch_size,
        serves=True,
        arguments=engine.arguments,
    )
    return tuple(remarks(asked, version))


def in_step(
    command: LaunchCommand, job: Job, place: Place | None = None, without: str | None = None
) -> LaunchCommand:
    """Return the command as Slurm starts it on the scenario's nodes; the same on one node.

    ``place`` and ``without`` as in :func:`~pytest_dsr1.engines.slurm_step.step_words`.
    """
    variables = step_variables(job) | command.environment
    return replace(command, step=step_words(job, variables, place, without), environment=variables)


def program_here(engine: OpenAi) -> Program:
    """Return the trtllm-serve on PATH; one of an unknown version for other servers."""
    if engine.server != "trtllm-serve":
        return Program(None)
    search_path = {**os.environ, **engine.environment}.get("PATH", os.defpath)
    return Program(installed_version(engine.command or ["trtllm-serve"], search_path, "trtllm-serve"))


def planned_program(job: Job) -> Program | None:
    """Return the trtllm-serve of a plan: an unknown one in a container; None for that on PATH."""
    return Program(None) if in_container(job) else None


def _words(scenario: Scenario, engine: OpenAi, host: str, port: int) -> list[str]:
    """Return the server's command with the scenario's options, but without its own arguments."""
    names = _OPTIONS[engine.server]
    options: list[str] = []
    for key in _OPTION_KEYS:
        value = getattr(engine, key)
        if value is None:
            continue
        if key == "ep" and engine.server == "vllm":
            options += _vllm_experts(scenario.name, value, engine.tp or 1)
            continue
        if key not in names:
            raise UserError(
                f"{scenario.name}: engine.{key}: {engine.server} does not have this option; remove it, or "
                "set it in engine.arguments"
            )
        options += [names[key], str(value)]
    model = str(scenario.model.path or scenario.model.name)
    if scenario.model.random_weights is not None:
        model = str(model_folder(scenario, os.environ))
        options += DUMMY_WEIGHTS[engine.server]
    values = {"{host}": host, "{port}": str(port), "{model}": model}
    argv = []
    for argument in engine.command or _COMMANDS[engine.server]:
        for name, value in values.items():
            argument = argument.replace(name, value)  # noqa: PLW2901
        argv.append(argument)
    return [*argv, *options]


def _backend(engine: OpenAi, version: str | None) -> list[str]:
    """Return the option with which old versions of trtllm-serve run PyTorch instead of a TensorRT engine.

    1.0.0rc4 needs it (#7752). In 1.2 it is the default and the option is accepted; newer ones were not read.
    """
    given = any(word.partition("=")[0] == "--backend" for word in engine.arguments)
    if engine.command is not None or given or version is None:
        return []
    with contextlib.suppress(UserError):  # a build of one's own, whose name is not a version
        return ["--backend", "pytorch"] if version_of(version)[:2] < (1, 2) else []
    return []


def _vllm_experts(name: str, ep: int, tp: int) -> list[str]:
    """Return the flag, which has no value: vLLM spreads the experts over all ranks or over none."""
    if ep not in {1, tp}:
        raise UserError(
            f"{name}: engine.ep: vllm spreads the experts over all engine.tp ranks or none: expected {tp} "
            f"or 1, found {ep}; with data parallelism add --enable-expert-parallel to engine.arguments"
        )
    return ["--enable-expert-parallel"] if ep > 1 else []
