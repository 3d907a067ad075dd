"""The command `pytest-dsr1 sbatch`, with stand-ins of Slurm's programs."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dsr1.cli import job_states
from pytest_dsr1.cli.main import main
from tests.helpers.saved_runs import Made, save
from tests.helpers.suites import SCENARIO
from tests.standins.slurm import install

SITE = "slurm: {sbatch: [--partition=batch]}\n"
ENDED = "1 0 COMPLETED 0 None\n1 1 COMPLETED 0 None\n2 0 COMPLETED 0 None"
PATTERN = "alpha,beta,h200-min-latency"
"""Two scenarios on the CPU, and one on 8 GPUs: two arrays."""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the stand-ins; the working directory has two profiles and a site file."""
    work = tmp_path / "work"
    (work / "own").mkdir(parents=True)
    for name in ("alpha", "beta"):
        text = SCENARIO.format(name=name, target=16.0)
        (work / "own" / f"{name}.yaml").write_text(text, encoding="utf-8")
    (work / "pytest.ini").write_text("[pytest]\ndsr1_suites = own\naddopts = -p no:cacheprovider\n")
    (work / "site.yaml").write_text(SITE, encoding="utf-8")
    monkeypatch.chdir(work)
    monkeypatch.setenv("PATH", str(install(tmp_path / "bin")))
    monkeypatch.setenv("DSR1_STANDIN_SLURM", str(tmp_path))
    for name in ("SLURM_STEP_ID", "DSR1_SITE", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(job_states, "POLL_S", 0.0)
    return tmp_path


def states(folder: Path, *paragraphs: str) -> None:
    (folder / "states").write_text("\n\n".join(paragraphs), encoding="utf-8")


def jobs(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("job-*.sh"))


def canceled(folder: Path) -> list[str]:
    path = folder / "canceled"
    return path.read_text().split() if path.exists() else []


def test_the_plan_is_a_shell_script_that_submits(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sbatch", PATTERN, "--plan", "--dsr1-site=site.yaml"]) == 0
    plan = capsys.readouterr().out
    assert jobs(slurm) == []
    assert not Path(".dsr1").exists()
    Path(".dsr1").mkdir()
    done = subprocess.run(["/bin/sh"], input=plan, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n2\n"
    assert main(["sbatch", PATTERN, "--dsr1-site=site.yaml"]) == 0
    first, second, *again = [(slurm / f"job-{number}.sh").read_text() for number in (1, 2, 3, 4)]
    assert [first, second] == again
    assert "#SBATCH --partition=batch\n#SBATCH --nodes=1\n#SBATCH --array=0-1\n" in first
    assert "gpus-per-node" not in first
    assert "#SBATCH --gpus-per-node=8\n" in second
    assert f"exec {sys.executable} -m pytest --dsr1-site=site.yaml --dsr1-profile=" in first
    assert f"#SBATCH --output={Path.cwd()}/.dsr1/slurm-%A_%a.log\n" in second


def test_the_plan_has_no_secret(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("site.yaml").write_text("slurm: {sbatch: ['--export=ALL,HF_TOKEN=planted-1']}\n")
    words = ["h200-min-latency", "--dsr1-site=site.yaml", "--dsr1-set=engine.environment.HF_TOKEN=planted-2"]
    assert main(["sbatch", *words, "--plan"]) == 0
    plan = capsys.readouterr().out
    assert "planted" not in plan
    assert "'--dsr1-set=engine.environment.HF_TOKEN=${engine_environment_HF_TOKEN}'" in plan
    assert jobs(slurm) == []


def test_it_says_what_was_submitted_and_what_to_type_next(
    slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sbatch", PATTERN]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job 1: alpha, beta on 1 node with no GPU",
        "job 2: h200-min-latency on 1 node with 8 GPUs",
        "look: squeue --jobs=1,2; the logs are .dsr1/slurm-*.log",
        "cancel: scancel 1 2",
        "when they have ended: pytest --dsr1-replay=.dsr1/slurm-1 --dsr1-replay=.dsr1/slurm-2 "
        "--dsr1-report=.dsr1/slurm-1.html",
    ]
    assert canceled(slurm) == []


def test_other_options_are_those_of_pytest(slurm: Path) -> None:
    words = ["--dsr1-set", "load.concurrency=4", "-k", "target or environment", "--dsr1-gpu-setup=apply"]
    assert main(["sbatch", "alpha", *words, "--dsr1-results=my results"]) == 0
    text = (slurm / "job-1.sh").read_text()
    assert (
        "-m pytest --dsr1-set load.concurrency=4 -k 'target or environment' --dsr1-gpu-setup=apply "
        f'--dsr1-profile="$profile" \'--dsr1-results={Path.cwd()}/my results/slurm-\'"$SLURM_ARRAY_JOB_ID"\n'
    ) in text
    assert Path("my results").is_dir()


def test_the_time_of_a_gate_is_not_known(slurm: Path) -> None:
    assert main(["sbatch", "h200-min-latency"]) == 0
    assert main(["sbatch", "h200-min-latency", "--dsr1-gate"]) == 0
    assert main(["sbatch", "h200-min-latency", "--dsr1-probe"]) == 0
    known = ["#SBATCH --time=" in (slurm / f"job-{number}.sh").read_text() for number in (1, 2, 3)]
    assert known == [True, False, False]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gamma"], "no scenario is named 'gamma'"),
        (["x*"], "no scenario matches 'x*'\n`pytest --dsr1-list` lists the scenarios."),
        (["alpha", "--dsr1-sit=x"], "pytest does not accept these options: correct what it reports above"),
        (
            ["alpha", "--dsr1-site=no.yaml"],
            "no.yaml: 1 mistake in this site file\n  no.yaml: there is no such",
        ),
        (
            ["alpha", "--dsr1-replay=alpha"],
            "--dsr1-replay needs earlier results, and each job has a new folder",
        ),
        (["alpha", "--dsr1-resume"], "--dsr1-resume needs earlier results, and each job has a new folder"),
        (["alpha", "--dsr1-gate", "--dsr1-against=beta"], "--dsr1-against and --dsr1-gate cannot be used"),
        (["alpha", "--dsr1-set=load.concurency=1"], "load.concurency: unknown key"),
        (["alpha", "--wait", "--dsr1-report=page.txtx"], "page.txtx"),
        (
            ["alpha", "--dsr1-results=site.yaml"],
            "results cannot be written: File exists; choose another folder",
        ),
    ],
)
def test_a_mistake_is_told_before_anything_is_submitted(
    slurm: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sbatch", *words]) == 1
    assert said in capsys.readouterr().err
    assert jobs(slurm) == []


def test_without_sbatch_only_a_plan_can_be_made(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(slurm / "nothing"))
    assert main(["sbatch", "alpha"]) == 1
    assert capsys.readouterr().err == (
        "there is no program sbatch in PATH: start this on a login node of the cluster; --plan prints the "
        "scripts anywhere\n"
    )
    assert main(["sbatch", "alpha", "--plan"]) == 0


def test_a_step_of_srun_submits_nothing(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    assert main(["sbatch", "alpha"]) == 1
    assert capsys.readouterr().err == (
        "this is step 7.0 of srun, whose variables the jobs would inherit: start pytest-dsr1 sbatch without "
        "srun, on a login node\n"
    )
    monkeypatch.setenv("SLURM_STEP_ID", "4294967290")  # the shell of salloc
    assert main(["sbatch", "alpha"]) == 0
    assert jobs(slurm) == ["job-1.sh"]


def test_what_was_submitted_is_canceled_if_another_array_is_refused(
    slurm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (slurm / "refuse-2").write_text("sbatch: error: Batch job submission failed: Invalid account\n")
    assert main(["sbatch", PATTERN]) == 1
    assert canceled(slurm) == ["1"]
    assert capsys.readouterr().err.splitlines() == [
        "canceled job 1",
        "sbatch: error: Batch job submission failed: Invalid account",
        "The options are those of slurm.sbatch in the site file; --plan prints all.",
    ]


def test_a_first_array_that_is_refused(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (slurm / "refuse-1").write_text("")
    assert main(["sbatch", PATTERN]) == 1
    assert capsys.readouterr().err.splitlines()[0] == "exit status 1"
    assert canceled(slurm) == []


@pytest.mark.needs("jinja2", "vl_convert")
def test_wait_makes_one_page_of_the_results_of_all_jobs(
    slurm: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    save(Path(".dsr1/slurm-1"), Made("h200/min-latency", waves=10, concurrency=1))
    save(Path(".dsr1/slurm-2"), Made("h200/max-throughput", waves=3, concurrency=8))
    save(Path(".dsr1/slurm-3"), Made("h200/max-throughput", waves=3, concurrency=8))  # of other jobs
    states(
        slurm,
        "1 0 RUNNING 0 None\n1 1 PENDING 0 None\n2 0 PENDING 0 Resources",
        ENDED.replace("1 1 COMPLETED 0", "1 1 FAILED 3072"),
    )
    assert main(["sbatch", PATTERN, "--wait"]) == 12
    told = capfd.readouterr()
    assert told.err.splitlines() == ["1_1 beta: exit status 12, log .dsr1/slurm-1_1.log"]
    assert "PERFORMANCE OVERVIEW" in told.out
    assert told.out.index("2_0 h200-min-latency: exit status 0") < told.out.index("PERFORMANCE OVERVIEW")
    page = Path(".dsr1/slurm-1.html").read_text(encoding="utf-8")
    assert page.count("<article") == 2
    assert canceled(slurm) == []


def test_wait_without_any_result(slurm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    states(slurm, ENDED.replace("2 0 COMPLETED", "2 0 TIMEOUT"))
    assert main(["sbatch", PATTERN, "--wait"]) == 10
    assert capfd.readouterr().err.splitlines() == [
        "2_0 h200-min-latency: TIMEOUT, log .dsr1/slurm-2_0.log",
        "no job left a result",
    ]
    states(slurm, ENDED)
    assert main(["sbatch", "alpha", "--wait", "--dsr1-results=other"]) == 10


def test_a_page_that_cannot_be_made_is_no_success(slurm: Path, capfd: pytest.CaptureFixture[str]) -> None:
    states(slurm, ENDED)
    Path(".dsr1/slurm-1").mkdir(parents=True)
    Path("old.md").write_text("old")
    assert main(["sbatch", "alpha", "--wait", "--dsr1-report=old.md"]) == 10
    assert "/slurm-1: no measurement.json; " in capfd.readouterr().err
    assert not Path("old.md").exists()


@pytest.mark.parametrize("refused", [False, True])
def test_a_signal_cancels_the_jobs(slurm: Path, refused: bool, capsys: pytest.CaptureFixture[str]) -> None:
    if refused:
        (slurm / "refuse-scancel").touch()
    states(slurm, "1 0 RUNNING 0 None", "stop")
    before = signal.getsignal(signal.SIGTERM)
    assert main(["sbatch", PATTERN, "--wait"]) == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before
    expected = "canceled jobs 1, 2"
    if refused:
        expected = (
            "jobs 1, 2 could not be canceled: scancel: error: Kill job error on job id 1: "
            "Access/permission denied"
        )
    assert capsys.readouterr().err == f"{expected}\n"
    assert canceled(slurm) == ([] if refused else ["1", "2"])


def test_other_commands_refuse_unknown_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["restore", "--dsr1-site=x"])
    assert caught.value.code == 2
    assert "unrecognized arguments: --dsr1-site=x" in capsys.readouterr().err
