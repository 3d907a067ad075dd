"""A bundle of one result: its bytes, and what is refused when it is unpacked."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement import bundle
from pytest_dsr1.measurement.bundle import files_of, is_bundle, pack, unpacked
from pytest_dsr1.measurement.store import load
from tests.helpers.saved_results import save


def packed(tmp_path: Path, name: str = "a.tar.gz") -> Path:
    folder = save(tmp_path / "results")
    pack(files_of(folder), f"small/{folder.name}", 1.7e9, tmp_path / name)
    return tmp_path / name


def test_a_result_comes_back_as_it_was(tmp_path: Path) -> None:
    file = packed(tmp_path)
    (folder,) = (tmp_path / "results" / "small").iterdir()
    (folder / "engine" / "link").symlink_to("/etc/passwd")
    found = unpacked(file)
    assert found != folder
    assert (found.parent.name, found.name) == ("small", folder.name)
    assert {name: path.read_bytes() for name, path in files_of(found).items()} == {
        name: path.read_bytes() for name, path in files_of(folder).items()
    }
    assert load(found).metrics == load(folder).metrics
    assert unpacked(file) is found


def test_the_same_result_gives_the_same_bytes_for_its_owner(tmp_path: Path) -> None:
    file = packed(tmp_path)
    (folder,) = (tmp_path / "results" / "small").iterdir()
    for path in files_of(folder).values():
        path.touch()
        path.chmod(0o600)
    pack(dict(reversed(files_of(folder).items())), f"small/{folder.name}", 1.7e9, tmp_path / "b.tar.gz")
    assert file.read_bytes() == (tmp_path / "b.tar.gz").read_bytes()
    assert file.stat().st_mode & 0o777 == 0o600
    with tarfile.open(file) as tar:
        members = tar.getmembers()
    assert [each.name for each in members] == sorted(each.name for each in members)
    assert {(each.uid, each.gid, each.uname, each.mtime) for each in members} == {(0, 0, "", 1_700_000_000)}


def test_a_bundle_is_known_by_its_name(tmp_path: Path) -> None:
    assert is_bundle(packed(tmp_path))
    assert not is_bundle(packed(tmp_path, "a.tgz"))
    (tmp_path / "folder.tar.gz").mkdir()
    assert not is_bundle(tmp_path / "folder.tar.gz")


def tar_of(path: Path, *names: str, kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO())
    return path


@pytest.mark.parametrize(
    "name",
    [
        "../small/measurement.json",
        "/small/20261123T200512Z/measurement.json",
        "small/20261123T200512Z/../../measurement.json",
        "small/20261123T200512Z/..",
        "small/measurement.json",
    ],
)
def test_a_file_that_leaves_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    file = tar_of(tmp_path / "a.tar.gz", name)
    with pytest.raises(UserError) as caught:
        unpacked(file)
    assert str(caught.value) == (
        f"{file}: is not a bundle of `pytest-dsr1 bundle`: it has {name!r}, expected files in "
        "<profile>/<UTC time>/"
    )


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_what_is_not_a_file_is_refused(tmp_path: Path, kind: bytes) -> None:
    file = tar_of(tmp_path / "a.tar.gz", "small/20261123T200512Z/measurement.json", kind=kind)
    with pytest.raises(UserError, match="expected files in"):
        unpacked(file)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("_MOST_FILES", "_MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(bundle, limit, 1)
            with pytest.raises(UserError, match=r"it has more than [\d,]+ files or [\d,]+ bytes$"):
                unpacked(packed(tmp_path, f"{limit}.tar.gz"))


def test_another_number_of_results(tmp_path: Path) -> None:
    for count in (0, 2):
        names = [f"small/{n}/measurement.json" for n in range(count)]
        with pytest.raises(UserError, match=rf"it has {count} results, expected 1$"):
            unpacked(tar_of(tmp_path / f"{count}.tar.gz", *names))


@pytest.mark.parametrize(
    "cut", [lambda data: data[:-40], lambda _: b"text", lambda data: data[:200] + data[300:]]
)
def test_a_damaged_bundle(tmp_path: Path, cut: Callable[[bytes], bytes]) -> None:
    file = packed(tmp_path)
    file.write_bytes(cut(file.read_bytes()))
    with pytest.raises(UserError) as caught:
        unpacked(file)
    assert str(caught.value).startswith(f"{file}: is cut off or not a bundle (")
    assert str(caught.value).endswith("); copy it again")


def test_a_bundle_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        unpacked(tmp_path / "gone.tar.gz")
    assert str(caught.value) == f"{tmp_path}/gone.tar.gz: cannot be unpacked: No such file or directory"
