"""Plain bisection, which our search is compared with."""

from __future__ import annotations

from benchmarks.search.study import World, bisected, sizes

WORLD = World("", rate=False, limit=12.0, goal=0.9)


def test_longer_probes_make_bisection_right_more_often() -> None:
    short, long = (bisected(WORLD, size, range(60)) for size in (300, 20_000))
    assert short.held < 0.8
    assert long.held > 0.9
    assert long.requests / short.requests > 20_000 / 300 * 0.9


def test_sizes_double() -> None:
    assert list(sizes(9_000)) == [2_000, 4_000, 8_000]
