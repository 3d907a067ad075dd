"""The machine of a session, kept from one scenario to the next while our server runs on it."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pytest_dsr1.engines.protocol import EnginePool
from pytest_dsr1.engines.registry import named, new_pool
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.lease import Machine, look, prepared
from pytest_dsr1.machine.nodes.allocation import allocation
from pytest_dsr1.machine.nodes.job import SlurmJob
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import srun_agent
from pytest_dsr1.machine.values import Notify, SetupMode
from pytest_dsr1.measurement.expected import expected_s
from pytest_dsr1.scenario.schema.engine import EngineSettings
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site


class SharedResources:
    """The machine and the kept engines of a session; GPU locks and settings last as long as an engine."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._pools: dict[str, EnginePool] = {}
        self._engines: dict[str, EngineSettings] = {}
        self._machine: Machine | None = None
        self._stack = ExitStack()
        self._job: SlurmJob | None = None
        self._nodes: Nodes | None = None
        self._agents = ExitStack()

    def close(self) -> None:
        """Release everything, and end the agents on the nodes.

        Raises:
            EngineError: as :meth:`release`.
        """
        with self._agents:
            self.release()

    def pool(self, scenario: Scenario) -> EnginePool | None:
        """Return the pool in which the scenario's engine is kept; None if it is never kept."""
        name = scenario.engine.type
        if name not in self._pools and (made := new_pool(scenario.engine)) is not None:
            self._pools[name] = made
            self._engines[name] = scenario.engine
        return self._pools.get(name)

    def make_way(self, scenario: Scenario) -> bool:
        """Release what this scenario cannot use; return whether a server is kept for it."""
        pool = self.pool(scenario)
        with named(scenario.engine, "fits"):
            fits = pool is not None and pool.fits(scenario)
        if not fits:
            self.release()
        return self._keeps(scenario.engine.type)

    def _keeps(self, name: str) -> bool:
        """Return whether the pool of this engine keeps anything."""
        if name not in self._pools:
            return False
        with named(self._engines[name], "__bool__ of the pool"):
            return bool(self._pools[name])

    def _end(self, name: str) -> None:
        with named(self._engines[name], "end of the pool"):
            self._pools[name].end()

    def look(
        self,
        scenario: Scenario,
        setup: SetupMode,
        environ: Mapping[str, str],
        writes_to: Path,
        bytes_needed: int,
        notify: Notify,
    ) -> tuple[Finding, ...]:
        """Return the preflight's findings. Changes nothing but what the scenario cannot use, which ends.

        Raises:
            InvalidRunError: a node of the Slurm job cannot be asked.
            EngineError: a server that must end first cannot be ended.
        """
        reused = self.make_way(scenario)
        if (nodes := self._nodes_for(scenario, environ, notify)) is not None:
            assert self._job is not None
            of_job = self._job.look(scenario, self._site, expected_s(scenario))
            found = nodes.look(
                scenario,
                setup,
                writes_to,
                bytes_needed,
                reused=reused,
                in_container=self._site.slurm.in_container(scenario.hardware.nodes),
            )
            return (*of_job, *found)
        return look(scenario, setup, environ, writes_to, bytes_needed, reused=reused)

    def _nodes_for(self, scenario: Scenario, environ: Mapping[str, str], notify: Notify) -> Nodes | None:
        """Return the agents of the Slurm job; None outside of one, and for a scenario without a GPU.

        Their end restores the GPUs of each node, also when Slurm ends this process with SIGKILL. A container
        of the job may lack Slurm's programs: pytest then looks after the GPUs of its one node itself.
        """
        hardware = scenario.hardware
        if hardware.gpu is None:
            return None
        if hardware.nodes == 1 and shutil.which("srun", path=environ.get("PATH")) is None:
            return None
        if self._nodes is None and (job := allocation(environ)) is not None:
            self._job = SlurmJob(job, environ)
            self._nodes = self._agents.enter_context(Nodes(job.nodes, srun_agent(job), environ, notify))
        return self._nodes

    def machine(
        self, scenario: Scenario, setup: SetupMode, environ: Mapping[str, str], notify: Notify
    ) -> Machine:
        """Return the scenario's machine, locked and set up; unchanged if its server is kept.

        Raises:
            InvalidRunError: as :func:`~pytest_dsr1.machine.lease.prepared`.
            EngineError: a server that must end first cannot be ended.
        """
        if self.make_way(scenario) and self._machine is not None:
            self._machine = self._machine.of(scenario)
        else:
            nodes = self._nodes_for(scenario, environ, notify)
            made = (
                nodes.prepared(scenario, setup)
                if nodes is not None
                else prepared(scenario, setup, environ, notify)
            )
            self._machine = self._stack.enter_context(made)
        return self._machine

    def scenario_ended(self) -> None:
        """Release everything, unless a server is kept.

        Raises:
            EngineError: as :meth:`release`.
        """
        if not self.keeps_server:
            self.release()

    @property
    def keeps_server(self) -> bool:
        """Whether a server is kept, and so running."""
        return any(map(self._keeps, self._pools))

    def end_engines(self) -> None:
        """End everything that is kept; the machine stays locked.

        Raises:
            EngineError: processes of a server survive even SIGKILL.
        """
        with ExitStack() as ending:
            for name in self._pools:
                ending.callback(self._end, name)

    def release(self) -> None:
        """End everything that is kept, then restore and unlock the machine.

        Raises:
            EngineError: processes of a server survive even SIGKILL.
        """
        self._machine = None
        try:
            self.end_engines()
        finally:
            self._stack.close()
