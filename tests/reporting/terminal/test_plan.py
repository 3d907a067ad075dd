"""``--dsr1-plan``: a script for each scenario, with its machine, time and cost."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.errors import Dsr1Error, InvalidRunError
from pytest_dsr1.gate.reference_file import write
from pytest_dsr1.gate.references import Acceptance
from pytest_dsr1.measurement.expected import expected_s, run_timeout_s
from pytest_dsr1.measurement.run import options_of
from pytest_dsr1.pairs.plan import pairs_plan
from pytest_dsr1.reporting.terminal.listing import listing
from pytest_dsr1.reporting.terminal.plan import PlanOptions, plan
from pytest_dsr1.scenario.loading import load, load_all
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.engine import engines
from pytest_dsr1.scenario.schema.site import Site, Slurm
from pytest_dsr1.text import harmless
from pytest_dsr1.workload.synthetic import content_key
from tests.helpers.reference_store import references, scattered
from tests.helpers.scenario_files import GOOD, load_text


def script(profile: str, gpu_setup: str = "check") -> str:
    catalogue = discover([])
    paths = catalogue.select(profile)
    loaded = [each for path in paths for each in load_all(path, catalogue=catalogue)]
    return "\n".join(plan(loaded, PlanOptions(gpu_setup, profiles=frozenset(catalogue.names)))) + "\n"


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DSR1_MODELS", raising=False)
    monkeypatch.delenv("DSR1_DATASET", raising=False)


def test_the_published_procedure_of_h200_max_throughput() -> None:
    lines = script("h200-max-throughput").splitlines()
    assert lines[0].startswith("# newest known dialect")
    text = "\n".join(lines)
    for expected in (
        "# machine: 8 x NVIDIA H200, at least 139 GiB each",
        "# expected: 15 min measuring at target rates, 2.03 GPU-hours, plus loading the weights",
        "# set first: export DSR1_MODELS=...",
        "nvidia-smi -i $i -pm 0",
        "nvidia-smi boost-slider -i $i --vboost 4",
        "pytest-dsr1 dataset h200-max-throughput dataset.jsonl",
        "export TRTLLM_DG_JIT_USE_NVCC=1",
        '"${DSR1_MODELS}/DeepSeek-R1"',
        "--max_num_tokens 1151",
        "--concurrency 1024",
        "--num_requests 5120",
        "--disable_chunked_context",
        "enable_attention_dp: true",
    ):
        assert expected in text, expected


def test_without_setup_the_script_touches_no_gpu_setting() -> None:
    assert "nvidia-smi" not in script("h200-max-throughput", "off")


@pytest.mark.parametrize(
    "profile",
    [
        "h200-max-throughput",
        "h200-min-latency",
        "b200-max-throughput",
        "b200-max-throughput-0528-fp8kv",
        "cpu-*",
    ],
)
def test_every_script_is_valid_shell(profile: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.sh"
    path.write_text(script(profile), encoding="utf-8")
    subprocess.run(["sh", "-n", path], check=True)


def test_the_script_runs_by_itself(tmp_path: Path) -> None:
    """With stand-ins for the programs it calls: the options file and the command arrive as planned."""
    for name in ("trtllm-bench", "nvidia-smi", "pytest-dsr1"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$@" >> "$CALLS"\n', encoding="utf-8")
        program.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "DSR1_MODELS": "/my models",
    }
    text = script("h200-max-throughput")
    subprocess.run(["sh"], input=text, text=True, cwd=work, env=environment, check=True)
    calls = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert calls[0] == "nvidia-smi -i 0 -pm 0"
    assert sum(call.startswith("nvidia-smi") for call in calls) == 24
    assert calls[-2] == "pytest-dsr1 dataset h200-max-throughput dataset.jsonl"
    assert calls[-1].startswith(
        "trtllm-bench --model deepseek-ai/DeepSeek-R1 --model_path /my models/DeepSeek-R1"
    )
    (options,) = work.glob("*.yaml")
    assert "enable_attention_dp: true" in options.read_text(encoding="utf-8")


def test_durations_come_from_the_targets() -> None:
    catalogue = discover([])
    names = ("h200-max-throughput", "b200-max-throughput-0528-fp8kv", "h200-min-latency")
    loaded = {name: load(catalogue.select(name)[0]).scenario for name in names}
    assert expected_s(loaded["h200-max-throughput"]) == pytest.approx(5120 * 2048 / 11489.2671)
    assert expected_s(loaded["b200-max-throughput-0528-fp8kv"]) == pytest.approx(5444, rel=0.01)
    assert expected_s(loaded["h200-min-latency"]) == pytest.approx(129.5, rel=0.01)
    assert run_timeout_s(loaded["h200-max-throughput"]) == pytest.approx(3 * 5120 * 2048 / 11489.2671 + 600)


def kinds(schema: dict[str, Any]) -> list[str]:
    """The forms of free text that a value may have."""
    kind, items = schema.get("type"), json_schema.resolve(schema.get("items", {}))
    if kind == "object" and not schema.get("properties"):
        return ["value", "key"] + ["deep value", "deep key"] * (schema.get("additionalProperties") is True)
    if kind == "array" and items.get("type") == "string":
        return ["words"]
    return ["text"] if kind == "string" and not {"enum", "const"} & schema.keys() else []


SEPARATORS = [chr(code) for code in range(0x3000) if len(f"a{chr(code)}b".splitlines()) == 2]
"""What ends a line for str.splitlines, and so for what makes comments."""
PAYLOADS = (
    "a\nPWNED\nb",
    "".join(f"a{separator}PWNED" for separator in SEPARATORS if separator != "\n"),
    f"{'word ' * 14}::error::PWNED {'word ' * 14}",
    "a\n\n::warning file=a::PWNED\n##[error]PWNED",
    "'\nPWNED\n'",
    '"\nPWNED\n"',
    "$(PWNED)`PWNED`",
    "${X:-$(PWNED)}",
    "${HOME}\nPWNED",
    ";PWNED;",
    "\\\nPWNED",
    "\nDSR1_OPTIONS\nPWNED\n",
    "\x1b]0;PWNED\x07\x1b[2J",
    "\u202ePWNED",
    "::error::PWNED",
    "##[error]PWNED",
    "PWNED\n",
)
KEYS = tuple(
    dict.fromkeys(
        (path, kind)
        for path, schema in json_schema.fields()
        if path[0] not in {"name", "published", "source", "gate"}
        for kind in kinds(json_schema.resolve(schema))
    )
)
"""Every key whose value is free: a text, words, or a mapping with free keys."""
WHOLE: dict[str, Any] = yaml.safe_load(GOOD)
ENGINES: dict[str, dict[str, Any]] = {
    "trtllm-bench": WHOLE["engine"],
    "trtllm": {"tp": 8},
    "openai": {"server": "vllm", "tp": 8},
    "transformers": {"device": "cpu"},
}
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
STAND_INS = ("trtllm-bench", "nvidia-smi", "pytest-dsr1", "pytest", "PWNED", "cat", "x")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that only write their names; no other program can be found."""
    folder = tmp_path_factory.mktemp("bin")
    for name in STAND_INS:
        (folder / name).write_text(f'#!/bin/sh\necho {name} >> "$CALLS"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def scenarios(engine: str, payload: str) -> Iterator[dict[str, Any]]:
    """A scenario for each key, with the payload there."""
    forms = {
        "text": payload,
        "words": ["x", payload],
        "value": {"A": payload},
        "deep value": {"A": {"B": [payload]}},
        "key": {payload: 1},
        "deep key": {"A": {payload: [{payload: 1}]}},
    }
    own = engines()[engine].settings.model_fields
    for (*folders, last), kind in KEYS:
        # The keys of all scenarios once with a script that is whole, and once with one that is not.
        asks = folders[:1] == ["accuracy"]
        able = {"trtllm"} if asks else {"trtllm-bench", "transformers"}
        if [*folders, last][1] not in own if folders[:1] == ["engine"] else engine not in able:
            continue
        made = {**deepcopy(WHOLE), "engine": {"type": engine, **deepcopy(ENGINES[engine])}}
        if engine == "transformers":
            made["hardware"], made["model"] = {}, {"name": "m", "random_weights": {"seed": 0}}
        if asks:
            made["accuracy"] = {"tasks": [{}]}
        if folders[:1] == ["frontier"]:
            made["frontier"] = [{"at": 50, "value": 1000}]
            made["sweep"] = {"load.concurrency": [1]}
        part: Any = made
        for folder in folders:
            part = part[folder] if isinstance(folder, int) else part.setdefault(folder, {})
        part[last] = forms[kind]
        yield made


@pytest.mark.parametrize("engine", ENGINES)
def test_no_value_becomes_a_command(engine: str, programs: Path, tmp_path: Path) -> None:
    assert len(SEPARATORS) == 10
    assert ("engine", "llm_api", "unchecked") in {path for path, _ in KEYS}
    planned, catalogue = 0, discover([])
    for payload in PAYLOADS:
        for index, scenario in enumerate(scenarios(engine, payload)):
            path = tmp_path / "s.yaml"
            path.write_text(yaml.dump(scenario, Dumper=DUMPER), encoding="utf-8")
            try:
                lines = list(plan([load(path, catalogue=catalogue)], PlanOptions("check")))
            except Dsr1Error:
                continue  # such a value is refused
            planned += 1
            run_unharmed(lines, programs, tmp_path / f"{planned}-{index}")
    assert planned >= 2 * len(PAYLOADS)


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if "${" not in each])
def test_no_value_of_a_point_becomes_a_command(payload: str, programs: Path, tmp_path: Path) -> None:
    values = [payload, {"A": payload}, {payload: 1}, [payload]]
    made = {**deepcopy(WHOLE), "sweep": {"engine.llm_api.unchecked": [{"A": each} for each in values]}}
    path = tmp_path / "s.yaml"
    path.write_text(yaml.dump(made, Dumper=DUMPER), encoding="utf-8")
    points = load_all(path, catalogue=discover([]))
    assert len(points) == len(values)
    run_unharmed(list(plan(points, PlanOptions("check"))), programs, tmp_path / "work")


def test_what_a_sweep_takes(tmp_path: Path) -> None:
    """An engine that is not kept starts for each point."""
    text = GOOD + "sweep:\n  load.concurrency: [512, 1024]\n  engine.max_batch_size: [64, 128]\n"
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    lines = list(plan(load_all(path, catalogue=discover([])), PlanOptions("check")))
    assert [line for line in lines if line.startswith("# sweep")] == [
        "# sweep: mine, 4 points, 4 engine starts, 61 min measuring, 8.11 GPU-hours"
    ] * 4
    assert [line for line in lines if line.startswith("# point")] == [
        f"# point: concurrency-{users}.max_batch_size-{size}" for size in (64, 128) for users in (512, 1024)
    ]
    assert (
        f"pytest-dsr1 dataset {path} dataset.jsonl --set=sweep=null --set=load.concurrency=512 "
        "--set=engine.max_batch_size=64 --set=hardware.count=8 --set=dataset.seed=10367140"
    ) in " ".join(lines).replace("\\ ", "")


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if "/" not in each])
def test_no_folder_or_option_becomes_a_command(payload: str, programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / payload
    folder.mkdir()
    path = folder / "s.yaml"
    path.write_text(GOOD, encoding="utf-8")
    loaded = load(path, catalogue=discover([]))
    options = PlanOptions("check", overrides=(f"description={payload}",), suites=(str(folder),))
    run_unharmed(list(plan([loaded], options)), programs, tmp_path / "work")


def run_unharmed(lines: list[str], programs: Path, work: Path) -> None:
    """Run the script where it finds only stand-ins; it must call no other, and be harmless to print."""
    script = "\n".join(lines) + "\n"
    for line in script.splitlines():
        assert line.isprintable(), line
        assert not line.lstrip().startswith("::"), line
        assert harmless(line[:2_000]) == line[:2_000], line
    if "PWNED" not in script:  # the value is not in it
        return
    work.mkdir()
    environment = {"PATH": str(programs), "CALLS": str(work / "calls"), "DSR1_MODELS": "/my models"}
    command = ["/bin/sh", "-c", script]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    calls = (work / "calls").read_text(encoding="utf-8") if (work / "calls").exists() else ""
    assert "PWNED" not in calls.split(), script
    assert "yntax" not in done.stderr, script
    assert "not found" not in done.stderr, script


@pytest.mark.parametrize(
    ("rate", "more", "said"),
    [
        (100, [], "7 s measuring at target rates, 0.02 GPU-hours, plus loading the weights"),
        (0.5, [], "80 s measuring at the rate of arrivals, 0.18 GPU-hours, plus loading the weights"),
        (
            0.5,
            ["load.duration_s=60"],
            "60 s measuring until load.duration_s, 0.13 GPU-hours, plus loading the weights",
        ),
        (100, ["hardware={}"], "at most 7 s measuring if the targets are met"),
        (0.5, ["hardware={}"], "80 s measuring at the rate of arrivals"),
    ],
)
def test_the_expected_time_says_what_decides_it(
    tmp_path: Path, rate: float, more: list[str], said: str
) -> None:
    loaded = load_text(
        tmp_path,
        GOOD,
        "engine={type: openai, server: vllm}",
        f"load={{concurrency: all, num_requests: 40, arrival: {{type: poisson, rate_req_s: {rate}}}}}",
        *more,
    )
    assert f"# expected: {said}" in list(plan([loaded], PlanOptions("off")))


def test_list_and_plan_say_that_there_are_no_targets(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, GOOD.partition("targets:")[0])
    assert list(listing([loaded]))[2:4] == [
        "    8 x NVIDIA H200, engine trtllm-bench",
        "    no targets: measured, not judged",
    ]
    planned = list(plan([loaded], PlanOptions("off", store=tmp_path)))
    assert "# expected: unknown, because the scenario has no targets" in planned
    (refusal,) = [line for line in planned if line.startswith("# gate: ")]
    assert refusal.startswith(f"# gate: {tmp_path}/s.yaml:1: gate.metric: expected a metric, found none; ")


PLANS = sorted((Path(__file__).parents[2] / "data" / "plans").glob("*.sh"))


@pytest.mark.parametrize("kept", PLANS, ids=lambda path: path.stem)
def test_the_plan_of_a_shipped_scenario_stays_as_it_was(kept: Path) -> None:
    """A plan that must change, because a fact in it was wrong, changes its file in the same commit."""
    path = discover([]).select(kept.stem)[0]
    root = f"{path.parents[1]}{os.sep}"
    shown = script(kept.stem, "apply").replace(root, "suites/").replace(sys.executable, "python")
    shown = re.sub(r"\S*/models/random-", "CACHE/models/random-", shown)
    assert shown == kept.read_text(encoding="utf-8")


def test_every_shipped_scenario_has_its_plan_kept() -> None:
    assert {path.stem for path in PLANS} == {profile.name for profile in discover([]).shipped}


def probed(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.startswith("# probe: ")]


def test_what_probes_cost_is_in_the_plan(tmp_path: Path) -> None:
    wanted = [
        "# probe: 8 GPUs, about 68 s before the engine starts and 68 s after it has ended, 0.30 GPU-hours; "
        "not while a server is kept running"
    ]
    asked, quiet = load_text(tmp_path, GOOD, "probe=true"), load_text(tmp_path, GOOD)
    assert probed(plan([asked], PlanOptions("off"))) == wanted
    assert probed(plan([quiet], PlanOptions("off", probe=True))) == wanted
    assert probed(plan([quiet], PlanOptions("off"))) == []


def test_the_command_of_a_plan_probes_too() -> None:
    catalogue = discover([])
    (path,) = catalogue.select("slice-h200-min-latency")
    options = PlanOptions("off", profiles=frozenset(catalogue.names), probe=True)
    lines = list(plan([load(path, catalogue=catalogue)], options))
    assert lines[-1] == "pytest --dsr1-profile=slice-h200-min-latency --dsr1-probe"
    assert probed(lines)[0].startswith("# probe: 1 GPU, about 12 s before")


def test_a_scenario_on_the_cpu_is_not_probed() -> None:
    catalogue = discover([])
    loaded = [load(path, catalogue=catalogue) for path in catalogue.select("cpu-min-latency")]
    assert probed(plan(loaded, PlanOptions("off", probe=True))) == [
        "# probe: not probed: the scenario uses no GPU"
    ]
    assert probed(plan(loaded, PlanOptions("off"))) == []


def test_a_server_that_is_running_is_not_probed(tmp_path: Path) -> None:
    text = GOOD.partition("engine:\n")[0] + 'engine: {type: openai, url: "http://127.0.0.1:9"}\n'
    assert probed(plan([load_text(tmp_path, text)], PlanOptions("off", probe=True))) == [
        "# probe: not probed: the server of engine.url is running on the GPUs"
    ]


def test_each_start_of_a_search_is_probed(tmp_path: Path) -> None:
    """An engine that keeps no server starts for each probe of the load."""
    text = GOOD.replace("type: trtllm-bench", "type: trtllm").partition("targets:\n")[0]
    search = "search: {load.concurrency: [1, 64], slo: mlperf-server}\n"
    loaded = load_text(tmp_path, text + search, "engine.streaming=true")
    (line,) = probed(plan([loaded], PlanOptions("off", probe=True)))
    assert line.endswith(
        ", 0.30 GPU-hours; at most 12 engine starts: 3.63 GPU-hours; not while a server is kept running"
    )


SEARCH = "search: {load.concurrency: [4, 64], slo: mlperf-server}\n"
KEPT = ("engine.streaming=true", "engine.request_records=true")


def test_the_script_of_a_search_runs_a_probe_of_the_lowest_load(tmp_path: Path) -> None:
    """Its dataset has as many requests; the scenario's own load, which nothing measures, is not shown."""
    loaded = load_text(tmp_path, GOOD.partition("targets:\n")[0] + SEARCH, *KEPT)
    found = "\n".join(plan([loaded], PlanOptions("off")))
    assert "# load: of a probe at the lowest load: 1,116 requests" in found
    assert "--num_requests 1116 " in found
    assert "--concurrency 4 " in found
    assert "--set=load.num_requests=1116" in found
    assert "# expected:" not in found


def test_a_search_with_targets_shows_the_load_that_they_judge(tmp_path: Path) -> None:
    found = "\n".join(plan([load_text(tmp_path, GOOD + SEARCH, *KEPT)], PlanOptions("off")))
    assert "# expected: " in found
    assert "--concurrency 1024 " in found
    assert "# search: load.concurrency 4 to 64, for the highest" in found


@pytest.mark.parametrize(
    ("search", "wanted"),
    [
        (  # at 4 req/s, 12 probes of 1,112 requests take 3,336 s, of 2,000 requests 6,000 s
            "load: {concurrency: all, arrival: {type: poisson, rate_req_s: 1}, num_requests: 9}\n"
            "search: {load.rate: [0.5, 32], most_requests: 2000}\nslo: {ttft_ms: 500}\n",
            [
                "load.rate 0.5 to 32, for the highest at which 99% of requests keep the SLO (TTFT at "
                "most 500 ms)",
                "at most 12 probes of at most 2,000 requests each, and no engine start; a probe that keeps "
                "99% within the SLO needs 1,112 requests or more",
                "12 probes at 4, where it begins, take 0.93 h, 7.4 GPU-h with 1,112 requests each, or 1.7 h, "
                "13 GPU-h with 2,000 requests each; without the time to start the engine",
            ],
        ),
        (  # 4 in flight, each for 500 + 2,047 x 10 ms: 12 probes of 1,112 requests take 19.4 h
            "load: {concurrency: 9, num_requests: 9}\n"
            "search: {load.concurrency: [1, 16], most_requests: 1113}\nslo: {ttft_ms: 500, tpot_ms: 10}\n",
            [
                "load.concurrency 1 to 16, for the highest at which 99% of requests keep the SLO (TTFT at "
                "most 500 ms, TPOT at most 10 ms)",
                "at most 12 probes of at most 1,113 requests each, and no engine start; a probe that keeps "
                "99% within the SLO needs 1,113 requests or more",
                "if each request just keeps the SLO, 12 probes at 4, where it begins, take 19 h, 156 GPU-h "
                "with 1,113 requests each; without the time to start the engine",
            ],
        ),
        (
            "load: {concurrency: 9, num_requests: 9}\n"
            "search: {load.concurrency: [1, 16], most_requests: 1113}\nslo: {ttft_ms: 500}\n",
            ["the time is unknown, because the SLO does not limit the latency of a whole request"],
        ),
    ],
)
def test_a_search_says_what_it_asks_and_takes(tmp_path: Path, search: str, wanted: list[str]) -> None:
    engine = 'engine: {type: openai, url: "http://127.0.0.1:9"}\n'
    loaded = load_text(tmp_path, GOOD.partition("load:\n")[0] + search + engine)
    found = list(plan([loaded], PlanOptions("off")))
    said = [line.removeprefix("# search: ") for line in found if line.startswith("# search: ")]
    assert said[-len(wanted) :] == wanted


def test_each_start_of_a_pair_is_probed(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, GOOD, "gate.metric=total_output_throughput")
    (line,) = probed(plan([loaded], PlanOptions("off", probe=True, sides={"mine": loaded})))
    most = pairs_plan(loaded.scenario, seed=0, again="").starts
    assert most > 4
    hours = f"{2 * 68 * 8 * most / 3600:.2f}"
    assert f", 0.30 GPU-hours; at most {most} engine starts: {hours} GPU-hours; not while" in line


def test_each_start_of_a_gate_is_probed(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, GOOD, "gate.metric=total_output_throughput")
    now = datetime.now(timezone.utc)
    content = content_key(loaded.scenario.dataset, loaded.scenario.load)
    write(
        tmp_path,
        references(
            profile="mine",
            requests=5120,
            warmup_requests=1024,
            accepted=Acceptance(now, "Ann", "TensorRT-LLM 1.2.1", "0123abc"),
            facts={"gpu.name": "NVIDIA H200", **options_of(loaded.scenario), "dataset.content": content},
            runs=scattered(16, first=now - timedelta(days=16)),
        ),
    )
    lines = list(plan([loaded], PlanOptions("off", probe=True, store=tmp_path)))
    (most,) = re.findall(r"At most (\d+) starts in all", "\n".join(lines))
    assert int(most) > 2
    (line,) = probed(lines)
    hours = f"{2 * 68 * 8 * int(most) / 3600:.2f}"
    assert f", 0.30 GPU-hours; at most {most} engine starts: {hours} GPU-hours; not while" in line


def test_a_forced_acceptance_length_is_in_the_plan(tmp_path: Path) -> None:
    mtp = "engine.llm_api.speculative_config={decoding_type: MTP, max_draft_len: 3}"
    loaded = load_text(tmp_path, GOOD, mtp, "speculation.acceptance_length=2.4")
    lines = list(plan([loaded], PlanOptions("off")))
    assert "# acceptance length 2.4 forced: compare no figure with one of natural acceptance" in lines
    assert "export TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=1.4" in lines


def test_the_command_of_a_plan_has_no_secret_of_an_override(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(GOOD, encoding="utf-8")
    given = (
        "engine.environment.WANDB_API_KEY=planted",
        "engine.environment={HF_TOKEN: planted, MODE: plain}",
    )
    text = "\n".join(plan([load(path, overrides=given)], PlanOptions("check", overrides=given)))
    assert "planted" not in text
    assert "'--set=engine.environment.WANDB_API_KEY=${WANDB_API_KEY}'" in text
    assert "'--set=engine.environment={HF_TOKEN: ${HF_TOKEN}, MODE: plain}'" in text


def test_secrets_among_options_are_in_no_plan(tmp_path: Path) -> None:
    secret = {
        "env_overrides": {"HF_TOKEN": "planted", "MODE": "plain"},
        "unchecked": {"hf_token": "planted", "more": {"auth": ["planted"]}},
    }
    for engine in ("trtllm-bench", "trtllm"):
        made = yaml.safe_load(GOOD)
        made["engine"] = {"type": engine, **ENGINES[engine], "llm_api": secret}
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump(made), encoding="utf-8")
        text = "\n".join(plan([load(path)], PlanOptions("check")))
        assert "planted" not in text
        assert "plain" in text
        assert "(not shown)" in text


RANDOM = "5,120 requests of random tokens, 1,024 tokens in and 2,048 out,"
POISSON = "load={concurrency: %s, num_requests: 5120, arrival: {type: poisson, rate_req_s: 4}}"


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ([], f"{RANDOM} 1,024 in flight"),
        (["engine.streaming=true"], f"{RANDOM} 1,024 in flight, streamed"),
        (["load.concurrency=all"], f"{RANDOM} all at once"),
        (
            ["engine={type: openai, server: vllm}", POISSON % "all"],
            f"{RANDOM} poisson arrivals at 4 req/s, streamed",
        ),
        (
            ["engine={type: openai, server: vllm, endpoint: chat}", "dataset.path=d.jsonl"],
            "5,120 requests of the dataset, 1,024 tokens in and 2,048 out, through the chat template, "
            "1,024 in flight, streamed",
        ),
        (
            ["engine={type: openai, server: vllm}", POISSON % 64],
            f"{RANDOM} poisson arrivals at 4 req/s, at most 64 in flight, streamed",
        ),
        (
            [
                "dataset.path=d.jsonl",
                "dataset.input_tokens={minimum: 819, maximum: 1100}",
                "dataset.output_tokens={mean: 9, stdev: 3}",
                "load.warmup_requests=8",
            ],
            "5,120 requests of the dataset, 819 to 1,100 tokens in and 9 (standard deviation 3) out, "
            "1,024 in flight, after 8 for warm-up",
        ),
    ],
)
def test_a_plan_without_targets_says_what_is_sent(changes: list[str], sent: str, tmp_path: Path) -> None:
    loaded = load_text(tmp_path, GOOD.partition("targets:")[0], *changes)
    assert f"# load: {sent}" in list(plan([loaded], PlanOptions("off")))


def test_a_plan_with_targets_needs_no_line_for_the_load(tmp_path: Path) -> None:
    lines = plan([load_text(tmp_path, GOOD)], PlanOptions("off"))
    assert [line for line in lines if line.startswith("# load:")] == []


ASKED = "accuracy: {same_answers: {}, tasks: [{}, {path: '${DSR1_DATASET}/gsm8k.jsonl', limit: 5000}]}"
PER_USER = "  - metric: per_user_output_throughput\n    value: 64.0\n"


def asked_lines(folder: Path, accuracy: str, targets: str = "") -> tuple[str, str]:
    """Return what a plan says about time and cost, and about the questions."""
    text = GOOD.replace("type: trtllm-bench", "type: trtllm").replace(
        "targets:\n", f"{accuracy}\ntargets:\n{targets}"
    )
    lines = list(plan([load_text(folder, text)], PlanOptions("off")))
    (time,) = [line for line in lines if line.startswith("# expected: ")]
    (found,) = [line for line in lines if line.startswith("# accuracy: ")]
    return time.removeprefix("# expected: "), found.removeprefix("# accuracy: after the measured part, ")


def test_questions_are_in_the_plan(tmp_path: Path) -> None:
    whole = (
        "same_answers 32 x 64 output tokens, questions 200 x at most 16,384 output tokens, gsm8k 5,000 x at "
        "most 16,384 output tokens"
    )
    # One at a time, then 200 at once, then 5 times at most 1,024 at once: 32 x 64 + 6 x 16,384 tokens.
    time, line = asked_lines(tmp_path, ASKED)
    # A target of 11,489 tok/s for 1,024 users.
    assert line == f"{whole}; at most 149 min at 11.2 tok/s per user, as the targets ask"
    assert time == (  # 8,944 s more on 8 GPUs
        "15 min measuring at target rates, at most 21.90 GPU-hours with the questions, plus loading the "
        "weights"
    )
    time, line = asked_lines(tmp_path, ASKED, PER_USER)
    assert line == f"{whole}; at most 26 min at 64 tok/s per user, as the targets ask"
    assert time == (
        "3 min measuring at target rates, at most 3.84 GPU-hours with the questions, plus loading the weights"
    )
    short = "accuracy: {tasks: [{limit: 7, max_output_tokens: 64}]}"
    assert asked_lines(tmp_path, short, PER_USER)[1] == (
        "questions 7 x at most 64 output tokens; at most 1 s at 64 tok/s per user, as the targets ask"
    )


def test_without_a_target_of_speed_questions_are_as_slow_as_users_may_be(tmp_path: Path) -> None:
    text = GOOD.replace("type: trtllm-bench", "type: trtllm").partition("targets:\n")[0]
    (line,) = [
        line
        for line in plan([load_text(tmp_path, f"{text}accuracy: {{tasks: [{{}}]}}\n")], PlanOptions("off"))
        if line.startswith("# accuracy: ")
    ]
    assert line.endswith("questions 200 x at most 16,384 output tokens; at most 55 min at 5 tok/s per user")


def test_the_questions_of_a_file_are_counted_for_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "sums.jsonl"
    path.write_text('{"prompt": "1 + 1?", "answer": "2"}\n\n' * 3, encoding="utf-8")

    def line(more: str = "") -> str:
        tasks = f"accuracy: {{tasks: [{{path: '{path}', max_output_tokens: 64{more}}}]}}"
        return asked_lines(tmp_path, tasks, PER_USER)[1]

    assert line() == "sums 3 x at most 64 output tokens; at most 1 s at 64 tok/s per user, as the targets ask"
    assert line(", limit: 2").startswith("sums 2 x ")
    assert line(", limit: 9").startswith("sums 3 x ")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("nowhere.jsonl", "there is no such file of questions; correct `path` in accuracy.tasks"),
        ("/dev/zero", "the questions cannot be read: "),
        ("/", "the questions cannot be read: "),
    ],
)
def test_a_file_that_a_run_would_refuse_is_refused(tmp_path: Path, path: str, problem: str) -> None:
    with pytest.raises(InvalidRunError) as caught:
        asked_lines(tmp_path, f"accuracy: {{tasks: [{{name: sums, path: '{path}'}}]}}")
    assert f"{path}: {problem}" in str(caught.value)


def test_a_file_behind_a_variable_costs_a_plan_only_its_time(tmp_path: Path) -> None:
    path = "${DSR1_NOWHERE}/sums.jsonl"
    time, line = asked_lines(tmp_path, f"accuracy: {{tasks: [{{name: sums, path: '{path}'}}]}}")
    assert line == "sums all of its file x at most 16,384 output tokens"
    assert time == (
        "15 min measuring at target rates, 2.03 GPU-hours without the questions, plus loading the weights"
    )


def test_a_plan_without_questions_has_no_line_for_them() -> None:
    assert "# accuracy" not in script("h200-max-throughput")


SITE = Site(slurm=Slurm(sbatch=["--partition=batch", "--comment=it's here"]))


def test_the_line_for_sbatch_has_no_secret(tmp_path: Path) -> None:
    site = Site(slurm=Slurm(sbatch=["--export=ALL,HF_TOKEN=planted-secret"]))
    (line,) = (line for line in on_two_nodes(tmp_path, site=site) if line.startswith("# Slurm: "))
    assert "planted" not in line
    assert "'--export=ALL,HF_TOKEN=${HF_TOKEN}'" in line


def on_two_nodes(folder: Path, *overrides: str, site: Site = SITE) -> list[str]:
    text = GOOD.replace("  count: 8\n", "  count: 16\n  nodes: 2\n")
    text = text.replace("  tp: 8\n  ep: 8\n", "  tp: 16\n  ep: 16\n")
    text += "gpu_setup:\n  vboost: 4\n"
    loaded = load_text(folder, text, *overrides)
    return list(plan([loaded], PlanOptions("check", site=site)))


def test_two_nodes_are_probed_at_the_same_time(tmp_path: Path) -> None:
    assert probed(on_two_nodes(tmp_path, "probe=true")) == [
        "# probe: 16 GPUs, about 68 s before the engine starts and 68 s after it has ended, 0.60 GPU-hours; "
        "not while a server is kept running"
    ]


def test_a_scenario_on_two_nodes_says_what_runs_where(tmp_path: Path) -> None:
    lines = on_two_nodes(tmp_path)
    minutes = math.ceil((3600 + run_timeout_s(load(tmp_path / "s.yaml").scenario)) / 60)
    (line,) = (line for line in lines if line.startswith("# Slurm: "))
    assert line == (
        "# Slurm: this script runs on the first node: sbatch --no-requeue --signal=B:TERM@120 "
        f"--gpus-per-node=8 --exclusive --time={minutes} --partition=batch "
        "'--comment=it'\"'\"'s here' --nodes=2 '--wrap=exec sh SCRIPT'"
    )
    assert [line for line in lines if "nvidia-smi" in line] == [
        "# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l",
        "srun --overlap --nodes=2 --ntasks=2 --ntasks-per-node=1 sh -c 'for i in 0 1 2 3 4 5 6 7; do "
        "nvidia-smi boost-slider -i $i --vboost 4; done'",
    ]
    assert "# machine: 16 x NVIDIA H200 on 2 nodes" in lines
    subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, check=True)


def test_each_node_sets_up_the_gpus_that_the_run_uses(tmp_path: Path) -> None:
    text = GOOD.replace("  count: 8\n", "  count: 12\n  nodes: 2\n")
    cache = "llm_api: {cache_transceiver_config: {backend: NIXL}}"
    engine = (
        "engine: {type: openai, server: trtllm-serve, disaggregated: "
        f"{{context: {{tp: 4, {cache}}}, generation: {{tp: 8, {cache}}}}}}}\n"
    )
    text = re.sub(r"engine:\n(?:  .*\n)+", engine, text) + "gpu_setup:\n  vboost: 4\n"
    lines = list(plan([load_text(tmp_path, text)], PlanOptions("check")))
    assert [line for line in lines if "nvidia-smi" in line][1:] == [
        f"srun --overlap --relative={node} --nodes=1 --ntasks=1 --ntasks-per-node=1 sh -c 'for i in {gpus}; "
        "do nvidia-smi boost-slider -i $i --vboost 4; done'"
        for node, gpus in enumerate(("0 1 2 3 4 5 6 7", "0 1 2 3"))
    ]
    assert lines[-1] == f"exec pytest {tmp_path}/s.yaml"


def test_one_node_needs_no_slurm(tmp_path: Path) -> None:
    lines = on_two_nodes(tmp_path, "hardware.nodes=1")
    assert [line for line in lines if "srun" in line or "Slurm" in line] == []
    assert any(line.startswith("for i in 0 1 2 3 4 5 6 7 8 ") for line in lines)


def test_a_command_of_pytest_names_the_site_file() -> None:
    path = discover([]).select("h200-pair-vllm")[0]
    options = PlanOptions("off", profiles=frozenset(["h200-pair-vllm"]), own_site="my site.yaml")
    (line,) = (line for line in plan(load_all(path), options) if line.startswith("pytest "))
    assert line == "pytest --dsr1-profile=h200-pair-vllm '--dsr1-site=my site.yaml'"
