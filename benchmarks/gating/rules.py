"""The rules of other projects, as in their sources, on rates or times of many gates at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from benchmarks.gating.world import Array

Flags = NDArray[np.bool_]

TRTLLM_DAYS = 90
TRTLLM_POST_MERGE, TRTLLM_PRE_MERGE = 0.05, 0.10
"""A larger loss is a warning on main, and fails the test of a pull request, respectively."""


def trtllm_baseline(rates: Array) -> Array:
    """Return the throughput that TensorRT-LLM's perf regression pipeline compares with.

    It is the 95th percentile, with linear interpolation, of the trailing mean of 3 days; the first two days
    have fewer.

    Source: ``calculate_baseline_metrics`` in tests/integration/defs/perf/perf_regression_utils.py of
    NVIDIA/TensorRT-LLM at 22a6053, and ``QUERY_LOOKBACK_DAYS`` in open_search_db_utils.py next to it. Earlier
    regressions are part of the history. A baseline that a person pinned in the database would replace this.

    Args:
        rates: the mean of each day with runs on main; the last axis is the days in order.
    """
    total = np.cumsum(rates, axis=-1)
    last_3 = total.copy()
    last_3[..., 3:] -= total[..., :-3]
    smooth = last_3 / np.minimum(np.arange(rates.shape[-1]) + 1, 3)
    return np.asarray(np.percentile(smooth, 95, axis=-1))


def trtllm(rates: Array, candidate: Array, limit: float) -> Flags:
    """Apply TensorRT-LLM's rule: regressive if ``new_value < baseline_value * (1 - threshold)``.

    Source: ``prepare_regressive_test_cases`` in the file that :func:`trtllm_baseline` names. The baseline
    also gets the new value, but the value has no time stamp yet, so the pipeline leaves it out.

    Args:
        rates: as for the baseline; only the last 90 count.
        candidate: the new rate.
        limit: the share that may be lost.
    """
    return np.asarray(candidate < trtllm_baseline(rates[..., -TRTLLM_DAYS:]) * (1 - limit))


def compare_fail(time_s: Array, compared_s: Array, percent: int) -> Flags:
    """Apply pytest-benchmark's ``--benchmark-compare-fail=FIELD:N%``: a time against the stored one.

    Source: ``PercentageRegressionCheck`` in utils.py of pytest-benchmark 5.3.1, ``current / compared * 100 -
    100 > threshold``. It is compared with the last file, or with the file of ``--benchmark-compare=NUMBER``
    (``BenchmarkSession.handle_loading`` in session.py). ``--benchmark-autosave`` saves every run, even one
    that fails.
    """
    return np.asarray(time_s / compared_s * 100 - 100 > percent)


def welch(rates: Array, stored: Array, error: float = 0.01) -> Flags:
    """Apply Welch's one-sided t test along the last axis: the rates are lower than the stored ones.

    Source: B. L. Welch, Biometrika 34 (1947), as in ``scipy.stats.ttest_ind(equal_var=False)``. Its samples
    must be independent, but those of one engine start are not.
    """
    return np.asarray(ttest_ind(rates, stored, axis=-1, equal_var=False, alternative="less").pvalue < error)
