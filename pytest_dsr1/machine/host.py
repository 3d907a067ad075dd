"""Facts about the host from the operating system: limits, container, boot id, processor."""

from __future__ import annotations

import os
import platform
import pwd
import resource
import socket
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path

ROOT = Path("/")
GIB = 1024**3
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the host's own pid namespace: PROC_PID_INIT_INO in Linux's include/linux/proc_ns.h."""


def _text(path: str) -> str:
    try:
        return (ROOT / path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def boot_id() -> str:
    """Return an id that changes with every boot; empty if there is none."""
    return _text("proc/sys/kernel/random/boot_id").strip()


def in_container() -> bool:
    """Return whether this is a Docker, Podman, Kubernetes or LXC container."""
    if (ROOT / ".dockerenv").exists() or (ROOT / "run/.containerenv").exists():
        return True
    names = ("docker", "kubepods", "containerd", "libpod", "lxc")
    return any(name in _text("proc/1/cgroup") for name in names)


def is_mounted(folder: Path) -> bool:
    """Return whether the folder, or a parent other than the root, is a mount, which outlives a container."""
    # Fifth field of /proc/self/mountinfo, where a space is written \\040: proc(5).
    mounts = {line.split()[4].replace("\\040", " ") for line in _text("proc/self/mountinfo").splitlines()}
    return any(str(each) in mounts for each in (folder, *folder.parents) if each != Path("/"))


def pids_are_the_hosts() -> bool:
    """Return whether this is the host's pid namespace, whose process ids the driver reports."""
    try:
        return (ROOT / "proc/self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def free_port(_node: int = 0) -> int:
    """Return a port that no process of this machine listens at now, at any address."""
    with socket.socket() as sock:
        sock.bind(("", 0))
        port: int = sock.getsockname()[1]
        return port


def homes_in_use() -> Iterator[Path]:
    """Yield the home folder of each user who has a process here."""
    users = set()
    for folder in (ROOT / "proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has just ended
            users.add(folder.stat().st_uid)
    for user in sorted(users):
        with suppress(KeyError):  # a container's user may have no name
            yield Path(pwd.getpwuid(user).pw_dir)


def home_of(user: str) -> Path | None:
    """Return the home folder of a user; None if no user has this name."""
    try:
        return Path(pwd.getpwnam(user).pw_dir)
    except (KeyError, ValueError):
        return None


def shm_gib() -> float | None:
    """Return the size of /dev/shm in GiB; None if there is none."""
    try:
        stat = os.statvfs(ROOT / "dev/shm")
    except OSError:
        return None
    return stat.f_blocks * stat.f_frsize / GIB


def memlock_bytes() -> int | None:
    """Return the limit of locked memory in bytes; None if unlimited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def free_bytes(folder: Path) -> int | None:
    """Return the bytes a user can still write in the folder, or in its nearest existing parent."""
    found = existing(folder)
    if found is None:
        return None
    stat = os.statvfs(found)
    return stat.f_bavail * stat.f_frsize


def existing(folder: Path) -> Path | None:
    """Return the folder, or its nearest parent that exists."""
    return next((each for each in (folder.absolute(), *folder.absolute().parents) if each.exists()), None)


def cpu_governors() -> Mapping[str, int]:
    """Return the number of CPUs by frequency governor; empty without any, as in a virtual machine."""
    files = (ROOT / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    names = (_text(str(path.relative_to(ROOT))).strip() for path in files)
    return Counter(name for name in names if name)


def cpu_model() -> str:
    """Return the processor's name."""
    for line in _text("proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.processor() or platform.machine()


def container_image(environ: Mapping[str, str]) -> str | None:
    """Return the container's image, if it or the scheduler names it in the environment."""
    if environ.get("NVIDIA_PRODUCT_NAME") and environ.get("NVIDIA_BUILD_ID"):
        return f"{environ['NVIDIA_PRODUCT_NAME']} build {environ['NVIDIA_BUILD_ID']}"
    named = ("CI_JOB_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
    return next((environ[name] for name in named if environ.get(name)), None)


def installed_version(package: str) -> str | None:
    """Return a distribution's version from its metadata, without importing it; None if it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
