"""The machine of a session, held from one scenario to the next as long as a server of ours is on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from pytest_dsr1.engines.openai.server.reuse import KeptServer
from pytest_dsr1.machine.lease import Machine, prepared
from pytest_dsr1.machine.setup.apply import Notify
from pytest_dsr1.machine.values import SetupMode
from pytest_dsr1.scenario.schema.scenario import Scenario


class SharedResources:
    """The lock and the settings of the GPUs outlive their scenario where its server does.

    Attributes:
        server: the server, or none.
    """

    def __init__(self) -> None:
        self.server = KeptServer()
        self._machine: Machine | None = None
        self._stack = ExitStack()

    def make_way(self, scenario: Scenario) -> bool:
        """Let go of what this scenario does not use; whether a server stays that will answer it."""
        if not self.server.fits(scenario):
            self.release()
        return bool(self.server)

    def machine(
        self, scenario: Scenario, setup: SetupMode, environ: Mapping[str, str], tell: Notify
    ) -> Machine:
        """The scenario's machine, locked and set up; still so where its server is there already.

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
        if not self.server:
            self.release()

    def release(self) -> None:
        """End the server, then put the machine back and unlock it.

        Raises:
            EngineError: processes of the server survive even SIGKILL.
        """
        self._machine = None
        try:
            self.server.end()
        finally:
            self._stack.close()
