"""The child program of the probes, on processors: a copy of memory, and an all-reduce with gloo."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.probe import all_reduce, measure
from pytest_dsr1.machine.probe.run import COMMAND, probe
from pytest_dsr1.machine.probe.values import KINDS, expected
from pytest_dsr1.process.worker import Events
from tests.helpers.paths import ROOT
from tests.standins.nvml.control import FakeMachine


@pytest.mark.needs("torch")
def test_the_processors_are_measured(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = probe((), environ, tmp_path / "probe.log", command=[*COMMAND, "cpu"])
    names = ["memory_bandwidth_gb_s", "all_reduce_64kib_us", "all_reduce_256mib_gb_s"]
    assert [one.name for one in done.probes] == names, (tmp_path / "probe.log").read_text()
    assert [one.gpus for one in done.probes] == [((0,),), ((0, 1),), ((0, 1),)]


@pytest.mark.needs("torch")
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = probe((GpuReading(0, "GPU-gone", "NVIDIA H200"),), environ, tmp_path / "probe.log")
    assert done.probes == ()
    (sentence,) = done.not_probed
    assert sentence.startswith("not probed: torch ")
    assert sentence.endswith(" finds no GPU")


def test_without_torch_nothing_is_measured(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.13: cannot open')")
    environ = {**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}
    done = probe((), environ, tmp_path / "probe.log")
    assert done.not_probed == (
        f"not probed: torch cannot be imported in {sys.executable}: libcudart.so.13: cannot open",
    )


def test_the_program_needs_little(tmp_path: Path) -> None:
    """A machine that lends its GPUs for a probe may have nothing else than torch."""
    program = "import sys, pytest_dsr1.machine.probe.measure; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"torch", "numpy", "pydantic", "pynvml", "yaml", "pytest"} & {*done.stdout.split()}


def sent(group: Any, names: list[str]) -> list[dict[str, Any]]:
    stream = io.StringIO()
    measure.report(Events(stream), names, group)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_group_that_fails_keeps_what_it_had() -> None:
    def half() -> Iterator[measure.Result]:
        yield "fp8_tflops", [1.0], [[0]]
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB.\nmore")

    first, last = sent(half, ["fp8_tflops", "fp8_sm_clock_mhz"])
    assert (first["event"], first["name"], first["values"], first["gpus"]) == (
        "probe",
        "fp8_tflops",
        [1.0],
        [[0]],
    )
    assert (last["names"], last["why"]) == (
        ["fp8_sm_clock_mhz"],
        "CUDA out of memory. Tried to allocate 1 GiB.",
    )


def test_an_error_without_words_has_its_name() -> None:
    def fails() -> Iterator[measure.Result]:
        yield from ()
        raise MemoryError

    (only,) = sent(fails, ["fp8_tflops"])
    assert only["why"] == "MemoryError"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_groups_measure_what_is_expected(count: int) -> None:
    names = [name for names, _ in measure.groups(count, [None] * count) for name in names]
    assert names == list(expected(count))
    assert len(names) <= len(KINDS)


def test_a_rank_that_fails_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise RuntimeError('no network interface\\nmore')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    with pytest.raises(RuntimeError, match=r"^rank \d of gloo: no network interface$"):
        list(measure.reduced(2, "gloo"))


def test_a_rank_that_is_killed_says_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    with pytest.raises(RuntimeError, match=r"^a process of gloo ended without a result$"):
        list(measure.reduced(2, "gloo"))


def test_ranks_that_hang_are_stopped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import time; time.sleep(600)")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setattr(measure, "RANKS_S", 0.1)
    with pytest.raises(RuntimeError, match=r"^gloo did not end within 0.1 s and was stopped$"):
        list(measure.reduced(2, "gloo"))


def test_clocks_are_read_by_uuid(two: FakeMachine) -> None:
    two.set_gpu(1, sm_clock=1500)
    with measure.handles([two.uuid(1), "GPU-gone", two.uuid(0)]) as gpus:
        assert [gpu and gpu.index for gpu in gpus] == [1, None, 0]
        assert measure._read(gpus, lambda gpu: gpu.sm_clock_mhz()) == [1500, None, 1980]
        assert measure._read(gpus, lambda _: 1 / 0) == [None, None, None]


def test_without_nvml_no_clock_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModuleNotFoundError("No module named 'pynvml'")

    monkeypatch.setattr(nvml, "opened", missing)
    with measure.handles(["GPU-0"]) as gpus:
        assert gpus == [None]


def test_the_sizes_are_probes() -> None:
    assert {*all_reduce.SIZES} == {name for name in KINDS if name.startswith("all_reduce")}
