"""The promises of docs/background/gate-statistics.md, on queues with a known answer, by our decisions."""

from __future__ import annotations

from functools import cache

from benchmarks.search.study import Search, World, search

SIMULATED = {
    World("", rate=True, limit=10.0, goal=0.9): 80,
    World("", rate=True, limit=20.0, goal=0.95): 20,
    World("", rate=False, limit=27.0, goal=0.99): 40,
    World("", rate=False, limit=12.0, goal=0.95): 260,
}
"""How many searches on each; benchmarks/search has 400 on each of more."""


@cache
def searches() -> tuple[Search, ...]:
    return tuple(search(world, seed) for world, count in SIMULATED.items() for seed in range(count))


def test_the_interval_holds_the_answer_of_a_queue() -> None:
    found = searches()
    assert len(found) == 400
    assert sum(each.holds for each in found) >= 0.95 * 400
    rates = [each for each in found if not each.answer.is_integer()]
    assert len(rates) == 100
    assert sum(each.holds for each in rates) >= 95


def test_at_most_12_probes_give_the_width_that_was_asked() -> None:
    found = searches()
    assert max(len(each.probes) for each in found) <= 12
    assert sum(each.found.narrow for each in found) >= 0.97 * 400
    assert all(each.found.where == "inside" for each in found)
