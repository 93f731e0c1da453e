"""Trains one stage, or goes on with it, and writes what it measured."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import PreTrainedTokenizerBase, PrinterCallback

from distilnlp.data.task import Task
from distilnlp.losses.layers import LayerLoss
from distilnlp.models.backend import TorchBackend, best_device
from distilnlp.models.predictor import Predictor
from distilnlp.progress import doing
from distilnlp.report.history import History, thinned, write_history
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.report.schema import Choice, Kind, StageResult
from distilnlp.report.step_time import write_step_time
from distilnlp.run.evaluation import Answers, answer
from distilnlp.run.folder import RunFolder
from distilnlp.run.generate import generated_texts
from distilnlp.run.models import Models, add_adapter
from distilnlp.run.plan import Plan, StagePlan
from distilnlp.run.private import privacy_of
from distilnlp.run.progress import StageProgress
from distilnlp.run.thresholds import keep_rows, set_thresholds
from distilnlp.run.trackers import tracked_apart
from distilnlp.teachers import CacheSettings
from distilnlp.training.checkpoints import staged_files, whole_checkpoint
from distilnlp.training.trainer import DistillationTrainer

__all__ = ["drop_unneeded", "held_out_of_tasks", "take_task", "tasks_of_stage", "train_stage", "train_together"]


def train_stage(stage: StagePlan, task: Task, models: Models, folder: RunFolder, say: Callable[[str], object]) -> None:
    """Train a stage from its start or its last checkpoint, save the model, measure it, and mark it as finished.

    Where its labels have decision thresholds, they are chosen after the training and saved with the model.
    """
    kept = None
    task = generated_texts(stage, task, models, say)
    if stage.spec.kind == "train":
        task, kept = keep_rows(task, stage.data)
    name, place = stage.name, folder.stage(stage.name)
    checkpoint = _checkpoint(stage, models, folder, say)
    chosen = models.chosen_teacher(stage)
    say(f"{name}: {_describe(stage, _counted(task), chosen)}{f', from {checkpoint.name}' if checkpoint else ''}")
    if (vocabulary := models.vocabularies.told(stage)) is not None:
        say(f"{name}: {vocabulary}")
    started = time.monotonic()
    with doing(f"{name}: loading the models and preparing the examples"):
        trainer = _make_trainer(stage, task, models, place)
    if task.problem.labels_itself and not trainer.distillation_objective.needs_student().logits:
        say(f"{name}: no loss reads its head, which is not trained: {task.main_metric} says nothing of the model")
    if stage.spec.kind == "train":
        _train(trainer, stage, checkpoint, task.main_metric)
    seconds = time.monotonic() - started
    predictor = _predictor(trainer, models.tokenizer(name), stage.data.max_length)
    if stage.spec.kind == "train" and trainer.is_world_process_zero():  # which alone saves the config
        taught_by = getattr(getattr(trainer.teacher, "model", None), "config", None)
        set_thresholds(predictor, task, kept, stage.data, lambda line: say(f"{name}: {line}"), taught_by)
    trainer.save_model(str(place))
    _keep_adapter(trainer, stage, place)
    if trainer.is_world_process_zero():
        _keep_course(trainer, place)
        with doing(f"{name}: measuring"):
            answers = answer(predictor, task)
        result = _result(stage, task, answers, seconds, trainer.state.global_step, chosen)
        folder.finish(name, result, answers.predictions, answers.further)
        drop_unneeded(models.plan, folder)
        if result.privacy is not None:
            cost = result.privacy
            say(f"{name}: {cost.queries} votes cost epsilon {cost.epsilon:.3f} at delta {cost.delta:g}")
        say(f"{name}: {_shown(task, answers)} after {seconds:.0f} s")
    trainer.accelerator.wait_for_everyone()  # the next stage reads what the first process has written


def train_together(
    stage: StagePlan,
    tasks: Mapping[str, Task],
    models: Models,
    folder: RunFolder,
    say: Callable[[str], object],
) -> None:
    """Train a stage with several tasks, from its start or its last checkpoint, save the model, mark it as finished.

    Args:
        stage: with several tasks.
        tasks: the data of all stages, and so of the model of each task.
        models, folder, say: as for `train_stage`.
    """
    name, place = stage.name, folder.stage(stage.name)
    checkpoint = _checkpoint(stage, models, folder, say)
    own = tasks_of_stage(stage, tasks)
    learned = {task: keep_rows(each, models.plan.stages[stage.parts[task]].data)[0] for task, each in own.items()}
    counts = " and ".join(_counted(each, task) for task, each in learned.items())
    say(f"{name}: {_describe(stage, counts, None)}{f', from {checkpoint.name}' if checkpoint else ''}")
    started = time.monotonic()
    first, lora = next(iter(stage.parts.values())), stage.spec.lora
    model = models.start_of_tasks(stage)
    trainer = DistillationTrainer(
        model=model if lora is None else add_adapter(model, lora),
        teacher=models.teacher_of_tasks(stage),
        objective=stage.objective,
        args=stage.arguments_in(place),
        train_dataset={task: each.train for task, each in learned.items() if each.train is not None},
        eval_dataset=held_out_of_tasks({task: each.validation for task, each in own.items()}),
        processing_class=models.tokenizer(first),
        max_length=stage.data.max_length,
        compute_metrics={task: _metrics_of(each) for task, each in own.items()},
        cache=_cache(stage, folder),
        parts=models.parts(stage),
        size_power=stage.size_power,
    )
    _train(trainer, stage, checkpoint, "mean")
    seconds = time.monotonic() - started
    trainer.save_model(str(place))
    _keep_adapter(trainer, stage, place)
    if trainer.is_world_process_zero():
        _keep_course(trainer, place)
        result = StageResult(
            stage=name,
            role=stage.role,
            kind="finetune" if stage.spec.teacher is None and not stage.spec.parts else "distill",
            held_out="",  # each task is measured by itself
            seconds=round(seconds, 1),
            steps=trainer.state.global_step,
        )
        folder.finish(name, result, None, {})
        say(f"{name}: {len(own)} tasks trained together in {seconds:.0f} s")
    trainer.accelerator.wait_for_everyone()


def take_task(stage: StagePlan, task: Task, models: Models, folder: RunFolder, say: Callable[[str], object]) -> None:
    """Save the model of one of several tasks as a plain one, measure it, and mark it as finished.

    Args:
        stage: of the model; the training that makes it is finished.
        task: its data.
        models, folder, say: as for `train_stage`.
    """
    state = PartialState()
    if state.is_main_process:
        folder.check_model(stage.trained_as)
        trained, (task, kept) = folder.result(stage.trained_as), keep_rows(task, stage.data)
        model, tokenizer = models.of_task(stage), models.tokenizer(stage.name)
        backend = TorchBackend(model, best_device())
        size = int(stage.arguments.eval_batch_size)
        predictor = Predictor(backend, tokenizer, max_length=stage.data.max_length, batch_size=size)
        half = torch.bfloat16 if stage.arguments.bf16 else torch.float16
        mixed = stage.arguments.bf16 or stage.arguments.fp16
        with torch.autocast(backend.device.type, dtype=half, enabled=mixed):  # as it was trained
            set_thresholds(predictor, task, kept, stage.data, lambda line: say(f"{stage.name}: {line}"))
            with doing(f"{stage.name}: measuring"):
                answers = answer(predictor, task)
        with staged_files(folder.stage(stage.name), True) as place:
            model.save_pretrained(place)
            tokenizer.save_pretrained(place)
        result = _result(stage, task, answers, trained.seconds or 0.0, trained.steps or 0, None)
        folder.finish(stage.name, result, answers.predictions, answers.further)
        drop_unneeded(models.plan, folder)
        say(f"{stage.name}: {_shown(task, answers)}")
    state.wait_for_everyone()


def tasks_of_stage(stage: StagePlan, tasks: Mapping[str, Task]) -> dict[str, Task]:
    """The data of a stage: of several tasks by their names, of one by an empty name.

    Args:
        tasks: the data of each model of the run.
    """
    return {task: tasks[name] for task, name in stage.parts.items()} or {"": tasks[stage.name]}


def held_out_of_tasks(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """What several tasks are measured on while they are trained: the held-out examples of those that have labels."""
    return {task: each for task, each in data.items() if each is not None and "label" in each.column_names} or None


def _metrics_of(task: Task) -> Any:
    return make_compute_metrics(task.metrics, task.problem, label_names=lambda: task.label_names)


def _checkpoint(stage: StagePlan, models: Models, folder: RunFolder, say: Callable[[str], object]) -> Path | None:
    """The checkpoint that a stage goes on from; says what is wrong with others, and checks what it is made of."""
    checkpoint, flaws = whole_checkpoint(folder.stage(stage.name), stage.arguments.world_size)
    for flaw in flaws:
        say(f"{stage.name}: {flaw}, so the stage {'goes on before it' if checkpoint else 'begins anew'}")
    for each in stage.needs:
        if models.plan.stage_of(each) is not None:
            folder.check_model(each)
    if stage.arguments.save_only_model and stage.arguments.save_strategy != "no":
        say(f"{stage.name}: save_only_model keeps no optimizer, so that after a break the stage begins anew")
    return checkpoint


def _train(trainer: DistillationTrainer, stage: StagePlan, checkpoint: Path | None, metric: str) -> None:
    held_out = trainer.eval_dataset
    sets = held_out.values() if isinstance(held_out, dict) else [] if held_out is None else [held_out]
    progress = StageProgress(
        stage.name,
        metric,
        sum(map(len, sets)),
        lambda: int(trainer.tokens_read) * trainer.accelerator.num_processes,
    )
    trainer.add_callback(progress)
    trainer.remove_callback(PrinterCallback)  # what Trainer shows in place of its own bar: every log as a dict
    try:
        with tracked_apart(trainer, stage.arguments):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        progress.close()


def _keep_adapter(trainer: DistillationTrainer, stage: StagePlan, place: Path) -> None:
    if stage.spec.lora is not None and stage.spec.lora.keep_adapter:
        trainer.keep_adapter = True
        trainer.save_model(str(place / "adapter"))


def _keep_course(trainer: DistillationTrainer, place: Path) -> None:
    """Keep how a training went, and what its steps took."""
    write_history(place, _history(trainer))
    if trainer.step_time is not None:
        write_step_time(place, trainer.step_time)


def _history(trainer: DistillationTrainer) -> History:
    """How a training went."""
    kept = trainer.student.config.to_dict().get("distilnlp_kept_layers")
    losses = {term.name: term.loss for term in trainer.distillation_objective}
    return History(
        log=thinned(trainer.state.log_history),
        layers={
            name: list(loss.pairs)
            for name, loss in losses.items()
            if isinstance(loss, LayerLoss) and not isinstance(loss.layer_map, str)
        },
        made_of=list(kept) if kept else None,
    )


def drop_unneeded(plan: Plan, folder: RunFolder) -> None:
    """Delete what no stage needs any more: checkpoints of finished stages, answers of teachers."""
    for name in filter(folder.is_finished, [*plan.together, *plan.stages]):
        folder.drop_checkpoints(name, plan.checkpoints_needed(name, folder.is_finished))
    trained = {**plan.together, **{name: stage for name, stage in plan.stages.items() if stage.of is None}}
    of_seeds = [stage for stage in trained.values() if stage.answers is not None]
    to_come = {stage.answers for stage in of_seeds if not folder.is_finished(stage.name)}
    for answers in {str(stage.answers) for stage in of_seeds} - to_come:
        folder.drop_answers(answers)


def _cache(stage: StagePlan, folder: RunFolder) -> CacheSettings:
    """How the answers of a stage's teacher are kept: where the stages of all seeds read them, in one folder."""
    return stage.cache if stage.answers is None else replace(stage.cache, folder=str(folder.answers(stage.answers)))


def _shown(task: Task, answers: Answers) -> str:
    score = answers.metrics.get(task.main_metric)
    return "finished" if score is None else f"{task.main_metric} {score:.4f}"


def _predictor(trainer: DistillationTrainer, tokenizer: PreTrainedTokenizerBase, max_length: int | None) -> Predictor:
    """The model that was trained, in the precision that it was trained in."""
    backend = TorchBackend(trainer.accelerator.unwrap_model(trainer.model), trainer.args.device)
    return Predictor(backend, tokenizer, max_length=max_length, batch_size=trainer.args.eval_batch_size)


def _make_trainer(stage: StagePlan, task: Task, models: Models, place: Path) -> DistillationTrainer:
    model, lora = models.start(stage, task), stage.spec.lora
    return DistillationTrainer(
        model=model if lora is None else add_adapter(model, lora),
        teacher=models.teacher(stage),
        objective=stage.objective,
        args=stage.arguments_in(place),
        train_dataset=task.train if stage.spec.kind == "train" else None,
        eval_dataset=task.validation,
        processing_class=models.tokenizer(stage.name),
        max_length=stage.data.max_length,
        compute_metrics=_metrics_of(task),
        cache=_cache(stage, models.folder),
        parts=models.parts(stage),
        keep_checkpoints=stage.checkpoints,
    )


def _counted(task: Task, name: str = "") -> str:
    rows = "no examples" if task.train is None else f"{len(task.train)} examples"
    return f"{rows} of {name}" if name else rows


def _describe(stage: StagePlan, count: str, chosen: Choice | None) -> str:
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
        together=stage.of,
    )
