"""Bad input, tried and counted as a user meets it: through pytest, and never with a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.tensorrt_llm.bench.test_report import (
    MALFORMED_REPORTS,
    MALFORMED_REQUESTS,
    MALFORMED_TEXTS,
)
from tests.helpers.scenario_files import changed
from tests.measurement.test_store import DAMAGE
from tests.plugin.conftest import Suites
from tests.scenario.test_validation import MALFORMED as SCENARIOS
from tests.workload.test_checkpoint import MALFORMED as CHECKPOINTS
from tests.workload.test_dataset import MALFORMED as DATASETS


def test_sixty_and_more_are_tried_kind_by_kind() -> None:
    """Each entry of these tables is a test that asserts the whole message."""
    reports = len(MALFORMED_REPORTS) + len(MALFORMED_TEXTS) + len(MALFORMED_REQUESTS)
    counts = {
        "scenarios": len(SCENARIOS),
        "datasets": len(DATASETS),
        "checkpoints": len(CHECKPOINTS),
        "reports": reports,
        "results": len(DAMAGE),
    }
    assert sum(counts.values()) >= 60
    assert min(counts.values()) >= 12, counts


def test_every_malformed_scenario_is_an_error_without_a_traceback(suites: Suites) -> None:
    """All of them named in one run: as many collection errors, each with its place, and nothing measured."""
    names = []
    for number, (_, change, _) in enumerate(SCENARIOS):
        path = suites.pytester.path / f"bad{number}.yaml"
        path.write_text(changed(change), encoding="utf-8")
        names.append(path.name)
    result = suites.run(*names, "--continue-on-collection-errors")
    result.assert_outcomes(errors=len(names))
    text = result.stdout.str()
    assert "Traceback" not in text
    assert not [name for name in names if f"{name}:" not in text]


@pytest.mark.parametrize("kind", ["dataset", "checkpoint"])
def test_a_malformed_dataset_or_checkpoint_is_an_error_without_a_traceback(suites: Suites, kind: str) -> None:
    path = suites.write("gamma")
    text = path.read_text(encoding="utf-8")
    if kind == "dataset":
        bad = suites.pytester.path / "bad.jsonl"
        bad.write_bytes(b'{"task_id":0,"input_ids":[5],"output_tokens":"four"}\n\xff\n{\n')
        text = text.replace("dataset:\n", f"dataset:\n  path: {bad}\n").replace("  vocab_size: 100\n", "")
        place = f"{bad.name}:1"
    else:
        place = "config.json is missing"
        (suites.pytester.path / "checkpoint").mkdir()
        text = text.replace("random_weights: {}", f"path: {suites.pytester.path / 'checkpoint'}")
        text = text.replace("type: transformers", "type: trtllm-bench").replace(
            "hardware: {}", "hardware:\n  gpu: NVIDIA H200\n  count: 1"
        )
        text = text.replace("average_ttft", "average_request_latency")
    path.write_text(text, encoding="utf-8")
    result = suites.run("--dsr1-profile=gamma")
    assert result.ret == 10, result.stderr.str()
    assert place in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert not (Path(suites.pytester.path) / "engine-runs.txt").exists()
