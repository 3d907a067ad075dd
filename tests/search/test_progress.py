"""What a search says, keeps and answers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue, metric_named
from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.placing import Plan, Question
from pytest_dsr1.search.progress import SearchProgress, SearchResult, shown
from pytest_dsr1.study.loop import Answer, Next, answer
from pytest_dsr1.verdict.verdict import Status
from tests.helpers import values

ASKED = Question(1, 64, 0.9)
LIMITS = SloLimits(request_latency_ms=1_000.0)


def progress(
    asked: Question = ASKED, *probes: Probe, throughputs: dict[float, float] | None = None
) -> SearchProgress:
    return SearchProgress("small", asked, LIMITS, "pytest --again", list(probes), [], throughputs or {})


def kept(load: float) -> Probe:
    return Probe(load, 2_000, 2_000, 2_000.0, sent=2_200)


def missed(load: float) -> Probe:
    return Probe(load, 400, 200, 400.0, sent=500)


def result(*probes: Probe, asked: Question = ASKED, **others: Any) -> SearchResult:
    step = progress(asked, *probes, **others).step()
    assert isinstance(step, Answer)
    return step.value


class Server:
    """A server whose latency is 50 ms per request in flight, so 20 keep a limit of 1 s."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def run(self, plan: Plan) -> Measurement:
        self.asked.append(plan.load)
        if len(self.asked) == 2:
            raise InvalidRunError("too hot")
        count, load = int(plan.load) * 2 + 1_200, int(plan.load)
        records = [
            RequestRecord(i, i / 100, i / 100, i / 100 + 0.0499 * load, input_tokens=8, output_tokens=4)
            for i in range(count)
        ]
        scenario = values.scenario(load={"concurrency": load, "num_requests": count})
        measured = {"total_output_throughput": MetricValue(100.0 + load, "records")}
        return values.measurement(scenario=scenario, records=tuple(records), metrics=measured)


def test_the_loop_of_studies_runs_it() -> None:
    search, server, lines = progress(), Server(), list[str]()
    found = answer(search, server.run, lambda _: "", lines.append, lambda: None)
    assert (found.found.where, found.found.load, found.found.low, found.found.high) == ("inside", 20, 20, 20)
    assert found.throughput == pytest.approx(120)
    assert server.asked == [8, 64, 64, 23, 14, 18, 21, 20]
    assert search.left_out == ["too hot"]
    assert lines[:3] == [
        "small: 8 requests in flight keeps the goal (100.00% of 1,086 requests); probe 2 of at most 12: "
        "64 requests in flight, at most 1,240 requests",
        "small: the probe at 64 does not count: too hot",
        "small: 64 requests in flight misses the goal (0.00% of 1,131 requests); probe 3 of at most 12: "
        "23 requests in flight, at most 1,158 requests",
    ]
    assert found.sentences == (
        "small: highest concurrency with 90% of requests within the SLO: 20 requests in flight "
        f"(interval 20 to 20), after 7 probes of {found.requests:,} requests",
    )


def test_nothing_is_said_before_the_first_probe() -> None:
    step = progress().step()
    assert isinstance(step, Next)
    assert step.why == ""


def test_the_throughput_is_between_those_of_the_nearest_probes() -> None:
    rates = replace(ASKED, whole=False, width_percent=10.0)
    probes = (kept(20.0), missed(21.0), kept(10.0))
    assert result(*probes, asked=rates, throughputs={20.0: 300.0, 10.0: 200.0}).throughput == 300
    assert result(*probes, asked=rates, throughputs={10.0: 200.0, 30.0: 400.0}).throughput == 300
    assert result(*probes, asked=rates, throughputs={10.0: 200.0}).throughput == 200
    assert result(*probes, asked=rates).throughput is None


def test_the_metrics_of_a_result() -> None:
    """The throughput is that of the lower end, which surely keeps the SLO."""
    rates = replace(ASKED, whole=False)
    probes = [kept(10), missed(10.4)]
    found = result(*probes, asked=rates, throughputs={10.0: 200.0, 10.4: 208.0})
    assert found.metrics == {"highest_rate": (10, 10, 10.4), "throughput_at_slo": (200, 200, 208)}
    assert {metric_named(name).unit for name in found.metrics} == {"req/s", "tok/s"}
    assert result(*probes, asked=rates).metrics == {"highest_rate": (10, 10, 10.4)}
    every = result(kept(8), kept(64), throughputs={8: 100.0, 64: 700.0})
    assert every.metrics["throughput_at_slo"] == (700, 700, 700)
    assert result(kept(8), missed(4)).metrics == {}


def test_a_range_that_keeps_everything() -> None:
    found = result(kept(8), kept(64), throughputs={8: 100.0, 64: 700.0})
    assert found.sentences == (
        "small: highest concurrency with 90% of requests within the SLO: at least 64 requests in flight, the "
        "end of the range, after 2 probes of 4,400 requests",
        "every load of the range keeps the SLO: search higher, or set a stricter SLO",
    )
    assert found.throughput == 700
    assert found.judge("highest_concurrency", 64).status is Status.PASS
    verdict = found.judge("highest_concurrency", 100)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.doubt == "the search ended at 64: search up to 100"


def test_a_range_that_keeps_nothing() -> None:
    found = result(missed(8), missed(1), throughputs={1: 10.0})
    assert found.sentences == (
        "small: highest concurrency with 90% of requests within the SLO: less than 1 requests in flight, the "
        "start of the range, after 2 probes of 1,000 requests",
        "no load of the range keeps the SLO: search lower, or set a looser SLO",
    )
    assert found.throughput is None
    assert found.judge("highest_concurrency", 1).status is Status.FAIL


def test_probes_that_contradict_each_other() -> None:
    found = result(kept(8), missed(20), kept(40), throughputs={8: 1.0})
    assert found.sentences == (
        "small: highest concurrency with 90% of requests within the SLO: UNCLEAR, somewhere in 8 to 64 "
        "requests in flight, after 3 probes of 4,900 requests",
        "two probes contradict each other beyond their errors: 20 requests in flight misses the goal (50.00% "
        "of 400 requests), but 40 requests in flight keeps the goal (100.00% of 2,000 requests); the server "
        "changed between them, or more load does not make it slower: look at both, then search again",
    )
    assert found.throughput is None
    verdicts = [found.judge("highest_concurrency", target) for target in (8, 30, 100)]
    assert [each.status for each in verdicts] == [Status.PASS, Status.INCONCLUSIVE, Status.FAIL]
    assert verdicts[1].measured is None
    assert verdicts[1].margin_percent is None


def test_a_wide_interval_and_scattered_probes_are_said() -> None:
    near = [Probe(20.0, 10_000, kept_of, 2_000.0, sent=11_000) for kept_of in (8_700, 9_300, 8_800, 9_200)]
    asked = replace(ASKED, whole=False, most_probes=4)
    found = result(*near, asked=asked)
    assert found.found.scatter > 1
    assert found.sentences[1:] == (
        "the interval is wider than the 5% asked for: 4 probes were not enough, because misses change little "
        "with load or come in clusters",
        f"the probes scatter {math.sqrt(found.found.scatter):.1f} times as much as their requests explain, "
        "and the interval is wider for it: check what else ran on the machine",
    )


def test_a_target() -> None:
    found = result(kept(20), missed(21))
    verdict = found.judge("highest_concurrency", 16)
    assert (verdict.status, verdict.subject) == (Status.PASS, "search[highest_concurrency]")
    assert (verdict.measured, verdict.target, verdict.bound) == (20, 16, 16)
    assert verdict.margin_percent == pytest.approx(25)
    assert verdict.message == (
        "small: highest concurrency with 90% of requests within the SLO: 20 requests in flight (interval 20 "
        "to 20), after 2 probes of 2,700 requests: meets the target of at least 16"
    )
    assert found.judge("highest_concurrency", 20).status is Status.PASS
    failed = found.judge("highest_concurrency", 21)
    assert (failed.status, failed.doubt) == (Status.FAIL, "")
    assert failed.message.endswith("misses the target of at least 21")


def test_a_target_inside_the_interval_is_in_doubt() -> None:
    rate = result(kept(20.0), missed(21.0), asked=replace(ASKED, whole=False))
    doubt = "the target is inside the interval: the next search may find the other side"
    assert rate.judge("highest_rate", 20.5).doubt == doubt
    assert rate.judge("highest_rate", 20.5).subject == "search[highest_rate]"
    assert rate.judge("highest_rate", 20.0).doubt == ""
    assert rate.judge("highest_rate", 20.5).message.endswith(f"misses the target of at least 20.5; {doubt}")


def test_a_target_of_the_throughput() -> None:
    """It is that of the lower end of the interval."""
    rates = replace(ASKED, whole=False)
    found = result(kept(20), missed(21), asked=rates, throughputs={20: 400.0, 21: 420.0})
    verdict = found.judge("throughput_at_slo", 320)
    assert (verdict.status, verdict.subject) == (Status.PASS, "search[throughput_at_slo]")
    assert (verdict.metric, verdict.measured, verdict.target) == ("throughput_at_slo", 400, 320)
    assert verdict.margin_percent == pytest.approx(25)
    assert verdict.message == (
        "small: highest rate with 90% of requests within the SLO: 20 req/s (interval 20 to 21), after 2 "
        "probes of 2,700 requests; throughput at SLO 400 tok/s (interval 400 to 420): meets the target of at "
        "least 320"
    )
    failed = found.judge("throughput_at_slo", 500)
    assert (failed.status, failed.doubt) == (Status.FAIL, "")
    assert failed.message.endswith("misses the target of at least 500")
    doubted = found.judge("throughput_at_slo", 401)
    assert doubted.status is Status.FAIL
    assert doubted.doubt == "the target is inside the interval: the next search may find the other side"


def test_a_target_of_the_throughput_without_an_answer_inside_the_range() -> None:
    above = result(kept(8), kept(64), throughputs={8: 100.0, 64: 700.0})
    assert above.judge("throughput_at_slo", 700).status is Status.PASS
    higher = above.judge("throughput_at_slo", 701)
    assert (higher.status, higher.doubt) == (Status.INCONCLUSIVE, "the search ended at 64: search higher")
    below = result(missed(8), missed(1), throughputs={1: 10.0}).judge("throughput_at_slo", 1)
    assert (below.status, below.measured, below.doubt) == (Status.FAIL, 0, "")
    unclear = result(kept(8), missed(20), kept(40), throughputs={8: 1.0}).judge("throughput_at_slo", 1)
    assert (unclear.status, unclear.measured) == (Status.INCONCLUSIVE, None)
    assert "; throughput at SLO unknown: does not decide the target of at least 1\n" in unclear.message
    unknown = result(kept(20), missed(21)).judge("throughput_at_slo", 1)
    assert (unknown.status, unknown.measured) == (Status.INCONCLUSIVE, None)


def test_the_figures_for_a_gate() -> None:
    """Both are at the answer before it is rounded; the throughput has the error of the load."""
    rates = replace(ASKED, whole=False)
    found = result(kept(10), missed(10.4), asked=rates, throughputs={10: 200.0, 10.4: 208.0})
    load, load_se = found.figures["highest_rate"]
    throughput, se = found.figures["throughput_at_slo"]
    assert (load, load_se) == (found.found.estimate, 100 * found.found.se)
    assert throughput == pytest.approx(20 * load)
    assert se == pytest.approx(load_se, rel=0.01), "here the throughput is proportional to the load"
    flat = result(kept(10), missed(10.4), asked=rates, throughputs={10: 200.0, 10.4: 200.0})
    assert flat.figures["throughput_at_slo"] == (200, 0)
    assert set(result(kept(10), missed(10.4), asked=rates).figures) == {"highest_rate"}
    assert result(kept(8), kept(64), throughputs={8: 100.0}).figures == {}


def test_what_a_probe_showed() -> None:
    rates = replace(ASKED, whole=False)
    assert shown(Probe(2.5, 100, 90, 100.0), rates) == "2.5 req/s does not decide (90.00% of 100 requests)"
    assert shown(replace(kept(2.5), oversaturated=True), rates) == (
        "2.5 req/s only made the queue grow, and was stopped"
    )
