import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asana_jobs._client.exports.gzip_stream import (
    MAX_CONTENT_PIECE,
    MAX_FED_PIECE,
    GzipStream,
    begins_archive,
)


MEMBERS = st.lists(st.binary(max_size=300), min_size=1, max_size=5)
CUTS = st.lists(st.integers(0, 2**16), max_size=8)


def archive(members: list[bytes]) -> bytes:
    """A gzip archive with these members."""
    return b"".join(gzip.compress(member, mtime=0) for member in members)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data, cut at these places."""
    places = sorted(cut % (len(data) + 1) for cut in cuts)
    return [data[start:stop] for start, stop in zip([0, *places], [*places, len(data)], strict=True)]


def inflate(*parts: bytes) -> tuple[bytes, bool]:
    """The content of an archive that comes in parts, and whether it is whole."""
    one = GzipStream()
    content = b"".join(content for part in parts for content in one.feed(part))
    return content, one.whole


@given(MEMBERS, CUTS)
def test_any_split_of_any_archive_gives_its_content(members: list[bytes], cuts: list[int]) -> None:
    """However an archive of however many members is cut into pieces, its content comes out, and it is whole."""
    assert inflate(*pieces(archive(members), cuts)) == (b"".join(members), True)


@given(MEMBERS, CUTS, st.data())
def test_a_truncated_archive_is_not_whole(members: list[bytes], cuts: list[int], data: st.DataObject) -> None:
    """An archive that ends anywhere but at the end of a member is not whole."""
    ends = {len(archive(members[:count])) for count in range(1, len(members) + 1)}
    whole = archive(members)
    length = data.draw(st.integers(0, len(whole) - 1).filter(lambda length: length not in ends))

    assert inflate(*pieces(whole[:length], cuts))[1] is False


@given(MEMBERS, CUTS, st.data())
def test_a_damaged_archive_never_passes_for_another(
    members: list[bytes], cuts: list[int], data: st.DataObject
) -> None:
    """With one byte changed, an archive is an error, is not whole, or (in its header) has the same content."""
    whole = bytearray(archive(members))
    place = data.draw(st.integers(2, len(whole) - 1))  # the magic number tells archives from plain text
    whole[place] ^= data.draw(st.integers(1, 255))
    try:
        content, is_whole = inflate(*pieces(bytes(whole), cuts))
    except zlib.error:
        return

    assert not is_whole or content == b"".join(members)


@given(st.binary(min_size=1).filter(lambda data: not b"\x1f\x8b".startswith(data[:2])), CUTS)
def test_what_is_no_archive_passes_through(data: bytes, cuts: list[int]) -> None:
    """Data that does not begin like gzip comes out as it went in, and is whole."""
    assert inflate(*pieces(data, cuts)) == (data, True)


@given(MEMBERS, st.integers(1, 600), CUTS)
def test_zeros_may_follow_an_archive(members: list[bytes], zeros: int, cuts: list[int]) -> None:
    """Padding of zeros does not count, wherever it is cut."""
    padded = archive(members) + bytes(zeros)

    assert inflate(*pieces(padded, cuts)) == (b"".join(members), True)


def test_a_member_may_follow_zeros() -> None:
    """What follows padding is read on, as the gzip module does."""
    assert inflate(archive([b"one"]) + bytes(9) + archive([b"two"])) == (b"onetwo", True)


@pytest.mark.parametrize("tail", [b"x", b"\x1fx", b"<Error/>", b"\0\0x"])
def test_garbage_after_an_archive_is_damage(tail: bytes) -> None:
    """Anything else after an archive is an error, byte by byte too."""
    data = archive([b"content"]) + tail
    with pytest.raises(zlib.error):
        inflate(data)
    with pytest.raises(zlib.error):
        inflate(*(data[place : place + 1] for place in range(len(data))))


def test_an_archive_is_told_by_its_first_bytes() -> None:
    """Half of the magic number may become an archive; anything else may not."""
    assert begins_archive(b"\x1f")
    assert begins_archive(gzip.compress(b""))
    assert not begins_archive(b"\x1fx")
    assert not begins_archive(b"{")


def test_nothing_is_no_whole_archive() -> None:
    """An empty file is not whole."""
    assert inflate() == inflate(b"") == (b"", False)


@settings(max_examples=20)
@given(st.integers(0, 3 * MAX_CONTENT_PIECE), st.sampled_from([0, 1, 6, 9]))
def test_content_of_any_length_comes_out(length: int, level: int) -> None:
    """No content is lost at the seams: of what is fed, and of what is produced at a time."""
    content = (b"0123456789abcde" * (length // 15 + 1))[:length]

    assert inflate(gzip.compress(content, level)) == (content, True)


def test_a_bomb_comes_out_in_pieces() -> None:
    """However well an archive is compressed, no piece of its content is large."""
    bomb = gzip.compress(bytes(2**26), mtime=0)
    lengths = [len(piece) for piece in GzipStream().feed(bomb)]

    assert sum(lengths) == 2**26
    assert max(lengths) <= MAX_CONTENT_PIECE


def test_an_archive_may_be_of_very_many_members() -> None:
    """Fifty thousand members without content are a whole archive without content."""
    data = gzip.compress(b"", mtime=0) * 50_000
    one = GzipStream()

    assert len(data) > 10 * MAX_FED_PIECE
    assert list(one.feed(data)) == []
    assert one.whole
