"""What a user of pairs sees, with an engine whose speed depends on its number of threads."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from pytest_dsr1.engines import registry
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import lease
from pytest_dsr1.pairs.order import seed_of, sides
from pytest_dsr1.study.record import PAIRS, newest
from tests.helpers.paths import DOCS
from tests.helpers.suites import Suites, articles, overview, without_places
from tests.standins.scripted_engine import ScriptedEngine

PROFILE = "--dsr1-profile=rivals"
NEW = "--dsr1-against=engine.threads=2"


class Paired:
    """The profile ``rivals``: 16 tok/s, delta 5%."""

    def __init__(self, suites: Suites) -> None:
        self.suites = suites
        self.results = suites.pytester.path / ".dsr1"
        self.write("rivals")

    def write(self, name: str, *, extra: str = "") -> Path:
        path = self.suites.write(name, extra=f"gate:\n  delta_percent: 5\n{extra}")
        text = path.read_text(encoding="utf-8").replace("num_requests: 8", "num_requests: 40")
        path.write_text(text, encoding="utf-8")
        return path

    def run(self, *more: str) -> pytest.RunResult:
        return self.suites.run(PROFILE, NEW, *more)

    def record(self, profile: str = "rivals") -> dict[str, Any]:
        """The newest record of pairs."""
        path = max((self.results / profile).glob("pairs-*.json"))
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return document

    def counted(self) -> list[str]:
        """The side of each start that counts, in order."""
        return [run["point"] for run in self.record()["runs"] if not run["why"]]


@pytest.fixture
def paired(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> Paired:
    monkeypatch.setenv("SCRIPTED_NOISE", "0.005")
    return Paired(suites)


def said(result: pytest.RunResult) -> str:
    return " ".join(result.stdout.str().split())


def in_order(paired: Paired, count: int) -> list[str]:
    """Return the sides of this many starts in the order that the record decides."""
    found = newest(paired.results, "rivals", PAIRS)
    assert found is not None
    seed = seed_of(found[1].began)
    return [side.value for pair in range(count) for side in sides(seed, pair)][:count]


def test_a_slower_side_fails(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    reports = ("--junit-xml=junit.xml", "--dsr1-report=summary.md", "--dsr1-report=page.html")
    result = paired.run("-k", "pair", "-v", *reports)
    assert result.ret == 1, result.stdout.str()
    result.assert_outcomes(failed=1)
    output = said(result)
    assert "dsr1: rivals: pairs on total output throughput: the old and the new side start in turn" in output
    assert "At most 24 pairs: 48 engine starts" in output
    assert "own/rivals.yaml::pair[total_output_throughput] FAILED" in output
    assert "FAIL pair: total output throughput" in output
    assert ": the new side is slower" in output
    assert "start 1, of the old side, does not count: warm-up: the first start of this software" in output
    counted = paired.counted()
    assert counted == in_order(paired, len(counted))
    assert len(counted) == 8, "four pairs"
    assert sum(bool(run["why"]) for run in paired.record()["runs"]) == 2, "a warm-up start of each side"
    assert "the new side is slower" in paired.record()["answer"]
    assert "::error " in result.stdout.str()
    assert "Yes: if both sides were equal, fewer than 1 of 100" in output
    for report in ("summary.md", "page.html"):
        text = (paired.suites.pytester.path / report).read_text(encoding="utf-8")
        assert "Is the new side slower?" in text
        assert "old side 1" in text
    properties = {
        each.get("name"): each.get("value")
        for each in ET.parse(paired.suites.pytester.path / "junit.xml").iter("property")
    }
    assert properties["dsr1_verdict"] == "FAIL"
    assert properties["dsr1_metric"] == "total_output_throughput"
    target = float(str(properties["dsr1_target"]))
    assert float(str(properties["dsr1_bound"])) == pytest.approx(target * 0.95)
    assert float(str(properties["dsr1_measured"])) == pytest.approx(target * 0.923, rel=0.02)


@pytest.mark.parametrize(
    ("loss", "word"),
    [("-0.08", "the new side is faster"), ("0", "the sides are the same: a difference of 5% is ruled out")],
)
def test_a_side_that_is_not_slower_passes(
    paired: Paired, monkeypatch: pytest.MonkeyPatch, loss: str, word: str
) -> None:
    """With all tests of the scenario: the run that they judge is the first start of the old side."""
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", loss)
    result = paired.run("-p", "rerunfailures", "--dsr1-report=summary.md", "--dsr1-report=page.html")
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=4)
    assert f": {word} " in said(result)
    assert "PASS pair: total output throughput" in said(result)
    record = paired.record()
    assert len(paired.suites.engine_runs) == len(record["runs"])
    assert record["first"] == record["runs"][0]["folder"]
    summary = (paired.suites.pytester.path / "summary.md").read_text(encoding="utf-8")
    assert "| pairs: total output throughput |" in summary
    assert "old side" in (paired.suites.pytester.path / "page.html").read_text(encoding="utf-8")


def test_a_scenario_is_compared_with_itself(paired: Paired) -> None:
    """By the command of the page: a limit that no run reaches is the only change."""
    change = "--dsr1-against=engine.startup_timeout_s=3601"
    page = (DOCS / "how-to" / "gate.md").read_text(encoding="utf-8")
    assert re.search(rf"^    pytest --dsr1-profile=\S+ -k pair {change}$", page, re.MULTILINE)
    result = paired.suites.run(PROFILE, "-k", "pair", change)
    assert result.ret == 0, result.stdout.str()
    assert ": the sides are the same: a difference of 5% is ruled out" in said(result)


def test_pairs_that_do_not_decide(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_NOISE", "0.2")
    monkeypatch.setattr("pytest_dsr1.pairs.plan.pairs_plan.__kwdefaults__", {"most": 4})
    result = paired.run("-k", "pair")
    assert result.ret == 12, result.stdout.str()
    result.assert_outcomes(errors=1)
    assert "INCONCLUSIVE" in said(result)
    assert len(paired.counted()) == 8
    assert "undecided" in paired.record()["answer"]


def test_a_side_that_fails(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three starts in a row."""
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "4,5,6")
    result = paired.run("-k", "pair", "--dsr1-suites=own", "--dsr1-set=load.num_requests=44")
    assert result.ret == 10, result.stdout.str()
    assert "3 engine starts in a row do not count" in said(result)
    again = "`pytest --dsr1-profile=rivals --dsr1-suites=own --dsr1-set=load.num_requests=44 "
    assert f"remove the cause, then run {again}{NEW}`" in said(result)
    assert [bool(run["why"]) for run in paired.record()["runs"]] == [True, False, True, True, True]


def test_a_machine_that_does_not_fit_the_new_side(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing runs, not even the old side."""
    real = lease.look

    def look(scenario: Any, *arguments: Any, **more: Any) -> tuple[Finding, ...]:
        wrong = Finding("mismatch", "software", "a second thread is not installed")
        return (*real(scenario, *arguments, **more), *([wrong] if scenario.engine.threads == 2 else []))

    monkeypatch.setattr(lease, "look", look)
    result = paired.run()
    assert result.ret == 10
    assert "the new side: this machine cannot run the scenario:" in said(result)
    assert "a second thread is not installed" in said(result)
    assert paired.suites.engine_runs == []


def test_the_other_side_may_be_another_profile_or_a_file(
    paired: Paired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    other = paired.write("other")
    other.write_text(
        other.read_text(encoding="utf-8").replace("transformers\n", "transformers\n  threads: 2\n"),
        encoding="utf-8",
    )
    assert paired.suites.run(PROFILE, "--dsr1-against=other", "-k", "pair").ret == 1
    folders = {Path(run["folder"]).parent.name: run["point"] for run in paired.record()["runs"]}
    assert folders == {"rivals": "old", "other": "new"}
    (paired.suites.pytester.path / "new.yaml").write_text("engine.threads: 2\n", encoding="utf-8")
    assert paired.suites.run(PROFILE, "--dsr1-against=new.yaml", "-k", "pair").ret == 1


def test_the_other_side_may_have_another_engine(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets an engine of its own, and the session's pool for it."""
    made: list[tuple[str, bool]] = []

    def create(engine: Any, pool: Any = None) -> ScriptedEngine:
        made.append((engine.type, pool is not None))
        return ScriptedEngine()

    monkeypatch.setattr(registry, "create", create)
    monkeypatch.setattr(lease, "look", lambda *_, **__: ())
    other = paired.write("other")
    text = other.read_text(encoding="utf-8").replace("type: transformers", "type: openai\n  server: vllm")
    other.write_text(text, encoding="utf-8")
    assert paired.suites.run(PROFILE, "--dsr1-against=other", "-k", "pair").ret == 0
    assert set(made) == {("openai", True)}
    assert len(made) == sum(run["point"] == "new" for run in paired.record()["runs"])


def test_each_point_of_a_sweep_is_compared_with_its_own(
    paired: Paired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    paired.write("swept", extra="sweep:\n  load.concurrency: [1, 2]\n")
    result = paired.suites.run("--dsr1-profile=swept", NEW, "-k", "pair", "-v")
    result.assert_outcomes(failed=2)
    for point in ("concurrency-1", "concurrency-2"):
        assert len(paired.record(f"swept.{point}")["runs"]) >= 8


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (
            ["engine.threads=null"],
            [
                "rivals: the old and the new side are the same: expected a change of what is measured, such "
                "as engine.command; to compare it with itself, change a limit that no run reaches, such as "
                "--dsr1-against=engine.startup_timeout_s=3601"
            ],
        ),
        (
            ["load.concurrency=4", "hardware.count=0", "load.num_requests=44"],
            [
                "rivals: the old and the new side differ in load.concurrency (2 and 4); load.num_requests "
                "(40 and 44): pairs compare sides that do the same work"
            ],
        ),
        (["model.name=other/Model"], ["model.name (deepseek-ai/DeepSeek-R1 and other/Model)"]),
        (["engine.thread=2"], ["--dsr1-against engine.thread=2: engine.thread: unknown key"]),
        (["nowhere"], ["--dsr1-against nowhere: no scenario is named 'nowhere'"]),
        (["alpha", "beta"], ["expected at most one other profile, found alpha and beta"]),
        (
            ["missing.yaml", "=1"],
            ["--dsr1-against: missing.yaml: there is no such file", "expected KEY=VALUE with a dotted key"],
        ),
        (["bad.yaml"], ["bad.yaml:1:1: expected a mapping of dotted keys to values, found a list"]),
        (["name.yaml"], ["name.yaml:1:1: name: cannot be set for a run"]),
        ([" "], ["--dsr1-against is empty"]),
    ],
)
def test_sides_that_cannot_be_compared(paired: Paired, arguments: list[str], wanted: list[str]) -> None:
    folder = paired.suites.pytester.path
    (folder / "bad.yaml").write_text("- 1\n", encoding="utf-8")
    (folder / "name.yaml").write_text("name: 1\n", encoding="utf-8")
    result = paired.suites.run(PROFILE, *(f"--dsr1-against={each}" for each in arguments))
    assert result.ret == 4
    errors = " ".join(result.stderr.str().split())
    assert [each for each in wanted if each not in errors] == [], errors
    assert paired.suites.engine_runs == []


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([PROFILE, "--dsr1-gate"], "--dsr1-against and --dsr1-gate cannot be used together"),
        ([PROFILE, "--dsr1-gate", "--dsr1-plan"], "--dsr1-against and --dsr1-gate cannot be used together"),
        (
            [PROFILE, "--dsr1-reference=record"],
            "--dsr1-against and --dsr1-reference=record cannot be used together",
        ),
        (["--dsr1-replay=rivals"], "--dsr1-against needs new runs, but --dsr1-replay makes none"),
        ([], "--dsr1-against needs a scenario, but none is selected"),
    ],
)
def test_options_that_do_not_go_together(paired: Paired, arguments: list[str], wanted: str) -> None:
    result = paired.suites.run(NEW, *arguments)
    assert result.ret == 4
    assert wanted in " ".join(result.stderr.str().split())


def test_a_scenario_without_a_metric(paired: Paired) -> None:
    path = paired.suites.folder / "rivals.yaml"
    text, _, _ = path.read_text(encoding="utf-8").partition("targets:")
    path.write_text(text, encoding="utf-8")
    result = paired.run("-v")
    assert result.ret == 10
    assert "gate.metric: expected a metric, found none" in said(result)
    assert paired.suites.engine_runs == []


def test_the_plan_has_both_sides(paired: Paired) -> None:
    result = paired.run("--dsr1-plan")
    assert result.ret == 0
    lines = result.stdout.str()
    assert lines.count("# scenario: rivals (") == 2
    assert "# pair: pairs on total output throughput: the old and the new side start in turn" in lines
    assert "# pair: this is the new side" in lines
    assert lines.count("--dsr1-against=engine.threads=2") == 1


def starts_of(paired: Paired) -> int:
    """Return how many starts the engine made since the last call."""
    path = paired.suites.pytester.path / "engine-runs.txt"
    count = len(paired.suites.engine_runs)
    path.unlink(missing_ok=True)
    return count


@pytest.mark.parametrize(
    ("ended", "selected"), [(1, []), (1, ["-k", "pair"]), (2, []), (5, ["-k", "pair"]), (8, [])]
)
def test_pairs_go_on_where_they_stopped(
    paired: Paired, monkeypatch: pytest.MonkeyPatch, ended: int, selected: list[str]
) -> None:
    """The start in which pytest was killed is repeated, and nothing else."""
    monkeypatch.setenv("SCRIPTED_NOISE", "0")
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    whole = paired.run(*selected)
    assert whole.ret == 1
    wanted, counted = starts_of(paired) - 2, paired.counted()
    monkeypatch.setenv("SCRIPTED_FAIL", "kill")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", str(ended))
    assert paired.suites.run_apart(PROFILE, NEW, *selected).ret == -signal.SIGKILL
    done = starts_of(paired)
    assert done == ended
    monkeypatch.delenv("SCRIPTED_FAIL")
    result = paired.run("--dsr1-resume", *selected)
    assert result.ret == 1, result.stdout.str()
    assert done - 1 + starts_of(paired) == wanted, "warm-up starts are noted already"
    assert paired.counted()[:2] == counted[:2] == ["old", "new"]
    assert len(paired.counted()) == len(counted)
    assert "the new side is slower" in said(result)
    again = paired.run("--dsr1-resume", *selected)
    assert again.ret == 1
    assert starts_of(paired) == 0, "it is finished"


@pytest.mark.parametrize(("noted", "selected"), [(0, []), (0, ["-k", "pair"]), (1, []), (4, []), (5, [])])
def test_a_start_that_was_saved_and_not_noted_is_found(
    paired: Paired, monkeypatch: pytest.MonkeyPatch, noted: int, selected: list[str]
) -> None:
    """The session was killed between the two: pairs are decided as if it had not been."""
    monkeypatch.setenv("SCRIPTED_NOISE", "0")
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    assert paired.run(*selected).ret == 1
    whole, made = paired.record(), starts_of(paired)
    for run in whole["runs"][noted + 1 :]:
        shutil.rmtree(paired.results / run["folder"])
    first = whole["first"] if noted else ""
    path = max((paired.results / "rivals").glob("pairs-*.json"))
    kept = {**whole, "runs": whole["runs"][:noted], "first": first, "answer": ""}
    path.write_text(json.dumps(kept), encoding="utf-8")
    result = paired.run("--dsr1-resume", *selected)
    assert result.ret == 1, result.stdout.str()
    after = paired.record()
    assert after["first"] == whole["first"]
    folders = [run["folder"] for run in after["runs"]]
    assert folders[: noted + 1] == [run["folder"] for run in whole["runs"][: noted + 1]]
    assert len(set(folders)) == len(folders) == noted + 1 + starts_of(paired) <= made


def test_pairs_of_other_sides_do_not_go_on(paired: Paired) -> None:
    nothing = paired.run("--dsr1-resume", "-k", "pair")
    assert nothing.ret == 10
    assert "--dsr1-resume: no pairs of rivals were started in" in said(nothing)
    assert paired.run("-k", "pair").ret == 0
    starts_of(paired)
    for other in ("--dsr1-set=engine.dtype=bfloat16", "--dsr1-set=gate.delta_percent=4"):
        result = paired.run("--dsr1-resume", "-k", "pair", other)
        assert result.ret == 10
        assert "side of rivals is not that of its newest pairs" in said(result)
    assert starts_of(paired) == 0


def test_a_side_whose_software_changes_while_it_is_compared(
    paired: Paired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "interrupt")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "5")
    assert paired.suites.run_apart(PROFILE, NEW, "-k", "pair").ret == pytest.ExitCode.INTERRUPTED
    monkeypatch.delenv("SCRIPTED_FAIL")
    monkeypatch.setenv("SCRIPTED_VERSION", "1.1")
    result = paired.run("--dsr1-resume", "-k", "pair")
    assert result.ret == 10
    assert "is not what it was at its first start: engine.scripted (1.0 and 1.1)" in said(result)


@pytest.mark.needs("pytest_rerunfailures")
def test_a_plugin_cannot_run_pairs_again(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    result = paired.run("-k", "pair", "--reruns=2")
    assert result.ret == 1
    assert len(paired.suites.engine_runs) == len(paired.record()["runs"])


@pytest.mark.parametrize(("loss", "selected"), [("0.08", ()), ("0", ()), ("0.08", ("-k", "pair"))])
def test_a_replay_judges_pairs_again(
    paired: Paired, monkeypatch: pytest.MonkeyPatch, loss: str, selected: tuple[str, ...]
) -> None:
    """By the profile, whose newest run is of either side, by each run, and by the record, also if moved."""
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", loss)
    reports = ("--dsr1-report=r.html", "--dsr1-report=r.md")
    ran = paired.run(*selected, *reports)
    folder = paired.suites.pytester.path
    summary, page = ((folder / name).read_text(encoding="utf-8") for name in ("r.md", "r.html"))
    starts_of(paired)
    again = paired.suites.run("--dsr1-replay=rivals", *selected, *reports)
    assert again.ret == ran.ret
    assert again.parseoutcomes() | {"warnings": 0} == ran.parseoutcomes() | {"warnings": 0}
    shown = without_places(overview(again))
    assert shown == without_places(overview(ran))
    found, saved = ((folder / name).read_text(encoding="utf-8") for name in ("r.md", "r.html"))
    assert without_places(found.splitlines()) == without_places(summary.splitlines())
    assert articles(saved) == articles(page)
    record = paired.record()
    path = max((paired.results / "rivals").glob("pairs-*.json"))
    for name in (f".dsr1/{record['runs'][0]['folder']}", f".dsr1/{record['runs'][-1]['folder']}"):
        assert paired.suites.run(f"--dsr1-replay={name}", "-k", "pair").ret == ran.ret
    paired.results.rename(folder / "moved")
    for name in ("moved/rivals", f"moved/rivals/{path.name}"):
        moved = paired.suites.run(f"--dsr1-replay={name}", *selected)
        assert without_places(overview(moved)) == shown
    assert starts_of(paired) == 0


def test_pairs_whose_results_were_moved_go_on(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished runs are not run again, also if the record is of a version that kept whole paths."""
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    assert paired.run("-k", "pair").ret == 1
    starts_of(paired)
    folder = paired.suites.pytester.path
    document = paired.record()
    assert all(run["folder"].startswith("rivals/") for run in document["runs"])
    paired.results.rename(folder / "moved")
    moved = ("--dsr1-resume", "--dsr1-results=moved", "-k", "pair")
    assert paired.run(*moved).ret == 1
    path = max((folder / "moved" / "rivals").glob("pairs-*.json"))
    whole = [{**run, "folder": str(paired.results / run["folder"])} for run in document["runs"]]
    path.write_text(json.dumps({**document, "runs": whole}), encoding="utf-8")
    assert paired.run(*moved).ret == 1
    assert starts_of(paired) == 0


def test_a_replay_of_pairs_with_another_delta(paired: Paired, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_NOISE", "0.02")
    assert paired.run("-k", "pair").ret == 0
    again = paired.suites.run("--dsr1-replay=rivals", "-k", "pair", "--dsr1-set=gate.delta_percent=0.5")
    assert again.ret == 12
    assert "saved pairs do not decide whether there is a difference of 0.5%; compare again: `pytest" in said(
        again
    )


def test_a_replay_of_pairs_that_ended_without_a_verdict(
    paired: Paired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "interrupt")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "5")
    assert paired.suites.run_apart(PROFILE, NEW, "-k", "pair").ret == pytest.ExitCode.INTERRUPTED
    stopped = paired.suites.run("--dsr1-replay=rivals", "-k", "pair")
    assert stopped.ret == 12
    assert (
        "INCONCLUSIVE rivals: the pairs were stopped after 2 engine starts that count, before they decided: "
        "the command of the comparison goes on with --dsr1-resume"
    ) in said(stopped)
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "6,7,8")
    assert paired.run("--dsr1-resume", "-k", "pair").ret == 10
    failed = paired.suites.run("--dsr1-replay=rivals", "-k", "pair")
    assert failed.ret == 10
    assert "3 engine starts in a row do not count" in said(failed)


def test_a_plain_run_after_pairs_is_replayed_alone(paired: Paired) -> None:
    assert paired.run("-k", "pair").ret == 0
    assert paired.suites.run(PROFILE).ret == 0
    again = paired.suites.run("--dsr1-replay=rivals", "-v")
    again.assert_outcomes(passed=3)
    assert "pair[" not in again.stdout.str()


def test_a_replay_of_a_sweep_has_the_pairs_of_its_points(
    paired: Paired, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those that were compared."""
    monkeypatch.setenv("SCRIPTED_THREAD_LOSS", "0.08")
    paired.write("swept", extra="sweep:\n  load.concurrency: [1, 2]\n")
    paired.suites.run("--dsr1-profile=swept", NEW, "-k", "pair and concurrency-2")
    paired.suites.run("--dsr1-profile=swept", "-k", "concurrency-1")
    for named in ((), ("--dsr1-profile=swept",)):
        again = paired.suites.run("--dsr1-replay=swept.*", *named, "-v")
        assert again.ret == 1
        assert "pair[concurrency-2-total_output_throughput] FAILED" in again.stdout.str()
        assert "pair[concurrency-1" not in again.stdout.str()
