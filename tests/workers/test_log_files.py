"""Logs that are rotated, cut and copied while they are read, and while nobody reads them."""

import gzip
import os
import shutil

import pytest

from penstock.workers.log_files import BLOCK_BYTES, LogFile, Place


@pytest.fixture
def log(tmp_path):
    return tmp_path / "mail.log"


def write(path, *numbers):
    with path.open("ab") as file:
        file.writelines(b"line %d with some text behind it\n" % number for number in numbers)


def read_all(file):
    """Numbers of all lines that are there to read, and the place after them."""
    numbers, place = [], None
    while (found := file.read()) is not None:
        block, place = found
        numbers += [int(line.split()[1]) for line in block.splitlines()]
    return numbers, place


def test_reading_goes_on_where_it_stopped(log):
    """A place leads back to the next line, and half a line is left for later."""
    write(log, 1, 2)
    first, place = read_all(LogFile(log, None, from_start=True))
    write(log, 3)
    with log.open("ab") as file:
        file.write(b"line 4 is not")

    again, _ = read_all(LogFile(log, Place.from_bytes(place.to_bytes())))

    assert (first, again) == ([1, 2], [3])


def test_a_log_that_was_there_before_us_is_read_from_its_end(log):
    """A log's past may be any long. One that comes to be later is read whole."""
    file = LogFile(log, None)
    assert file.read() is None and file.place() is None
    write(log, 1)
    assert read_all(file)[0] == [1]

    late = LogFile(log, None)
    assert late.read() is None
    write(log, 2)
    assert read_all(late)[0] == [2]


def test_rotation_by_renaming_loses_nothing(log, tmp_path):
    """The old file is read to its end, what is written to it after the renaming too, then the new one."""
    write(log, 1)
    file = LogFile(log, None, from_start=True)
    assert read_all(file)[0] == [1]
    log.rename(tmp_path / "mail.log.1")
    write(tmp_path / "mail.log.1", 2)
    assert read_all(file)[0] == [2]
    write(log, 3)
    write(tmp_path / "mail.log.1", 4)

    assert read_all(file)[0] == [4, 3]


def test_rotation_while_nobody_reads_loses_nothing(log, tmp_path):
    """Even twice, and packed: the files between are read in their order."""
    write(log, 1, 2)
    _, place = read_all(LogFile(log, None, from_start=True))
    write(log, 3)
    for name, number in (("mail.log.2", 4), ("mail.log.1", 5)):
        log.rename(tmp_path / name)
        write(log, number)
        os.utime(tmp_path / name, (1000 + number, 1000 + number))
    with (tmp_path / "mail.log.2").open("rb") as plain, gzip.open(tmp_path / "mail.log.2.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    (tmp_path / "mail.log.2").unlink()
    os.utime(tmp_path / "mail.log.2.gz", (1004, 1004))

    assert read_all(LogFile(log, place))[0] == [3, 4, 5]


@pytest.mark.parametrize("is_reading", [True, False])
def test_copy_and_cut_loses_nothing_that_was_copied(log, tmp_path, is_reading):
    """logrotate's copytruncate, met while reading or after a restart."""
    write(log, *range(20))
    file = LogFile(log, None, from_start=True)
    _, place = read_all(file)
    write(log, 20)
    shutil.copy(log, tmp_path / "mail.log.1")
    os.truncate(log, 0)
    write(log, 21)

    assert read_all(file if is_reading else LogFile(log, place))[0] == [20, 21]


def test_a_log_that_was_cut_and_has_grown_again_is_read_from_its_start(log):
    """Its size says nothing; its first line does."""
    write(log, 1)
    file = LogFile(log, None, from_start=True)
    read_all(file)
    os.truncate(log, 0)
    write(log, 7, 8, 9)

    assert read_all(file)[0] == [7, 8, 9]


def test_an_inode_that_is_given_out_again_is_another_log(log):
    """The place of a deleted log does not fit its namesake."""
    write(log, 1)
    _, place = read_all(LogFile(log, None, from_start=True))
    log.unlink()
    write(log, 5, 6)

    assert read_all(LogFile(log, Place(log.stat().st_ino, place.offset, place.head, place.head_bytes)))[0] == [5, 6]


def test_a_line_that_never_ends_is_skipped(log):
    """Memory stays bounded whatever is in the log."""
    log.write_bytes(b"x" * (2 * BLOCK_BYTES + 5) + b"\n")
    write(log, 1)
    file = LogFile(log, None, from_start=True)

    blocks = []
    while (found := file.read()) is not None:
        blocks.append(found[0])

    assert max(map(len, blocks)) <= BLOCK_BYTES
    assert blocks[-1].endswith(b"line 1 with some text behind it\n")


def test_a_place_that_is_none_is_no_place():
    """A store may hold what another version wrote."""
    assert Place.from_bytes(b"rubbish") is None
    assert Place.from_bytes(None) is None
