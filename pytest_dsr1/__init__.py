"""DeepSeek-R1 inference performance targets on TensorRT-LLM as pass/fail tests.

``load_results`` reads saved results: ``pytest_dsr1.load_results(".dsr1").to_dataframe()``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_dsr1.results.loading import Results, load_results
    from pytest_dsr1.results.result import MetricResult, Result

__all__ = ["MetricResult", "Result", "Results", "load_results"]


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used: every pytest run imports this module."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pytest_dsr1.results import loading, result

    return getattr(loading, name, None) or getattr(result, name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
