"""Whatever is killed in a run over two nodes, nothing is left; ``benchmarks.cluster.kills`` kills more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_kills import carried_out, drawn

SEEDS = (4, 7, 10, 22, 23, 25, 28, 30, 40, 470)
"""Each target at least once, in all parts of a run."""


@pytest.mark.parametrize("seed", [pytest.param(seed, id=f"{seed} {drawn(seed).name}") for seed in SEEDS])
def test_a_kill_leaves_nothing_behind(cluster: Cluster, tmp_path: Path, seed: int) -> None:
    outcome = carried_out(drawn(seed), cluster, tmp_path)
    assert outcome.wrong == (), drawn(seed)
