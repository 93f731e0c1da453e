"""Trains one stage, or goes on with it, and writes what it measured."""

import time
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedTokenizerBase, PrinterCallback

from distilnlp.data.task import Task
from distilnlp.models.backend import TorchBackend
from distilnlp.models.predictor import Predictor
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.report.schema import Choice, Kind, StageResult
from distilnlp.run.evaluation import Answers, answer
from distilnlp.run.folder import RunFolder
from distilnlp.run.generate import generated_texts
from distilnlp.run.models import Models, add_adapter
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.run.private import privacy_of
from distilnlp.run.progress import StageProgress
from distilnlp.run.thresholds import keep_rows, set_thresholds
from distilnlp.training.checkpoints import whole_checkpoint
from distilnlp.training.trainer import DistillationTrainer

__all__ = ["drop_unneeded", "train_stage"]


def train_stage(stage: StagePlan, task: Task, models: Models, folder: RunFolder, say: Callable[[str], object]) -> None:
    """Train a stage from its start or its last checkpoint, save the model, measure it, and mark it as finished.

    Where its labels have decision thresholds, they are chosen after the training and saved with the model.
    """
    kept = None
    task = generated_texts(stage, task, models, say)
    if stage.spec.kind == "train":
        task, kept = keep_rows(task, stage.data)
    name, place = stage.name, folder.stage(stage.name)
    checkpoint, flaws = whole_checkpoint(place, stage.arguments.world_size)
    for flaw in flaws:
        say(f"{name}: {flaw}, so the stage {'goes on before it' if checkpoint else 'begins anew'}")
    for each in stage.needs:
        if models.plan.stage_of(each) is not None:
            folder.check_model(each)
    chosen = models.chosen_teacher(stage)
    say(f"{name}: {_describe(stage, task, chosen)}{f', from {checkpoint.name}' if checkpoint else ''}")
    if (vocabulary := models.vocabularies.told(stage)) is not None:
        say(f"{name}: {vocabulary}")
    if stage.arguments.save_only_model and stage.arguments.save_strategy != "no":
        say(f"{name}: save_only_model keeps no optimizer, so that after a break the stage begins anew")
    started = time.monotonic()
    trainer = _make_trainer(stage, task, models, place)
    progress = StageProgress(name)
    trainer.add_callback(progress)
    if task.problem.labels_itself and not trainer.distillation_objective.needs_student().logits:
        say(f"{name}: no loss reads its head, which is not trained: {task.main_metric} says nothing of the model")
    trainer.remove_callback(PrinterCallback)  # what Trainer shows in place of its own bar: every log as a dict
    try:
        if stage.spec.kind == "train":
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        progress.close()
    seconds = time.monotonic() - started
    predictor = _predictor(trainer, models.tokenizer(name), stage.data.max_length)
    if stage.spec.kind == "train" and trainer.is_world_process_zero():  # which alone saves the config
        taught_by = getattr(getattr(trainer.teacher, "model", None), "config", None)
        set_thresholds(predictor, task, kept, stage.data, lambda line: say(f"{name}: {line}"), taught_by)
    trainer.save_model(str(place))
    if stage.spec.lora is not None and stage.spec.lora.keep_adapter:
        trainer.keep_adapter = True
        trainer.save_model(str(place / "adapter"))
    if trainer.is_world_process_zero():
        answers = answer(predictor, task)
        result = _result(stage, task, answers, seconds, trainer.state.global_step, chosen)
        folder.finish(name, result, answers.predictions, answers.further)
        drop_unneeded(models.plan, folder)
        if result.privacy is not None:
            cost = result.privacy
            say(f"{name}: {cost.queries} votes cost epsilon {cost.epsilon:.3f} at delta {cost.delta:g}")
        say(f"{name}: {_shown(task, answers)} after {seconds:.0f} s")
    trainer.accelerator.wait_for_everyone()  # the next stage reads what the first process has written


def drop_unneeded(plan: Plan, folder: RunFolder) -> None:
    """Delete the checkpoints of finished stages that no stage needs, or none needs any more."""
    for name in filter(folder.is_finished, plan.stages):
        folder.drop_checkpoints(name, plan.checkpoints_needed(name, folder.is_finished))


def _shown(task: Task, answers: Answers) -> str:
    score = answers.metrics.get(task.main_metric)
    return "finished" if score is None else f"{task.main_metric} {score:.4f}"


def _predictor(trainer: DistillationTrainer, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Predictor:
    """The model that was trained, in the precision that it was trained in."""
    backend = TorchBackend(trainer.accelerator.unwrap_model(trainer.model), trainer.args.device)
    return Predictor(backend, tokenizer, max_length=max_length, batch_size=trainer.args.eval_batch_size)


def _make_trainer(stage: StagePlan, task: Task, models: Models, place: Path) -> DistillationTrainer:
    model, lora = models.start(stage), stage.spec.lora
    return DistillationTrainer(
        model=model if lora is None else add_adapter(model, lora),
        teacher=models.teacher(stage),
        objective=stage.objective,
        args=stage.arguments_in(place),
        train_dataset=task.train if stage.spec.kind == "train" else None,
        eval_dataset=task.validation,
        processing_class=models.tokenizer(stage.name),
        max_length=stage.data.max_length,
        compute_metrics=make_compute_metrics(task.metrics, task.problem, label_names=lambda: task.label_names),
        cache=stage.cache,
        parts=stage.make_parts(),
        keep_checkpoints=stage.checkpoints,
    )


def _describe(stage: StagePlan, task: Task, chosen: Choice | None) -> str:
    count = f"{len(task.train)} examples" if task.train is not None else "no examples"
    if chosen is not None:
        scores = ", ".join(f"{name} {score:.4f}" for name, score in chosen.scores.items())
        return f"distilling from {chosen.teacher} on {count}, as {chosen.by} is the best of {scores}"
    if stage.teacher is not None:
        return f"distilling from {stage.teacher} on {count}"
    start = f"layers of {stage.start}" if stage.spec.student is not None else stage.start
    if stage.spec.kind == "transform":
        return f"{start}, as it is"
    used = [*(stage.spec.objective or ()), *(stage.spec.parts or ())]
    losses = f" with {', '.join(used)}" if used else ""
    return f"training {start} on the labels of {count}{losses}"


def _result(
    stage: StagePlan, task: Task, answers: Answers, seconds: float, steps: int, chosen: Choice | None
) -> StageResult:
    trained: Kind = "finetune" if stage.teacher is None and not stage.spec.parts else "distill"
    return StageResult(
        stage=stage.name,
        role=stage.role,
        kind="transform" if stage.spec.kind == "transform" else trained,
        task=task.name,
        problem_type=task.problem.name,
        main_metric=task.main_metric,
        held_out=answers.held_out,
        score=answers.metrics.get(task.main_metric),
        metrics=answers.metrics,
        extra=answers.extra,
        baseline=answers.baseline,
        seconds=round(seconds, 1),
        steps=steps,
        privacy=None if stage.spec.kind == "transform" else privacy_of(stage, task),
        chosen=chosen,
    )
