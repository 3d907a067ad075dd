from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.tensorrt_llm.bench import report as report_module
from pytest_dsr1.engines.tensorrt_llm.bench.report import (
    Report,
    differences,
    draft_tokens,
    read_report,
    read_requests,
)
from pytest_dsr1.engines.tensorrt_llm.bench.report_text import parse_text
from pytest_dsr1.engines.tensorrt_llm.settings import COUNTING_TOLERANCE
from pytest_dsr1.errors import EngineError
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.workload.workload import Workload
from tests.helpers.paths import DATA
from tests.helpers.trtllm_bench import bench_scenario
from tests.standins.trtllm_bench import rendering

SAMPLES = DATA / "reports"
STREAM = SAMPLES / "v1.2rc_stream_mtp.report.json"
PLAIN = SAMPLES / "v1.2rc_nostream_plain.report.json"

# The published blocks (V5): the first three metrics of each, and the per-user value.
PUBLISHED = {
    "V5_b200_0528": (21.0675, 43146.2042, 65100.6376, 6.1806, 5393.2755, 5443839.8140, 332826.9898),
    "V5_b200_minlat": (0.1341, 274.4168, 414.0461, 274.7188, 34.3021, 74561.7520, 7456.1219),
    "V5_b200_r1": (17.7657, 36384.0838, 54576.1257, 11.9263, 4548.0105, 2766684.9197, 172321.7206),
    "V5_h200_maxthr": (5.6100, 11489.2671, 17233.9007, 11.3476, 1436.1584, 912656.9938, 181540.5739),
    "V5_h200_minlat": (0.0772, 158.0669, None, 158.1196, 19.7584, 129498.2168, 12945.9379),
}
NAMES = (
    "request_throughput",
    "total_output_throughput",
    "total_token_throughput",
    "per_user_output_throughput",
    "per_gpu_output_throughput",
    "total_latency",
    "average_request_latency",
)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_blocks_with_either_labels(name: str) -> None:
    found = parse_text((SAMPLES / f"{name}.txt").read_text(), name).metrics
    expected = {key: value for key, value in zip(NAMES, PUBLISHED[name], strict=True) if value is not None}
    assert found == expected


def test_sample_report_json() -> None:
    report = read_report(STREAM)
    assert set(report.metrics) == {
        name for name, metric in METRICS.items() if metric.source.startswith("trtllm-bench report")
    }
    assert report.metrics["total_latency"] == 10955.708942
    assert report.metrics["ttft_p99"] == 297.62550999999996
    assert report.metrics["acceptance_length"] == 2.797814207650274
    assert report.requests == 16
    assert report.world == {"tp": 8, "pp": 1, "ep": 8, "max_batch_size": 128, "max_num_tokens": 1151}
    assert report.facts == {
        "engine.quantization": "FP8_BLOCK_SCALES",
        "engine.dtype": "bfloat16",
        "machine.name": "NVIDIA H200",
        "world_info.scheduling_policy": "GUARANTEED_NO_EVICT",
        "world_info.kv_cache_percentage": 0.8,
    }


@pytest.mark.parametrize("zeros", ["every answer", "one answer"])
def test_zeros_of_answers_with_one_token_are_not_measurements(tmp_path: Path, zeros: str) -> None:
    """A prefill benchmark has no time per output token, and one short answer makes a mean too low."""
    content = json.loads(STREAM.read_text(encoding="utf-8"))
    streaming = content["streaming_metrics"]
    if zeros == "every answer":
        streaming["avg_tpot_ms"] = streaming["token_output_speed_tok_s"] = 0.0
        for name in ("tpot_percentiles", "gen_tps_percentiles"):
            streaming[name] = dict.fromkeys(streaming[name], 0.0)
    else:
        streaming["tpot_percentiles"]["minimum"] = 0.0
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    report, whole = read_report(path), read_report(STREAM)
    left_out = {name for name in whole.metrics if "tpot" in name} | {"per_user_output_speed"}
    assert report.metrics == {name: value for name, value in whole.metrics.items() if name not in left_out}
    assert set(report.not_measured) == left_out
    assert report.not_measured["average_tpot"].startswith(
        "trtllm-bench counts 0 for a request with one output token, which has no such time, "
    )
    assert not [line for line in found(report) if " is 0" in line]


def test_report_without_streaming_states_no_time_to_first_token() -> None:
    metrics = read_report(PLAIN).metrics
    assert "average_ttft" not in metrics
    assert "acceptance_length" not in metrics
    assert metrics["request_latency_p50"] == pytest.approx(10372.3975, abs=1e-4)


@pytest.mark.parametrize("path", [STREAM, PLAIN], ids=["stream", "plain"])
def test_text_and_json_of_the_samples_agree_to_the_printed_precision(path: Path) -> None:
    text = parse_text(path.with_suffix(".txt").read_text(), path)
    stated = read_report(path)
    assert set(text.metrics) == set(stated.metrics)
    for name, value in stated.metrics.items():
        digits = 2 if name == "acceptance_length" else 4
        assert text.metrics[name] == pytest.approx(value, abs=0.51 * 10**-digits), name
    assert text.requests == stated.requests
    assert text.world == stated.world


@pytest.mark.parametrize("path", [STREAM, PLAIN], ids=["stream", "plain"])
def test_the_stand_in_prints_the_real_layout(path: Path) -> None:
    assert rendering.text(json.loads(path.read_text()), "1.2.1") == path.with_suffix(".txt").read_text()


def test_request_records() -> None:
    first, second = read_requests(SAMPLES / "v1.2rc_stream_mtp.request.json")
    assert (first.id, first.input_tokens, first.output_tokens) == (0, 1024, 2048)
    assert first.submitted_s == 1000.0
    assert first.first_token_s == 1000.232383276
    assert first.last_token_s == 1010.150849173
    assert first.decoding_iterations == 732  # counted from 0 in the file
    assert first.output_tokens / 732 == pytest.approx(2.797814207650274)  # the report's acceptance length
    assert second.id == 1


def test_request_records_without_streaming_have_no_first_token() -> None:
    records = read_requests(SAMPLES / "v1.2rc_nostream_plain.request.json")
    assert [record.first_token_s for record in records] == [None, None]
    assert [record.decoding_iterations for record in records] == [2048, 2048]


def test_the_last_report_of_a_log_counts() -> None:
    content = json.loads(PLAIN.read_text())
    content["request_info"]["num_requests"] = 99
    log = f"{rendering.text(content, '1.2')}\nnoise: 3\n{PLAIN.with_suffix('.txt').read_text()}later: 7\n"
    assert parse_text(log, "log").requests == 16


def changed(how: str) -> str:
    """The text of a sample as one wrapper or writer changes it."""
    text = PLAIN.with_suffix(".txt").read_text()
    rows = text.splitlines()
    if how == "thousands":
        return text.replace("2990.9520", "2,990.9520").replace("10955.7089", "10,955.7089")
    if how == "warnings":
        late = "[11/28/2026-09:14:02] [TRT-LLM] [W] a line of another process"
        rows = [row + late if "Throughput" in row else row for row in rows]
        return "\n".join(f"{late}{row}" if "Latency (ms)" in row else row for row in rows)
    before, after = {
        "srun": ("0: ", ""),
        "mpirun": ("[1,0]<stdout>:", ""),
        "docker compose": ("bench-1  | ", ""),
        "logger": ("[11/28/2026-09:14:02] [TRT-LLM] [I] ", ""),
        "time": ("2026-11-28T09:14:02.123Z ", ""),
        "colors": ("\x1b[32m", "\x1b[0m"),
    }[how]
    return "\n".join(f"{before}{row}{after}" for row in rows)


@pytest.mark.parametrize(
    "how", ["thousands", "warnings", "srun", "mpirun", "docker compose", "logger", "time", "colors"]
)
def test_a_report_is_read_through_what_a_log_adds(how: str) -> None:
    plain = parse_text(PLAIN.with_suffix(".txt").read_text(), "log")
    assert parse_text(changed(how), "log") == plain


@pytest.mark.parametrize("nothing", ["None", "N/A", "null"])
def test_a_size_of_none_is_not_stated(nothing: str) -> None:
    text = PLAIN.with_suffix(".txt").read_text()
    found = parse_text(re.sub(r"EP Size: +8", f"EP Size:                {nothing}", text), "log")
    assert found.world == {"tp": 8, "pp": 1, "max_batch_size": 128, "max_num_tokens": 1151}


def test_labels_of_0_17() -> None:
    text = rendering.performance(json.loads(PLAIN.read_text()), "0.17")
    assert parse_text(text, "log").metrics == {
        "request_throughput": 1.4604,
        "total_output_throughput": 2990.9520,
        "total_latency": 10955.7089,
    }


number = st.floats(min_value=1e-3, max_value=1e9)


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    def drawn(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: drawn(inner) for key, inner in value.items()}
        return draw(number) if isinstance(value, float) else value

    content: dict[str, Any] = drawn(json.loads(STREAM.read_text()))
    if not draw(st.booleans()):
        del content["streaming_metrics"]
    if not draw(st.booleans()):
        del content["decoding_stats"]
    return content


@given(contents(), st.sampled_from(["0.18", "0.21", "1.0", "1.1", "1.2", "1.3"]))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_is_printed_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], version: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "report.json"
    path.write_text(json.dumps(content))
    stated = read_report(path)
    printed = parse_text(rendering.text(content, version), "log")
    for name, value in printed.metrics.items():
        digits = 2 if name == "acceptance_length" else 4
        assert value == pytest.approx(stated.metrics[name], rel=1e-12, abs=0.51 * 10**-digits), name
    assert len(printed.metrics) >= 7
    assert printed.requests == stated.requests
    assert printed.world == stated.world


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["performance", "request_info", "world_info", "total_latency_ms", "id"]), inner
        )
    ),
    max_leaves=8,
)


@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_arbitrary_files_raise_nothing_but_engine_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.json"
    path.write_bytes(content)
    for read in (read_report, read_requests):
        with contextlib.suppress(EngineError):
            read(path)


LINES = [
    "= PERFORMANCE OVERVIEW",
    "Total Latency (ms): 1e999",
    "[TPOT] P50: x",
    "TP Size: 1.5",
    "a: b",
    "Total Latency: 3",
]


@given(st.lists(st.sampled_from(LINES) | st.text(max_size=30), max_size=8))
def test_arbitrary_text_raises_nothing_but_engine_error(lines: list[str]) -> None:
    with contextlib.suppress(EngineError):
        parse_text("\n".join(lines), "log")


def spoilt(*path: str, value: object) -> bytes:
    content: dict[str, Any] = json.loads(PLAIN.read_text())
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return json.dumps(content).encode()


MALFORMED_REPORTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "blank": (b" \n\n", "is empty"),
    "truncated": (PLAIN.read_bytes()[:1000], "is cut off or not JSON: "),
    "binary": (b"\x00\xff\xfe\x80" * 20, "is not text"),
    "text": (b"Benchmark complete.", "is cut off or not JSON: Expecting value: line 1 column 1 (char 0)"),
    "a list": (b"[]", "is not a trtllm-bench report: expected an object, found an empty list"),
    "a number": (b"17", "is not a trtllm-bench report: expected an object, found 17"),
    "null": (b"null", "is not a trtllm-bench report: expected an object, found null"),
    "nested too deeply": (b"[" * 100_000, "is nested too deeply"),
    "a block is missing": (
        json.dumps({k: v for k, v in json.loads(PLAIN.read_text()).items() if k != "performance"}).encode(),
        "the report does not state request_throughput, total_output_throughput, total_latency; it is "
        "incomplete",
    ),
    "a block is a list": (spoilt("performance", value=[1]), "performance is a list, expected an object"),
    "a value is text": (
        spoilt("performance", "total_latency_ms", value="fast"),
        'performance.total_latency_ms is "fast", expected a finite number',
    ),
    "a value is true": (
        spoilt("performance", "total_latency_ms", value=True),
        "performance.total_latency_ms is true, expected a finite number",
    ),
    "a value is NaN": (
        spoilt("performance", "request_throughput_req_s", value=float("nan")),
        "performance.request_throughput_req_s is NaN, expected a finite number",
    ),
    "a value is infinite": (
        spoilt("performance", "request_throughput_req_s", value=float("inf")),
        "performance.request_throughput_req_s is Infinity, expected a finite number",
    ),
    "a value is huge": (
        spoilt("world_info", "tp_size", value=10**400),
        "world_info.tp_size is a number of more than 20 digits, expected a finite number",
    ),
    "a value is an object": (
        spoilt("request_info", "num_requests", value={}),
        "request_info.num_requests is an object, expected a finite number",
    ),
    "a value is long": (
        spoilt("request_info", "num_requests", value="x" * 10_000),
        f'request_info.num_requests is "{"x" * 36}..., expected a finite number',
    ),
}


@pytest.mark.parametrize("name", MALFORMED_REPORTS)
def test_malformed_report(name: str, tmp_path: Path) -> None:
    content, message = MALFORMED_REPORTS[name]
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        read_report(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_malformed_reports_are_many() -> None:
    assert len(MALFORMED_REPORTS) + len(MALFORMED_TEXTS) + len(MALFORMED_REQUESTS) >= 30


def test_missing_report(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_report(tmp_path / "report.json")
    assert str(caught.value) == f"{tmp_path}/report.json: was not written"


def test_a_folder_in_the_report_s_place(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        read_report(tmp_path)
    assert str(caught.value) == f"{tmp_path}: cannot be read: Is a directory"


def test_a_huge_report_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "LARGEST_REPORT", 1000)
    path = tmp_path / "report.json"
    path.write_bytes(b" " * 1001)
    with pytest.raises(EngineError) as caught:
        read_report(path)
    assert str(caught.value) == f"{path}: has 1,001 bytes; a report has at most 1,000"
    path.write_bytes(b" " * 1000)
    with pytest.raises(EngineError, match=r"is empty$"):
        read_report(path)


HEADLINE = "= PERFORMANCE OVERVIEW \n"
MALFORMED_TEXTS = {
    "empty": ("", "log: does not contain a report (no block PERFORMANCE OVERVIEW)"),
    "only the dataset": (
        "= DATASET DETAILS\nNumber of Sequences: 3\n",
        "log: does not contain a report (no block PERFORMANCE OVERVIEW)",
    ),
    "cut off": (
        f"{HEADLINE}Request Throughput (req/sec): 1.0\n",
        "log: the report does not state total_output_throughput, total_latency; it is incomplete",
    ),
    "a word for a number": (
        f"{HEADLINE}Request Throughput (req/sec): fast\n",
        "log: expected a finite number at the end of the report's line 'Request Throughput (req/sec): fast'",
    ),
    "NaN": (
        f"{HEADLINE}Total Latency (ms): nan\n",
        "log: expected a finite number at the end of the report's line 'Total Latency (ms): nan'",
    ),
    "another unit": (
        f"{HEADLINE}Total Latency (sec): 12.0\n",
        "log: expected ms in the report's line 'Total Latency (sec): 12.0'",
    ),
    "a damaged percentile": (
        f"{HEADLINE}[TTFT] P50    : -\n",
        "log: expected a finite number at the end of the report's line '[TTFT] P50    : -'",
    ),
}


@pytest.mark.parametrize("name", MALFORMED_TEXTS)
def test_malformed_text(name: str) -> None:
    text, message = MALFORMED_TEXTS[name]
    with pytest.raises(EngineError) as caught:
        parse_text(text, "log")
    assert str(caught.value) == message


FIRST, SECOND = json.loads((SAMPLES / "v1.2rc_stream_mtp.request.json").read_text())


def request(**changes: object) -> bytes:
    return json.dumps([FIRST, SECOND | changes]).encode()


MALFORMED_REQUESTS = {
    "empty list": (b"[]", "is not trtllm-bench's list of requests: expected a list, found an empty list"),
    "an object": (b"{}", "is not trtllm-bench's list of requests: expected a list, found an object"),
    "truncated": (request()[:-10], "is cut off or not JSON: "),
    "a number in the list": (b"[3]", "request 1 is 3, expected an object"),
    "no start": (
        request(start_timestamp=None),
        "request 2: start_timestamp is missing, expected a whole number",
    ),
    "text": (request(end_timestamp="now"), 'request 2: end_timestamp is "now", expected a whole number'),
    "a fraction": (request(id=0.5), "request 2: id is 0.5, expected a whole number"),
    "huge": (
        request(num_input_tokens=10**400),
        "request 2: num_input_tokens is a number of more than 20 digits, expected a whole number",
    ),
    "ends before it starts": (
        request(end_timestamp=0),
        "request 2 took -1000 s for 2048 tokens; both must be positive",
    ),
    "63 bits and a sign": (
        request(num_input_tokens=1 << 63),
        "request 2: num_input_tokens is 9,223,372,036,854,775,808, expected a whole number",
    ),
    "takes no time": (
        request(end_timestamp=SECOND["start_timestamp"]),
        "request 2 took 0 s for 2048 tokens; both must be positive",
    ),
    "a day": (
        request(start_timestamp=86_400_000_000_000, end_timestamp=0),
        "request 2 took -86400 s for 2048 tokens; both must be positive",
    ),
    **{
        f"rounded {rounded}": (
            request(start_timestamp=0, end_timestamp=end_ns, num_total_output_tokens=0),
            f"request 2 took {shown_s} s for 0 tokens; both must be positive",
        )
        for rounded, end_ns, shown_s in (("up", 1_234_565_001, "1.23457"), ("down", 1_234_564_999, "1.23456"))
    },
    "no tokens": (
        request(num_total_output_tokens=0),
        "request 2 took 10.0724 s for 0 tokens; both must be positive",
    ),
}


@pytest.mark.parametrize("name", MALFORMED_REQUESTS)
def test_malformed_requests(name: str, tmp_path: Path) -> None:
    content, message = MALFORMED_REQUESTS[name]
    path = tmp_path / "requests.json"
    path.write_bytes(content)
    with pytest.raises(EngineError) as caught:
        read_requests(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("changes", "first_s", "iterations"),
    [
        ({"first_token_timestamp": 0, "decode_iteration": 0}, 0.0, 1),
        ({"first_token_timestamp": -1, "decode_iteration": -1}, None, None),
        ({"first_token_timestamp": 1, "decode_iteration": 1}, 1e-9, 2),
    ],
)
def test_what_is_below_zero_is_unknown(
    changes: dict[str, int], first_s: float | None, iterations: int | None, tmp_path: Path
) -> None:
    path = tmp_path / "requests.json"
    path.write_bytes(request(num_total_output_tokens=1, num_input_tokens=(1 << 63) - 1, **changes))
    record = read_requests(path)[1]
    assert (record.first_token_s, record.decoding_iterations) == (first_s, iterations)
    assert (record.output_tokens, record.input_tokens) == (1, (1 << 63) - 1)


@pytest.mark.parametrize(
    ("means", "drafts"),
    [
        ((30.0, 10.0, 20.0), 3.0),
        ((None, 10.0, 20.0), None),
        ((30.0, None, 20.0), None),
        ((30.0, 10.0, None), None),
        ((30.0, 20.0, 20.0), None),
    ],
)
def test_the_draft_length_needs_all_three_means(
    means: tuple[float | None, float | None, float | None], drafts: float | None
) -> None:
    """Drafted, accepted and output tokens of a request: 30 drafts in 20 - 10 steps."""
    assert draft_tokens(*means) == drafts


WORKLOAD = Workload(Path("dataset.jsonl"), 4, "", True, 8.0, 8, 16.0, 16)
WORLD = {"tp": 8, "pp": 1, "ep": 4, "max_batch_size": 128, "max_num_tokens": 1151}
AVERAGES = {"average_input_length": 8.0, "average_output_length": 16.0, "request_throughput": 1.0}
ASKED: dict[str, Any] = {"ep": 4, "max_batch_size": 128, "max_num_tokens": 1151}


def found(report: Report, **engine: Any) -> list[str]:
    return list(differences(report, Job(bench_scenario(**{**ASKED, **engine}), WORKLOAD, Path(), 60.0)))


def test_what_was_asked_for() -> None:
    assert found(Report(AVERAGES, 4, WORLD)) == []


def test_what_a_report_does_not_state_is_not_held_against_it() -> None:
    assert found(Report({"request_throughput": 1.0})) == []


@pytest.mark.parametrize("name", list(WORLD))
def test_settings_that_took_no_effect(name: str) -> None:
    assert found(Report(AVERAGES, 4, {**WORLD, name: 3})) == [
        f"{name} 3 instead of {({'pp': 1, 'tp': 8} | ASKED)[name]}"
    ]


def test_all_differences_at_once() -> None:
    metrics = {"average_input_length": 7.9, "average_output_length": 15.0, "request_throughput": 0.0}
    assert found(Report(metrics, 3, {**WORLD, "tp": 1})) == [
        "3 requests instead of 4",
        "average input length (ISL) 7.9 instead of 8",
        "average output length (OSL) 15 instead of 16",
        "tp 1 instead of 8",
        "request throughput is 0",
    ]


def test_only_a_zero_of_a_rate_or_a_total_is_another_measurement() -> None:
    zeros = {"total_latency": 0.0, "average_ttft": 0.0, "average_concurrency": 0.0, "tpot_p50": -1.0}
    assert found(Report(zeros)) == ["total latency is 0", "TPOT P50 is -1"]


@pytest.mark.parametrize("eos_id", [0, 1])
def test_output_lengths_are_free_with_an_end_token(eos_id: int) -> None:
    assert found(Report({**AVERAGES, "average_output_length": 3.0}, 4, WORLD), eos_id=eos_id) == []


@pytest.mark.parametrize("name", ["average_input_length", "average_output_length"])
@pytest.mark.parametrize(
    ("share", "differs"), [(1.0009, False), (0.9991, False), (1.0011, True), (0.9989, True), (1.006, True)]
)
def test_lengths_agree_within_a_thousandth_on_both_sides(name: str, share: float, differs: bool) -> None:
    wanted = {"average_input_length": 8.0, "average_output_length": 16.0}[name]
    problems = found(Report({**AVERAGES, name: wanted * share}, 4, WORLD))
    assert problems == [f"{METRICS[name].label} {wanted * share:g} instead of {wanted:g}"] * differs


MTP: dict[str, Any] = {"llm_api": {"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}}}
OTHER: dict[str, Any] = {"llm_api": {"unchecked": {"speculative_config": {"decoding_type": "NGram"}}}}


@pytest.mark.parametrize(
    ("engine", "shown", "problem"),
    [
        (MTP, 3.0, None),
        (MTP, 3.004, None),  # the text has two decimals
        (MTP, 3.25, None),
        (MTP, 2.74, "draft tokens per step 2.74 instead of 3"),
        (MTP, None, None),
        (MTP, 1.0, "draft tokens per step 1 instead of 3"),
        (MTP, 4.0, "draft tokens per step 4 instead of 3"),
        ({}, None, None),
        ({}, 3.0, "draft tokens per step 3 instead of 0"),
        (OTHER, 3.0, None),
    ],
)
def test_the_draft_length_is_the_one_asked_for(
    engine: dict[str, Any], shown: float | None, problem: str | None
) -> None:
    hint = ' (engine.dialect: "1.3" writes both names of this option)' if engine == MTP else ""
    expected = [] if problem is None else [problem + hint]
    assert found(Report(AVERAGES, 4, WORLD, draft_tokens=shown), **engine) == expected


@pytest.mark.parametrize(
    ("engine", "length", "differs"),
    [
        (MTP, 4.0, False),
        (MTP, 4.3, True),
        ({}, 1.04, False),
        ({}, COUNTING_TOLERANCE, False),
        ({}, 1.1, True),
        (OTHER, 9.0, False),
    ],
)
def test_no_step_gives_more_tokens_than_its_drafts_allow(
    engine: dict[str, Any], length: float, differs: bool
) -> None:
    asked = 3 if engine else 0
    assert (
        found(Report({**AVERAGES, "acceptance_length": length}, 4, WORLD), **engine)
        == [f"acceptance length {length:g}, which {asked} draft tokens per step cannot give"] * differs
    )


@pytest.mark.parametrize("length", range(1, 6))
def test_the_draft_length_that_a_report_shows(length: int, tmp_path: Path) -> None:
    content = json.loads(STREAM.read_text())
    drafted = content["decoding_stats"]["num_draft_tokens_percentiles"]
    drafted |= {name: value / 3 * length for name, value in drafted.items()}
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    assert read_report(path).draft_tokens == pytest.approx(length)
    assert parse_text(rendering.text(content, "1.2"), "log").draft_tokens == pytest.approx(length)


def test_a_report_without_speculation_shows_no_draft_length() -> None:
    assert read_report(PLAIN).draft_tokens is None
    assert parse_text(PLAIN.with_suffix(".txt").read_text(), "log").draft_tokens is None


def test_a_report_that_is_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(EngineError) as caught:
        read_report(tmp_path / "report.json")
    assert str(caught.value) == f"{tmp_path}/report.json: cannot be read: it is a device or pipe"
