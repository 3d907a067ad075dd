"""What flowed up to a moment."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.metrics.token_flow import flowed, output_flow


def test_evenly_or_at_once() -> None:
    begin, end, amount = np.array([[0.0, 2.0], [2.0, 2.0], [4.0, 10.0]]).reshape(3, 2)
    came = flowed(np.array([-1.0, 1.0, 1.999999, 2.0, 3.0]), begin, end, amount)
    np.testing.assert_allclose(came, [0, 2, 3.999998, 14, 14])


def test_output_tokens_of_a_streamed_and_an_unstreamed_request() -> None:
    start, first, last, tokens = np.array([[0.0, 0.0], [1.0, np.nan], [3.0, 4.0], [11.0, 8.0]])
    flow = output_flow(start, first, last, tokens)
    came = flowed(np.array([0.5, 1.0, 2.0, 4.0]), *flow)
    np.testing.assert_allclose(came, [1, 1 + 2, 6 + 4, 11 + 8])


@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 5), st.floats(0, 5), st.integers(0, 100)), min_size=1),
    st.lists(st.floats(-1, 25), min_size=1),
)
def test_nothing_is_lost(requests: list[tuple[float, float, float, int]], times: list[float]) -> None:
    start, wait, decode, tokens = np.array(requests, dtype=float).T
    flow = output_flow(start, start + wait, start + wait + decode, tokens)
    came = flowed(np.array([*sorted(times), 30.0]), *flow)
    assert (np.diff(came) >= -1e-9).all()
    assert abs(came[-1] - tokens.sum()) < 1e-9
