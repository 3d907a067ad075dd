"""What a plan says about a machine, a load, time and cost, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator

from pytest_dsr1.machine.probe.values import expected_s as probes_take_s
from pytest_dsr1.measurement.expected import Asking, expected, probe_s
from pytest_dsr1.measurement.inputs import slo_limits
from pytest_dsr1.measurement.probing import ATTACHED, NO_GPU
from pytest_dsr1.scenario.schema.accuracy import SAME_ANSWERS, Accuracy
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.scenario import Hardware, Length, Normal, Scenario
from pytest_dsr1.scenario.schema.search import Search
from pytest_dsr1.scenario.search import probe_of
from pytest_dsr1.text import hours, number


def needed(hardware: Hardware) -> str:
    """Return the machine in words."""
    if hardware.gpu is None:
        return "any CPU"
    memory = f", at least {hardware.min_memory_gib:g} GiB each" if hardware.min_memory_gib else ""
    driver = f", driver {hardware.min_driver} or newer" if hardware.min_driver else ""
    return f"{hardware.words}{memory}{driver}"


_DECIDES = {
    "targets": "at target rates",
    "arrivals": "at the rate of arrivals",
    "duration": "until load.duration_s",
}


def duration(scenario: Scenario, questions: Asking | None) -> str:
    """Return the measured time, what decides it, and its cost, with that of the questions."""
    found = expected(scenario)
    if found is None:
        why = "no target gives a token rate" if scenario.targets else "the scenario has no targets"
        return f"unknown, because {why}"
    seconds = found.seconds
    time = in_words(seconds)
    why = _DECIDES[found.by]
    if not scenario.hardware.count:
        at_targets = found.by == "targets"
        return f"at most {time} measuring if the targets are met" if at_targets else f"{time} measuring {why}"
    asked_s = 0.0 if questions is None else questions.seconds
    hours = (seconds + (asked_s or 0.0)) * scenario.hardware.count / 3600
    cost = f"{hours:.2f} GPU-hours"
    if asked_s is None:
        cost += " without the questions"
    elif asked_s:
        cost = f"at most {cost} with the questions"
    return f"{time} measuring {why}, {cost}, plus loading the weights"


def in_words(seconds: float) -> str:
    """Return a time in words."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def asked(accuracy: Accuracy, asking: Asking) -> str:
    """Return how many questions are asked, how long the answers can be, and their longest time."""
    same = accuracy.same_answers
    parts = (
        [] if same is None else [f"{SAME_ANSWERS} {same.prompts:,} x {same.output_tokens:,} output tokens"]
    )
    for task, questions in zip(accuracy.tasks, asking.questions, strict=True):
        count = "all of its file" if questions is None else f"{questions:,}"
        parts.append(f"{task.test_name} {count} x at most {task.max_output_tokens:,} output tokens")
    speed = f"{asking.tok_s_user:.3g} tok/s per user"
    speed += ", as the targets ask" if asking.by == "targets" else ""
    longest = "" if asking.seconds is None else f"; at most {in_words(asking.seconds)} at {speed}"
    return f"after the measured part, {', '.join(parts)}{longest}"


def searched(scenario: Scenario, search: Search, starts: int) -> Iterator[str]:
    """Yield what a search asks, what its probes need, and how long they take.

    Args:
        scenario: that is searched.
        search: its search.
        starts: the most engine starts; 0 if the server is running already.
    """
    from pytest_dsr1.search.placing import MOST_PROBES

    low, high = search.ends
    goal = number(100 * search.goal)
    yield (
        f"{search.key} {number(low)} to {number(high)}, for the highest at which {goal}% of requests keep "
        f"the SLO ({_limits(probe_at(scenario, search, low, 1))})"
    )
    started = {0: "no engine start", 1: "1 engine start, for all probes"}
    yield (
        f"at most {MOST_PROBES} probes of at most {search.most_requests:,} requests each, and "
        f"{started.get(starts, f'at most {starts} engine starts')}; a probe that keeps {goal}% within the "
        f"SLO needs {search.least_requests:,} requests or more"
    )
    middle = math.sqrt(low * high)
    first = round(middle) if search.whole else middle
    sizes = dict.fromkeys((search.least_requests, search.most_requests))
    probes = [probe_at(scenario, search, first, size) for size in sizes]
    times = [
        (probe.load.num_requests, seconds) for probe in probes if (seconds := probe_s(probe)) is not None
    ]
    if not times:
        yield "the time is unknown, because the SLO does not limit the latency of a whole request"
        return
    parts = [
        f"{hours(MOST_PROBES * seconds, scenario.hardware.count)} with {size:,} requests each"
        for size, seconds in times
    ]
    kept = "if each request just keeps the SLO, " if probes[0].load.arrival is None else ""
    yield (
        f"{kept}{MOST_PROBES} probes at {number(first)}, where it begins, take {', or '.join(parts)}; "
        "without the time to start the engine"
    )


def probe_at(scenario: Scenario, search: Search, load: float, requests: int) -> Scenario:
    """Return a probe of a search, with this many requests."""
    return probe_of(scenario, search, load, again=0, run=0, requests=requests)


def _limits(probe: Scenario) -> str:
    assert probe.slo is not None
    limits = slo_limits(probe.slo)
    named = {"TTFT": limits.ttft_ms, "TPOT": limits.tpot_ms, "request latency": limits.request_latency_ms}
    return ", ".join(f"{name} at most {number(limit)} ms" for name, limit in named.items() if limit)


def probed(scenario: Scenario, starts: int) -> str:
    """Return when the GPUs are probed, and its cost; or why they are not."""
    count = scenario.hardware.count
    if not count:
        return NO_GPU
    if scenario.engine.attached_url:
        return f"not probed: {ATTACHED}"
    seconds = probes_take_s(max(scenario.gpus_by_node))  # all nodes at the same time
    hours = 2 * seconds * count / 3600
    every = f"; at most {starts} engine starts: {hours * starts:.2f} GPU-hours" if starts > 1 else ""
    return (
        f"{count} GPU{'s' if count > 1 else ''}, about {seconds:.0f} s before the engine starts and "
        f"{seconds:.0f} s after it has ended, {hours:.2f} GPU-hours{every}; not while a server is kept "
        "running"
    )


def load_in_words(scenario: Scenario) -> str:
    """Return the requests of a scenario, their lengths, and how they are sent."""
    load, dataset = scenario.load, scenario.dataset
    what = "random tokens" if dataset.path is None else "the dataset"
    lengths = f"{_length(dataset.input_tokens)} tokens in and {_length(dataset.output_tokens)} out"
    if load.arrival is not None:
        limit = f", at most {load.at_once:,} in flight" if load.limited else ""
        rate = (
            "" if isinstance(load.arrival, TraceArrival) else f" at {number(load.arrival.rate_req_s)} req/s"
        )
        sent = f"{load.arrival.type} arrivals{rate}{limit}"
    else:
        sent = "all at once" if load.floods else f"{load.at_once:,} in flight"
    warm = f", after {load.warmup_requests:,} for warm-up" if load.warmup_requests else ""
    streamed = ", streamed" if scenario.engine.streams else ""
    template = ", through the chat template" if scenario.engine.uses_chat_template else ""
    return f"{load.num_requests:,} requests of {what}, {lengths}{template}, {sent}{streamed}{warm}"


def _length(length: Length) -> str:
    if isinstance(length, int):
        return f"{length:,}"
    if isinstance(length, Normal):
        return f"{length.mean:,.0f} (standard deviation {length.stdev:,.0f})"
    return f"{length.minimum:,} to {length.maximum:,}"
