"""How a preflight check is declared: what it looks at before a run, and what it needs to look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_dsr1.machine.gpu.inventory import GpuReading, MachineInventory
from pytest_dsr1.machine.values import Finding, SetupMode
from pytest_dsr1.scenario.schema.scenario import Scenario

Needs = Literal["nothing", "driver", "gpus"]
"""What must be there for a check to be run: nothing, the NVIDIA driver, or also a GPU that can be read."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a check sees: the scenario, and the machine it is about to run on.

    Attributes:
        scenario: what is to run.
        machine: its GPUs, as read just now; None for a scenario on the CPU.
        environ: the environment of the run.
        writes_to: the folder that results go to; need not exist.
        bytes_needed: what will be written there.
        setup: what is done about the GPUs' settings.
        reused: a server that this process started is on the GPUs already, and is going to answer.
    """

    scenario: Scenario
    machine: MachineInventory | None
    environ: Mapping[str, str]
    writes_to: Path
    bytes_needed: int
    setup: SetupMode = "check"
    reused: bool = False

    @property
    def inventory(self) -> MachineInventory:
        """The machine's GPUs, for checks that need the driver."""
        assert self.machine is not None
        return self.machine

    @property
    def used(self) -> tuple[GpuReading, ...]:
        """The GPUs that the run uses, also those that cannot be read."""
        return self.machine.used(self.scenario.hardware.count) if self.machine else ()

    @property
    def gpus(self) -> tuple[GpuReading, ...]:
        """The GPUs that the run uses and that can be read."""
        return tuple(gpu for gpu in self.used if gpu.problem is None)

    def has(self, needs: Needs) -> bool:
        """Return whether what a check needs is there."""
        if needs == "nothing":
            return True
        driver = self.machine is not None and self.machine.problem is None
        return driver and (needs == "driver" or bool(self.gpus))


@dataclass(frozen=True, slots=True)
class Check:
    """One check; made by :func:`check`.

    Attributes:
        name: its function's.
        rule: what it looks at, as a sentence.
        needs: it is not run where this is missing.
        run: gives the findings, one or more.
    """

    name: str
    rule: str
    needs: Needs
    run: Callable[[Preflight], Iterable[Finding]]


def check(needs: Needs = "nothing") -> Callable[[Callable[[Preflight], Iterable[Finding]]], Check]:
    """Declare a function as a check; its docstring is the rule. A plugin lists it in ``pytest_dsr1_checks``.

    Args:
        needs: what must be there for it to be run.
    """

    def declare(run: Callable[[Preflight], Iterable[Finding]]) -> Check:
        return Check(run.__name__, " ".join((run.__doc__ or "").split()), needs, run)

    return declare
