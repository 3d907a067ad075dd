"""The machine of a session, held from one scenario to the next as long as a server of ours is on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pytest_dsr1.engines.protocol import EnginePool
from pytest_dsr1.engines.registry import spec_of
from pytest_dsr1.machine.lease import Machine, prepared
from pytest_dsr1.machine.setup.apply import Notify
from pytest_dsr1.machine.values import SetupMode
from pytest_dsr1.scenario.schema.scenario import Scenario


class SharedResources:
    """The lock and the settings of the GPUs outlive their scenario where something of its engine does."""

    def __init__(self) -> None:
        self._pools: dict[str, EnginePool] = {}
        self._machine: Machine | None = None
        self._stack = ExitStack()

    def pool(self, scenario: Scenario) -> EnginePool | None:
        """Return what the scenario's engine keeps things in; None where it keeps nothing."""
        name, make = scenario.engine.type, spec_of(scenario.engine).pool
        if make is not None and name not in self._pools:
            self._pools[name] = make()
        return self._pools.get(name)

    def make_way(self, scenario: Scenario) -> bool:
        """Let go of what this scenario does not use; return whether a server stays that will answer it."""
        pool = self.pool(scenario)
        if pool is None or not pool.fits(scenario):
            self.release()
        return bool(pool)

    def machine(
        self, scenario: Scenario, setup: SetupMode, environ: Mapping[str, str], tell: Notify
    ) -> Machine:
        """Return the scenario's machine, locked and set up; the same where its server is there already.

        Raises:
            InvalidRunError: as :func:`~pytest_dsr1.machine.lease.prepared`.
            EngineError: a server that had to make way cannot be ended.
        """
        if self.make_way(scenario) and self._machine is not None:
            self._machine = self._machine.of(scenario)
        else:
            self._machine = self._stack.enter_context(prepared(scenario, setup, environ, tell))
        return self._machine

    def scenario_ended(self) -> None:
        """Let go, unless a server is kept.

        Raises:
            EngineError: as :meth:`release`.
        """
        if not any(self._pools.values()):
            self.release()

    def end_engines(self) -> None:
        """End everything that is kept, and leave the machine locked.

        Raises:
            EngineError: processes of a server survive even SIGKILL.
        """
        with ExitStack() as ending:
            for pool in self._pools.values():
                ending.callback(pool.end)

    @contextmanager
    def ended_on_failure(self) -> Iterator[None]:
        """End everything that is kept if the block fails: its state is unknown then."""
        try:
            yield
        except BaseException:
            self.end_engines()
            raise

    def release(self) -> None:
        """End what is kept, then put the machine back and unlock it.

        Raises:
            EngineError: processes of a server survive even SIGKILL.
        """
        self._machine = None
        try:
            self.end_engines()
        finally:
            self._stack.close()
