from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_dsr1.study import losses


def test_a_loss_follows_the_metrics_direction() -> None:
    assert losses.worse("total_output_throughput", 2.0) == pytest.approx(-math.log(0.98))
    assert losses.worse("average_tpot", 2.0) == pytest.approx(math.log(1.02))
    assert losses.in_percent("total_output_throughput", losses.worse("total_output_throughput", 2.0)) == (
        pytest.approx(-2.0)
    )
    assert losses.in_percent("average_tpot", losses.worse("average_tpot", 2.0)) == pytest.approx(2.0)
    mean, values = math.log(1000.0), np.array([980.0, 1000.0, 1020.0])
    lost = np.array([0.020203, 0.0, -0.019803])
    assert losses.loss("total_output_throughput", mean, values) == pytest.approx(lost, abs=1e-6)
    assert losses.loss("average_tpot", mean, values) == pytest.approx(-lost, abs=1e-6)
