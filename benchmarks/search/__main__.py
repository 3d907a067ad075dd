"""Searches for the highest load that keeps an SLO, on simulated queues whose answer is known. Needs no GPU.

    python -m benchmarks.search [--markdown]

Plain bisection gets probes of 10,000 requests, and of the smallest size (2,000, 4,000, ... requests) at which
its interval holds the answer in 95%, or of the largest size that is tried. Takes some minutes.
docs/background/gate-statistics.md shows and explains the table.
"""

from __future__ import annotations

import argparse

from benchmarks.search.study import WORLDS, World, bisected, search, sizes

HEAD = (
    "queue",
    "goal",
    "held",
    "narrow",
    "probes",
    "requests",
    "bisection, 10,000 each",
    "bisection, larger",
    "times our requests",
)


def cells(world: World, searches: int, bisections: int, most: int) -> list[str]:
    """Return one row of the table."""
    found = [search(world, seed) for seed in range(searches)]
    requests = sum(each.requests for each in found) / searches
    seeds = range(bisections)
    usual = bisected(world, 10_000, seeds)
    for size in sizes(most):
        plain = bisected(world, size, seeds)
        if plain.held >= 0.95:
            break
    probes = [len(each.probes) for each in found]
    return [
        world.name,
        f"{world.goal:.0%}",
        f"{sum(each.holds for each in found) / searches:.1%}",
        f"{sum(each.found.narrow for each in found) / searches:.1%}",
        f"{sum(probes) / searches:.1f}, at most {max(probes)}",
        f"{requests:,.0f}",
        f"{usual.held:.0%}",
        f"{plain.size:,} ({plain.held:.0%})",
        f"{plain.requests / requests:.1f}",
    ]


def main() -> None:
    """Simulate and print, row by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true", help="for the docs")
    parser.add_argument("--searches", type=int, default=400, help="per row (%(default)s)")
    parser.add_argument("--bisections", type=int, default=100, help="per row and size (%(default)s)")
    parser.add_argument("--most", type=int, default=1_024_000, help="the largest size tried (%(default)s)")
    options = parser.parse_args()
    join = " | ".join if options.markdown else "  ".join
    edge = "| {} |" if options.markdown else "{}"
    print(edge.format(join(HEAD)))
    if options.markdown:
        print("|---" * len(HEAD) + "|")
    for world in WORLDS:
        row = cells(world, options.searches, options.bisections, options.most)
        print(edge.format(join(row)), flush=True)


if __name__ == "__main__":
    main()
