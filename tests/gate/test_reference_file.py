"""The file of references: what is written, what is refused, and that nothing can tear it."""

from __future__ import annotations

import errno
import fcntl
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError, NoReferenceError, ReferencesError
from pytest_dsr1.gate.reference_file import (
    accepted_probes,
    from_text,
    intact,
    load,
    locked,
    noise_of,
    path_of,
    read,
    to_text,
    write,
)
from pytest_dsr1.gate.references import Acceptance, ReferenceRun, References
from pytest_dsr1.machine.values import Conditions, FactValue
from pytest_dsr1.verdict.targets import Noise
from tests.helpers.killing import killed_in_a_program
from tests.helpers.reference_store import COMPARED, FACTS, NODE, NOW, OTHER_NODE, references, run
from tests.helpers.values import scenario

GIT = "`git log -p -- {0}` shows its history, `git checkout -- {0}` restores the committed file"
AGAIN = GIT + "; or delete it and accept again"

TEXT = """\
# Accepted reference runs, which `pytest --dsr1-gate` compares with. Written by
# `pytest-dsr1 references accept`; not to be edited: the last line is a checksum of all lines above it.
format: "pytest-dsr1 references"
version: 1
profile: "small"
metric: "total_output_throughput"
unit: "tok/s"
better: "higher"
requests: 4
warmup_requests: 2
accepted:
  at: "2025-03-24T11:00:00+00:00"
  by: "Ann"
  reason: "TensorRT-LLM 1.2.1"
  commit: "0123abc"
moved: {"gpu.vb*": true}
fixed:
  gpu.name: "NVIDIA H200"
under_test:
  gpu.vboost: 0
nodes:
  gpu-95a932d6: "GPU-a,GPU-b"
runs:
  - {at: "2025-03-14T12:00:00+00:00", node: "gpu-95a932d6", value: 8.0, se_percent: 0.12, window_s: 590.1, \
startup_s: 310.2, candidate: "run-0"}
"""


def test_what_is_only_shown_comes_back() -> None:
    """A file of an earlier version has none."""
    shown: dict[str, FactValue] = {"environment": ["NCCL_DEBUG=WARN"], "in_effect.tp": 8}
    found = references(1, shown=shown)
    text = to_text(found)
    assert 'shown:\n  environment: ["NCCL_DEBUG=WARN"]\n  in_effect.tp: 8\nnodes:' in text
    assert from_text(text, "small.yaml", "small").shown == shown
    assert from_text(to_text(references(1)), "small.yaml", "small").shown == {}


def test_the_text() -> None:
    facts = {"gpu.name": "NVIDIA H200", "gpu.vboost": 0}
    found = references(1, under_test={"gpu.vb*": True}, facts=facts)
    assert to_text(found) == f'{TEXT}sha256: "{sha256(TEXT.encode()).hexdigest()}"\n'


def test_the_text_shows_letters_of_any_language() -> None:
    text = to_text(references(1, accepted=Acceptance(NOW, "Zoë", "新しい版", None)))
    assert '  by: "Zoë"\n  reason: "新しい版"\n' in text


def test_what_the_gpus_did_is_in_the_line_of_the_run() -> None:
    """Files without it are read as before."""
    found = references(1, runs=(run(gpus=Conditions(1980.0, 612.5, 64, None)),))
    text = to_text(found)
    gpus = "{sm_clock_mhz: 1980.0, power_w: 612.5, temperature_c: 64, throttled_s: null}"
    assert f', candidate: "run-0", gpus: {gpus}}}\n' in text
    assert from_text(text, "file", "small") == found


def test_probes_are_in_the_line_of_the_run() -> None:
    found = references(
        1, runs=(run(probes={"memory_bandwidth_gb_s": 4258.0, "fp8_tflops": ["1250", "1100"]}),)
    )
    text = to_text(found)
    probes = '{memory_bandwidth_gb_s: 4258.0, fp8_tflops: ["1250", "1100"]}'
    assert f', candidate: "run-0", probes: {probes}}}\n' in text
    assert from_text(text, "file", "small") == found


def test_the_probes_that_were_accepted_on_a_node(tmp_path: Path) -> None:
    assert accepted_probes(tmp_path, scenario(), NODE, NOW) == {}
    write(tmp_path, references(1, runs=(run(probes={"fp8_tflops": 1250.0}),)))
    assert accepted_probes(tmp_path, scenario(), NODE, NOW) == {"fp8_tflops": (1250.0,)}
    assert accepted_probes(tmp_path, scenario(), OTHER_NODE, NOW) == {}
    path_of(tmp_path, "small").write_text("damaged", encoding="utf-8")
    assert accepted_probes(tmp_path, scenario(), NODE, NOW) == {}


def test_only_keys_of_letters_and_digits_have_no_quotes() -> None:
    facts = {"option.engine.arguments": ["--a", "b: c"], "option.a b": None, "yes": 1.5}
    text = to_text(references(1, facts=facts))
    assert '  option.engine.arguments: ["--a", "b: c"]\n' in text
    assert '  "option.a b": null\n' in text
    assert from_text(text, "file", "small").facts == facts


def test_a_file_without_runs_is_read(tmp_path: Path) -> None:
    written = references(1, runs=())
    write(tmp_path, written)
    assert read(tmp_path, "small", NOW) == written


def test_what_was_written_is_read(tmp_path: Path) -> None:
    written = references(16, accepted=Acceptance(NOW, "Ann", "nightly", None))
    store = tmp_path / "of" / "store"
    path = write(store, written)
    assert path == store / "small.yaml"
    assert read(store, "small", NOW) == written
    assert [one.name for one in path.parent.iterdir()] == ["small.yaml"]
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # as git writes it with core.autocrlf
    assert read(store, "small", NOW) == written


_finite = st.floats(min_value=1e-300, max_value=1e300)
_times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001
    lambda at: at.replace(tzinfo=NOW.tzinfo)
)
_facts = st.dictionaries(
    st.text(min_size=1, max_size=20).map(lambda key: f"option.engine.{key}")
    | st.sampled_from(["driver", "~"]),
    st.text() | st.integers() | _finite | st.booleans() | st.none() | st.lists(st.text()),
    max_size=5,
)
_runs = st.builds(
    ReferenceRun,
    at=_times,
    node=st.sampled_from([NODE, OTHER_NODE, "cpu"]),
    value=_finite,
    se_percent=_finite,
    window_s=_finite,
    startup_s=_finite,
    recording=st.text(),
    gpus=st.none() | st.builds(Conditions, *[st.none() | _finite] * 4),
    probes=st.none() | st.dictionaries(st.text(), _finite | st.lists(st.text()), min_size=1, max_size=3),
)
_references = st.builds(
    References,
    profile=st.text(),
    metric=st.text(),
    unit=st.text(),
    better=st.text(),
    requests=st.integers(1),
    warmup_requests=st.integers(0),
    accepted=st.builds(Acceptance, _times, st.text(), st.text(), st.none() | st.text()),
    under_test=st.dictionaries(st.text(), st.booleans(), max_size=3),
    facts=_facts.map(lambda facts: {key: facts[key] for key in facts if not key.endswith("_timeout_s")}),
    runs=st.lists(_runs, max_size=4).map(tuple),
)


@settings(max_examples=60)
@given(_references)
def test_any_references_come_back_as_they_were(written: References) -> None:
    assert from_text(to_text(written), "file", "small") == written


def _line(number: int, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        lines = text.split("\n")
        lines[number - 1] = new
        return "\n".join(lines)

    return change


def _checked(change: Callable[[str], str]) -> Callable[[str], str]:
    """The change with a checksum that fits."""

    def whole(text: str) -> str:
        body = change(text[: text.rindex("sha256:")])
        return f'{body}sha256: "{sha256(body.encode()).hexdigest()}"\n'

    return whole


DAMAGE: dict[str, tuple[Callable[[str], str], str]] = {
    "empty": (lambda _: " \n", "{0}: is empty; " + AGAIN),
    "another file": (
        lambda _: "name: small\n",
        '{0}: is not a file of accepted references ("format" is not "pytest-dsr1 references"); ' + AGAIN,
    ),
    "no YAML": (
        lambda _: "a: b\n c: [d\n",
        "{0}: is not YAML (line 2); it was damaged after it was written; " + AGAIN,
    ),
    "nested too deeply": (
        lambda _: "- " * 10_000,
        "{0}: is nested too deeply; it was damaged after it was written; " + AGAIN,
    ),
    "a merge conflict": (
        _line(5, '<<<<<<< HEAD\nprofile: "small"\n=======\nprofile: "small"\n>>>>>>> other'),
        "{0}:5: contains a merge conflict; take one whole side with `git checkout --ours {0}` or --theirs, "
        "or delete it and accept again",
    ),
    "a merge conflict below an empty line": (
        lambda text: f"\n<<<<<<< HEAD\n{text}",
        "{0}:2: contains a merge conflict; take one whole side with `git checkout --ours {0}` or --theirs, "
        "or delete it and accept again",
    ),
    "truncated at the end": (
        lambda text: text[:-1],
        "{0}: does not end with its checksum: it is truncated; " + AGAIN,
    ),
    "truncated in a run": (
        lambda text: text[:-150],
        "{0}: does not end with its checksum: it is truncated; " + AGAIN,
    ),
    "truncated in the format": (
        lambda text: text[: text.index("version")],
        "{0}: does not end with its checksum: it is truncated; " + AGAIN,
    ),
    "something behind it": (
        lambda text: text + "more: 1\n",
        "{0}: does not end with its checksum: it is truncated; " + AGAIN,
    ),
    "edited": (
        lambda text: text.replace("8.01", "7.01"),
        "{0}: does not match its checksum: it was edited by hand or merged after it was written; " + AGAIN,
    ),
    "merged without conflict": (
        lambda text: text.replace("runs:\n", f"runs:\n{text.splitlines()[-2]}\n"),
        "{0}: does not match its checksum: it was edited by hand or merged after it was written; " + AGAIN,
    ),
    "a foreign version": (
        _line(4, "version: 2"),
        "{0}: has format version 2; this pytest-dsr1 reads version 1: use the pytest-dsr1 that wrote it; "
        + AGAIN,
    ),
    "another content": (
        _checked(lambda text: text.replace("requests: 4", "requests: four")),
        "{0}: requests: input should be a valid integer, unable to parse string as an integer; the file was "
        "changed after it was written; " + AGAIN,
    ),
    "nested too deeply, checked": (
        _checked(lambda text: text + "more:\n" + "- " * 10_000 + "\n"),
        "{0}: is not what `pytest-dsr1 references accept small` writes (maximum recursion depth exceeded",
    ),
    "no YAML, checked": (
        _checked(lambda text: text + "more: [\n"),
        "{0}: is not what `pytest-dsr1 references accept small` writes (",
    ),
    "a node that is not listed": (
        _checked(lambda text: text.replace('node: "gpu-95a932d6"', f'node: "{"n" * 300}"')),
        f"{{0}}: is not what `pytest-dsr1 references accept small` writes ('{'n' * 199}); {AGAIN}",
    ),
}


CHECKED = (
    "another content",
    "nested too deeply, checked",
    "no YAML, checked",
    "a node that is not listed",
)


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_file_that_is_not_as_it_was_written_is_refused(tmp_path: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    path = write(tmp_path, references())
    path.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(ReferencesError) as caught:
        read(tmp_path, "small", NOW)
    assert str(caught.value).startswith(message.format(path))
    assert str(caught.value).count("\n") == 0
    assert intact(path) == (damage in CHECKED)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, references())
    assert intact(path)
    path.write_bytes(b"\xff" + path.read_bytes())
    assert not intact(path)
    with pytest.raises(ReferencesError) as caught:
        read(tmp_path, "small", NOW)
    assert (
        str(caught.value)
        == f"{path}: is not a text file; it was damaged after it was written; {AGAIN.format(path)}"
    )


def test_a_history_that_cannot_be_read(tmp_path: Path) -> None:
    path_of(tmp_path, "small").mkdir()
    with pytest.raises(ReferencesError) as caught:
        read(tmp_path, "small", NOW)
    path = path_of(tmp_path, "small")
    assert str(caught.value) == (
        f"{path}: cannot be read: Is a directory; `ls -ld {path}` shows what is there; {AGAIN.format(path)}"
    )
    assert not intact(path)


def test_no_file_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(NoReferenceError) as caught:
        load(tmp_path, scenario(), NOW)
    assert str(caught.value) == (
        f"{tmp_path}/small.yaml: there is no such file, because no references of small have been accepted; "
        "0 recorded runs are waiting to be accepted; "
        "record more with `pytest --dsr1-profile=small --dsr1-reference=record` "
        "(and the same --dsr1-set, if any), then "
        "`pytest-dsr1 references accept small --reason TEXT`"
    )


HOUR, SKEW, SECOND = timedelta(hours=1), timedelta(minutes=5), timedelta(seconds=1)
ACCEPTED = references().accepted
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another profile": (
        {"profile": "old"},
        "contains references of 'old', not of 'small': the scenario was renamed, or the file copied",
    ),
    "an unknown metric": ({"metric": "goodness"}, "metric: goodness cannot be gated"),
    "a metric that cannot be gated": ({"metric": "ttft_p99"}, "metric: ttft_p99 cannot be gated"),
    "the wrong direction": (
        {"better": "lower"},
        "better of total_output_throughput: expected 'higher', found 'lower'",
    ),
    "the wrong unit": (
        {"unit": "ms"},
        "unit of total_output_throughput: expected 'tok/s', found 'ms'",
    ),
    "no requests": ({"requests": 0}, "expected requests >= 1 and warmup_requests >= 0; found 0 and 2"),
    "less than no warm-up": (
        {"warmup_requests": -1},
        "expected requests >= 1 and warmup_requests >= 0; found 4 and -1",
    ),
    "accepted in the future": (
        {"accepted": replace(ACCEPTED, at=NOW + HOUR)},
        "accepted at 2025-03-24T13:00:00+00:00, but it is 2025-03-24T12:00:00+00:00 now: a clock was wrong",
    ),
    "a run in the future": (
        {"runs": (run(at=NOW + HOUR),)},
        "line 35: the run began at 2025-03-24T13:00:00+00:00, but it is 2025-03-24T12:00:00+00:00 now: a "
        "clock was wrong",
    ),
    "a run after it was accepted": (
        {"runs": (run(), run(1, at=NOW))},
        "line 36: the run began at 2025-03-24T12:00:00+00:00, but was accepted at 2025-03-24T11:00:00+00:00: "
        "a clock was wrong",
    ),
    "a run after it was accepted, as late as clocks may differ": (
        {"runs": (run(at=NOW + SKEW),)},
        "line 35: the run began at 2025-03-24T12:05:00+00:00, but was accepted at 2025-03-24T11:00:00+00:00: "
        "a clock was wrong",
    ),
    "a run later than clocks may differ": (
        {"accepted": replace(ACCEPTED, at=NOW + SKEW), "runs": (run(at=NOW + SKEW + SECOND),)},
        "line 35: the run began at 2025-03-24T12:05:01+00:00, but it is 2025-03-24T12:00:00+00:00 now: a "
        "clock was wrong",
    ),
    "accepted later than clocks may differ": (
        {"accepted": replace(ACCEPTED, at=NOW + SKEW + SECOND)},
        "accepted at 2025-03-24T12:05:01+00:00, but it is 2025-03-24T12:00:00+00:00 now: a clock was wrong",
    ),
    "not a number": (
        {"runs": (run(value=float("nan")),)},
        "line 35: value is nan, not a finite positive number",
    ),
    "infinite": (
        {"runs": (run(window_s=float("inf")),)},
        "line 35: window_s is inf, not a finite positive number",
    ),
    "nothing": ({"runs": (run(value=0.0),)}, "line 35: value is 0.0, not a finite positive number"),
    "negative": (
        {"runs": (run(startup_s=-1.0),)},
        "line 35: startup_s is -1.0, not a finite positive number",
    ),
    "a run twice": (
        {"runs": (run(), run(1, at=run().at))},
        "line 36: repeats the run of line 35",
    ),
    "a recording twice": (
        {"runs": (run(), run(1), run(2, recording="run-0"))},
        "line 37: repeats the run of line 35",
    ),
}


RENAMED = (
    "rename the scenario back to 'old', or delete {0} and record more with "
    "`pytest --dsr1-profile=small --dsr1-reference=record` (and the same --dsr1-set, if any), then "
    "`pytest-dsr1 references accept small --reason TEXT`"
)


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_content_is_refused(tmp_path: Path, wrong: str) -> None:
    changes, message = WRONG[wrong]
    (tmp_path / "small.yaml").write_text(to_text(references(**changes)), encoding="utf-8")
    with pytest.raises(ReferencesError) as caught:
        read(tmp_path, "small", NOW)
    path = tmp_path / "small.yaml"
    advice = RENAMED if "profile" in changes else GIT
    assert str(caught.value) == f"{path}: cannot be used:\n  {message}\n{advice.format(path)}"


def test_everything_that_is_wrong_is_reported_at_once(tmp_path: Path) -> None:
    write(tmp_path, references(better="lower", unit="ms", runs=(run(value=-1.0), run(value=-1.0))))
    with pytest.raises(ReferencesError) as caught:
        read(tmp_path, "small", NOW)
    assert len(str(caught.value).splitlines()) == 2 + 5


def test_clocks_of_two_machines_may_differ_a_little(tmp_path: Path) -> None:
    """Both when the file is read and when its runs were accepted."""
    ahead = NOW + SKEW
    for at in (ahead, NOW):
        written = references(accepted=replace(ACCEPTED, at=at), runs=(run(at=ahead),))
        write(tmp_path, written)
        assert read(tmp_path, "small", NOW) == written


def test_the_least_that_a_file_may_contain(tmp_path: Path) -> None:
    """One request, no warm-up, and a run that started at once and had no error."""
    written = references(requests=1, warmup_requests=0, runs=(run(se_percent=0.0, startup_s=0.0),))
    write(tmp_path, written)
    assert read(tmp_path, "small", NOW) == written


def test_the_noise_is_that_of_the_references_of_the_metric(tmp_path: Path) -> None:
    gated = "total_output_throughput"
    presumed = Noise(scenario().gate.presumed_noise_percent)
    assert noise_of(tmp_path, scenario(), FACTS, gated, NOW) == presumed
    write(tmp_path, references(runs=tuple(run(number, value=8.0 + number) for number in range(3))))
    found = noise_of(tmp_path, scenario(), FACTS, gated, NOW)
    assert (round(found.percent, 2), found.references) == (11.16, 3)
    assert noise_of(tmp_path, scenario(), FACTS, "average_ttft", NOW) == presumed
    assert noise_of(tmp_path, scenario(gate={"metric": "average_ttft"}), FACTS, gated, NOW) == presumed


def test_another_metric_than_the_scenarios_is_refused(tmp_path: Path) -> None:
    write(tmp_path, references())
    with pytest.raises(ReferencesError) as caught:
        load(tmp_path, scenario(gate={"metric": "average_ttft"}), NOW)
    assert str(caught.value) == (
        f"{tmp_path}/small.yaml: contains references of total_output_throughput, but the scenario "
        "gates average_ttft; set gate.metric, or accept again with "
        "`pytest-dsr1 references accept small --reason TEXT`"
    )


def test_the_scenario_says_what_is_under_test(tmp_path: Path) -> None:
    write(tmp_path, references())
    found = load(tmp_path, scenario(gate={"under_test": {"gpu.uuids": True}}), NOW)
    assert len(found.on(OTHER_NODE)) == 16
    assert found.facts == COMPARED


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(ReferencesError) as caught:
        write(tmp_path / "store", references())
    assert str(caught.value) == (
        f"{tmp_path}/store/small.yaml: cannot be written: File exists; nothing was changed"
    )


KILLED = """
import sys
from pathlib import Path
from pytest_dsr1.errors import NoReferenceError
from pytest_dsr1.gate import reference_file
from pytest_dsr1.gate.reference_file import path_of, read, write
from tests.helpers.killing import killed_at_every_point
from tests.helpers.reference_store import NOW, references

store, old, new = Path(sys.argv[1]), {old}, references(16)

def put_back():
    if old is None:
        path_of(store, "small").unlink(missing_ok=True)
    else:
        write(store, old)

def found():
    try:
        there = read(store, "small", NOW)
    except NoReferenceError:
        there = None
    assert there in (old, new), there
    put_back()
    return there == new

put_back()
print(killed_at_every_point(reference_file, lambda: write(store, new), found, store))
"""


@pytest.mark.parametrize("old", ["references(15)", "None"])
def test_references_survive_a_kill_at_every_point_of_a_write(tmp_path: Path, old: str) -> None:
    """What was there before, nothing too, or the new file, and whole; temporaries do no harm."""
    program = KILLED.replace("{old}", old)
    assert killed_in_a_program(program, tmp_path) == "(True, [False, True], True)"


HOLD = """
import sys
from pathlib import Path
from pytest_dsr1.gate.reference_file import locked
with locked(Path(sys.argv[1]), "small", "gate of small"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_references_are_held_by_one_at_a_time(tmp_path: Path) -> None:
    store = tmp_path / "of" / "store"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InvalidRunError) as caught, locked(store, "small", "another"):
            pass
        message = str(caught.value)
        assert message.startswith(f"{store}: the references of small are in use by pid {holder.pid} of user ")
        assert message.endswith(": gate of small; wait for it to end")
        with locked(store, "other", "another"):
            pass
        holder.send_signal(signal.SIGKILL)
    with locked(store, "small", "another"):
        pass


def test_references_that_cannot_be_locked(tmp_path: Path) -> None:
    (tmp_path / ".small.lock").symlink_to("/dev/null")
    with pytest.raises(InvalidRunError) as caught, locked(tmp_path, "small", "a gate"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/.small.lock: the references of small cannot be locked: Too many levels of symbolic "
        "links; make the folder and this file writable, or free space there"
    )


def test_a_store_without_locks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InvalidRunError) as caught, locked(tmp_path, "small", "pytest"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/.small.lock: the references of small cannot be locked: this file system has no locks; "
        "mount it with locks (Lustre: -o flock), or choose a store elsewhere"
    )
