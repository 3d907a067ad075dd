"""The facts of several nodes as those of one machine."""

from __future__ import annotations

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.nodes.facts import differing, merged
from pytest_dsr1.machine.values import FactValue

ONE: dict[str, FactValue] = {
    "driver": "580.1",
    "hostname": "n1",
    "gpu.count": 2,
    "gpu.uuids": ["a", "b"],
    "gpu.vbios": "96.00",
    "gpu.power_limit_w": ["700.0", "600.0"],
    "container.image": None,
}
TWO: dict[str, FactValue] = {
    **ONE,
    "driver": "575.9",
    "hostname": "n2",
    "gpu.count": 3,
    "gpu.uuids": ["c", "d", "e"],
    "gpu.power_limit_w": 700.0,
    "library.torch": "2.9",
}


def test_a_single_node_keeps_its_facts() -> None:
    assert merged({"": ONE}, {"": 2}) == ONE
    assert list(differing({"": ONE})) == []


def test_facts_of_two_nodes() -> None:
    assert merged({"n1": ONE, "n2": TWO}, {"n1": 2, "n2": 3}) == {
        "driver": ["580.1", "575.9"],
        "hostname": ["n1", "n2"],
        "gpu.count": 5,
        "gpu.uuids": ["a", "b", "c", "d", "e"],
        "gpu.vbios": "96.00",
        "gpu.power_limit_w": ["700.0", "600.0", "700.0", "700.0", "700.0"],
        "container.image": None,
        "library.torch": ["none", "2.9"],
        "nodes": ["n1", "n2"],
    }


def test_differences_are_warnings() -> None:
    found = list(differing({"n1": ONE, "n2": TWO, "n3": TWO}))
    assert found == [
        Finding("warning", "nodes", f"they differ in {what}; the slowest one decides")
        for what in (
            "driver: 580.1 on n1, 575.9 on n2, n3",
            "gpu.power_limit_w: 700.0 600.0 on n1, 700.0 on n2, n3",
            "library.torch: none on n1, 2.9 on n2, n3",
        )
    ]
