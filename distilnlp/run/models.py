"""The models of a run: what a stage starts from, who teaches it, and whether the two fit before any training."""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.data.load import Task
from distilnlp.data.tokenize import check_tokenizer
from distilnlp.errors import RequestError
from distilnlp.losses import Objective
from distilnlp.models.labels import align_labels, label_names_of, label_order
from distilnlp.models.loading import load_classifier, load_tokenizer
from distilnlp.problems import problem_of_config
from distilnlp.recipe import LoraSpec, Recipe, Stage
from distilnlp.run.check import training_arguments
from distilnlp.run.folder import RunFolder
from distilnlp.students import build_student
from distilnlp.teachers import FrozenTeacher, load_teacher
from distilnlp.training.compatibility import CONFIRM_BATCHES, check_same_tokens, confirm_label_order

__all__ = ["Models", "add_adapter", "stage_seed", "start_name"]


def start_name(stage: Stage) -> str:
    """The stage, folder or Hub id that a stage starts from."""
    return stage.student.from_ if stage.student is not None else str(stage.model)


def _written(here: tuple[str, ...], stage: Stage) -> list[tuple[str, ...]]:
    """Where a recipe says what a stage starts from."""
    keys = stage.student.model_dump(by_alias=True) if stage.student is not None else {}
    return [(*here, "model"), (*here, "student"), *((*here, "student", key) for key in keys)]


def stage_seed(recipe: Recipe, name: str) -> int:
    """The seed of a stage: its own, or the recipe's."""
    return int(recipe.stages[name].training.get("seed", recipe.seed))


def add_adapter(model: PreTrainedModel, lora: LoraSpec) -> nn.Module:
    """The model with low-rank adapters that are trained in its place; the head is trained in full."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type=problem_of_config(model.config).peft_task_type,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:  # no module of the names in target_modules
        raise RequestError(f"lora: {error}") from error


class Models:
    """Finds and makes the models of a recipe's stages.

    Args:
        recipe: the run's recipe.
        task: its data, whose labels every model gets.
        folder: where the stages that are finished are.
    """

    def __init__(self, recipe: Recipe, task: Task, folder: RunFolder) -> None:
        self.recipe = recipe
        self.task = task
        self.folder = folder

    def where(self, name: str) -> str | Path:
        """The folder of a stage, or the folder or Hub id that is no stage."""
        return self.folder.stage(name) if name in self.recipe.stages else name

    def tokenizer(self, name: str) -> PreTrainedTokenizerBase:
        """The tokenizer of the model that a stage starts from; stages pass theirs on."""
        return self._tokenizer_of(start_name(self.recipe.stages[name]))

    def _tokenizer_of(self, name: str) -> PreTrainedTokenizerBase:
        """That of a stage's model, or of a folder or Hub id."""
        return self.tokenizer(name) if name in self.recipe.stages else load_tokenizer(name)

    def start(self, name: str) -> PreTrainedModel:
        """The model that a stage begins to train: the same weights each time."""
        stage = self.recipe.stages[name]
        return self._make(name, self._classifier(self.where(start_name(stage)), stage_seed(self.recipe, name)))

    def teacher(self, stage: Stage) -> FrozenTeacher | None:
        """Who teaches a stage."""
        return None if stage.teacher is None else load_teacher(self.where(stage.teacher))

    def check(self) -> None:
        """Build every stage's models with the weights that there are now, and compare them as the objective will.

        What cannot work in the last stage is so found before the first one is trained.

        Raises:
            RequestError: a model that cannot be loaded, a teacher without a head, models that the objective cannot
                compare; with the line of the recipe.
        """
        made: dict[str, PreTrainedModel] = {}
        for name, stage in self.recipe.stages.items():
            here = ("stages", name)
            start, source = start_name(stage), _written(here, stage)
            paths = source
            try:
                base = made.get(start) or self._classifier(start, stage_seed(self.recipe, name))
                made[name] = self._make(name, base)
                tokenizer = self.tokenizer(name)
                self._check_tokenizer(tokenizer)
                paths = [(*here, "lora"), (*here, "lora", "target_modules")]
                if stage.lora is not None:
                    add_adapter(self._make(name, base), stage.lora)
                if stage.objective is None:
                    continue
                paths, info, outsider = [(*here, "teacher"), *source], None, None
                if stage.teacher is not None:
                    known = made.get(stage.teacher)
                    check_same_tokens(tokenizer, self._tokenizer_of(stage.teacher))
                    teacher = load_teacher(stage.teacher) if known is None else FrozenTeacher(known)
                    info, outsider = teacher.info, teacher if known is None else None
                own = FrozenTeacher(made[name]).info
                for loss, settings in stage.objective.items():
                    path = (*here, "objective", loss)
                    paths = [path, *((*path, key) for key in settings)]
                    Objective.from_dict({"hard_label": {}, loss: settings}).resolve(own, info)
                paths = [(*here, "teacher")]
                if outsider is not None:
                    objective = Objective.from_dict(stage.objective).resolve(own, info)
                    self._check_labels(name, outsider, objective)
            except RequestError as error:
                if str(error).startswith("max_length"):
                    paths = [("data", "max_length")]
                raise self.recipe.error(self.recipe.latest(*paths), f"stages.{name}: {error}") from error

    def _check_labels(self, name: str, teacher: FrozenTeacher, objective: Objective) -> None:
        """Whether a teacher from outside the run knows the task: what the trainer will find, before any training."""
        labels, needs = self.task.label_names, objective.needs_teacher()
        if labels is None or self.task.train is None or not needs.logits:
            return
        if teacher.label_names is not None:
            label_order(labels, teacher.label_names, "the data")
        elif (tokenizer := teacher.tokenizer) is not None:
            arguments = training_arguments(self.recipe, name, "unused")
            size = arguments.train_batch_size
            rows = self.task.train[: CONFIRM_BATCHES * size]
            texts = [rows[column] for column in ("text", "text_pair") if column in rows]
            limit = self.recipe.data.max_length or min(512, tokenizer.model_max_length)
            tokens = tokenizer(*texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
            batch = {**tokens, "labels": torch.tensor(rows["label"])}
            batches = [
                {column: values[start : start + size].to(arguments.device) for column, values in batch.items()}
                for start in range(0, len(rows["label"]), size)
            ]
            teacher.prepare(arguments.device, needs)
            confirm_label_order(teacher, batches, labels)
            teacher.release()

    def _check_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> None:
        """Whether it can read the texts, at this length."""
        if self.task.train is None:
            raise RequestError(f"task {self.task.name} has no training examples")
        check_tokenizer(self.task.train, tokenizer, self.recipe.data.max_length)

    def _classifier(self, name: str | Path, seed: int) -> PreTrainedModel:
        """The model with the task's labels; a head that has them in another order is put into theirs, not lost."""
        labels, problem = self.task.label_names, self.task.problem
        if labels is not None and name not in self._stage_folders():
            own = load_classifier(name, problem=problem, seed=seed)
            names = label_names_of(own)
            if names is not None and sorted(names) == sorted(labels):
                return align_labels(own, labels)
        return load_classifier(name, label_names=labels, problem=problem, seed=seed)

    def _stage_folders(self) -> list[Path]:
        return [self.folder.stage(name) for name in self.recipe.stages]

    def _make(self, name: str, start: PreTrainedModel) -> PreTrainedModel:
        spec = self.recipe.stages[name].student
        if spec is None:
            return start
        return build_student(
            start,
            layers=spec.layers,
            layer_map=spec.layer_map,
            config=spec.config,
            architecture=spec.architecture,
            init=spec.init,
            seed=stage_seed(self.recipe, name),
        )
