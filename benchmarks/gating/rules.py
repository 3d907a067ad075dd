"""The rules of other projects, each as its source has it, on rates or times of many gates at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ttest_ind

from benchmarks.gating.world import Array

Flags = NDArray[np.bool_]

TRTLLM_DAYS = 90
TRTLLM_POST_MERGE, TRTLLM_PRE_MERGE = 0.05, 0.10
"""A loss of more is a warning on main, and fails the test of a pull request."""


def trtllm_baseline(rates: Array) -> Array:
    """What TensorRT-LLM's perf regression pipeline compares a throughput with.

    The 95th percentile, with linear interpolation, of the trailing mean of 3 days; the first two days have
    fewer. Source: ``calculate_baseline_metrics`` in tests/integration/defs/perf/perf_regression_utils.py of
    NVIDIA/TensorRT-LLM at 22a6053, and ``QUERY_LOOKBACK_DAYS`` in open_search_db_utils.py beside it. Earlier
    regressions are no exception: they are part of the history. A baseline that a person has pinned in the
    database would come before this.

    Args:
        rates: the mean of each day with runs on main, the last axis being days in order.
    """
    total = np.cumsum(rates, axis=-1)
    last_3 = total.copy()
    last_3[..., 3:] -= total[..., :-3]
    smooth = last_3 / np.minimum(np.arange(rates.shape[-1]) + 1, 3)
    return np.asarray(np.percentile(smooth, 95, axis=-1))


def trtllm(rates: Array, candidate: Array, limit: float) -> Flags:
    """TensorRT-LLM: regressive if ``new_value < baseline_value * (1 - threshold)``.

    Source: ``prepare_regressive_test_cases`` in the file that :func:`trtllm_baseline` names. The new value is
    handed to the baseline as well, but nothing in the pipeline has stamped it by then, so it is left out.

    Args:
        rates: as for the baseline; only the last 90 are looked at.
        candidate: the new rate.
        limit: the share that may be lost.
    """
    return np.asarray(candidate < trtllm_baseline(rates[..., -TRTLLM_DAYS:]) * (1 - limit))


def compare_fail(time_s: Array, compared_s: Array, percent: int) -> Flags:
    """pytest-benchmark's ``--benchmark-compare-fail=FIELD:N%``: one statistic of time against the stored one.

    Source: ``PercentageRegressionCheck`` in utils.py of pytest-benchmark 5.3.1, ``current / compared * 100 -
    100 > threshold``. It is compared with the last file, or with that which ``--benchmark-compare=NUMBER``
    names (``BenchmarkSession.handle_loading`` in session.py); ``--benchmark-autosave`` saves every run, also
    one that fails.
    """
    return np.asarray(time_s / compared_s * 100 - 100 > percent)


def welch(rates: Array, stored: Array, error: float = 0.01) -> Flags:
    """Welch's t test, one-sided, of samples along the last axis: the rates are lower than the stored ones.

    Source: B. L. Welch, Biometrika 34 (1947), as in ``scipy.stats.ttest_ind(equal_var=False)``. Its samples
    must be independent: those of one engine start are not.
    """
    return np.asarray(ttest_ind(rates, stored, axis=-1, equal_var=False, alternative="less").pvalue < error)
