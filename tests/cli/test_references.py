"""The commands `pytest-dsr1 references`."""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from pytest_dsr1.gate.plan import gate_plan
from pytest_dsr1.gate.recordings import RecordedAnswers
from pytest_dsr1.gate.reference_file import path_of, read, to_text, write
from pytest_dsr1.gate.references import References
from pytest_dsr1.machine.values import GpuSample, Telemetry
from pytest_dsr1.scenario.named import load_named
from pytest_dsr1.scenario.writer import dump
from tests.helpers.recorded_runs import record_nth_run, run_of
from tests.helpers.reference_store import references, run
from tests.helpers.unlistable import unlistable
from tests.helpers.values import scenario

NOW = datetime.now(timezone.utc).replace(microsecond=0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a scenario `small`, outside any repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    monkeypatch.setenv("LOGNAME", "ann")
    (tmp_path / "small.yaml").write_text(dump(scenario()), encoding="utf-8")
    return tmp_path


STORE = Path("dsr1-references")


def fill(store: Path, count: int = 16, answers: Mapping[str, RecordedAnswers] | None = None) -> None:
    for number in range(count):
        record_nth_run(store, number, at=NOW - timedelta(hours=12 * (count - number)), answers=answers)


def accept(*more: str) -> int:
    return main(["references", "accept", "small.yaml", "--reason", "TensorRT-LLM 1.2.1", *more])


def accepted() -> References:
    return read(STORE, "small", datetime.now(timezone.utc))


def test_accept(capsys: pytest.CaptureFixture[str]) -> None:
    fill(STORE)
    larger = "gate.delta_percent=5"
    assert accept("--set", larger) == 0
    found = accepted()
    assert (found.accepted.by, found.accepted.commit) == ("ann", None)
    gated = load_named("small.yaml", [], [larger])
    plan = gate_plan(STORE, found, gated, None, datetime.now(timezone.utc))
    assert capsys.readouterr().out == (
        f"dsr1-references/small.yaml: 16 runs accepted (gpu-95a932d6: 16), mean {found.mean:.4g} tok/s, "
        f"noise {found.noise_percent:.2f}%, over the first {found.requests} requests\n"
        f"{plan.runs_and_cost}\n"
        "commit this file, so that the references are reviewed\n"
    )
    assert accept() == 0
    assert "(+0.0%), noise" in capsys.readouterr().out


def test_answers_are_accepted_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    fill(STORE, answers={"same_answers": RecordedAnswers({}, ((1, 2), (3, 4)))})
    assert accept() == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "commit this file and dsr1-references/small.answers.json, so that the references are reviewed"
    )
    assert main(["references", "show", "small"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "same_answers: 16 of 16 runs have answers to 2 prompts, 100% of these equal each other",
        "0 other recorded runs are not accepted",
    ]


def test_accept_says_where_no_gate_can_decide(capsys: pytest.CaptureFixture[str]) -> None:
    fill(STORE)
    assert accept("--set", "gate.delta_percent=0.01") == 0
    told = capsys.readouterr().out
    assert "warning: there will be no gate: small: a loss of 0.01% cannot be separated from the noise" in told
    assert "  what would resolve it: gate.delta_percent of at least " in told


def test_accept_in_a_repository_by_name_of_a_suite_and_elsewhere(folder: Path) -> None:
    for command in (
        ["init", "-q"],
        ["config", "user.name", "Ann Lee"],
        ["config", "user.email", "a@example.org"],
        ["add", "small.yaml"],
        ["commit", "-q", "-m", "A scenario"],
    ):
        subprocess.run(["git", *command], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    fill(folder / "elsewhere")
    words = ["references", "accept", "small", "--suites", ".", "--store", "elsewhere", "--reason", "x"]
    assert main(words) == 0
    found = read(folder / "elsewhere", "small", datetime.now(timezone.utc)).accepted
    assert (found.by, found.commit) == ("Ann Lee", head.strip())
    assert main([*words, "--by", "Bo"]) == 0
    assert read(folder / "elsewhere", "small", datetime.now(timezone.utc)).accepted.by == "Bo"


def test_accept_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    fill(STORE)
    assert accept() == 0
    assert (accepted().accepted.by, accepted().accepted.commit) == ("ann", None)


def test_accept_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["references", "accept", "small.yaml"])
    assert ended.value.code == 2
    assert "required: --reason" in capsys.readouterr().err


def test_a_refusal_is_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert accept() == 1
    assert capsys.readouterr().err.startswith(
        "dsr1-references/candidates/small: there are no recorded runs of small; record more with `pytest"
    )
    assert main(["references", "accept", "smal", "--suites", ".", "--reason", "x"]) == 1
    assert "no scenario is named 'smal' (did you mean 'small'?)" in capsys.readouterr().err
    assert main(["references", "accept", "cpu-*", "--reason", "x"]) == 1
    assert (
        capsys.readouterr().err
        == "cpu-*: matches 2 scenarios; name one of them, such as cpu-max-throughput, cpu-min-latency\n"
    )


def test_show_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["references", "show"]) == 0
    assert capsys.readouterr().out == (
        "dsr1-references: there are no references; record runs with --dsr1-reference=record\n"
    )
    assert main(["references", "show", "small"]) == 0
    assert capsys.readouterr().out.startswith(
        "small: no references are accepted in dsr1-references; 0 recorded runs wait for that; record more "
    )


def test_show_all(capsys: pytest.CaptureFixture[str]) -> None:
    fill(STORE)
    accept()
    fill(STORE, 2)
    (STORE / "candidates" / "other").mkdir()
    capsys.readouterr()
    assert main(["references", "show"]) == 0
    heads, other, small, shared = capsys.readouterr().out.splitlines()
    assert heads.split("  ")[0] == "profile"
    assert other.split() == ["other", *["-"] * 8, "0"]
    found = accepted()
    assert small.split() == [
        *("small", "total_output_throughput", "gpu-95a932d6:", "16", f"{found.days}"),
        *(f"{found.mean:.4g}", "tok/s", f"{found.noise_percent:.2f}%", f"{found.requests}"),
        *(f"{found.accepted.at:%Y-%m-%d}", "4", "d", "2", "ann:", "TensorRT-LLM", "1.2.1"),
    ]
    assert shared == (
        "1 profile has references that a gate can use. All gates of a suite share one error budget, so each "
        "is planned with a false-alarm rate of 0.5%. References of deleted scenarios use up this budget too: "
        "`git rm` them in dsr1-references."
    )


def test_show_tells_how_many_gates_share_the_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        write(STORE, references(profile=f"profile-{number}"))
    path_of(STORE, "damaged").write_text("profile: damaged\n", encoding="utf-8")
    assert main(["references", "show"]) == 1
    shared = capsys.readouterr().out.splitlines()[-1]
    assert shared.startswith(
        "20 profiles have references that a gate can use. All gates of a suite share one error budget, so"
    )
    assert "a false-alarm rate of 0.075%. " in shared


def test_show_tells_a_damaged_file_beside_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    write(STORE, references(profile="good"))
    path_of(STORE, "bad").write_text(to_text(references(profile="bad"))[:-20], encoding="utf-8")
    assert main(["references", "show"]) == 1
    shown = capsys.readouterr()
    assert [line.split()[0] for line in shown.out.splitlines()] == ["profile", "good", "1"]
    assert shown.err.startswith(
        "dsr1-references/bad.yaml: does not end with its checksum: it is truncated; `git"
    )


def test_show_one_with_probes(capsys: pytest.CaptureFixture[str]) -> None:
    probes = {"memory_bandwidth_gb_s": 4258.0, "bf16_tflops": ["690.5", "640"], "of_a_later_version": 1.0}
    write(STORE, references(3, runs=(run(0, probes=probes), run(1, probes=probes), run(2))))
    assert main(["references", "show", "small"]) == 0
    assert capsys.readouterr().out.splitlines()[-5:-2] == [
        "probes of gpu-95a932d6 before 2 of its 3 runs, medians:",
        "  memory copy   4,258       GB/s",
        "  BF16 product  690.5  640  TFLOPS",
    ]


def test_show_one(capsys: pytest.CaptureFixture[str]) -> None:
    write(STORE, references(2))
    assert main(["references", "show", "small"]) == 0
    assert capsys.readouterr().out == (
        "small: total_output_throughput, higher is better\n"
        "accepted 2025-03-24 11:00 UTC by Ann, commit 0123abc: TensorRT-LLM 1.2.1\n"
        "mean 8.005 tok/s, noise 0.09%, over the first 4 requests\n"
        "began (UTC)          node          tok/s  vs. mean  standard error  window   start-up\n"
        "2025-03-14 12:00:00  gpu-95a932d6  8      -0.06%    0.12%           590.1 s  310.2 s\n"
        "2025-03-14 11:00:00  gpu-95a932d6  8.01   +0.06%    0.12%           590.1 s  310.2 s\n"
        "gpu-95a932d6 stands for GPU-a,GPU-b\n"
        "0 other recorded runs are not accepted\n"
    )


def test_what_is_shown_is_harmless_and_what_is_exported_is_as_it_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = references(2)
    hostile = replace(found.accepted, by="##[error]Ann", reason="\x1b[2J ::error ::x")
    first = replace(found.runs[0], recording="##[group]x", node="GPU-a\n::error ::y")
    write(STORE, replace(found, accepted=hostile, runs=(first, found.runs[1])))
    assert main(["references", "show"]) == 0
    assert "# #[error]Ann: \\x1b[2J : :error ::x\n" in capsys.readouterr().out
    assert main(["references", "show", "small"]) == 0
    out = capsys.readouterr().out
    assert "by # #[error]Ann, commit 0123abc: \\x1b[2J : :error ::x\n" in out
    assert " stands for GPU-a\n: :error ::y\n" in out
    assert main(["references", "export", "small.yaml"]) == 0
    assert [(row["run"], row["node"]) for row in table(capsys.readouterr().out)] == [
        (found.runs[1].recording, found.runs[1].node),
        ("##[group]x", "GPU-a\n::error ::y"),
    ]


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_export(capsys: pytest.CaptureFixture[str]) -> None:
    fill(STORE)
    accept()
    path = record_nth_run(STORE, 3, at=NOW)
    capsys.readouterr()
    assert main(["references", "export", "small.yaml"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == (
        "run,at,node,day,metric,value,se_percent,window_s,startup_s,state,sm_clock_mhz,power_w,temperature_c,"
        "throttled_s"
    )
    rows = table(out)
    assert [row["state"] for row in rows] == ["accepted"] * 16 + ["waiting"]
    run = accepted().runs[0]
    assert rows[0] == {
        "run": run.recording,
        "at": run.at.isoformat(),
        "node": "GPU-a,GPU-b",
        "day": run.day.isoformat(),
        "metric": "total_output_throughput",
        "value": str(run.value),
        "se_percent": str(run.se_percent),
        "window_s": str(run.window_s),
        "startup_s": "30.0",
        "state": "accepted",
        **dict.fromkeys(("sm_clock_mhz", "power_w", "temperature_c", "throttled_s"), ""),
    }
    assert rows[-1]["run"] == path.stem
    assert float(rows[-1]["value"]) == pytest.approx(8.0, rel=0.02)


def test_export_of_what_the_gpus_did(capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in the accepted file: the recorded ones may lie on another machine."""
    sample = GpuSample(101.0, 0, 1980, 3201, 612.5, None, 64, 100.0, 99, 0x40)
    watched = Telemetry(interval_s=0.2, gpus=(0,), samples=(sample,))
    for number in range(16):
        record_nth_run(STORE, number, at=NOW - timedelta(hours=12 * (16 - number)), telemetry=watched)
    accept()
    shutil.rmtree(STORE / "candidates")
    record_nth_run(STORE, 3, at=NOW, telemetry=watched)
    capsys.readouterr()
    assert main(["references", "export", "small.yaml"]) == 0
    rows = table(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["accepted"] * 16 + ["waiting"]
    for row in rows:
        assert (row["sm_clock_mhz"], row["power_w"]) == ("1980.0", "612.5")
        assert (row["temperature_c"], row["throttled_s"]) == ("64.0", "0.6")


def test_whoever_reads_may_have_had_enough() -> None:
    write(STORE, references())
    read_end, write_end = os.pipe()
    os.close(read_end)
    program = "import sys; from pytest_dsr1.cli.main import main; sys.exit(main(['references', 'show']))"
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=write_end, stderr=subprocess.PIPE, check=False
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, b"")


def test_export_before_anything_is_accepted_and_of_what_cannot_be_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record_nth_run(STORE, 0, at=NOW - timedelta(hours=1))
    short = record_nth_run(STORE, 1, at=NOW, trace=run_of(requests=3))
    damaged = record_nth_run(STORE, 2, at=NOW - timedelta(hours=2))
    damaged.write_text("{", encoding="utf-8")
    assert main(["references", "export", "small.yaml"]) == 1
    shown = capsys.readouterr()
    assert [row["state"] for row in table(shown.out)] == ["waiting"]
    lines = shown.err.splitlines()
    assert lines[0].startswith(f"{damaged}: is not JSON")
    assert lines[1].startswith(f"{short.stem}: 3 requests are too few for a steady figure")


def test_a_named_store_must_be_there(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    message = (
        f"--store nowhere: No such file or directory (relative to {folder}); expected the folder of "
        "recorded runs; omit --store to use that of pytest here\n"
    )
    for words in (
        ["show"],
        ["show", "small"],
        ["export", "small.yaml"],
        ["accept", "small.yaml", "--reason=x"],
    ):
        assert main(["references", *words, "--store", "nowhere"]) == 1
        assert capsys.readouterr() == ("", message)
    (folder / "empty").mkdir()
    assert main(["references", "show", "--store", "empty"]) == 0
    assert capsys.readouterr().out.startswith("empty: there are no references; record runs with ")


def test_a_store_that_is_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    STORE.touch()
    for words in ([], ["--store", "dsr1-references"]):
        assert main(["references", "show", *words]) == 1
        assert capsys.readouterr() == (
            "",
            "dsr1-references: cannot be listed: Not a directory; `ls -ld dsr1-references` shows what it is "
            "and who owns it; make it a folder that you can list\n",
        )


@pytest.mark.parametrize("closed", [STORE, STORE / "candidates", STORE / "candidates" / "small"])
def test_show_of_what_cannot_be_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, closed: Path
) -> None:
    record_nth_run(STORE, 0, at=NOW - timedelta(hours=1))
    unlistable(monkeypatch, closed)
    assert main(["references", "show"]) == 1
    assert capsys.readouterr().err.startswith(f"{closed}: cannot be listed: Permission denied; ")


@pytest.fixture
def elsewhere(folder: Path) -> Path:
    """A store that pytest's ini option names, with recorded runs."""
    (folder / "pytest.ini").write_text("[pytest]\ndsr1_store = refs/here\n", encoding="utf-8")
    fill(folder / "refs" / "here")
    return folder / "refs" / "here"


def test_the_store_of_pytests_ini_option(
    elsewhere: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert accept() == 0
    assert path_of(elsewhere, "small").is_file()
    assert capsys.readouterr().out.startswith("refs/here/small.yaml: 16 runs accepted")
    assert main(["references", "export", "small.yaml"]) == 0
    assert capsys.readouterr().out.count(",accepted,") == 16
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert main(["references", "show", "small"]) == 0
    assert "small: total_output_throughput" in capsys.readouterr().out
    assert main(["references", "show", "--store", "."]) == 0
    assert "there are no references" in capsys.readouterr().out


def test_below_the_rootdir_its_store_is_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    fill(STORE, 1)
    (folder / "below").mkdir()
    monkeypatch.chdir(folder / "below")
    assert main(["references", "show"]) == 0
    assert "small" in capsys.readouterr().out


def test_an_ini_option_with_two_stores_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "pytest.ini").write_text("[pytest]\ndsr1_store = my references\n", encoding="utf-8")
    assert main(["references", "show"]) == 1
    expected = f"dsr1_store in {folder}/pytest.ini: expected one folder without spaces, found 2 folders\n"
    assert capsys.readouterr().err.endswith(expected)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n", encoding="utf-8")
    assert main(["references", "show"]) == 1
    assert "so the ini option dsr1_store is unknown: correct" in capsys.readouterr().err


def test_advice_names_the_store_that_was_given(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    fill(folder / "my refs", 2)
    assert accept("--store", "my refs") == 1
    said = capsys.readouterr().err
    assert "--reason TEXT --store 'my refs'`" in said
    assert "--dsr1-reference=record --dsr1-store='my refs'`" in said
