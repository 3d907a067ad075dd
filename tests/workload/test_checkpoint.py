"""Malformed checkpoints are counted here: each row of MALFORMED, and each test after it, is one."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.schema.scenario import Model, RandomWeights
from pytest_dsr1.workload.checkpoint import (
    CheckpointFacts,
    Quantization,
    UnknownLayoutError,
    check_checkpoint,
    read_quantization,
)

CONFIG = {"architectures": ["DeepseekV3ForCausalLM"], "vocab_size": 129280}
DEEPSEEK = {"quant_method": "fp8", "weight_block_size": [128, 128], "fmt": "e4m3"}
NVIDIA = {
    "producer": {"name": "modelopt"},
    "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"},
}
MODELOPT = {"producer": {"name": "modelopt", "version": "0.29.0"}}
SHARDS = [f"model-{i:05}-of-000005.safetensors" for i in range(1, 6)]
SECOND = SHARDS[1]


def _shard(data: int = 4096, **metadata: str) -> bytes:
    """A safetensors file of one tensor with so many bytes."""
    header = json.dumps(
        {"__metadata__": metadata, "w": {"dtype": "U8", "shape": [data], "data_offsets": [0, data]}}
    ).encode()
    return len(header).to_bytes(8, "little") + header + bytes(data)


def _pointer(size: int) -> bytes:
    return (f"version https://git-lfs.github.com/spec/v1\noid sha256:{'4d7a' * 16}\nsize {size}\n").encode()


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole checkpoint in NVIDIA's layout, small."""
    path = tmp_path / "R1 FP4"
    path.mkdir()
    _write(path / "config.json", CONFIG)
    _write(path / "hf_quant_config.json", NVIDIA)
    tensors = {f"layers.{i}.w": shard for i, shard in enumerate(SHARDS)}
    _write(path / "model.safetensors.index.json", {"metadata": {}, "weight_map": tensors})
    for shard in SHARDS:
        (path / shard).write_bytes(_shard())
    return path


def _model(folder: Path, **changes: str) -> Model:
    values = {"quantization": "NVFP4", "kv_cache_quantization": "FP8", **changes}
    return Model(name="nvidia/DeepSeek-R1-0528-FP4", path=os.fspath(folder), **values)  # type: ignore[arg-type]


def _problems(model: Model) -> list[str]:
    with pytest.raises(InvalidRunError) as caught:
        check_checkpoint(model)
    head, *problems = str(caught.value).splitlines()
    assert head == f"{model.path} is not a usable checkpoint of nvidia/DeepSeek-R1-0528-FP4:"
    assert all(problem.startswith("  ") for problem in problems)
    return [problem.strip() for problem in problems]


def test_whole_checkpoint(folder: Path) -> None:
    facts = check_checkpoint(_model(folder))
    assert facts == CheckpointFacts(
        path=folder,
        architecture="DeepseekV3ForCausalLM",
        quantization="NVFP4",
        kv_cache_quantization="FP8",
        shards=5,
        total_bytes=5 * len(_shard()),
        content_key=facts.content_key,
    )
    assert len(facts.content_key) == 64


def test_content_key_changes_with_what_was_read_and_not_with_the_place(folder: Path) -> None:
    keys = [check_checkpoint(_model(folder)).content_key]
    moved = folder.rename(folder.with_name("moved"))
    assert check_checkpoint(_model(moved)).content_key == keys[0]
    (moved / SECOND).write_bytes(_shard(5000))
    keys.append(check_checkpoint(_model(moved)).content_key)
    _write(moved / "config.json", {**CONFIG, "num_hidden_layers": 61})
    keys.append(check_checkpoint(_model(moved)).content_key)
    _write(moved / "hf_quant_config.json", {**NVIDIA, "more": 1})
    keys.append(check_checkpoint(_model(moved)).content_key)
    assert len(set(keys)) == 4


def test_deepseeks_own_layout(folder: Path) -> None:
    (folder / "hf_quant_config.json").unlink()
    _write(folder / "config.json", {**CONFIG, "quantization_config": DEEPSEEK})
    facts = check_checkpoint(_model(folder, quantization="FP8_BLOCK_SCALES", kv_cache_quantization="none"))
    assert (facts.quantization, facts.kv_cache_quantization) == ("FP8_BLOCK_SCALES", "none")


def test_nvidias_file_stands_above_config_json(folder: Path) -> None:
    _write(folder / "config.json", {**CONFIG, "quantization_config": DEEPSEEK})
    assert check_checkpoint(_model(folder)).quantization == "NVFP4"


@pytest.mark.parametrize(
    ("content", "weights"),
    [
        ({"quantization": {"quant_algo": "MIXED_PRECISION"}}, "MIXED_PRECISION"),
        ({"quantization": {"quant_algo": "W4A8_AWQ"}}, "w4a8_awq"),
        ({"quantization": {"quant_algo": "FP8"}}, "FP8"),
        ({"quant_method": "awq"}, "AWQ"),
        ({"quant_method": "compressed-tensors"}, "COMPRESSED-TENSORS"),
        ({"quant_method": "fp8", "weight_block_size": [64, 64]}, "fp8 with weight_block_size [64, 64]"),
    ],
)
def test_any_quantization_can_be_named(folder: Path, content: dict[str, object], weights: str) -> None:
    _write(folder / "hf_quant_config.json", content)
    (problem,) = _problems(_model(folder, quantization="NVFP4", kv_cache_quantization="none"))
    advice = problem.rpartition("model.quantization to ")[2]
    assert advice.upper() == weights.upper()
    facts = check_checkpoint(_model(folder, quantization=advice, kv_cache_quantization="none"))
    assert check_checkpoint(_model(folder, quantization=weights, kv_cache_quantization="None")) == facts


@pytest.mark.parametrize(
    ("written", "read"), [("None", "none"), ("nvfp4", "NVFP4"), ("fp8_block_scales", "FP8_BLOCK_SCALES")]
)
def test_the_case_of_a_quantization_does_not_matter(written: str, read: str) -> None:
    model = Model(name="x", quantization=written, kv_cache_quantization=written)
    assert (model.quantization, model.kv_cache_quantization) == (read, read)


def test_the_quantization_of_a_cache_can_be_named(folder: Path) -> None:
    _write(
        folder / "hf_quant_config.json",
        {"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "NVFP4"}},
    )
    (problem,) = _problems(_model(folder))
    assert problem.endswith("or correct model.kv_cache_quantization to NVFP4")
    assert check_checkpoint(_model(folder, kv_cache_quantization="NVFP4")).kv_cache_quantization == "NVFP4"


@pytest.fixture
def snapshot(folder: Path, tmp_path: Path) -> Path:
    """A checkpoint in Hugging Face's cache."""
    place = tmp_path / "the hub" / "models--nvidia--DeepSeek-R1-FP4" / "snapshots" / "0123abcd"
    place.parent.mkdir(parents=True)
    return folder.rename(place)


def test_a_dangling_link_of_a_snapshot_is_mended_in_the_cache(snapshot: Path) -> None:
    _put_dangling_link(snapshot / SECOND)
    hub = snapshot.parents[2]
    assert _problems(_model(snapshot)) == [
        f"1 of 5 shards is missing: {SECOND}; download the rest: hf download nvidia/DeepSeek-R1-FP4 "
        f"--revision 0123abcd --cache-dir '{hub}'"
    ]


def test_a_broken_file_of_a_snapshot_is_downloaded_once_more(snapshot: Path) -> None:
    (snapshot / SECOND).write_bytes(b"")
    hub = snapshot.parents[2]
    assert _problems(_model(snapshot)) == [
        f"{SECOND} is empty; download it again: hf download nvidia/DeepSeek-R1-FP4 {SECOND} --revision "
        f"0123abcd --cache-dir '{hub}' --force-download"
    ]


def test_a_snapshot_that_is_not_there(snapshot: Path) -> None:
    missing = snapshot.with_name("9999")
    assert _problems(_model(missing)) == [
        "there is no such folder; correct model.path, or download it: hf download nvidia/DeepSeek-R1-FP4 "
        f"--revision 9999 --cache-dir '{snapshot.parents[2]}'"
    ]


def test_unquantized_single_file(folder: Path) -> None:
    for name in ("hf_quant_config.json", "model.safetensors.index.json", *SHARDS):
        (folder / name).unlink()
    (folder / "model.safetensors").write_bytes(_shard())
    facts = check_checkpoint(_model(folder, quantization="none", kv_cache_quantization="none"))
    assert (facts.shards, facts.quantization) == (1, "none")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, ("none", "none")),
        (
            {
                **MODELOPT,
                "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16},
            },
            ("NVFP4", "none"),
        ),
        (
            {**MODELOPT, "quantization": {"quant_algo": "nvfp4", "kv_cache_quant_algo": "FP8"}},
            ("NVFP4", "FP8"),
        ),
        ({"quantization": {"quant_algo": None}}, ("none", "none")),
        (
            {
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            },
            ("FP8_BLOCK_SCALES", "none"),
        ),
        (
            {"quant_method": "fp8", "weight_block_size": [64, 64]},
            ("fp8 with weight_block_size [64, 64]", "none"),
        ),
        ({"quant_method": "fp8"}, ("fp8 with weight_block_size None", "none")),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
            },
            ("NVFP4", "FP8"),
        ),
        ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "kv_cache_scheme": None}, ("NVFP4", "none")),
        ({**MODELOPT, "quant_algo": "FP8", "kv_cache_scheme": "fp8"}, ("FP8", "FP8")),
        ({**MODELOPT, "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, ("FP8", "FP8")),
        (
            {**MODELOPT, "quant_algo": "FP8", "kv_cache_scheme": {"type": ["x"], "num_bits": 3}},
            ("FP8", "['x'] of 3 bits"),
        ),
        ({"quant_method": "awq"}, ("AWQ", "none")),
    ],
)
def test_layouts_of_quantization(config: object, expected: tuple[str, str]) -> None:
    assert read_quantization(config) == Quantization(*expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "is not an object"),
        ({"quantization": "NVFP4"}, "has a `quantization` that is not an object"),
        ({"quantization": {"quant_algo": 4}}, "has a `quant_algo` that is not a string"),
        (
            {**MODELOPT, "quant_algo": "FP8", "kv_cache_scheme": 8},
            "has a `kv_cache_scheme` that is not a string",
        ),
        ({}, "has neither `quantization` nor `quant_method`"),
        ({"quant_method": 8}, "has neither `quantization` nor `quant_method`"),
        ({"producer": "modelopt"}, "has neither `quantization` nor `quant_method`"),
    ],
)
def test_unknown_layouts_of_quantization(config: object, message: str) -> None:
    with pytest.raises(UnknownLayoutError, match=f"^{message}$"):
        read_quantization(config)


def test_random_weights_need_no_check() -> None:
    model = Model(name="small", random_weights=RandomWeights(seed=3, config={"hidden_size": 64}))
    facts = check_checkpoint(model)
    assert (facts.path, facts.shards, facts.total_bytes) == (None, 0, 0)
    assert (facts.architecture, facts.quantization) == ("DeepseekV3ForCausalLM", "none")
    other = Model(name="small", random_weights=RandomWeights(seed=4, config={"hidden_size": 64}))
    assert facts.content_key != check_checkpoint(other).content_key
    assert facts == check_checkpoint(model)


def test_content_key_of_random_weights_has_their_quantization() -> None:
    """References of weights in BF16 were recorded with this key and must keep it."""
    weights = RandomWeights(seed=3, config={"hidden_size": 64})
    plain = check_checkpoint(Model(name="small", random_weights=weights))
    assert plain.content_key == "eea8e07156fe874cb372c7d3543885c8e6e414900c5ad7a9d8a434a384c0aa88"
    blocks = Model(name="small", random_weights=weights, quantization="FP8_BLOCK_SCALES")
    assert check_checkpoint(blocks).content_key != plain.content_key


def test_163_shards_of_real_size_are_checked_without_reading_them(folder: Path) -> None:
    """Sparse files of 4 GiB: reading even one of them would show in the count of bytes read."""
    names = [f"model-{i:05}-of-000163.safetensors" for i in range(1, 164)]
    _write(
        folder / "model.safetensors.index.json",
        {"weight_map": {f"{name}.{i}": name for name in names for i in range(564)}},
    )
    data = 4 << 30
    tensors = {f"w{i}": {"data_offsets": [data // 564 * i, data // 564 * (i + 1)]} for i in range(564)}
    header = json.dumps(tensors).encode()
    for name in names:
        with (folder / name).open("wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            file.truncate(8 + len(header) + data // 564 * 564)
    before = _bytes_read()
    facts = check_checkpoint(_model(folder))
    assert facts.shards == 163
    assert facts.total_bytes > 163 * (4 << 30) - (1 << 20)
    assert _bytes_read() - before < 64 << 20


def _bytes_read() -> int:
    counters = Path("/proc/self/io").read_text(encoding="ascii")
    return int(counters.split("rchar: ")[1].split()[0])


def _put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _put_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("blobs/nowhere")


def _name_no_quantization(folder: Path) -> None:
    (folder / "hf_quant_config.json").unlink()
    _write(folder / "config.json", {**CONFIG, "quantization_config": {}})


def _remove_shards(folder: Path, count: int) -> None:
    for shard in SHARDS[:count]:
        (folder / shard).unlink()


Change = Callable[[Path], object]

MALFORMED: dict[str, tuple[Change, str]] = {
    "no config.json": (
        lambda f: (f / "config.json").unlink(),
        "config.json is missing; is this the folder of a checkpoint?",
    ),
    "config.json cut off": (
        lambda f: (f / "config.json").write_text('{\n "architectures": ["Dee', encoding="utf-8"),
        "config.json:2:20: not JSON: Unterminated string starting at; download it again",
    ),
    "config.json not text": (
        lambda f: (f / "config.json").write_bytes(b'{"a":"\xff"}'),
        "config.json is not usable JSON: 'utf-8' codec can't decode byte 0xff in position 6",
    ),
    "config.json a list": (
        lambda f: _write(f / "config.json", [CONFIG]),
        "config.json is not a JSON object; download it again",
    ),
    "config.json a folder": (
        lambda f: _put_folder(f / "config.json"),
        "config.json cannot be read: Is a directory",
    ),
    "wrong architecture": (
        lambda f: _write(f / "config.json", {"architectures": ["LlamaForCausalLM"]}),
        'config.json: architectures is ["LlamaForCausalLM"], the scenario expects ["DeepseekV3ForCausalLM"]; '
        "correct model.path or model.architecture",
    ),
    "no architecture": (
        lambda f: _write(f / "config.json", {}),
        "config.json: architectures is null, the scenario expects",
    ),
    "wrong quantization": (
        lambda f: _write(
            f / "hf_quant_config.json", {"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
        ),
        "hf_quant_config.json says quantization FP8, the scenario expects NVFP4; name the right checkpoint "
        "in model.path, or correct model.quantization",
    ),
    "wrong KV cache": (
        lambda f: _write(f / "hf_quant_config.json", {"quantization": {"quant_algo": "NVFP4"}}),
        "hf_quant_config.json says KV cache quantization none, the scenario expects FP8; name the right "
        "checkpoint in model.path, or correct model.kv_cache_quantization",
    ),
    "hf_quant_config.json malformed": (
        lambda f: (f / "hf_quant_config.json").write_text("{", encoding="utf-8"),
        "hf_quant_config.json:1:2: not JSON: Expecting property name enclosed in double quotes; download it "
        "again",
    ),
    "hf_quant_config.json unknown": (
        lambda f: _write(f / "hf_quant_config.json", {"quantization": []}),
        "hf_quant_config.json has a `quantization` that is not an object: its quantization is unknown; "
        "download it again",
    ),
    "config.json's quantization unknown": (
        _name_no_quantization,
        "config.json, quantization_config, has neither `quantization` nor `quant_method`: its ",
    ),
    "no index": (
        lambda f: (f / "model.safetensors.index.json").unlink(),
        "model.safetensors.index.json is missing, so the shards are unknown; download it: hf download",
    ),
    "index malformed": (
        lambda f: (f / "model.safetensors.index.json").write_text("[", encoding="utf-8"),
        "model.safetensors.index.json:1:2: not JSON: Expecting value; download it again",
    ),
    "index without a map": (
        lambda f: _write(f / "model.safetensors.index.json", {"metadata": {}}),
        "model.safetensors.index.json has no `weight_map` from tensors to shards; download it again",
    ),
    "index with an empty map": (
        lambda f: _write(f / "model.safetensors.index.json", {"weight_map": {}}),
        "model.safetensors.index.json has no `weight_map` from tensors to shards; download it again",
    ),
    "index that leads elsewhere": (
        lambda f: _write(f / "model.safetensors.index.json", {"weight_map": {"a": "../../x", "b": ""}}),
        "model.safetensors.index.json names shards that are not file names: , ../../x; download it again",
    ),
    "one shard missing": (
        lambda f: (f / SECOND).unlink(),
        f"1 of 5 shards is missing: {SECOND}; download the rest: hf download "
        "nvidia/DeepSeek-R1-0528-FP4 --local-dir",
    ),
    "most shards missing": (
        lambda f: _remove_shards(f, 4),
        f"4 of 5 shards are missing: {SHARDS[0]}, {SHARDS[1]}, {SHARDS[2]} and 1 more; download the rest: ",
    ),
    "dangling link to a shard": (
        lambda f: _put_dangling_link(f / SECOND),
        f"1 of 5 shards is missing: {SECOND}; download the rest",
    ),
    "empty shard": (
        lambda f: (f / SECOND).write_bytes(b""),
        f"{SECOND} is empty; download it again: hf download nvidia/DeepSeek-R1-0528-FP4 {SECOND} --local-dir",
    ),
    "shard is a web page": (
        lambda f: (f / SECOND).write_bytes(b"<!DOCTYPE html><html>not found</html>"),
        f"{SECOND} is not a safetensors file; download it again",
    ),
    "shard with a strange header": (
        lambda f: (f / SECOND).write_bytes((2).to_bytes(8, "little") + b"[]"),
        f"{SECOND} is not a safetensors file; download it again",
    ),
    "shard cut off in its header": (
        lambda f: (f / SECOND).write_bytes(_shard()[:30]),
        f"{SECOND} is cut off within its header; download it again",
    ),
    "shard cut off": (
        lambda f: (f / SECOND).write_bytes(_shard()[:-1]),
        f"{SECOND} has 4,189 bytes, but its header says 4,190; download it again",
    ),
    "shard is a folder": (
        lambda f: _put_folder(f / SECOND),
        f"{SECOND} cannot be read: Is a directory",
    ),
}


def test_a_dozen_malformed_checkpoints_and_more_are_tried() -> None:
    assert len(MALFORMED) >= 12


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_checkpoint(folder: Path, name: str) -> None:
    change, expected = MALFORMED[name]
    change(folder)
    problems = _problems(_model(folder))
    assert len(problems) == 1
    assert problems[0].startswith(expected)


def test_pointers_in_the_place_of_weights(folder: Path) -> None:
    """What the published `GIT_LFS_SKIP_SMUDGE=1 git clone` leaves."""
    for shard in SHARDS:
        (folder / shard).write_bytes(_pointer(5 << 30))
    assert _problems(_model(folder)) == [
        "git-lfs pointers instead of 5 files of 25.0 GiB, probably from a clone without git-lfs or with "
        f"GIT_LFS_SKIP_SMUDGE=1: {SHARDS[0]}, {SHARDS[1]}, {SHARDS[2]} and 2 more; download the "
        f"files: git lfs install && git -C '{folder}' lfs pull"
    ]


def test_pointers_in_the_place_of_index_configuration_and_tokenizer(folder: Path) -> None:
    for name in ("model.safetensors.index.json", "hf_quant_config.json", "tokenizer.json"):
        (folder / name).write_bytes(_pointer(1 << 20))
    (problem,) = _problems(_model(folder))
    assert "pointers instead of 3 files of 0.0 GiB" in problem
    assert "=1: hf_quant_config.json, model.safetensors.index.json, tokenizer.json; download" in problem


def test_all_problems_at_once(folder: Path) -> None:
    _write(folder / "config.json", {"architectures": ["Qwen3ForCausalLM"]})
    _write(folder / "hf_quant_config.json", {"quantization": {}})
    (folder / SHARDS[0]).unlink()
    (folder / SHARDS[1]).write_bytes(b"")
    (folder / SHARDS[2]).write_bytes(_pointer(1 << 30))
    problems = _problems(_model(folder))
    assert [problem.split(";")[0][:45] for problem in problems] == [
        'config.json: architectures is ["Qwen3ForCausa',
        "hf_quant_config.json says quantization none, ",
        "hf_quant_config.json says KV cache quantizati",
        f"{SHARDS[1]} is empty"[:45],
        f"1 of 5 shards is missing: {SHARDS[0]}"[:45],
        "git-lfs pointers instead of 1 file of 1.0 GiB",
    ]


def test_missing_folder(tmp_path: Path) -> None:
    (problem,) = _problems(_model(tmp_path / "none"))
    assert problem == (
        "there is no such folder; correct model.path, or download it: hf download "
        f"nvidia/DeepSeek-R1-0528-FP4 --local-dir {tmp_path}/none"
    )


def test_file_in_the_place_of_the_folder(folder: Path) -> None:
    (problem,) = _problems(_model(folder / "config.json"))
    assert problem == "this is a file; expected a folder in model.path"


def test_folder_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> list[str]:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "listdir", refuse)  # tests may run as root, whom no permission stops
    assert _problems(_model(folder)) == ["the folder cannot be read: Permission denied"]


def test_path_with_a_nul() -> None:
    (problem,) = _problems(_model(Path("a\0b")))
    assert problem.startswith("the folder cannot be read: ")
    assert "embedded null" in problem


def test_folder_of_the_hugging_face_cache(tmp_path: Path) -> None:
    (tmp_path / "snapshots").mkdir()
    assert _problems(_model(tmp_path)) == [
        "this is a folder of Hugging Face's cache; expected the folder of the checkpoint inside snapshots"
    ]


def test_model_that_a_server_has_needs_no_check() -> None:
    one, other = (check_checkpoint(Model(name=name)) for name in ("deepseek-ai/DeepSeek-R1", "nvidia/other"))
    assert (one.path, one.shards) == (None, 0)
    assert one.content_key != other.content_key


_KEYS = [
    *("architectures", "quantization_config", "quantization", "quant_algo", "quant_method", "producer"),
    *("name", "kv_cache_scheme", "weight_map", "w", "data_offsets", "__metadata__"),
]
_any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(_KEYS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    name=st.sampled_from(["config.json", "hf_quant_config.json", "model.safetensors.index.json"]),
    content=_any_json,
)
def test_any_json_is_taken_or_refused_in_words(folder: Path, name: str, content: object) -> None:
    before = (folder / name).read_bytes()
    _write(folder / name, content)
    try:
        assert check_checkpoint(_model(folder)).shards == 5
    except InvalidRunError:
        assert all(_problems(_model(folder)))
    finally:
        (folder / name).write_bytes(before)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(header=st.binary(max_size=40) | _any_json.map(lambda content: json.dumps(content).encode()))
def test_any_header_is_taken_or_refused_in_words(folder: Path, header: bytes) -> None:
    (folder / SECOND).write_bytes(len(header).to_bytes(8, "little") + header)
    try:
        assert check_checkpoint(_model(folder)).shards == 5
    except InvalidRunError:
        (problem,) = _problems(_model(folder))
        assert problem.startswith(SECOND)


@pytest.mark.parametrize("name", ["config.json", SHARDS[0]])
def test_a_pipe_in_a_checkpoint_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    problems = _problems(_model(folder))
    assert f"{name} cannot be read: it is a device or pipe" in problems
