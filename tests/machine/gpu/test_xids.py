"""Xid errors, told by the stand-in driver through the real binding."""

from __future__ import annotations

import pytest

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.nvml_calls import NvmlError
from pytest_dsr1.machine.gpu.xids import XIDS, described, watched
from tests.standins.nvml.control import FakeMachine


def test_each_error_is_taken_once_with_its_gpu(h200: FakeMachine) -> None:
    with nvml.opened() as library, watched([library.gpu(index) for index in (0, 1, 3)]) as events:
        assert events is not None
        assert events.take() == []
        h200.set_gpu(1, xids="31 79")
        h200.set_gpu(2, xids="13")
        h200.set_gpu(3, xids="45")
        assert events.take() == [(1, 31), (1, 79), (3, 45)], "GPU 2 is not watched"
        assert events.take() == []
    assert h200.calls()[-2:] == ["nvmlEventSetFree -", "nvmlShutdown -"]


def test_a_gpu_that_reports_without_end_does_not_hold_the_run(h200: FakeMachine) -> None:
    h200.set_gpu(0, xids=" ".join(["31"] * 100))
    with nvml.opened() as library, watched([library.gpu(0)]) as events:
        assert events is not None
        assert [len(events.take()) for _ in range(3)] == [64, 36, 0]


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("error.nvmlEventSetCreate", 3),
        ("gpus.error.nvmlDeviceRegisterEvents", 3),
        ("gpu.1.error.nvmlDeviceRegisterEvents", 4),
    ],
)
def test_a_driver_that_does_not_offer_it(h200: FakeMachine, key: str, code: int) -> None:
    h200.set(key, code)
    with nvml.opened() as library, watched([library.gpu(0), library.gpu(1)]) as events:
        assert events is None


def test_a_driver_that_fails_says_so(h200: FakeMachine) -> None:
    with nvml.opened() as library, watched([library.gpu(0)]) as events:
        assert events is not None
        h200.set("error.nvmlEventSetWait_v2", 999)
        with pytest.raises(NvmlError, match=r"^nvmlEventSetWait_v2: Unknown Error$"):
            events.take()


def test_an_error_of_a_gpu_that_is_gone_keeps_its_code(h200: FakeMachine) -> None:
    with nvml.opened() as library, watched([library.gpu(0)]) as events:
        assert events is not None
        h200.set_gpu(0, xids="79", error=15)
        assert events.take() == [(None, 79)]


def test_codes_in_words() -> None:
    assert described(79) == "Xid 79 (GPU has fallen off the bus)"
    assert described(4711) == "Xid 4711 (not in our table)"
    assert {XIDS[code].kind for code in (13, 31, 43, 45)} == {"application"}
    assert {XIDS[code].kind for code in (48, 64, 74, 79, 94, 95, 119, 140, 144, 150)} == {"hardware"}
    assert {XIDS[code].kind for code in (63, 92, 154)} == {"other"}
