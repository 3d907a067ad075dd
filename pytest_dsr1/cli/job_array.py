"""Arrays of Slurm jobs: scenarios that need the same nodes, and the script of each array."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import UserError
from pytest_dsr1.process.allocation import sbatch_options
from pytest_dsr1.text import shell_command, shell_word

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.schema.scenario import Scenario

JOB = "slurm-"
"""The start of the names of a job's folder of results, and of the logs of its tasks."""


@dataclass(frozen=True, slots=True)
class JobArray:
    """One array of jobs.

    Attributes:
        nodes: how many nodes each task needs.
        gpus: how many GPUs it needs on each.
        profiles: the value of ``--dsr1-profile`` for each task, by its number.
        limit_s: the longest time of a task, in s; None if it is not known.
    """

    nodes: int
    gpus: int
    profiles: tuple[str, ...]
    limit_s: float | None

    @property
    def words(self) -> str:
        """The scenarios and their shape."""
        nodes = "1 node" if self.nodes == 1 else f"{self.nodes} nodes"
        gpus = "no GPU" if not self.gpus else "1 GPU" if self.gpus == 1 else f"{self.gpus} GPUs"
        return f"{', '.join(self.profiles)} on {nodes} with {gpus}{' each' if self.nodes > 1 else ''}"


def arrays_of(
    scenarios: Iterable[LoadedScenario], chosen: Mapping[Path, object], *, run_once: bool
) -> list[JobArray]:
    """Return an array for each shape, in the order of the scenarios; the points of a sweep are one task.

    Args:
        scenarios: to run.
        chosen: the files of which only named points run.
        run_once: whether each is run once, so that its time may be known.
    """
    files: dict[Path, list[Scenario]] = {}
    for each in scenarios:
        files.setdefault(each.path, []).append(each.scenario)
    shapes: dict[tuple[int, int], list[tuple[str, float | None]]] = {}
    for path, found in files.items():
        shape = (
            max(each.hardware.nodes for each in found),
            max(max(each.gpus_by_node) for each in found),
        )
        names = dict.fromkeys(
            each.name if each.point is None or path in chosen else each.point.sweep for each in found
        )
        limit_s = _limit_s(found) if run_once else None
        shapes.setdefault(shape, []).append((",".join(names), limit_s))
    return [
        JobArray(nodes, gpus, tuple(name for name, _ in tasks), _longest([limit for _, limit in tasks]))
        for (nodes, gpus), tasks in shapes.items()
    ]


def _longest(limits: Sequence[float | None]) -> float | None:
    known = [limit for limit in limits if limit is not None]
    return max(known) if len(known) == len(limits) else None


def _limit_s(scenarios: Sequence[Scenario]) -> float | None:
    from pytest_dsr1.measurement.expected import job_timeout_s

    limits = [job_timeout_s(each) for each in scenarios]
    known = [limit for limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def script(array: JobArray, site: Sequence[str], results: Path, words: Sequence[str]) -> str:
    """Return the script of an array, for sbatch.

    Args:
        array: its tasks.
        site: the site's options of sbatch.
        results: the folder of results, absolute; each job gets one of its own in it.
        words: the other options of pytest.

    Raises:
        UserError: sbatch does not take the path of the folder as it is.
    """
    if not str(results).isprintable() or "\\" in str(results):
        raise UserError(
            f"--dsr1-results: expected a path on one line, without a backslash, found {str(results)!r}"
        )
    options = [
        "--job-name=dsr1",
        *sbatch_options(array.nodes, array.gpus, site, array.limit_s),
        f"--array=0-{len(array.profiles) - 1}",
        f"--output={str(results).replace('%', '%%')}/{JOB}%A_%a.log",
    ]
    pytest = [sys.executable, "-m", "pytest", *words]
    folder = f'{shell_word(f"--dsr1-results={results}/{JOB}")}"$SLURM_ARRAY_JOB_ID"'
    tasks = (f"  {number}) profile={shell_word(name)} ;;" for number, name in enumerate(array.profiles))
    lines = [
        "#!/bin/sh",
        *(f"#SBATCH {shlex.quote(option)}" for option in options),
        "case $SLURM_ARRAY_TASK_ID in",
        *tasks,
        "esac",
        # Without exec, only this shell would get SIGTERM, and pytest could not restore the GPUs.
        f'exec {shell_command(pytest)} --dsr1-profile="$profile" {folder}',
    ]
    return "\n".join(lines) + "\n"
