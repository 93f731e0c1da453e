"""Trains one stage, or goes on with it, and writes what it measured."""

import time
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PrinterCallback
from transformers.trainer_utils import get_last_checkpoint

from distilnlp.data.load import Task
from distilnlp.losses import Objective
from distilnlp.models.predictor import Predictor, TorchBackend
from distilnlp.recipe import Recipe
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.report.schema import StageResult
from distilnlp.run.check import training_arguments
from distilnlp.run.evaluation import Answers, answer
from distilnlp.run.folder import RunFolder
from distilnlp.run.models import Models, add_adapter
from distilnlp.run.progress import StageProgress
from distilnlp.run.report import role_of
from distilnlp.teachers import CacheSettings
from distilnlp.training.trainer import DistillationTrainer

__all__ = ["train_stage"]


def train_stage(
    recipe: Recipe, name: str, task: Task, models: Models, folder: RunFolder, say: Callable[[str], object]
) -> None:
    """Train a stage from its start or its last checkpoint, save the model, measure it, and mark it as finished."""
    stage, place = recipe.stages[name], folder.stage(name)
    checkpoint = get_last_checkpoint(str(place)) if place.is_dir() else None
    say(f"{name}: {_describe(recipe, name, task)}{f', from {Path(checkpoint).name}' if checkpoint else ''}")
    started = time.monotonic()
    trainer = _make_trainer(recipe, name, task, models, place)
    progress = StageProgress(name)
    trainer.add_callback(progress)
    trainer.remove_callback(PrinterCallback)  # what Trainer shows in place of its own bar: every log as a dict
    try:
        if recipe.stages[name].train:
            trainer.train(resume_from_checkpoint=checkpoint)
    finally:
        progress.close()
    seconds = time.monotonic() - started
    trainer.save_model(str(place))
    if stage.lora is not None and stage.lora.keep_adapter:
        trainer.keep_adapter = True
        trainer.save_model(str(place / "adapter"))
    if trainer.is_world_process_zero():
        answers = answer(_predictor(trainer, models.tokenizer(name), recipe), task)
        result = _result(recipe, name, task, answers, seconds, trainer.state.global_step)
        folder.finish(name, result, answers.predictions, answers.further)
        folder.drop_checkpoints(name)
        say(f"{name}: {task.main_metric} {answers.metrics[task.main_metric]:.4f} after {seconds:.0f} s")
    trainer.accelerator.wait_for_everyone()  # the next stage reads what the first process has written


def _predictor(trainer: DistillationTrainer, tokenizer: PreTrainedTokenizerBase, recipe: Recipe) -> Predictor:
    """The model that was trained, in the precision that it was trained in."""
    backend = TorchBackend(trainer.accelerator.unwrap_model(trainer.model), trainer.args.device)
    size = trainer.args.eval_batch_size
    return Predictor(backend, tokenizer, max_length=recipe.data.max_length, batch_size=size)


def _make_trainer(recipe: Recipe, name: str, task: Task, models: Models, place: Path) -> DistillationTrainer:
    stage = recipe.stages[name]
    model = models.start(name)
    return DistillationTrainer(
        model=model if stage.lora is None else add_adapter(model, stage.lora),
        teacher=models.teacher(stage),
        objective=None if stage.objective is None else Objective.from_dict(stage.objective),
        args=training_arguments(recipe, name, str(place)),
        train_dataset=task.train,
        eval_dataset=task.validation,
        processing_class=models.tokenizer(name),
        max_length=recipe.data.max_length,
        compute_metrics=make_compute_metrics(task.metrics, task.problem),
        cache=CacheSettings(**recipe.cache.model_dump()),
    )


def _describe(recipe: Recipe, name: str, task: Task) -> str:
    stage = recipe.stages[name]
    count = f"{len(task.train)} examples" if task.train is not None else "no examples"
    if stage.teacher is not None:
        return f"distilling from {stage.teacher} on {count}"
    start = f"layers of {stage.student.from_}" if stage.student is not None else stage.model
    if not stage.train:
        return f"{start}, as it is"
    losses = f" with {', '.join(stage.objective)}" if stage.objective is not None else ""
    return f"training {start} on the labels of {count}{losses}"


def _result(recipe: Recipe, name: str, task: Task, answers: Answers, seconds: float, steps: int) -> StageResult:
    return StageResult(
        stage=name,
        role=role_of(recipe, name),
        kind="finetune" if recipe.stages[name].teacher is None else "distill",
        task=task.name,
        problem_type=task.problem.name,
        main_metric=task.main_metric,
        score=answers.metrics[task.main_metric],
        metrics=answers.metrics,
        extra=answers.extra,
        seconds=round(seconds, 1),
        steps=steps,
    )
