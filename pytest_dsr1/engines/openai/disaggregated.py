"""Disaggregated serving: context servers read the inputs, generation servers write the answers.

The rule for nodes is that of TensorRT-LLM's jenkins/scripts/perf/disaggregated/submit.py (0c8de69a): each
server has nodes of its own, as many as its GPUs need.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

from pydantic import Field

from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions
from pytest_dsr1.scenario.schema.base import ExpandedText, Part, PositiveInt, VariableName

READS, WRITES = "context", "generation"
"""The roles, by their keys in a scenario."""


def of_role(role: str, text: str) -> str:
    """Return a key of a server that serves alone, or a text that begins with one, as it is for a role."""
    return text.replace("engine.", f"engine.disaggregated.{role}.", 1)


class Servers(Part):
    """The servers of one role, which all have the same options."""

    servers: PositiveInt = 1
    """The number of servers."""
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
    llm_api: LlmApiOptions = Field(default_factory=LlmApiOptions)
    """Options of TensorRT-LLM's LLM API, which each server gets in a file; `cache_transceiver_config` has the way of the KV cache."""  # noqa: E501
    environment: dict[VariableName, ExpandedText] = Field(default_factory=dict)
    """Environment variables of each server's command."""

    @property
    def gpus(self) -> int:
        """The number of GPUs of one server."""
        return (self.tp or 1) * (self.pp or 1) * (self.llm_api.context_parallel_size or 1)


@dataclass(frozen=True, slots=True)
class Placed:
    """A server on its nodes.

    Attributes:
        role: its key in a scenario.
        number: of the server in its role, from 1.
        first: the first of its nodes, counted from 0 in the order of the allocation.
        nodes: how many it fills, or 1 for a part of one.
        per_node: its GPUs on each.
    """

    role: str
    number: int
    first: int
    nodes: int
    per_node: int

    @property
    def name(self) -> str:
        """A name for its files and its step, such as ``generation-1``."""
        return f"{self.role}-{self.number}"


class Disaggregated(Part):
    """Servers that read the inputs and servers that write the answers, behind `trtllm-serve disaggregated`."""  # noqa: E501

    context: Servers
    """The servers that read the inputs."""
    generation: Servers
    """The servers that write the answers."""

    @property
    def roles(self) -> dict[str, Servers]:
        """The servers by the key of their role."""
        return {READS: self.context, WRITES: self.generation}

    @property
    def gpus(self) -> int:
        """The number of GPUs of all servers."""
        return sum(role.servers * role.gpus for role in self.roles.values())

    def placed(self, nodes: int) -> list[Placed]:
        """Return the servers on this number of nodes, which is one of :meth:`layouts`.

        Those that write the answers come first, as in TensorRT-LLM's
        examples/disaggregated/slurm/benchmark/submit.py (03bfa3cc).
        """
        return list(self._placed(self.layouts()[nodes]))

    def _placed(self, per_node: int) -> Iterator[Placed]:
        first = 0
        for role in (WRITES, READS):
            servers = self.roles[role]
            for number in range(1, servers.servers + 1):
                nodes = ceil(servers.gpus / per_node)
                yield Placed(role, number, first, nodes, servers.gpus // nodes)
                first += nodes

    def layouts(self) -> dict[int, int]:
        """Return how many nodes the servers can fill, each with the number of GPUs that a node needs."""
        sizes = {role.gpus for role in self.roles.values()}
        found: dict[int, int] = {}
        for per_node in range(max(sizes), 0, -1):
            if all(size <= per_node or size % per_node == 0 for size in sizes):
                nodes = sum(role.servers * ceil(role.gpus / per_node) for role in self.roles.values())
                found.setdefault(nodes, per_node)
        return found
