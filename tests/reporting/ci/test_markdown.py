"""The summary in Markdown: its table, its sections, and what it answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.case.answers import about_answers, worst_first
from pytest_dsr1.case.case import Case
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.machine.telemetry.health import GpuSummary
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.reporting.ci.markdown import STATUS, joined, summary
from pytest_dsr1.scenario.schema.scenario import Published, Scenario
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Status, Verdict
from tests.helpers.markdown import HOSTILE, RENDERER, types
from tests.helpers.values import answers, case, changed, gate, measurement, missed, scenario, verdict


def test_a_missed_target() -> None:
    few = FoundClue(
        "ramp-and-drain",
        "4 requests are 2.0 waves: raise load.num_requests",
        "pytest-dsr1 docs why-low#ramp-and-drain",
    )
    warnings = ("GPU 0 persistence mode: is off",)
    one = missed(noise=Noise(1.0), scenario_warnings=warnings, clues=(few,))
    assert one.run.measurement is not None
    healthy = replace(one.run.measurement, gpu_health=GpuSummary("8 GPUs, 612 W"))
    one = changed(one, measurement=healthy)
    assert (
        joined(summary([one, case("other")], [], 1))
        == """\
# DeepSeek-R1 performance: 1 FAIL, 1 PASS

Exit status 1: a target is missed, a loss is shown, or answers are wrong.

| verdict | scenario | what | measured | target | uncertainty (2 sd) |
|---|---|---|---:|---:|---:|
| **FAIL** | small | total output throughput | 8 tok/s (-20.0%) | &#62;= 9.5 (target 10) | 2% presumed |
| PASS | other | total output throughput | 8 tok/s (+0.0%) | &#62;= 7.6 (target 8) | 0.02% presumed |

## FAIL: small

**total output throughput 8 tok/s is 20.0% below the target 10 (tolerance 5%: at least 9.5 tok/s)** \
(CPU, engine transformers)

- **Is it real?** Yes: the run is valid, and total output throughput misses its bound by more than twice \
the standard deviation between engine starts (1%, presumed by gate.presumed_noise_percent).
- **Where is it?** `own/small.yaml:16`
- **What to do?** Look at the clues that the run shows (`pytest-dsr1 docs why-low`).
- **Look at:** 4 requests are 2.0 waves: raise load.num_requests (`pytest-dsr1 docs why-low#ramp-and-drain`)
- **GPUs:** 8 GPUs, 612 W
- **Results:** `.dsr1/small/20261123T200512Z`; `pytest --dsr1-replay=.dsr1/small/20261123T200512Z` judges \
them again without a GPU

FAIL, total output throughput:

```
total output throughput 8 tok/s is 20.0% below the target 10 (tolerance 5%: at least 9.5 tok/s)
```

Warnings:

- GPU 0 persistence mode: is off
"""
    )


def text(*cases: Case, status: int = 1) -> str:
    return joined(summary(cases, [], status))


def test_wrong_answers() -> None:
    given = answers(), answers(Status.PASS, "same_answers")
    shown = text(case(status=Status.FAIL, headline="h", accuracy=given)).replace("&#39;", "'")
    assert (
        "| **FAIL** | small | accuracy&#91;questions&#93; | 75% (at most 81.81%) | &#62;= 95% |  |\n"
        "| PASS | small | accuracy&#91;same_answers&#93; | agreement 0.500 | &#62;= agreement 0.950 |  |\n"
    ) in shown
    answer = (
        f"- **Are the answers right?** {about_answers(answers())}\n- **Where is it?** `own/small.yaml:18`\n"
    )
    assert answer in shown
    assert "Is it real?" not in shown
    assert "What to do?" not in shown
    assert "FAIL, accuracy:\n\n```\nquestions: 150 of 200 answers are right\n" in shown


def test_answers_without_references_have_a_row() -> None:
    shown = text(case(status=Status.NO_REFERENCE, accuracy=(answers(Status.NO_REFERENCE),)), status=11)
    assert "| **NO REFERENCE** | small | accuracy&#91;questions&#93; |  |  |  |\n" in shown


def test_a_miss_within_the_noise() -> None:
    shown = text(missed(noise=Noise(20.0)))
    told = "Perhaps not: the measured value is 15.8% from the bound, which is less than twice the standard"
    assert f"- **Is it real?** {told}" in shown
    again = "Run it again. If this happens often, let a gate decide (`pytest-dsr1 docs gate`)."
    assert f"- **What to do?** {again}" in shown


def test_a_saved_gate_is_not_in_the_exit_status() -> None:
    """A replay judges targets, which were met."""
    shown = text(case(status=Status.FAIL, gate=gate(Status.FAIL)), status=0)
    assert (
        "Exit status 0: every judged target is met, and no loss is shown. This covers what was judged now; "
        "the gate of a saved result is not judged again." in shown
    )
    assert "not judged again" not in text(case(status=Status.PASS), status=0)


def test_a_loss_that_a_gate_shows() -> None:
    shown = text(case(status=Status.FAIL, gate=gate(Status.FAIL)))
    assert (
        "| **FAIL** | small | gate: total output throughput | 8 tok/s (-20.0%) | &#62;= 9.8 (references 10) "
        "| 1.8% |" in shown
    )
    assert (
        "- **Is it real?** Yes: 2 engine starts against 20 accepted references. If there is no real loss, a "
        "gate fails " in shown
    )
    assert "in fewer than 1 of 100 cases." in shown
    assert "- **Where is it?** `own/small.yaml:20`" in shown
    assert "\nFAIL, gate:\n\n```\ntotal output throughput 8 tok/s: -20.00% against 10" in shown
    assert "- **What to do?** Look at what changed since the references: driver: 1 -&#62; 2. " in shown


@pytest.mark.parametrize(
    ("status", "real", "action"),
    [
        (
            Status.INVALID,
            "Unknown. The run is invalid, so it says nothing about performance.",
            "Do what the message says, then",
        ),
        (
            Status.NOT_COMPARABLE,
            "Unknown. The run differs from the references in a fact",
            "Restore what differs, or record",
        ),
        (
            Status.NO_REFERENCE,
            "Unknown. There are no references to compare",
            "Record and accept references. The",
        ),
        (
            Status.INCONCLUSIVE,
            "Undecided. The noise is too large to show or rule out",
            "Use a larger gate.delta_percent, more",
        ),
    ],
)
def test_what_was_not_decided(status: Status, real: str, action: str) -> None:
    refused = case(status=status, refused=(status, f"why: it is {status.value}"), headline="why it is")
    shown = text(refused, status=EXIT_STATUS[status])
    assert f"# DeepSeek-R1 performance: 1 {status.value}\n" in shown
    assert f"Exit status {EXIT_STATUS[status]}: {STATUS[EXIT_STATUS[status]]}.\n" in shown
    assert f"| **{status.value}** | small | why it is | | | |\n" in shown
    assert f"- **Is it real?** {real}" in shown
    assert f"- **What to do?** {action}" in shown
    assert f"{status.value}, gate:\n\n```\nwhy: it is {status.value}\n```" in shown


def test_a_run_that_proves_nothing() -> None:
    problem = "the run does not count:\n  GPU 5 hot"
    shown = text(
        case(status=Status.INVALID, problem=problem, headline="GPU 5 hot", verdicts=(), measurement=None)
    )
    assert "| **INVALID** | small | GPU 5 hot | | | |\n" in shown
    assert "- **Where is it?** `own/small.yaml:1`" in shown
    assert f"INVALID:\n\n```\n{problem}\n```" in shown
    assert "- **Results:** `.dsr1/small/20261123T200512Z`\n" in shown  # a failed run cannot be judged again


def test_what_was_not_measured() -> None:
    silent = verdict(measured=measurement(records=(), report={}))
    shown = text(case(status=Status.INVALID, verdicts=(silent,)))
    assert (
        "| **INVALID** | small | total output throughput | not measured | &#62;= 7.6 (target 8) "
        "| 0.02% presumed |" in shown
    )


def test_the_newest_published_value_has_a_column() -> None:
    known = scenario(
        published=[
            Published(version="V5", values={"total_output_throughput": 11_489.27}).model_dump(),
            Published(version="V2", values={"total_output_throughput": 10_637.7}).model_dump(),
        ]
    )
    shown = text(case(scenario=known), case("other", status=None, verdicts=(), headline="not judged"))
    assert "| verdict | scenario | what | measured | target | published | uncertainty (2 sd) |" in shown
    assert (
        "| PASS | small | total output throughput | 8 tok/s (+0.0%) | &#62;= 7.6 (target 8) | 11,489 "
        "| 0.02% presumed |\n" in shown
    )
    assert "|  | other | not judged | | | | |" in shown
    assert "# DeepSeek-R1 performance: 1 PASS, 1 not judged\n" in shown


def test_what_was_published_is_shown_without_targets() -> None:
    """Of another model or GPU, and next to forced acceptance, nothing is."""
    mlperf = {"version": "v5.1", "note": "another | harness", "values": {"total_output_throughput": 10.0}}
    late = {"version": "v5.0", "values": {"energy_per_request": 3.0}}
    known = {"targets": [], "published": [mlperf, late]}
    free = case("free", scenario=scenario(name="free", **known), status=Status.MEASURED, verdicts=())
    table = (
        "\n## Published, for information\n\n"
        "| scenario | what | published | this run, as a share | by | note |\n|---|---|---:|---:|---|---|\n"
        "| free | total output throughput | 10 tok/s | 80.0% | v5.1 | another &#124; harness |\n"
        "| free | energy per request | 3 J/req | not measured | v5.0 |  |\n"
    )
    assert table in text(free, status=0)
    other = [{**mlperf, "gpu": "NVIDIA B200"}, {**mlperf, "gpus": 8}, {**mlperf, "model": "another/one"}]
    forced = {"name": "free", "speculation": {"acceptance_length": 2.4}}
    for changes in ({"published": other}, forced):
        without = replace(free, scenario=scenario(**{**known, **changes}))
        assert "Published" not in text(without, status=0)
    assert "Published" not in text(replace(free, run=replace(free.run, measurement=None)), status=0)
    assert free.run.measurement is not None
    by_hand = Fingerprint({"option.speculation.acceptance_length": 2.4})
    run = replace(free.run, measurement=replace(free.run.measurement, fingerprint=by_hand))
    assert "Published" not in text(replace(free, run=run), status=0)


def test_warnings_beside_a_pass() -> None:
    shown = text(case(scenario_warnings=("the fans are loud",)), status=0)
    assert shown.endswith("\n## PASS, with warnings: small\n\nWarnings:\n\n- the fans are loud\n")
    assert f"Exit status 0: {STATUS[0]}.\n" in shown


def test_thirty_scenarios_the_worst_first() -> None:
    cases = [case(f"good-{number}") for number in range(28)]
    cases += [case("hot", status=Status.INVALID, problem="hot", verdicts=()), missed("slow")]
    shown = text(*sorted(cases, key=worst_first))
    rows = [line for line in shown.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 30
    assert rows[0].startswith("| **FAIL** | slow |")
    assert rows[1].startswith("| **INVALID** | hot |")
    assert shown.startswith("# DeepSeek-R1 performance: 1 FAIL, 1 INVALID, 28 PASS\n")
    assert [line for line in shown.splitlines() if line.startswith("## ")] == [
        "## FAIL: slow",
        "## INVALID: hot",
    ]


def test_the_title_has_the_models_of_the_scenarios() -> None:
    def title(*models: str) -> str:
        shown = summary([case(scenario=of(name)) for name in models], [], 0)[0]
        return shown.splitlines()[0]

    def of(name: str) -> Scenario:
        return scenario(model={"name": name, "random_weights": {}})

    assert title("Qwen/Qwen3-8B") == "# Qwen3-8B performance: 1 PASS"
    assert (
        title("Qwen/Qwen3-8B", "x/DeepSeek-R1", "y/Qwen3-8B") == "# Qwen3-8B, DeepSeek-R1 performance: 3 PASS"
    )
    assert title("a", "b", "c", "d") == "# Performance of 4 models: 4 PASS"
    assert title("a/*b*") == "# &#42;b&#42; performance: 1 PASS"


def test_what_was_selected_and_did_not_run() -> None:
    shown = joined(summary([case()], ["late", "later"], 2))
    assert shown.startswith(
        "# DeepSeek-R1 performance: 1 PASS, 2 not run\n\nExit status 2: the run was interrupted."
    )
    assert "**Not run**, so without a result: late, later\n" in shown
    assert joined(summary([], ["late"], 5)).startswith("# Performance: 1 not run\n\nExit status 5: no test")
    assert joined(summary([], [], 3)).startswith("# Performance: no scenario ran\n\nExit status 3: an int")


def test_an_exit_status_that_no_scenario_explains() -> None:
    told = "No verdict explains it: something else failed, see the log."
    assert told in text(case(), status=1)
    assert told in text(case(), status=10)
    assert told not in text(missed(), status=1)
    assert told not in text(case(), status=0)


def test_too_long_a_summary_is_cut_between_pieces() -> None:
    pieces = summary([missed(f"slow-{number}") for number in range(30)], [], 1)
    whole = joined(pieces)
    cut = joined(pieces, 6_000)
    assert len(cut.encode()) <= 6_000
    assert cut.endswith(
        "\n\n**The rest is omitted: it does not fit here.** The log and the results have all of it.\n"
    )
    assert whole.startswith(cut.partition("\n\n**The rest")[0])
    assert joined(pieces, len(whole.encode()) + 200) == whole
    assert joined(pieces, 10).strip().startswith("**The rest is omitted")


MEANT = {
    *(
        "heading_open",
        "heading_close",
        "paragraph_open",
        "paragraph_close",
        "text",
        "strong_open",
        "strong_close",
    ),
    *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "code_inline", "fence"),
    *("table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close"),
    *("tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close", "softbreak"),
}


@pytest.mark.parametrize("hostile", [*HOSTILE, "".join(HOSTILE), "<b>|`" * 2_500])
def test_hostile_text_does_no_harm(hostile: str) -> None:
    """A scenario's name, a log line, a GPU's name, a path: nothing but what was meant comes out."""
    bad = f"{hostile} {hostile}"
    own = scenario().model_copy(update={"name": bad})
    run = replace(measurement(), gpu_health=GpuSummary(bad))
    judged = Verdict(
        Status.FAIL,
        "target[total_output_throughput]",
        "total_output_throughput",
        1.0,
        2.0,
        1.9,
        -50.0,
        bad,
        bad,
    )
    where = {"scenario": f"{bad}:1", "target[total_output_throughput]": f"{bad}:2"}
    noise = {"total_output_throughput": Noise(1.0)}
    common: dict[str, Any] = {
        "scenario": own,
        "machine": bad,
        "headline": bad,
        "scenario_warnings": (bad,),
        "lines": where,
        "noise": noise,
        "clues": (FoundClue("kv-cache", bad, bad),),
    }
    cases = [
        case(
            **common,
            status=Status.FAIL,
            verdicts=(judged,),
            measurement=run,
            folder=Path(bad.replace("\0", "")),
        ),
        case(**common, status=Status.INVALID, problem=bad, verdicts=()),
        case(**common, verdicts=()),
    ]
    shown = joined(summary(cases, [bad], 1))
    assert types(shown) <= MEANT
    assert RENDERER.render(shown).count("<tr>") == 4
    assert [each.tag for each in RENDERER.parse(shown) if each.type == "heading_open"] == [
        "h1",
        "h2",
        "h2",
        "h2",
    ]
    assert len(shown) < 50_000


def test_a_forced_acceptance_length_stands_with_each_figure_and_hides_published_ones() -> None:
    published = [{"version": "V5", "values": {"total_output_throughput": 7.0}}]
    natural = case("natural", scenario=scenario(name="natural", published=published))
    speculation = {"acceptance_length": 2.4}
    forced = case("forced", scenario=scenario(name="forced", published=published, speculation=speculation))
    rows = [
        line for line in joined(summary([natural, forced], [], 0)).splitlines() if line.startswith("| PASS")
    ]
    assert rows == [
        "| PASS | natural | total output throughput | 8 tok/s (+0.0%) | "
        "&#62;= 7.6 (target 8) | 7 | 0.02% presumed |",
        "| PASS | forced | total output throughput (acceptance length 2.4 forced) | 8 tok/s (+0.0%) | "
        "&#62;= 7.6 (target 8) |  | 0.02% presumed |",
    ]
    assert "published" not in joined(summary([forced], [], 0))


def test_a_command_to_copy_is_quoted_for_the_shell() -> None:
    one = missed()
    spaced = replace(one, run=replace(one.run, folder=Path("my res/small/1")))
    assert "`pytest '--dsr1-replay=my res/small/1'` judges them again" in text(spaced)
