from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.process import kept_log as module
from pytest_dsr1.process.kept_log import KeptLog


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_BYTES", 100)
    monkeypatch.setattr(module, "TAIL_BYTES", 200)


def written(path: Path, count: int) -> KeptLog:
    log = KeptLog(path)
    for number in range(count):
        log.write(f"line {number:04}\n".encode())
    return log


@pytest.mark.usefixtures("small")
def test_a_long_log_keeps_its_start_and_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    written(path, 1000).close()
    text = path.read_text()
    assert len(text) < 100 + 2 * 200 + 100
    assert text.startswith("".join(f"line {n:04}\n" for n in range(10)))
    assert text.endswith("".join(f"line {n:04}\n" for n in range(985, 1000)))
    [mark] = [line for line in text.splitlines() if line.startswith("[pytest-dsr1 left out ")]
    left_out = int(mark.split()[3].replace(",", ""))
    assert left_out == 10_000 - len(text.replace(f"\n{mark}\n", ""))


@pytest.mark.usefixtures("small")
def test_the_part_of_a_measurement_is_copied_although_the_middle_is_gone(tmp_path: Path) -> None:
    log = written(tmp_path / "log", 990)
    position = log.position
    for number in range(990, 1000):
        log.write(f"line {number:04}\n".encode())
    log.copy_from(position, tmp_path / "part")
    assert (tmp_path / "part").read_text() == "".join(f"line {n:04}\n" for n in range(990, 1000))
    log.close()
    log.copy_from(position, tmp_path / "part")
    assert (tmp_path / "part").read_text().endswith("line 0999\n")


def test_a_short_log_is_kept_whole_and_appended_to(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    log = written(tmp_path / "log", 2)
    log.copy_from(7, tmp_path / "part")
    log.close()
    assert (tmp_path / "log").read_text() == "before\nline 0000\nline 0001\n"
    assert (tmp_path / "part").read_text() == "line 0000\nline 0001\n"


def test_a_slow_disk_costs_lines_and_not_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAITING_BYTES", -1)
    log = written(tmp_path / "log", 3)
    monkeypatch.setattr(module, "_WAITING_BYTES", 1000)
    log.write(b"later\n")
    log.close()
    assert (tmp_path / "log").read_text() == "\n[pytest-dsr1 left out 30 bytes of the log here]\nlater\n"


def test_a_full_disk_is_an_error_and_not_a_wait() -> None:
    log = written(Path("/dev/full"), 3)
    log.close()
    assert log.error is not None
    assert log.error.strerror == "No space left on device"
