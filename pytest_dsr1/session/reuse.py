"""The machine of a session, kept from one scenario to the next while our server runs on it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

from pytest_dsr1.engines.openai.server.reuse import KeptServer
from pytest_dsr1.machine.lease import Machine, prepared
from pytest_dsr1.machine.setup.apply import Tell
from pytest_dsr1.machine.values import SetupMode
from pytest_dsr1.scenario.schema.scenario import Scenario


class SharedResources:
    """The machine and the server of a session; GPU locks and settings last as long as the server.

    Attributes:
        server: the kept server, if there is one.
    """

    def __init__(self) -> None:
        self.server = KeptServer()
        self._machine: Machine | None = None
        self._stack = ExitStack()

    def make_way(self, scenario: Scenario) -> bool:
        """Release what this scenario cannot use; return whether a server is kept for it."""
        if not self.server.fits(scenario):
            self.release()
        return bool(self.server)

    def machine(
        self, scenario: Scenario, setup: SetupMode, environ: Mapping[str, str], tell: Tell
    ) -> Machine:
        """Return the scenario's machine, locked and set up; unchanged if its server is kept.

        Raises:
            InvalidRunError: as :func:`~pytest_dsr1.machine.lease.prepared`.
            EngineError: a server that must end first cannot be ended.
        """
        if self.make_way(scenario) and self._machine is not None:
            self._machine = self._machine.of(scenario)
        else:
            self._machine = self._stack.enter_context(prepared(scenario, setup, environ, tell))
        return self._machine

    def scenario_ended(self) -> None:
        """Release everything, unless a server is kept.

        Raises:
            EngineError: as :meth:`release`.
        """
        if not self.server:
            self.release()

    def release(self) -> None:
        """End the server, then restore and unlock the machine.

        Raises:
            EngineError: processes of the server survive even SIGKILL.
        """
        self._machine = None
        try:
            self.server.end()
        finally:
            self._stack.close()
