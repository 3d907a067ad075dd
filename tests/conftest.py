"""What all tests share: signals as a terminal has them, how Hypothesis searches, a client that is not judged.

A shell's background job ignores SIGINT, and one of nohup SIGHUP. Programs that tests start would inherit
that, and wait for ever for the signal that is to end them.
"""

import importlib.util
import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Without it where shipped scenarios of a clone are run: pytest reads this file then too.
if importlib.util.find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # A busy machine is slow, which is no failure, and no landing depends on luck. Who looks for more says
    # `--hypothesis-profile=random`, which is loaded after this file.
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("random", patient, derandomize=False)
    settings.register_profile("steady", patient, derandomize=True)
    settings.load_profile("steady")


@pytest.fixture
def client_unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that takes 2 s is judged by how late the client is, and so fails on a busy machine."""
    monkeypatch.setattr("pytest_dsr1.engines.openai.client.self_check.SHORTEST_S", 600.0)
