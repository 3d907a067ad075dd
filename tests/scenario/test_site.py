"""The site file: what it sets, and its mistakes with their positions."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.profiles import shipped_suites
from pytest_dsr1.scenario.schema.site import Site, Slurm
from pytest_dsr1.scenario.site import load_site, site_file

WHOLE = """\
slurm:
  sbatch: [--partition=batch, -Ateam, --exclusive, "--comment=two words"]
  srun: [--container-image=registry/engine:1.2, --container-mounts=/models]
  mpi: pmi2
  launcher: []
  interface: ib0
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "site.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def message(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        load_site(path)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_a_whole_file(tmp_path: Path) -> None:
    assert load_site(written(tmp_path, WHOLE)).slurm == Slurm(
        sbatch=["--partition=batch", "-Ateam", "--exclusive", "--comment=two words"],
        srun=["--container-image=registry/engine:1.2", "--container-mounts=/models"],
        mpi="pmi2",
        launcher=[],
        interface="ib0",
    )
    schema = json.loads((shipped_suites() / "site.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(yaml.safe_load(WHOLE), schema)


@pytest.mark.parametrize("text", ["slurm: {}", "slurm: {interface: null}", "{}"])
def test_what_is_left_out_has_a_default(tmp_path: Path, text: str) -> None:
    site = load_site(written(tmp_path, text))
    assert site == load_site(None) == Site()
    assert (site.slurm.mpi, site.slurm.launcher) == ("pmix", ["trtllm-llmapi-launch"])


def test_every_mistake_is_told_at_once_with_its_position(tmp_path: Path) -> None:
    text = """\
slrum:
  sbatch: --partition=a
  srum: [-pbatch, 1, --time 02:00:00, ""]
  mpi: ""
  partition: x
srun: []
slurm2:
  - 1
"""
    piece = "an option in one piece, such as `--partition=batch`"
    assert message(written(tmp_path, text)).splitlines() == [
        "site.yaml: 10 mistakes in this site file",
        "  site.yaml:1:1: slrum: unknown key (did you mean 'slurm'?)",
        f"  site.yaml:2:11: slurm.sbatch: expected a list, each {piece}, found the text '--partition=a'",
        "  site.yaml:3:3: slurm.srum: unknown key (did you mean 'srun'?)",
        f"  site.yaml:3:19: slurm.srun.1: expected {piece}, found the number 1",
        f"  site.yaml:3:22: slurm.srun.2: expected {piece}, found the text '--time 02:00:00'",
        f"  site.yaml:3:39: slurm.srun.3: expected {piece}, found the text ''",
        "  site.yaml:4:8: slurm.mpi: expected text that is not empty, found the text ''",
        "  site.yaml:5:3: slurm.partition: unknown key; expected one of 'sbatch', 'srun', 'mpi', 'launcher', "
        "'interface'",
        "  site.yaml:6:1: srun: unknown key here; it belongs in `slurm`",
        "  site.yaml:7:1: slurm2: unknown key (did you mean 'slurm'?)",
    ]


@pytest.mark.parametrize("option", ["--a=b\n", "--a\t", "-", "--a =b", "batch", "--x=\x1b[1m"])
def test_an_option_is_one_word(tmp_path: Path, option: str) -> None:
    found = message(written(tmp_path, json.dumps({"slurm": {"sbatch": [option]}})))
    assert "slurm.sbatch.0: expected an option in one piece" in found


@pytest.mark.parametrize("option", ["--mpi=none", "-n4", "--output=/tmp/%j.log", "--container-workdir=/x"])
def test_what_a_run_sets_is_not_set_by_the_site(tmp_path: Path, option: str) -> None:
    name = option.partition("=")[0] if option.startswith("--") else option[:2]
    text = f"slurm: {{sbatch: [{option}], srun: [--label, {option}]}}"
    column = text.rindex(option) + 1
    assert message(written(tmp_path, text)).splitlines()[1:] == [
        f"  site.yaml:1:{column}: slurm.srun.1: pytest-dsr1 gives srun its own {name}, and the last one "
        "counts: remove it (the MPI type is slurm.mpi)"
    ]


def test_no_variable_is_expanded(tmp_path: Path) -> None:
    text = 'slurm: {srun: ["--container-mounts=${HOME}:/home"], launcher: [sh, -c, "${SLURM_LOCALID}"]}'
    assert message(written(tmp_path, text)).splitlines()[1:] == [
        "  site.yaml:1:16: slurm.srun.0: variables (${...}) are not expanded in a site file; write the value "
        "itself"
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "site.yaml: is empty; expected a site"),
        ("- slurm", "site.yaml:1:1: expected a mapping with the key `slurm`, found a list"),
        ("slurm:", "site.yaml:1:7: slurm: expected a mapping, found nothing"),
        ("slurm: {", "site.yaml:1:9: not valid YAML"),
        ("slurm: {mpi: a, mpi: b}", "site.yaml:1:17: "),
    ],
)
def test_a_file_that_says_nothing(tmp_path: Path, text: str, said: str) -> None:
    header, *lines = message(written(tmp_path, text)).splitlines()
    assert header == "site.yaml: 1 mistake in this site file"
    assert len(lines) == 1
    assert lines[0].startswith(f"  {said}")


def test_there_is_no_such_file(tmp_path: Path) -> None:
    assert message(tmp_path / "no.yaml").splitlines()[1:] == ["  no.yaml: there is no such file"]


def test_the_option_comes_before_the_variable() -> None:
    here, environ = Path("/here"), {"DSR1_SITE": "/shared/site.yaml"}
    assert site_file("own.yaml", here, environ) == here / "own.yaml"
    assert site_file(None, here, environ) == Path("/shared/site.yaml")
    assert site_file(None, here, {"DSR1_SITE": "b.yaml"}) == here / "b.yaml"
    assert site_file(None, here, {"DSR1_SITE": ""}) is None
    assert site_file(None, here, {}) is None
