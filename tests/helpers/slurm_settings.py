"""The configuration of a Slurm cluster of the tests, on this machine alone."""

from __future__ import annotations

import os
import random
import secrets
import socket
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

FREEZER = Path("/sys/fs/cgroup/freezer")
_PORTS = range(20_000, 32_000)
"""Below those that the kernel gives to outgoing connections (net.ipv4.ip_local_port_range)."""
_NULL = os.makedev(1, 3)

# munged has a socket of its own; plain names of devices are refused; each node has its own TmpFS, because
# PMIx's files of two nodes collide. With config_overrides a node may have more processors than the machine.
_SLURM = """\
ClusterName=dsr1
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge/socket
CredType=cred/munge
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/pid/slurmctld
SlurmdPidFile={root}/pid/%n
SlurmctldLogFile={root}/log/slurmctld
SlurmdLogFile={root}/log/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/cgroup
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MailProg=/bin/true
TaskProlog={root}/task-prolog
TmpFS={root}/spool/%n
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=60
SlurmctldTimeout=20
InactiveLimit=0
KillWait=10
MinJobAge=600
SchedulerParameters=sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
GresTypes=gpu
PartitionName=DEFAULT Nodes={names} MaxTime=60 State=UP OverSubscribe=NO
PartitionName=batch Default=YES PriorityTier=1 GraceTime=2
PartitionName=urgent PriorityTier=9 PreemptMode=OFF
"""
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=16 RealMemory=4000 "
    "Gres=gpu:h200:{gpus} State=UNKNOWN\n"
)
_CGROUP = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\n"


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which nobody listens."""
    found = []
    with ExitStack() as held:
        for port in random.sample(_PORTS, len(_PORTS)):
            try:
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            found.append(port)
            if len(found) == count:
                return found
    raise OSError(f"this machine has no {count} free ports")


def has_freezer() -> bool:
    """Return whether Slurm can find a step's processes by cgroup; without, it misses those of other parents.

    The plugin for cgroup v2 is not used: it refuses machines that also have v1.
    """
    probe = FREEZER / f"dsr1-{secrets.token_hex(4)}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def remove_cgroups(node: str) -> None:
    """Remove the cgroups that slurmd has made for the steps of a node."""
    top = FREEZER / f"slurm_{node}"
    for folder in sorted((path for path in (top, *top.rglob("*")) if path.is_dir()), reverse=True):
        folder.rmdir()


def write(root: Path, names: Sequence[str], ports: Sequence[int], gpus: int) -> Path:
    """Write all that the daemons read; return slurm.conf.

    Args:
        root: the cluster's folder.
        names: of the nodes.
        ports: of slurmctld, then of each node.
        gpus: how many GPUs each node has.
    """
    for name in ("pid", "log", "state", "munge", "dev", "spool"):
        (root / name).mkdir()
    key = root / "munge" / "key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    for gpu in range(gpus):
        os.mknod(root / "dev" / f"nvidia{gpu}", stat.S_IFCHR | 0o600, _NULL)
    prolog = root / "task-prolog"
    prolog.write_text(f'#!/bin/sh\nexec cat "{root}/nodes/$SLURMD_NODENAME/exports"\n')
    prolog.chmod(0o755)
    (root / "gres.conf").write_text(f"Name=gpu Type=h200 File={root}/dev/nvidia[0-{gpus - 1}]\n")
    (root / "cgroup.conf").write_text(_CGROUP)
    host = socket.gethostname().partition(".")[0]
    head = _SLURM.format(host=host, port=ports[0], root=root, names=",".join(names))
    nodes = "".join(
        _NODE.format(name=name, host=host, port=port, gpus=gpus)
        for name, port in zip(names, ports[1:], strict=True)
    )
    config = root / "slurm.conf"
    before, partitions, rest = head.partition("PartitionName")
    config.write_text(f"{before}{nodes}{partitions}{rest}")
    return config
