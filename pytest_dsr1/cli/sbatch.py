"""The command ``pytest-dsr1 sbatch``: scenarios as arrays of Slurm jobs."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_dsr1.cli.bisect import STOPPING
from pytest_dsr1.cli.job_array import JOB, JobArray, arrays_of, script
from pytest_dsr1.masking import masked_words
from pytest_dsr1.text import say, shell_command, shown_path

if TYPE_CHECKING:
    from pytest_dsr1.cli.job_states import Task, TaskState

_SUBMIT = ("sbatch", "--parsable")
_END_OF_SCRIPT = "END_OF_SCRIPT"


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    command = commands.add_parser(
        "sbatch",
        help="run scenarios as Slurm jobs",
        description="Submit scenarios to Slurm: an array of jobs for each number of nodes and GPUs, a task "
        "for each scenario. All other options are those of pytest, such as --dsr1-site=FILE, and each task "
        "gets them. With --wait the exit status is the worst one of the tasks. See `pytest-dsr1 docs "
        "gpus#scenarios-as-slurm-jobs`.",
        allow_abbrev=False,
    )
    command.add_argument("profile", metavar="PROFILE", help="names or globs of profiles, separated by commas")
    command.add_argument("--plan", action="store_true", help="print the scripts and submit nothing")
    command.add_argument(
        "--wait",
        action="store_true",
        help="wait for the jobs, cancel them on Ctrl-C, and write a page of all results",
    )
    command.add_argument(
        "--dsr1-results",
        type=Path,
        default=Path(".dsr1"),
        metavar="DIR",
        help="where results are saved, as DIR/slurm-<job>/<profile>/<UTC time>/ (default: .dsr1)",
    )
    command.add_argument(
        "--dsr1-report",
        type=Path,
        metavar="FILE",
        help="the page that --wait writes (default: DIR/slurm-<first job>.html)",
    )
    command.set_defaults(run=_sbatch, of_pytest=[])


def _sbatch(options: argparse.Namespace) -> int:
    from pytest_dsr1.cli.job_states import wait
    from pytest_dsr1.reporting import formats

    if not options.plan:
        _refuse_here()
    results: Path = options.dsr1_results.absolute()
    wanted: Path = options.dsr1_report or results / f"{JOB}0.html"
    reports = [f"--dsr1-report={wanted}"] if options.wait and not options.plan else []
    config = _config([*options.of_pytest, *reports, f"--dsr1-profile={options.profile}"])
    with _in_a_sentence():
        arrays, site = _arrays(config, options.profile)
    shown: Callable[[list[str]], list[str]] = masked_words if options.plan else list
    scripts = [script(array, shown(site), results, shown(options.of_pytest)) for array in arrays]
    if options.plan:
        for text in scripts:
            sys.stdout.write(f"{shell_command(_SUBMIT)} <<'{_END_OF_SCRIPT}'\n{text}{_END_OF_SCRIPT}\n")
        return 0
    _make(results)
    with _in_a_sentence():
        formats.requested(config)  # not after hours of GPU time
    jobs: list[str] = []
    try:
        with _stopped_by_signals(), _canceling(jobs):
            for array, text in zip(arrays, scripts, strict=True):
                jobs.append(_submitted(text))
                say(f"job {jobs[-1]}: {array.words}")
            tasks = _tasks(jobs, arrays)
            ended = wait(tasks) if options.wait else {}
    except KeyboardInterrupt as stop:
        return 128 + int(stop.args[0])
    report: Path = options.dsr1_report or results / f"{JOB}{jobs[0]}.html"
    return _gathered(tasks, ended, results, report) if options.wait else _told(jobs, results, report)


def _refuse_here() -> None:
    """Raise if jobs cannot be submitted from here."""
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.process.slurm import own_step

    if (step := own_step(os.environ)) is not None:
        raise UserError(
            f"this is step {step} of srun, whose variables the jobs would inherit: start pytest-dsr1 sbatch "
            "without srun, on a login node"
        )
    if shutil.which(_SUBMIT[0]) is None:
        raise UserError(
            "there is no program sbatch in PATH: start this on a login node of the cluster; --plan prints "
            "the scripts anywhere"
        )


def _make(results: Path) -> None:
    """Make the folder of results: Slurm does not, and a job without a place for its log fails in silence."""
    from pytest_dsr1.errors import UserError

    try:
        results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{results}: results cannot be written: {error.strerror}; choose another folder with "
            "--dsr1-results=DIR"
        ) from None


def _config(words: Sequence[str]) -> pytest.Config:
    """Return pytest's configuration with these words.

    Raises:
        UserError: pytest does not accept them; it has printed why.
    """
    from pytest_dsr1.cli.suites import config_of
    from pytest_dsr1.errors import UserError

    config = config_of(words)
    if config is None:
        raise UserError("pytest does not accept these options: correct what it reports above")
    return config


@contextmanager
def _in_a_sentence() -> Iterator[None]:
    """Raise what pytest would print about its options."""
    from pytest_dsr1.errors import UserError

    try:
        yield
    except pytest.UsageError as error:
        raise UserError(str(error)) from None


def _arrays(config: pytest.Config, profile: str) -> tuple[list[JobArray], list[str]]:
    """Return the arrays, and the site's options of sbatch.

    Raises:
        UserError: a scenario or the site file cannot be used; the message has all mistakes.
        UsageError: the options do not go together.
    """
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.session import options, selection

    for option in ("--dsr1-replay", "--dsr1-resume"):
        if config.getoption(option):
            raise UserError(f"{option} needs earlier results, and each job has a new folder: remove it")
    options.refuse_empty(config)
    mode = options.mode(config)
    loaded, known, problems, _ = selection.to_show(config)
    site = options.site(config)
    if problems:
        raise UserError("\n".join(problems))
    run_once = mode in {None, "record"} and not config.getoption("--dsr1-probe")
    return arrays_of(loaded, known.points(profile), run_once=run_once), site.slurm.sbatch


def _tasks(jobs: Sequence[str], arrays: Sequence[JobArray]) -> dict[Task, str]:
    """Return what each task runs."""
    return {
        (job, number): name
        for job, array in zip(jobs, arrays, strict=True)
        for number, name in enumerate(array.profiles)
    }


def _submitted(text: str) -> str:
    """Submit a script and return the id of its job.

    Raises:
        UserError: sbatch refused it.
    """
    from pytest_dsr1.errors import UserError

    done = subprocess.run(_SUBMIT, input=text, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = done.stderr.strip() or f"exit status {done.returncode}"
        raise UserError(f"{said}\nThe options are those of slurm.sbatch in the site file; --plan prints all.")
    return done.stdout.strip().partition(";")[0]


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Make each signal that stops a program, as CI servers send it, an interruption with its number."""

    def stop(number: int, _: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt(number)

    before = {name: signal.signal(getattr(signal, name), stop) for name in STOPPING}
    try:
        yield
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


@contextmanager
def _canceling(jobs: Sequence[str]) -> Iterator[None]:
    """Cancel these jobs if the block does not end by itself."""
    try:
        yield
    except BaseException:
        if jobs:
            what = f"job{'s' if len(jobs) > 1 else ''} {', '.join(jobs)}"
            done = subprocess.run(["scancel", *jobs], capture_output=True, text=True, check=False)
            failed = f"{what} could not be canceled: {done.stderr.strip()}"
            say(failed if done.returncode else f"canceled {what}", error=True)
        raise


def _replay(jobs: Iterable[str], results: Path, report: Path) -> list[str]:
    """Return the options of pytest that make a page of all results of these jobs."""
    folders = (f"--dsr1-replay={shown_path(results / f'{JOB}{job}')}" for job in jobs)
    return [*folders, f"--dsr1-report={shown_path(report)}"]


def _told(jobs: Sequence[str], results: Path, report: Path) -> int:
    """Say what to type next."""
    say(f"look: squeue --jobs={','.join(jobs)}; the logs are {shown_path(results)}/{JOB}*.log")
    say(f"cancel: {shell_command(['scancel', *jobs])}")
    say(f"when they have ended: {shell_command(['pytest', *_replay(jobs, results, report)])}")
    return 0


def _gathered(tasks: Mapping[Task, str], ended: Mapping[Task, TaskState], results: Path, report: Path) -> int:
    """Write the page of all results; return the worst exit status of the tasks."""
    from pytest_dsr1.cli.job_states import INVALID, worst

    for (job, number), state in ended.items():
        if state.exit_status:
            log = shown_path(results / f"{JOB}{job}_{number}.log")
            say(f"{job}_{number} {tasks[job, number]}: {state.words}, log {log}", error=True)
    status = worst(ended.values())
    jobs = [job for job in dict.fromkeys(job for job, _ in tasks) if (results / f"{JOB}{job}").is_dir()]
    if not jobs:
        say("no job left a result", error=True)
        return status or INVALID
    sys.stdout.flush()
    report.unlink(missing_ok=True)  # an old page must not be taken for a new one
    subprocess.run([sys.executable, "-m", "pytest", *_replay(jobs, results, report)], check=False)
    return status if report.exists() else status or INVALID
