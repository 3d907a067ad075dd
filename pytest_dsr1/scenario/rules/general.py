"""Rules between the values of a scenario: an impossible combination is a mistake, an unusual one a warning.

Each rule reads a valid scenario and yields pairs of the dotted key at fault and a sentence. Rules about one
engine's own settings are in that engine's folder.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.scenario.rules import accuracy, metrics, search, speculation
from pytest_dsr1.scenario.rules.registry import Rules
from pytest_dsr1.scenario.schema.deepseek_r1 import VOCAB_SIZE
from pytest_dsr1.scenario.schema.engine import engines
from pytest_dsr1.scenario.schema.load import TraceArrival
from pytest_dsr1.scenario.schema.rule import Findings, Relation
from pytest_dsr1.scenario.schema.scenario import Length, Normal, Scenario, Uniform

_rules = Rules()
must, should = _rules.must, _rules.should


def longest(length: Length) -> int:
    """Return the longest length that is certain to occur, in tokens (of a normal distribution, the mean)."""
    if isinstance(length, Uniform):
        return length.maximum
    return length.mean if isinstance(length, Normal) else length


@must("model.path", "model.random_weights", "engine.type")
def _one_origin(scenario: Scenario) -> Findings:
    """A model has either `path` or `random_weights`, whichever the engine takes."""
    model, engine = scenario.model, scenario.engine
    if engine.may_bring_model and model.random_weights is None:
        return
    if len(engine.model_sources) > 1:
        if (model.path is None) == (model.random_weights is None):
            found = "both" if model.path else "none"
            yield "model", f"expected either `path` or `random_weights`; found {found}"
        return
    wanted = engine.model_sources[0]
    other = "random_weights" if wanted == "path" else "path"
    if getattr(model, wanted) is None:
        yield "model", f"expected `{wanted}`, which the engine `{engine.type}` needs; found none"
    if getattr(model, other) is not None:
        yield f"model.{other}", f"not possible with the engine `{engine.type}`, which takes `{wanted}`"


@must("model.quantization", "model.random_weights", "engine.type")
def _random_weights_as_stored(scenario: Scenario) -> Findings:
    """`random_weights` that the engine stores in `model.quantization` are `FP8_BLOCK_SCALES` or BF16."""
    model, makes_weights = scenario.model, scenario.engine.quantizes_random_weights
    known = {"FP8_BLOCK_SCALES", "none"}
    if makes_weights and model.random_weights and model.quantization not in known:
        message = f"expected `FP8_BLOCK_SCALES` or `none` for random weights; found `{model.quantization}`"
        yield "model.quantization", message


@must("hardware.gpu", "hardware.count")
def _gpu_and_count(scenario: Scenario) -> Findings:
    """`hardware.gpu` and a `hardware.count` above 0 are given together."""
    hardware = scenario.hardware
    if hardware.gpu is None and hardware.count:
        yield (
            "hardware.count",
            f"expected `hardware.gpu`, the name of the {hardware.count} GPUs; found none",
        )
    if hardware.gpu is not None and not hardware.count:
        yield "hardware.gpu", "expected `hardware.count` to be at least 1; found 0"


@must("hardware.nodes", "hardware.count", "engine.type")
def _nodes(scenario: Scenario) -> Findings:
    """Several `hardware.nodes` have an engine that spans them, and the same number of GPUs each if it is not disaggregated."""  # noqa: E501
    hardware = scenario.hardware
    if hardware.nodes == 1:
        return
    uneven = scenario.engine.spans_nodes == "evenly" and hardware.count % hardware.nodes
    if hardware.gpu is None or uneven:
        message = f"expected a divisor of hardware.count, {hardware.count}; found {hardware.nodes}"
        yield "hardware.nodes", message if hardware.gpu else "expected 1 without hardware.gpu"
    if not scenario.engine.spans_nodes:
        yield "hardware.nodes", f"expected 1: the engine `{scenario.engine.type}` runs on one machine"


@must("hardware.gpu", "gpu_setup")
def _setup_needs_gpu(scenario: Scenario) -> Findings:
    """`gpu_setup` needs a GPU."""
    setup = scenario.gpu_setup
    if scenario.hardware.gpu is None and (setup.persistence or setup.vboost or setup.lock_sm_clock_mhz):
        yield "gpu_setup", "not possible without a GPU; expected its name in `hardware.gpu`, found none"


@must("hardware.gpu", "probe")
def _probe_needs_gpu(scenario: Scenario) -> Findings:
    """`probe` needs a GPU."""
    if scenario.hardware.gpu is None and scenario.probe:
        yield "probe", "not possible without a GPU; expected its name in `hardware.gpu`, found none"


@must("dataset.input_tokens")
def _input_range(scenario: Scenario) -> Findings:
    """The `maximum` of uniform input lengths is at least their `minimum`."""
    yield from _range("dataset.input_tokens", scenario.dataset.input_tokens)


@must("dataset.output_tokens")
def _output_range(scenario: Scenario) -> Findings:
    """The `maximum` of uniform output lengths is at least their `minimum`."""
    yield from _range("dataset.output_tokens", scenario.dataset.output_tokens)


def _range(key: str, length: Length) -> Findings:
    if isinstance(length, Uniform) and length.maximum < length.minimum:
        yield f"{key}.maximum", f"expected at least `minimum` ({length.minimum}), found {length.maximum}"


@must("dataset.vocab_size", "model.random_weights", "dataset.path")
def _tokens_are_known(scenario: Scenario) -> Findings:
    """Synthetic tokens are in the vocabulary of a model with random weights."""
    weights, wanted = scenario.model.random_weights, scenario.dataset.vocab_size
    if weights is None or scenario.dataset.path is not None:
        return
    known = weights.config.get("vocab_size", VOCAB_SIZE)
    if isinstance(known, int) and wanted > known:
        yield "dataset.vocab_size", f"expected at most the model's vocab_size ({known}), found {wanted}"


@must("load.arrival", "load.ramp_s", "load.duration_s", "engine.type")
def _load_of_engine(scenario: Scenario) -> Findings:
    """`load.arrival`, `load.ramp_s` and `load.duration_s` need an engine that keeps a schedule."""
    load = scenario.load
    if scenario.engine.keeps_schedules:
        if load.arrival is not None and load.ramp_s:
            yield "load.ramp_s", "not possible with `load.arrival`: an open loop has its own schedule"
        return
    for key in ("arrival", "ramp_s", "duration_s"):
        if getattr(load, key):
            able = [f"`{name}`" for name, each in engines().items() if each.settings.keeps_schedules]
            only = " or ".join(able)
            yield f"load.{key}", f"not possible with the engine `{scenario.engine.type}`, only with {only}"


@must("load.arrival", "dataset.path")
def _trace_lengths(scenario: Scenario) -> Findings:
    """A trace (`load.arrival`) has its own lengths, so it excludes `dataset.path`."""
    if isinstance(scenario.load.arrival, TraceArrival) and scenario.dataset.path is not None:
        yield "dataset.path", "not possible with a trace (load.arrival), which has its own lengths"


@must("targets")
def _targets_differ(scenario: Scenario) -> Findings:
    """Each metric has at most one target."""
    seen: dict[str, int] = {}
    for index, target in enumerate(scenario.targets):
        if target.metric in seen:
            yield (
                f"targets.{index}.metric",
                f"{target.metric} is already the metric of targets.{seen[target.metric]}",
            )
        seen.setdefault(target.metric, index)


@should("load.num_requests", "load.concurrency")
def _whole_rounds(scenario: Scenario) -> Findings:
    """`load.num_requests` is a multiple of `load.concurrency`."""
    load = scenario.load
    if load.num_requests % load.at_once:
        message = f"{load.num_requests} is not a multiple of load.concurrency ({load.at_once})"
        yield "load.num_requests", f"{message}: the last requests run at a lower load"


@should("load.warmup_requests", "load.num_requests")
def _short_warmup(scenario: Scenario) -> Findings:
    """`load.warmup_requests` is at most `load.num_requests`."""
    load = scenario.load
    if load.warmup_requests > load.num_requests:
        message = f"expected at most load.num_requests ({load.num_requests}), found {load.warmup_requests}"
        yield "load.warmup_requests", message


@should("targets", "load.concurrency", answers=("slots",))
def _per_user_without_queue(scenario: Scenario) -> Findings:
    """With a target on `per_user_output_throughput` the engine serves `load.concurrency` requests at once."""
    slots, concurrency = scenario.engine.slots, scenario.load.at_once
    if slots is None or concurrency <= slots:
        return
    for index, target in enumerate(scenario.targets):
        if target.metric == "per_user_output_throughput":
            queue = f"it includes waiting, and the engine serves {slots} of {concurrency} requests at once"
            yield f"targets.{index}.metric", f"{target.metric} says little here: {queue}"


def general_relations() -> tuple[Relation, ...]:
    """Return the rules for any engine, in the order of the reference page."""
    modules = (metrics, speculation, accuracy, search)
    return (*(relation for module in modules for relation in module.rules.relations), *_rules.relations)


def all_relations() -> tuple[Relation, ...]:
    """Return every rule once: those for any engine, then those of each engine."""
    own = (relation for schema in engines().values() for relation in schema.rules)
    return tuple(dict.fromkeys((*general_relations(), *own)))


def decided_by(relation: Relation, scenario: Scenario) -> Iterator[str]:
    """Yield the keys that decide what a rule asks the engine of a scenario."""
    for answer in relation.answers:
        yield from scenario.engine.decided_by.get(answer, ())


def relations_of(scenario: Scenario) -> tuple[Relation, ...]:
    """Return the rules that hold for a scenario: those for any engine, and those of its own."""
    return (*general_relations(), *engines()[scenario.engine.type].rules)
