"""What counts as slow, as an explanation and as negligible: the limits themselves."""

from __future__ import annotations

import pytest

from pytest_dsr1.case.cause.evidence import Evidence, Probed


def test_a_probe_is_slow_by_more_than_it_can_tell() -> None:
    seen = Probed(
        "references",
        {"memory_bandwidth": -0.31, "bf16": -1.0, "fp8": -1.01, "memory_read": 5.0},
        single={3: {"memory_bandwidth": -0.3, "fp8": -1.01}},
        smallest={"memory_bandwidth": 0.3, "bf16": 1.0, "fp8": 1.0, "memory_read": 0.8},
    )
    assert seen.slow() == {"memory_bandwidth": -0.31, "fp8": -1.01, "fp8 of GPU 3": -1.01}


@pytest.mark.parametrize(("share", "missing"), [(None, 0.0), (1.02, 0.0), (1.0, 0.0), (0.75, 25.0)])
def test_how_much_is_missing(share: float | None, missing: float) -> None:
    assert Evidence("FAIL", share_of_target=share).missing_percent == missing


@pytest.mark.parametrize(
    ("share", "loss", "explains", "negligible"),
    [
        (0.5, 25.0, True, False),
        (0.5, 24.9, False, False),
        (0.5, 12.6, False, False),
        (0.5, 12.5, False, True),
        (1.0, 0.5, True, False),
        (1.0, 0.4, False, False),
        (None, 99.0, False, False),
    ],
)
def test_a_loss_explains_half_of_what_is_missing_and_none_of_it_with_a_quarter(
    share: float | None, loss: float, explains: bool, negligible: bool
) -> None:
    evidence = Evidence("FAIL", share_of_target=share)
    assert (evidence.explains(loss), evidence.negligible(loss)) == (explains, negligible)
