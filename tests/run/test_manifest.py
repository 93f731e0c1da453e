"""What of a stage's folder is a run's, and that nothing else there, and nothing behind a link, is ever deleted."""

import json
import os
from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.run.manifest import MANIFEST, Manifest, clear_stage, drop_checkpoints, read_manifest, write_manifest

OURS = [
    "config.json",
    "model.safetensors",
    "model-00001-of-00002.safetensors",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "metrics.json",
    "history.json",
    "step_time.json",
    "predictions.parquet",
    "predictions-mismatched.parquet",
    ".predictions.parquet.tmp",
    ".metrics.json.tmp",
    "checkpoint-12/optimizer.pt",
    "checkpoint-12/deep/file",
    ".incomplete/checkpoint-13/model.safetensors",
    "teacher-cache/abc/logits.bin",
    "adapter/adapter_model.safetensors",
    "adapter/README.md",
    "runs/Nov01_host/events.out.tfevents.1.host.2.0",
]
THEIRS = [
    "notes.txt",
    "README.md",
    "checkpoint-best/model.safetensors",
    "my-config.json",
    "config.json/inner",
    "adapter/notes.txt",
    "adapter/checkpoint-1/x",
    "runs/plot.png",
    "predictions.parquet.mine",
    "train.parquet",
]


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def test_a_stage_that_holds_only_what_a_run_writes_is_gone(tmp_path: Path):
    fill(tmp_path / "student", OURS)
    fill(tmp_path, [".student.incomplete/model.safetensors"])
    assert clear_stage(tmp_path, "student") == []
    assert list(tmp_path.iterdir()) == []
    assert clear_stage(tmp_path, "student") == []


def test_everything_else_stays_and_is_named(tmp_path: Path):
    fill(tmp_path / "student", [name for name in OURS if name != "config.json"] + THEIRS)
    kept = clear_stage(tmp_path, "student")
    assert left(tmp_path / "student") == sorted(THEIRS)
    named = {Path(path).parts[1] for path in kept} | {"/".join(Path(path).parts[1:3]) for path in kept}
    assert all(name in named or name.partition("/")[0] in named for name in THEIRS)


def test_links_are_deleted_and_not_followed(tmp_path: Path):
    mine = tmp_path / "mine"
    fill(mine, ["thesis.txt", "events.out.tfevents.1", "config.json"])
    stage = tmp_path / "run" / "student"
    fill(stage, ["checkpoint-1/optimizer.pt", "runs/host/events.out.tfevents.1", "metrics.json"])
    for name in ("config.json", "checkpoint-2", "teacher-cache", "checkpoint-1/link"):
        (stage / name).symlink_to(mine)
    for name in ("adapter", "runs/link", "own-link"):
        (stage / name).symlink_to(mine)
    kept = clear_stage(tmp_path / "run", "student")
    assert left(mine) == ["config.json", "events.out.tfevents.1", "thesis.txt"]
    assert kept == ["student/adapter", "student/own-link", "student/runs/link"]


def test_a_stage_that_is_a_link_or_a_file_is_refused(tmp_path: Path):
    fill(tmp_path / "mine", ["config.json", "checkpoint-1/x"])
    (tmp_path / "student").symlink_to(tmp_path / "mine")
    (tmp_path / "control").write_text("x")
    for delete in (lambda: clear_stage(tmp_path, "student"), lambda: drop_checkpoints(tmp_path / "student")):
        with pytest.raises(RequestError, match="student is a link or a file"):
            delete()
    with pytest.raises(RequestError, match="control is a link or a file"):
        clear_stage(tmp_path, "control")
    assert left(tmp_path / "mine") == ["checkpoint-1/x", "config.json"]


def test_a_folder_exchanged_for_a_link_meanwhile_is_not_followed(tmp_path: Path, monkeypatch):
    """Somebody who may write there puts a link where a moment ago there was a folder."""
    fill(tmp_path / "mine", ["events.out.tfevents.1"])
    fill(tmp_path / "run" / "student", ["runs/events.out.tfevents.1"])
    really_open = os.open

    def exchanged(path, flags, *args, **options):
        if str(path) == "runs":
            (tmp_path / "run" / "student" / "runs").rename(tmp_path / "old")
            (tmp_path / "run" / "student" / "runs").symlink_to(tmp_path / "mine")
        return really_open(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", exchanged)
    with pytest.raises(RequestError, match="runs is a link"):
        clear_stage(tmp_path / "run", "student")
    assert left(tmp_path / "mine") == ["events.out.tfevents.1"]


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path):
    assert read_manifest(tmp_path) is None
    manifest = Manifest(("recipe.yaml", "README.md"), ("teacher", "student"))
    write_manifest(tmp_path, manifest)
    assert read_manifest(tmp_path) == manifest


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "[" * 100_000,
        "\xff",
        json.dumps({"version": 2, "files": [], "stages": []}),
        json.dumps({"version": True, "files": [], "stages": []}),
        json.dumps({"version": 1, "files": [], "stages": [".."]}),
        json.dumps({"version": 1, "files": [], "stages": ["/home"]}),
        json.dumps({"version": 1, "files": [], "stages": [1]}),
        json.dumps({"version": 1, "files": [], "stages": {}}),
        json.dumps({"version": 1}),
    ],
)
def test_a_manifest_that_no_run_wrote_is_refused(tmp_path: Path, content: str):
    (tmp_path / MANIFEST).write_bytes(content.encode("latin-1"))
    with pytest.raises(RequestError, match=rf"{MANIFEST}' .*nothing was deleted.*--output") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)
