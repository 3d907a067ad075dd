"""Files that an engine's command names: which they are, and what of them is a fact."""

from __future__ import annotations

import hashlib
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.machine import named_files
from pytest_dsr1.machine.named_files import absolute_words, file_facts, left_relative, rewritten
from pytest_dsr1.machine.values import FactValue


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return name


def facts(folder: Path, *words: str) -> dict[str, FactValue]:
    return file_facts(words, folder)


def test_a_yaml_file_is_its_values(tmp_path: Path) -> None:
    text = "# a comment\nmoe_config: {backend: CUTLASS}\nsizes: [1, 2]\nnothing: null\nempty: {}\nnan: .nan\n"
    write(tmp_path, "opts.yml", text)
    found = facts(tmp_path, "--config", "opts.yml")
    assert found == {
        "file.opts.yml.empty": "{}",
        "file.opts.yml.moe_config.backend": "CUTLASS",
        "file.opts.yml.nan": "nan",
        "file.opts.yml.nothing": "null",
        "file.opts.yml.sizes": ["1", "2"],
    }
    write(
        tmp_path,
        "opts.yml",
        "empty: {}\nsizes:\n- 1\n- 2\nnothing:\nnan: .nan\nmoe_config:\n  backend: CUTLASS\n",
    )
    assert facts(tmp_path, "--config", "opts.yml") == found
    write(tmp_path, "opts.yml", text.replace("CUTLASS", "TRTLLM"))
    assert facts(tmp_path, "--config", "opts.yml") == {**found, "file.opts.yml.moe_config.backend": "TRTLLM"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--config=opts.json",), True),
        (("--config", "./opts.json"), True),
        (("@opts.json",), True),
        (("--x=@opts.json",), True),
        (("start", "opts.json"), True),
        (("--config", "bare"), True),
        (("serve",), False),  # a folder or file of that name is there by chance
        (("bare",), False),
        (("--config", "missing.json"), False),
        (("--flag", "--config"), False),
        (("--config", "--flag"), False),
        (("a" * 5000, "x\0y", ""), False),
    ],
)
def test_which_words_name_a_file(tmp_path: Path, words: tuple[str, ...], named: bool) -> None:
    write(tmp_path, "opts.json", '{"a": 1}')
    write(tmp_path, "bare", "x")
    write(tmp_path, "serve/x", "x")
    assert bool(facts(tmp_path, *words)) is named
    absolute = absolute_words(words, tmp_path)
    assert (absolute != list(words)) is named
    assert (str(tmp_path) in absolute[-1]) is named


def test_absolute_words_keep_what_stands_before_the_path(tmp_path: Path) -> None:
    write(tmp_path, "o.yml", "a: 1")
    words = ["--config=./o.yml", "@o.yml", "--x", "/abs/o.yml", "--port", "8000"]
    assert absolute_words(words, tmp_path) == [
        f"--config={tmp_path}/o.yml",
        f"@{tmp_path}/o.yml",
        *words[2:],
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("python", "-m", "pytorch", "8000"),
        ("python3.11", "-u", "-m", "pytorch"),
        ("vllm", "--backend", "pytorch"),
        ("vllm", "--backend=pytorch"),
        ("vllm", "pytorch"),
        ("python", "-m", "bare"),
        ("bash", "-c", "exec python -m pytorch --backend pytorch bare"),
        ("--config", '{"backend": "pytorch", "x": "bare"}'),
        ("--x=$pytorch/o.yml", "${pytorch}/o.yml", "${x}pytorch/o.yml", "pytorch/{o,p}.yml", "~/pytorch"),
    ],
)
def test_a_word_that_is_no_path_stays(tmp_path: Path, words: tuple[str, ...]) -> None:
    """Beside a folder or file of the same name: Python's modules, backends and other values of options."""
    write(tmp_path, "pytorch/o.yml", "a: 1")
    write(tmp_path, "bare", "x")
    assert absolute_words(words, tmp_path) == list(words)
    assert left_relative(words, {}, tmp_path) == []


def test_a_path_of_a_folder_is_absolute(tmp_path: Path) -> None:
    write(tmp_path, "lora/a.json", "1")
    words = ["--lora", "./lora", "--lora=lora/", "--dir", ".", "-m", "./lora", "-m", "lora/a.json"]
    assert absolute_words(words, tmp_path) == [
        *("--lora", f"{tmp_path}/lora", f"--lora={tmp_path}/lora", "--dir", f"{tmp_path}"),
        *("-m", f"{tmp_path}/lora", "-m", f"{tmp_path}/lora/a.json"),
    ]


PARTS = {
    "exec vllm serve --config ./opts.yml": "exec vllm serve --config {}/opts.yml",
    "exec vllm serve --config=opts.yml 2>./log": "exec vllm serve --config={}/opts.yml 2>./log",
    "cat 'opts.yml'; echo \"lora/a.json\"": "cat '{}/opts.yml'; echo \"{}/lora/a.json\"",
    "cd ./lora && exec ./missing": "cd {}/lora && exec ./missing",
    "sql=./lora": "sql={}/lora",
    "sql=./lora,other=lora/": "sql={}/lora,other={}/lora",
    '{"name": "sql", "path": "./lora"}': '{"name": "sql", "path": "{}/lora"}',
    "{model: ./lora, n: 3}": "{model: {}/lora, n: 3}",
    "--config=a,./opts.yml": "--config=a,{}/opts.yml",
    "-copts.yml": "-c{}/opts.yml",
    "-c./opts.yml": "-c{}/opts.yml",
    "-v=./lora:/lora": "-v={}/lora:/lora",
    "file:./opts.yml": "file:{}/opts.yml",
}


@pytest.mark.parametrize("word", PARTS)
def test_a_path_in_a_part_of_a_word(tmp_path: Path, word: str) -> None:
    write(tmp_path, "opts.yml", "a: 1")
    write(tmp_path, "lora/a.json", "1")
    assert absolute_words(["bash", word], tmp_path) == ["bash", PARTS[word].replace("{}", str(tmp_path))]
    assert facts(tmp_path, "bash", word)
    assert left_relative(["bash", word], {}, tmp_path) == []


@pytest.mark.parametrize(
    "word",
    [
        "cd /opt && exec vllm --config ./opts.yml",
        "pushd x; . ./opts.yml",
        "import os; os.chdir('/'); './opts.yml'",
    ],
)
def test_a_path_that_may_be_relative_to_another_folder_is_left_and_named(tmp_path: Path, word: str) -> None:
    write(tmp_path, "opts.yml", "a: 1")
    assert absolute_words(["bash", "-c", word], tmp_path) == ["bash", "-c", word]
    assert facts(tmp_path, "bash", "-c", word) == {"file../opts.yml.a": 1}
    assert left_relative(["bash", "-c", word], {}, tmp_path) == ["./opts.yml in word 3 of the command"]


def test_a_path_that_would_have_to_be_quoted_is_left_and_named(tmp_path: Path) -> None:
    folder = tmp_path / "my $folder"
    write(folder, "opts.yml", "a: 1")
    words = ["bash", "-c", "exec vllm --config ./opts.yml"]
    assert absolute_words(words, folder) == words
    assert left_relative(words, (), folder) == ["./opts.yml in word 3 of the command"]
    assert absolute_words(["--config", "./opts.yml"], folder) == ["--config", f"{folder}/opts.yml"]


def test_relative_paths_in_files_and_variables_are_named(tmp_path: Path) -> None:
    """The engine runs in a folder of its own; nothing rewrites what it reads there."""
    write(tmp_path, "lora/a.json", '{"next": "opts.yml"}')
    text = f"draft: {{path: ./lora}}\nlist: [lora/a.json, other]\nname: lora\nabs: {tmp_path}/lora\n"
    write(tmp_path, "opts.yml", text)
    variables = {"CFG": "opts.yml", "PATH": f"./lora:{tmp_path}", "MODE": "lora", "HOME": str(tmp_path)}
    assert left_relative(["--config", "opts.yml", "--port", "1"], variables.items(), tmp_path) == [
        "./lora in opts.yml (draft.path)",
        "lora/a.json in opts.yml (list)",
        "opts.yml in the variable CFG",
        "./lora in the variable PATH",
    ]
    assert left_relative(["vllm", "serve"], (), tmp_path) == []


def test_secrets_in_a_file_are_no_facts(tmp_path: Path) -> None:
    text = "api_key: planted\nproxy: http://me:planted@host\neos_token_id: 5\nkeys: [planted]\n"
    write(tmp_path, "opts.yaml", text)
    found = facts(tmp_path, "opts.yaml")
    assert "planted" not in str(found)
    assert found["file.opts.yaml.api_key"] == "(not shown)"
    assert found["file.opts.yaml.eos_token_id"] == 5


def test_other_files_have_size_and_checksum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def summed(text: str) -> str:
        return f"{len(text):,} bytes, sha256 {hashlib.sha256(text.encode()).hexdigest()}"

    write(tmp_path, "chat.jinja", "template")
    write(tmp_path, "broken.json", "{")
    write(tmp_path, "deep.json", "[" * 100_000)
    write(tmp_path, "deep.yml", "- " * 100_000)
    write(
        tmp_path,
        "bomb.yml",
        "a: &a [x, x]\n" + "".join(f"{c}: &{c} [[*{d}], [*{d}]]\n" for d, c in pairwise("abcdefghijklm")),
    )
    write(tmp_path, "loop.yml", "a: &a [*a]\n")
    for name in ("chat.jinja", "broken.json", "deep.json", "deep.yml", "bomb.yml", "loop.yml"):
        assert facts(tmp_path, name) == {f"file.{name}": summed((tmp_path / name).read_text())}
    monkeypatch.setattr(named_files, "READ_BYTES", 5)
    write(tmp_path, "long.yml", "a: 123")
    assert facts(tmp_path, "long.yml") == {"file.long.yml": summed("a: 123")}


def test_folders_weights_and_large_files_have_path_size_and_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("draft/config.json", "draft/deep/x.txt", "w.safetensors", "large.txt"):
        write(tmp_path, name, "12345")
        os.utime(tmp_path / name, (0, 1_000_000_000))
    for folder in ("draft/deep", "draft"):
        os.utime(tmp_path / folder, (0, 1_000_000_000))
    monkeypatch.setattr(named_files, "HASHED_BYTES", 4)
    at = "changed 2001-09-09 01:46:40 UTC"
    assert facts(tmp_path, "--draft", "draft", "w.safetensors", "large.txt") == {
        "file.draft": f"{tmp_path}/draft, 10 bytes, {at}",
        "file.large.txt": f"{tmp_path}/large.txt, 5 bytes, {at}",
        "file.w.safetensors": f"{tmp_path}/w.safetensors, 5 bytes, {at}",
    }
    os.utime(tmp_path / "draft/deep/x.txt", (0, 1_000_000_001))
    assert str(facts(tmp_path, "--draft", "draft")["file.draft"]).endswith("01:46:41 UTC")


@pytest.mark.parametrize(("size", "hashed"), [(64 * 2**20, True), (64 * 2**20 + 1, False)])
def test_files_above_64_mib_are_not_read(tmp_path: Path, size: int, hashed: bool) -> None:
    path = tmp_path / "large.txt"
    path.touch()
    os.truncate(path, size)  # sparse, so nothing is written
    (fact,) = facts(tmp_path, "large.txt").values()
    assert ("sha256" in str(fact)) is hashed


@pytest.mark.parametrize(("size", "read"), [(256 * 2**10 - 1, True), (256 * 2**10, False)])
def test_options_below_256_kib_are_read(tmp_path: Path, size: int, read: bool) -> None:
    head = "tp: 8\n# "
    write(tmp_path, "options.yml", head + "x" * (size - len(head)))
    assert ("file.options.yml.tp" in facts(tmp_path, "options.yml")) is read


def test_what_cannot_be_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert facts(tmp_path, "--x", "./fifo") == {"file../fifo": "not a regular file"}

    def refuse(_: Any) -> bytes:
        raise PermissionError(13, "Permission denied")

    write(tmp_path, "o.yml", "a: 1")
    monkeypatch.setattr(named_files, "open_regular", refuse)
    assert facts(tmp_path, "o.yml") == {"file.o.yml": "cannot be read: Permission denied"}


def test_files_that_a_run_wrote() -> None:
    before: dict[str, FactValue] = {"file.log": "1", "file.o.yml.a": 1, "driver": "1", "file.gone": "1"}
    after: dict[str, FactValue] = {"file.log": "2", "file.o.yml.a": 1, "driver": "2"}
    assert rewritten(before, after) == ["file.log", "file.gone"]
