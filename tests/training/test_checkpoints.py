"""Checkpoints and model folders when the disk is full, and when old ones go."""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from safetensors import SafetensorError

from distilnlp.errors import RequestError, RunError
from distilnlp.training.checkpoints import staged_files, whole_checkpoint
from tests.runs import make_trainer, student_model


def disk_full_in_python(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def disk_full_in_safetensors(tensors: Any, target: Any, *args: Any, **kwargs: Any) -> None:
    Path(target).write_bytes(b"half")
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


def disk_full_in_torch(*args: Any, **kwargs: Any) -> None:
    """What it says on a full disk; the reason is not in it."""
    raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")


@pytest.mark.parametrize(
    ("where", "failure"),
    [
        ("transformers.modeling_utils.safe_save_file", disk_full_in_safetensors),
        ("torch.save", disk_full_in_torch),
        ("transformers.TrainerState.save_to_json", disk_full_in_python),
        ("distilnlp.training.checkpoints.os.replace", disk_full_in_python),
    ],
)
def test_a_full_disk_is_named_in_one_line_and_what_was_saved_before_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, failure: Callable[..., None]
) -> None:
    args = {"save_strategy": "steps", "save_steps": 2, "num_train_epochs": 1}
    make_trainer(tmp_path, args={**args, "max_steps": 2}).train()
    trainer = make_trainer(tmp_path, args=args)
    trainer.save_model()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as full:
        full.setattr(where, failure)
        with pytest.raises(RunError, match="the disk is full") as caught:
            trainer.train(resume_from_checkpoint=True)
        assert "\n" not in str(caught.value)
        if "TrainerState" not in where:  # which is no part of a model's folder
            with pytest.raises(RunError, match="the disk is full"):
                trainer.save_model()
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before
    trainer = make_trainer(tmp_path, args=args)
    assert trainer.train(resume_from_checkpoint=True).global_step == 6
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-2", "checkpoint-4", "checkpoint-6"}


def test_the_checkpoints_that_are_to_be_kept_are_written_and_stay(tmp_path: Path) -> None:
    args = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, "max_steps": 6}
    make_trainer(tmp_path, args=args, keep_checkpoints=[1, 3, 6]).train()
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {"checkpoint-1", "checkpoint-3", "checkpoint-6"}
    assert whole_checkpoint(tmp_path)[0] == tmp_path / "checkpoint-6"


@pytest.mark.parametrize("steps", [200, "200", [0], [1.5], [True], ["2"]])
def test_what_is_to_be_kept_are_steps(tmp_path: Path, steps: Any) -> None:
    with pytest.raises(RequestError, match="keep_checkpoints"):
        make_trainer(tmp_path, keep_checkpoints=steps)


def test_a_checkpoint_is_deleted_out_of_sight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed while the one that is too many, or in the way, is deleted: no half one is left to be resumed."""
    seen: list[str] = []
    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: (seen.append(str(path)), rmtree(path, **options)))
    args = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 1}
    make_trainer(tmp_path, args=args).train()
    make_trainer(tmp_path, args={**args, "max_steps": 6}).train()  # anew, over checkpoint-6
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-6"]
    deleted = [path for path in seen if "checkpoint-" in path and Path(path).suffix == ".old"]
    assert len(deleted) == 5
    assert not [path for path in seen if Path(path).parent == tmp_path and Path(path).name.startswith("checkpoint-")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two checkpoints of a training with projections."""
    folder = tmp_path_factory.mktemp("trained")
    make_trainer(folder, model=student_model(hidden=16), args={"save_strategy": "steps", "save_steps": 3}).train()
    return folder


FILES = ["optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", "model.safetensors", "config.json"]


@pytest.mark.parametrize("file", [*FILES, "distilnlp_modules.safetensors", "checksums.json"])
@pytest.mark.parametrize("gone", [True, False], ids=["gone", "one bit"])
def test_only_a_whole_checkpoint_is_gone_on_from(trained: Path, tmp_path: Path, file: str, gone: bool) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    assert whole_checkpoint(folder) == (folder / "checkpoint-6", [])
    path = folder / "checkpoint-6" / file
    if gone:
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    said = f"{'lacks' if gone else 'has a damaged'} {file}"
    assert whole_checkpoint(folder) == (folder / "checkpoint-3", [f"checkpoint-6 {said}"])
    trainer = make_trainer(folder, model=student_model(hidden=16))
    with pytest.raises(RequestError, match=f"checkpoint-6 {said}, .*give an earlier checkpoint"):
        trainer.train(resume_from_checkpoint=str(folder / "checkpoint-6"))
    shutil.rmtree(folder / "checkpoint-3")
    with pytest.raises(RequestError, match=rf"no checkpoint in .* can be resumed \(checkpoint-6 {said}\)"):
        trainer.train(resume_from_checkpoint=True)


def test_a_checkpoint_of_more_processes_lacks_the_random_numbers_of_one(trained: Path) -> None:
    assert whole_checkpoint(trained, processes=2)[1][0] == "checkpoint-6 lacks rng_state_0.pth, rng_state_1.pth"


def test_what_was_just_written_stays_beside_a_later_one_that_is_damaged(trained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "checkpoint-6" / "optimizer.pt").unlink()
    args = {"save_strategy": "steps", "save_steps": 1, "max_steps": 4, "save_total_limit": 1}
    make_trainer(folder, model=student_model(hidden=16), args=args).train(resume_from_checkpoint=True)
    assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-4"]


def test_files_in_folders_replace_those_of_an_earlier_model(tmp_path: Path) -> None:
    """A sentence encoder has a folder for each of its modules."""
    target = tmp_path / "model"
    for version in ("old", "new"):
        with staged_files(target, writes=True) as folder:
            (folder / "1_Pooling").mkdir()
            for file in ("1_Pooling/config.json", "model.safetensors"):
                (folder / file).write_text(version)
    assert {path.name: path.read_text() for path in target.rglob("*") if path.is_file()} == {
        "config.json": "new",
        "model.safetensors": "new",
    }
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_another_process_makes_meanwhile_is_no_obstacle(tmp_path: Path) -> None:
    """The other processes write their random numbers into a checkpoint while the first one writes the model."""
    target, rename = tmp_path / "checkpoint-3", os.replace

    def after_the_other(source: Path, place: Path) -> None:
        target.mkdir(exist_ok=True)
        (target / "rng_state_1.pth").touch()
        rename(source, place)

    with mock.patch("os.replace", after_the_other), staged_files(target, writes=True) as folder:
        (folder / "model.safetensors").touch()
    assert {path.name for path in target.iterdir()} == {"model.safetensors", "rng_state_1.pth"}
    assert list(tmp_path.iterdir()) == [target]
