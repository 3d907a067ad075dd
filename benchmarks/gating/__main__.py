"""The gate against the rules of other projects, on simulated fleets. Needs no GPU, and half a minute.

    python -m benchmarks.gating [--markdown]

docs/background/gate-statistics.md shows and explains the table.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence

from benchmarks.gating.peers import GPUS, LATER_DAYS, LOSSES, STEP, Row, rows
from benchmarks.gating.rules import TRTLLM_DAYS
from benchmarks.gating.study import REFERENCES
from benchmarks.gating.world import FULL_S, SEEN, STARTUP_S

HEAD = (
    "noise",
    "rule",
    "false alarms",
    "FAIL at delta",
    *(f"at {loss:g}%" for loss in LOSSES),
    f"{LATER_DAYS} d later",
    "GPU-s innocent",
    "GPU-s at delta",
)


def cells(row: Row) -> tuple[str, ...]:
    """Return a row as printed; shares in percent."""
    shares = (row.innocent, row.at_delta, *row.at, row.later)
    return (
        f"{row.noise:g}%",
        row.rule,
        *(f"{share * 100:.1f}" for share in shares),
        f"{row.gpu_s:,.0f}",
        f"{row.gpu_s_at_delta:,.0f}",
    )


def plain(table: Sequence[Sequence[str]]) -> str:
    """Return the table as aligned text, with an empty line where the noise changes."""
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines: list[str] = []
    for line, before in zip(table, (table[0], *table[:-1]), strict=True):
        if line[0] != before[0]:
            lines.append("")
        left = f"{line[0]:>{widths[0]}}  {line[1]:<{widths[1]}}"
        lines.append("  ".join((left, *(f"{c:>{w}}" for c, w in zip(line[2:], widths[2:], strict=True)))))
    return "\n".join(lines)


def markdown(table: Sequence[Sequence[str]]) -> str:
    """Return the table for the docs."""
    head, *body = (f"| {' | '.join(line)} |" for line in table)
    return "\n".join([head, f"|---|---|{'---:|' * (len(table[0]) - 2)}", *body])


def foot(found: Sequence[Row]) -> str:
    """Return the explanation of the numbers."""
    peers = [row.replicates for row in found if row.refused is None]
    judged = ", ".join(
        f"{row.replicates:,} at {row.noise:g}% ({row.refused:.1%} more refused)"
        for row in found
        if row.refused is not None
    )
    return " ".join(
        f"""
        Shares of FAIL, in percent; noise is between engine starts on one node. The candidate runs the day
        after the history, on the node of the gate. {LATER_DAYS} d later: the last run before a step of
        {STEP:g}% is {LATER_DAYS} days old, nothing was accepted since, and rolling histories have moved on.
        The rules of other projects know neither nodes nor telemetry: their history is one run per day for
        {TRTLLM_DAYS} days on any node, {FULL_S:g} s measured after {STARTUP_S:g} s of start-up, including
        throttled runs. The gate has {REFERENCES} references, also one per day, on its own node; telemetry
        sees {SEEN:.0%} of throttled runs, which are repeated at the gate's cost. GPU-s are for {GPUS} GPUs,
        with start-up, without history and references. Replicates per number: {max(peers):,}; {min(peers):,}
        for rules on requests and min, which use windows of 1 s; the gate {judged}: references that do not
        resolve delta are refused before GPU time is spent.
        """.split()
    )


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--markdown", action="store_true", help="for the docs")
    parser.add_argument("--gates", type=int, default=20_000, help="simulated for each number (%(default)s)")
    options = parser.parse_args()
    found = list(rows(options.gates))
    table = [HEAD, *map(cells, found)]
    print(markdown(table) if options.markdown else plain(table))
    print()
    print(textwrap.fill(foot(found), 120))


if __name__ == "__main__":
    main()
