"""How long a run should take, and the most that it may take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from pytest_dsr1.measurement.inputs import slo_limits
from pytest_dsr1.metrics.catalogue import duration_s
from pytest_dsr1.metrics.inputs import Plan
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.dataset import mean_tokens
from pytest_dsr1.workload.questions import count_questions


@dataclass(frozen=True, slots=True)
class Expected:
    """How long the measured part takes if the targets are met exactly.

    Attributes:
        seconds: the time.
        by: what decides it: the targets, the rate of arrivals, or ``load.duration_s``.
    """

    seconds: float
    by: Literal["targets", "arrivals", "duration"]


def expected(scenario: Scenario) -> Expected | None:
    """Return how long the measured part takes if the targets are met exactly.

    This comes from the first target whose value says it, such as a rate of tokens or requests, and from the
    rate of arrivals: the longer of the two, and at most ``load.duration_s``. None if neither is known. If all
    requests are sent at once, those that wait in the engine are slower users; it has at least a slot per GPU.
    """
    load, of_targets_s = scenario.load, _of_targets_s(scenario)
    times = [] if of_targets_s is None else [Expected(of_targets_s, "targets")]
    if load.arrival is not None and not isinstance(load.arrival, TraceArrival):
        times.append(Expected(load.num_requests / load.arrival.rate_req_s, "arrivals"))
    longest = max(times, key=lambda each: each.seconds, default=None)
    if longest is not None and load.duration_s is not None and load.duration_s < longest.seconds:
        return Expected(load.duration_s, "duration")
    return longest


def _of_targets_s(scenario: Scenario) -> float | None:
    """Return the time of the first target that says one, in s."""
    times = (duration_s(target.metric, target.value, _sent(scenario)) for target in scenario.targets)
    return next((each for each in times if each is not None), None)


def expected_s(scenario: Scenario) -> float | None:
    """Return the time of :func:`expected`, in s."""
    found = expected(scenario)
    return None if found is None else found.seconds


def probe_s(probe: Scenario) -> float | None:
    """Return how long a probe of a search takes if each request just keeps the SLO, in s; None if unknown.

    An open loop takes as long as its arrivals. A closed loop is known if the SLO limits whole requests.
    """
    if probe.load.arrival is not None:
        return expected_s(probe)
    assert probe.slo is not None
    limits, tokens = slo_limits(probe.slo), mean_tokens(probe.dataset.output_tokens)
    whole_ms = [limits.request_latency_ms] if limits.request_latency_ms else []
    if limits.ttft_ms and limits.tpot_ms:
        whole_ms.append(limits.ttft_ms + limits.tpot_ms * (tokens - 1))
    return probe.load.num_requests / probe.load.at_once * min(whole_ms) / 1e3 if whole_ms else None


def _sent(scenario: Scenario) -> Plan:
    load, dataset, gpus = scenario.load, scenario.dataset, max(scenario.hardware.count, 1)
    return Plan(
        requests=load.num_requests,
        concurrency=load.at_once,
        input_tokens=load.num_requests * mean_tokens(dataset.input_tokens),
        output_tokens=load.num_requests * mean_tokens(dataset.output_tokens),
        gpus=gpus,
        slots=(scenario.engine.slots or gpus) if load.floods else None,
    )


SLOWEST_TOK_S_USER = 5.0
"""The output rate of a user that a run without an expected time must reach; published runs exceed 6."""
_PER_USER = "per_user_output_throughput"


def run_timeout_s(scenario: Scenario) -> float:
    """Return the limit of the measured time, in s: the scenario's, or 3 times the expected time + 600 s.

    If no target gives a time, it is that of the slowest users or of the slowest published run.
    """
    limit_s, seconds = scenario.engine.measuring_limit_s, expected_s(scenario)
    return limit_s or 3 * (_slowest_s(scenario) if seconds is None else seconds) + 600


def _longest_published_s(scenario: Scenario) -> float:
    """Return how long the run takes at the slowest published rate, in s; 0 if no rate is published."""
    sent, rates = _sent(scenario), [rate for each in scenario.published for rate in each.values.items()]
    return max(filter(None, (duration_s(metric, value, sent) for metric, value in rates)), default=0)


def _slowest_s(scenario: Scenario) -> float:
    """Return how long the run takes at the slowest rate of each user, or the slowest published rate, in s.

    Requests that wait in the engine are not users. Without a limit: a published rate, or 5 tok/s/GPU.
    """
    load, sent, published_s = scenario.load, _sent(scenario), _longest_published_s(scenario)
    limits = [most for most in (load.at_once if load.limited else None, scenario.engine.slots) if most]
    if published_s and not limits:
        return published_s
    users = replace(sent, concurrency=min(limits, default=sent.gpus), slots=None)
    seconds = duration_s(_PER_USER, SLOWEST_TOK_S_USER, users) or 0.0
    return max(seconds, published_s)


@dataclass(frozen=True, slots=True)
class Asking:
    """The questions after the measured part, and the longest time that they take.

    Attributes:
        questions: of each task, in order; None if only its file says how many, which only the run finds.
        tok_s_user: the output rate of a user that the time is for.
        by: what says this rate: the targets, or :data:`SLOWEST_TOK_S_USER`.
        seconds: the time, if every answer is as long as it may be; None if a number of questions is unknown.
    """

    questions: tuple[int | None, ...]
    tok_s_user: float
    by: Literal["targets", "slowest"]
    seconds: float | None


def asking(scenario: Scenario) -> Asking | None:
    """Return the questions of `accuracy`; None without it. Files of questions are read.

    Raises:
        InvalidRunError: such a file cannot be used.
    """
    asked = scenario.accuracy
    if asked is None:
        return None
    of_targets_s = _of_targets_s(scenario)
    at_one_tok_s_user_s = duration_s(_PER_USER, 1.0, _sent(scenario)) or 0.0
    tok_s_user = at_one_tok_s_user_s / of_targets_s if of_targets_s else SLOWEST_TOK_S_USER
    same = asked.same_answers
    tokens = 0 if same is None else same.prompts * same.output_tokens
    counted = count_questions(asked.tasks)
    for task, questions in zip(asked.tasks, counted, strict=True):
        if questions:
            tokens += math.ceil(questions / min(questions, scenario.load.at_once)) * task.max_output_tokens
    seconds = None if None in counted else tokens / tok_s_user
    return Asking(counted, tok_s_user, "targets" if of_targets_s else "slowest", seconds)


def job_timeout_s(scenario: Scenario) -> float | None:
    """Return the time after which pytest itself ends a run, in s; None if that is not known before.

    It has the longest start, the limit of the measured time and the longest questions.

    Raises:
        InvalidRunError: as :func:`asking`.
    """
    asked = asking(scenario)
    asked_s = asked.seconds if asked else 0.0
    if scenario.search is not None or expected(scenario) is None or asked_s is None:
        return None
    return scenario.engine.longest_start_s + run_timeout_s(scenario) + asked_s
