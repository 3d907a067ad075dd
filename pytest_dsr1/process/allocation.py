"""The options of sbatch for a run on whole nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence

_TERM_BEFORE_END_S = 120
"""How long before its time limit a run is told to end: it then restores the GPUs' settings."""


def sbatch_options(nodes: int, gpus: int, site: Sequence[str], limit_s: float | None) -> list[str]:
    """Return the options, in an order in which the last of equal ones is meant, as sbatch takes them.

    Args:
        nodes: how many nodes a run needs.
        gpus: how many GPUs it needs on each.
        site: the options of the site, which say more about GPUs, time and sharing than we know.
        limit_s: the longest time of a run, in s; None if it is not known.
    """
    known = {option.partition("=")[0] if option.startswith("--") else option[:2] for option in site}
    options = ["--no-requeue", f"--signal=B:TERM@{_TERM_BEFORE_END_S}"]
    if gpus and not known & {"--gpus-per-node", "--gpus", "-G", "--gres"}:
        options.append(f"--gpus-per-node={gpus}")
    if "--exclusive" not in known:
        options.append("--exclusive")
    if limit_s is not None and not known & {"--time", "-t"}:
        options.append(f"--time={math.ceil(limit_s / 60)}")
    return [*options, *site, f"--nodes={nodes}"]
