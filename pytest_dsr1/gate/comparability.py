"""The fingerprint's facts, each of one of three roles: fixed, under test, or shown.

``fixed``
    What a gate does not judge and which must be as in the references; any difference is NOT COMPARABLE.
``under test``
    What a gate judges: software and the engine's options. May differ, and is then listed as what changed.
``shown``
    Kept with the result, never compared: what may change by itself on one machine, or is told better by
    another fact.

A fact that is in neither list below is under test: new software brings new facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Literal

from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.text import nearest

Role = Literal["fixed", "under test", "shown"]
Facts = Mapping[str, FactValue]
UnderTest = Mapping[str, bool]
"""A scenario's ``gate.under_test``: pattern to whether the facts it fits are under test."""

EVERYTHING: UnderTest = {"*": True}
"""Puts every fact that is compared under test, so that :func:`changed` tells all of them."""

NODE = "gpu.uuids"
"""The fact that tells nodes apart; the runs of references differ in it, so it is compared by itself."""

CLOCKS = ("gpu.max_sm_clock_mhz", "gpu.application_clock_mhz", "gpu.application_memory_clock_mhz")
"""Compared only where both sides tell them: earlier versions did not read them, and a driver may cease to
tell application clocks, while another driver is what gates judge."""

FIXED = (
    "gpu.name",
    "gpu.count",
    NODE,
    "gpu.memory_gib",
    "gpu.power_limit_w",
    "gpu.vboost",
    *CLOCKS,
    "gpu.mig",
    "gpu.ecc",
    "setup.vboost",
    "setup.sm_clock_lock_mhz",
    "cpu.model",
    "cpu.cores",
    "model.content",
    "dataset.content",
    "option.load.*",
    "option.gpu_setup.*",
    "library.pytest-dsr1",
)
"""Patterns of the fixed facts: the machine and its clock and power limits, the work, and this client."""

SHOWN: Mapping[str, str] = {
    "kernel": "the host's, which its owner updates",
    "hostname": "a container has another in every run; the node is known by its GPUs",
    "container": "whether, not which; container.image is under test",
    "processes_visible": "how the run was started, not what it ran on",
    "gpu.power_default_w": "gpu.power_limit_w is what counts",
    "gpu.persistence": "off after a reboot until somebody sets it; what it keeps is read by itself",
    "setup.mode": "what the settings are counts, not who made them",
    "setup.persistence_cycled": "as gpu.persistence",
    "setup.not_set": "names GPUs by their index; what is set stands in gpu.* and setup.*",
    "dataset.requests": "as option.load.num_requests",
    "option.load.num_requests": "references and candidate are judged over the same first requests",
    "option.engine.*_timeout_s": "when a run is given up",
    "option.engine.url": "where the server is reached; its port may be another in every run",
    "option.engine.ca_file": "a path",
    "option.engine.api_key_env": "a name",
}
"""Patterns of the facts that are not compared, each with why."""

_STEPS: Mapping[str, float] = {"gpu.power_limit_w": 0.5, "gpu.memory_gib": 2.0}
"""Readings closer than this are the same: NVML rounds power limits, drivers differ in what they reserve."""

_LONG_HEX = re.compile(r"[0-9a-f]{32,}")
_MANY = 3


def role(key: str, under_test: UnderTest) -> Role:
    """Return the role of a fact; of the patterns of ``under_test`` that fit it the last one counts."""
    if any(fnmatchcase(key, pattern) for pattern in SHOWN):
        return "shown"
    fixed = any(fnmatchcase(key, pattern) for pattern in FIXED)
    for pattern, tested in under_test.items():
        if fnmatchcase(key, pattern):
            fixed = not tested
    return "fixed" if fixed else "under test"


def with_role(wanted: Role, facts: Facts, under_test: UnderTest) -> dict[str, FactValue]:
    """Return the facts of one role in order of their names, without the node's."""
    return {key: facts[key] for key in sorted(facts) if key != NODE and role(key, under_test) == wanted}


def node(facts: Facts) -> str:
    """The machine's name: its GPUs' UUIDs in order, separated by commas; ``cpu`` where there are none."""
    uuids = facts.get(NODE)
    return ",".join(sorted(uuids)) if isinstance(uuids, list) and uuids else "cpu"


def short(name: str) -> str:
    """A node's name for tables and files: the same eight digits wherever it is computed."""
    if name == "cpu":
        return name
    return f"gpu-{sha256(name.encode()).hexdigest()[:8]}"


def any_node(under_test: UnderTest) -> bool:
    """Whether runs of all nodes are compared: the node itself is under test, so references are of a class."""
    return role(NODE, under_test) == "under test"


def unfit(under_test: UnderTest, facts: Facts) -> tuple[str, ...]:
    """A warning for each pattern that moves nothing among the facts of references."""
    compared = sorted(key for key in {*facts, NODE} if role(key, {}) != "shown")
    warnings = []
    for pattern in under_test:
        if not any(fnmatchcase(key, pattern) for key in compared):
            near = nearest(pattern, compared)
            meant = f" (did you mean {near}?)" if near else ""
            warnings.append(
                f"gate.under_test: {pattern!r} fits no fact of the references that is compared{meant}; the "
                "facts are those of `fingerprint` in measurement.json"
            )
    return tuple(warnings)


def differences(reference: Facts, facts: Facts, under_test: UnderTest) -> list[str]:
    """A sentence for each fixed fact that is not as in the references; the node is not looked at."""
    return [
        f"{key}: {shown(old)} in the references, {shown(new)} here"
        for key, old, new in unequal("fixed", reference, facts, under_test)
    ]


def changed(reference: Facts, facts: Facts, under_test: UnderTest) -> list[str]:
    """Each fact under test that is not as in the references, such as ``driver: 575.57 -> 580.95``."""
    return [
        f"{key}: {shown(old)} -> {shown(new)}"
        for key, old, new in unequal("under test", reference, facts, under_test)
    ]


def unlike(facts: Sequence[Facts]) -> list[str]:
    """Return the names, in order, of the facts of any role that differ between these fingerprints."""
    first = facts[0]
    return [
        key
        for key in sorted({key for one in facts for key in one})
        if not all(_same(key, first.get(key), other.get(key)) for other in facts)
    ]


def shown(value: FactValue) -> str:
    """A value as a person reads it: of a hash the beginning."""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    if value is None:
        return "none"
    text = f"{value:.10g}" if isinstance(value, float) else str(value)
    return f"{text[:12]}..." if _LONG_HEX.fullmatch(text) else text


def in_brief(sentences: Sequence[str]) -> str:
    """The first few of them on one line, and how many more there are."""
    more = [f"and {len(sentences) - _MANY} more"] if len(sentences) > _MANY else []
    return "; ".join([*sentences[:_MANY], *more])


def unequal(
    wanted: Role, reference: Facts, facts: Facts, under_test: UnderTest
) -> Iterable[tuple[str, FactValue, FactValue]]:
    """Key, value in the references and value here of each fact of a role that differs; the node is not."""
    old, new = with_role(wanted, reference, under_test), with_role(wanted, facts, under_test)
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        untold = key in CLOCKS and (one is None or other is None)
        if not (untold or _same(key, one, other)):
            yield key, one, other


def _same(key: str, old: FactValue, new: FactValue) -> bool:
    if not key.startswith("gpu."):
        return old == new
    # One value a GPU, whose order depends on how GPUs are counted; one value stands for all of them.
    olds, news = _values(old), _values(new)
    length = max(len(olds), len(news))
    olds, news = (values * length if len(values) == 1 else values for values in (olds, news))
    if sorted(olds) == sorted(news) or key not in _STEPS or len(olds) != len(news):
        return sorted(olds) == sorted(news)
    try:
        pairs = zip(sorted(map(float, olds)), sorted(map(float, news)), strict=True)
        return all(abs(one - other) <= _STEPS[key] for one, other in pairs)
    except ValueError:  # a GPU that does not say
        return False


def _values(value: FactValue) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
