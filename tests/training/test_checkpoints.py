"""Checkpoints and model folders when the disk is full, and when old ones go."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from distilnlp.errors import RunError
from tests.runs import make_trainer


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
