"""One step of every stage before the first is trained: what its training arguments cannot do is found in a second."""

import copy
import gc
import logging
import random
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from transformers import (
    PreTrainedConfig,
    PreTrainedModel,
    PrinterCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.data.mixture import most_steps, steps_of_tasks
from distilnlp.data.task import Task
from distilnlp.errors import RequestError, RunError, unknown
from distilnlp.models.heads import model_from_config
from distilnlp.part import Part
from distilnlp.problems import Problem
from distilnlp.run.models import Models, add_adapter, shortened_config, teacher_of
from distilnlp.run.plan import Plan, StagePlan, guilty_keys, training_arguments
from distilnlp.run.stage import held_out_of_tasks, tasks_of_stage
from distilnlp.teachers import ByTaskTeacher, CacheSettings, FrozenTeacher, Teacher
from distilnlp.training.trainer import DistillationTrainer

__all__ = ["SCRATCH", "try_stages"]

SCRATCH = ".trial.incomplete"
_ROWS, _LETTERS = 2, 12


def try_stages(
    plan: Plan,
    tasks: Mapping[str, Task],
    models: Models,
    sketches: Mapping[str, PreTrainedModel],
    names: Collection[str] | None = None,
) -> None:
    """Let every stage that is still to be trained take one step on two rows, with its own training arguments.

    Optimizer, scheduler, evaluation, checkpoint and the way back to the best one are those of the training; the
    models have the sizes of the real ones and random weights, no tracker is told, and nothing is compiled. Afterwards
    no file is left, and random numbers come as if nothing had been. In a distributed run every process calls it.

    Args:
        plan: of the run.
        tasks: the data of each stage.
        models: give tokenizers; none of their models is used.
        sketches: as `Models.check` gives them.
        names: of the stages; None: all.
    Raises:
        RequestError: a training argument that cannot be meant, with its key and the line of the recipe.
        RunError: a stage cannot take a step, whatever its arguments.
    """
    # In the order of `written_stages`: a mistake is told of the stage that it was written in.
    stages = [
        plan.together.get(name) or plan.stages[name]
        for name in plan.recipe.written_stages()
        if names is None or not {name, *plan.recipe.models_of(name)}.isdisjoint(names)
    ]
    to_come = [each for each in stages if each.spec.kind == "train" and not models.folder.is_finished(each.name)]
    # With another seed a step is the same.
    first: dict[str, StagePlan] = {}
    for each in to_come:
        first.setdefault(plan.recipe.repeats.get(each.name, each.name), each)
    to_come = list(first.values())
    if not to_come:
        return
    stand_ins = _StandIns(models, sketches, tasks)
    with _nothing_remains(), _scratch(models.folder.path / SCRATCH) as scratch:
        for stage in to_come:
            own = tasks_of_stage(stage, tasks)
            _check_best_metric(plan, stage, own)
            _check_steps(plan, stage, own)
            _try_stage(plan, stage, own, stand_ins, scratch)


def _try_stage(plan: Plan, stage: StagePlan, tasks: Mapping[str, Task], stand_ins: "_StandIns", scratch: Path) -> None:
    def step(arguments: TrainingArguments) -> None:
        _take_step(stage, _small(arguments, tasks, scratch), tasks, stand_ins)

    # The libraries raise whatever they like, and are given nothing here but what the recipe says.
    try:
        step(stage.arguments)
    except RunError:
        return  # a loss that is no number, say: with random weights it is no proof, and the training tells it itself
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise RunError(f"stages.{stage.name}: there is no memory for two rows: {error}") from error
    except Exception as error:
        here = ("stages", stage.name, "training")
        guilty = [
            (*here, key)
            for key in guilty_keys(
                lambda values: step(training_arguments(plan.recipe, plan.precision, values)),
                stage.spec.training,
                Exception,
            )
        ]
        reason = f"{error}" if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
        if not guilty and not isinstance(error, RequestError):
            raise RunError(f"stages.{stage.name} cannot be trained: a step on two rows fails: {reason}") from error
        place = plan.recipe.latest(*guilty, here)
        raise plan.recipe.error(place, f"{'.'.join(map(str, place))}: a step on two rows fails: {reason}") from error


def _check_best_metric(plan: Plan, stage: StagePlan, tasks: Mapping[str, Task]) -> None:
    """Whether what is to be the best by it is measured at all."""
    metric = stage.arguments.metric_for_best_model
    if stage.parts:
        measured = [*(f"{name}_{each}" for name, task in tasks.items() for each in task.metrics), "mean", "loss"]
    else:
        measured = [*tasks[""].metrics, "loss"]
    if metric is None or metric.removeprefix("eval_") in measured:
        return
    place = ("stages", stage.name, "training", "metric_for_best_model")
    raise plan.recipe.error(place, f"{'.'.join(place)}: {unknown('metric', metric, measured)}")


def _check_steps(plan: Plan, stage: StagePlan, tasks: Mapping[str, Task]) -> None:
    """Whether each of several tasks is drawn at all."""
    if not stage.parts:
        return
    arguments = stage.arguments
    batch = int(arguments.train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size)
    sizes = {name: 0 if task.train is None else len(task.train) for name, task in tasks.items()}
    try:
        steps_of_tasks(sizes, batch, stage.size_power, most_steps(arguments, sum(sizes.values()), batch))
    except RequestError as error:
        here = ("stages", stage.name)
        keys = ("per_device_train_batch_size", "gradient_accumulation_steps")
        place = plan.recipe.latest((*here, "data", "tasks"), *((*here, "training", key) for key in keys))
        raise plan.recipe.error(place, f"stages.{stage.name}: {error}") from error


def _take_step(
    stage: StagePlan, arguments: TrainingArguments, tasks: Mapping[str, Task], stand_ins: "_StandIns"
) -> None:
    model, lora = stand_ins.student(stage), stage.spec.lora
    processes = PartialState().num_processes
    train = {name: _few(task.labelled().train, processes, task.problem) for name, task in tasks.items()}
    held_out = {name: _few(task.validation, processes, task.problem) for name, task in tasks.items()}
    # Two rows may hold one class, of which not every metric can say something.
    metrics: dict[str, Any] = {name: partial(_said, task.metrics) for name, task in tasks.items()}
    several = bool(stage.parts)
    trainer = DistillationTrainer(
        model=model if lora is None else add_adapter(model, lora),
        teacher=stand_ins.teacher(stage),
        objective=stage.objective,
        args=arguments,
        train_dataset=train if several else train[""],
        eval_dataset=held_out_of_tasks(held_out) if several else held_out[""],
        processing_class=stand_ins.models.tokenizer(next(iter(stage.parts.values()), stage.name)),
        compute_metrics=metrics if several else metrics[""],
        cache=CacheSettings(use="never"),
        parts=stand_ins.parts(stage),
        callbacks=[_StopAfterOneStep()],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def _said(metrics: Sequence[str], _: object) -> dict[str, float]:
    return dict.fromkeys(metrics, 0.5)


class _StopAfterOneStep(TrainerCallback):
    """`max_steps` would do the same, and change what the schedules of learning rate and weights are made for."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        control.should_training_stop = True


def _few(rows: Any, processes: int, problem: Problem) -> Any:
    """So many short rows that every process has two; of a dict of sets, of each."""
    if isinstance(rows, Mapping):
        return {name: _few(each, processes, problem) for name, each in rows.items()}
    if not isinstance(rows, Dataset):
        return rows
    few = rows[[index % len(rows) for index in range(_ROWS * processes)]]
    if EXAMPLE_WEIGHT in few:
        few[EXAMPLE_WEIGHT] = [1.0] * len(few[EXAMPLE_WEIGHT])  # those of a few rows may all be 0
    return Dataset.from_dict(problem.shortened(few, _LETTERS), features=rows.features)


def _small(arguments: TrainingArguments, tasks: Mapping[str, Task], scratch: Path) -> TrainingArguments:
    """The same arguments for two rows: everything that happens at some time happens at the first step."""
    small = copy.copy(arguments)
    small.output_dir = str(scratch)
    small.max_steps = _steps(arguments, tasks)
    small.per_device_train_batch_size = min(_ROWS, arguments.per_device_train_batch_size)
    small.per_device_eval_batch_size = min(_ROWS, arguments.per_device_eval_batch_size)
    small.gradient_accumulation_steps = 1
    for name in ("eval", "save", "logging"):
        strategy = getattr(small, f"{name}_strategy")
        if strategy.value in ("steps", "epoch"):
            setattr(small, f"{name}_strategy", type(strategy)("steps"))
        setattr(small, f"{name}_steps", 1)
    small.eval_delay = 0
    small.dataloader_num_workers = min(1, arguments.dataloader_num_workers)
    small.report_to = []
    small.log_level = small.log_level_replica = "passive"
    small.torch_compile = False  # takes a minute
    small.full_determinism = False  # stays on for the whole process
    return small


def _steps(arguments: TrainingArguments, tasks: Mapping[str, Task]) -> int:
    """About as many as the training will take, by which learning rates are scheduled."""
    rows = sum(len(task.train) for task in tasks.values() if task.train is not None)
    if arguments.max_steps > 0 or not rows:
        return max(int(arguments.max_steps), 1)
    batch = int(arguments.train_batch_size) * int(arguments.gradient_accumulation_steps * arguments.world_size)
    epochs = float(arguments.num_train_epochs)
    return max(1, round(epochs * max(1, rows // batch)))


class _StandIns:
    """Models of the real sizes, with random weights and the labels of the data."""

    def __init__(self, models: Models, sketches: Mapping[str, PreTrainedModel], tasks: Mapping[str, Task]) -> None:
        self.models = models
        self.sketches = sketches
        self.tasks = tasks
        self.made: dict[str, PreTrainedModel] = {}
        self.teaching: dict[tuple[str, str, str], FrozenTeacher] = {}

    def student(self, stage: StagePlan) -> PreTrainedModel:
        """What the stage trains, before an adapter is put around it."""
        if stage.parts:
            return model_from_config(copy.deepcopy(self.sketches[stage.name].config))
        return self._random(_like(self.sketches[stage.name].config, self.tasks[stage.name]))

    def teacher(self, stage: StagePlan) -> Teacher | None:
        """Who teaches it."""
        if stage.parts:
            of_each = {task: self.teacher(self.models.plan.stages[name]) for task, name in stage.parts.items()}
            return None if stage.spec.teacher is None else ByTaskTeacher(of_each)
        task = self.tasks[stage.name]
        if stage.recorded is not None:
            return self.models.recorded(stage)
        names = stage.teaching_models[:1] if stage.candidates else stage.teaching_models
        return teacher_of(stage, {name: self._model(stage, name, task) for name in names})

    def parts(self, stage: StagePlan) -> list[Part]:
        """What else follows its training."""
        return self.models.parts(stage, lambda name: self._random(self.models.config_of(name, self.sketches)))

    def _model(self, stage: StagePlan, name: str, task: Task) -> FrozenTeacher:
        own = self.models.plan.stage_of(name)
        real = self.models.outsider(stage, name) if own is None else self.sketches[own.name]
        config = _like(shortened_config(stage, real.config), task)
        vocabulary = self.models.vocabularies.teaching(stage, name)
        if vocabulary is not None:
            return FrozenTeacher(vocabulary.model(self._random(config)), vocabulary.tokenizer)
        key = (name, task.problem.name, config.to_json_string())
        if key not in self.teaching:  # no step changes its weights: all stages that it teaches may have the same
            self.teaching[key] = FrozenTeacher(model_from_config(config), self.models.tokenizer(name))
        return self.teaching[key]

    def _random(self, config: PreTrainedConfig) -> PreTrainedModel:
        key = config.to_json_string()
        if key not in self.made:  # stages are often alike, and random weights take longer than a copy
            self.made[key] = model_from_config(copy.deepcopy(config))
        return copy.deepcopy(self.made[key])


def _like(config: PreTrainedConfig, task: Task) -> PreTrainedConfig:
    """A config with the labels of the data, where its head can have them."""
    own = copy.deepcopy(config)
    if task.problem.fits_head(own, task.label_names):
        for key, value in task.problem.config_settings(task.label_names).items():
            setattr(own, key, value)
    return own


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder of the run that all processes see, and that is gone afterwards; what a killed run left there too."""
    state = PartialState()
    if state.is_main_process:
        _remove(folder)
    state.wait_for_everyone()
    try:
        yield folder
    finally:
        # Not in step with the others: one that fails must not wait for one that does not.
        if state.is_main_process:
            _remove(folder)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()  # whoever put it there
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _nothing_remains() -> Iterator[None]:
    """Random numbers go on as if nothing had been; what the training will say is not said before."""
    ours = logging.getLogger("distilnlp")
    level, states = ours.level, (random.getstate(), np.random.get_state())
    ours.setLevel(logging.CRITICAL)
    gc.freeze()  # accelerate collects at each training: to look through all that is imported is half of the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with torch.random.fork_rng():
                yield
    finally:
        gc.collect()  # a trainer and its callbacks hold each other, and the models
        gc.unfreeze()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        random.setstate(states[0])
        np.random.set_state(states[1])
        ours.setLevel(level)
