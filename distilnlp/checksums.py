"""Checksums of the files of a folder, written when all are complete: what is read later is what was written."""

import json
from collections.abc import Mapping
from pathlib import Path

import xxhash

from distilnlp.whole_files import write_text

__all__ = ["CHECKSUMS", "checksum", "file_checksum", "flaw", "listed", "write_checksums"]

CHECKSUMS = "checksums.json"
VERSION = 1
_BLOCK = 1 << 22  # bytes that are read at a time


def checksum(data: bytes | memoryview) -> str:
    """128 bits (XXH3) as 32 hexadecimal digits: against accidents, not against forgery."""
    return xxhash.xxh3_128_hexdigest(data)


def file_checksum(path: Path) -> str:
    """The `checksum` of a file's content. Raises OSError where it cannot be read."""
    hashed = xxhash.xxh3_128()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(_BLOCK):
            hashed.update(block)
    return hashed.hexdigest()


def write_checksums(folder: Path, names: list[str], following: Mapping[str, bytes] | None = None) -> None:
    """Note the checksums of files in ``checksums.json``, which is complete or absent.

    Args:
        folder: where the files are.
        names: of the files, as paths in the folder.
        following: files that are written after this one, with their content.
    """
    files = {name: file_checksum(folder / name) for name in names}
    files.update({name: checksum(content) for name, content in (following or {}).items()})
    values = {"version": VERSION, "of_this": _of_list(files), "files": files}
    write_text(folder / CHECKSUMS, json.dumps(values, indent=1) + "\n")


def listed(folder: Path) -> dict[str, str] | None:
    """File -> checksum, as `write_checksums` noted them; None where nothing whole of the kind is there."""
    try:
        values = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or values.get("version") != VERSION or not isinstance(values.get("files"), dict):
        return None
    files = {str(name): str(value) for name, value in values["files"].items()}
    return files if values.get("of_this") == _of_list(files) else None


def _of_list(files: Mapping[str, str]) -> str:
    """So that a damaged list is not taken for damaged files."""
    return checksum(json.dumps(files, sort_keys=True).encode())


def flaw(folder: Path) -> str | None:
    """What has become of a folder's files since `write_checksums`: "lacks a.bin", "has a damaged a.bin"; else None.

    Every file is read in full, at some GB a second.
    """
    files = listed(folder)
    if files is None:
        return f"lacks {CHECKSUMS}" if not (folder / CHECKSUMS).is_file() else f"has a damaged {CHECKSUMS}"
    for name, expected in files.items():
        if not (folder / name).is_file():
            return f"lacks {name}"
        if file_checksum(folder / name) != expected:
            return f"has a damaged {name}"
    return None
