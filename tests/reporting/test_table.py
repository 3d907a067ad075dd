from __future__ import annotations

from pytest_dsr1.reporting.table import table


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert list(table([("metric", "a"), ("x", "10"), ("longer one", "")])) == [
        "metric      a",
        "x           10",
        "longer one",
    ]
