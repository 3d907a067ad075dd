"""The real layouts of the report: JSON, and the text with the labels of each version."""

from __future__ import annotations

from typing import Any

from tests.standins.release import newer
from tests.standins.trtllm_bench.timing import Served

RULE = "=" * 59
_PERCENTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


def spread(values: list[float]) -> dict[str, float]:
    """Return TensorRT-LLM's seven statistics; percentiles are not interpolated."""
    ordered = sorted(values)
    return {
        **{name: ordered[int(len(ordered) * share)] for name, share in _PERCENTILES.items()},
        "minimum": ordered[0],
        "maximum": ordered[-1],
        "average": sum(ordered) / len(ordered),
    }


def report(
    served: list[Served],
    *,
    version: str,
    engine: dict[str, Any],
    world: dict[str, Any],
    streaming: bool,
    draft: int,
    dataset: str,
) -> dict[str, Any]:
    """Return the object of --report_json."""
    e2e_ms = [(r.end - r.start) / 1e6 for r in served]
    total_ms = (max(r.end for r in served) - min(r.start for r in served)) / 1e6
    tokens_in, tokens_out = sum(r.input_tokens for r in served), sum(r.output_tokens for r in served)
    count = len(served)
    content: dict[str, Any] = {"engine": engine}
    if newer(version, 1, 2):
        content["machine"] = {"name": "NVIDIA H200", "memory.total": 140.4013671875, "clocks.mem": 3.201}
    content |= {
        "world_info": {**world, "issue_rate": (served[-1].start - served[0].start) / count * 1e9},
        "request_info": {
            "num_requests": count,
            "avg_num_concurrent_requests": sum(e2e_ms) / total_ms,
            "avg_input_length": tokens_in / count,
            "avg_output_length": tokens_out / count,
        },
        "performance": {
            "total_latency_ms": total_ms,
            "avg_request_latency_ms": sum(e2e_ms) / count,
            "request_throughput_req_s": count / total_ms * 1e3,
            "system_output_throughput_tok_s": tokens_out / total_ms * 1e3,
            "system_total_throughput_tok_s": (tokens_in + tokens_out) / total_ms * 1e3,
            "output_throughput_per_user_tok_s": sum(r.output_tokens * 1e9 / (r.end - r.start) for r in served)
            / count,
            "output_throughput_per_gpu_tok_s": tokens_out / total_ms * 1e3 / world["world_size"],
            "request_latency_percentiles_ms": spread(e2e_ms),
        },
    }
    if streaming:
        ttft = [(r.first - r.start) / 1e6 for r in served]
        tpot = [(r.end - r.first) / 1e6 / max(r.output_tokens - 1, 1) for r in served]
        speeds = [1e3 / t for t in tpot]
        content["streaming_metrics"] = {
            "token_output_speed_tok_s": sum(speeds) / count,
            "avg_ttft_ms": sum(ttft) / count,
            "avg_tpot_ms": sum(tpot) / count,
            "tpot_percentiles": spread(tpot),
            "ttft_percentiles": spread(ttft),
            "gen_tps_percentiles": spread(speeds),
        }
    if draft:
        drafted = [float(draft * r.iterations) for r in served]
        accepted = [float(r.output_tokens - r.iterations) for r in served]
        content["decoding_stats"] = {
            "mode": "MTP",
            "num_draft_tokens_percentiles": spread(drafted),
            "num_accepted_draft_tokens_percentiles": spread(accepted),
            "draft_acceptance_rate_percentiles": spread(
                [a / d for a, d in zip(accepted, drafted, strict=True)]
            ),
            "acceptance_length_percentiles": spread([r.output_tokens / r.iterations for r in served]),
        }
    lengths = {
        "isl_stats": [float(r.input_tokens) for r in served],
        "osl_stats": [float(r.output_tokens) for r in served],
        "seq_len_stats": [float(r.input_tokens + r.output_tokens) for r in served],
    }
    content["dataset"] = {name: spread(values) for name, values in lengths.items()}
    content["dataset"] |= {"num_requests": count, "dataset_path": dataset}
    return content


def text(content: dict[str, Any], version: str) -> str:
    """Return the report as it is logged."""
    parts = ["\n\n", _engine(content["engine"], version)]
    if newer(version, 1, 2) and (machine := content.get("machine")):
        parts.append(
            f"{_head('MACHINE DETAILS ')}{machine['name']}, memory {machine['memory.total']:.2f} GB, "
            f"{machine['clocks.mem']:.2f} GHz\n\n"
        )
    parts += [_requests(content["request_info"]), _world(content["world_info"], version)]
    parts.append(performance(content, version))
    if stats := content.get("decoding_stats"):
        parts.append(_decoding(stats))
    else:
        parts.append("\n")
    parts.append(dataset_details(content["dataset"]))
    return "".join(parts)


def _head(title: str) -> str:
    return f"{RULE}\n= {title}\n{RULE}\n"


def _engine(engine: dict[str, Any], version: str) -> str:
    label = "TensorRT LLM Version:" if newer(version, 1, 1) else "TensorRT-LLM Version:"
    return (
        f"{_head('PYTORCH BACKEND')}Model:\t\t\t{engine['model']}\nModel Path:\t\t{engine['model_path']}\n"
        f"{label}\t{engine['version']}\nDtype:\t\t\t{engine['dtype']}\n"
        f"KV Cache Dtype:\t\t{engine['kv_cache_dtype']}\nQuantization:\t\t{engine['quantization']}\n\n"
    )


def _requests(info: dict[str, Any]) -> str:
    return (
        f"{_head('REQUEST DETAILS ')}"
        f"Number of requests:             {info['num_requests']}\n"
        f"Number of concurrent requests:  {info['avg_num_concurrent_requests']:.4f}\n"
        f"Average Input Length (tokens):  {info['avg_input_length']:.4f}\n"
        f"Average Output Length (tokens): {info['avg_output_length']:.4f}\n"
    )


def _world(world: dict[str, Any], version: str) -> str:
    policy = world["scheduling_policy"]
    return (
        f"{_head('WORLD + RUNTIME INFORMATION ')}"
        f"TP Size:                {world['tp_size']}\nPP Size:                {world['pp_size']}\n"
        f"EP Size:                {world['ep_size']}\nMax Runtime Batch Size: {world['max_batch_size']}\n"
        f"Max Runtime Tokens:     {world['max_num_tokens']}\n"
        f"Scheduling Policy:      {policy if newer(version, 0, 18) else 'Guaranteed No Evict'}\n"
        f"KV Memory Percentage:   {world['kv_cache_percentage'] * 100:.2f}%\n"
        f"Issue Rate (req/sec):   {world['issue_rate']:.4E}\n\n"
    )


def performance(content: dict[str, Any], version: str) -> str:
    """Return PERFORMANCE OVERVIEW and the breakdowns with the labels of 0.17, of 0.18 on, or of 1.0 on."""
    values = content["performance"]
    new = newer(version, 1, 0)
    request = ("Request Throughput (req/sec)", "request_throughput_req_s")
    output = ("Total Output Throughput (tokens/sec)", "system_output_throughput_tok_s")
    total = ("Total Token Throughput (tokens/sec)", "system_total_throughput_tok_s")
    latency = [
        ("Total Latency (ms)", "total_latency_ms"),
        ("Average request latency (ms)", "avg_request_latency_ms"),
    ]
    user = (
        "Per User Output Throughput [w/ ctx] (tps/user)"
        if new
        else "Per User Output Throughput (tokens/sec/user)"
    )
    gpu = "Per GPU Output Throughput (tps/gpu)" if new else "Per GPU Output Throughput (tokens/sec/gpu)"
    each = [(user, "output_throughput_per_user_tok_s"), (gpu, "output_throughput_per_gpu_tok_s")]
    if new:
        order = [request, output, total, *latency, *each]
    elif newer(version, 0, 18):
        order = [request, output, *each, total, *latency]
    else:
        order = [request, ("Token Throughput (tokens/sec)", output[1]), latency[0]]
    lines = [_line(label, values[key]) for label, key in order]
    if streaming := content.get("streaming_metrics"):
        speed = (
            "Per User Output Speed (tps/user)" if new else "Per User Output Speed [1/TPOT] (tokens/sec/user)"
        )
        lines += [
            _line("Average time-to-first-token [TTFT] (ms)", streaming["avg_ttft_ms"]),
            _line("Average time-per-output-token [TPOT] (ms)", streaming["avg_tpot_ms"]),
            _line(speed, streaming["token_output_speed_tok_s"]),
        ]
    parts = [_head("PERFORMANCE OVERVIEW "), *lines, "\n"]
    if new:
        if streaming:
            first = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")
            for title, mark, key in (
                ("Per-Request Time-per-Output-Token [TPOT] Breakdown (ms)", "TPOT", "tpot_percentiles"),
                ("Per-Request Time-to-First-Token [TTFT] Breakdown (ms) ", "TTFT", "ttft_percentiles"),
                (
                    "Per-Request Generation Throughput [GTPS] Breakdown (tps/user)",
                    "GTPS",
                    "gen_tps_percentiles",
                ),
            ):
                parts.append(f"-- {title}\n\n{_spread(mark, streaming[key], first, 4)}\n")
        last = ("p50", "p90", "p95", "p99", "minimum", "maximum", "average")
        parts.append("-- Request Latency Breakdown (ms) -----------------------\n\n")
        parts.append(_spread("Latency", values["request_latency_percentiles_ms"], last, 4))
    return "".join(parts)


def _line(label: str, value: float) -> str:
    return f"{label + ':':50}{value:.4f}\n"


def _spread(mark: str, values: dict[str, float], order: tuple[str, ...], digits: int) -> str:
    return "".join(f"[{mark}] {name.upper():7}: {values[name]:.{digits}f}\n" for name in order)


def _decoding(stats: dict[str, Any]) -> str:
    first = ("minimum", "maximum", "average", "p50", "p90", "p95", "p99")
    blocks = (
        ("Number of Draft Tokens", "DT", "num_draft_tokens_percentiles", "\n\n\n"),
        ("Number of Accepted Draft Tokens", "ADT", "num_accepted_draft_tokens_percentiles", "\n\n"),
        ("Draft Acceptance Rate", "DAR", "draft_acceptance_rate_percentiles", "\n\n"),
        ("Acceptance Length", "AL", "acceptance_length_percentiles", "\n\n"),
    )
    body = "".join(
        f"-- {title} Details --------------------------------{gap}{_spread(mark, stats[key], first, 2)}"
        for title, mark, key, gap in blocks
    )
    return f"{_head('DECODING STATISTICS (MTP)')}\n{body}{RULE}\n\n"


def dataset_details(dataset: dict[str, Any]) -> str:
    rows = ("MIN", "minimum"), ("MAX", "maximum"), ("AVG", "average")
    columns = [dataset[name] for name in ("isl_stats", "osl_stats", "seq_len_stats")]
    table = "".join(
        f"{mark}:  {columns[0][key]:.4f}          {columns[1][key]:.4f}          {columns[2][key]:.4f}\n"
        for mark, key in (*rows, *((p.upper(), p) for p in _PERCENTILES))
    )
    return (
        f"{_head('DATASET DETAILS')}Dataset Path:         {dataset['dataset_path']}\n"
        f"Number of Sequences:  {dataset['num_requests']}\n\n"
        "-- Percentiles statistics ---------------------------------\n\n"
        f"        Input              Output           Seq. Length\n{'-' * 59}\n{table}{RULE}\n"
    )
