from __future__ import annotations

import os
import pwd
import resource
from pathlib import Path

import pytest

from pytest_dsr1.machine import host


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty file system instead of /."""
    monkeypatch.setattr(host, "ROOT", tmp_path)
    return tmp_path


def put(root: Path, place: str, text: str = "") -> None:
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    (root / place).write_text(text)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("proc/1/cgroup", "12:cpu:/docker/0123\n"),
        ("proc/1/cgroup", "0::/kubepods.slice/pod\n"),
    ],
)
def test_containers_are_known(root: Path, place: str, text: str) -> None:
    assert not host.in_container()
    put(root, place, text)
    assert host.in_container()


def test_a_host_is_not_a_container(root: Path) -> None:
    put(root, "proc/1/cgroup", "0::/init.scope\n")
    assert not host.in_container()


@pytest.mark.parametrize(
    ("mount", "mounted"),
    [("/var/lib/pytest-dsr1", True), ("/var/lib", True), ("/", False), ("/var/lib/other", False)],
)
def test_mounts_at_or_above_a_folder(root: Path, mount: str, mounted: bool) -> None:
    put(root, "proc/self/mountinfo", f"36 35 98:0 /mnt {mount} rw,noatime - ext3 /dev/root rw\n")
    assert host.is_mounted(Path("/var/lib/pytest-dsr1")) == mounted


def test_a_mount_with_a_blank_in_its_name(root: Path) -> None:
    put(root, "proc/self/mountinfo", "36 35 98:0 / /my\\040disk rw - ext3 /dev/root rw\n")
    assert host.is_mounted(Path("/my disk/state"))


def test_the_boot_id_and_the_processor(root: Path) -> None:
    assert host.boot_id() == ""
    assert host.cpu_model() != ""
    put(root, "proc/sys/kernel/random/boot_id", "6f1c\n")
    put(root, "proc/cpuinfo", "processor\t: 0\nmodel name\t: INTEL(R) XEON(R) PLATINUM 8570\n")
    assert host.boot_id() == "6f1c"
    assert host.cpu_model() == "INTEL(R) XEON(R) PLATINUM 8570"


def test_without_proc_pids_are_not_the_hosts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not host.pids_are_the_hosts()
    put(root, "proc/self/ns/pid")
    monkeypatch.setattr(host, "INITIAL_PID_NAMESPACE", (root / "proc/self/ns/pid").stat().st_ino)
    assert host.pids_are_the_hosts()


def test_shared_memory(root: Path) -> None:
    assert host.shm_gib() is None
    (root / "dev/shm").mkdir(parents=True)
    assert (host.shm_gib() or 0) > 0


@pytest.mark.parametrize(("soft", "limit"), [(65536, 65536), (resource.RLIM_INFINITY, None)])
def test_locked_memory(monkeypatch: pytest.MonkeyPatch, soft: int, limit: int | None) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert host.memlock_bytes() == limit


def test_free_space_of_a_folder_to_come(tmp_path: Path) -> None:
    assert (host.free_bytes(tmp_path / "a" / "b") or 0) > 0


@pytest.mark.parametrize(
    ("environ", "image"),
    [
        ({}, None),
        ({"NVIDIA_PRODUCT_NAME": "TensorRT-LLM", "NVIDIA_BUILD_ID": "1234"}, "TensorRT-LLM build 1234"),
        (
            {"CI_JOB_IMAGE": "registry.example/nvidia/tensorrt-llm/release:1.2.0"},
            "registry.example/nvidia/tensorrt-llm/release:1.2.0",
        ),
        ({"SINGULARITY_CONTAINER": "/images/trtllm.sif"}, "/images/trtllm.sif"),
    ],
)
def test_the_containers_image(environ: dict[str, str], image: str | None) -> None:
    assert host.container_image(environ) == image


def test_a_package_that_is_not_installed_has_no_version() -> None:
    assert host.installed_version("no-such-package-anywhere") is None


def test_the_homes_of_users_with_a_process(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    mine = Path(pwd.getpwuid(os.getuid()).pw_dir)
    assert list(host.homes_in_use()) == []
    put(root, "proc/17/status", "")
    put(root, "proc/meminfo", "")
    assert list(host.homes_in_use()) == [mine]

    def nameless(_: int) -> object:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", nameless)
    assert list(host.homes_in_use()) == []


def test_the_home_of_a_user() -> None:
    assert host.home_of("root") == Path("/root")
    for unknown in ("", "no-such-user", "a\0b"):
        assert host.home_of(unknown) is None
