from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.errors import EngineError
from pytest_dsr1.process import child as child_module
from pytest_dsr1.process.child import Child, Line, LineSplitter
from tests.helpers.waiting import gone, wait_until_gone


def python(source: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-c", textwrap.dedent(source), *arguments]


# Starts a worker that double-forks and leaves the session, prints its id, and ends or stays.
WORKER = """
import os, signal, sys, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        if "stubborn" in sys.argv:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.write(write, str(os.getpid()).encode())
        time.sleep(600)
    os._exit(0)
os.wait()
print("worker", os.read(read, 20).decode(), flush=True)
if "stay" in sys.argv:
    time.sleep(600)
"""


def started(tmp_path: Path, argv: list[str], **options: object) -> Child:
    return Child(argv, env=os.environ, cwd=tmp_path, log=tmp_path / "log", **options)  # type: ignore[arg-type]


def finish(child: Child) -> list[Line]:
    lines: list[Line] = []
    while more := child.read(30):
        lines += more
    return lines


def worker_of(child: Child) -> int:
    while True:
        for line in child.read(30):
            if line.text.startswith("worker "):
                return int(line.text.split()[1])


def descriptors() -> int:
    return psutil.Process().num_fds()


def test_output_is_merged_logged_and_read(tmp_path: Path) -> None:
    before = time.monotonic()
    with started(tmp_path, python("import os; os.write(1, b'one\\n'); os.write(2, b'two\\n')")) as child:
        lines = finish(child)
    assert [(line.kind, line.text) for line in lines] == [("log", "one"), ("log", "two")]
    assert before <= lines[0].time_s <= lines[1].time_s <= time.monotonic()
    assert (tmp_path / "log").read_text() == "one\ntwo\n"
    assert child.returncode == 0


def test_log_is_appended_to(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    with started(tmp_path, ["echo", "after"]) as child:
        finish(child)
    assert (tmp_path / "log").read_text() == "before\nafter\n"


def test_events_come_between_other_lines(tmp_path: Path) -> None:
    code = "import os; os.write(1, b'a prolog\\nno end\\x1e{}\\nlast\\x1e{'); os.write(2, b'text\\n')"
    with started(tmp_path, python(code), events=True) as child:
        lines = {(line.kind, line.text) for line in finish(child)}
    assert ("event", "{}") in lines
    logged = (tmp_path / "log").read_text()
    assert sorted(logged.replace("text\n", "", 1).split("\n")) == ["a prolog", "no endlast\x1e{"]
    assert {text for kind, text in lines if kind == "log"} == {*logged.rstrip().split("\n")}


def test_a_flood_next_to_events_costs_none_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_dsr1.process.line_budget.BURST", 100_000)
    monkeypatch.setattr("pytest_dsr1.process.line_budget.TAIL", 10_000)
    code = "for i in range(10_000): print(f'{\"x\" * 99}\\n\\x1e{i}')"
    with started(tmp_path, python(code), events=True) as child:
        lines = finish(child)
        assert child.unsearched is not None
    assert [line.text for line in lines if line.kind == "event"] == [str(i) for i in range(10_000)]


def test_without_events_they_are_lines(tmp_path: Path) -> None:
    with started(tmp_path, python("print('\\x1e{}')")) as child:
        assert [(line.kind, line.text) for line in finish(child)] == [("log", "\x1e{}")]


def test_only_standard_descriptors_are_passed_on(tmp_path: Path) -> None:
    with started(tmp_path, python("import os; print(len(os.listdir('/proc/self/fd')))")) as child:
        assert [line.text for line in finish(child)] == ["4"]  # three, and the one that lists


def test_returncode_is_none_while_running(tmp_path: Path) -> None:
    with started(tmp_path, ["sleep", "600"]) as child:
        assert child.returncode is None
        assert child.read(0) == []
        child.stop()
        assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(3)", 3),
        ("import os; os.kill(os.getpid(), 9)", -9),
        ("raise SystemExit(137)", 137),
    ],
)
def test_exit_status_and_signal_are_told_apart(tmp_path: Path, code: str, expected: int) -> None:
    with started(tmp_path, python(code)) as child:
        finish(child)
        assert child.returncode == expected


def test_command_not_found(tmp_path: Path) -> None:
    with started(tmp_path, ["no-such-program", "x"]) as child:
        assert [line.text for line in finish(child)] == [
            "cannot start no-such-program: No such file or directory"
        ]
        assert child.returncode == 127


def test_command_not_executable(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text")
    with started(tmp_path, [str(tmp_path / "plain")]) as child:
        assert [line.text for line in finish(child)] == [
            f"cannot start {tmp_path / 'plain'}: Permission denied"
        ]
        assert child.returncode == 126


def test_missing_folder_is_an_error_that_leaks_nothing(tmp_path: Path) -> None:
    before = descriptors()
    child = Child(["true"], env=os.environ, cwd=tmp_path / "none", log=tmp_path / "log")
    with pytest.raises(FileNotFoundError):
        child.__enter__()
    assert descriptors() == before


def test_worker_is_gone_after_normal_end(tmp_path: Path) -> None:
    with started(tmp_path, python(WORKER)) as child:
        worker = worker_of(child)
        finish(child)
        assert child.returncode == 0
        assert gone(worker)


def test_stubborn_worker_is_gone_after_normal_end(tmp_path: Path) -> None:
    with started(tmp_path, python(WORKER, "stubborn"), grace_s=0.1) as child:
        worker = worker_of(child)
        finish(child)
        assert gone(worker)


@pytest.mark.parametrize("how", ["plain", "stubborn"])
def test_worker_is_gone_after_stop(tmp_path: Path, how: str) -> None:
    with started(tmp_path, python(WORKER, "stay", how)) as child:
        worker = worker_of(child)
        assert worker in child.descendants()
        assert os.getpid() not in child.descendants()
        child.stop(grace_s=0.1)
        assert gone(worker)
        assert child.returncode == -signal.SIGTERM


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_worker_is_gone_after_an_exception(tmp_path: Path, error: type[BaseException]) -> None:
    seen = []

    def run() -> None:
        with started(tmp_path, python(WORKER, "stay", "stubborn"), grace_s=0.1) as child:
            seen.append(worker_of(child))
            raise error

    with pytest.raises(error):
        run()
    assert gone(seen[0])


def test_impatience_while_stopping_kills_at_once(tmp_path: Path) -> None:
    with started(tmp_path, python(WORKER, "stay", "stubborn"), grace_s=0.1) as child:
        worker = worker_of(child)
        before = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            child.stop(grace_s=600)
        signal.signal(signal.SIGALRM, before)
        assert gone(worker)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_worker_is_gone_after_the_death_of_the_process_that_started_it(
    tmp_path: Path, number: signal.Signals
) -> None:
    code = """
        import os, sys
        from pathlib import Path
        from pytest_dsr1.process.child import Child
        folder = Path(sys.argv[1])
        with Child(sys.argv[2:], env=os.environ, cwd=folder, log=folder / "log", grace_s=0.1) as child:
            while True:
                for line in child.read(30):
                    print(line.text, *child.descendants(), flush=True)
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path), *python(WORKER, "stay", "stubborn")],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout
    with parent, parent.stdout:
        family = {int(pid) for pid in parent.stdout.readline().split()[1:]}
        parent.send_signal(number)
    assert len(family) >= 3  # the worker, the command, the supervisor
    wait_until_gone(*family)


def test_supervisor_killed_takes_the_command_with_it(tmp_path: Path) -> None:
    with started(
        tmp_path, python("import os, time; print(os.getppid(), os.getpid(), flush=True); time.sleep(600)")
    ) as child:
        supervisor, command = map(int, child.read(30)[0].text.split())
        os.kill(supervisor, signal.SIGKILL)
        finish(child)
        assert child.returncode == -signal.SIGKILL
        wait_until_gone(command)


def test_supervisor_asked_to_end_ends_all(tmp_path: Path) -> None:
    with started(tmp_path, python(WORKER, "stay")) as child:
        worker = worker_of(child)
        os.kill(child._process.pid, signal.SIGTERM)
        finish(child)
        assert child.returncode == -signal.SIGTERM
        assert gone(worker)


def test_unkillable_processes_are_named(tmp_path: Path) -> None:
    with started(tmp_path, ["true"]) as child:
        finish(child)
        child._report["left"] = "17 18"
        with pytest.raises(EngineError) as caught:
            child.stop()
        del child._report["left"]
    assert str(caught.value) == (
        "processes 17 18 of true survived SIGKILL, so they hang in the kernel (GPU driver?); "
        "look at dmesg, and reset the GPU or reboot before the next run"
    )


def test_full_disk_is_named_and_does_not_block_the_command(tmp_path: Path) -> None:
    child = Child(python("print('x' * 1000000)"), env=os.environ, cwd=tmp_path, log=Path("/dev/full"))
    with (
        child,
        pytest.raises(EngineError, match=r"^/dev/full: cannot write the log: No space left on device$"),
    ):
        finish(child)
    assert child.returncode in {0, -15}  # it was done, or ended by us after the error


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"a\r\nb\n\nc", ["a", "b", "c"]),
        (b"\r 10%|#   \r 20%|##  \n", [" 10%|#   ", " 20%|##  "]),
        (b"\xff\n", ["\ufffd"]),
        (b"", []),
    ],
)
def test_lines_are_cut(data: bytes, lines: list[str]) -> None:
    splitter = LineSplitter()
    assert splitter.feed(data) + splitter.end() == lines


def test_a_very_long_line_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "MAX_LINE", 4)
    splitter = LineSplitter()
    assert splitter.feed(b"abc") + splitter.feed(b"def") + splitter.feed(b"g\nhi\n") == ["abcd", "hi"]


@given(st.lists(st.text(alphabet="ab\r\n", max_size=6).map(str.encode), max_size=6))
def test_lines_do_not_depend_on_how_the_stream_is_chopped(chunks: list[bytes]) -> None:
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()
    assert lines == [text.decode() for text in re.split(b"[\r\n]", b"".join(chunks)) if text]


def test_commands_reach_the_child_until_they_end(tmp_path: Path) -> None:
    code = "import sys; print(*sys.stdin.read().split())"
    with started(tmp_path, python(code), commands=True) as child:
        child.send("measure")
        child.send("stop")
        child.end_commands()
        assert [line.text for line in finish(child)] == ["measure stop"]


def test_a_command_to_a_child_that_has_ended_is_lost(tmp_path: Path) -> None:
    with started(tmp_path, python(""), commands=True) as child:
        assert finish(child) == []
        child.send("measure")
        assert child.returncode == 0


def test_of_a_flood_the_start_and_the_end_are_read_and_the_rest_is_stated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dsr1.process.line_budget.BURST", 100_000)
    monkeypatch.setattr("pytest_dsr1.process.line_budget.TAIL", 10_000)
    code = "print('first'); [print('x' * 99) for _ in range(100_000)]; print('last')"
    with started(tmp_path, python(code)) as child:
        assert child.unsearched is None
        texts = [line.text for line in finish(child)]
        assert child.unsearched is not None
        assert re.fullmatch(
            r"the log grew faster than 1 MB/s, so \d\.\d MB in its middle were not searched for progress "
            r"or causes",
            child.unsearched,
        )
    assert (texts[0], texts[-1]) == ("first", "last")
    assert len(texts) < 50_000
    assert set(texts[1:-1]) == {"x" * 99}
    assert (tmp_path / "log").stat().st_size == len("first\nlast\n") + 100 * 100_000


def test_a_part_of_the_log_is_copied(tmp_path: Path) -> None:
    code = "print('one', flush=True); open('go').read(); print('two', flush=True)"
    os.mkfifo(tmp_path / "go")
    with started(tmp_path, python(code)) as child:
        assert child.read(30)[0].text == "one"
        position = child.logged
        (tmp_path / "go").write_text("")
        finish(child)
        child.copy_log(position, tmp_path / "part")
    assert (tmp_path / "part").read_text() == "two\n"


def test_the_secrets_of_a_command_are_not_in_its_output(tmp_path: Path) -> None:
    program = """
    import os, sys
    print("token", os.environ["MY_TOKEN"][:5], end="", flush=True)
    print(os.environ["MY_TOKEN"][5:], sys.argv[2], os.environ["PROXY"], os.environ["MODE"])
    token = os.environ["MY_TOKEN"].encode()
    os.write(1, bytes([31, *token[:5], 10, 30, *token[5:], 10]))
    """
    env = {
        **os.environ,
        "MY_TOKEN": "planted-token",
        "PROXY": "http://me:planted-pass@proxy:80",
        "MODE": "throughput",
    }
    argv = python(program, "--api-key", "planted-word")
    with Child(argv, env=env, cwd=tmp_path, log=tmp_path / "log", events=True) as child:
        lines = finish(child)
    log = "token ${MY_TOKEN} ${API_KEY} http://${PROXY}@proxy:80 throughput"
    assert {line.kind: line.text for line in lines} == {"log": log, "event": "${MY_TOKEN}"}
    assert (tmp_path / "log").read_text() == f"{log}\n"
