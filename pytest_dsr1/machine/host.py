"""What the operating system says about the host: limits, container, boot id, processor."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

ROOT = Path("/")
GIB = 1024**3
INITIAL_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the host's own pid namespace: PROC_PID_INIT_INO in Linux's include/linux/proc_ns.h."""


def _text(place: str) -> str:
    try:
        return (ROOT / place).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def boot_id() -> str:
    """An id that changes with every boot; empty where there is none."""
    return _text("proc/sys/kernel/random/boot_id").strip()


def in_container() -> bool:
    """Whether this is a Docker, Podman, Kubernetes or LXC container."""
    if (ROOT / ".dockerenv").exists() or (ROOT / "run/.containerenv").exists():
        return True
    names = ("docker", "kubepods", "containerd", "libpod", "lxc")
    return any(name in _text("proc/1/cgroup") for name in names)


def is_mounted(folder: Path) -> bool:
    """Whether the folder, or one above it other than the root, is a mount: kept when a container ends."""
    # Fifth field of /proc/self/mountinfo, in which a blank is written \\040: proc(5).
    mounts = {line.split()[4].replace("\\040", " ") for line in _text("proc/self/mountinfo").splitlines()}
    return any(str(place) in mounts for place in (folder, *folder.parents) if place != Path("/"))


def pids_are_the_hosts() -> bool:
    """Whether process ids here are those that the driver reports: this is the host's pid namespace."""
    try:
        return (ROOT / "proc/self/ns/pid").stat().st_ino == INITIAL_PID_NAMESPACE
    except OSError:
        return False


def shm_gib() -> float | None:
    """The size of /dev/shm in GiB; None where there is none."""
    try:
        stat = os.statvfs(ROOT / "dev/shm")
    except OSError:
        return None
    return stat.f_blocks * stat.f_frsize / GIB


def memlock_bytes() -> int | None:
    """The limit of locked memory in bytes; None when it is unlimited."""
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return None if soft == resource.RLIM_INFINITY else soft


def free_bytes(folder: Path) -> int | None:
    """Bytes an ordinary user may still write in the folder, or in the nearest one that exists above it."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if place.exists():
            stat = os.statvfs(place)
            return stat.f_bavail * stat.f_frsize
    return None


def cpu_model() -> str:
    """The processor's name."""
    for line in _text("proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "Model"}:
            return value.strip()
    return platform.processor() or platform.machine()


def container_image(environ: Mapping[str, str]) -> str | None:
    """The container's image, where it or the scheduler names it in the environment."""
    if environ.get("NVIDIA_PRODUCT_NAME") and environ.get("NVIDIA_BUILD_ID"):
        return f"{environ['NVIDIA_PRODUCT_NAME']} build {environ['NVIDIA_BUILD_ID']}"
    named = ("CI_JOB_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
    return next((environ[name] for name in named if environ.get(name)), None)


def installed_version(package: str) -> str | None:
    """Return a distribution's version from its metadata, without importing it; None where it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
