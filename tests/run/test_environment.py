"""Precision by the hardware, and what is noted of the machine."""

import subprocess

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.recipe import load_recipe
from distilnlp.run import environment
from distilnlp.run.environment import choose_precision, describe_environment
from distilnlp.run.plan import make_plan


@pytest.mark.parametrize(
    ("flags", "precision"), [({"avx2"}, "fp32"), ({"avx512_bf16"}, "bf16"), ({"amx_bf16"}, "bf16"), (set(), "fp32")]
)
def test_auto_follows_the_processor(monkeypatch, flags, precision):
    monkeypatch.setattr(environment, "cpu_flags", lambda: flags)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_precision("auto") == precision
    assert choose_precision("fp32") == "fp32"
    assert choose_precision("bf16") == "bf16"


@pytest.mark.parametrize("supported", [True, False])
def test_auto_follows_the_gpu(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert choose_precision("auto") == ("bf16" if supported else "fp32")
    assert choose_precision("fp16") == "fp16"


def test_fp16_without_a_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RequestError, match="use auto, bf16 or fp32"):
        choose_precision("fp16")


def test_seeds_are_noted_stage_by_stage():
    recipe = load_recipe("mrpc", ["seed=7", "stages.teacher.training.seed=1"])
    assert describe_environment(make_plan(recipe))["seeds"] == {"data": 0, "teacher": 1, "control": 7, "student": 7}


def test_the_git_revision_is_noted_where_there_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe_environment(make_plan(load_recipe("mrpc")))["git"] is None

    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    (tmp_path / "file").write_text("1")
    for command in (["init", "-q"], ["add", "file"], ["commit", "-q", "--no-verify", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    noted = describe_environment(make_plan(load_recipe("mrpc")))["git"]
    assert len(noted["commit"]) == 40
    assert noted["changed"] is False
    (tmp_path / "file").write_text("2")
    assert describe_environment(make_plan(load_recipe("mrpc")))["git"]["changed"] is True
