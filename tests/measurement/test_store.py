"""Saved results: what is written when, and what a damaged folder says."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.errors import InvalidRunError, UserError
from pytest_dsr1.gate.history import history
from pytest_dsr1.machine.cpu_load import CpuLoad, OtherWork
from pytest_dsr1.machine.values import FactValue, Fingerprint, Telemetry
from pytest_dsr1.measurement.measurement import DEFINITIONS
from pytest_dsr1.measurement.store import ResultFolder, load, newest
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.records import Answer, AskedQuestion, EngineTimes
from tests.helpers.paths import DATA
from tests.helpers.plugins import plugged_in
from tests.helpers.values import measurement, records, scenario

NOW = datetime(2026, 11, 23, 20, 5, 12, tzinfo=timezone.utc)


def create(root: Path) -> ResultFolder:
    return ResultFolder.create(root, scenario(), "suites/small.yaml", NOW)


def saved(root: Path) -> Path:
    with create(root) as folder:
        folder.complete(measurement(folder.path))
        return folder.path


def test_a_measurement_comes_back_as_it_was(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        inside = EngineTimes(100.01, 100.02, 100.2, 100.9)
        rows = tuple(replace(row, engine=inside, resent=row.id == 1) for row in records())
        written = measurement(folder.path, telemetry=Telemetry(interval_s=0.1), records=rows)
        folder.complete(written)
    assert load(folder.path) == written
    assert folder.path == tmp_path / "small" / "20261123T200512Z"


ASKED = (
    AskedQuestion(None, None, Answer("same_answers/0", tokens=(5, 6))),
    AskedQuestion("1+1?", "2", Answer("questions/0", text="It is\n2.\u2028", cut=True)),
    AskedQuestion("2+2?", "4", Answer("questions/1", error="HTTP 500")),
)


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        written = measurement(folder.path, asked=ASKED)
        folder.complete(written)
    assert load(folder.path) == written
    lines = (folder.path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[2]) == {
        "prompt": "2+2?",
        "expected": "4",
        "answer": {"id": "questions/1", "tokens": None, "text": None, "error": "HTTP 500", "cut": False},
    }
    saved_as = json.loads((folder.path / "measurement.json").read_bytes())
    assert saved_as["answers"] == 3
    assert not {"asked", "answers"} & (
        saved_as["measurement"].keys() | saved_as["measurement"]["result"].keys()
    )


def test_answers_that_were_changed_are_refused(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        folder.complete(measurement(folder.path, asked=ASKED))
    path = folder.path / "answers.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text("".join(lines[:2]), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load(folder.path)
    assert str(caught.value) == (
        f"{path}: contains 2 answers, but measurement.json says 3; the folder was changed after it was "
        "written"
    )
    path.write_text("".join([*lines[:2], '{"answer": {}}\n']), encoding="utf-8")
    with pytest.raises(UserError, match=rf"^{path}:3: "):
        load(folder.path)
    path.unlink()
    with pytest.raises(UserError, match="contains 0 answers, but measurement"):
        load(folder.path)


def test_answers_of_an_older_version_were_not_cut_off(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        folder.complete(measurement(folder.path, asked=ASKED))
    path = folder.path / "answers.jsonl"
    text = path.read_text("utf-8").replace(', "cut": false', "").replace(', "cut": true', "")
    path.write_text(text, "utf-8")
    assert not any(each.answer.cut for each in load(folder.path).asked)


def test_without_questions_there_is_no_file_of_answers(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert not (path / "answers.jsonl").exists()
    assert "answers" not in json.loads((path / "measurement.json").read_bytes())
    assert load(path).asked == ()


def test_a_stopped_start_that_filled_caches_comes_back_as_it_was(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        whole = measurement(folder.path, caches_filled=("/root/.triton/cache",))
        written = replace(whole, result=replace(whole.result, stopped=True))
        folder.complete(written)
    assert load(folder.path) == written


def _with_new_fields(was: Any, now: Any) -> Any:
    """Return the old content, with the fields that came later and have no value or an empty one."""
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [_with_new_fields(*both) for both in zip(was, now, strict=True)]
    if not isinstance(was, dict):
        return was
    neutral = {"nodes": 1}
    later = {
        key: value
        for key, value in now.items()
        if key not in was and value in (None, [], False, "", neutral.get(key))
    }
    return {**later, **{key: _with_new_fields(value, now.get(key)) for key, value in was.items()}}


def test_a_result_of_version_1_is_read_and_written_as_it_was(tmp_path: Path) -> None:
    """It was saved when the GPUs' summary was a dictionary, with the test id's prefix as ``place``."""
    before = DATA / "saved" / "results" / "h200-max-throughput" / "20261120T080000Z"
    old = load(before)
    assert old.test_id_prefix == "suites/h200/max-throughput.yaml"
    assert old.gpu_health is not None
    assert old.gpu_health.text == "1974 MHz SM clock, 628 W each, at most 65 C, not throttled"
    sixth = old.gpu_health.gpus[5]
    assert (sixth.gpu, sixth.sm_clock_mhz_min, sixth.temperature_c_max) == (5, 1965, 64)
    assert (sixth.throttled_share, sixth.reason_share) == (0.0, {})
    started = datetime.fromisoformat(old.started_utc)
    with ResultFolder.create(tmp_path, old.scenario, old.test_id_prefix, started) as folder:
        folder.complete(old)
    was, now = (json.loads((path / "measurement.json").read_bytes()) for path in (before, folder.path))
    assert now == _with_new_fields(was, now)


def test_an_old_result_without_streaming_is_read_with_the_definition_of_now(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        rows = records(streaming=False)
        run = measurement(
            folder.path, records=rows, scenario=scenario(load={"concurrency": 2, "num_requests": 4})
        )
        old = {**run.metrics, "steady_output_throughput": MetricValue(4.0, "records")}
        folder.complete(replace(run, metrics=old))
    assert "definitions" not in json.loads((folder.path / "measurement.json").read_bytes())["measurement"]
    assert load(folder.path).metrics["steady_output_throughput"].value == pytest.approx(8.0)
    (past,) = history(tmp_path).runs
    assert "steady_output_throughput" not in past.metrics
    assert past.metrics["total_output_throughput"] == 8.0
    with create(tmp_path) as folder:
        folder.complete(replace(run, metrics=old, definitions=DEFINITIONS))
    assert load(folder.path).metrics["steady_output_throughput"].value == 4.0
    assert history(tmp_path).runs[1].metrics["steady_output_throughput"] == 4.0


OWN = {"environment": {"NCCL_DEBUG": "INFO"}}


@pytest.mark.parametrize(
    ("more", "mode"),
    [
        (OWN, 0o600),
        ({}, 0o644),
        ({"disaggregated": {"context": {}, "generation": OWN}}, 0o600),
        ({"disaggregated": {"context": {}, "generation": {}}}, 0o644),
    ],
)
def test_only_the_owner_reads_an_environment(tmp_path: Path, more: dict[str, Any], mode: int) -> None:
    engine = {"type": "openai", "server": "trtllm-serve", **more}
    of = scenario(engine=engine, model={"name": "m", "path": "/m"})
    umask = os.umask(0o022)
    try:
        with ResultFolder.create(tmp_path, of, "suites/small.yaml", datetime.now(timezone.utc)) as folder:
            folder.complete(measurement(folder.path, scenario=of))
    finally:
        os.umask(umask)
    for name in ("scenario.yaml", "measurement.json"):
        assert (folder.path / name).stat().st_mode & 0o777 == mode


def test_a_secret_that_an_earlier_version_saved_is_not_read(tmp_path: Path) -> None:
    engine = {"type": "openai", "server": "vllm", "environment": {"HF_TOKEN": "planted"}}
    of = scenario(engine=engine, model={"name": "m", "path": "/m"})
    facts: dict[str, FactValue] = {
        "option.engine.environment.HF_TOKEN": "planted",
        "option.engine.arguments": ["--api-key", "planted"],
    }
    with create(tmp_path) as folder:
        folder.complete(measurement(folder.path, scenario=of, fingerprint=Fingerprint(facts)))
    assert "planted" in (folder.path / "measurement.json").read_text(encoding="utf-8")
    read = load(folder.path)
    assert "planted" not in str(read)
    assert read.fingerprint.facts["option.engine.environment.HF_TOKEN"] == "${HF_TOKEN}"


def test_a_run_on_the_cpu_keeps_an_empty_summary_of_gpus(tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert json.loads((path / "measurement.json").read_bytes())["measurement"]["gpu_health"] == {}
    assert load(path).gpu_health is None


def test_what_the_cpus_did_is_saved(tmp_path: Path) -> None:
    load_of_cpus = CpuLoad(2, 1.5, 0.25, 0.0, (OtherWork("yes", (31, 32), 1.5),))
    with create(tmp_path) as folder:
        written = measurement(folder.path, cpu_load=load_of_cpus)
        folder.complete(written)
    assert load(folder.path) == written


def test_a_result_from_before_these_were_saved_is_loaded(tmp_path: Path) -> None:
    path = saved(tmp_path) / "measurement.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    del document["measurement"]["caches_filled"], document["measurement"]["result"]["stopped"]
    path.write_text(json.dumps(document), encoding="utf-8")
    requests = path.with_name("requests.jsonl")
    rows = [json.loads(line) for line in requests.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        del row["resent"]
    requests.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    old = load(path.parent)
    assert (old.caches_filled, old.result.stopped) == ((), False)
    assert not any(record.resent for record in old.result.records)
    assert old == measurement(path.parent)


def test_a_metric_of_a_plugin_that_is_gone_is_left_out_with_a_warning(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        known = measurement(folder.path)
        folder.complete(replace(known, metrics={**known.metrics, "moon_phase": MetricValue(0.5, "records")}))
    found = load(folder.path)
    assert found.metrics == known.metrics
    assert found.warnings == ("moon_phase: left out, because no installed plugin defines this metric",)


FIND_PLUGIN = (
    "is its plugin installed? The command pytest-dsr1 finds plugins by their entry points only; pytest also "
    "finds them in the conftest.py of the folders it starts with (see: pytest-dsr1 docs extend)"
)


def test_a_target_of_a_plugin_that_is_gone_names_the_metric(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    path = folder / "measurement.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace('"metric": "total_output_throughput"', '"metric": "acme_x"'), encoding="utf-8"
    )
    with pytest.raises(UserError) as caught:
        load(folder)
    assert str(caught.value) == (f"{path}: targets.0.metric: there is no metric acme_x here; {FIND_PLUGIN}")


def test_an_engine_of_a_plugin_that_is_gone_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path) / "measurement.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["measurement"]["scenario"]["engine"] = {"type": "echo", "delay_s": 0.02}
    path.write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load(path.parent)
    assert str(caught.value) == (f"{path}: engine.type: there is no engine echo here; {FIND_PLUGIN}")


CRASHING = """
from typing import Literal
from pydantic import field_validator
from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.scenario.schema.engine import EngineSettings

class Echo(EngineSettings):
    'An engine of the tests.'
    type: Literal["echo"]
    delay_s: float

    @field_validator("delay_s")
    @classmethod
    def whole(cls, value):
        return 1 / value and value

def pytest_dsr1_engines():
    return [EngineSpec(settings=Echo, create=print)]
"""


def test_a_validator_of_a_plugin_that_crashes_on_a_result_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path) / "measurement.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["measurement"]["scenario"]["engine"] = {"type": "echo", "delay_s": 0.0}
    path.write_text(json.dumps(document), encoding="utf-8")
    with plugged_in(tmp_path, "acme", CRASHING), pytest.raises(UserError) as caught:
        load(path.parent)
    assert str(caught.value) == (
        "the pytest-dsr1 plugin acme is broken: a validator of its engine echo failed: "
        "ZeroDivisionError('float division by zero')"
    )


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    with create(tmp_path) as first, create(tmp_path) as second:
        assert (first.path.name, second.path.name) == ("20261123T200512Z", "20261123T200512Z-2")


def test_the_newest_complete_run(tmp_path: Path) -> None:
    assert newest(tmp_path / "small") is None
    with create(tmp_path) as killed:
        assert newest(killed.path.parent) is None
    runs = [saved(tmp_path) for _ in range(10)]
    with create(tmp_path) as failed:
        failed.fail("out of GPU memory")
    (tmp_path / "small" / "notes").mkdir()
    assert (runs[-1].name, failed.path.name) == ("20261123T200512Z-11", "20261123T200512Z-12")
    assert newest(tmp_path / "small") == runs[-1]
    (failed.path / "measurement.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"Z-12/measurement\.json: is not JSON"):
        newest(tmp_path / "small")


def test_a_killed_run_leaves_what_it_had(tmp_path: Path) -> None:
    """Nothing is closed or completed here: the files on disk are what a SIGKILL leaves."""
    folder = create(tmp_path)
    for record in records(3):
        folder.record(record)
    lines = (folder.path / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["id"] for line in lines] == [0, 1, 2]
    assert json.loads((folder.path / "measurement.json").read_text(encoding="utf-8"))["state"] == "running"
    with pytest.raises(
        UserError, match="contains no complete measurement: the run was killed or is still in progress"
    ):
        load(folder.path)
    with folder:
        pass


def test_a_failed_run_says_why(tmp_path: Path) -> None:
    with create(tmp_path) as folder:
        folder.fail("out of GPU memory")
    with pytest.raises(UserError, match="no complete measurement: the run failed: out of GPU memory"):
        load(folder.path)


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "measurement.json"
        document = json.loads(path.read_text(encoding="utf-8"))
        change(document)
        path.write_text(json.dumps(document), encoding="utf-8")

    return apply


def _a_folder_instead(folder: Path) -> None:
    (folder / "measurement.json").unlink()
    (folder / "measurement.json").mkdir()


def _folder_of_records(folder: Path) -> None:
    (folder / "requests.jsonl").unlink()
    (folder / "requests.jsonl").mkdir()


def _pipe(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def _nested(depth: int) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "measurement.json"
        deep = f'"scenario": {{"deep": {"[" * depth}{"]" * depth}, '
        path.write_text(path.read_text(encoding="utf-8").replace('"scenario": {', deep, 1), encoding="utf-8")

    return apply


def _write(name: str, text: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return apply


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "no file": (
        lambda f: (f / "measurement.json").unlink(),
        "no measurement.json; a saved result is a folder",
    ),
    "a folder": (
        _a_folder_instead,
        "measurement.json: cannot be read: Is a directory",
    ),
    "truncated": (_write("measurement.json", '{"format": '), "measurement.json: is not JSON"),
    "another JSON": (_write("measurement.json", "[]"), 'is not a saved measurement ("format" is not'),
    "a later version": (
        _edit(lambda d: d.update(version=9)),
        "has format version 9; this pytest-dsr1 reads version 1",
    ),
    "no state": (_edit(lambda d: d.pop("state")), "contains no complete measurement"),
    "no body": (_edit(lambda d: d.pop("measurement")), "'measurement' is missing; the file was changed"),
    "no scenario": (_edit(lambda d: d["measurement"].pop("scenario")), "'scenario' is missing"),
    "a scenario of another time": (
        _edit(lambda d: d["measurement"]["scenario"].update(color="red")),
        "color: extra inputs are not permitted; the file was changed after it was written",
    ),
    "a number as text": (
        _edit(lambda d: d["measurement"]["result"].update(gpus="eight")),
        "result.gpus: input should be a valid integer",
    ),
    "no records": (
        lambda f: (f / "requests.jsonl").unlink(),
        "requests.jsonl: contains 0 requests, but measurement.json says 4; the folder was changed",
    ),
    "records that are a folder": (
        _folder_of_records,
        "requests.jsonl: cannot be read: Is a directory",
    ),
    "a pipe": (_pipe("measurement.json"), "measurement.json: cannot be read: it is a device or pipe"),
    "records that are a pipe": (
        _pipe("requests.jsonl"),
        "requests.jsonl: cannot be read: it is a device or pipe",
    ),
    **{
        f"nested {depth} deep": (_nested(depth), "; the file was changed after it was written")
        for depth in (250, 900)
    },
    "nested 100,000 deep": (_nested(100_000), "measurement.json: is nested too deeply"),
    "a broken record": (
        _write("requests.jsonl", '{"id": 0}\n'),
        "requests.jsonl:1: submitted_s: field required",
    ),
    "half a record": (
        _write("requests.jsonl", '{"id": 0, "subm'),
        "requests.jsonl:1: the document: invalid JSON",
    ),
}


def test_a_dozen_kinds_of_damage_and_more_are_tried() -> None:
    assert len(DAMAGE) >= 12


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence(tmp_path: Path, damage: str) -> None:
    folder = saved(tmp_path)
    change, message = DAMAGE[damage]
    change(folder)
    with pytest.raises(UserError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["engine", "scenario.yaml", "measurement.json", "requests.jsonl"])
def test_a_disk_that_is_full_at_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(path: Path, *_: object, **__: object) -> object:
        if name in path.name:
            raise OSError(28, "No space left on device")
        return write(path, *_, **__)

    method = {"engine": "mkdir", "requests.jsonl": "open"}.get(name, "write_text")
    write: Callable[..., object] = getattr(Path, method)
    monkeypatch.setattr(Path, method, full)
    with pytest.raises(InvalidRunError) as caught:
        create(tmp_path)
    (folder,) = (tmp_path / "small").iterdir()
    assert str(caught.value) == (
        f"{folder}: results cannot be written: No space left on device; free space there, or choose another "
        "folder with --dsr1-results=DIR"
    )


def test_results_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("", encoding="utf-8")
    with pytest.raises(
        UserError, match="results cannot be written: Not a directory; choose another folder with"
    ):
        create(blocked)
    dangling = tmp_path / "link"
    dangling.symlink_to("nowhere")
    with pytest.raises(UserError, match=r"link/small/\w+: results cannot be written: "):
        create(dangling)


def test_what_earlier_versions_saved_of_secrets_is_not_read(tmp_path: Path) -> None:
    facts: dict[str, FactValue] = {
        "option.engine.body.auth.value": "planted",
        "option.engine.body.api_keys": ["planted", "x"],
        "option.engine.environment.HF_ENDPOINT": "https://h?token=planted",
        "file.o.yml.hf_tokens": ["planted"],
        "option.engine.tp": 8,
    }
    made = measurement(tmp_path, fingerprint=Fingerprint(facts))
    other = EngineFacts(
        other={"command": "vllm serve --api-key planted --n 8", "llm": {"hf_token": "planted"}}
    )
    with create(tmp_path) as folder:
        folder.complete(replace(made, result=replace(made.result, facts=other)))
    read = load(folder.path)
    assert "planted" not in str(read)
    assert read.fingerprint.facts["option.engine.tp"] == 8
    assert read.result.facts.other["command"] == "vllm serve --api-key (not shown) --n 8"
