"""A node of a Slurm cluster of the tests: its own host name, its own GPUs, and a slurmd."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from pytest_dsr1.storage.filelock import is_held
from tests.helpers.waiting import wait_until_gone
from tests.standins.nvml.control import FakeMachine

_IN_THE_NAMESPACE = 'hostname "$1" && exec slurmd -D -N "$1" -f "$2"'
_BETWEEN_STARTS_S = 86_400
SET_UP = [("1", "700000", "4", "none")] * 8
PUT_BACK = [("1", "700000", "0", "none")] * 8
"""The settings of a node's GPUs during a run of the tests, and after it."""
PATIENCE_S = 30.0
"""How long a daemon may take to end before it is killed."""


class Node:
    """One node. What runs there is in its UTS namespace, also what has left its parent and its session.

    It is also in a time namespace: each node's monotonic clock is ahead of ours by ``ahead_s``, as machines
    that were started at different times.

    Args:
        name: of the node, which is also its host name.
        number: of the node in its cluster, from 1; the UUIDs of its GPUs end with it.
        root: the cluster's folder.
        config: the cluster's slurm.conf.
        library: the folder of the stand-in NVML.
        gpus: how many GPUs it has.
    """

    def __init__(self, name: str, number: int, root: Path, config: Path, library: Path, gpus: int) -> None:
        self.name = name
        self.ahead_s = (number - 1) * _BETWEEN_STARTS_S
        self.folder = root / "nodes" / name
        self._root = root
        self._config = config
        self._library = library
        self._uuids = [f"GPU-{gpu:08x}-0000-4000-8000-{number:012x}" for gpu in range(gpus)]
        self._daemon: subprocess.Popen[bytes] | None = None
        self._namespaces: dict[str, int] = {}
        self.renew()

    def renew(self) -> None:
        """Put new, healthy GPUs into the node, without locks and journals of runs."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.machine = FakeMachine(self._library, self.folder, len(self._uuids))
        for gpu, uuid in enumerate(self._uuids):
            self.machine.set_gpu(gpu, uuid=uuid)
        own = {name: value for name, value in self.machine.environ({}).items() if name.startswith("DSR1_")}
        self.exports.write_text("".join(f"export {name}={value}\n" for name, value in own.items()))

    @property
    def exports(self) -> Path:
        """What the TaskProlog prints on this node: the variables of each task here."""
        return self.folder / "exports"

    @property
    def locks(self) -> list[int]:
        """The GPUs that a run holds."""
        folder = self.machine.state_dir
        return [gpu for gpu, uuid in enumerate(self._uuids) if is_held(folder, uuid)]

    @property
    def journals(self) -> list[str]:
        """The names of the files with settings that are to be put back."""
        return sorted(path.name for path in self.machine.state_dir.glob("*.journal.json"))

    @property
    def slurmd(self) -> subprocess.Popen[bytes]:
        """The daemon, in the foreground; ``slurmd.kill()`` is the node's sudden end."""
        assert self._daemon is not None
        return self._daemon

    def start(self) -> None:
        """Start slurmd, in the namespaces that the node has or in new ones."""
        enter = ["unshare", "--uts", "--time", "--monotonic", str(self.ahead_s)]
        if self._namespaces:
            held = self._namespaces.items()
            enter = ["nsenter", *(f"--{kind}=/proc/{os.getpid()}/fd/{file}" for kind, file in held)]
        command = [*enter, "sh", "-c", _IN_THE_NAMESPACE, "sh", self.name, str(self._config)]
        self._daemon = started(command, self._config, self._root / "log" / "daemons")

    def hold(self) -> None:
        """Keep the namespaces of the node's running slurmd, so that no others can get their numbers."""
        if not self._namespaces:
            of_slurmd = {"uts": "uts", "time": "time_for_children"}
            for kind, name in of_slurmd.items():
                self._namespaces[kind] = os.open(f"/proc/{self.slurmd.pid}/ns/{name}", os.O_RDONLY)

    def processes(self) -> list[psutil.Process]:
        """Return all processes on this node but slurmd: Slurm's own of a running step, and those of jobs."""
        return [process for process in self._inside() if process.pid != self.slurmd.pid]

    def _inside(self) -> Iterator[psutil.Process]:
        if not self._namespaces:
            return
        ours = os.fstat(self._namespaces["uts"]).st_ino
        for process in psutil.process_iter():
            try:
                if os.stat(f"/proc/{process.pid}/ns/uts").st_ino == ours:  # noqa: PTH116
                    yield process
            except OSError:  # it has ended
                continue

    def end(self) -> None:
        """End slurmd, and kill what else is left on the node."""
        if self._daemon is not None:
            end(self._daemon)
        while left := list(self._inside()):
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            wait_until_gone(*(process.pid for process in left))
        while self._namespaces:
            os.close(self._namespaces.popitem()[1])


def started(command: list[str], config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Return a daemon of a cluster, in the foreground; a Ctrl-C in the terminal does not reach it."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "SLURM_CONF": str(config)},
            start_new_session=True,
        )


def end(daemon: subprocess.Popen[bytes]) -> None:
    """End a daemon, at last by force."""
    daemon.terminate()
    try:
        daemon.wait(PATIENCE_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def assert_put_back(*nodes: Node, gpus: Sequence[int] = (8, 8)) -> None:
    """Nothing is left of a run that has set up this number of GPUs on each node."""
    for node, count in zip(nodes, gpus, strict=True):
        assert f"boost-slider -i {count - 1} --vboost 4" in node.machine.commands()
        assert f"boost-slider -i {count} --vboost" not in node.machine.commands()
        assert node.machine.settings() == PUT_BACK
        assert (node.journals, node.locks, node.processes()) == ([], [], [])
