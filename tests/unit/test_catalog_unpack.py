"""Archives: whole ones unpack, dangerous and damaged ones leave nothing behind."""

import io
import stat
import tarfile
import zipfile

import pytest

from sartutor import catalog
from sartutor.catalog import disk
from sartutor.errors import DataError, OutputError

GOOD = {"a.txt": b"a", "folder/b.txt": b"b" * 10_000}


def write_tar(path, members=(), mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in GOOD.items():
            add(archive, tarfile.TarInfo(name), content)
        for member in members:
            add(archive, member, b"x" if member.isreg() else b"")
    return path


def add(archive, member, content):
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_zip(path, members=()):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
        for member in members:
            archive.writestr(member, b"/etc/passwd")
    return path


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def link_in_zip(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


def everything(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.mark.parametrize(
    "archive",
    [
        lambda folder: write_tar(folder / "x.tar.gz"),
        lambda folder: write_tar(folder / "x.tar", mode="w"),
        lambda folder: write_tar(folder / "x.tar.xz", mode="w:xz"),
        lambda folder: write_zip(folder / "x.zip"),
    ],
    ids=["gz", "tar", "xz", "zip"],
)
def test_a_good_archive_unpacks(tmp_path, archive):
    target = tmp_path / "out"
    paths = catalog.unpack(archive(tmp_path), target)
    assert paths == [target / name for name in GOOD]
    assert everything(target) == GOOD


def test_folders_in_an_archive_are_no_files(tmp_path):
    archive = write_tar(tmp_path / "x.tar", [member("empty/", tarfile.DIRTYPE)], mode="w")
    assert len(catalog.unpack(archive, tmp_path / "out")) == 2


@pytest.mark.parametrize(
    "bad",
    [
        member("/etc/evil"),
        member("../evil"),
        member("folder/../../evil"),
        member("C:\\evil"),
        member("..\\evil"),
        member("\\evil"),
        member("evil", tarfile.SYMTYPE, "/etc/passwd"),
        member("evil", tarfile.LNKTYPE, "../../etc/passwd"),
        member("evil", tarfile.CHRTYPE),
        member("evil", tarfile.BLKTYPE),
        member("evil", tarfile.FIFOTYPE),
    ],
    ids=lambda bad: f"{bad.name}-{bad.type.decode()}",
)
def test_a_dangerous_tar_is_refused_as_a_whole(tmp_path, bad):
    archive = write_tar(tmp_path / "x.tar.gz", [bad])
    with pytest.raises(DataError, match=r"x\.tar\.gz: member .*evil"):
        catalog.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", ["/etc/evil", "../evil", "a/../../evil", link_in_zip("evil")], ids=str)
def test_a_dangerous_zip_is_refused_as_a_whole(tmp_path, bad):
    archive = write_zip(tmp_path / "x.zip", [bad])
    with pytest.raises(DataError, match=r"x\.zip: member .*evil"):
        catalog.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tar.xz", "x.zip"])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9])
def test_a_truncated_archive_is_refused(tmp_path, name, share):
    whole = (
        write_zip(tmp_path / name) if name == "x.zip" else write_tar(tmp_path / name, mode=f"w:{name[-2:]}")
    )
    content = whole.read_bytes()
    whole.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match="not a complete tar or zip archive"):
        catalog.unpack(whole, tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*"))


def test_a_member_with_a_wrong_checksum_leaves_nothing(tmp_path):
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as stored:
        stored.writestr("first.txt", b"first")
        stored.writestr("second.txt", b"second")
    archive.write_bytes(archive.read_bytes().replace(b"second", b"SECOND", 2))
    with pytest.raises(DataError):
        catalog.unpack(archive, tmp_path / "out")
    assert not list(tmp_path.glob("out/*"))


def test_no_archive_at_all(tmp_path):
    with pytest.raises(DataError, match="There is no archive"):
        catalog.unpack(tmp_path / "x.zip", tmp_path / "out")


def test_an_archive_larger_than_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "free_bytes", lambda _folder: 100)
    with pytest.raises(OutputError, match=r"10\.0 kB are needed"):
        catalog.unpack(write_zip(tmp_path / "x.zip"), tmp_path / "out")


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (14_901, "14.9 kB"), (2_564_550_879, "2.6 GB"), (3e16, "30000.0 TB")],
)
def test_sizes_for_people(size, text):
    assert disk.human(size) == text
