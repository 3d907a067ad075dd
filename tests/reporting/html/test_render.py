"""The HTML pages: complete, alone, and unharmed by what a log or a name says."""

from __future__ import annotations

import os
import re
from base64 import b64decode
from dataclasses import replace
from datetime import datetime, timezone
from html.parser import HTMLParser
from importlib import util
from pathlib import Path

import pytest

from pytest_dsr1.case.case import Case, case_of
from pytest_dsr1.case.cause.cause import Cause
from pytest_dsr1.engines.facts import EngineFacts, RoleServer, ServerFigures
from pytest_dsr1.engines.in_effect import Option, saved
from pytest_dsr1.errors import UserError
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.history import History
from pytest_dsr1.gate.saved import GateRun, write_gate
from pytest_dsr1.machine.values import FORCED, Fingerprint
from pytest_dsr1.metrics.catalogue import METRICS, MetricValue
from pytest_dsr1.reporting.charts.history import ReportContext
from pytest_dsr1.reporting.compare.comparison import compare
from pytest_dsr1.reporting.html.render import write_comparison, write_html
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.text import number
from pytest_dsr1.verdict.accuracy import AccuracyVerdict, Wrong
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.paths import SUITES
from tests.helpers.published import measured, shipped
from tests.helpers.saved_gate import GATE
from tests.helpers.saved_runs import Made, judged, references, save, steady
from tests.helpers.values import NOISE, answers, changed, measurement, point, records
from tests.helpers.values import case as one_case

pytestmark = pytest.mark.needs("jinja2", "vl_convert")

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
BACKGROUND = ReportContext(History(), (), NOW)
RUN = Made(waves=4, concurrency=32)
HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\"'`\x00\x1b[31m\u202e&lt;"
    + "x" * 10_000
)


class Page(HTMLParser):
    """What a browser would make of a page: its elements, text and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._quiet = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._quiet = tag if tag in {"script", "style"} else self._quiet

    def handle_endtag(self, tag: str) -> None:
        self._quiet = "" if tag == self._quiet else self._quiet

    def handle_data(self, data: str) -> None:
        self.text += "" if self._quiet else f"{data} "

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def cases(tmp_path: Path) -> list[Case]:
    """A FAIL, a PASS and an INVALID one."""
    made = [
        replace(RUN, speed=0.8),
        Made("h200/min-latency", waves=10, concurrency=1, day=1),
        replace(RUN, suite="b200/max-throughput", throttled=(5, 0.2, 0.5), day=2),
    ]
    return [case_of(judged(save(tmp_path / "results", one), one), tmp_path / "store", NOW) for one in made]


def page(path: Path, *found: Case, background: ReportContext = BACKGROUND) -> Page:
    write_html(path, found, background)
    return Page(path.read_text(encoding="utf-8"))


def test_a_page_of_three_scenarios(tmp_path: Path) -> None:
    found = page(tmp_path / "report.html", *cases(tmp_path))
    text = " ".join(found.text.split())
    assert "3 scenarios: 1 FAIL, 1 INVALID, 1 PASS." in text
    assert "h200-max-throughput total output throughput " in text
    assert (
        "% below the target 11,489 (tolerance 5%: at least 10,915 tok/s); 1 more missed; GPUs healthy" in text
    )
    assert re.search(r"GPU 5 throttled: hardware thermal slowdown: from \d\.\d s to \d\d?\.\d s into", text)
    changed = "changed here: load.concurrency, load.num_requests"
    assert "11,489 (V4 and V5, July to September 2025; changed here)" in text
    assert changed in text, "in the table of published values"
    meaning = "Uncertainty: twice the noise. Noise: standard deviation between engine starts ("
    assert f"{meaning}total output throughput presumed by " in text
    assert f"results: {tmp_path}/results/h200-max-throughput/" in text
    assert "# Run the scenario again, as it ran" in text
    assert "Is it real? Yes: the run is valid, and total output throughput misses its bound" in text
    assert "Is it real? Unknown. The run is invalid, so it says nothing about performance." in text
    assert "Where is it? " in text
    assert "suites/h200/max-throughput.yaml:70, " in text
    assert "What do I do? Look at the clues that the run shows" in text
    assert "trtllm-bench --model ..." in text
    assert found.count("svg") == 3 * 9
    assert found.count("article") == 3


def test_commands_are_marked_and_stay_harmless(tmp_path: Path) -> None:
    run = Made(throttled=(5, 0.2, 0.5))
    case = case_of(judged(save(tmp_path / "results", run), run), tmp_path / "store", NOW)
    path = tmp_path / "report.html"
    page(path, case)
    assert re.search(r"<dt>What is the cause\?</dt><dd>[^<]*</dd>", path.read_text(encoding="utf-8"))
    odd = replace(case.cause, next_step="run `x <b>` and `y`") if case.cause else None
    page(path, replace(case, cause=odd))
    assert "Run <code>x &lt;b&gt;</code> and <code>y</code>" in path.read_text(encoding="utf-8")
    odd = replace(odd, next_step="run `x and <b>") if odd else None
    page(path, replace(case, cause=odd))
    assert "Run `x and &lt;b&gt;" in path.read_text(encoding="utf-8")


def test_it_needs_nothing_else_and_its_links_lead_somewhere(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    found = page(path, *cases(tmp_path))
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for tag, attributes in found.elements if tag == "a"]
    assert links
    for link in links:
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert (path.parent / link).is_file()
    assert {tag for tag, _ in found.elements}.isdisjoint({"link", "iframe", "img", "object", "base"})
    assert not any(attributes.get("src") for _, attributes in found.elements)
    without_namespaces = path.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
    assert not re.search(r"https?://|//cdn|@import|url\(", without_namespaces)


def test_pictures_have_words(tmp_path: Path) -> None:
    found = page(tmp_path / "report.html", *cases(tmp_path))
    spoken = [
        attributes.get("aria-label") or ""
        for _, attributes in found.elements
        if attributes.get("role") == "img"
    ]
    bars = [words for words in spoken if words.endswith("is better")]
    assert len(spoken) == found.count("svg") + len(bars)
    assert len(bars) == 4
    assert bars[0] == (
        "total output throughput: measured 8,137 tok/s \N{PLUS-MINUS SIGN}2% (assumed), target 11,489, "
        "bound 10,915, published 11,489; higher is better"
    )
    assert all(len(label) > 30 for label in spoken)


def test_one_scenario_has_no_table_of_contents(tmp_path: Path) -> None:
    found = page(tmp_path / "report.html", cases(tmp_path)[0])
    assert "1 scenario: 1 FAIL." in " ".join(found.text.split())
    assert found.count("input") == 0


def test_of_many_scenarios_what_passed_is_folded(tmp_path: Path) -> None:
    fail, passed, invalid = cases(tmp_path)
    found = page(tmp_path / "report.html", fail, passed, invalid, *[passed] * 7)
    articles = [i for i, (tag, _) in enumerate(found.elements) if tag == "article"]
    opened = ["open" in found.elements[i + 1][1] for i in articles]
    assert opened == [True, False, True, *[False] * 7]


def test_a_scenario_without_targets_is_measured(tmp_path: Path) -> None:
    made = Made("h200/min-latency", waves=10, concurrency=1)
    outcome = judged(save(tmp_path / "results", made), made)
    outcome.loaded = load(SUITES / "h200" / "min-latency.yaml", overrides=("targets=[]",))
    outcome.verdicts.clear()
    found = page(tmp_path / "report.html", case_of(outcome, tmp_path, NOW))
    text = " ".join(found.text.split())
    assert "1 scenario: 1 MEASURED." in text
    assert "MEASURED h200-min-latency measured, nothing to judge: total output throughput " in text
    assert "Is it real?" not in text


def test_answers_have_a_section(tmp_path: Path) -> None:
    one = one_case(status=Status.FAIL, accuracy=(answers(), answers(Status.PASS, "same_answers")))
    page = tmp_path / "page.html"
    write_html(page, [one], BACKGROUND)
    told = " ".join(Page(page.read_text(encoding="utf-8")).text.split())
    assert "Accuracy Verdict Test Measured At most Required FAIL accuracy[questions] 75% 81.81% 95% " in told
    assert "PASS accuracy[same_answers] agreement 0.500 agreement 0.950 At most: " in told
    assert "questions: 150 of 200 answers are right." in told
    assert (
        "Wrong answers of accuracy[questions], the first 1 Question Text Expected Found questions/7 " in told
    )
    assert " questions/7 3 + 4? 7 8 & 9 " in told
    assert "Are the answers right? No: if the share were as high as required" in told
    assert "Is it real?" not in told
    compared = one_case(status=Status.FAIL, accuracy=(answers(name="same_answers"),))
    write_html(page, [compared], BACKGROUND)
    assert "Other answers of accuracy[same_answers], the first 1" in page.read_text(encoding="utf-8")


def test_a_scenario_that_was_not_measured(tmp_path: Path) -> None:
    (case, *_) = cases(tmp_path)
    bare = changed(
        case,
        measurement=None,
        verdicts=(),
        status=Status.INVALID,
        headline="no GPU",
        problem="no GPU",
        folder=None,
    )
    found = page(tmp_path / "report.html", bare)
    assert found.count("svg") == 0
    assert "no GPU" in found.text


def test_a_gate_and_its_references(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    references(tmp_path / "store", run.scenario, run.fingerprint, [9000.0, 9100.0])
    other = replace(run, fingerprint=Fingerprint({**run.fingerprint.facts, "driver": "580.95"}))
    runs = (*GATE.runs, GateRun("results/c", SteadyFigure(9050.0, 0.1, 5.0, 60.0, 2.0, 40, (9.0, 9.1))))
    write_gate(run.folder, replace(GATE, runs=runs))
    case = case_of(judged(other, RUN), tmp_path / "store", NOW)
    found = page(tmp_path / "report.html", case)
    text = " ".join(found.text.split())
    assert "The gate's runs (3)" in text
    assert "does not count warm-up: the first start" in text
    assert "a loss is shown" in text
    assert "Against the reference runs" in text
    assert "driver 580.95 575.57.08" in text
    assert "engine.tensorrt-llm 1.2.1 same" in text
    assert [attributes.get("class") for _, attributes in found.elements].count("differs") == 1


def test_a_gate_alone_says_the_noise_of_its_references(tmp_path: Path) -> None:
    """No targets were judged, as with ``-k regression``."""
    run = save(tmp_path / "results", RUN)
    write_gate(run.folder, GATE)
    outcome = judged(run, RUN)
    outcome.verdicts.clear()
    text = " ".join(page(tmp_path / "report.html", case_of(outcome, tmp_path / "store", NOW)).text.split())
    assert GATE.verdict is not None
    label = METRICS[GATE.verdict.metric].label
    assert f" \N{PLUS-MINUS SIGN}{2 * GATE.noise_percent:.2g}% " in text
    told = f"standard deviation between engine starts ({label} from {GATE.references.runs} accepted"
    assert f"{told} references)." in text
    assert "What do I do? Do what the clues say, or set back what differs, and run again. " in text
    unknown = Cause("unknown", ("the machine was not probed",), "run again with --dsr1-probe")
    for differs, told in (
        (GATE.changed, "Look at what changed since the references: driver: 575 -> 580. Look at the clues"),
        ((), "All recorded software versions and options are the same as in the references; what is not"),
    ):
        write_gate(run.folder, replace(GATE, changed=differs))
        case = replace(case_of(outcome, tmp_path / "store", NOW), cause=unknown)
        text = " ".join(page(tmp_path / "report.html", case).text.split())
        assert f"What do I do? {told}" in text


def test_a_gate_is_judged_by_references_and_run_again_as_one(tmp_path: Path) -> None:
    run = save(tmp_path / "results", replace(RUN, facts=(("setup.mode", "apply"),)))
    write_gate(run.folder, GATE)
    outcome = judged(run, RUN)
    outcome.verdicts.clear()
    text = " ".join(page(tmp_path / "report.html", case_of(outcome, tmp_path / "store", NOW)).text.split())
    assert " references 100 (2% worse: 98) " in text
    assert "scenario.yaml --dsr1-gpu-setup=apply --dsr1-gate -k regression" in text
    outcome.accuracy = [answers(Status.PASS)]
    text = " ".join(page(tmp_path / "report.html", case_of(outcome, tmp_path / "store", NOW)).text.split())
    assert "scenario.yaml --dsr1-gpu-setup=apply --dsr1-gate #" in text
    both = case_of(judged(run, RUN), tmp_path / "store", NOW)
    text = " ".join(page(tmp_path / "report.html", both).text.split())
    assert "scenario.yaml --dsr1-gpu-setup=apply --dsr1-gate #" in text


def test_the_steady_figure_stands_beside_the_references_and_equal_facts_are_told(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    references(tmp_path / "store", run.scenario, run.fingerprint, [9000.0, 9000.0])
    case = case_of(judged(run, RUN), tmp_path / "store", NOW)
    text = " ".join(page(tmp_path / "report.html", case).text.split())
    assert f" 9,000 (this run {number(steady(run))}) " in text
    assert "driver 575.57.08 same" in text
    assert "hostname" in run.fingerprint.facts
    assert f"hostname {run.fingerprint.facts['hostname']} same" not in text, "references do not keep it"
    assert "References (steady figure)" in text
    assert (
        "Steady figure: without warm-up and drain, as a gate judges it; targets are for the whole run."
        in text
    )
    warm = replace(RUN, facts=(("gpu.vboost", "4"),))
    unlike = case_of(judged(save(tmp_path / "other", warm), warm), tmp_path / "store", NOW)
    text = " ".join(page(tmp_path / "report.html", unlike).text.split())
    assert "References (steady figure)" not in text
    why = "so they are not shown: gpu.vboost: none in the references, 4 here."
    assert f"The accepted references are not comparable with this run, {why}" in text
    alone = case_of(judged(run, RUN), tmp_path / "nowhere", NOW)
    text = " ".join(page(tmp_path / "report.html", alone).text.split())
    assert "driver 575.57.08 same" not in text
    assert "Steady figure: " not in text


def test_the_steady_window_is_told_from_the_steady_figure(tmp_path: Path) -> None:
    """They differ where a warm-up is slow with all requests in flight, and a page has both."""
    run = save(tmp_path, RUN)
    said = f"{number(run.metrics['steady_output_throughput'].value)} tok/s"
    assert said != f"{number(steady(run))} tok/s"
    text = " ".join(page(tmp_path / "r.html", case_of(judged(run, RUN), tmp_path / "s", NOW)).text.split())
    assert f" output throughput in the steady window {said} records " in text
    assert "steady output throughput" not in text
    told = (
        "The steady window is the longest time in which at least 95% of load.concurrency requests were in "
        "flight. Its metrics are not the steady figure, which a gate judges: the steady figure also omits "
        "the warm-up, and covers whole waves of requests."
    )
    assert told in text
    bare = {name: value for name, value in run.metrics.items() if not name.startswith("steady_")}
    case = case_of(judged(replace(run, metrics=bare), RUN), tmp_path / "s", NOW)
    assert told not in " ".join(page(tmp_path / "r.html", case).text.split())


def test_what_the_engine_says_of_its_decode_step_stands_below_the_bounds(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    facts = {"share_of_bound": 0.26, "bandwidth_bound": "a step reads 63 GB"}
    told = replace(run, result=replace(run.result, facts=EngineFacts.of(facts)))
    text = " ".join(page(tmp_path / "r.html", case_of(judged(told, RUN), tmp_path / "s", NOW)).text.split())
    assert "expected to read: decode reaches 26% of the memory-bandwidth bound: a step reads 63 GB." in text


def test_several_servers_have_a_table(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    rows = ServerFigures("http://a", 1200, 3, 9000, 512.34, 30.5, 61.0), ServerFigures("http://b", 1201)
    many = replace(run, result=replace(run.result, facts=EngineFacts(servers=rows)))
    text = " ".join(page(tmp_path / "r.html", case_of(judged(many, RUN), tmp_path / "s", NOW)).text.split())
    head = "Servers (2) Server Requests Failed Output Mean TTFT P99 TTFT"
    assert f"{head} http://a 1,200 3 512.3 tok/s 30.5 ms 61 ms http://b 1,201 0 0 tok/s" in text
    one = " ".join(page(tmp_path / "1.html", case_of(judged(run, RUN), tmp_path / "s", NOW)).text.split())
    assert "Mean TTFT P99 TTFT" not in one


def test_servers_of_each_role_have_a_table(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    rows = (
        RoleServer("generation", 1, ["n1", "n2"], 16, 230.4, 0.5, 0.41, 0.0, 9876.5),
        RoleServer("context", 1, ["n3"], 4),
    )
    many = replace(run, result=replace(run.result, facts=EngineFacts(roles=rows)))
    text = " ".join(page(tmp_path / "r.html", case_of(judged(many, RUN), tmp_path / "s", NOW)).text.split())
    head = "(2) Server Nodes GPUs In the batch In the queue KV cache, most Read Written"
    row = "generation server 1 n1, n2 16 230.4 0.5 41% 0 tok/s 9,876 tok/s"
    assert f"Servers of each role {head} {row} context server 1 n3 4" in text


def test_several_nodes_have_a_table(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    assert run.gpu_health is not None
    gpus = tuple(
        replace(gpu, gpu=f"n{1 + int(gpu.gpu) // 4}:{int(gpu.gpu) % 4}") for gpu in run.gpu_health.gpus
    )
    slow = replace(gpus[4], throttled_share=0.25, temperature_c_max=91)
    wide = replace(run, gpu_health=replace(run.gpu_health, gpus=(*gpus[:4], slow, *gpus[5:])))
    text = " ".join(page(tmp_path / "r.html", case_of(judged(wide, RUN), tmp_path / "s", NOW)).text.split())
    head = "Nodes (2) Node GPUs SM clock Power per GPU Hottest Throttled n1 4 "
    assert head in text
    assert re.search(r" n2 4 [\d,]+ MHz [\d,]+ W 91 C 25\.0%", text)
    one = " ".join(page(tmp_path / "1.html", case_of(judged(run, RUN), tmp_path / "s", NOW)).text.split())
    assert "Power per GPU Hottest" not in one


def test_a_clock_that_the_power_cap_lowers_is_in_the_headline(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    assert run.gpu_health is not None
    first, *others = run.gpu_health.gpus
    capped = replace(first, power_capped_share=1.0, sm_clock_mhz_mean=1636.0)
    slow = replace(run, gpu_health=replace(run.gpu_health, gpus=(capped, *others)))
    assert case_of(judged(run, RUN), tmp_path, NOW).headline.count("GPUs healthy, at their power cap") == 0
    assert "; GPUs healthy, at their power cap" in case_of(judged(slow, RUN), tmp_path, NOW).headline


def test_energy_is_among_the_metrics_or_the_page_says_why_not(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    assert run.gpu_health is not None
    known = replace(run, metrics={**run.metrics, "energy_per_request": MetricValue(350.0, "records")})
    lacking = replace(run, gpu_health=replace(run.gpu_health, why_no_energy="GPU 3: its counter <fell>"))
    for one, shown, not_shown in (
        (known, "energy per request 350 J/req records", "Energy was not measured"),
        (lacking, "Energy was not measured: GPU 3: its counter <fell>.", "350 J/req"),
    ):
        case = case_of(judged(one, RUN), tmp_path / "s", NOW)
        said = " ".join(page(tmp_path / "r.html", case).text.split())
        assert shown in said
        assert not_shown not in said


def test_earlier_results_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    background = replace(BACKGROUND, history=History(unreadable=("a/measurement.json: is damaged",)))
    text = page(tmp_path / "report.html", cases(tmp_path)[0], background=background).text
    assert "Earlier results that could not be read (1)" in text
    assert "a/measurement.json: is damaged" in text


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    (case, *_) = cases(tmp_path)
    run = case.run.measurement
    assert run is not None
    harmless = page(tmp_path / "harmless.html", case, case)
    facts = {
        **run.fingerprint.facts,
        "gpu.name": HOSTILE,
        HOSTILE: HOSTILE,
        "list": [HOSTILE],
    }
    verdict = replace(case.judgment.verdicts[0], message=HOSTILE)
    published = [
        each.model_copy(update={"version": HOSTILE, "gpu": HOSTILE}) for each in case.scenario.published
    ]
    script = run.folder / "engine" / "<img src=x>'\".sh"
    script.write_text(HOSTILE.replace("\x00", ""), encoding="utf-8")
    hostile = changed(
        case,
        scenario=case.scenario.model_copy(
            update={"name": HOSTILE, "description": HOSTILE, "published": published}
        ),
        test_id_prefix=HOSTILE,
        machine=HOSTILE,
        headline=HOSTILE,
        problem=HOSTILE,
        verdicts=(verdict, *case.judgment.verdicts[1:]),
        accuracy=(AccuracyVerdict(Status.PASS, HOSTILE, HOSTILE, wrong=(Wrong(*[HOSTILE] * 4),)),),
        scenario_warnings=(HOSTILE,),
        measurement=replace(run, fingerprint=Fingerprint(facts)),
    )
    path = tmp_path / "report.html"
    found = page(path, hostile, hostile)
    text = path.read_text(encoding="utf-8")
    assert "\x00" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert {tag for tag, _ in found.elements} == {tag for tag, _ in harmless.elements}
    assert found.count("script") == found.count("style") == 1
    assert found.count("img") == 0
    assert not any(name.startswith("on") for _, attributes in found.elements for name in attributes)
    assert len(text) < 1_000_000


def test_a_comparison_page(tmp_path: Path) -> None:
    before = save(tmp_path, RUN)
    after = save(tmp_path, replace(RUN, speed=0.9, day=1, facts=(("driver", HOSTILE),)))
    path = tmp_path / "compare.html"
    write_comparison(path, compare([before, after], lambda _: NOISE), [before, after])
    found = Page(path.read_text(encoding="utf-8"))
    text = " ".join(found.text.split())
    assert "Side by side: 2026-11-20, 2026-11-21" in text
    assert "Changes are vs. 2026-11-20; changes within 0.028% may be noise" in text
    assert re.search(r"total output throughput tok/s [\d,]+ [\d,]+ -\d+\.\d% worse", text)
    assert "driver 575.57.08 </script></style><script>alert(1)" in text
    assert found.count("script") == 1
    assert found.count("svg") == 4


def test_a_comparison_page_tells_changes_as_the_terminal_does(tmp_path: Path) -> None:
    slow, fast = measurement(), measurement(records=records(latency_s=1 / 4028))
    huge = replace(fast, metrics={**fast.metrics, "total_latency": MetricValue(3e12, "report")})
    invalid = replace(huge, findings=(Finding("mismatch", "GPU 0", "lost"),))
    comparison = compare([slow, huge, invalid], lambda _: NOISE)
    write_comparison(tmp_path / "compare.html", comparison, [slow, huge, invalid])
    found = Page((tmp_path / "compare.html").read_text(encoding="utf-8"))
    text = " ".join(found.text.split())
    assert "total output throughput tok/s 8 32,224 x 4,028 better 32,224 x 4,028 total" in text
    assert "total latency ms 2,000 3e+12 x 1.5e+09 worse 3e+12 x 1.5e+09 average" in text
    assert "(1); no metric of 20:00:00 (3) is called better or worse: 20:00:00 (3) is INVALID; " in text


def test_what_makes_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    with pytest.raises(UserError) as caught:
        write_html(tmp_path / "report.html", [], BACKGROUND)
    assert str(caught.value) == (
        f"{tmp_path / 'report.html'}: an HTML report needs jinja2 and vl-convert-python: "
        "pip install 'pytest-dsr1[report]'"
    )


def test_what_was_published_has_a_table_with_its_notes(tmp_path: Path) -> None:
    offline = shipped("h200/mlperf-offline")
    ran = measured(offline, {"total_output_throughput": 8014.347})
    case = one_case(scenario=offline, measurement=ran, status=Status.MEASURED, verdicts=())
    text = " ".join(page(tmp_path / "report.html", case).text.split())
    assert (
        "Published Metric Published This run By Note total output throughput 8,905 tok/s 90.0% v5.1, "
        "September 2025, HPE open division; measured by MLPerf's own harness, with another client, other "
        "clocks and an accuracy check For information; never judged." in text
    )
    on_b200 = replace(ran, fingerprint=Fingerprint({"gpu.name": "NVIDIA B200"}))
    other = one_case(scenario=offline, measurement=on_b200, status=Status.MEASURED, verdicts=())
    assert "For information; never judged" not in page(tmp_path / "report.html", other).text


def test_options_in_effect_and_differences_from_the_published_run(tmp_path: Path) -> None:
    run = save(tmp_path / "results", replace(RUN, overrides=("load.concurrency=32",)))
    options = saved(
        [
            Option("stream_interval", 10, "server.log"),
            Option("max_batch_size", 64, "server.log", 128),
            Option("version", "1.2.0", "/version"),
        ]
    )
    facts = replace(run.result.facts, options_in_effect=options)
    run = replace(run, result=replace(run.result, facts=facts))
    case = case_of(judged(run, RUN), tmp_path / "store", NOW)
    text = re.sub(r"\s+", " ", page(tmp_path / "report.html", case).text)
    assert (
        "Engine options in effect Option In effect Asked for Read from version 1.2.0 /version "
        "max_batch_size 64 128 server.log stream_interval 10 server.log"
    ) in text
    assert "Other values than where it was published: load.concurrency: 32 here" in text


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no/report\.html: the report cannot be written: No such file"):
        write_html(tmp_path / "no" / "report.html", [], BACKGROUND)


def test_a_forced_acceptance_length_is_with_each_figure_and_hides_published_ones(tmp_path: Path) -> None:
    mtp = "engine.llm_api.speculative_config={decoding_type: MTP, max_draft_len: 3}"
    made = replace(RUN, overrides=(mtp, "speculation.acceptance_length=2.4"))
    run = save(tmp_path / "results", made)
    run = replace(
        run,
        metrics={**run.metrics, "acceptance_length": MetricValue(2.4, "report")},
        fingerprint=Fingerprint({**run.fingerprint.facts, FORCED: 2.4}),
    )
    case = case_of(judged(run, made), tmp_path / "store", NOW)
    text = " ".join(page(tmp_path / "report.html", case).text.split())
    dot = "\N{MIDDLE DOT}"
    assert f" {dot} engine trtllm-bench {dot} acceptance length 2.4 forced {dot} " in text
    assert "total output throughput, acceptance length 2.4 forced" in text
    assert "(V4 and V5, July to September 2025)" not in text


def test_a_pipe_among_the_scripts_of_a_result_is_not_waited_for(tmp_path: Path) -> None:
    (case, *_) = cases(tmp_path)
    assert case.run.measurement is not None
    engine = case.run.measurement.folder / "engine"
    os.mkfifo(engine / "z.sh")
    (engine / "y.sh").write_text("echo of-the-engine\n", encoding="utf-8")
    path = tmp_path / "report.html"
    page(path, case)
    text = path.read_text(encoding="utf-8")
    assert "echo of-the-engine" in text
    assert "# z.sh" not in text


def test_a_script_of_an_earlier_version_keeps_its_secrets_to_itself(tmp_path: Path) -> None:
    case = cases(tmp_path)[0]
    assert case.run.folder is not None
    old = (
        "export HF_TOKEN=planted\nexport MODE=plain\ncat > o.yaml <<'DSR1_OPTIONS'\nhf_token: planted\n"
        "api_keys:\n- planted\nbackend: X\nDSR1_OPTIONS\nserve --api-key planted --n 8\n"
    )
    (case.run.folder / "engine" / "command.sh").write_text(old, encoding="utf-8")
    text = page(tmp_path / "report.html", case).text
    assert "planted" not in text
    for shown in (
        "export HF_TOKEN=${HF_TOKEN}",
        "export MODE=plain",
        "backend: X",
        "--api-key ${API_KEY} --n 8",
    ):
        assert shown in text


def test_a_sweep_has_a_wide_picture_and_its_csv(tmp_path: Path) -> None:
    points = [point("concurrency-1", 160.0, 158.0), point("concurrency-4", 110.0, 440.0)]
    page = tmp_path / "curve.html"
    write_html(page, points, BACKGROUND)
    found = Page(page.read_text(encoding="utf-8"))
    assert ("figure", {"class": "wide", "aria-labelledby": "curves-picture-1"}) in found.elements
    (link,) = (attrs for tag, attrs in found.elements if tag == "a" and "download" in attrs)
    assert link["download"] == "curve.csv"
    head, _, data = str(link["href"]).partition("base64,")
    assert head == "data:text/csv;charset=utf-8;"
    assert b64decode(data).decode().splitlines()[1].startswith("swept,concurrency-1,1,0,PASS,")
    write_html(page, points[:1], BACKGROUND)
    assert "curves-picture" not in page.read_text(encoding="utf-8")
