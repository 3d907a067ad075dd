"""The verdict on the cause: situations that were written before the rules, and the words for each."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

import pytest

from pytest_dsr1.case.cause.cause import cause_of, unfit
from pytest_dsr1.case.cause.evidence import ChangedRole, Evidence, OptionDifference, Probed, Watched
from pytest_dsr1.case.cause.rules import RULES
from pytest_dsr1.findings import Finding
from tests.case.cause.situations import TELLS, Situation, situations

SITUATIONS = situations()
AT_REST = Watched(throttled_share=0.0, power_capped=False, locked_clock=False, shared=False)
SAME = {"memory_bandwidth": 0.1, "bf16": -0.2, "fp8": 0.0, "allreduce": 0.1}
FINE = Probed(
    "references", SAME, smallest={"memory_bandwidth": 0.3, "bf16": 1.0, "fp8": 1.0, "allreduce": 1.0}
)


@pytest.mark.parametrize("situation", [pytest.param(each, id=each.name) for each in SITUATIONS])
def test_the_right_cause_is_named(situation: Situation) -> None:
    assert cause_of(situation.evidence).kind == situation.answer, situation.why


def test_there_are_enough_situations_of_each_kind() -> None:
    assert len(SITUATIONS) >= 40
    assert sum(each.trap for each in SITUATIONS) >= 10
    assert min(Counter(each.answer for each in SITUATIONS).values()) >= 5


CHANGED_OPTION = Evidence(
    "LOSS",
    8,
    share_of_target=0.9,
    probed=FINE,
    watched=AT_REST,
    options_read=True,
    green="references",
    changed={"option.engine.ep": "known"},
    software_same=True,
)


def test_a_changed_option_is_named_by_elimination() -> None:
    """Only if machine and software are excluded, and nothing else of the options is suspect."""
    found = cause_of(CHANGED_OPTION)
    assert found.next_step == "set back what changed in the options, and run again"
    assert cause_of(replace(CHANGED_OPTION, software_same=None)).kind == "unknown"
    assert cause_of(replace(CHANGED_OPTION, probed=None)).kind == "unknown"
    assert cause_of(replace(CHANGED_OPTION, seen=("fabric health",))).kind == "unknown"
    assert cause_of(replace(CHANGED_OPTION, share_of_target=None)).kind == "unknown"
    itself = {**CHANGED_OPTION.changed, "in_effect.attention_backend": "known"}
    assert cause_of(replace(CHANGED_OPTION, changed=itself)).kind == "unknown"
    assert (found.kind, found.evidence) == (
        "options",
        (
            "changed since it was good: option.engine.ep",
            "probes as in the references, to 0.2%",
            "software as when it was good",
        ),
    )


def test_an_option_that_may_not_matter_is_a_suspicion() -> None:
    """Whatever was read of the other options, these are not as they were asked for."""
    other = OptionDifference("print_iter_log", "on", "off", matters=False)
    found = cause_of(Evidence("FAIL", share_of_target=0.9, options=(other,), options_read=True))
    assert (found.kind, found.evidence) == (
        "unknown",
        ("print_iter_log was off instead of on", "the machine was not probed"),
    )


def test_every_rule_matters_in_some_situation() -> None:
    no_versions = Evidence("FAIL", green="run")
    known = [*(each.evidence for each in SITUATIONS), CHANGED_OPTION, SLOW_CLOCK, LOST, no_versions]
    known += [BEHIND, replace(BEHIND, share_of_target=0.7)]
    for rule in RULES:
        assert any(any(rule.find(evidence)) for evidence in known), rule


def test_each_verdict_in_words() -> None:
    slow = Probed("peers", single={5: {"memory_bandwidth": -6.0}}, smallest={"memory_bandwidth": 0.3})
    found = cause_of(Evidence("FAIL", 8, share_of_target=0.95, probed=slow, watched=AT_REST))
    assert found.sentence == "the machine: memory bandwidth of GPU 5 -6.0% against the other GPUs"
    assert found.next_step == "mend the machine, or run on another one, before you look at anything else"

    graphs = OptionDifference("cuda_graph", "on", "off", matters=True, cost_percent=86)
    found = cause_of(Evidence("FAIL", share_of_target=0.2, options=(graphs,), options_read=True))
    assert found.sentence == "the options: cuda_graph was off instead of on, known to cost 86%"
    assert found.next_step == "do what the clues say, or set back what differs, and run again"

    newer = Evidence(
        "LOSS",
        8,
        share_of_target=0.9,
        probed=FINE,
        watched=AT_REST,
        options_read=True,
        options_as_published=True,
        green="run",
        software_changed=("library.tensorrt-llm 1.2.0 -> 1.2.1",),
        software_same=False,
    )
    assert cause_of(newer).sentence == (
        "the software: machine and options are excluded (probes as in the references, to 0.2%; options in "
        "effect as published); changed since it was good: library.tensorrt-llm 1.2.0 -> 1.2.1"
    )
    both = Evidence("FAIL", share_of_target=0.3, watched=Watched(throttled_share=0.4), options=(graphs,))
    assert cause_of(both).sentence == (
        "not clear, because the evidence points to more than one cause: machine: heat or the hardware slowed "
        "down a GPU for 40.0% of the time; options: cuda_graph was off instead of on, known to cost 86%"
    )
    assert cause_of(Evidence("FAIL", share_of_target=0.9)).sentence == (
        "not known: the machine was not probed; the options in effect were not read"
    )
    assert cause_of(Evidence("FAIL", 0, share_of_target=0.9, green="run")).sentence == (
        "not known: a machine without GPUs cannot be probed; the options in effect were not read; it is not "
        "recorded whether the software is as when it was good"
    )
    assert cause_of(Evidence("FAIL", options_read=True)).evidence[0] == "it is not known how much is missing"


def test_the_next_step_without_a_cause() -> None:
    """A machine that was not probed can be; without GPUs there is nothing to probe."""
    seen = Evidence("FAIL", watched=AT_REST)
    assert cause_of(seen).next_step == "see what the GPUs can do: run again with --dsr1-probe"
    seen = replace(seen, green="run")
    assert cause_of(seen).next_step == (
        "compare the machine with a good run: add --dsr1-probe to this one, and to one that meets its targets"
    )
    assert cause_of(replace(seen, good_was_probed=True)).next_step == (
        "compare the machine with a good run: run again with --dsr1-probe"
    )
    assert cause_of(replace(seen, clues={"compile-cache": "x"})).next_step == "run again"
    assert cause_of(Evidence("FAIL")).next_step == "go through `pytest-dsr1 docs why-low`"
    assert cause_of(Evidence("FAIL", watched=AT_REST, probed=FINE)).next_step == (
        "go through `pytest-dsr1 docs why-low`"
    )
    shared = Evidence("FAIL", watched=AT_REST, probed=replace(FINE, other_work=True))
    assert cause_of(shared).next_step == "end the other work, and run again"
    assert cause_of(CHANGED_OPTION).next_step == "set back what changed in the options, and run again"


def test_nothing_that_is_recorded_is_the_cause() -> None:
    """Then another run, or what is not recorded, can tell."""
    as_before = replace(CHANGED_OPTION, changed={})
    found = cause_of(as_before)
    assert found.sentence == (
        "not known: nothing that is recorded explains it; probes as in the references, to 0.2%; options in "
        "effect as asked for; software as when it was good"
    )
    assert found.next_step == "run again; if it stays low, look at what is not recorded, such as edited code"
    unprobed = cause_of(replace(as_before, probed=None))
    assert unprobed.sentence == (
        "not known: the machine was not probed; options in effect as asked for; software as when it was good"
    )


def test_changes_of_the_software_are_one_sentence() -> None:
    newer = Evidence("FAIL", 0, share_of_target=0.9, green="run", software_same=False)
    found = cause_of(replace(newer, software_changed=("driver 570 -> 575", "engine.vllm 0.25 -> 0.26")))
    assert found.evidence[0] == "changed since it was good: driver 570 -> 575, engine.vllm 0.25 -> 0.26"


QUEUE = {"engine-queue": "on average 40 requests waited in the server's queue: take more at once"}


@pytest.mark.parametrize("green", ["run", "references"])
def test_a_clue_that_a_good_run_had_too_convicts_nobody(green: Literal["run", "references"]) -> None:
    """The same options, model and data were good: something else changed."""
    queued = Evidence("LOSS", share_of_target=0.9, watched=AT_REST, green=green, clues=QUEUE)
    found = cause_of(replace(queued, software_changed=("driver 570 -> 575",), software_same=False))
    assert (found.kind, found.evidence) == (
        "unknown",
        (
            "on average 40 requests waited in the server's queue, with the options of when it was good",
            "changed since it was good: driver 570 -> 575",
            "the machine was not probed",
            "the options in effect were not read",
        ),
    )
    for fact in ("option.load.concurrency", "model.content", "dataset.content"):
        assert cause_of(replace(queued, changed={fact: "under_test"})).kind == "options"
    assert cause_of(replace(queued, changed={"option.engine.url": "shown"})).kind == "unknown"
    assert cause_of(replace(queued, green="never")).kind == "options"


def test_a_run_does_not_count_because_of_what_can_spoil_it() -> None:
    """Failed requests made it INVALID; a moment of heat and a queue did not."""
    reason = "1 of 10 requests failed, the first: the server said no"
    heat = replace(AT_REST, throttled_share=0.006)
    spoiled = Evidence("INVALID", watched=heat, clues=QUEUE, why_invalid=(reason,))
    found = cause_of(spoiled)
    assert (found.kind, found.next_step) == ("unknown", "do what the message says, and run again")
    assert found.evidence == (
        reason,
        "heat or the hardware slowed down a GPU for 0.6% of the time",
        "on average 40 requests waited in the server's queue",
    )
    too_hot = cause_of(replace(spoiled, watched=replace(heat, not_allowed=("GPU 0 throttled: heat",))))
    assert (too_hot.kind, too_hot.evidence) == ("machine", ("GPU 0 throttled: heat",))
    wrong = {"number-format": "the engine reports FP8, but the scenario expects NVFP4: correct it"}
    assert cause_of(replace(spoiled, clues=wrong)).kind == "unknown"
    assert cause_of(replace(spoiled, clues=wrong, above_peak=True)).kind == "options"
    lost = cause_of(replace(spoiled, watched=replace(AT_REST, xid=79)))
    assert lost.sentence == "the machine: Xid 79 (GPU has fallen off the bus) during the run"


def test_options_that_change_by_themselves_are_not_suspects() -> None:
    """The port of a server is new in every run."""
    evidence = Evidence(
        "FAIL", share_of_target=0.9, green="run", changed={"option.engine.url": "shown"}, software_same=True
    )
    assert cause_of(evidence).evidence == (
        "the machine was not probed",
        "options as when it was good",
        "software as when it was good",
    )


SLOW_CLOCK = Evidence(
    "FAIL",
    share_of_target=0.2,
    watched=Watched(throttled_share=0.0, power_capped=True, locked_clock=True, clock_loss_percent=6.0),
)


def test_a_clock_cannot_cost_more_than_its_share() -> None:
    """A clock that is 6% low does not explain a miss of 80%, but one of 10%."""
    found = cause_of(SLOW_CLOCK)
    assert (found.kind, found.evidence) == (
        "unknown",
        (
            "a lowered power limit kept the clock below its highest",
            "a clock stayed below its highest without a reason, so it is locked",
            "the machine was not probed",
            "the options in effect were not read",
        ),
    )
    found = cause_of(replace(SLOW_CLOCK, share_of_target=0.9))
    assert (found.kind, len(found.evidence)) == ("machine", 2)


BEHIND = Evidence("FAIL", 8, share_of_target=0.8, watched=replace(AT_REST, behind={5: 12.0}))


def test_a_gpu_behind_the_others_at_its_power_cap() -> None:
    """Healthy GPUs differ by up to 7% there, so as much is normal, whatever is missing."""
    assert cause_of(BEHIND).sentence == (
        "the machine: GPU 5 was at its power cap, at a clock 12.0% below that of the others"
    )
    for behind, share, kind in ((7.1, 0.9, "machine"), (7.0, 0.9, "unknown"), (12.0, 0.7, "unknown")):
        watched = replace(AT_REST, behind={5: behind})
        found = cause_of(replace(BEHIND, share_of_target=share, watched=watched))
        sentence = f"GPU 5 was at its power cap, at a clock {behind:.1f}% below that of the others"
        assert (found.kind, found.evidence[0]) == (kind, sentence)
    assert cause_of(replace(BEHIND, probed=FINE, green="run")).kind == "unknown", "it was so in the good run"
    tiny = replace(BEHIND, watched=replace(AT_REST, behind={5: 3.0}))
    assert cause_of(tiny).evidence[0] == "the machine was not probed"


LOST = Evidence("INVALID", watched=replace(AT_REST, lost=True))


def test_a_lost_gpu_convicts_the_machine() -> None:
    assert cause_of(LOST).sentence == "the machine: a GPU was lost during the run"


def test_a_changed_setting_of_the_machine_is_a_suspicion() -> None:
    """What vboost cost is not known; probes as in the references clear the machine all the same."""
    changed: dict[str, ChangedRole] = {
        "gpu.vboost": "known",
        "cpu.model": "under_test",
        "gpu.persistence": "shown",
    }
    evidence = Evidence(
        "FAIL", share_of_target=0.9, watched=AT_REST, green="run", changed=changed, software_same=True
    )
    found = cause_of(evidence)
    assert (found.kind, found.evidence) == (
        "unknown",
        (
            "changed since it was good: gpu.vboost",
            "changed since it was good: cpu.model",
            "the machine was not probed",
            "options as when it was good",
            "software as when it was good",
        ),
    )
    cleared = replace(evidence, probed=FINE, options_read=True)
    cleared = replace(cleared, software_same=False, software_changed=("driver 570 -> 575",))
    assert cause_of(cleared).kind == "software"


def test_other_work_is_ended_and_not_mended() -> None:
    found = cause_of(Evidence("INVALID", watched=Watched(shared=True)))
    assert (found.sentence, found.next_step) == (
        "the machine: other work ran on the machine meanwhile",
        "end the other work, and run again",
    )


def test_a_small_loss_is_not_why_a_run_does_not_count() -> None:
    """It is unknown how much such a run misses, so a slow probe or clock is a suspicion alone."""
    slow = Probed("references", {"memory_bandwidth": -4.0}, smallest={"memory_bandwidth": 0.3})
    cause = cause_of(Evidence("INVALID", probed=slow, watched=AT_REST))
    assert cause.kind == "unknown"
    assert cause.evidence == ("the run does not count", "memory bandwidth -4.0% against the references")
    capped = replace(AT_REST, power_capped=True, clock_loss_percent=6.0)
    assert cause_of(Evidence("INVALID", watched=capped)).kind == "unknown"


def test_fine_probes_do_not_hide_what_was_seen_in_the_run() -> None:
    """They ran before it. A single slow GPU is in what they differ by."""
    seen = Evidence(
        "FAIL",
        8,
        share_of_target=0.94,
        probed=FINE,
        watched=replace(AT_REST, throttled_share=0.029),
        options_read=True,
        options_as_published=True,
        green="run",
        software_same=False,
        software_changed=("x 1 -> 2",),
    )
    assert cause_of(seen).kind == "unknown"
    assert cause_of(replace(seen, watched=AT_REST)).kind == "software"
    some = replace(seen, share_of_target=0.5, watched=replace(AT_REST, throttled_share=0.125))
    assert cause_of(some).kind == "software", "a quarter of what is missing is ignored"
    assert cause_of(replace(some, watched=replace(AT_REST, throttled_share=0.126))).kind == "unknown"
    one = replace(FINE, single={5: {"memory_bandwidth": -0.9}})
    assert "to 0.9%" in cause_of(replace(seen, watched=AT_REST, probed=one)).sentence


def test_a_loss_of_unknown_size_is_not_explained() -> None:
    """A metric that was not measured has no share of its target."""
    assert cause_of(Evidence("FAIL", watched=replace(AT_REST, throttled_share=0.006))).kind == "unknown"


SLOWER = Evidence(
    "FAIL",
    share_of_target=0.94,
    probed=replace(FINE, against="green run"),
    watched=AT_REST,
    options_read=True,
    green="run",
    software_same=False,
    software_changed=("python.path  -> /opt/new",),
)


def test_probes_of_a_green_run_excuse_the_machine() -> None:
    assert cause_of(SLOWER).sentence == (
        "the software: machine and options are excluded (probes as in the last green run that was probed, to "
        "0.2%; options in effect as asked for); changed since it was good: python.path  -> /opt/new"
    )


def test_one_request_at_a_time_waits_for_memory() -> None:
    """Matrix rates hide nothing from it, and do not convict; a small all-reduce of several GPUs does both."""
    alone = replace(SLOWER, share_of_target=0.98, one_at_a_time=True, probed=replace(FINE, smallest=TELLS))
    assert cause_of(alone).kind == "software"
    assert cause_of(replace(alone, one_at_a_time=False)).kind == "unknown"
    several = cause_of(replace(alone, gpus=2))
    assert "not probed now and in a good run: allreduce small" in several.evidence
    reduced = replace(FINE, overall={**SAME, "allreduce_small": -0.4}, smallest=TELLS)
    coarse = cause_of(replace(alone, gpus=8, probed=reduced))
    assert (
        "probes as in the references, but they can hide a loss of 12%, and 2.0% are missing"
        in coarse.evidence
    )
    assert cause_of(replace(alone, gpus=8, probed=reduced, share_of_target=0.75)).kind == "software"
    slow = replace(FINE, overall={**SAME, "bf16": -3.7}, smallest=TELLS)
    for one_at_a_time, kind in ((True, "unknown"), (False, "machine")):
        seen = replace(alone, share_of_target=0.935, probed=slow, one_at_a_time=one_at_a_time)
        assert cause_of(seen).kind == kind


def test_what_became_slower_during_the_run() -> None:
    after = replace(FINE, slower_after={"memory_bandwidth": -6.1})
    found = cause_of(replace(SLOWER, probed=after))
    assert (found.kind, found.evidence[0]) == (
        "unknown",
        "memory bandwidth -6.1% after the run against before it",
    )
    little = replace(SLOWER, probed=after, share_of_target=0.7)
    assert cause_of(little).kind == "software", "a quarter of what is missing is ignored"


def test_probes_that_are_too_fast_acquit_nobody() -> None:
    """Except by less than matters, and where the run hardly needs what is fast."""
    fast = replace(FINE, overall={**SAME, "memory_bandwidth": 19.8})
    found = cause_of(replace(SLOWER, probed=fast))
    assert (found.kind, found.evidence) == (
        "unknown",
        (
            "changed since it was good: python.path  -> /opt/new",
            "memory bandwidth +19.8% against the references, so one of the two probes is not right",
            "options in effect as asked for",
        ),
    )
    link = replace(FINE, overall={**SAME, "host_link_to": 30.0})
    assert cause_of(replace(SLOWER, probed=link)).kind == "software"
    little = replace(FINE, overall={**SAME, "memory_bandwidth": 1.5})
    assert cause_of(replace(SLOWER, probed=little)).kind == "software"


def test_what_stands_beside_fine_probes_is_no_acquittal() -> None:
    grew = "GPU 1 repaired errors: grew during the run: PCIe replays from 0 to 9,000"
    found = cause_of(replace(SLOWER, seen=(grew,)))
    assert (found.kind, found.evidence[0]) == ("unknown", grew)
    lanes = cause_of(replace(SLOWER, doubts=("GPU 0 PCIe: 8 of 16 lanes",)))
    assert lanes.kind == "software", "probes refute a state in which they ran"
    for watched, lacking in (
        (None, "the GPUs were not watched during the run"),
        (replace(AT_REST, throttled_share=None), "it was not read whether GPUs were slowed down"),
        (
            replace(AT_REST, unseen=("samples cover 10% of the measured time",)),
            "samples cover 10% of the measured time",
        ),
    ):
        found = cause_of(replace(SLOWER, watched=watched))
        assert (found.kind, lacking in found.evidence) == ("unknown", True)


def test_options_that_were_not_read_are_named() -> None:
    found = cause_of(replace(SLOWER, options_not_read=("cuda_graphs", "moe_backend")))
    assert (found.kind, found.evidence[-1]) == (
        "unknown",
        "asked for, but not read: cuda_graphs, moe_backend",
    )
    assert (
        "options as when it was good"
        in cause_of(
            replace(SLOWER, options_not_read=("tp",), software_same=True, software_changed=())
        ).evidence
    )


def test_a_clue_that_follows_from_the_scenario_is_no_evidence_after_a_good_run() -> None:
    waves = {"ramp-and-drain": "8 requests are only 4.0 waves: raise it"}
    assert cause_of(replace(SLOWER, clues=waves)).kind == "software"
    changed = replace(SLOWER, clues=waves, changed={"option.load.num_requests": "known"})
    assert cause_of(changed).kind == "options"


def test_a_kernel_that_failed_is_of_the_software() -> None:
    """It is why the run does not count; any other reason is not, whatever changed."""
    spoiled = replace(
        SLOWER, result="INVALID", share_of_target=None, why_invalid=("1 of 10 requests failed",)
    )
    found = cause_of(spoiled)
    assert (found.kind, found.evidence) == (
        "unknown",
        ("1 of 10 requests failed", "changed since it was good: python.path  -> /opt/new"),
    )
    kernel = cause_of(replace(spoiled, watched=replace(AT_REST, xid=13)))
    assert kernel.sentence == (
        "the software: machine and options are excluded (probes as in the last green run that was probed, to "
        "0.2%; options in effect as asked for); Xid 13 (graphics engine exception) during the run; changed "
        "since it was good: python.path  -> /opt/new"
    )
    page_fault = cause_of(replace(spoiled, watched=replace(AT_REST, xid=31)))
    assert "Xid 31 (memory page fault) during the run" in page_fault.sentence
    for other in (30, 32, 45):
        assert cause_of(replace(spoiled, watched=replace(AT_REST, xid=other))).kind == "unknown"
    unprobed = cause_of(replace(spoiled, watched=replace(AT_REST, xid=13), probed=None))
    assert unprobed.evidence == (
        "changed since it was good: python.path  -> /opt/new",
        "the machine was not probed",
        "options in effect as asked for",
    )


def test_references_that_were_never_good_acquit_no_machine() -> None:
    found = cause_of(replace(SLOWER, green="never", probed=FINE))
    assert (
        found.kind,
        "no good run was probed on these GPUs, so the machine is not excluded" in found.evidence,
    ) == (
        "unknown",
        True,
    )


def test_one_gpu_needs_no_all_reduce_to_be_excluded() -> None:
    alone = replace(FINE, overall={"memory_bandwidth": 0.1, "fp8": -0.2})
    assert cause_of(replace(SLOWER, probed=alone)).kind == "software"
    assert cause_of(replace(SLOWER, probed=alone, gpus=2)).kind == "unknown"


def test_why_probes_do_not_exclude_the_machine() -> None:
    """They were never taken of a good run, or they can hide too much."""
    peers = cause_of(replace(SLOWER, probed=Probed("peers")))
    assert peers.evidence[:2] == (
        "changed since it was good: python.path  -> /opt/new",
        "no good run was probed on these GPUs, so the machine is not excluded",
    )
    assert peers.next_step == (
        "probe a good run too: add --dsr1-probe to one that meets its targets, or to a recording"
    )
    coarse = replace(FINE, smallest={"memory_bandwidth": 0.3, "bf16": 3.5, "fp8": 4.0})
    found = cause_of(replace(SLOWER, probed=coarse))
    assert found.kind == "unknown"
    assert (
        "probes as in the references, but they can hide a loss of 3.5%, and 6.0% are missing"
        in found.evidence
    )
    assert cause_of(replace(SLOWER, probed=coarse, share_of_target=0.92)).kind == "software"
    coarse_reduce = replace(FINE, smallest={**FINE.smallest, "allreduce": 7.0})
    for gpus, kind in ((1, "software"), (2, "unknown")):
        assert cause_of(replace(SLOWER, probed=coarse_reduce, gpus=gpus)).kind == kind
    spoiled = cause_of(replace(SLOWER, probed=replace(coarse, other_work=True)))
    assert not any("probe" in each for each in spoiled.evidence)


def test_a_clock_that_good_runs_had_too_convicts_nobody() -> None:
    """Products as fast as in the references ran at this clock then."""
    low = replace(AT_REST, locked_clock=True, clock_loss_percent=6.0)
    evidence = replace(SLOWER, watched=low)
    assert cause_of(replace(evidence, probed=None)).kind == "machine"
    found = cause_of(evidence)
    assert found.kind == "unknown"
    assert found.evidence[0] == "a clock stayed below its highest without a reason, so it is locked"


def test_a_clue_cannot_cost_more_than_it_lost() -> None:
    """Ramp-up and drain that cost 10% explain a miss of 20%, but not one of 50%."""
    short = Evidence(
        "FAIL",
        share_of_target=0.5,
        clues={"ramp-and-drain": "ramp-up and drain cost 10%: send more"},
        clue_costs={"ramp-and-drain": 10.0},
    )
    for read in (False, True):
        found = cause_of(replace(short, options_read=read))
        assert (found.kind, found.evidence[0]) == ("unknown", "ramp-up and drain cost 10%")
    assert cause_of(replace(short, share_of_target=0.8)).kind == "options"
    assert cause_of(replace(short, clue_costs={})).kind == "options"


def test_a_machine_that_the_preflight_refuses() -> None:
    count = Finding("mismatch", "GPU count", "expected 8, found 1")
    memory = Finding("mismatch", "GPU 0 memory", "expected 139 GiB, found 80")
    cause = unfit([count, memory])
    assert cause.sentence == (
        "the machine: it does not fit the scenario: GPU count: expected 8, found 1, and 1 more"
    )
    assert unfit([count]).evidence == ("it does not fit the scenario: GPU count: expected 8, found 1",)
    assert unfit([count]).next_step == (
        "mend the machine, or run on another one, before you look at anything else"
    )
    busy = Finding("mismatch", "GPU 1 sharing", "other compute processes are on this GPU: pid 7")
    assert unfit([busy]).next_step == "end the other work, and run again"
    assert unfit([busy, count]).next_step.startswith("mend the machine")
