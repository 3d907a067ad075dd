"""The scenario of a run that trtllm-serve serves and a client measures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_dsr1.engines.trtllm_options.acceptance import VARIABLE, forced_length
from pytest_dsr1.importing.harvest import RefusedError
from pytest_dsr1.importing.models import GPUS, Checkpoint, gpus_per_node
from pytest_dsr1.importing.server_options import server_options

LONGEST_NAME = 100
"""The longest name of a scenario, in characters."""
_GATED = "total_output_throughput"
"""The metric that NVIDIA's own gate judges too (d_token_throughput)."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of an imported run.

    Attributes:
        document: the path of its file.
        commit: of the file, if known.
    """

    document: str
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens per request.

    Attributes:
        inputs: the nominal input length.
        outputs: the nominal output length.
        least: the shortest length, as a share of the nominal one; None if all are equal.
        most: the longest length, as a share of the nominal one.
    """

    inputs: int
    outputs: int
    least: float | None = None
    most: float = 1.0

    def dataset(self) -> dict[str, Any]:
        """Return the scenario's ``dataset:`` for synthetic tokens."""
        return {"input_tokens": self._drawn(self.inputs), "output_tokens": self._drawn(self.outputs)}

    def _drawn(self, tokens: int) -> int | dict[str, int]:
        if self.least is None:
            return tokens
        minimum, maximum = max(int(tokens * self.least), 1), int(tokens * self.most)
        return tokens if minimum == maximum == tokens else {"minimum": minimum, "maximum": maximum}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRun:
    """One run, in the terms of its file.

    Attributes:
        name: of the scenario.
        what: the run's name in its source.
        checkpoint: the model.
        gpu: the GPU's name in files, such as ``B200``.
        gpus: the number of GPUs.
        node: GPUs per node; 0 if the file does not say so.
        options: the options file of the server, or of what writes the answers.
        lengths: of the requests.
        concurrency: requests in flight.
        rounds: requests per request in flight.
        warmup_requests: requests before the measurement.
        environment: of the server.
        arguments: more of the server's command line.
        streaming: whether answers are streamed.
        dataset_file: the text that its client sends, which is not published; empty for random tokens.
        notes: what could not be carried over, and what was unknown, a sentence each.
    """

    name: str
    what: str
    checkpoint: Checkpoint
    gpu: str
    gpus: int
    options: Mapping[str, Any]
    lengths: Lengths
    concurrency: int
    rounds: int
    node: int = 0
    warmup_requests: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    streaming: bool = True
    dataset_file: str = ""
    notes: Sequence[str] = ()

    @property
    def served_by(self) -> str:
        """The server in words."""
        return "trtllm-serve"

    @property
    def forcing(self) -> Mapping[str, str]:
        """The variables of what writes the answers, which can force their acceptance length."""
        return self.environment

    def nodes(self, per_node: int) -> int:
        """Return how many nodes it needs.

        Raises:
            RefusedError: it needs several, and does not fill them.
        """
        nodes = -(-self.gpus // per_node)
        if nodes > 1 and self.gpus % per_node:
            raise RefusedError(f"it needs {self.gpus} GPUs, which do not fill {nodes} nodes of {per_node}")
        return nodes

    def settings(self, notes: list[str]) -> dict[str, Any]:
        """Return the keys of ``engine:`` about its servers; what could not be carried over goes to ``notes``.

        Raises:
            RefusedError: its options contradict each other.
        """
        options = server_options(self.options)
        notes += options.notes
        return {
            **options.engine,
            **({} if self.streaming else {"streaming": False}),
            "arguments": list(self.arguments),
            "environment": without_forcing(self.environment),
            "llm_api": options.llm_api,
        }

    def tree(self, origin: Origin) -> dict[str, Any]:
        """Return the scenario.

        Raises:
            RefusedError: it needs nodes that it does not fill, or an unknown GPU.
        """
        if self.gpu not in GPUS:
            raise RefusedError(f"the GPU {self.gpu} is unknown (known: {', '.join(GPUS)})")
        nodes = self.nodes(self.node or gpus_per_node(self.gpu))
        length = self._forced_length()
        text, about_text = self._text(forced=length is not None)
        notes = [about_text, *self.notes]
        engine = {"type": "openai", "server": "trtllm-serve", **self.settings(notes)}
        if VARIABLE in self.forcing:
            what = "forces nothing" if length is None else f"forces the acceptance length {length:.10g}"
            notes.append(f"{VARIABLE}={self.forcing[VARIABLE]} {what}.")
        if self.checkpoint.doubt:
            notes.append(self.checkpoint.doubt)
        source = {"document": f"{origin.document}: {self.what}", "commit": origin.commit, "notes": notes}
        return {
            "name": self.name,
            "description": self.described(str(self.gpus), str(self.concurrency), self.what),
            "source": {key: value for key, value in source.items() if value},
            "hardware": {
                "gpu": GPUS[self.gpu],
                "count": self.gpus,
                **({"nodes": nodes} if nodes > 1 else {}),
            },
            "model": self.checkpoint.model(),
            "dataset": text | self.lengths.dataset(),
            "load": {
                "concurrency": self.concurrency,
                "num_requests": self.concurrency * self.rounds,
                "warmup_requests": self.warmup_requests,
            },
            "engine": without_empty(engine),
            **({} if length is None else {"speculation": {"acceptance_length": length}}),
            "gate": {"metric": _GATED},
        }

    def _forced_length(self) -> float | None:
        """Return the acceptance length that a variable of the server forces; None without speculation."""
        speculation = self.options.get("speculative_config")
        length = forced_length(self.forcing.get(VARIABLE, ""))
        if length is None or not isinstance(speculation, Mapping):
            return None
        names = ("max_draft_len", "num_nextn_predict_layers")
        drafts = next((speculation[name] for name in names if isinstance(speculation.get(name), int)), None)
        return length if drafts is None else min(length, drafts + 1.0)  # as TensorRT-LLM limits it

    def _text(self, *, forced: bool) -> tuple[dict[str, str], str]:
        """Return the key of the text that the scenario needs, and a sentence about the tokens."""
        path = {"path": "${DSR1_DATASET}"}
        yours = "DSR1_DATASET names text of yours with about these lengths (`pytest-dsr1 docs datasets`)."
        if self.dataset_file:
            return path, f"{self.dataset_file} is not public: {yours}"
        sent = "The client of the source sends random starts of neighboring ids"
        if forced:
            return {}, f"{sent}; here all ids are random, as the acceptance length is forced."
        if self.options.get("speculative_config"):
            return path, f"{sent}; the speed of multi-token prediction depends on the text: {yours}"
        return {}, f"{sent}; here all ids are random."

    def described(self, gpus: str, in_flight: str, what: str) -> str:
        """Return the sentence for lists of scenarios, of this run or of a sweep that has it.

        Args:
            gpus: how many GPUs.
            in_flight: how many requests are in flight.
            what: the name in the source.
        """
        model = self.checkpoint.name.split("/")[1]
        lengths = f"{self.lengths.inputs} tokens in and {self.lengths.outputs} out"
        on = f"{model} on {gpus} {self.gpu} with {self.served_by}"
        return f"{on}, {lengths}, {in_flight} in flight ({what})"


def without_forcing(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables without the one that the scenario's ``speculation`` stands for."""
    return {key: value for key, value in environment.items() if key != VARIABLE}


def without_empty(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return keys without empty lists and mappings, which say the same as no key."""
    return {key: value for key, value in keys.items() if value not in ([], {})}


def safe_name(*parts: str, longest: int = LONGEST_NAME) -> str:
    """Return a name that a scenario and a file in any folder may have, the same for the same parts.

    Other characters become dashes. A name that is too long, or that became another one, ends in a hash of the
    parts.
    """
    given = "-".join(parts)
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", given).strip(".-_") or "run"
    if name == given and len(name) <= longest:
        return name
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: longest - len(digest) - 1]}-{digest}"
