"""What a run writes into its folder, by name: kept in that folder, and the only thing that is ever deleted there.

The folder's recipe would not do: it may be anybody's, damaged, or gone, and says nothing of files.
"""

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilnlp.checksums import CHECKSUMS
from distilnlp.errors import RequestError
from distilnlp.hub.files import ADAPTER, EXITS, INDEX, MODEL, SHARD, TOKENIZER
from distilnlp.recipe.names import is_stage_name
from distilnlp.report.history import HISTORY
from distilnlp.report.step_time import STEP_TIME
from distilnlp.whole_files import write_text

__all__ = [
    "MANIFEST",
    "TEACHER_CACHE",
    "Manifest",
    "clear_stage",
    "drop_answers",
    "drop_checkpoints",
    "read_manifest",
    "stage_files",
    "write_manifest",
]

MANIFEST, TEACHER_CACHE = "manifest.json", "teacher-cache"
VERSION = 1  # of the file and of the names below: another number where an older reader would delete too much or little

_CHECKPOINT = r"checkpoint-\d+"
_NAMES = (MODEL, INDEX, ADAPTER, EXITS, *TOKENIZER, "config.json", "adapter_config.json", "chat_template.jinja")
_RESULTS = (CHECKSUMS, HISTORY, STEP_TIME, "metrics.json", "training_args.bin", "trainer_state.json")
# The files of a stage; its trees, which are a run's with all in them; and its folders, of which each file is told.
_FILE = re.compile(
    "|".join(
        (
            *(rf"(?:{re.escape(name)}|\.{re.escape(name)}\.tmp)" for name in (*_NAMES, *_RESULTS)),
            SHARD.pattern,
            r"\.?predictions(?:-\w+)?\.parquet(?:\.tmp)?",
            r"\.?teacher-\d+\.parquet(?:\.tmp)?",
            r"\.?generated\.parquet(?:\.tmp)?",
        )
    )
)
_TREE = re.compile(rf"{_CHECKPOINT}|\.incomplete|\.adapter\.incomplete|{TEACHER_CACHE}")
_FOLDERS = {
    "adapter": re.compile(rf"{_FILE.pattern}|README\.md"),  # peft writes a card
    "runs": re.compile(r"events\.out\.tfevents\..*"),  # of tensorboard
}


@dataclass(frozen=True)
class Manifest:
    """The names that a run creates in its folder.

    Args:
        files: beside the stages.
        stages: folders; what in them is of the run follows from the version.
    """

    files: tuple[str, ...]
    stages: tuple[str, ...]


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Say what will be written, before it is."""
    values = {"version": VERSION, "files": list(manifest.files), "stages": list(manifest.stages)}
    write_text(run / MANIFEST, json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def read_manifest(run: Path) -> Manifest | None:
    """What a run wrote in a folder; None where none did.

    Raises:
        RequestError: damaged, of another version, or with something that is no name.
    """
    path = run / MANIFEST
    way_out = "nothing was deleted: take out what is yours and delete the folder, or give another with --output"
    try:
        values: Any = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"'{path}' cannot be read ({' '.join(str(error).split())}): {way_out}") from error
    version = values.get("version") if isinstance(values, dict) else None
    if version != VERSION or isinstance(version, bool):
        raise RequestError(f"'{path}' is of version {version}, and this one reads version {VERSION}: {way_out}")
    files, stages = values.get("files"), values.get("stages")
    if not isinstance(files, list) or not isinstance(stages, list) or not all(map(is_stage_name, stages)):
        raise RequestError(f"'{path}' is damaged or not of a run: {way_out}")
    return Manifest(tuple(map(str, files)), tuple(stages))


def clear_stage(run: Path, stage: str) -> list[str]:
    """Delete what a run writes into the folder of a stage, and the folder if nothing else is in it.

    A link is deleted itself; what it leads to is not touched.

    Returns:
        What is left, as relative paths: somebody's own files.
    Raises:
        RequestError: the stage is a link or a file.
    """
    kept: list[str] = []
    half_written = run / f".{stage}.incomplete"
    if half_written.is_dir() and not half_written.is_symlink():
        shutil.rmtree(half_written)
    if not os.path.lexists(run / stage):
        return kept
    with _opened(run / stage) as folder:
        _clear(folder, stage, _FILE, kept)
    _remove_if_empty(run / stage)
    return kept


def stage_files(stage: Path) -> list[str]:
    """What a finished stage consists of, as paths in its folder; of somebody's own files nothing."""
    places = (stage, stage / "adapter")
    files = (path for place in places if place.is_dir() for path in place.iterdir() if path.is_file())
    return sorted(str(path.relative_to(stage)) for path in files if path.name[0] != "." and _FILE.fullmatch(path.name))


def drop_checkpoints(stage: Path, kept: Collection[int] = ()) -> None:
    """Delete the checkpoints of a stage but for those of the ``kept`` steps. Raises RequestError as `clear_stage`."""
    stay = {f"checkpoint-{step}" for step in kept}
    with _opened(stage) as folder:
        for entry in _entries(folder):
            if re.fullmatch(_CHECKPOINT, entry.name) and entry.name not in stay:
                _delete_tree(folder, entry)


def drop_answers(stage: Path) -> None:
    """Delete the answers of a teacher in the folder of a stage. Raises RequestError as `clear_stage`."""
    with _opened(stage) as folder:
        for entry in _entries(folder):
            if entry.name == TEACHER_CACHE:
                _delete_tree(folder, entry)


def _clear(folder: int, where: str, file: re.Pattern[str], kept: list[str], *, deep: bool = False) -> None:
    """Delete in an open folder; ``deep``: what its own folders hold is told by ``file`` too."""
    for entry in _entries(folder):
        name, is_folder = entry.name, entry.is_dir(follow_symlinks=False)
        if not is_folder and (file.fullmatch(name) or (entry.is_symlink() and _TREE.fullmatch(name))):
            os.unlink(name, dir_fd=folder)
        elif is_folder and not deep and _TREE.fullmatch(name):
            _delete_tree(folder, entry)
        elif is_folder and (deep or name in _FOLDERS):
            with _opened(Path(name), folder) as inner:
                _clear(inner, f"{where}/{name}", file if deep else _FOLDERS[name], kept, deep=True)
            _remove_if_empty(Path(name), folder)
        else:
            kept.append(f"{where}/{name}")


def _entries(folder: int) -> Sequence["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _delete_tree(folder: int, entry: "os.DirEntry[str]") -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.name, dir_fd=folder)  # which opens every folder in it as `_opened` does
    elif entry.is_symlink():
        os.unlink(entry.name, dir_fd=folder)


@contextmanager
def _opened(path: Path, within: int | None = None) -> Iterator[int]:
    """A folder held open, so that nothing else can be put in its place while things in it are deleted."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=within)
    except NotADirectoryError as error:  # what O_NOFOLLOW says of a link, together with O_DIRECTORY
        raise RequestError(f"{path} is a link or a file, and a run deletes in its own folders only") from error
    try:
        yield folder
    finally:
        os.close(folder)


def _remove_if_empty(path: Path, within: int | None = None) -> None:
    with suppress(OSError):  # where somebody's own file is in it
        os.rmdir(path, dir_fd=within)
