"""Functions that build the stand-in NVML and nvidia-smi, and the machine that they show."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tests.standins.nvml import state

if TYPE_CHECKING:
    import pytest

    from tests.helpers.suites import Suites

HERE = Path(__file__).parent
GIB = 1024**3

H200: Mapping[str, object] = {
    "name": "NVIDIA H200",
    "memory_total": 143771 * 1024**2,
    "memory_used": 500 * 1024**2,
    "power_limit_mw": 700_000,
    "power_default_mw": 700_000,
    "power_enforced_mw": 700_000,
    "vbios": "96.00.A5.00.1A",
    "nvlink_mb_s": 26_562,
    "sm_clock_max": 1980,
    "memory_clock": 3201,
    "application_clock": 1980,
    "application_memory_clock": 3201,
}
"""The values of an idle H200 (driver 580: 143771 MiB, 3201 MHz memory clock, 1980 MHz boost clock)."""

B200: Mapping[str, object] = {
    **H200,
    "name": "NVIDIA B200",
    "memory_total": 183359 * 1024**2,
    "power_limit_mw": 1_000_000,
    "power_default_mw": 1_000_000,
    "power_enforced_mw": 1_000_000,
    "vbios": "97.00.88.00.0F",
    "nvlink_mb_s": 53_125,
    "power_profiles": 0,
    "sm_clock_max": 1965,
    "memory_clock": 3996,
    "application_clock": 1965,
    "application_memory_clock": 3996,
}

HEALTHY: Mapping[str, object] = {
    "mig": 0,
    "ecc": 1,
    "ecc_uncorrected": 0,
    "ecc_corrected": 0,
    "remapped_rows": 0,
    "remap_pending": 0,
    "remap_failure": 0,
    "nvlinks": 18,
    "nvlinks_down": 0,
    "fabric_state": 3,
    "fabric_status": 0,
    "fabric_health": 0xAA,
    **{f"nvlink_{kind}": 0 for kind in ("crc_flit", "crc_data", "replays", "recoveries")},
    "pcie_generation": 5,
    "pcie_generation_max": 5,
    "pcie_width": 16,
    "pcie_width_max": 16,
    "pcie_replays": 0,
    "cpus": "0xffffffffffffffff",
    "xids": "none",
    "processes": "none",
    "persistence": 1,
    "power_mw": 100_000,
    "power_instant_mw": 101_000,
    "power_average_mw": 99_000,
    "energy_mj": 5_000_000,
    "energy_step_mj": 10_000,
    "temperature": 40,
    "sm_clock": 1980,
    "utilization": 0,
    "throttle_reasons": "0x0",
    "vboost": 0,
    "locked": "none",
}


def build(folder: Path, *, old_driver: bool = False) -> Path:
    """Compile the library into a new folder with an nvidia-smi; return the folder.

    Raises:
        RuntimeError: there is no C compiler, or it rejects the source.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError(
            "The tests of the GPU code need a C compiler for their stand-in of NVIDIA's driver library, and "
            "`cc` is not on PATH. Install one, such as: apt-get install gcc libc6-dev"
        )
    folder.mkdir(parents=True)
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror"]
    command += ["-Wl,-soname,libnvidia-ml.so.1", "-o", str(folder / "libnvidia-ml.so.1")]
    command += ["-DOLD_DRIVER"] if old_driver else []
    done = subprocess.run([*command, str(HERE / "nvml.c")], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The stand-in libnvidia-ml.so.1 does not compile:\n{done.stderr}")
    program = folder / "nvidia-smi"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S -E "{HERE / "nvidia_smi.py"}" "$@"\n')
    program.chmod(0o755)
    return folder


def load(folder: Path) -> None:
    """Make the stand-in the NVML of this process; this cannot be undone.

    The loader finds a loaded library by its soname, so pynvml's `CDLL("libnvidia-ml.so.1")` gets this one.
    """
    ctypes.CDLL(str(folder / "libnvidia-ml.so.1"), mode=ctypes.RTLD_GLOBAL)


class FakeMachine:
    """One machine with GPUs, as the stand-ins show it.

    Args:
        library: the folder from `build`.
        folder: the folder for the state, the log and the plugin's own state folder.
        count: the number of GPUs.
        model: `H200` or `B200`.
    """

    def __init__(self, library: Path, folder: Path, count: int = 8, model: Mapping[str, object] = H200):
        self.library = library
        self.count = count
        self.state_file = folder / "machine.state"
        self.log_file = folder / "calls.log"
        self.state_dir = folder / "dsr1-state"
        with state.changing(self.state_file) as facts:
            facts.update({"driver": "580.95.05", "cuda": "13000", "count": str(count)})
            facts.update({f"gpus.{name}": str(value) for name, value in {**model, **HEALTHY}.items()})
            facts.update({f"gpu.{gpu}.uuid": self.uuid(gpu) for gpu in range(count)})

    @staticmethod
    def uuid(gpu: int) -> str:
        """Return the UUID of one GPU."""
        return f"GPU-{gpu:08x}-0000-4000-8000-00000000d5e1"

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """Return the environment in which a child process finds this machine."""
        return {
            **base,
            "PATH": f"{self.library}:{base.get('PATH', '')}",
            "LD_LIBRARY_PATH": str(self.library),
            "DSR1_NVML_STATE": str(self.state_file),
            "DSR1_NVML_LOG": str(self.log_file),
            "DSR1_STATE_DIR": str(self.state_dir),
        }

    def set(self, key: str, value: object) -> None:
        """Change a fact of the machine, such as `driver` or `gpu.3.error`."""
        with state.changing(self.state_file) as facts:
            facts[key] = str(value)

    def set_gpu(self, gpu: int, **facts: object) -> None:
        """Change facts of one GPU."""
        with state.changing(self.state_file) as known:
            known.update({f"gpu.{gpu}.{name}": str(value) for name, value in facts.items()})

    def set_all(self, **facts: object) -> None:
        """Change facts of every GPU."""
        with state.changing(self.state_file) as known:
            known.update({f"gpus.{name}": str(value) for name, value in facts.items()})

    def forget(self, key: str) -> None:
        """Make a fact unsupported."""
        with state.changing(self.state_file) as known:
            del known[key]

    def gpu(self, gpu: int, name: str) -> str:
        """Return the current value of a fact of one GPU."""
        return state.of_gpu(state.read(self.state_file), gpu, name)

    def settings(self) -> list[tuple[str, str, str, str]]:
        """Return per GPU persistence mode, power limit in mW, vboost and locked clocks."""
        names = ("persistence", "power_limit_mw", "vboost", "locked")
        return [tuple(self.gpu(gpu, name) for name in names) for gpu in range(self.count)]  # type: ignore[misc]

    def calls(self) -> list[str]:
        """Return every call so far, without the caller's pid: `nvmlShutdown -`, `nvidia-smi -i 0 -pm 1`."""
        if not self.log_file.exists():
            return []
        # One write is not atomic for a reader: at the end of a memory page, half a line can be seen.
        whole, _, _unfinished = self.log_file.read_text().rpartition("\n")
        return [line.split(" ", 1)[1] for line in whole.splitlines()]

    def commands(self) -> list[str]:
        """Return the arguments of every nvidia-smi run that changed something."""
        runs = [call.removeprefix("nvidia-smi ") for call in self.calls() if call.startswith("nvidia-smi ")]
        return [run for run in runs if run != "boost-slider -l"]


def plug_into(suites: Suites, monkeypatch: pytest.MonkeyPatch, count: int) -> FakeMachine:
    """Return a new machine below a folder of scenarios, in the environment of the runs there."""
    place = suites.pytester.mkdir("node")
    machine = FakeMachine(build(place / "driver"), place, count)
    for name, value in machine.environ(os.environ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return machine
