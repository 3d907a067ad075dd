"""The child program of the probes, on processors: a copy of memory, and an all-reduce with gloo."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.probe import all_reduce, measure
from pytest_dsr1.machine.probe.run import COMMAND, probe
from pytest_dsr1.machine.probe.values import KINDS, expected
from pytest_dsr1.process.worker import Events
from tests.helpers.events import events_in
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


FP8 = ["fp8_tflops", "fp8_sm_clock_mhz"]


def sent(group: Any, names: list[str]) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    measure.report(Events(stream), names, group)
    return events_in(stream.getvalue())


def test_a_group_that_fails_keeps_what_it_had() -> None:
    def half() -> Iterator[measure.Result]:
        yield "fp8_tflops", [1.0], [[0]]
        raise RuntimeError("CUDA out of memory. Tried to allocate 1 GiB.\nmore")

    begin, first, last = sent(half, ["fp8_tflops", "fp8_sm_clock_mhz"])
    assert (begin["event"], begin["names"], begin["limit_s"]) == (
        "begin",
        ["fp8_tflops", "fp8_sm_clock_mhz"],
        measure.GROUP_S,
    )
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


def test_processes_end_before_their_group_is_stopped() -> None:
    begin, _ = sent(lambda: iter([("all_reduce_64kib_us", [1.0], [[0, 1]])]), ["all_reduce_64kib_us"])
    assert begin["limit_s"] == measure.RANKS_S + measure.GROUP_S


def test_an_error_without_words_has_its_name() -> None:
    def fails() -> Iterator[measure.Result]:
        yield from ()
        raise MemoryError

    _, only = sent(fails, ["fp8_tflops"])
    assert only["why"] == "MemoryError"


@pytest.mark.parametrize("count", [1, 2, 8])
def test_the_groups_measure_what_is_expected(count: int) -> None:
    names = [name for names, _ in measure.groups(count, [None] * count) for name in names]
    assert names == list(expected(count))
    assert len(names) <= len(KINDS)


class Clocked:
    """A handle of NVML for a GPU at 1,500 MHz."""

    def sm_clock_mhz(self) -> int:
        return 1500

    def cpus(self) -> frozenset[int]:
        return frozenset({10_000})


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """A torch whose GPUs need 1 ms for anything; it shows only in which order things are done."""
    torch = MagicMock()
    torch.cuda.Event.return_value.elapsed_time.return_value = 1.0
    torch.cuda.Event.return_value.query.side_effect = cycle([False, False, False, True])
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setattr(measure, "ROUND_S", 0.003)
    monkeypatch.setattr(measure, "LOOK_S", 0.0)
    return torch


@pytest.mark.parametrize("count", [1, 3])
def test_each_group_gives_the_values_that_it_names(cuda: MagicMock, count: int) -> None:
    gpus: Any = [Clocked()] * count
    found: dict[str, tuple[Any, Any]] = {}
    for names, group in measure.groups(count, gpus):
        if not names[0].startswith("all_reduce"):
            results = list(group())
            assert [name for name, _, _ in results] == list(names)
            found |= {name: (list(values), [tuple(each) for each in of]) for name, values, of in results}
    each = [(gpu,) for gpu in range(count)]
    gib, quarter, product = 2**30, 2**28, 2 * 8192**3
    rates = {
        "memory_bandwidth_gb_s": 2 * gib / 1e-3 / 1e9,
        "memory_read_gb_s": gib / 1e-3 / 1e9,
        "host_to_gpu_gb_s": quarter / 1e-3 / 1e9,
        "gpu_to_host_gb_s": quarter / 1e-3 / 1e9,
        "bf16_tflops": product / 1e-3 / 1e12,
        "bf16_sm_clock_mhz": 1500,
    }
    for name, rate in rates.items():
        values, of = found[name]
        assert (values, of) == (pytest.approx([rate] * count), each), name
    if count == 3:
        values, of = found["peer_gb_s"]
        assert of == [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)]
        assert values == pytest.approx([quarter / 1e-3 / 1e9] * 6)
        together = [3 * quarter / 1e-3 / 1e9]
        assert found["peer_side_by_side_gb_s"] == (pytest.approx(together), [(0, 1, 2)])


def test_all_gpus_begin_before_one_goes_on(cuda: MagicMock) -> None:
    done: list[int] = []
    assert measure.timed(2, {gpu: partial(done.append, gpu) for gpu in range(3)}) == [1e-3] * 3
    assert done == [0, 1, 2, 0, 1, 2]


def test_a_product_is_measured_once_the_clock_has_settled(
    cuda: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([1.0, 1.0, 1.2, 1.3, 1.301, 1.4, 1.5, 1.6])
    monkeypatch.setattr(measure, "timed", lambda *_: [next(answers)])
    _, (rate,), _ = next(measure.matrices("bf16", 1, lambda: [1500]))
    assert rate == pytest.approx(2 * 8192**3 / 1.5 / 1e12)


def test_a_clock_that_does_not_settle_is_not_waited_for(
    cuda: MagicMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "SETTLE_S", 0.0)
    answers = iter([1.0, 2.0, 3.0, 4.0])
    monkeypatch.setattr(measure, "timed", lambda *_: [next(answers)])
    _, (rate,), _ = next(measure.matrices("fp8", 1, lambda: [1500]))
    assert rate == pytest.approx(2 * 8192**3 / 3.0 / 1e12)


def test_without_a_clock_there_is_still_a_rate(cuda: MagicMock) -> None:
    _, first, last = sent(lambda: measure.matrices("fp8", 1, lambda: [None]), FP8)
    assert first["name"] == "fp8_tflops"
    assert (last["names"], last["why"]) == (
        FP8[1:],
        "the SM clock cannot be read (it needs the package nvidia-ml-py)",
    )


def test_the_program_measures_group_by_group(
    cuda: MagicMock, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    cuda.cuda.device_count.return_value = 1
    cuda.cuda.get_device_properties.return_value.name = "NVIDIA H200"
    cuda.__version__, cuda.version.cuda = "2.11.0", "13.0"
    one = (["fp8_tflops"], lambda: iter([("fp8_tflops", [1250.0], [[0]])]))
    monkeypatch.setattr(measure, "groups", lambda *_: [one, (["bf16_tflops"], lambda: iter([1 / 0]))])
    assert measure.main([]) == 0
    software, begin, probe, other, missing = events_in(capfdbinary.readouterr().out)
    assert (begin["names"], other["names"]) == (["fp8_tflops"], ["bf16_tflops"])
    assert (software["torch"], software["cuda"], software["models"]) == ("2.11.0", "13.0", ["NVIDIA H200"])
    assert (probe["name"], probe["values"]) == ("fp8_tflops", [1250.0])
    assert (missing["names"], missing["why"]) == (["bf16_tflops"], "division by zero")
    assert cuda.cuda.empty_cache.call_count == 2
    assert measure.main(["fp8_tflops", "memory_read_gb_s"]) == 0
    _, begin, probe = events_in(capfdbinary.readouterr().out)
    assert (begin["names"], probe["name"]) == (["fp8_tflops"], "fp8_tflops")


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
