"""Commands of nvidia-smi: every change to a GPU is one of them, so that a user can repeat it.

NVML can set most of this too, but not vboost. An open NVML handle would also keep the driver from releasing
a GPU when persistence mode is turned off.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import GpuSetup

TIMEOUT_S = 120.0
NO_PERMISSION = 4
"""nvidia-smi's exit status if the user has no permission: nvidia-smi(1), RETURN VALUE."""

_SLIDER = re.compile(r"^\|\s*(\d+)\s+vboost\s+(\d+)\s+(\d+)\s*\|", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Command:
    """One change of one GPU.

    Attributes:
        gpu: the index of the GPU.
        what: the setting, such as ``vboost 4``.
        template: the arguments, with ``{gpu}`` for the index.
    """

    gpu: int
    what: str
    template: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        """The arguments with this GPU's index."""
        return [word.format(gpu=self.gpu) for word in self.template]


def persistence(gpu: int, on: bool) -> Command:
    """Switch persistence mode."""
    what = f"persistence mode {'on' if on else 'off'}"
    return Command(gpu, what, ("nvidia-smi", "-i", "{gpu}", "-pm", str(int(on))))


def power_limit(gpu: int, watts: float) -> Command:
    """Set the power limit."""
    return Command(gpu, f"power limit {watts:g} W", ("nvidia-smi", "-i", "{gpu}", "-pl", f"{watts:g}"))


def vboost(gpu: int, value: int) -> Command:
    """Move the boost slider."""
    template = ("nvidia-smi", "boost-slider", "-i", "{gpu}", "--vboost", str(value))
    return Command(gpu, f"vboost {value}", template)


def lock_clocks(gpu: int, mhz: int) -> Command:
    """Lock the SM clock."""
    return Command(gpu, f"SM clock {mhz} MHz", ("nvidia-smi", "-i", "{gpu}", "-lgc", f"{mhz},{mhz}"))


def reset_clocks(gpu: int) -> Command:
    """Remove a lock of the SM clock."""
    return Command(gpu, "unlocked SM clock", ("nvidia-smi", "-i", "{gpu}", "-rgc"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that failed. ``reason`` is nvidia-smi's message or ours."""

    command: Command
    reason: str
    permission: bool


def _output(arguments: list[str], environ: Mapping[str, str]) -> tuple[int, str]:
    """Return exit status and output.

    Raises:
        InvalidRunError: nvidia-smi is missing or does not return.
    """
    try:
        done = subprocess.run(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=dict(environ),
            timeout=TIMEOUT_S,
            check=False,
            # Ctrl-C must not interrupt a change; this process handles it.
            start_new_session=True,
        )
    except FileNotFoundError:
        raise InvalidRunError("nvidia-smi is not on PATH; it is part of NVIDIA's driver") from None
    except PermissionError as error:
        raise InvalidRunError(f"nvidia-smi cannot be run: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise InvalidRunError(
            f"`{' '.join(arguments)}` did not return within {TIMEOUT_S:g} s; the driver may hang (see: dmesg)"
        ) from None
    return done.returncode, done.stdout


def run(command: Command, environ: Mapping[str, str]) -> Refusal | None:
    """Make the change; return why, if it failed."""
    try:
        code, output = _output(command.arguments, environ)
    except InvalidRunError as error:
        return Refusal(command, str(error), permission=False)
    if code == 0:
        return None
    if code == NO_PERMISSION or "insufficient permission" in output.lower():
        return Refusal(command, "no permission", permission=True)
    reason = " ".join(output.split()) or f"nvidia-smi exit status {code}"
    return Refusal(command, reason, permission=False)


def read_vboost(environ: Mapping[str, str]) -> dict[int, int]:
    """Return the boost slider of each GPU by index; empty if the driver has none."""
    try:
        code, output = _output(["nvidia-smi", "boost-slider", "-l"], environ)
    except InvalidRunError:
        return {}
    return {int(gpu): int(now) for gpu, _, now in _SLIDER.findall(output)} if code == 0 else {}


def in_shell(commands: list[Command]) -> str:
    """Return shell commands that make these changes: one loop for each kind of change."""
    gpus: dict[tuple[str, ...], list[int]] = {}
    for command in commands:
        gpus.setdefault(command.template, []).append(command.gpu)
    lines = []
    for template, indices in gpus.items():
        if len(indices) == 1:
            lines.append(" ".join(template).format(gpu=indices[0]))
        else:
            body = " ".join(template).format(gpu="$i")
            lines.append(f"for i in {' '.join(map(str, indices))}; do {body}; done")
    return "; ".join(lines)


def shell_lines(wanted: GpuSetup, count: int) -> Iterator[str]:
    """Yield the published setup of the first ``count`` GPUs as shell lines, to run as root.

    They do not restore anything.
    """
    if lines := setup_lines(wanted, range(count)):
        yield "# GPU setup, as root; first note the settings: nvidia-smi -q, nvidia-smi boost-slider -l"
        yield from lines


def setup_lines(wanted: GpuSetup, gpus: Sequence[int]) -> list[str]:
    """Return the published setup of these GPUs, a shell line per setting."""
    changes = []
    if wanted.persistence:
        changes += [[persistence(gpu, on) for gpu in gpus] for on in (False, True)]
    if wanted.vboost is not None:
        changes.append([vboost(gpu, wanted.vboost) for gpu in gpus])
    if wanted.lock_sm_clock_mhz is not None:
        changes.append([lock_clocks(gpu, wanted.lock_sm_clock_mhz) for gpu in gpus])
    return list(map(in_shell, changes))
