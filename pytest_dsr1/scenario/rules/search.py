"""Rules about a search for the highest load."""

from __future__ import annotations

from pytest_dsr1.metrics.catalogue import found_by_search
from pytest_dsr1.metrics.goodput import PRESETS
from pytest_dsr1.scenario.rules.registry import Rules
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Length, Normal, Scenario, Uniform

rules = Rules()
must = rules.must


@must("search")
def _one_range(scenario: Scenario) -> Findings:
    """`search` has one range, `load.concurrency` or `load.rate`: two numbers, the lowest first."""
    if scenario.search is None:
        return
    load = scenario.search.load
    if (load.concurrency is None) == (load.rate is None):
        found = "none" if load.rate is None else "both"
        yield "search.load", f"expected either `load.concurrency` or `load.rate`, found {found}"
    for name, ends in (("concurrency", load.concurrency), ("rate", load.rate)):
        if ends is not None and (len(ends) != 2 or ends[0] >= ends[1]):
            found = f"[{', '.join(f'{each:.10g}' for each in ends[:5])}{', ...' if len(ends) > 5 else ''}]"
            yield (
                f"search.load.{name}",
                f"expected the lowest and the highest load, such as [1, 2048], found {found}",
            )


@must("search", "load.arrival")
def _range_fits_the_loop(scenario: Scenario) -> Findings:
    """`search` over `load.concurrency` needs a closed loop, over `load.rate` a `load.arrival` with a rate."""
    if scenario.search is None:
        return
    load, arrival = scenario.search.load, scenario.load.arrival
    if load.concurrency is not None and arrival is not None:
        yield (
            "search.load.concurrency",
            "is the load of a closed loop, found `load.arrival`; search load.rate",
        )
    if load.rate is not None and (arrival is None or isinstance(arrival, TraceArrival)):
        found = "none" if arrival is None else f"`{arrival.type}`"
        yield (
            "search.load.rate",
            f"needs `load.arrival` of the type constant, gamma or poisson, found {found}",
        )


@must("search", "slo", answers=("streams",))
def _search_needs_limits(scenario: Scenario) -> Findings:
    """`search` needs limits that the engine can measure: `slo` in it, or the scenario's own."""
    search, slo, engine = scenario.search, scenario.slo, scenario.engine
    if search is None:
        return
    key = "slo" if search.slo is None else "search.slo"
    preset = search.slo or (slo.preset if slo else None)
    own = None if search.slo or slo is None else slo
    if preset is None and (own is None or not any((own.ttft_ms, own.tpot_ms, own.request_latency_ms))):
        yield "search", f"needs limits: expected `slo` with {' or '.join(PRESETS)}, or the scenario's `slo`"
    elif (preset or (own and (own.ttft_ms or own.tpot_ms))) and not engine.streams:
        setting = engine.settings_for.get("streaming")
        yield key, f"needs {f'`{setting}`' if setting else 'an engine that streams'}: TTFT is not measured"


@must("search", "dataset.output_tokens", "engine")
def _search_needs_records(scenario: Scenario) -> Findings:
    """`search` needs an engine that keeps a record of each request."""
    search, engine = scenario.search, scenario.engine
    if search is None:
        return
    tokens = search.most_requests * _mean(scenario.dataset.output_tokens)
    if why := engine.without_records(lambda: tokens):
        yield "search", f"needs request records, which the engine `{engine.type}` does not keep: {why}"


@must("search.at_least", "search.load")
def _target_in_range(scenario: Scenario) -> Findings:
    """`search.at_least` is in the range."""
    search = scenario.search
    ends = (search.load.concurrency or search.load.rate or ()) if search else ()
    if search is None or search.at_least is None or not ends:
        return
    if not min(ends) <= search.at_least <= max(ends):
        found = f"{min(ends):.10g} to {max(ends):.10g}, found {search.at_least:.10g}"
        yield "search.at_least", f"expected a load of the range, {found}"


@must("search.most_requests", "search.goal")
def _enough_requests(scenario: Scenario) -> Findings:
    """`search.most_requests` is enough for a probe to show that it keeps `search.goal`."""
    search = scenario.search
    if search is not None and search.most_requests < search.least_requests:
        yield (
            "search.most_requests",
            f"expected at least {search.least_requests:,}, because a probe of fewer requests cannot show "
            f"that it keeps the goal {search.goal:.10g}, found {search.most_requests:,}",
        )


@must("gate.metric", "search")
def _gated_search(scenario: Scenario) -> Findings:
    """`gate.metric` may be what `search` finds: its highest load, or `throughput_at_slo`."""
    metric, search = scenario.gate.metric, scenario.search
    if metric in found_by_search() and (search is None or metric not in search.metrics):
        found = f"found a search of {search.metric}" if search else "found no `search`"
        yield "gate.metric", f"{metric} needs a `search` of it, {found}"


def _mean(length: Length) -> float:
    if isinstance(length, Uniform):
        return (length.minimum + length.maximum) / 2
    return length.mean if isinstance(length, Normal) else length
