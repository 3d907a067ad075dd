"""First starts: what is remembered of those on a node, and which files show that one compiled."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.transformers.settings import Transformers
from pytest_dsr1.machine import host, warm_start
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.machine.warm_start import Snapshot, Starts, filled, start_key
from tests.helpers.compile_caches import VARIABLES

FACTS: dict[str, FactValue] = {
    "gpu.uuids": ["GPU-b", "GPU-a"],
    "library.torch": "2.13.0",
    "engine.vllm": "0.26.0",
    "driver": "580.159.04",
    "cuda.driver": "13.0",
    "container.image": "tensorrt-llm/release:1.2.1",
    "option.engine.tp": 8,
    "model.content": "ab12",
    "option.load.concurrency": 64,
    "dataset.content": "cd34",
    "kernel": "6.8",
    "hostname": "dgx",
}
KEY = start_key(FACTS)


@pytest.mark.parametrize(
    "fact",
    [
        "gpu.uuids",
        "library.torch",
        "engine.vllm",
        "driver",
        "cuda.driver",
        "container.image",
        "option.engine.tp",
        "model.content",
    ],
)
def test_what_decides_what_is_compiled_is_in_the_key(fact: str) -> None:
    assert start_key({**FACTS, fact: "another"}) != KEY


@pytest.mark.parametrize("fact", ["option.load.concurrency", "dataset.content", "kernel", "hostname"])
def test_what_profiles_of_one_software_differ_in_is_not(fact: str) -> None:
    assert start_key({**FACTS, fact: "another"}) == KEY


def test_a_node_is_a_set_of_gpus() -> None:
    assert start_key({**FACTS, "gpu.uuids": ["GPU-a", "GPU-b"]}) == KEY
    assert start_key(dict(reversed(FACTS.items()))) == KEY
    assert len(KEY) == 64


def test_machines_without_gpus_do_not_share_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = {"library.torch": "2.13.0"}
    key = start_key(on_cpu)
    assert start_key({**on_cpu, "hostname": "another container"}) == key
    monkeypatch.setattr(host, "boot_id", lambda: "that of another machine")
    assert start_key(on_cpu) != key
    assert start_key(FACTS) == KEY


def test_a_start_is_seen_once_it_was_noted(tmp_path: Path) -> None:
    environ, told = {"DSR1_STATE_DIR": str(tmp_path)}, list[str]()
    starts = Starts(environ, told.append)
    assert not starts.seen(KEY)
    starts.note(KEY)
    starts.note(KEY)
    assert starts.seen(KEY)
    assert Starts(environ, told.append).seen(KEY), "in the next run too"
    assert not starts.seen(start_key({**FACTS, "driver": "590"}))
    assert told == []


def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pytest_dsr1.machine.warm_start import Starts\n"
        "starts = Starts({'DSR1_STATE_DIR': sys.argv[1]}, print)\n"
        "input()\n"
        "for i in range(50):\n"
        "    starts.note(f'{sys.argv[2]}-{i}')\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in "abc"
    ]
    said = [process.communicate(b"\n")[0] for process in processes]
    assert said == [b""] * 3
    starts = Starts({"DSR1_STATE_DIR": str(tmp_path)}, print)
    assert all(starts.seen(f"{name}-{i}") for name in "abc" for i in range(50))


def test_a_damaged_memory_costs_a_warm_up_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("in the way")
    told: list[str] = []
    starts = Starts({"DSR1_STATE_DIR": str(tmp_path)}, told.append)
    assert not starts.seen(KEY)
    starts.note(KEY)
    assert not starts.seen(KEY)
    assert told == [
        "engine starts on this node cannot be recorded, so the next run needs another warm-up start: "
        f"{tmp_path}/starts/{KEY}: Not a directory"
    ]


def test_without_a_state_folder_every_start_is_the_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    starts = Starts({"DSR1_STATE_DIR": str(tmp_path / "file" / "state")}, told.append)
    starts.note(KEY)
    assert not starts.seen(KEY)
    (sentence,) = told
    assert sentence.startswith("engine starts on this node cannot be recorded, ")
    assert sentence.endswith("choose one with DSR1_STATE_DIR")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "tmp"), "USER": "a:b"}


def snapshot(environ: dict[str, str]) -> Snapshot:
    """The compiled code in the caches of an engine that may run any server."""
    return warm_start.snapshot([environ], OpenAi(type="openai"))


def put(path: Path, size: int = 8) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


PLACES = {
    "torch inductor": ("tmp/torchinductor_a_b", "triton/0/AB/kernel.cubin"),
    "torch extensions": ("home/.cache/torch_extensions", "py311/op/op.so"),
    "Triton": ("home/.triton/cache", "AB/kernel.cubin"),
    "vLLM": ("home/.cache/vllm", "torch_compile_cache/1f/rank_0_0/inductor_cache/l6/kernel.cubin"),
    "vLLM's DeepGEMM": ("home/.cache/vllm", "deep_gemm/cache/kernel.gemm.1f/kernel.cubin"),
    "FlashInfer": ("home/.cache/flashinfer", "0.6/90a/cached_ops/mla/mla.so"),
    "DeepGEMM": ("home/.deep_gemm", "cache/kernel.gemm.1f/kernel.cubin"),
    "TensorRT-LLM": ("home/.tensorrt_llm", "cache/gemm_1f/gemm.cubin"),
    "TensorRT-LLM by rank": ("tmp/deep_gemm_rank3_gpu3", "cache/kernel.gemm.1f/kernel.cubin"),
    "SGLang": ("home/.cache/sglang", "jit/1f/op.so"),
    "SGLang's DeepGEMM": ("home/.cache/deep_gemm", "cache/kernel.gemm.1f/kernel.cubin"),
    "TileLang": ("home/.tilelang/cache", "1f/kernel_lib.so"),
    "TVM FFI": ("home/.cache/tvm-ffi", "op_1f/op.so"),
    "CuTe DSL": ("tmp/a:b/cutlass_python_cache", "cute_dsl_gemm.mlir"),
}


@pytest.mark.parametrize("compiler", PLACES)
def test_code_that_a_compiler_added(compiler: str, tmp_path: Path, environ: dict[str, str]) -> None:
    folder, file = PLACES[compiler]
    empty = snapshot(environ)
    put(tmp_path / folder / file)
    assert filled(empty, snapshot(environ)) == (str(tmp_path / folder),)


def test_caches_of_servers_do_not_count_for_an_engine_without_one(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    engine = Transformers(type="transformers")
    empty = warm_start.snapshot([environ], engine)
    put(tmp_path / "home" / ".cache" / "vllm" / "a.so")
    put(tmp_path / "home" / ".triton" / "cache" / "a.so")
    after = warm_start.snapshot([environ], engine)
    assert filled(empty, after) == (str(tmp_path / "home" / ".triton" / "cache"),)


def test_the_caches_of_each_kind_of_process(tmp_path: Path, environ: dict[str, str]) -> None:
    engine, other = OpenAi(type="openai"), tmp_path / "of generation"
    environs = [environ, {**environ, "TRITON_CACHE_DIR": str(other)}]
    empty = warm_start.snapshot(environs, engine)
    put(other / "a.so")
    put(tmp_path / "home" / ".triton" / "cache" / "a.so")
    found = filled(empty, warm_start.snapshot(environs, engine))
    assert found == (str(tmp_path / "home" / ".triton" / "cache"), str(other))


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_folder_can_be_another(variable: str, tmp_path: Path, environ: dict[str, str]) -> None:
    environ[variable] = str(tmp_path / "own")
    folder = tmp_path / "own" / VARIABLES[variable]
    empty = snapshot(environ)
    put(folder / "deep" / "kernel.cubin")
    assert filled(empty, snapshot(environ)) == (str(folder),)


def test_the_users_cache_folder_can_be_another(tmp_path: Path, environ: dict[str, str]) -> None:
    environ["XDG_CACHE_HOME"] = str(tmp_path / "own")
    empty = snapshot(environ)
    put(tmp_path / "own" / "vllm" / "a.so")
    put(tmp_path / "own" / "torch_extensions" / "a.so")
    assert filled(empty, snapshot(environ)) == (
        str(tmp_path / "own" / "torch_extensions"),
        str(tmp_path / "own" / "vllm"),
    )


def test_code_that_grew_counts_and_code_that_is_only_used_does_not(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    file = tmp_path / "home" / ".triton" / "cache" / "AB" / "kernel.cubin"
    put(file)
    before = snapshot(environ)
    file.read_bytes()
    os.utime(file)
    assert filled(before, snapshot(environ)) == ()
    put(file)
    assert filled(before, snapshot(environ)) == (), "written again as it was"
    put(file, 7)
    assert filled(before, snapshot(environ)) == (), "shrunk"
    file.unlink()
    assert filled(before, snapshot(environ)) == (), "cleaned up"
    put(file, 9)
    assert filled(before, snapshot(environ)) == (str(tmp_path / "home" / ".triton" / "cache"),)


@pytest.mark.parametrize(
    "file",
    [
        "tmp/torchinductor_a_b/locks/ckhx2.lock",
        "tmp/torchinductor_a_b/fxgraph/r3/fr3h/vw6v",
        "tmp/torchinductor_a_b/aotautograd/r3/entry",
        "tmp/torchinductor_a_b/l6/cl6g.py",
        "home/.triton/cache/AB/__grp__kernel.json",
        "home/.cache/vllm/torch_compile_cache/1f/cache_key_factors.json",
        "home/.cache/vllm/modelinfos/deepseek.json",
        "home/.cache/vllm/usage_stats.json",
        "home/.cache/vllm/server.log",
        "home/.config/vllm/usage_stats.so",
        "home/.cache/flashinfer/flashinfer_jit.log",
        "home/.cache/flashinfer/90a/cached_ops/mla/build.ninja",
        "home/.cache/torch_extensions/py311/op/lock",
        "home/.nv/ComputeCache/a/7/0f3d",
    ],
)
def test_locks_logs_and_what_may_be_new_at_every_start_do_not_count(
    file: str, tmp_path: Path, environ: dict[str, str]
) -> None:
    before = snapshot(environ)
    put(tmp_path / file)
    put(tmp_path / "home" / ".triton" / "cache" / "AB" / "empty.so", 0)
    assert filled(before, snapshot(environ)) == ()


def test_a_loop_of_links_is_not_followed(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = tmp_path / "home" / ".triton" / "cache"
    folder.mkdir(parents=True)
    (folder / "loop").symlink_to(folder)
    assert snapshot(environ) == Snapshot({})


def test_of_a_folder_that_is_too_large_nothing_is_said(
    tmp_path: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "home" / ".triton" / "cache"
    put(folder / "a.cubin")
    put(folder / "b.cubin")
    monkeypatch.setattr(warm_start, "MOST_ENTRIES", 2)
    before = snapshot(environ)
    assert before.too_large == ()
    put(folder / "c.cubin")
    put(tmp_path / "home" / ".deep_gemm" / "a.cubin")
    after = snapshot(environ)
    assert after.too_large == (str(folder),)
    assert filled(before, after) == (str(tmp_path / "home" / ".deep_gemm"),)
    (folder / "a.cubin").unlink()
    assert filled(after, snapshot(environ)) == ()


def test_a_user_without_a_name(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    del environ["USER"]
    empty = snapshot(environ)
    put(tmp_path / "tmp" / "torchinductor_uid_4711" / "a.so")
    assert filled(empty, snapshot(environ)) == (str(tmp_path / "tmp" / "torchinductor_uid_4711"),)
