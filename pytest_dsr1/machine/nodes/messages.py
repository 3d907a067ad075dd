"""The messages between pytest and the agent of a node: one JSON object per line, each way.

pytest sends a request and waits for the answer with its number. Meanwhile, and while telemetry is recorded,
the agent sends notes for the user and samples of its GPUs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu.inventory import MachineInventory
from pytest_dsr1.machine.probe.values import Probes
from pytest_dsr1.machine.values import FactValue, GpuSample, SetupMode, Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class _Numbered:
    """A request or its answer; both have the same number."""

    number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look(_Numbered):
    """Run the checks of a node. The answer has findings.

    Attributes:
        scenario: as JSON; its hardware is that of this node.
        visible: the value of CUDA_VISIBLE_DEVICES for the run; None for the node's own.
        shared: a file that pytest has written into the folder of results; empty for none.
    """

    scenario: Mapping[str, Any]
    visible: str | None
    setup: SetupMode
    reused: bool
    shared: str = ""
    do: Literal["look"] = "look"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare(_Numbered):
    """Lock the GPUs and set them up. The answer has the GPUs, facts, and the findings of the setup."""

    scenario: Mapping[str, Any]
    visible: str | None
    setup: SetupMode
    do: Literal["prepare"] = "prepare"


@dataclass(frozen=True, slots=True, kw_only=True)
class Again(_Numbered):
    """Read the GPUs, locked and set up as they are, for another scenario. The answer is as to `Prepare`."""

    scenario: Mapping[str, Any]
    do: Literal["again"] = "again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure(_Numbered):
    """Measure what the prepared GPUs can do. The answer has the probes.

    Another request, or the end of all, stops this.

    Attributes:
        log: the path of the file that keeps the output.
    """

    log: str
    do: Literal["measure"] = "measure"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(_Numbered):
    """Something without arguments.

    ``watch`` begins to record telemetry, ``measuring`` notes that the measured time begins, ``end_watch``
    ends it (the answer has the telemetry without samples), ``clock`` asks for the monotonic time, ``port``
    for a port that no process listens at, ``release`` restores and unlocks the GPUs.
    """

    do: Literal["watch", "measuring", "end_watch", "clock", "port", "release"]


Request = Look | Prepare | Again | Measure | Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer(_Numbered):
    """The answer to a request, with what was asked for.

    Attributes:
        error: why it could not be done, in a sentence for the user; empty if it was.
    """

    error: str = ""
    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, FactValue] | None = None
    inventory: MachineInventory | None = None
    probes: Probes | None = None
    telemetry: Telemetry | None = None
    time_s: float = 0.0
    port: int = 0
    kind: Literal["answer"] = "answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence for the user."""

    sentence: str
    kind: Literal["note"] = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Samples of the GPUs of the node, on its clock and with NVML's indices."""

    samples: tuple[GpuSample, ...]
    kind: Literal["samples"] = "samples"


Report = Answer | Note | Samples

REQUEST: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="do")])
REPORT: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])


def line(message: Request | Report) -> bytes:
    """Return a message as a line."""
    return json.dumps(asdict(message), default=list).encode() + b"\n"
