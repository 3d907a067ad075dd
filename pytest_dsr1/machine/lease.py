"""The machine of a run, from preflight to restored settings: the entry point of this package."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Protocol

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import cpu_load, host
from pytest_dsr1.machine.fingerprint import fingerprint
from pytest_dsr1.machine.gpu.inventory import GpuReading, MachineInventory, read_machine, readable
from pytest_dsr1.machine.gpu.lock import gpu_lock
from pytest_dsr1.machine.preflight.check import Preflight, preflight
from pytest_dsr1.machine.probe.run import never, probe
from pytest_dsr1.machine.probe.values import UNREADABLE, Probes, unprobed
from pytest_dsr1.machine.setup.apply import Applied, applied
from pytest_dsr1.machine.setup.journal import restore_from_journal
from pytest_dsr1.machine.telemetry.health import GpuSummary, assess, summary
from pytest_dsr1.machine.telemetry.recorder import Now, TelemetryRecorder
from pytest_dsr1.machine.values import FactValue, Fingerprint, Notify, SetupMode, Telemetry
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import say

RESULT_BYTES = 512 * 1024**2
"""Space for one run's results: an hour of telemetry of 8 GPUs takes 75 MB, records and logs less."""


def _to_stderr(sentence: str) -> None:
    say(f"dsr1: {sentence}", error=True)


def _read(scenario: Scenario, environ: Mapping[str, str]) -> MachineInventory | None:
    """Return the machine; None for a scenario on the CPU, without touching NVML."""
    return None if scenario.hardware.gpu is None else read_machine(environ)


def look(
    scenario: Scenario,
    setup: SetupMode,
    environ: Mapping[str, str],
    writes_to: Path,
    bytes_needed: int = RESULT_BYTES,
    *,
    reused: bool = False,
) -> tuple[Finding, ...]:
    """Return the preflight's findings; with ``reused``, our server is on the GPUs. Changes nothing."""
    if scenario.hardware.nodes > 1:
        return look_at_run(scenario, setup, environ, writes_to, bytes_needed)
    machine = _read(scenario, environ)
    return preflight(Preflight(scenario, machine, environ, writes_to, bytes_needed, setup, reused))


def look_at_node(
    scenario: Scenario, setup: SetupMode, environ: Mapping[str, str], *, reused: bool
) -> tuple[Finding, ...]:
    """Return the findings on one node of a run, whose scenario has this node's share of the hardware."""
    machine = _read(scenario, environ)
    return preflight(Preflight(scenario, machine, environ, Path(), 0, setup, reused), "node")


def look_at_run(
    scenario: Scenario,
    setup: SetupMode,
    environ: Mapping[str, str],
    writes_to: Path,
    bytes_needed: int = RESULT_BYTES,
    *,
    in_container: bool = False,
) -> tuple[Finding, ...]:
    """Return the findings on a run, without those on its nodes; ``in_container`` as in :class:`Preflight`."""
    given = Preflight(scenario, None, environ, writes_to, bytes_needed, setup, in_container=in_container)
    return preflight(given, "run")


class Recorder(Protocol):
    """Records telemetry."""

    @property
    def telemetry(self) -> Telemetry:
        """Everything recorded; complete when the recorder has ended."""

    def warmed_up(self) -> None:
        """Note that all of the engine's processes are running: the measurement begins."""

    def latest(self) -> Now:
        """Return the mean of each GPU's newest sample."""


class Machine:
    """The GPUs of one scenario, locked and set up; made by :func:`prepared`.

    Attributes:
        inventory: the GPUs after setup; None for a run on the CPU.
        findings: those of restoring and setup, to save with the result.
    """

    def __init__(
        self,
        scenario: Scenario,
        inventory: MachineInventory | None,
        findings: tuple[Finding, ...],
        setup_facts: Mapping[str, FactValue],
        environ: Mapping[str, str],
    ):
        self.inventory = inventory
        self.findings = findings
        self._scenario = scenario
        self._setup_facts = setup_facts
        self._environ = environ
        self._recorder: Recorder | None = None
        self._cpus: cpu_load.CpuWatch | None = None

    def of(self, scenario: Scenario) -> Machine:
        """Return the same GPUs, locked and set up, for another scenario that needs the same."""
        inventory = _read(scenario, self._environ)
        return Machine(scenario, inventory, self.findings, self._setup_facts, self._environ)

    @property
    def gpus(self) -> tuple[GpuReading, ...]:
        """The GPUs of the run, in CUDA's order; none on the CPU."""
        return self.inventory.used(self._scenario.hardware.count) if self.inventory else ()

    @property
    def probed(self) -> Mapping[str, tuple[GpuReading, ...]]:
        """The GPUs that :meth:`probe` measures: those that can be read. The only node has no name."""
        return {"": readable(self.gpus)}

    def probe(self, log: Path, stopped: Callable[[], bool] = never, /) -> dict[str, Probes]:
        """Measure what the GPUs can do, by node. Never raises: what is missing is named with the reason.

        Args:
            log: the file that keeps the output; each of several nodes has its own, such as
                ``probe-before-node2.log``.
            stopped: returns whether to stop, for the run has ended.
        """
        if not (gpus := self.probed[""]):
            return {"": unprobed((gpu.index for gpu in self.gpus), UNREADABLE)}
        environ = dict(self._environ)
        for own in self._scenario.engine.process_environments:
            environ |= own
        return {"": probe(gpus, environ, log, stopped=stopped)}

    @contextmanager
    def watched(self, path: Path, out: IO[str] | None = None, /) -> Iterator[Recorder]:
        """Record telemetry to the file while the block runs; ``telemetry`` is complete after it.

        The processors are watched too if the engine computes on them.

        Args:
            path: the file.
            out: takes its lines instead.
        """
        gpus = self.gpus
        # A server that was running before may be on these GPUs.
        shared = gpus if self._scenario.engine.attached_url else ()
        expected = [process.pid for gpu in shared for process in gpu.processes or ()]
        on_cpus = self._scenario.hardware.gpu is None and self._scenario.engine.computes_on_cpus
        self._cpus = cpu_load.CpuWatch() if on_cpus else None
        recorder = TelemetryRecorder(gpus, path, expected=expected, out=out)
        with self._cpus or nullcontext(), recorder as self._recorder:
            yield self._recorder

    def free_port(self, node: int) -> int:
        """Return a port that no process listens at now on a node of the run, counted from 0."""
        return host.free_port(node)

    def measuring(self) -> None:
        """Note that the measured time begins: all of the engine's processes are running."""
        if self._recorder is not None:
            self._recorder.warmed_up()
        if self._cpus is not None:
            self._cpus.look()

    def now(self) -> str:
        """Return what the GPUs do now, such as ``612 W 1980 MHz`` on average; empty on the CPU."""
        if self._recorder is None:
            return ""
        latest = self._recorder.latest()
        power = "" if latest.power_w is None else f"{latest.power_w:.0f} W"
        clock = "" if latest.sm_clock_mhz is None else f"{latest.sm_clock_mhz:.0f} MHz"
        return f"{power} {clock}".strip()

    def assess(self, from_s: float, to_s: float) -> tuple[Finding, ...]:
        """Return findings on the measured time, between two times of the monotonic clock."""
        if self._recorder is None:
            return ()
        of_gpus = assess(
            self._recorder.telemetry,
            self._scenario.validity,
            from_s,
            to_s,
            sm_clock_lock_mhz=self._scenario.gpu_setup.lock_sm_clock_mhz,
            used=self._used,
        )
        of_cpus = cpu_load.assess(self.cpu_load(from_s, to_s)) if self._cpus else ()
        return (*of_gpus, *of_cpus)

    def cpu_load(self, from_s: float, to_s: float) -> cpu_load.CpuLoad | None:
        """Return what the processors did over the measured time; None if the engine does not run on them."""
        return None if self._cpus is None else self._cpus.load(from_s, to_s)

    def summary(self, from_s: float, to_s: float) -> GpuSummary | None:
        """Sum up the GPUs over the measured time; None for the CPU."""
        if self._recorder is None:
            return None
        return summary(self._recorder.telemetry, from_s, to_s, used=self._used)

    @property
    def _used(self) -> int:
        """The number of GPUs that the run uses; more than are here with ``--dsr1-allow-mismatch``."""
        return self._scenario.hardware.count if self._scenario.hardware.gpu is not None else 0

    def fingerprint(self, more: Mapping[str, FactValue]) -> Fingerprint:
        """Return what the run ran on; ``more`` adds other facts, such as the dataset's hash."""
        own = fingerprint(
            self._scenario, self.inventory, setup_facts=self._setup_facts, environ=self._environ
        )
        return Fingerprint({**own.facts, **more})


@contextmanager
def prepared(
    scenario: Scenario, setup: SetupMode, environ: Mapping[str, str], notify: Notify = _to_stderr
) -> Iterator[Machine]:
    """Restore what an earlier run left changed, lock the GPUs and set them up; restore them at the end.

    Args:
        scenario: the scenario that will run; its preflight has passed.
        setup: what to do about the GPUs' settings.
        environ: the environment variables of the run.
        notify: shows a sentence to the user at once.

    Raises:
        InvalidRunError: a GPU is in use by another run, or could not be restored after one.
    """
    if scenario.hardware.gpu is None:
        yield Machine(scenario, None, (), {}, environ)
        return
    notes = restore_from_journal(environ).notes
    for note in notes:
        notify(note)
    gpus = readable(read_machine(environ).used(scenario.hardware.count))
    with ExitStack() as stack:
        stack.enter_context(gpu_lock(gpus, environ))
        done = Applied()
        if setup == "apply":
            done = stack.enter_context(applied(scenario.gpu_setup, gpus, environ, notify))
        findings = (*(Finding("warning", "GPU settings", note) for note in notes), *done.findings)
        facts = {"setup.mode": setup, **done.facts}
        yield Machine(scenario, read_machine(environ), findings, facts, environ)
