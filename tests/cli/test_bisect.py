"""The command `pytest-dsr1 bisect`, also as git runs it on a small repository."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from tests.helpers.environment import without_coverage
from tests.helpers.paths import ROOT
from tests.helpers.suites import CONFTEST, SCENARIO

WRAPPER = [
    sys.executable,
    "-c",
    "import sys; from pytest_dsr1.cli.main import main; sys.exit(main())",
    "bisect",
]


def python(program: str) -> list[str]:
    return ["bisect", "--", sys.executable, "-c", program]


@pytest.mark.parametrize(
    ("status", "wanted", "said"),
    [
        (0, 0, "exit status 0: good"),
        (1, 1, "exit status 1: bad"),
        *(
            (each, 125, f"exit status {each}: neither good nor bad; this commit is skipped (125)")
            for each in (2, 4, 5, 10, 11, 12, 125, 127)
        ),
        (137, 137, "exit status 137: ended by a signal; git bisect stops"),
    ],
)
def test_an_exit_status(status: int, wanted: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(python(f"raise SystemExit({status})")) == wanted
    first, last = capsys.readouterr().err.splitlines()
    assert first.startswith(f"bisect: runs {sys.executable} -c ")
    assert last == f"bisect: {said}"


def test_a_command_that_a_signal_ended(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(python("import os; os.kill(os.getpid(), 9)")) == 137
    assert "exit status 137: ended by a signal; git bisect stops" in capsys.readouterr().err


def test_arguments_are_those_of_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    program = "import sys; print(sys.argv[1:])"
    assert main([*python(program), "-k", "pair", "", "--set=", "--", "--help"]) == 0
    assert capfd.readouterr().out == "['-k', 'pair', '', '--set=', '--', '--help']\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "expected a command after --; git bisect stops"),
        (["--"], "expected a command after --; git bisect stops"),
        (["--", "no-such-command"], "bisect: no-such-command: No such file or directory; git bisect stops"),
    ],
)
def test_a_command_that_cannot_run_stops_the_bisection(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any status below 128 would call a commit good or bad, or skip all of them."""
    assert main(["bisect", *arguments]) == 128
    assert said in capsys.readouterr().err


def test_an_unknown_option_stops_the_bisection_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bisect", "--unknown", "--", "pytest"])
    assert caught.value.code == 128
    assert "error: unrecognized arguments: --unknown" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_bisection_waits_for_its_command(tmp_path: Path, number: signal.Signals) -> None:
    """As pytest does, the command ends with a status of its own after it has stopped its engine."""
    program = (
        "import pathlib, signal, sys, time\n"
        "def stop(number, _):\n"
        "    time.sleep(0.2); pathlib.Path('stopped').touch(); sys.exit(2)\n"
        f"signal.signal({int(number)}, stop)\n"
        "pathlib.Path('ready').touch()\n"
        "time.sleep(60)\n"
    )
    command = [*WRAPPER, "--", sys.executable, "-c", program]
    environment = {**without_coverage(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, start_new_session=True)
    while not (tmp_path / "ready").exists():
        assert process.poll() is None
        time.sleep(0.01)
    if number == signal.SIGINT:  # as a terminal does
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    assert process.wait(30) == 128 + number
    assert (tmp_path / "stopped").exists()


SETUP = """
import os
from pathlib import Path
os.environ["SCRIPTED_THREAD_LOSS"] = str(float(Path("loss").read_text()))
"""


def test_git_finds_the_commit_that_made_it_slower(tmp_path: Path) -> None:
    """The new side of each commit is slower by what the file `loss` says; one commit cannot be measured."""
    repository = tmp_path / "repository"
    (repository / "own").mkdir(parents=True)
    environment = {
        **without_coverage(),
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "DSR1_STATE_DIR": str(tmp_path / "state"),
        "SCRIPTED_NOISE": "0.003",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=repository, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    text = SCENARIO.format(name="rivals", target=16.0) + "gate:\n  delta_percent: 5\n"
    scenario = text.replace("num_requests: 8", "num_requests: 40")
    (repository / "own" / "rivals.yaml").write_text(scenario, encoding="utf-8")
    (repository / "conftest.py").write_text(SETUP + CONFTEST, encoding="utf-8")
    (repository / "tox.ini").write_text("[pytest]\ndsr1_suites = own\naddopts = -p no:cacheprovider\n")
    (repository / ".gitignore").write_text(".dsr1\n*.txt\n__pycache__\n")
    git("init", "-q")
    for number, loss in enumerate(["0.0", "0.00", "0.001", "broken", "0.002", "0.09", "0.08", "0.1"]):
        (repository / "loss").write_text(loss, encoding="utf-8")
        git("add", ".")
        git("commit", "-qm", f"commit {number}")
    git("bisect", "start", "HEAD", "HEAD~7")
    pairs = ["-m", "pytest", "--dsr1-profile=rivals", "--dsr1-against=engine.threads=2", "-k", "pair"]
    output = git("bisect", "run", *WRAPPER, "--", sys.executable, *pairs)
    assert "is the first bad commit" in output
    assert git("log", "-1", "--format=%s", "refs/bisect/bad") == "commit 5\n"
    tried = git("bisect", "log")
    assert "# skip: " in tried
    assert "commit 3" in tried.split("# skip: ")[1].splitlines()[0]
