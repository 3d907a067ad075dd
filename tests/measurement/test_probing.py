"""Probes around a run: what becomes a fact, a finding, or a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.probe.run import probe as real
from pytest_dsr1.machine.probe.values import Probes, unprobed
from pytest_dsr1.measurement.probing import Prober, Probing
from tests.helpers.probes import child, probe, probes

COPY, LINK = "memory_bandwidth_gb_s", "host_to_gpu_gb_s"
GPUS = tuple(GpuReading(index, f"GPU-{index}", "NVIDIA H200") for index in range(2))


class Story:
    """A run whose probes find what a test says."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        self.occupied: str | None = None
        self.folder = folder
        self.machine: Any = SimpleNamespace(probed={"": GPUS})

    def prober(self, *found: Probes, accepted: Any = None) -> Prober:
        """Return what probes one machine, with these results in turn."""
        return self.on_nodes(*({"": one} for one in found), accepted=accepted)

    def on_nodes(self, *found: Mapping[str, Probes], accepted: Any = None) -> Prober:
        answers = iter(found)
        self.machine.probe = lambda _log: next(answers)
        asked = Probing(lambda: self.occupied, accepted or {}, self.said.append)
        return Prober(asked, self.machine, self.folder)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    return Story(tmp_path)


def test_without_probing_nothing_happens(tmp_path: Path) -> None:
    machine: Any = None
    idle = Prober(None, machine, tmp_path)
    idle.look("before")
    assert (idle.facts, idle.findings) == ({}, [])


def test_a_slow_gpu_is_a_warning_and_a_fact(story: Story) -> None:
    done = story.prober(probes(probe(COPY, 4258.0, 4000.0)))
    done.look("before")
    assert done.facts == {"probe.memory_bandwidth_gb_s": ["4258", "4000"]}
    warning, peak = done.findings
    assert warning == Finding(
        "warning",
        "GPU 1",
        "copies memory 6.1% slower than the other (4,000 against 4,258 GB/s), measured before the run",
    )
    assert peak == Finding(
        "ok", "memory copy", "reaches 83 to 89% of the peak of 4,800 GB/s, measured before the run"
    )
    assert story.said == ["probing GPUs 0-1 before the run, about 20 s"]


def test_slower_than_the_references_is_shown_at_once(story: Story) -> None:
    done = story.prober(probes(probe(LINK, 50.0, 50.0)), accepted={LINK: (55.0,)})
    done.look("before")
    sentence = "copy from the host 9.1% slower than in the references"
    assert story.said[1:] == [f"both GPUs {sentence}, measured before the run"]
    assert Finding("ok", "both GPUs", f"{sentence}, measured before the run") in done.findings
    assert {one.severity for one in done.findings} == {"ok"}


def test_as_the_references_is_shown(story: Story) -> None:
    done = story.prober(probes(probe(LINK, 55.1, 55.0)), accepted={LINK: (55.0, 55.0)})
    done.look("before")
    assert [one.message for one in done.findings] == [
        "copy from the host alike, to 0.2%, measured before the run",
        "copy from the host as in the references, to 0.2%, measured before the run",
    ]


def test_after_a_run_the_values_before_it_are_the_measure(story: Story) -> None:
    done = story.prober(
        probes(probe(LINK, 55.0, 55.0)), probes(probe(LINK, 50.0, 55.0)), accepted={LINK: (10.0,)}
    )
    done.look("before")
    story.said.clear()
    done.findings.clear()
    done.look("after")
    assert done.facts == {"probe.host_to_gpu_gb_s": 55.0, "probe.after.host_to_gpu_gb_s": ["50", "55"]}
    assert [f"{one.severity}: {one.subject} {one.message}" for one in done.findings] == [
        "warning: GPU 0 copies from the host 9.1% slower than the other (50 against 55 GB/s), measured after "
        "the run",
        "ok: GPU 0 copies from the host 9.1% slower than before the run (50 against 55 GB/s), measured after "
        "the run",
    ]
    assert story.said[1:] == [
        "GPU 0 copies from the host 9.1% slower than before the run (50 against 55 GB/s), measured after "
        "the run"
    ]


def test_a_server_that_is_running_is_not_disturbed(story: Story) -> None:
    done = story.prober(probes(probe(LINK, 55.0, 55.0)))
    done.look("before")
    story.said.clear()
    done.findings.clear()
    story.occupied = "a server is running"
    done.look("after")
    sentence = "not probed after the run: a server is running"
    assert (story.said, done.findings) == ([sentence], [Finding("ok", "probes", sentence)])
    assert done.facts == {"probe.host_to_gpu_gb_s": 55.0}


def test_after_a_server_that_was_running_the_references_are_the_measure(story: Story) -> None:
    done = story.prober(probes(probe(LINK, 55.0, 55.0)), accepted={LINK: (55.0,)})
    story.occupied = "a server is running"
    done.look("before")
    story.occupied = None
    done.look("after")
    assert done.facts == {"probe.host_to_gpu_gb_s": 55.0}
    assert "as in the references" in done.findings[-1].message


def test_gpus_that_cannot_be_read_are_left_alone(story: Story) -> None:
    done = story.prober()
    story.machine.probed = {"": ()}
    done.look("before")
    assert story.said == ["not probed before the run: there is no GPU that can be read"]


def test_nodes_are_judged_as_one_machine(story: Story) -> None:
    story.machine.probed = {"node1": GPUS, "node2": GPUS}
    fast, slow = probes(probe(COPY, 4258.0, 4258.0)), probes(probe(COPY, 4258.0, 4000.0))
    done = story.on_nodes(
        {"node1": fast, "node2": slow},
        {"node1": slow, "node2": slow},
        accepted={COPY: (4258.0, 4258.0, 4258.0, 4258.0)},
    )
    done.look("before")
    assert done.facts == {"probe.memory_bandwidth_gb_s": ["4258", "4258", "4258", "4000"]}
    assert [one.where for one in done.findings if one.severity == "warning"] == ["GPU 1 on node2"]
    references = (
        "GPU 1 on node2 copies memory 6.1% slower than in the references (4,000 against 4,258 GB/s), "
        "measured before the run"
    )
    assert story.said == [
        "probing GPUs 0-1 on node1 and GPUs 0-1 on node2 before the run, about 20 s",
        references,
    ]
    story.said.clear()
    done.look("after")
    assert done.facts["probe.after.memory_bandwidth_gb_s"] == ["4258", "4000", "4258", "4000"]
    assert story.said[1:] == [
        "GPU 1 on node1 copies memory 6.1% slower than before the run (4,000 against 4,258 GB/s), measured "
        "after the run"
    ]


def test_a_node_that_could_not_be_probed_is_a_warning_with_its_name(story: Story) -> None:
    story.machine.probed = {"node1": GPUS, "node2": GPUS}
    fine, failed = probes(probe(COPY, 4258.0, 4258.0)), unprobed([0, 1], "its agent has ended")
    done = story.on_nodes({"node1": fine, "node2": failed}, {"node1": failed, "node2": fine})
    done.look("before")
    warning = Finding("warning", "probes before the run", "not probed: its agent has ended", "node2")
    assert done.findings[-1] == warning
    assert done.facts == {"probe.memory_bandwidth_gb_s": ["4258", "4258", "none", "none"]}
    done.findings.clear()
    done.look("after")
    assert done.findings[-1].node == "node1"
    assert done.facts["probe.after.memory_bandwidth_gb_s"] == ["none", "none", "4258", "4258"]
    assert not [one for one in done.findings if "before the run, to" in one.message], "other GPUs"


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise RuntimeError('crash')", "the probes ended with exit status 1 and no result"),
        ("os.kill(os.getpid(), 9)", "the probes were ended by SIGKILL (the system may be out of memory)"),
        ("say('garbage')", "the probes reported something that is not a result: 'garbage'"),
        ("import time; time.sleep(600)", "the probes did not end within 0.5 s and were stopped"),
        (
            "from pytest_dsr1.machine.probe.values import KINDS\n"
            "send(event='missing', names=list(KINDS), why='CUDA out of memory')",
            "CUDA out of memory",
        ),
    ],
)
def test_probes_that_fail_cost_nothing(story: Story, program: str, why: str) -> None:
    done = story.prober()
    limit_s = 0.5 if "sleep" in program else 60.0
    story.machine.probe = lambda log: {"": real(GPUS, {}, log, command=child(program), limit_s=limit_s)}
    done.look("before")
    (finding,) = done.findings
    assert (finding.severity, finding.subject) == ("warning", "probes before the run")
    assert finding.message.startswith(f"not probed: {why}")
    assert done.facts == {}
