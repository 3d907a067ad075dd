"""The facts that an engine reports about itself and its run, in addition to records and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import NO_SERVER, ServerStatistics
from pytest_dsr1.storage.documents import NUMBER, attributes_of

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

_SAVED: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "engine.quantization": ("quantization", str),
    "engine.kv_cache_dtype": ("kv_cache_dtype", str),
    "kv_cache_used_share_max": ("kv_cache_used_share_max", NUMBER),
    "scheduled_requests_mean": ("scheduled_requests_mean", NUMBER),
    "bandwidth_bound": ("bandwidth_bound", str),
    "share_of_bound": ("share_of_bound", NUMBER),
    "server_metrics": ("server_metrics", dict),
    "not_measured": ("not_measured", dict),
    "server_started": ("server_started", bool),
    "server_kept_from": ("server_kept_from", str),
    "options_in_effect": ("options_in_effect", dict),
    "servers": ("servers", list),
    "roles": ("roles", list),
}
"""The keys of the saved result, each with its field and the type of its value."""
_OF_SERVER: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "url": ("url", str),
    "requests": ("requests", int),
    "failed": ("failed", int),
    "output_tokens": ("output_tokens", int),
    "output_tok_s": ("output_tok_s", NUMBER),
    "ttft_mean_ms": ("ttft_mean_ms", NUMBER),
    "ttft_p99_ms": ("ttft_p99_ms", NUMBER),
}


@dataclass(frozen=True, slots=True)
class ServerFigures:
    """The figures of one of several servers.

    Attributes:
        url: its address.
        requests: that it got.
        failed: those that failed.
        output_tokens: of those that succeeded.
        output_tok_s: over the time from the first request of all servers to the last token of all servers.
        ttft_mean_ms: None without streaming.
        ttft_p99_ms: None without streaming.
    """

    url: str = ""
    requests: int = 0
    failed: int = 0
    output_tokens: int = 0
    output_tok_s: float = 0.0
    ttft_mean_ms: float | None = None
    ttft_p99_ms: float | None = None

    @classmethod
    def of(cls, saved: Mapping[str, object]) -> ServerFigures:
        """Return the figures of a saved result."""
        return cls(**attributes_of(saved, _OF_SERVER)[0])

    def saved(self) -> dict[str, object]:
        """Return the figures as they are saved."""
        return {key: value for key in _OF_SERVER if (value := getattr(self, key)) is not None}


_OF_ROLE: Mapping[str, tuple[str, type | tuple[type, ...]]] = {
    "role": ("role", str),
    "number": ("number", int),
    "nodes": ("nodes", list),
    "gpus": ("gpus", int),
    "running_requests_mean": ("running_requests_mean", NUMBER),
    "waiting_requests_mean": ("waiting_requests_mean", NUMBER),
    "kv_cache_used_share_max": ("kv_cache_used_share_max", NUMBER),
    "input_tok_s": ("input_tok_s", NUMBER),
    "output_tok_s": ("output_tok_s", NUMBER),
}


@dataclass(frozen=True, slots=True)
class RoleServer:
    """One of disaggregated servers; the figures are those that it reports.

    Attributes:
        role: what it does with a request: ``context`` or ``generation``.
        number: of the server in its role, from 1.
        nodes: the names of its nodes.
        gpus: on all of them.
        running_requests_mean: requests in its batch, on average.
        waiting_requests_mean: requests in its queue, on average.
        kv_cache_used_share_max: the largest share of its KV cache in use.
        input_tok_s: input tokens per second that it has read.
        output_tok_s: output tokens per second that it has written.
    """

    role: str = ""
    number: int = 0
    nodes: Sequence[str] = ()
    gpus: int = 0
    running_requests_mean: float | None = None
    waiting_requests_mean: float | None = None
    kv_cache_used_share_max: float | None = None
    input_tok_s: float | None = None
    output_tok_s: float | None = None

    @classmethod
    def of(cls, saved: Mapping[str, object]) -> RoleServer:
        """Return the server of a saved result."""
        return cls(**attributes_of(saved, _OF_ROLE)[0])

    def saved(self) -> dict[str, object]:
        """Return the server as it is saved."""
        known = {key: value for key in _OF_ROLE if (value := getattr(self, key)) is not None}
        return {**known, "nodes": list(self.nodes)}


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Facts about an engine and its run; None or empty if the engine does not report them.

    Attributes:
        quantization: the quantization of the weights, as the engine reports it.
        kv_cache_dtype: the KV cache's element type, as the engine reports it.
        kv_cache_used_share_max: the largest share of the KV cache in use.
        scheduled_requests_mean: requests per step, on average.
        bandwidth_bound: the arithmetic of the memory-bandwidth bound, or the reason why there is none.
        share_of_bound: the share of that bound that the decode step reached.
        server_metrics: what a server reported about the measurement.
        not_measured: by metric, the reason why it was not measured and what to do.
        server_started: whether the server was started for this run; None for an engine that always is.
        server_kept_from: the other scenario that a reused server was started for.
        options_in_effect: by option, the value in effect, where it was read, and the value asked for
            (:func:`~pytest_dsr1.engines.in_effect.saved`).
        servers: the figures of each of several servers; empty for one.
        roles: the servers of each role; empty if they are not disaggregated.
        other: facts that are only saved with the result; JSON values. A key that a field is saved under is
            refused: a saved result would be read into that field.

    Raises:
        ValueError: ``other`` has such a key.
    """

    quantization: str | None = None
    kv_cache_dtype: str | None = None
    kv_cache_used_share_max: float | None = None
    scheduled_requests_mean: float | None = None
    bandwidth_bound: str | None = None
    share_of_bound: float | None = None
    server_metrics: ServerStatistics = NO_SERVER
    not_measured: Mapping[str, str] = field(default_factory=dict)
    server_started: bool | None = None
    server_kept_from: str | None = None
    options_in_effect: Mapping[str, object] = field(default_factory=dict)
    servers: tuple[ServerFigures, ...] = ()
    roles: tuple[RoleServer, ...] = ()
    other: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken, _ = attributes_of(self.other, _SAVED)
        for name in taken:
            key = next(key for key, (field, _) in _SAVED.items() if field == name)
            raise ValueError(f"EngineFacts.other has the key `{key}`; set the field `{name}` instead")

    @classmethod
    def of(cls, saved: Mapping[str, object]) -> EngineFacts:
        """Return the facts of a saved result; a value of an unexpected type goes to ``other``."""
        known, other = attributes_of(saved, _SAVED)
        if "server_metrics" in known:
            known["server_metrics"] = ServerStatistics.of(known["server_metrics"])
        for name, kind in (("servers", ServerFigures), ("roles", RoleServer)):
            if name in known:
                rows = (each for each in known[name] if isinstance(each, Mapping))
                known[name] = tuple(map(kind.of, rows))
        return cls(**known, other=other)

    def saved(self) -> dict[str, object]:
        """Return the facts as they are saved: one mapping."""
        own = {key: getattr(self, name) for key, (name, _) in _SAVED.items()}
        own["server_metrics"] = self.server_metrics.saved()
        own["servers"] = [each.saved() for each in self.servers]
        own["roles"] = [each.saved() for each in self.roles]
        return {**{key: value for key, value in own.items() if value not in (None, {}, [])}, **self.other}

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            lambda saved: saved if isinstance(saved, cls) else cls.of(saved),
            core_schema.union_schema([core_schema.is_instance_schema(cls), core_schema.dict_schema()]),
            serialization=core_schema.plain_serializer_function_ser_schema(cls.saved),
        )
