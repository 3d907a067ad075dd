"""What changed since a scenario was good: which run it is compared with, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.case.answers import what_changed
from pytest_dsr1.case.case import _since
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.case.since import Change, Since, changes, since
from pytest_dsr1.gate.acceptance import accept
from pytest_dsr1.gate.history import History, PastRun
from pytest_dsr1.gate.saved import write_gate, write_verdicts
from pytest_dsr1.machine.values import FactValue, Fingerprint
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.verdict.verdict import Status, Verdict
from tests.helpers.paths import SUITES
from tests.helpers.published import shipped
from tests.helpers.recorded_runs import record_nth_run
from tests.helpers.reference_store import FACTS as RECORDED
from tests.helpers.reference_store import NOW as ACCEPTED
from tests.helpers.reference_store import references
from tests.helpers.reference_store import run as reference
from tests.helpers.values import case, gate, measurement, missed, scenario, verdict

FACTS: Mapping[str, FactValue] = {
    "gpu.uuids": ["GPU-a"],
    "gpu.vboost": 4,
    "driver": "575.57",
    "kernel": "6.8",
}
NOW = datetime.fromisoformat("2026-11-29T14:46:00+00:00")
MISSED = replace(verdict(), status=Status.FAIL, measured=4.0)
"""The verdict on a target that is missed now, and that 8 tok/s meet."""


def past(folder: Path, days: int, *verdicts: Verdict, **changed: Any) -> PastRun:
    """Return a run of some days ago, with these verdicts saved next to it."""
    run = folder / f"{days}-days-ago"
    run.mkdir()
    write_verdicts(run, verdicts)
    values: dict[str, Any] = {
        "profile": "small",
        "at": NOW - timedelta(days=days),
        "facts": FACTS,
        "metrics": {},
        "stopped": False,
    }
    return PastRun(**{**values, "folder": run, **changed})


def now(**facts: FactValue) -> Any:
    return measurement(started_utc=NOW.isoformat(), fingerprint=Fingerprint({**FACTS, **facts}))


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_the_probes_of_the_last_green_run_that_has_some(tmp_path: Path) -> None:
    """A slower run and one that was probed only afterwards have none that count."""
    name, clock = "probe.memory_bandwidth_gb_s", "probe.bf16_sm_clock_mhz"
    runs = [
        past(tmp_path, 9, verdict(), facts={**FACTS, name: 4200.0}),
        past(
            tmp_path,
            7,
            verdict(),
            facts={**FACTS, name: 4250.0, clock: 1500.0, "probe.after.fp8_tflops": 1.0},
        ),
        past(tmp_path, 5, verdict(80.0), facts={**FACTS, name: 3000.0}),
        past(tmp_path, 4, verdict(), facts={**FACTS, "probe.after.memory_bandwidth_gb_s": 4248.0}),
        past(tmp_path, 3, verdict()),
    ]
    found = since(now(**{name: 4249.0}), runs, None, [MISSED])
    assert found.good == "the last green run (2026-11-26 14:46)"
    assert found.probes == {name: 4250.0, clock: 1500.0}
    assert since(now(), runs, None, [MISSED]).probes == found.probes, "probe now, and they can be compared"
    assert since(now(**{name: 4249.0}), runs[-1:], None, [MISSED]).probes == {}


def test_the_last_green_run_is_compared(tmp_path: Path) -> None:
    runs = [
        past(tmp_path, 9, verdict(), facts={**FACTS, "gpu.vboost": 1}),
        past(tmp_path, 5, verdict(), facts={**FACTS, "driver": "570"}),
        past(tmp_path, 4, verdict(80.0), facts={**FACTS, "driver": "571"}),
    ]
    found = since(now(**{"gpu.vboost": 0}), runs, references(), [MISSED])
    assert (found.green, found.good) == ("run", "the last green run (2026-11-24 14:46)")
    assert [each.text for each in found.changes] == ["gpu.vboost 4 -> 0", "driver 570 -> 575.57"]
    assert [each.has_known_effect for each in found.changes] == [True, False]
    assert [each.is_software for each in found.changes] == [False, True]
    assert found.sentence == (
        "since the last green run (2026-11-24 14:46): gpu.vboost 4 -> 0; driver 570 -> 575.57"
    )
    assert found.probes == {}, "no green run was probed"
    same = since(now(), [past(tmp_path, 1, verdict())], None, [MISSED])
    assert same.sentence == "since the last green run (2026-11-28 14:46): no recorded fact differs"


def test_probes_after_a_run_that_differ_as_those_before_it_are_not_repeated() -> None:
    slow: dict[str, FactValue] = {"probe.fp8_tflops": 900.0, "probe.after.fp8_tflops": 901.0}
    usual = dict.fromkeys(slow, 1220.0)
    assert [each.key for each in changes(usual, slow)] == ["probe.fp8_tflops"]
    later = {**usual, "probe.after.fp8_tflops": 900.0}
    assert [each.key for each in changes(usual, later)] == ["probe.after.fp8_tflops"]


@pytest.mark.parametrize(
    "run",
    [
        {"profile": "another"},
        {"facts": {**FACTS, "gpu.uuids": ["GPU-b"]}},
        {"stopped": True},
        {"at": NOW + timedelta(hours=1)},
        {"at": NOW},
    ],
    ids=["another scenario", "another machine", "stopped early", "later", "the run itself"],
)
def test_runs_that_are_not_compared(tmp_path: Path, run: dict[str, Any]) -> None:
    assert since(now(), [past(tmp_path, 1, verdict(), **run)], None, [MISSED]) == Since()


def test_a_run_is_green_if_it_judged_what_is_missed_now(tmp_path: Path) -> None:
    other = replace(verdict(), metric="average_ttft")
    runs = [past(tmp_path, 3, other, verdict()), past(tmp_path, 2, other), past(tmp_path, 1)]
    assert since(now(), runs, None, [MISSED]).good == "the last green run (2026-11-26 14:46)"
    assert since(now(), runs, None, []).good == "the last green run (2026-11-27 14:46)"


def test_a_run_that_would_miss_the_targets_of_today_is_not_green(tmp_path: Path) -> None:
    runs = [past(tmp_path, 2, verdict())]
    assert since(now(), runs, None, [verdict(8.4)]).green == "run"
    assert since(now(), runs, None, [verdict(10.0)]).green == "never"
    assert since(now(), runs, None, [replace(MISSED, bound=8.0)]).green == "run"
    latency = replace(verdict(), metric="average_ttft", measured=80.0)
    slow = replace(latency, status=Status.FAIL, measured=120.0, target=100.0, bound=105.0)
    runs = [past(tmp_path, 1, latency)]
    assert since(now(), runs, None, [slow]).green == "run"
    assert since(now(), runs, None, [replace(slow, bound=80.0)]).green == "run"
    assert since(now(), runs, None, [replace(slow, bound=79.0)]).green == "never"
    unknown = past(tmp_path, 4, replace(verdict(), measured=None))
    assert since(now(), [unknown], None, [MISSED]).green == "never"


def test_a_run_whose_gate_showed_a_loss_is_not_green(tmp_path: Path) -> None:
    run = past(tmp_path, 2, verdict())
    write_gate(run.folder, gate(Status.PASS))
    assert since(now(), [run], None, [MISSED]).green == "run"
    write_gate(run.folder, gate(Status.FAIL))
    assert since(now(), [run], None, [MISSED]).green == "never"
    (run.folder / "gate.json").write_text("{")
    assert since(now(), [run], None, [MISSED]).green == "never"


def test_a_loss_is_compared_with_the_references(tmp_path: Path) -> None:
    """Yesterday the same candidate met all targets, so nothing has changed since: that clears nothing."""
    run = past(tmp_path, 1, verdict())
    accepted = references(facts={**FACTS, "driver": "570"})
    judgment = Judgment("small", Status.FAIL, "", (verdict(),), {}, gate=gate(Status.FAIL))
    found = _since(judgment, now(), History((run,)), accepted)
    assert found is not None
    assert found.green == "references"
    found = _since(replace(judgment, verdicts=(MISSED,)), now(), History((run,)), accepted)
    assert found is not None
    assert found.green == "run"


def test_verdicts_that_cannot_be_read_are_not_green(tmp_path: Path) -> None:
    damaged, missing = past(tmp_path, 2, verdict()), past(tmp_path, 1, verdict())
    (damaged.folder / "verdicts.json").write_text("{")
    (missing.folder / "verdicts.json").unlink()
    assert since(now(), [damaged, missing], None, [MISSED]) == Since()


def test_without_a_green_run_the_references_are_compared() -> None:
    accepted = references(facts={"driver": "570", "gpu.vboost": 4})
    found = since(now(), [], accepted, [MISSED])
    assert (found.green, found.good) == ("references", "the accepted references (2025-03-24)")
    assert [each.text for each in found.changes] == ["driver 570 -> 575.57"]
    assert since(now(), [], None, [MISSED]).sentence == (
        "no earlier run on this machine meets today's targets, and there are no references"
    )


def test_facts_that_references_do_not_keep_did_not_change(tmp_path: Path) -> None:
    """References keep no fact that is only shown, such as the number of requests or the host's name."""
    shown: dict[str, FactValue] = {
        "option.load.num_requests": 4,
        "option.engine.startup_timeout_s": 3600,
        "setup.mode": "check",
        "kernel": "6.8",
        "in_effect.moe_backend": "DEEPGEMM",
        "environment": ["NCCL_DEBUG=WARN"],
    }
    for number in range(16):
        record_nth_run(tmp_path, number, facts={**RECORDED, **shown})
    asked: dict[str, Any] = {"reason": "1.2.1", "by": "Ann", "now": ACCEPTED, "commit": None}
    accepted, _ = accept(tmp_path, scenario(), **asked)
    run = measurement(fingerprint=Fingerprint({**RECORDED, **shown}))
    assert since(run, [], accepted, []).sentence == (
        "since the accepted references (2025-03-24): no recorded fact differs"
    )
    newer = {**RECORDED, **shown, "driver": "580.95", "kernel": "6.9", "in_effect.moe_backend": "CUTLASS"}
    newer["environment"] = ["NCCL_DEBUG=WARN", "NCCL_P2P_DISABLE=1"]
    changed = since(replace(run, fingerprint=Fingerprint(newer)), [], accepted, [])
    assert [each.text for each in changed.changes] == [
        "in effect: moe_backend DEEPGEMM -> CUTLASS",
        "driver 575.57.08 -> 580.95",
        "environment.NCCL_P2P_DISABLE not given -> 1",
    ]


def test_references_that_miss_the_target_too_are_not_good() -> None:
    """Their mean is 8.07 tok/s; of another metric they say nothing."""
    accepted = references(facts={"driver": "570"})
    above = replace(MISSED, bound=8.1)
    found = since(now(), [], accepted, [above])
    assert (found.green, found.changes) == ("never", ())
    assert found.sentence == (
        "no earlier run on this machine meets today's targets, and the accepted references do not either"
    )
    assert since(now(), [], accepted, [replace(MISSED, bound=8.0)]).green == "references"
    assert since(now(), [], accepted, []).green == "references", "a loss is compared with them all the same"
    latency = replace(MISSED, metric="average_ttft", measured=120.0, bound=105.0)
    assert since(now(), [], accepted, [latency]).sentence == (
        "no earlier run on this machine meets today's targets, and the accepted references say nothing "
        "about average time to first token (TTFT)"
    )


def test_the_references_of_this_machine_count() -> None:
    """Those of another one may be faster."""
    here = [reference(number, node="GPU-a", value=7.0) for number in range(10)]
    there = [reference(number, node="GPU-b", value=9.0, recording=f"b-{number}") for number in range(10)]
    missed_now = [replace(MISSED, bound=7.6)]
    assert since(now(), [], references(runs=(*here, *there)), missed_now).green == "never"
    assert since(now(), [], references(runs=tuple(there)), missed_now).green == "references"


def test_a_green_run_whose_references_miss_the_target(tmp_path: Path) -> None:
    found = since(now(), [past(tmp_path, 1, verdict())], references(), [replace(MISSED, bound=7.9)])
    assert (found.green, found.doubt) == ("run", "")
    low = references(runs=tuple(reference(number, value=7.0) for number in range(10)))
    found = since(now(), [past(tmp_path, 2, verdict())], low, [replace(MISSED, bound=7.9)])
    assert (found.green, found.doubt) == ("run", "the accepted references do not either")


def test_a_scenario_that_was_never_green_is_compared_with_the_published_run() -> None:
    gpus: dict[str, FactValue] = {"gpu.name": "NVIDIA H200", "gpu.count": 8}
    as_published = shipped("h200/max-throughput")
    run = measurement(scenario=as_published, fingerprint=Fingerprint(gpus))
    newest = as_published.publications[0].version
    never = (
        "no earlier run on this machine meets today's targets, and there are no references; compared with "
    )
    assert since(run, [], None, []).sentence == f"{never}{newest}: the scenario is as published"
    file = SUITES / "h200" / "max-throughput.yaml"
    other = load(file, overrides=("load.concurrency=512",)).scenario
    changed = since(replace(run, scenario=other), [], None, []).sentence
    assert changed == f"{never}{newest}: load.concurrency: 512 here"
    settings = ["load.concurrency=512", "load.num_requests=4", "load.warmup_requests=1", "engine.ep=2"]
    settings += ["engine.streaming=true", "engine.max_num_tokens=2048", "dataset.seed=1"]
    settings += ["engine.startup_timeout_s=60"]

    def told(overrides: Sequence[str]) -> str:
        changed = load(file, overrides=tuple(overrides)).scenario
        return since(replace(run, scenario=changed), [], None, []).sentence

    many = told(settings)
    assert many.count(" here") == 6
    assert many.endswith("; and 2 more")
    assert told(settings[:7]).endswith("; and 1 more")
    assert "more" not in told(settings[:6]).removeprefix(never)


def texts(old: Mapping[str, FactValue], new: Mapping[str, FactValue]) -> tuple[str, ...]:
    return tuple(each.text for each in changes(old, new))


def test_the_most_suspect_facts_come_first() -> None:
    """Known effects, then what a gate compares, then what may change by itself; not where it ran."""
    old: dict[str, FactValue] = {
        "hostname": "a",
        "kernel": "6.8",
        "library.torch": "2.8",
        "container.image": "1.2.0",
        "option.engine.llm_api.cuda_graph_config.batch_sizes": ["128"],
        "gpu.power_limit_w": 700.0,
    }
    new: dict[str, FactValue] = {
        "hostname": "b",
        "kernel": "6.9",
        "library.torch": "2.9",
        "container.image": "1.2.1",
        "option.engine.llm_api.cuda_graph_config.batch_sizes": ["64"],
        "gpu.power_limit_w": 600.0,
    }
    assert texts(old, new) == (
        "gpu.power_limit_w 700 -> 600",
        "option.engine.llm_api.cuda_graph_config.batch_sizes [128] -> [64]",
        "container.image 1.2.0 -> 1.2.1",
        "library.torch 2.8 -> 2.9",
        "kernel 6.8 -> 6.9",
    )


def test_options_in_effect_come_first() -> None:
    """Those that change no figure, such as the longest request that fits, come last."""
    old: dict[str, FactValue] = {
        "in_effect.attention_backend": "FLASHINFER",
        "in_effect.cuda_graphs": True,
        "in_effect.kv_cache_tokens": 900_000,
        "in_effect.max_seq_len": 4096,
        "in_effect.own_option": ["a", "b"],
        "in_effect.moe_backend": "DEEPGEMM",
        "gpu.vboost": 4,
        "driver": "575",
    }
    new: dict[str, FactValue] = {
        "in_effect.attention_backend": "TRITON",
        "in_effect.cuda_graphs": False,
        "in_effect.kv_cache_tokens": 20_000,
        "in_effect.max_seq_len": 8192,
        "in_effect.own_option": ["a"],
        "in_effect.moe_backend": "deepgemm",
        "in_effect.tp": 8,
        "gpu.vboost": 0,
        "driver": "580",
    }
    assert texts(old, new) == (
        "in effect: attention_backend FLASHINFER -> TRITON",
        "in effect: cuda_graphs on -> off",
        "in effect: kv_cache_tokens 900000 -> 20000",
        "in effect: own_option a, b -> a",
        "gpu.vboost 4 -> 0",
        "driver 575 -> 580",
        "in effect: max_seq_len 4096 -> 8192",
    )
    found = changes(old, new)
    assert [each.is_choice for each in found[:3]] == [True, True, False], "the cache follows from the memory"
    assert not found[4].is_choice


def test_each_inherited_variable_is_a_change_of_its_own() -> None:
    old: dict[str, FactValue] = {"environment": ["NCCL_DEBUG=WARN", "NCCL_ALGO=Ring"], "kernel": "6.8"}
    new: dict[str, FactValue] = {"environment": ["NCCL_DEBUG=WARN", "NCCL_P2P_DISABLE=1"], "kernel": "6.9"}
    assert texts(old, new) == (
        "environment.NCCL_ALGO Ring -> not given",
        "environment.NCCL_P2P_DISABLE not given -> 1",
        "kernel 6.8 -> 6.9",
    )
    assert texts({}, new) == texts(new, {}) == (), "an earlier version did not look"
    assert texts({"environment": []}, {"environment": ["OMP_NUM_THREADS=1"]}) == (
        "environment.OMP_NUM_THREADS not given -> 1",
    )


def test_another_version_of_this_plugin_may_look_at_more_libraries() -> None:
    own = "library.pytest-dsr1"
    new: dict[str, FactValue] = {"library.triton": "3.5", "option.engine.ep": 8}
    assert texts({own: "1.0"}, {own: "1.1", **new}) == (
        "option.engine.ep not given -> 8",
        "library.pytest-dsr1 1.0 -> 1.1",
    )
    assert "library.triton not given -> 3.5" in texts({own: "1.1"}, {own: "1.1", **new})
    assert texts({own: "1.0", "library.triton": "3.4"}, {own: "1.1", "library.triton": "3.5"}) == (
        "library.pytest-dsr1 1.0 -> 1.1",
        "library.triton 3.4 -> 3.5",
    )


def test_what_was_not_read_does_not_differ() -> None:
    """An earlier version did not read the VBIOS; but an option that is missing was not given."""
    old: dict[str, FactValue] = {"gpu.vboost": None, "option.engine.ep": 8, "gpu.uuids": ["GPU-a"]}
    new: dict[str, FactValue] = {"gpu.vboost": 0, "gpu.vbios": "96.00", "library.tensorrt-llm": "1.2.0"}
    assert texts(old, new) == ("library.tensorrt-llm not given -> 1.2.0", "option.engine.ep 8 -> not given")


def test_what_one_of_the_gpus_did_not_report_does_not_differ() -> None:
    unread: dict[str, FactValue] = {"gpu.vbios": ["96.00", "None"]}
    assert not texts({"gpu.vbios": "96.00"}, unread)
    assert not texts(unread, {"gpu.vbios": "96.00"})
    assert texts({"gpu.vbios": "96.00"}, {"gpu.vbios": ["96.00", "97.00"]})


def test_secrets_of_earlier_versions_are_not_shown() -> None:
    """Saved before secrets were masked, and taken out of the scenario since."""
    old: dict[str, FactValue] = {
        "option.engine.environment.HF_TOKEN": "planted-secret",
        "option.engine.llm_api.api_key": "planted-secret",
    }
    for found in (texts(old, {}), texts({}, old)):
        assert len(found) == 2
        assert "planted-secret" not in "".join(found)


@pytest.mark.parametrize(("count", "more"), [(6, ""), (7, ", and 1 more"), (8, ", and 2 more")])
def test_a_long_list_is_cut(count: int, more: str) -> None:
    found = Since("run", "the last green run", tuple(Change("x", f"x{n} 1 -> 2") for n in range(count)))
    assert found.sentence.endswith(f"x4 1 -> 2; x5 1 -> 2{more}")


def test_the_answer_of_a_case() -> None:
    assert what_changed(case()) == ""
    changed = missed(
        since=Since("run", "the last green run (2026-11-24 14:46)", (Change("driver", "driver 570 -> 575"),))
    )
    assert what_changed(changed) == "Since the last green run (2026-11-24 14:46): driver 570 -> 575."
    assert changed.judgment.status is Status.FAIL
