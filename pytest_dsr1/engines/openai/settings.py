"""The settings of the engine `openai`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag

from pytest_dsr1.engines.openai import acceptance
from pytest_dsr1.engines.openai.disaggregated import WRITES, Disaggregated, of_role
from pytest_dsr1.engines.trtllm_options.acceptance import cannot_force, forced_by_hand
from pytest_dsr1.engines.trtllm_options.answers import (
    DECIDED_BY,
    NAMES_BEFORE,
    SETTINGS_FOR,
    UNCHECKED_IN,
    Answers,
)
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.findings import Finding
from pytest_dsr1.masking import without_secrets
from pytest_dsr1.scenario.schema.base import ExpandedStr, ExpandedText, PositiveInt, VariableName
from pytest_dsr1.scenario.schema.engine import EngineSettings, KvCacheLimits, ModelSource
from pytest_dsr1.scenario.schema.rule import Answer, Purpose

_CHANGES_NO_MODEL = ("--no-", "--disable-", "-cc.pass_config.")
"""Prefixes of server arguments that do not change the model: they switch something off, or choose which
operations vLLM fuses when it compiles the model."""
_WITHOUT_GRAPHS = {"--enforce-eager", "--disable-cuda-graph"}
"""The arguments of vLLM and SGLang that switch CUDA graphs off."""


OTHER_OPTIONS = ("--config", "--extra_llm_api_options", "--set")
"""The arguments of trtllm-serve that give it further options of the LLM API."""


def _kind_of_url(value: object) -> str:
    return "array" if isinstance(value, list) else "string"


Urls = Annotated[
    Annotated[ExpandedStr, Tag("string")] | Annotated[list[ExpandedStr], Field(min_length=1), Tag("array")],
    Discriminator(_kind_of_url),
]
"""One address, or several. The tags are the types that the JSON Schema gives these forms."""


class OpenAi(EngineSettings):
    """Any OpenAI-compatible server: a running one (`url`), or one that pytest-dsr1 starts and stops. Takes `model.path`, or with vLLM and SGLang `model.random_weights`. Keeps a schedule (`load.arrival`, `load.ramp_s`, `load.duration_s`)."""  # noqa: E501

    type: Literal["openai"]
    """A server with OpenAI's API."""
    server: Literal["trtllm-serve", "vllm", "sglang", "transformers", "other"] = "other"
    """The kind of server: decides its command, the names of its options, and how to ask for exact output lengths."""  # noqa: E501
    url: Urls | None = None
    """The address of a running server, such as `http://host:8000`, without `/v1`; it is not started or stopped. A list divides the load evenly among several servers of one model."""  # noqa: E501
    command: Annotated[list[ExpandedText], Field(min_length=1)] | None = None
    """The command that starts the server, instead of the usual one; `{port}` and `{model}` in it are replaced."""  # noqa: E501
    arguments: list[ExpandedText] = Field(default_factory=list)
    """More arguments for the server's command. A relative path of a file, or of a folder with a slash, is relative to the folder in which pytest was started; the file's content is part of the fingerprint. A path in such a file is relative to the engine's own folder."""  # noqa: E501
    tp: PositiveInt | None = None
    """Tensor parallelism."""
    pp: PositiveInt | None = None
    """Pipeline parallelism."""
    ep: PositiveInt | None = None
    """Expert parallelism."""
    max_batch_size: PositiveInt | None = None
    """The most requests in one step."""
    max_num_tokens: PositiveInt | None = None
    """The most tokens in one step."""
    max_seq_len: PositiveInt | None = None
    """The longest sequence."""
    gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of GPU memory for the KV cache (TensorRT-LLM: of the memory left after the weights; vLLM and SGLang: for weights and cache together)."""  # noqa: E501
    llm_api: LlmApiOptions = Field(default_factory=LlmApiOptions)
    """Options of TensorRT-LLM's LLM API, only with `server: trtllm-serve`, which gets them in a file."""
    disaggregated: Disaggregated | None = None
    """With `server: trtllm-serve`: servers that read the inputs and servers that write the answers, instead of one that does both."""  # noqa: E501
    dialect: str | None = None
    """The TensorRT-LLM version whose names `llm_api` is written in, such as `1.2`; by default the installed one."""  # noqa: E501
    endpoint: Literal["completions", "chat"] = "completions"
    """`completions` sends text, or token ids with an exact input length; `chat` sends text through the chat template."""  # noqa: E501
    streaming: bool = True
    """Stream the answers; TTFT and TPOT need it."""
    exact_output: bool = True
    """Ask for exactly `output_tokens` tokens, and count an answer with another length as failed."""
    served_model: str | None = None
    """The model's name in requests; by default the first that the server lists."""
    body: dict[str, Any] = Field(default_factory=dict)
    """Fields to add to every request or to replace in it; null removes a field."""
    api_key_env: VariableName | None = None
    """The environment variable with the API key. The key is never written anywhere."""
    verify_tls: bool = True
    """Refuse a server whose certificate is not trusted."""
    ca_file: ExpandedStr | None = None
    """A PEM file with the certificate of the authority that signed the server's certificate."""
    environment: dict[VariableName, ExpandedText] = Field(default_factory=dict)
    """Environment variables of the server's command; with `disaggregated`, of the one that passes requests on."""  # noqa: E501
    startup_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """The longest time until the server is ready, in seconds."""
    silence_timeout_s: Annotated[float, Field(gt=0)] = 600.0
    """A request fails if the server sends nothing for this many seconds."""
    run_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The longest measured time in seconds; by default three times the planned time plus 10 minutes."""

    answers_questions: ClassVar[bool] = True
    keeps_schedules: ClassVar[bool] = True
    may_bring_model: ClassVar[bool] = True
    former_names: ClassVar[Mapping[str, str]] = NAMES_BEFORE
    unchecked_in: ClassVar[Mapping[str, str]] = {
        **UNCHECKED_IN,
        **{
            of_role(role, block): of_role(role, place)
            for role in Disaggregated.model_fields
            for block, place in UNCHECKED_IN.items()
        },
    }
    decided_by: ClassVar[Mapping[Answer, tuple[str, ...]]] = {
        **DECIDED_BY,
        "attached_url": ("engine.url",),
        "draft_tokens": (*DECIDED_BY["draft_tokens"], "engine.disaggregated"),
    }
    settings_for: ClassVar[Mapping[Purpose, str]] = {
        "kv_cache_memory": "engine.gpu_memory_fraction",
        "own_start": "engine.command or engine.server instead of engine.url",
        "slots": "engine.max_batch_size",
        "streaming": "engine.streaming: true",
    }

    @property
    def longest_start_s(self) -> float:
        """The limit of the start."""
        return self.startup_timeout_s

    @property
    def trtllm(self) -> Answers:
        """What TensorRT-LLM's options say, if the server is one of TensorRT-LLM."""
        return Answers(
            options=self.llm_api,
            tp=self.tp or 1,
            pp=self.pp or 1,
            max_batch_size=self.max_batch_size,
            memory_fraction=self.gpu_memory_fraction,
            memory_setting="engine.gpu_memory_fraction",
        )

    @property
    def roles(self) -> Mapping[str, OpenAi]:
        """The settings of a server of each role, as if it served alone; empty without `disaggregated`."""
        roles = {} if self.disaggregated is None else self.disaggregated.roles
        alone: dict[str, Any] = {"disaggregated": None}
        return {
            role: self.model_copy(update=alone | {key: each for key, each in servers if key != "servers"})
            for role, servers in roles.items()
        }

    @property
    def spans_nodes(self) -> Literal["evenly", "by server"] | None:
        """Only trtllm-serve, which MPI starts; its first rank, which serves, runs next to the client."""
        if self.server != "trtllm-serve" or self.url is not None:
            return None
        return "evenly" if self.disaggregated is None else "by server"

    def gpus_by_node(self, count: int, nodes: int) -> tuple[int, ...]:
        """Return the same number for each node; with `disaggregated` that of the server that is on it."""
        if self.disaggregated is None:
            return super().gpus_by_node(count, nodes)
        placed = self.disaggregated.placed(nodes)
        return tuple(each.per_node for each in placed for _ in range(each.nodes))

    @property
    def _answers(self) -> Answers | None:
        """What TensorRT-LLM's options say; None for another server, or one that has other options too."""
        if self.spans_nodes != "evenly":
            return None
        return None if self.other_options else self.trtllm

    @property
    def ranks(self) -> int:
        """The answer of TensorRT-LLM's options; 1 for other servers."""
        return 1 if self._answers is None else self._answers.ranks

    @property
    def slots(self) -> int | None:
        """The answer of TensorRT-LLM's options; unknown for other servers."""
        return None if self._answers is None else self._answers.slots

    @property
    def slots_reason(self) -> str:
        """The answer of TensorRT-LLM's options."""
        return "" if self._answers is None else self._answers.slots_reason

    @property
    def kv_cache_format(self) -> Literal["auto", "fp8", "bfloat16", "nvfp4"] | None:
        """The answer of TensorRT-LLM's options; unknown for other servers."""
        return None if self._answers is None else self._answers.kv_cache_format

    @property
    def kv_cache_limits(self) -> KvCacheLimits | None:
        """The answer of TensorRT-LLM's options; unknown for other servers."""
        return None if self._answers is None else self._answers.kv_cache_limits

    @property
    def streams(self) -> bool:
        """True unless the scenario switches it off."""
        return self.streaming

    @property
    def uses_chat_template(self) -> bool:
        """True for the endpoint `chat`."""
        return self.endpoint == "chat"

    @property
    def draft_tokens(self) -> int | None:
        """The answer of TensorRT-LLM's options; for other servers only the run shows it, in their metrics.

        Of disaggregated servers those that write the answers decide.
        """
        if self.disaggregated is not None:
            return self.roles[WRITES].draft_tokens
        return None if self._answers is None else self._answers.draft_tokens

    @property
    def other_options(self) -> list[str]:
        """The words of `arguments` that give trtllm-serve further options of the LLM API."""
        return [word for word in self.arguments if word.partition("=")[0] in OTHER_OPTIONS]

    @property
    def urls(self) -> tuple[str, ...]:
        """The addresses of the running servers; empty if pytest-dsr1 starts the server."""
        return (self.url,) if isinstance(self.url, str) else tuple(self.url or ())

    @property
    def attached_url(self) -> str | None:
        """The scenario's value, without secrets."""
        return " and ".join(map(without_secrets, self.urls)) or None

    @property
    def records_its_versions(self) -> bool:
        """Not: a server may run elsewhere, and its packages are not looked at."""
        return False

    @property
    def process_environments(self) -> tuple[Mapping[str, str], ...]:
        """The scenario's value; of disaggregated servers, that of the front end and of each role."""
        return (self.environment, *(each.environment for each in self.roles.values()))

    @property
    def command_words(self) -> tuple[str, ...]:
        """The scenario's command and arguments, for a server that is started."""
        return () if self.url is not None else (*(self.command or ()), *self.arguments)

    @property
    def measuring_limit_s(self) -> float | None:
        """The scenario's value."""
        return self.run_timeout_s

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """A checkpoint; random weights only with vLLM and SGLang."""
        return ("path", "random_weights") if self.server in {"vllm", "sglang"} else ("path",)

    @property
    def model_doubt(self) -> str | None:
        """A reason: another command, or more arguments."""
        if self.url is not None or self.command is not None:
            return "the server was started by the user's own command, which chooses the model"
        given = [word for word in self.arguments if not word.startswith(_CHANGES_NO_MODEL)]
        if given:
            return f"engine.arguments ({' '.join(given)}) may change the model"
        for role, alone in self.roles.items():
            if doubt := alone.model_doubt:
                return of_role(role, doubt)
        return None if self._answers is None else self._answers.model_doubt

    @property
    def quantizes_random_weights(self) -> bool:
        """True: servers make random weights from the configuration file."""
        return True

    def cannot_force(self, acceptance_length: float) -> str | None:
        """Return why the server cannot force it: each kind has its own way, a running server none."""
        if self.url is not None:
            return "not possible with `engine.url`, because that server is running"
        if self.server == "trtllm-serve":
            return cannot_force(acceptance_length)
        if self.server == "vllm":
            return acceptance.vllm_cannot_force(self.command_words, acceptance_length)
        if self.server == "sglang":
            return acceptance.sglang_cannot_force(self.command_words, acceptance_length)
        return f"not possible with `engine.server: {self.server}`, only with trtllm-serve, vllm or sglang"

    def forced_by_hand(self, environ: Mapping[str, str]) -> Iterator[tuple[str, float | None]]:
        """Look in the variables and arguments of every kind, because any command may start any of them."""
        if self.url is not None:
            return
        words = {"engine.command": self.command or (), "engine.arguments": self.arguments}
        yield from forced_by_hand(environ, self.environment, self.llm_api, words)
        yield from acceptance.sglang_forced_by_hand(environ, self.environment, words)
        yield from acceptance.vllm_forced_by_hand(self.command_words)
        for role, servers in (self.disaggregated.roles if self.disaggregated else {}).items():
            for place, length in forced_by_hand({}, servers.environment, servers.llm_api, {}):
                yield of_role(role, place), length

    def compile_caches(self, environ: Mapping[str, str]) -> Iterator[Path]:
        """Yield the caches of every kind of server, because any command may start any of them.

        They are those of vLLM and its DeepGEMM (vllm/envs.py, vllm/utils/deep_gemm.py), of TensorRT-LLM's
        DeepGEMM (deep_gemm/compiler.cuh), of DeepGEMM in older versions of SGLang, and of SGLang
        (sglang/srt/environ.py).
        """
        from pytest_dsr1.machine.warm_start import folder_named, home_folder, user_caches

        home = home_folder(environ)
        yield folder_named(environ, "VLLM_CACHE_ROOT", user_caches(environ) / "vllm")
        yield folder_named(environ, "TRTLLM_DG_CACHE_DIR", home / ".tensorrt_llm")
        yield folder_named(environ, "SGLANG_DG_CACHE_DIR", home / ".cache" / "deep_gemm")
        sglang = folder_named(environ, "SGLANG_CACHE_DIR", home / ".cache" / "sglang")
        yield sglang
        yield folder_named(environ, "SGLANG_JIT_CACHE_DIR", sglang)

    def setting_for(self, purpose: Purpose) -> str | None:
        """Return the setting; with TensorRT-LLM's options also one of them.

        Of disaggregated servers it is that of those that write the answers.
        """
        if self.disaggregated is not None and purpose in SETTINGS_FOR and purpose != "streaming":
            return of_role(WRITES, SETTINGS_FOR[purpose])
        found = super().setting_for(purpose)
        return SETTINGS_FOR.get(purpose) if found is None and self._answers is not None else found

    def chunked_context(self, longest_input: int | None) -> str | None:
        """Return the options that process each input in one step; None for other servers."""
        if self._answers is None or not self.llm_api.enable_chunked_prefill:
            return None
        least = "" if longest_input is None else f"{longest_input:,}, "
        return (
            f"set engine.llm_api.enable_chunked_prefill: false, and engine.max_num_tokens to at least {least}"
            "the longest input"
        )

    def waiting_to_be_read(self, requests: int) -> str | None:
        """Return what the requests wait for, if the server can run all of them at once."""
        slots = self.slots or self.max_batch_size or 0
        if slots < requests:
            return None
        step = "" if self.max_num_tokens is None else f" of {self.max_num_tokens:,} tokens"
        return (
            f"the server can run {slots:,} at once (engine.max_batch_size). They arrived "
            f"together, so each waited for a step{step} (engine.max_num_tokens) to process its prompt"
        )

    def software(self, environ: Mapping[str, str]) -> Iterator[Finding]:
        """Look for what no run could do without, and for a step of Slurm that would wait for itself."""
        import shutil

        from pytest_dsr1.machine import host
        from pytest_dsr1.process.slurm import step_in_a_step

        if nested := step_in_a_step(self.command or (), environ):
            yield Finding("mismatch", "Slurm", nested)
        if host.installed_version("httptools") is None:
            message = (
                f"the engine openai needs httptools, which is not installed in {sys.executable}: pip install "
                "httptools uvloop"
            )
            yield Finding("mismatch", "software", message)
        if self.api_key_env is not None and not environ.get(self.api_key_env):
            message = (
                f"engine.api_key_env: the variable {self.api_key_env} is not set; export it with the "
                "server's API key"
            )
            yield Finding("mismatch", "software", message)
        if self.url is not None:
            return
        program = self.command[0] if self.command else self.server
        path = {**environ, **self.environment}.get("PATH")
        if self.command is None and self.server == "sglang":
            if host.installed_version("sglang") is None:
                message = f"sglang is not installed in {sys.executable}; install it, or set engine.command"
                yield Finding("mismatch", "software", message)
        elif shutil.which(program, path=path) is None:
            message = (
                f"`{program}`, which starts the server, is not on PATH; install it, or set engine.command"
            )
            yield Finding("mismatch", "software", message)

    def without_cuda_graph(self, requests: float) -> str | None:
        """Return the argument that switches CUDA graphs off, with advice."""
        if self._answers is not None and (reason := self._answers.without_cuda_graph(requests)):
            return reason
        off = next((word for word in self.arguments if word in _WITHOUT_GRAPHS), None)
        return off and f"engine.arguments has {off}, which switches CUDA graphs off: remove it"
