"""Which scenarios share an array of jobs, and the script of an array."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.cli.job_array import JobArray, arrays_of, script
from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.expected import run_timeout_s
from pytest_dsr1.scenario.loading import LoadedScenario, load_all
from tests.helpers.scenario_files import GOOD

RESULTS = Path("/srv/100%/.dsr1")


def of_text(folder: Path, name: str, text: str = "", **hardware: int) -> list[LoadedScenario]:
    path = folder / f"{name}.yaml"
    whole = GOOD.replace("name: mine", f"name: {name}") + text
    whole = whole.replace("  count: 8\n", "".join(f"  {key}: {value}\n" for key, value in hardware.items()))
    for key in ("tp", "ep"):
        whole = whole.replace(f"  {key}: 8\n", f"  {key}: {hardware['count']}\n")
    path.write_text(whole, encoding="utf-8")
    return load_all(path)


def test_scenarios_of_one_shape_are_one_array(tmp_path: Path) -> None:
    each = [
        *of_text(tmp_path, "one", count=8),
        *of_text(tmp_path, "two", count=16, nodes=2),
        *of_text(tmp_path, "four", count=4),
        *of_text(tmp_path, "eight", count=8),
    ]
    arrays = arrays_of(each, {}, run_once=True)
    assert [(array.nodes, array.gpus, array.profiles) for array in arrays] == [
        (1, 8, ("one", "eight")),
        (2, 8, ("two",)),
        (1, 4, ("four",)),
    ]
    assert [array.words for array in arrays] == [
        "one, eight on 1 node with 8 GPUs",
        "two on 2 nodes with 8 GPUs each",
        "four on 1 node with 4 GPUs",
    ]
    assert JobArray(1, 0, ("a",), None).words == "a on 1 node with no GPU"
    assert JobArray(2, 1, ("a",), None).words == "a on 2 nodes with 1 GPU each"


def test_the_points_of_a_sweep_are_one_task(tmp_path: Path) -> None:
    points = of_text(tmp_path, "swept", "sweep:\n  load.concurrency: [1, 2]\n", count=8)
    path = tmp_path / "swept.yaml"
    assert arrays_of(points, {}, run_once=True)[0].profiles == ("swept",)
    assert arrays_of(points, {path: ["swept.*"]}, run_once=True)[0].profiles == (
        "swept.concurrency-1,swept.concurrency-2",
    )
    one = arrays_of(points[:1], {}, run_once=True)[0].limit_s
    both = arrays_of(points, {}, run_once=True)[0].limit_s
    assert one is not None
    assert both is not None
    assert both > one > 0


def test_the_time_limit_is_that_of_pytest_or_unknown(tmp_path: Path) -> None:
    (known,) = of_text(tmp_path, "known", count=8)
    (array,) = arrays_of([known], {}, run_once=True)
    assert array.limit_s == 3600 + run_timeout_s(known.scenario)
    assert arrays_of([known], {}, run_once=False)[0].limit_s is None
    (without,) = of_text(tmp_path, "unknown", count=8)
    unknown = without.scenario.model_copy(update={"targets": []})
    without = replace(without, scenario=unknown)
    assert arrays_of([without], {}, run_once=True)[0].limit_s is None
    assert arrays_of([known, without], {}, run_once=True)[0].limit_s is None


def test_the_script() -> None:
    array = JobArray(2, 8, ("a", "b.concurrency-1,b.concurrency-2"), 600)
    site = ["--partition=batch", "--comment=it's here"]
    words = ["--dsr1-set=load.concurrency=$(x)", "-k", "a or b"]
    assert (
        script(array, site, RESULTS, words)
        == f"""\
#!/bin/sh
#SBATCH --job-name=dsr1
#SBATCH --no-requeue
#SBATCH --signal=B:TERM@120
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=10
#SBATCH --partition=batch
#SBATCH '--comment=it'"'"'s here'
#SBATCH --nodes=2
#SBATCH --array=0-1
#SBATCH --output=/srv/100%%/.dsr1/slurm-%A_%a.log
case $SLURM_ARRAY_TASK_ID in
  0) profile=a ;;
  1) profile=b.concurrency-1,b.concurrency-2 ;;
esac
exec {sys.executable} -m pytest '--dsr1-set=load.concurrency=$(x)' -k 'a or b' --dsr1-profile="$profile" \
--dsr1-results=/srv/100%/.dsr1/slurm-"$SLURM_ARRAY_JOB_ID"
"""
    )


def test_the_shell_starts_pytest_with_these_words(tmp_path: Path) -> None:
    words = ["$(touch no)", "a b", "it's", '"', "\\", "*", "\n"]
    text = script(JobArray(1, 8, ("a", "b"), None), [], tmp_path / "my results", words)
    program = "import sys; print(sys.argv[1:])"
    text = text.replace("-m pytest", f"-c '{program}'")
    variables = {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_JOB_ID": "4711"}
    done = subprocess.run(
        ["sh"], input=text, env=variables, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    results = f"--dsr1-results={tmp_path}/my results/slurm-4711"
    assert done.stdout == f"{[*words, '--dsr1-profile=b', results]}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/a\n#SBATCH --wrap", "/a\\b"])
def test_a_path_is_as_sbatch_reads_it(path: str) -> None:
    """With a backslash in it, Slurm 22.05 opens another file, and the job fails without a log."""
    with pytest.raises(UserError) as caught:
        script(JobArray(1, 8, ("a",), None), [], Path(path), [])
    assert str(caught.value) == (
        f"--dsr1-results: expected a path on one line, without a backslash, found {path!r}"
    )
