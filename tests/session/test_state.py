"""What a session remembers of a scenario, and what --dsr1-allow-mismatch overrides."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.session.state import ScenarioOutcome, allowed

HARDWARE = ["GPUs", "GPU 3 MIG mode", "GPU count", "NVIDIA driver", "CUDA_VISIBLE_DEVICES"]
NEEDED = ["software", "TensorRT-LLM", "Slurm", "disk space", "check mine"]
ADVICE = "--dsr1-allow-mismatch runs anyway and keeps this as a warning"


def outcome(*findings: Finding) -> ScenarioOutcome:
    unused: Any = None
    return ScenarioOutcome(unused, "", findings=findings)


@pytest.mark.parametrize("subject", HARDWARE)
def test_a_mismatch_of_the_hardware_can_be_allowed(subject: str) -> None:
    found = Finding("mismatch", subject, "expected 8, found 1")
    message = "expected 8, found 1 (allowed by --dsr1-allow-mismatch)"
    assert allowed([found]) == (Finding("warning", subject, message),)
    assert ADVICE in str(outcome(found).problem)


@pytest.mark.parametrize("subject", NEEDED)
def test_what_no_run_can_do_without_cannot(subject: str) -> None:
    found = Finding("mismatch", subject, "vllm: not found; install it")
    of_gpu = Finding("mismatch", "GPU count", "expected 8, found 1")
    warning, kept = allowed([of_gpu, found])
    assert (warning.severity, kept) == ("warning", found)
    assert ADVICE not in str(outcome(found).problem)
    assert ADVICE not in str(outcome(of_gpu, found).problem)  # it would not run


def test_other_findings_stay() -> None:
    others = (Finding("ok", "GPU count", "8"), Finding("warning", "GPU 0 vboost", "found 0"))
    assert allowed(others) == others
