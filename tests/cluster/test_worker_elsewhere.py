"""A worker with real inference as a task of srun on the other node, whose clock is a day ahead of ours."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import ORDERS, Place, step_words
from pytest_dsr1.engines.transformers.engine import WORKER, worker_job
from pytest_dsr1.machine.nodes.allocation import Allocation
from pytest_dsr1.machine.nodes.clock import Alignment, compared
from pytest_dsr1.machine.nodes.messages import Command
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import RemoteNode, srun_agent
from pytest_dsr1.process.child import Child
from pytest_dsr1.process.listener import WorkerListener
from pytest_dsr1.process.questions import save as save_questions
from pytest_dsr1.records import Question, QuestionSet, RequestRecord
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.workload.workload import Workload
from tests.helpers.nodes import on_two_nodes
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_runs import Runs
from tests.helpers.tiny_model import TINY
from tests.helpers.values import scenario
from tests.helpers.watcher import Watcher

REQUESTS = 6
LONG = QuestionSet((Question("same_answers/0", (1, 2, 3), 400, ends=False),), 1)
"""The event with its answer is longer than a line that Slurm passes on whole."""
CHATTER = 'while echo chat; do sleep 0.01; done & "$@"; code=$?; kill $!; exit $code'
"""Lines of another process of the task."""
LOOK = "nvmlDeviceGetPowerUsage 7"


@pytest.fixture
def inference() -> None:
    """PyTorch and transformers."""
    if not (find_spec("torch") and find_spec("transformers")):
        why = "needs the extra `transformers`"
        (pytest.fail if os.environ.get("DSR1_REQUIRE_SLURM") == "1" else pytest.skip)(why)


@pytest.fixture
def job(inference: None, tmp_path: Path) -> Job:
    """A tiny model and its requests, at a site with two nodes."""
    path = tmp_path / "dataset.jsonl"
    rows = [{"task_id": i, "input_ids": [1, 2, 3], "output_tokens": 16} for i in range(REQUESTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    artifacts = tmp_path / "engine"
    artifacts.mkdir()
    of = scenario(
        model={"name": "deepseek-ai/DeepSeek-R1", "random_weights": {"seed": 3, "config": TINY}},
        load={"concurrency": 2, "num_requests": REQUESTS, "warmup_requests": 2},
    )
    made = Job(of, Workload(path, REQUESTS, "ab12", True, 3.0, 3, 16.0, 16), artifacts, 60.0)
    request = replace(worker_job(made), questions=save_questions(artifacts, [LONG]))
    request.save(artifacts / "job.json")
    return on_two_nodes(made, mpi="none", launcher=["sh", "-c", CHATTER, "launcher"])


def test_its_events_arrive_whole_and_its_records_are_on_our_time_axis(
    cluster: Cluster, runs: Runs, allocation: Allocation, job: Job
) -> None:
    second = cluster.node(2)
    environ = {**cluster.environment, **runs.environment, "SLURM_JOB_ID": allocation.job}
    runs.write(nodes=2)
    watched = load(runs.folder / "small.yaml").scenario
    agent = RemoteNode(second.name, srun_agent(allocation)(second.name), environ, print)

    def ask() -> float:
        agent.send(Command(do="clock"))
        return agent.answer().time_s

    arrived_s: dict[int, float] = {}

    def ended(record: RequestRecord) -> None:
        arrived_s[record.id] = time.monotonic()

    place = Place("dsr1-engine", first=1, nodes=1, per_node=1)
    argv = [*step_words(job, (), place, ordered=True), *WORKER, "job.json", str(ORDERS)]
    log = job.artifacts / "engine.log"
    listener = WorkerListener(
        "small", Watcher(), log=log, startup_timeout_s=120.0, run_timeout_s=60.0, next_steps={}
    )
    with (
        Nodes(allocation.nodes, srun_agent(allocation), environ, print) as nodes,
        nodes.prepared(watched, "off") as machine,
        machine.watched(job.artifacts / "telemetry.jsonl") as recorder,
    ):
        looks = second.machine.calls().count(LOOK)
        cluster.until(lambda: second.machine.calls().count(LOOK) > looks, "a look before")
        before = compared(ask)
        began_s = time.monotonic()
        with Child(argv, env=environ, cwd=job.artifacts, log=log, events=True, commands=True) as child:
            report = listener.listen(child, ended)
            (answer,) = listener.answers(child, [LONG])
            listener.read_to_end(child)
        clock = Alignment(before, compared(ask))
        looks = second.machine.calls().count(LOOK)
        cluster.until(lambda: second.machine.calls().count(LOOK) > looks + 1, "a look afterwards")
    agent.close()

    assert child.returncode == 0
    assert sorted(record.id for record in report.records) == list(range(REQUESTS))
    assert (len(answer.tokens or ()), answer.error) == (400, None)
    assert log.read_text(encoding="utf-8").count("chat\n") > REQUESTS
    assert abs(before.ahead_s - second.ahead_s) <= before.error_s
    assert second.ahead_s == 86_400
    for record in report.records:
        times_s = [record.submitted_s, record.first_token_s or 0.0, record.last_token_s]
        first_s, *_, last_s = map(clock.ours_s, times_s)
        assert began_s - clock.error_s <= first_s < last_s <= arrived_s[record.id] + clock.error_s
    seen_s = [one.time_s for one in recorder.telemetry.samples if one.gpu == f"{second.name}:7"]
    error_s = clock.error_s + recorder.telemetry.clock_error_s
    assert min(seen_s) <= began_s + error_s
    assert max(seen_s) + error_s >= max(clock.ours_s(record.last_token_s) for record in report.records)
