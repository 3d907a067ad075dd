"""The list of scenarios."""

from __future__ import annotations

from pathlib import Path

from pytest_dsr1.reporting.terminal.listing import listing
from tests.helpers.scenario_files import changed, load_text


def test_the_tests_of_answers_are_listed(tmp_path: Path) -> None:
    asked = "accuracy: {same_answers: {}, tasks: [{}]}\ntargets:\n"
    loaded = load_text(tmp_path, changed(("type: trtllm-bench", "type: trtllm"), ("targets:\n", asked)))
    lines = list(listing([loaded]))
    assert "    accuracy: same_answers, questions" in lines
    assert lines.index("    accuracy: same_answers, questions") == len(lines) - 2
