"""A folder whose files are not what was written is told by the name of the first of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from distilnlp.checksums import checksum, file_checksum, flaw, write_checksums


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "a.bin").write_bytes(bytes(range(256)) * 50)
    (tmp_path / "empty.txt").write_bytes(b"")
    write_checksums(tmp_path, ["adapter/a.bin", "empty.txt"], {"last.json": b"{}"})
    (tmp_path / "last.json").write_text("{}")
    return tmp_path


def test_what_is_as_it_was_written_has_no_flaw(folder: Path):
    (folder / "a user's notes.txt").write_text("kept")
    assert flaw(folder) is None
    assert file_checksum(folder / "last.json") == checksum(b"{}")


@pytest.mark.parametrize("place", [0, 5000, -1])
@pytest.mark.parametrize("bit", [1, 128])
def test_one_bit_is_noticed(folder: Path, place: int, bit: int):
    content = bytearray((folder / "adapter" / "a.bin").read_bytes())
    content[place] ^= bit
    (folder / "adapter" / "a.bin").write_bytes(content)
    assert flaw(folder) == "has a damaged adapter/a.bin"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "adapter/a.bin").write_bytes(b""), "has a damaged adapter/a.bin"),
        (lambda folder: (folder / "empty.txt").unlink(), "lacks empty.txt"),
        (lambda folder: (folder / "last.json").write_text(""), "has a damaged last.json"),
        (lambda folder: (folder / "checksums.json").unlink(), "lacks checksums.json"),
        (lambda folder: (folder / "checksums.json").write_text(""), "has a damaged checksums.json"),
        (lambda folder: (folder / "checksums.json").write_text("[]"), "has a damaged checksums.json"),
        (lambda folder: (folder / "checksums.json").write_text('{"version": 2}'), "has a damaged checksums.json"),
    ],
)
def test_a_file_that_is_damaged_or_gone_is_named(folder: Path, damage: Callable[[Path], object], said: str):
    damage(folder)
    assert flaw(folder) == said
