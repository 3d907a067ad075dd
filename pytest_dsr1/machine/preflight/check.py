"""Preflight checks: how one is declared, and the run of them all before a measurement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_dsr1 import extensions
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu.inventory import GpuReading, MachineInventory
from pytest_dsr1.machine.values import SetupMode
from pytest_dsr1.scenario.schema.scenario import Scenario

Needs = Literal["nothing", "driver", "gpus"]
"""What a check needs to run: nothing, the NVIDIA driver, or the driver and a readable GPU."""

Part = Literal["all", "node", "run"]
"""Which checks run: all, those of a node with GPUs, or those of the run, which are made once."""


@dataclass(frozen=True, slots=True)
class Preflight:
    """The input of a check: the scenario, and the machine it is about to run on.

    Attributes:
        scenario: the scenario that will run.
        machine: the GPUs, read just before the check; None for a scenario on the CPU.
        environ: the environment variables of the run.
        writes_to: the folder for results; it may not exist yet.
        bytes_needed: how much will be written there.
        setup: what to do about the GPUs' settings.
        reused: whether a server that this process started is already on the GPUs and will be measured.
        in_container: whether Slurm starts the engine in a container, where its software is not looked for.
    """

    scenario: Scenario
    machine: MachineInventory | None
    environ: Mapping[str, str]
    writes_to: Path
    bytes_needed: int
    setup: SetupMode = "check"
    reused: bool = False
    in_container: bool = False

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
        """Return whether the machine has what a check needs."""
        if needs == "nothing":
            return True
        driver = self.machine is not None and self.machine.problem is None
        return driver and (needs == "driver" or bool(self.gpus))


@dataclass(frozen=True, slots=True)
class Check:
    """One check; made by :func:`check`.

    Attributes:
        name: the name of its function.
        rule: what must be true, as a sentence.
        needs: what must be available; otherwise the check is skipped.
        run: returns the findings.
        of_node: whether it looks at each node of the run; one that needs the driver or a GPU does.
    """

    name: str
    rule: str
    needs: Needs
    run: Callable[[Preflight], Iterable[Finding]]
    of_node: bool = False

    def is_in(self, part: Part) -> bool:
        """Return whether it is in this part of the preflight."""
        return part == "all" or (self.of_node or self.needs != "nothing") == (part == "node")


def check(
    needs: Needs = "nothing", *, of_node: bool = False
) -> Callable[[Callable[[Preflight], Iterable[Finding]]], Check]:
    """Declare a function as a check; its docstring is the rule. A plugin lists it in ``pytest_dsr1_checks``.

    Args:
        needs: what must be available for the check to run.
        of_node: whether it looks at each node of the run, although it needs no GPU.
    """

    def declare(run: Callable[[Preflight], Iterable[Finding]]) -> Check:
        return Check(run.__name__, " ".join((run.__doc__ or "").split()), needs, run, of_node)

    return declare


def preflight(look: Preflight, part: Part = "all") -> tuple[Finding, ...]:
    """Return the findings of the checks, ours and those of plugins.

    A plugin's check that fails is a mismatch that names the plugin: what it checks is unknown.

    Raises:
        UserError: a plugin cannot list its checks.
    """
    findings: list[Finding] = []
    for plugin, each in extensions.declared("pytest_dsr1_checks", Check).values():
        if not each.is_in(part) or not look.has(each.needs):
            continue
        try:
            findings += _findings(plugin, each, look)
        except extensions.FAULTS as error:
            message = extensions.failure(plugin, f"its check {each.name}", error)
            findings.append(Finding("mismatch", f"check {each.name}", message))
    return tuple(findings)


def _findings(plugin: str, each: Check, look: Preflight) -> list[Finding]:
    """Return the findings of a check.

    Raises:
        BrokenPluginError: they are not findings, or are not complete.
    """
    what = f"its check {each.name}"
    found = extensions.listed(plugin, what, each.run(look), Finding)
    for finding in found:
        extensions.refuse_wrong_fields(plugin, f"a finding of {what}", finding)
    return found
