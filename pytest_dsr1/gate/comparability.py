"""The role of each fact of the fingerprint: fixed, under test, or shown.

``fixed``
    A gate does not judge it. It must equal the references; any difference is NOT COMPARABLE.
``under test``
    A gate judges it: software and the engine's options. It may differ, and is then listed as changed.
``shown``
    It is saved with the result but never compared, because it may change by itself on one machine or
    because another fact says the same better.

A fact that is in neither list below is under test: new software brings new facts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import Literal

from pytest_dsr1.engines import in_effect
from pytest_dsr1.machine.nodes.facts import NODES
from pytest_dsr1.machine.probe.values import PREFIX as PROBES
from pytest_dsr1.machine.probe.values import alike
from pytest_dsr1.machine.values import FORCED, INHERITED, FactValue
from pytest_dsr1.masking import fact_is_secret, masked_fact, masked_words, without_secrets
from pytest_dsr1.text import did_you_mean

Role = Literal["fixed", "under test", "shown"]
Facts = Mapping[str, FactValue]
UnderTest = Mapping[str, bool]
"""A scenario's ``gate.under_test``: for each pattern, whether the facts that match it are under test."""

EVERYTHING: UnderTest = {"*": True}
"""Puts every compared fact under test, so that :func:`changed` lists all of them."""

NODE = "gpu.uuids"
"""The fact that identifies a node. The runs of references differ in it, so it is compared separately."""

IF_KNOWN = (
    "gpu.max_sm_clock_mhz",
    "gpu.application_clock_mhz",
    "gpu.application_memory_clock_mhz",
    "gpu.power_enforced_w",
    "gpu.power_profiles",
    "gpu.vbios",
    "gpu.pcie_generation",
    "gpu.pcie_width",
    "gpu.nvlink_mb_s",
)
"""Compared only if both sides have them: earlier versions did not read them, and a new driver, which a gate
may judge, may no longer report some of them, such as application clocks."""

FIXED = (
    "gpu.name",
    "gpu.count",
    NODE,
    "gpu.memory_gib",
    "gpu.power_limit_w",
    "gpu.vboost",
    *IF_KNOWN,
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
    "option.speculation.*",
    "library.pytest-dsr1",
)
"""Patterns of the fixed facts: the machine, its clock and power limits, the work, and this client."""

SHOWN: Mapping[str, str] = {
    "kernel": "belongs to the host, and its owner updates it",
    "hostname": "is new for each run of a container; the GPUs identify the node",
    NODES: "names hosts; the GPUs identify them",
    "container": "says only whether there is one; container.image is under test",
    "python.path": "names folders, which differ between checkouts of the same software",
    "processes_visible": "depends on how the run was started, not on what it ran on",
    "gpu.power_default_w": "only gpu.power_limit_w matters",
    "gpu.persistence": "is off after a reboot until it is set; the settings it keeps are read separately",
    "slurm.*": "is how a site starts an engine, and each site names images and networks its own way",
    "setup.mode": "only the settings matter, not who made them",
    "setup.persistence_cycled": "like gpu.persistence",
    "setup.not_set": "names GPUs by index; gpu.* and setup.* say what is set",
    f"{in_effect.PREFIX}*": "follows from options and software, which are compared",
    INHERITED: "differs between shells; variables of the scenario are in option.engine.environment",
    f"{PROBES}*": "is measured anew in each run, and explains a figure instead of deciding about it",
    "dataset.requests": "like option.load.num_requests",
    "option.load.num_requests": "references and candidate are judged over the same number of requests",
    "option.engine.*_timeout_s": "limits how long a run waits",
    "option.engine.url": "is the server's address; its port may be new in every run",
    "option.engine.ca_file": "is a path",
    "option.engine.api_key_env": "is a name",
}
"""Patterns of the facts that are not compared, each with the reason."""

_STEPS: Mapping[str, float] = {"gpu.power_limit_w": 0.5, "gpu.power_enforced_w": 0.5, "gpu.memory_gib": 2.0}
"""Values closer than this are equal: NVML rounds power limits, and drivers differ in reserved memory."""

_LONG_HEX = re.compile(r"[0-9a-f]{32,}")
_MANY = 3


def role(key: str, under_test: UnderTest) -> Role:
    """Return the role of a fact; if several patterns of ``under_test`` match it, the last one counts.

    A forced acceptance length stays fixed unless a pattern names it in full, so that ``option.*`` does not
    compare a forced figure with a natural one.
    """
    if any(fnmatchcase(key, pattern) for pattern in SHOWN) or fact_is_secret(key):
        return "shown"
    fixed = any(fnmatchcase(key, pattern) for pattern in FIXED)
    meant = (key,) if key == FORCED and under_test is not EVERYTHING else under_test
    for pattern, tested in under_test.items():
        if pattern in meant and fnmatchcase(key, pattern):
            fixed = not tested
    return "fixed" if fixed else "under test"


def with_role(wanted: Role, facts: Facts, under_test: UnderTest) -> dict[str, FactValue]:
    """Return the facts of one role in order of their names, without the node's."""
    return {key: facts[key] for key in sorted(facts) if key != NODE and role(key, under_test) == wanted}


def compared(facts: Facts) -> dict[str, FactValue]:
    """Return the facts that are compared, by name: all but the node, and those that are only shown."""
    return with_role("under test", facts, EVERYTHING)


def explaining(runs: Sequence[Facts]) -> dict[str, FactValue]:
    """Return the facts that are only shown but can explain a loss, by name: what all of these runs share."""
    differ = set(unlike(runs))
    return {
        key: fact
        for key, fact in sorted(runs[-1].items())
        if (key == INHERITED or key.startswith(in_effect.PREFIX)) and key not in differ
    }


def node(facts: Facts) -> str:
    """Return the machine's name: the UUIDs of its GPUs, sorted, with commas; ``cpu`` if there are none."""
    uuids = facts.get(NODE)
    return ",".join(sorted(uuids)) if isinstance(uuids, list) and uuids else "cpu"


def short(name: str) -> str:
    """Return a node's name for tables and files, with eight digits that are the same on every machine."""
    if name == "cpu":
        return name
    return f"gpu-{sha256(name.encode()).hexdigest()[:8]}"


def any_node(under_test: UnderTest) -> bool:
    """Return whether runs of all nodes are compared, because the node itself is under test."""
    return role(NODE, under_test) == "under test"


def unfit(under_test: UnderTest, facts: Facts) -> tuple[str, ...]:
    """Return a warning for each pattern that matches no compared fact of the references."""
    compared = sorted(key for key in {*facts, NODE} if role(key, {}) != "shown")
    warnings = []
    for pattern in under_test:
        if not any(fnmatchcase(key, pattern) for key in compared):
            meant = did_you_mean(pattern, compared)
            warnings.append(
                f"gate.under_test: {pattern!r} matches no fact that the gate compares{meant}; see "
                "`fingerprint` in measurement.json for the list"
            )
    return tuple(warnings)


def differences(reference: Facts, facts: Facts, under_test: UnderTest) -> list[str]:
    """Return a sentence for each fixed fact that differs from the references; the node is ignored."""
    return [
        f"{key}: {shown(old)} in the references, {shown(new)} here"
        for key, old, new in unequal("fixed", reference, facts, under_test)
    ]


def changed(reference: Facts, facts: Facts, under_test: UnderTest) -> list[str]:
    """Return each fact under test that differs from the references, such as ``driver: 575.57 -> 580.95``."""
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
    """Return a value as text; only the beginning of a hash."""
    if isinstance(value, list):
        return f"[{', '.join(masked_words(map(str, value)))}]"
    if value is None:
        return "none"
    text = f"{value:.10g}" if isinstance(value, float) else without_secrets(str(value))
    return f"{text[:12]}..." if _LONG_HEX.fullmatch(text) else text


def in_brief(sentences: Sequence[str]) -> str:
    """Return the first few sentences on one line, and how many more there are."""
    more = [f"and {len(sentences) - _MANY} more"] if len(sentences) > _MANY else []
    return "; ".join([*sentences[:_MANY], *more])


def unequal(
    wanted: Role, reference: Facts, facts: Facts, under_test: UnderTest
) -> Iterable[tuple[str, FactValue, FactValue]]:
    """Yield key, value in the references and value here of each fact of a role that differs, but the node."""
    old, new = with_role(wanted, reference, under_test), with_role(wanted, facts, under_test)
    for key in sorted({*old, *new}):
        one, other = old.get(key), new.get(key)
        unreported = key in IF_KNOWN and (one is None or other is None)
        if not (unreported or _same(key, one, other)):
            yield key, one, other


def _same(key: str, old: FactValue, new: FactValue) -> bool:
    if key.startswith(PROBES):
        return alike(key, old, new)
    if key.startswith(in_effect.PREFIX):
        return in_effect.alike(key, old, new)
    if not key.startswith("gpu."):
        # References from before secrets were masked have them in the clear.
        return old == new or bool(masked_fact(key, old) == masked_fact(key, new))
    # One value per GPU, in an order that depends on how GPUs are counted; one value stands for all GPUs.
    olds, news = _values(old), _values(new)
    length = max(len(olds), len(news))
    olds, news = (values * length if len(values) == 1 else values for values in (olds, news))
    if sorted(olds) == sorted(news) or key not in _STEPS or len(olds) != len(news):
        return sorted(olds) == sorted(news)
    try:
        pairs = zip(sorted(map(float, olds)), sorted(map(float, news)), strict=True)
        return all(abs(one - other) <= _STEPS[key] for one, other in pairs)
    except ValueError:  # a GPU does not report it
        return False


def _values(value: FactValue) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]
