import errno
import gzip
import json
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from file_server import archive

from asana_jobs._client.exports.download import BLOCK_SIZE, PartialFile
from asana_jobs.errors import DownloadError


posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX locks and permissions")

WHOLE = archive()
#: Incompressible enough to be several blocks.
LONG = gzip.compress(os.urandom(3 * BLOCK_SIZE), 0)

Begin = Callable[..., PartialFile]


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Where a file is to be written."""
    return tmp_path / "export.json.gz"


@pytest.fixture
def begin(destination: Path) -> Iterator[Begin]:
    """Opens a partial file for the destination; they are all closed at the end."""
    opened: list[PartialFile] = []

    def open_partial(destination: Path = destination, gid: str = "1203") -> PartialFile:
        partial = PartialFile(destination, gid)
        opened.append(partial)
        partial.open()
        while partial.recheck():
            pass
        return partial

    yield open_partial
    for partial in opened:
        partial.close()


def left_beside(destination: Path) -> list[str]:
    """The names in the destination's folder."""
    return sorted(path.name for path in destination.parent.iterdir())


def test_a_whole_file_gets_its_name(begin: Begin, destination: Path) -> None:
    """A finished file holds what was written, and nothing is left beside it."""
    partial = begin()
    partial.begin('"v1"')
    partial.write(WHOLE[:700])
    partial.write(WHOLE[700:])
    assert left_beside(destination) == [".export.json.gz.1203.part", ".export.json.gz.1203.part.json"]
    partial.finish()

    assert destination.read_bytes() == WHOLE
    assert left_beside(destination) == [destination.name]


def test_an_older_file_stays_until_the_new_one_is_whole(begin: Begin, destination: Path) -> None:
    """The destination is never half: it is the old file, or the new one."""
    destination.write_bytes(b"old")
    partial = begin()
    partial.write(WHOLE)
    assert destination.read_bytes() == b"old"
    partial.finish()

    assert destination.read_bytes() == WHOLE


def test_the_bytes_are_on_disk_before_the_name(
    begin: Begin, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced, then renamed, then its folder is synced: a power cut leaves no half file either."""
    happened: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        happened.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        sync(descriptor)

    def rename(path: Path, target: Path) -> Path:
        happened.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    partial = begin()
    partial.write(WHOLE)
    partial.finish()

    assert happened == (["file", "rename"] if sys.platform == "win32" else ["file", "rename", "folder"])


def test_what_was_written_is_found_again(begin: Begin, destination: Path) -> None:
    """After close, the next one begins with the bytes and the version of the last, and can finish."""
    first = begin()
    first.begin('"v1"')
    first.write(LONG[: 2 * BLOCK_SIZE])
    first.close()
    second = begin()

    assert (second.size, second.etag) == (2 * BLOCK_SIZE, '"v1"')
    second.write(LONG[2 * BLOCK_SIZE :])
    second.finish()
    assert destination.read_bytes() == LONG


@pytest.mark.parametrize("note", [None, "", "{", "[]", '{"v":1}', '{"etag":7}', "\udcff"])
def test_bytes_of_an_unknown_version_are_forgotten(begin: Begin, destination: Path, note: str | None) -> None:
    """Without a readable note of the version, what is found is of no use."""
    path = PartialFile(destination, "1203").path
    path.write_bytes(WHOLE[:700])
    if note is not None:
        path.with_name(f"{path.name}.json").write_text(note, "utf-8", "surrogateescape")
    partial = begin()

    assert (partial.size, partial.etag, path.stat().st_size) == (0, None, 0)


def test_a_hole_is_forgotten(begin: Begin, destination: Path) -> None:
    """Damage that shows in what was found, as zeros after a power cut do, makes it start over, not fail at the end."""
    first = begin()
    first.begin('"v1"')
    first.write(LONG[:BLOCK_SIZE])
    first.close()
    first.path.write_bytes(LONG[:3000] + bytes(BLOCK_SIZE - 3000))
    second = begin()

    assert (second.size, second.etag, second.path.stat().st_size) == (0, None, 0)
    second.write(WHOLE)
    second.finish()
    assert destination.read_bytes() == WHOLE


def test_a_restart_begins_with_nothing(begin: Begin, destination: Path) -> None:
    """After a restart the file holds only what is written then."""
    partial = begin()
    partial.begin('"v1"')
    partial.write(LONG[:BLOCK_SIZE])
    partial.restart()
    partial.begin('"v2"')
    partial.write(WHOLE)
    partial.finish()

    assert destination.read_bytes() == WHOLE


def test_a_version_without_a_name_is_not_resumed(begin: Begin) -> None:
    """Where the server names no version, the next call starts over."""
    first = begin()
    first.begin('"v1"')
    first.begin(None)
    first.write(WHOLE[:700])
    first.close()

    assert begin().size == 0


def test_a_restart_forgets_the_version(begin: Begin) -> None:
    """What is written after a restart is not taken for the version before it, even if the new one has no name."""
    first = begin()
    first.begin('"v1"')
    first.restart()
    first.write(WHOLE[:700])
    first.close()
    second = begin()

    assert (second.size, second.etag) == (0, None)


# what is no whole archive


@pytest.mark.parametrize(("content", "reason"), [(WHOLE[:-1], "ends in the middle"), (b"", "is empty")])
def test_a_truncated_archive_gets_no_name(
    begin: Begin, destination: Path, content: bytes, reason: str
) -> None:
    """An archive that is not whole is thrown away, with the reason."""
    partial = begin()
    partial.write(content)

    with pytest.raises(DownloadError, match=rf"job 1203 is damaged \(it {reason}\).*Download it again"):
        partial.finish()
    assert left_beside(destination) == []


def test_damage_is_noticed_at_once(begin: Begin, destination: Path) -> None:
    """A damaged block is an error when it is written, not a gigabyte later, and nothing of the file is kept."""
    damaged = bytearray(WHOLE)
    damaged[len(WHOLE) // 4] ^= 0xFF
    partial = begin()
    partial.begin('"v1"')

    with pytest.raises(DownloadError, match=r"damaged \("):
        partial.write(bytes(damaged))
    assert left_beside(destination) == []


def test_what_is_no_archive_is_kept_as_it_is(begin: Begin, destination: Path) -> None:
    """A file that does not begin like gzip, such as one a proxy has unpacked, is taken by its length."""
    partial = begin()
    partial.write(b'{"gid":"1"}\n')
    partial.finish()

    assert destination.read_bytes() == b'{"gid":"1"}\n'


# company


@posix
def test_two_do_not_write_the_same_file(begin: Begin, destination: Path) -> None:
    """While one is open, a second for the same export and destination is refused, and harms nothing."""
    first = begin()
    first.begin('"v1"')
    first.write(WHOLE[:700])

    with pytest.raises(DownloadError, match=r"1203 is being downloaded to .* already: wait"):
        begin()
    first.write(WHOLE[700:])
    first.finish()
    assert destination.read_bytes() == WHOLE


@posix
def test_one_that_waited_does_not_touch_the_finished_file(
    begin: Begin, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that opened the partial file just before it was renamed begins another, and leaves the finished one alone."""
    first = begin()
    first.write(WHOLE)
    lock = PartialFile._lock  # pyright: ignore[reportPrivateUsage]

    def finish_first(partial: PartialFile, file: object) -> None:
        if not destination.exists():
            first.finish()
            first.close()
        lock(partial, file)

    monkeypatch.setattr(PartialFile, "_lock", finish_first)
    second = begin()
    second.write(WHOLE[:10])

    assert destination.read_bytes() == WHOLE
    assert second.path.read_bytes() == WHOLE[:10]


def test_two_exports_to_one_destination_do_not_meet(begin: Begin, destination: Path) -> None:
    """Files of different exports are written apart; the one that ends last stays."""
    first, second = begin(gid="1"), begin(gid="2")
    first.write(LONG)
    second.write(WHOLE)
    second.finish()
    first.finish()

    assert destination.read_bytes() == LONG


@posix
def test_a_planted_link_is_not_followed(begin: Begin, destination: Path, tmp_path: Path) -> None:
    """In a folder others write to, the partial file's name may not lead to a file of ours."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"dear")
    PartialFile(destination, "1203").path.symlink_to(victim)

    with pytest.raises(DownloadError):
        begin()
    assert victim.read_bytes() == b"dear"


# what the system says


@pytest.mark.parametrize("name", ["", ".", "folder"])
def test_a_folder_is_no_destination(begin: Begin, tmp_path: Path, name: str) -> None:
    """A destination that is a folder is refused before anything is made."""
    (tmp_path / "folder").mkdir()

    with pytest.raises(DownloadError, match="no regular file: name a file"):
        begin(tmp_path / "folder" if name == "folder" else tmp_path / "folder" / name)
    assert left_beside(tmp_path / "x") == ["folder"]


@posix
def test_a_device_is_no_destination(begin: Begin) -> None:
    """/dev/null is not replaced by a file."""
    with pytest.raises(DownloadError, match="no regular file"):
        begin(Path("/dev/null"))


@pytest.mark.parametrize("file", [False, True])
def test_a_missing_folder_is_told(begin: Begin, tmp_path: Path, file: bool) -> None:
    """A folder that is not there, or is none, is a DownloadError that says to make it."""
    if file:
        (tmp_path / "missing").touch()

    with pytest.raises(DownloadError, match=r"there is no folder .*missing .* Make it, or choose another"):
        begin(tmp_path / "missing" / "export.gz")


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "does not let us .* Choose another place, or change its permissions"),
        (errno.EROFS, "does not let us .* Choose another place"),
        (errno.EIO, "call again, or choose another place"),
    ],
)
def test_a_folder_that_cannot_be_written_is_told(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, number: int, advice: str
) -> None:
    """What the system refuses is a DownloadError with what to do about it."""

    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DownloadError, match=f"cannot be written to .*: .*{advice}") as raised:
        begin()
    assert isinstance(raised.value.__cause__, OSError)


@posix
@pytest.mark.skipif(sys.platform != "win32" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_told(begin: Begin, tmp_path: Path) -> None:
    """A folder without write permission is a DownloadError that says so."""
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(DownloadError, match="does not let us"):
            begin()
    finally:
        tmp_path.chmod(0o700)


@posix
def test_a_full_disk_keeps_what_was_written(begin: Begin, destination: Path) -> None:
    """When the disk is full, the error names the partial file, whose bytes are good for the next call."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    partial = begin()
    partial.begin('"v1"')
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK_SIZE + 1000, limits[1]))
    try:
        partial.write(LONG[:BLOCK_SIZE])
        with pytest.raises(DownloadError, match=r"cannot be written to .*kept in .*\.part; call again"):
            partial.write(LONG[BLOCK_SIZE : 2 * BLOCK_SIZE])
        partial.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    second = begin()

    assert second.size == BLOCK_SIZE + 1000
    second.write(LONG[BLOCK_SIZE + 1000 :])
    second.finish()
    assert destination.read_bytes() == LONG


def test_no_room_says_to_make_room(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC says how much is kept, where, and to make room."""
    partial = begin()
    partial.write(WHOLE[:700])

    class Full:
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(DownloadError) as raised:
        patch.setattr(partial, "_file", Full())
        partial.write(b"x")

    assert str(raised.value).endswith(
        f"the disk is full (No space left on device). The 700 bytes that have come are kept in {partial.path}; "
        f"make room and call again."
    )


def test_a_system_without_locks_will_do(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network file system that has no locks does not stop a download."""
    if sys.platform == "win32":
        pytest.skip("there are none there")

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    import fcntl

    monkeypatch.setattr(fcntl, "flock", unsupported)
    partial = begin()
    partial.write(WHOLE)
    partial.finish()


def test_the_note_is_versioned_and_names_nothing_secret(begin: Begin) -> None:
    """The note holds a version of its own and the file's ETag: no link, no token."""
    partial = begin()
    partial.begin('"v1"')

    note = partial.path.with_name(f"{partial.path.name}.json").read_text("utf-8")
    assert json.loads(note) == {"v": 1, "etag": '"v1"'}


def test_a_file_that_was_never_opened_can_be_closed(destination: Path) -> None:
    """Closing is harmless, whatever came before."""
    with closing(PartialFile(destination, "1203")):
        pass
