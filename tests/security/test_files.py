# ruff: noqa: ASYNC240  # nobody else is on these loops
"""Files of ours are nobody else's business, and nobody else's files are ours to write."""

import os
import stat
import sys
from pathlib import Path

import pytest
from file_server import FileServer, archive, exports

from asana_jobs import AsanaClient, DuplicateTask, Ledger
from asana_jobs._client.exports.download import PartialFile
from asana_jobs.errors import DownloadError, LedgerError
from asana_jobs.testing._scripted_transport import ScriptedTransport


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Where an export is to go, in a folder that others may write to."""
    folder = tmp_path / "shared"
    folder.mkdir()
    return folder / "export.gz"


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file of ours that nobody may touch."""
    path = tmp_path / "victim"
    path.write_bytes(b"dear")
    return path


def mode_of(path: Path) -> int:
    """The permissions of a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def download(client: AsanaClient, transport: ScriptedTransport, destination: Path) -> Path:
    """Download an export."""
    exports(transport)
    client._downloads = FileServer(archive(10))  # pyright: ignore[reportPrivateUsage]
    return await client.download_export("1203", destination)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_an_export_is_for_its_user_only(
    umask: int, client: AsanaClient, transport: ScriptedTransport, destination: Path
) -> None:
    """What only the token's user may see at Asana, no other user of this machine may read, whatever the umask."""
    before = os.umask(umask)
    try:
        path = await download(client, transport, destination)
    finally:
        os.umask(before)

    assert mode_of(path) == 0o600


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
async def test_an_export_keeps_the_permissions_of_the_file_it_replaces(
    mode: int, client: AsanaClient, transport: ScriptedTransport, destination: Path
) -> None:
    """Who was let in once stays in."""
    destination.write_bytes(b"the last one")
    destination.chmod(mode)

    assert mode_of(await download(client, transport, destination)) == mode


def test_a_partial_file_is_for_its_user_only(destination: Path) -> None:
    """Half an export is as private as a whole one, and so is the note beside it."""
    partial = PartialFile(destination, "1203")
    partial.open()
    partial.begin('"1"')
    partial.write(archive(10)[:50])
    partial.close()

    assert {mode_of(path) for path in destination.parent.iterdir()} == {0o600}


@pytest.mark.parametrize("suffix", ["part", "part.json"])
@pytest.mark.parametrize("kind", ["link", "dangling", "hard link", "pipe", "folder"])
async def test_what_somebody_laid_in_the_way_is_not_followed(  # noqa: PLR0917  # fixtures
    suffix: str,
    kind: str,
    client: AsanaClient,
    transport: ScriptedTransport,
    destination: Path,
    victim: Path,
) -> None:
    """A planted link, pipe or folder under a partial file's name changes no file of ours, and hangs nobody."""
    trap = destination.with_name(f".export.gz.1203.{suffix}")
    nowhere = victim.with_name("nowhere")
    if kind == "pipe":
        os.mkfifo(trap)
    elif kind == "folder":
        trap.mkdir()
    elif kind == "hard link":
        trap.hardlink_to(victim)
    else:
        trap.symlink_to(victim if kind == "link" else nowhere)

    if suffix == "part" or kind == "folder":
        with pytest.raises(DownloadError, match="job 1203"):
            await download(client, transport, destination)
    else:
        assert (await download(client, transport, destination)).read_bytes() == archive(10)
    assert victim.read_bytes() == b"dear"
    assert not nowhere.exists()


async def test_a_destination_that_is_a_link_is_replaced_and_not_followed(
    client: AsanaClient, transport: ScriptedTransport, destination: Path, victim: Path
) -> None:
    """The file that a planted link leads to stays as it is; the download stands where it was asked for."""
    destination.symlink_to(victim)
    path = await download(client, transport, destination)

    assert victim.read_bytes() == b"dear"
    assert (path.is_symlink(), mode_of(path)) == (False, 0o600)


@pytest.mark.parametrize("etag", ["a\r\nX-Evil: 1", "\x00", "é", 5, None, {"a": 1}, "x" * 10_000])
async def test_a_note_of_somebody_elses_is_no_header(
    etag: object, client: AsanaClient, transport: ScriptedTransport, destination: Path
) -> None:
    """What stands in the note beside a partial file goes into a header only if it can be one."""
    import json

    destination.with_name(".export.gz.1203.part").write_bytes(archive(10)[:20])
    note = destination.with_name(".export.gz.1203.part.json")
    note.write_text(json.dumps({"v": 1, "etag": etag}), "ascii")

    assert (await download(client, transport, destination)).read_bytes() == archive(10)


# the ledger


async def test_a_ledger_follows_no_link_out_of_its_folder(destination: Path, victim: Path) -> None:
    """A ledger's name that leads into another folder is refused, with the name of the file it leads to."""
    for target in (victim, victim.with_name("nowhere")):
        path = destination.with_name(f"{target.name}.ledger")
        path.symlink_to(target)
        with pytest.raises(LedgerError, match=f"is a link to {target}, in another folder"):
            Ledger.open(path)
    assert victim.read_bytes() == b"dear"
    assert not victim.with_name("nowhere").exists()


async def test_a_link_within_its_folder_is_a_ledgers_name(destination: Path) -> None:
    """``current.ledger`` may lead to the ledger of the day beside it."""
    day, current = destination.with_name("day.ledger"), destination.with_name("current.ledger")
    Ledger.open(day).close()
    current.symlink_to(day.name)
    async with Ledger.open(current) as ledger:
        await ledger.claim("a", DuplicateTask("1203"))

    with Ledger.open(day) as ledger:
        assert ledger.summary().total == 1


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
async def test_links_beside_a_ledger_are_not_followed(suffix: str, destination: Path, victim: Path) -> None:
    """SQLite's own files are not written through a planted link either."""
    path = destination.with_name("run.ledger")
    path.with_name(f"{path.name}{suffix}").symlink_to(victim)
    try:
        async with Ledger.open(path) as ledger:
            await ledger.claim("a", DuplicateTask("1203"))
    except LedgerError:
        pass

    assert victim.read_bytes() == b"dear"


@pytest.mark.parametrize("umask", [0o022, 0o077])
async def test_a_ledger_has_the_permissions_that_the_umask_gives(umask: int, destination: Path) -> None:
    """A ledger holds names and gids, no secrets, and may be shared: the umask decides, as for any database."""
    before = os.umask(umask)
    try:
        async with Ledger.open(destination) as ledger:
            await ledger.claim("a", DuplicateTask("1203"))
            modes = {mode_of(path) for path in destination.parent.iterdir()}
    finally:
        os.umask(before)

    assert modes == {0o666 & ~umask} or modes == {0o644 & ~umask}
