"""One step of every stage, before the first is trained."""

import random
from unittest import mock

import numpy as np
import pytest
import torch

from distilnlp.errors import RequestError, RunError
from distilnlp.recipe import make_recipe
from distilnlp.run import runner, trial
from distilnlp.run.folder import RunFolder
from distilnlp.run.models import Models
from distilnlp.run.plan import make_plan
from distilnlp.training.trainer import DistillationTrainer

BEST = ["eval_strategy=epoch", "save_strategy=epoch", "load_best_model_at_end=true"]


@pytest.fixture
def tried(values, tmp_path):
    """Tries the stages of the recipe with settings of the student's training."""

    def try_it(*training, **more):
        settings = [f"stages.student.training.{each}" for each in training]
        settings += [f"{key.replace('__', '.')}={value}" for key, value in more.items()]
        plan = make_plan(make_recipe(values, name="films", settings=settings))
        tasks = runner.load_tasks(plan)
        models = Models(plan, tasks, RunFolder(tmp_path / "run"))
        trial.try_stages(plan, tasks, models, models.check())

    return try_it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["optim=adamw_bnb_8bit"], "stages.student.training.optim: a step on two rows fails: .*bitsandbytes"),
        (["lr_scheduler_kwargs={a: 1}"], "training.lr_scheduler_kwargs: a step .* unexpected keyword argument 'a'"),
        (["dataloader_num_workers=1", "dataloader_multiprocessing_context=thread"], "multiprocessing_context"),
        (["optim_args=nothing"], "training.optim_args"),
        ([*BEST, "metric_for_best_model=f1"], r"metric 'f1': accepted: accuracy, macro_f1, loss"),
        (["eval_strategy=steps", "eval_steps=5000", "metric_for_best_model=nosuch"], "unknown metric 'nosuch'"),
    ],
)
def test_what_a_training_cannot_do_is_told_by_its_key_before_any_training(tried, tmp_path, settings, message):
    with pytest.raises(RequestError, match=message) as caught:
        tried(*settings)
    assert str(caught.value).startswith(f"--set stages.student.training.{settings[-1].partition('=')[0]}")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / trial.SCRATCH).exists()


@pytest.mark.parametrize(
    "settings",
    [
        [*BEST, "metric_for_best_model=eval_macro_f1"],
        [*BEST, "metric_for_best_model=loss", "lr_scheduler_type=reduce_lr_on_plateau"],
        # A schedule for a single step would divide by zero where the real one does not.
        ["lr_scheduler_type=polynomial", "warmup_steps=1"],
        ["dataloader_drop_last=true", "gradient_accumulation_steps=7", "per_device_train_batch_size=1000000"],
        ["dataloader_num_workers=2", "dataloader_persistent_workers=true"],
        ["save_strategy=best", "eval_strategy=steps", "metric_for_best_model=accuracy", "eval_delay=1000"],
    ],
)
def test_what_a_training_can_do_passes(tried, settings):
    tried(*settings)


def test_one_step_is_taken_in_every_stage_and_evaluated_and_saved_where_the_training_does(tried):
    done = []

    def noting(name):
        original = getattr(DistillationTrainer, name)

        def note(self, *args, **kwargs):
            done.append((name, self.args.seed, self.state.global_step))
            return original(self, *args, **kwargs)

        return mock.patch.object(DistillationTrainer, name, note)

    with noting("training_step"), noting("evaluate"), noting("_save_checkpoint"):
        tried("save_strategy=no", "eval_strategy=epoch", "seed=3", stages__control="null")
    assert done == [("training_step", 42, 0), ("_save_checkpoint", 42, 1), ("training_step", 3, 0), ("evaluate", 3, 1)]


def test_nothing_remains_of_it(tried, tmp_path):
    """No file, and the random numbers of a run without it; what a killed run left behind, or a link, is gone."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / trial.SCRATCH).symlink_to(outside)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    tried(*BEST)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]
    assert list((tmp_path / "run").iterdir()) == [] and list(outside.iterdir()) == []


def test_a_stage_that_is_finished_or_not_trained_is_not_tried(tried, tmp_path):
    with mock.patch.object(DistillationTrainer, "train") as train:
        tried(stages__control="{kind: transform, model: null}")
        assert train.call_count == 2
        with mock.patch.object(Models, "check", return_value={}), mock.patch.object(RunFolder, "is_finished") as is_it:
            is_it.return_value = True
            tried()
        assert train.call_count == 2


def test_a_step_that_fails_with_any_arguments_is_no_mistake_of_theirs(tried):
    with (
        mock.patch.object(DistillationTrainer, "train", side_effect=KeyError("hidden_states")),
        pytest.raises(RunError, match=r"stages.teacher cannot be trained: a step on two rows fails: KeyError"),
    ):
        tried()
    with mock.patch.object(DistillationTrainer, "train", side_effect=RunError("not a number")):
        tried()  # random weights prove nothing
