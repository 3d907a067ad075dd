"""Settings for all tests: signals as in a terminal, Hypothesis profiles, and a client without self-check.

A background job of a shell ignores SIGINT, and a job of nohup ignores SIGHUP. Programs that tests start would
inherit this and never end by the signal.
"""

import importlib.util
import signal

import pytest

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# pytest also reads this file when a user runs the shipped scenarios of a clone, without Hypothesis.
if importlib.util.find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    # A slow test on a busy machine is not a failure, and no merge depends on luck. To search further, use
    # `--hypothesis-profile=random`, which is loaded after this file.
    patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("random", patient, derandomize=False)
    settings.register_profile("steady", patient, derandomize=True)
    settings.load_profile("steady")


@pytest.fixture
def client_unjudged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the check of how late the client is: runs of 2 s would fail it on a busy machine."""
    monkeypatch.setattr("pytest_dsr1.engines.openai.client.self_check.SHORTEST_S", 600.0)
