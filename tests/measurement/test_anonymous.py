"""A copy of a result without what names the machine, its users and its files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate import comparability
from pytest_dsr1.machine.values import Event, FactValue, Fingerprint, GpuSample, Telemetry
from pytest_dsr1.measurement.anonymous import Names, write_anonymous
from pytest_dsr1.measurement.store import load
from pytest_dsr1.records import Answer, AskedQuestion
from pytest_dsr1.workload.workload import Workload
from tests.helpers.saved_results import BEFORE, save
from tests.helpers.values import records, scenario, verdict

HOST, USER = "dgx-17.corp.example", "alice"
PLANTED = ("dgx-17", "corp", USER, "/home", "/data", "secretmode", "10.1.2.3")


def sample(gpu: str) -> GpuSample:
    return GpuSample(100.0, gpu, 1980, 2619, 600.0, 5.0, 60, 100.0, 99, 0)


def planted(root: Path) -> Path:
    """Save a result with names of the machine, a user and files in every place that has text."""
    facts: dict[str, FactValue] = {
        "hostname": [HOST, "dgx-18.corp.example"],
        "nodes": ["dgx-17", "dgx-18"],
        "gpu.uuids": ["GPU-1", "GPU-2"],
        "driver": "575.57.08",
        "python.path": "/home/alice/checkout",
        "environment": ["VLLM_MODE=secretmode"],
        "container.image": "registry.corp.example/team/vllm:0.26",
        "option.engine.environment.MODE": "secretmode",
        "option.engine.disaggregated.servers.environment.MODE": "secretmode",
        "option.engine.command": ["serve", "--cache=/home/alice/cache", "http://dgx-17:8000/v1"],
        "file.../opts.yml.path": "secretmode",
        "slurm.image": "/data/images/vllm.sqsh",
    }
    of = scenario(
        model={"name": "deepseek-ai/DeepSeek-R1", "path": "/data/my models/R1"},
        engine={
            "type": "openai",
            "command": ["serve", "{port}", "/home/alice/x"],
            "environment": {"MODE": "secretmode"},
        },
    )
    failed = tuple(replace(each, error="10.1.2.3:8000: no route to dgx-17") for each in records())
    result = EngineResult(
        failed,
        {},
        100.0,
        102.0,
        2,
        warnings=("see ~/log and /home/alice/log.", "pid 7 (python, user alice) was there"),
        facts=EngineFacts(other={"url": "http://dgx-17.corp.example:8000"}),
    )
    telemetry = Telemetry(
        gpus=("dgx-17:0", "dgx-18:0"),
        samples=(sample("dgx-17:0"), sample("dgx-18:0")),
        events=(Event(1.0, "dgx-18:0", "foreign process", "pid 8 of user alice since noon", node="dgx-18"),),
    )
    judged = replace(verdict(), message="results: /home/alice/.dsr1/small")
    folder = save(
        root,
        scenario=of,
        result=result,
        telemetry=telemetry,
        fingerprint=Fingerprint(facts),
        findings=(Finding("warning", "dgx-18", "disk /data is full on dgx-18.corp.example"),),
        workload=Workload(Path("/home/alice/data.jsonl"), 4, "ab12", True, 8.0, 8, 4.0, 4),
        asked=(AskedQuestion("Who is at /home/alice?", "2", Answer("questions/0", text="dgx-17")),),
        caches_filled=("/home/alice/.triton/cache",),
        verdicts=[judged],
    )
    (folder / "engine" / "server.log").write_text("/home/alice on dgx-17\n", encoding="utf-8")
    (folder / "gate.json").write_text('{"by": "alice"}', encoding="utf-8")
    lines = (json.dumps(asdict(each)) for each in telemetry.samples)  # which the recorder writes
    (folder / "telemetry.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/alice", "(path)"),
        ("/data/my models/R1", "(path)"),
        ("~/x and ~bob", "(path)"),
        ("PATH=/bin:/home/alice/bin", "PATH=(path):(path)"),
        ("cc -I/home/alice/include -o x", "cc -I(path) -o x"),
        ('"/home/alice": is full', '"(path)": is full'),
        ("alice@dgx-17:/home", "(user)@node1:(path)"),
        ("dgx-17-ib0, ib_dgx-17, dgx-170, xdgx-17", "node1-ib0, ib_node1, dgx-170, xdgx-17"),
        ("dgx-17.corp.example, proxy.it.corp.example", "node1, host"),
        ("http://proxy:80/v1", "http://host/v1"),
        ("10.1.2.3:80, cuda 12.9.1.4", "host:80, cuda 12.9.1.4"),
        ("${DSR1_MODELS}/R1, own/small.yaml:7, ../x", "${DSR1_MODELS}/R1, own/small.yaml:7, ../x"),
        ("5 tok/s/user, 1 / 2, deepseek-ai/DeepSeek-R1", "5 tok/s/user, 1 / 2, deepseek-ai/DeepSeek-R1"),
        ("pid 7 (python, user alice), per user yes", "pid 7 (python, user (user)), per user yes"),
    ],
)
def test_what_is_replaced_in_a_text(text: str, expected: str) -> None:
    names = Names({HOST: "node1", "dgx-17": "node1"})
    assert names.without(text) == expected


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    into = tmp_path / "copy"
    into.mkdir()
    write_anonymous(planted(tmp_path / "results"), into)
    return into


def test_nothing_planted_is_in_it(copy: Path) -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in copy.iterdir()}
    assert {*files} == {
        "measurement.json",
        "scenario.yaml",
        "requests.jsonl",
        "telemetry.jsonl",
        "answers.jsonl",
        "verdicts.json",
    }
    found = [(name, word) for name, text in files.items() for word in PLANTED if word in text]
    assert found == []


def test_what_the_run_was_is_still_there(copy: Path, tmp_path: Path) -> None:
    (folder,) = (tmp_path / "results" / "small").iterdir()
    was, now = load(folder), load(copy)
    assert now.metrics == was.metrics
    assert now.fingerprint.facts["driver"] == "575.57.08"
    assert now.fingerprint.facts["container.image"] == "vllm:0.26"
    assert now.fingerprint.facts["option.engine.command"] == ["serve", "--cache=(path)", "http://host/v1"]
    assert not {"hostname", "nodes", "environment", "slurm.image"} & now.fingerprint.facts.keys()
    assert [each.gpu for each in now.telemetry.samples] == ["node1:0", "node2:0"]
    assert now.telemetry.events[0].message == "pid 8 of user (user) since noon"
    assert [each.message for each in now.findings] == ["disk (path) is full on node2"]
    assert now.result.warnings == ("see (path) and (path)", "pid 7 (python, user (user)) was there")
    assert [each.error for each in now.result.records] == ["host:8000: no route to node1"] * 4
    assert (now.scenario.model.path, now.workload.path) == ("(path)", Path("(path)"))
    assert len(now.result.records) == len(was.result.records)


def test_a_machine_is_the_same_in_each_of_its_bundles(copy: Path, tmp_path: Path) -> None:
    (folder,) = (tmp_path / "results" / "small").iterdir()
    again = tmp_path / "again"
    again.mkdir()
    write_anonymous(folder, again)
    first, second = (load(each).fingerprint.facts for each in (copy, again))
    assert comparability.node(first) == comparability.node(second)
    assert comparability.node(first) != comparability.node(load(folder).fingerprint.facts)


def test_a_result_of_an_earlier_version(tmp_path: Path) -> None:
    write_anonymous(next(BEFORE.glob("*/*/measurement.json")).parent, tmp_path)
    found = load(tmp_path)
    assert len(found.result.records) == 12
    assert "dgx-17" not in (tmp_path / "measurement.json").read_text(encoding="utf-8")
    assert found.scenario.model.path == "${DSR1_MODELS}/DeepSeek-R1"
