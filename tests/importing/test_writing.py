from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import UserError
from pytest_dsr1.importing.harvest import Case
from pytest_dsr1.importing.served import LONGEST_NAME, safe_name
from pytest_dsr1.importing.writing import refuse_impossible, write_all
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.problems import Mark
from pytest_dsr1.storage.files import write_atomically
from tests.helpers.imports import NEWEST, harvested, harvested_text, written_options
from tests.helpers.values import scenario

HOSTILE = st.text() | st.sampled_from(
    [
        "../../x",
        "/etc/x",
        "..",
        ".",
        "a/b",
        "a\\b",
        "x" * 5000,
        "\u202e",
        "é",
        "-",
        "con:1",
        "~",
        "${HOME}",
        "a\nb",
    ]
)


def cases(*names: str) -> list[Case]:
    return [Case(name, Mark("own.yaml", 1, 1), {"name": name}) for name in names]


def test_files_are_written_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert write_all(cases("a", "b"), folder, force=False) == [folder / "a.yaml", folder / "b.yaml"]
    assert (folder / "b.yaml").read_text() == "name: b\n"


def test_an_existing_file_is_overwritten_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("own\n")
    with pytest.raises(UserError) as refused:
        write_all(cases("a", "b"), tmp_path, force=False)
    assert str(refused.value) == (
        f"nothing was written (--force overwrites):\n  {tmp_path}/b.yaml: exists already"
    )
    assert [file.name for file in tmp_path.iterdir()] == ["b.yaml"]
    assert (tmp_path / "b.yaml").read_text() == "own\n"
    write_all(cases("a", "b"), tmp_path, force=True)
    assert (tmp_path / "b.yaml").read_text() == "name: b\n"


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_only_files_are_overwritten(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "out" / "a.yaml"
    target.parent.mkdir()
    if kind == "folder":
        target.mkdir()
    else:
        (tmp_path / "elsewhere").write_text("own\n")
        target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError) as refused:
        write_all(cases("a"), target.parent, force=True)
    assert str(refused.value) == f"nothing was written:\n  {target}: is not a file"


def test_after_a_failure_the_folder_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "b.yaml").write_text("own\n")

    def fails_at_last(path: Path, text: str) -> None:
        if path.name == "c.yaml":
            raise OSError(28, "No space left on device", str(path))
        write_atomically(path, text)

    monkeypatch.setattr("pytest_dsr1.importing.writing.write_atomically", fails_at_last)
    with pytest.raises(UserError) as failed:
        write_all(cases("a", "b", "c"), tmp_path, force=True)
    assert str(failed.value) == (
        f"{tmp_path}/c.yaml: cannot be written: No space left on device; nothing was written"
    )
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("b.yaml", "own\n")]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as failed:
        write_all(cases("a"), tmp_path / "file" / "out", force=False)
    assert str(failed.value).startswith(f"{tmp_path}/file")


def test_what_is_not_a_valid_scenario_is_refused_with_all_reasons(tmp_path: Path) -> None:
    found = harvested_text(
        tmp_path,
        """\
server_configs:
  - name: a
    model_name: deepseek_r1_0528_fp8
    moe_expert_parallel_size: 8
    cuda_graph_config: {batch_sizes: [1, 2], max_batch_size: 1}
    client_configs: [{}]
""",
    )
    assert len(found.cases) == 1
    refuse_impossible(found)
    assert found.cases == []
    assert [str(refusal) for refusal in found.refusals] == [
        f"{tmp_path}/own_b200.yaml:2: own_b200-a: not imported: as a scenario it would be wrong: "
        "engine.llm_api.cuda_graph_config.max_batch_size: expected the largest of batch_sizes, 2, or no "
        "value; found 1"
    ]


@settings(max_examples=150, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=3))
def test_a_safe_name_is_the_name_of_a_scenario_and_of_a_file(parts: list[str]) -> None:
    name = safe_name(*parts)
    assert scenario(name=name).name == name
    assert Path(f"{name}.yaml").name == f"{name}.yaml"
    assert len(name) <= LONGEST_NAME


@settings(max_examples=60, deadline=None)
@given(first=HOSTILE, second=HOSTILE)
def test_different_names_stay_different(first: str, second: str) -> None:
    assert (safe_name(first) == safe_name(second)) == (first == second)


@settings(max_examples=40, deadline=None)
@given(
    server=HOSTILE.filter(bool), client=HOSTILE, options=st.dictionaries(HOSTILE, st.integers(), max_size=2)
)
def test_no_name_leads_out_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, server: str, client: str, options: dict[str, int]
) -> None:
    folder = tmp_path_factory.mktemp("hostile")
    one = {
        **options,
        "name": server,
        "model_name": "deepseek_r1_0528_fp8",
        "client_configs": [{"name": client}, {"name": f"{client}2"}],
    }
    (folder / "in").mkdir()
    (folder / "in" / "b200.yaml").write_text(yaml.safe_dump({"server_configs": [one]}), encoding="utf-8")
    found = harvested(folder / "in")
    if not found.problems:
        refuse_impossible(found)
        for path in write_all(found.cases, folder / "out", force=False):
            assert path.parent == folder / "out"
            loaded = load(path, overrides=[NEWEST])
            assert loaded.scenario.name == path.stem
            assert written_options(loaded) == options
    assert {entry.name for entry in folder.iterdir()} <= {"in", "out"}
    assert [entry.name for entry in (folder / "in").iterdir()] == ["b200.yaml"]
