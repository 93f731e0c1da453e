"""DistillationTrainer: a transformers Trainer whose loss is an objective between a student and a teacher."""

import copy
import inspect
import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

import datasets
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, SequentialSampler
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import EvalPrediction, PredictionOutput, TrainOutput

from distilnlp.data.accept import as_dataset, as_datasets, check_class_ids, count_labels_as
from distilnlp.data.collate import Collator, Masks, make_collator
from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.data.example_weights import scale_weights
from distilnlp.data.inspect import (
    dataset_label_names,
    dataset_problem,
    text_sample,
    texts_alone,
    to_tokens,
    token_lengths,
    visible_part,
)
from distilnlp.data.mixture import SIZE_POWER, TaskRows, TaskSampler, most_steps
from distilnlp.data.nested import flat_dataset, flat_rows
from distilnlp.data.sampler import LengthBucketSampler
from distilnlp.data.teacher_inputs import TEACHER_INPUTS, own_dataset, own_mask, own_rows
from distilnlp.errors import RequestError, unknown
from distilnlp.losses import Objective
from distilnlp.models.checks import check_fits, training_limit
from distilnlp.models.chosen_tokens import HEAD_TOKENS, answering_for
from distilnlp.models.heads import head_logits
from distilnlp.models.labels import label_names_of
from distilnlp.models.loading import merge_adapter
from distilnlp.models.reading import reading_settings
from distilnlp.models.sentence_encoder import SentenceEncoder
from distilnlp.outputs import Answers, Outputs
from distilnlp.part import Part, Training
from distilnlp.problems import ALIGNMENT, TEACHER_ALIGNMENT, TEACHER_TEXT, Problem, problem_of_config
from distilnlp.problems.base import label_feature
from distilnlp.problems.masking import SHARE, Masking
from distilnlp.problems.reading import Reader
from distilnlp.problems.several_tasks import TASK_ID
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.report.step_time import StepTime
from distilnlp.teachers import CachedTeacher, CacheSettings, Teacher, load_teacher
from distilnlp.teachers.ensemble import answering
from distilnlp.training import arguments, checkpoints, compatibility, publishing
from distilnlp.training.answers import confirm_labels, drop_own_cache, keep_answers
from distilnlp.training.batches import EpochOfSampler, by_length, examples, prepare_for_stream, share_of_step
from distilnlp.training.candidates import take_best
from distilnlp.training.kernels import attention_kernel
from distilnlp.training.measuring import joined_scores, joins, logits_alone, means_of_tasks, measured
from distilnlp.training.objective_hook import ObjectiveHook, OfTask
from distilnlp.training.own_tokens import aligns, answers_to, check_compares, check_parts_compare, own_reader
from distilnlp.training.parts import Parts
from distilnlp.training.step_clock import StepClock
from distilnlp.training.task_sides import TaskSide, TaskSides
from distilnlp.training.term_log import TermLog

__all__ = ["DistillationTrainer"]

logger = logging.getLogger(__name__)

EVAL = "eval_dataset"
Metrics = Callable[[EvalPrediction], dict[str, float]]


class DistillationTrainer(Trainer):
    """Trains a student on an objective; with ``teacher=None`` it fine-tunes with the labels alone.

    Everything that `transformers.Trainer` documents holds: mixed precision, gradient accumulation and checkpointing,
    ``torch.compile``, callbacks, trackers, resuming, ``hyperparameter_search``, ``accelerate launch``. The teacher and
    the control are trained with this class too, so that a comparison compares methods and not trainers.

    Args:
        model: the student, a sequence classifier of transformers (or a PeftModel around one).
        teacher: a `Teacher`, a model, a folder or a Hub id; None for plain fine-tuning. One that is a `Part` too, as
            `EMATeacher` is, changes while the student trains.
        objective: what is minimised; default: the labels alone without a teacher, else half labels and half the
            `Response`, the loss between logits that fits the head; of texts without labels the response alone.
        args: `transformers.TrainingArguments`.
        train_dataset, eval_dataset: with the columns ``text``, optional ``text_pair`` and ``label`` (as `load_task`
            gives them; ``train_dataset`` may have ``example_weight`` too, how much each example counts, which is
            scaled to a mean of 1), or already tokenised: a `datasets.Dataset`, a DataFrame or a list of rows (see
            `as_dataset`). ``eval_dataset`` may be a dict of them; classes that it counts in another order are put into
            ours. Both may be streams (`datasets.IterableDataset`), for which ``args.max_steps`` says when training
            ends. A student of several tasks (`join_tasks`) has a dict of data for both, by task, and a teacher for
            each (`ByTaskTeacher`).
        processing_class: the student's tokenizer; default: the teacher's.
        max_length: tokens to which texts are truncated; default: what the tokenizer and the models take, 512 at most.
        compute_metrics: as for Trainer; default: accuracy, Pearson and Spearman, or average precision and F1, by the
            kind of the labels; several labels are decided by ``decision_thresholds`` of the student's config. Of
            several tasks a dict of them, by task.
        keep_adapter: save LoRA adapters as such; by default `save_model` merges them into the weights.
        parts: what else follows the training (see `Part`).
        keep_checkpoints: steps after which a checkpoint is written and stays, whatever ``args.save_steps`` and
            ``args.save_total_limit`` are.
        size_power: of several tasks: an optimizer step is of one of them, as often as its size to this power says
            (`distilnlp.data.mixture.TaskSampler`).
        cache: whether the teacher's answers are kept on disk and read from there from the second time on; default:
            where that pays (see `CacheSettings`).
        kwargs: passed on to Trainer (``model_init``, ``callbacks``, ``optimizers``, ...).
    Raises:
        RequestError: an argument of a wrong type; the two models are one, cannot be compared as the objective asks,
            read different tokens, or mean different labels; data of another kind of task than the student's config
            names, or of labels that its head lacks; label smoothing, FSDP, DeepSpeed or DataParallel, which would be
            ignored or wrong.
        RunError: in `train`: a term is not a finite number, or the disk is full.
    """

    # The loss is a mean over the micro-batch (weighted in `compute_loss` by its share of the examples); without both
    # this and `model_accepts_loss_kwargs` Trainer would skip the division by the accumulation steps
    # (https://github.com/huggingface/transformers/issues/47688).
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: PreTrainedModel | nn.Module | None = None,
        teacher: Teacher | PreTrainedModel | str | Path | None = None,
        objective: Objective | None = None,
        args: TrainingArguments | None = None,
        train_dataset: Dataset[Any] | Mapping[str, Dataset[Any]] | None = None,
        eval_dataset: Dataset[Any] | dict[str, Dataset[Any]] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        max_length: int | None = None,
        compute_metrics: Metrics | Mapping[str, Metrics] | None = None,
        keep_adapter: bool = False,
        cache: CacheSettings | None = None,
        parts: Sequence[Part] = (),
        keep_checkpoints: Collection[int] = (),
        size_power: float = SIZE_POWER,
        **kwargs: Any,
    ) -> None:
        arguments.check_types(model, objective, args, processing_class, max_length, cache, parts, compute_metrics)
        if isinstance(teacher, PreTrainedModel | str | Path):
            teacher = load_teacher(teacher)
        compatibility.check_teacher(teacher)
        student = arguments.classifier(model)
        if student is not None and problem_of_config(student.config).apart:
            teacher = compatibility.scoring_teacher(teacher, processing_class)
        self._sides = sides = TaskSides.of(student, teacher)
        self.teacher = teacher
        self.keep_adapter = keep_adapter
        self.size_power = size_power
        self.cache = cache or CacheSettings()
        self._cached: CachedTeacher | None = None
        self._resumed: Path | None = None
        # Tokens of its inputs that this process has trained on, padding left out: a number on the device.
        self.tokens_read: Tensor | int = 0
        # Of the last training, where parts offered other weights than the student's own: how each scored, best first.
        self.candidate_scores: dict[str, float] = {}
        tokenizer = processing_class or (teacher.tokenizer if teacher is not None else None)
        train_dataset = (as_dataset if sides is None else as_datasets)(train_dataset, "train_dataset")
        eval_dataset = as_datasets(eval_dataset, EVAL)
        parts_of_data = None if sides is None else sides.named(train_dataset, "train_dataset", every=True)
        if isinstance(train_dataset, datasets.IterableDataset):
            prepare_for_stream(args)
        if args is not None:
            arguments.refuse_arguments(args, kwargs.get("compute_loss_func"))
        own = None if student is None else problem_of_config(student.config)
        settings = {} if student is None else reading_settings(student.config)
        self._read_as: dict[str, Any] = {"problem": own, "settings": settings}
        if own is not None and own.labels_itself:
            train_dataset, eval_dataset = texts_alone(train_dataset), texts_alone(eval_dataset)
        train_dataset = count_labels_as(train_dataset, None, "train_dataset", own)
        # Of several tasks each is looked at by itself.
        visible = visible_part(train_dataset) if sides is None else None
        self.label_names_of_data = dataset_label_names(visible)
        self._label_names = self.label_names_of_data or (None if student is None else label_names_of(student))
        collates = tokenizer is not None and kwargs.get("data_collator") is None
        if tokenizer is not None and collates:
            kwargs["data_collator"] = make_collator(tokenizer)
        self._reads_words = objective is not None and objective.reads_words
        kind = dataset_problem(visible, own) or own
        # Why the teacher reads other tokens than the student, in words, and what reads them; None where it does not
        self._other_tokens = (
            None if teacher is None else compatibility.reads_other_tokens(kind, tokenizer, teacher.tokenizer, visible)
        )
        compatibility.check_members(teacher, visible, own)
        if sides is not None:
            arguments.refuse_for_tasks(args, parts)
            sides.check_tokens(tokenizer, parts_of_data)
            if parts_of_data is not None:
                sides.take_labels(parts_of_data)
        translated = TEACHER_TEXT in (getattr(visible, "column_names", None) or ())
        self._own_reader: Reader | None = None
        self._optimizer_is_given = kwargs.get("optimizers", (None, None))[0] is not None
        if tokenizer is not None:
            its = compatibility.models_of(teacher)
            read_with_it = (model,) if self._other_tokens else (model, *its)
            configs = [getattr(each, "config", None) for each in read_with_it]
            read_by = [config for config in configs if isinstance(config, PreTrainedConfig)]
            max_length = training_limit(read_by, tokenizer, max_length)
            if self._other_tokens and teacher is not None and teacher.tokenizer is not None:
                align = aligns(objective, kind, translated) and tokenizer.is_fast
                its_configs = [getattr(each, "config", None) for each in its]
                self._own_reader = own_reader(teacher.tokenizer, its_configs, max_length, align)
            for config in read_by:
                check_fits(config, tokenizer)
        self._makers = [tokenizer, teacher.tokenizer if teacher is not None and not self._other_tokens else None]
        self._max_length = max_length
        # The texts of what is evaluated, by their tokens; and of which a score is asked for next.
        self._texts: WeakKeyDictionary[datasets.Dataset, datasets.Dataset] = WeakKeyDictionary()
        self._evaluated: Any = None
        eval_dataset = self._to_tokens(eval_dataset, EVAL)
        problem = (
            own if sides is not None else dataset_problem(eval_dataset if visible is None else visible, own) or own
        )
        super().__init__(
            model=model,
            args=args,
            train_dataset=self._train_tokens(train_dataset),
            eval_dataset=eval_dataset,
            processing_class=tokenizer,
            compute_metrics=self._metrics(compute_metrics, problem, eval_dataset),
            preprocess_logits_for_metrics=logits_alone(kwargs.pop("preprocess_logits_for_metrics", None)),
            **kwargs,
        )
        if own is None and problem_of_config(self.student.config).apart:
            raise RequestError(
                "model_init gives a student that reads queries and texts apart, which has to be known before the data"
                " are tokenised: give it as model="
            )
        if not self.args.label_names:
            self.label_names = ["labels"]  # Trainer looks for start and end of an answer in two columns
        if tokenizer is not None and collates:
            padding = (
                problem_of_config(self.student.config).label_padding if problem is None else problem.label_padding
            )
            self.data_collator = make_collator(tokenizer, self.student.config.num_labels, padding, problem)
            if self._own_reader is not None:
                self.data_collator = self.data_collator.with_teacher(self._own_reader.tokenizer)
            if sides is not None:
                self.data_collator = sides.collator(tokenizer)
        self.train_dataset = by_length(self.train_dataset, self.args, *self._batch_and_seed())
        self.model_accepts_loss_kwargs = False
        # It would look at the loss of every step, and so wait for the device, to hide a NaN that `TermLog` names.
        self.args.logging_nan_inf_filter = False
        arguments.refuse_sharding(self.args, fsdp=self.is_fsdp_enabled, deepspeed=self.is_deepspeed_enabled)
        following: list[Part] = [*([teacher] if isinstance(teacher, Part) else []), *parts]
        for part in following:
            part.accept(self.student)
            compatibility.check_part_tokens(part, tokenizer, text_sample(visible))
        info = teacher.info if teacher is not None else None
        for part in following:
            part.meet(info)
        compatibility.check_no_shared_weights(self.student, teacher)
        compatibility.match_problem(self.student, dataset_problem(visible, own))
        # Not `objective`: hyperparameter_search keeps its own under that name.
        of_tasks: dict[str, OfTask] = {}
        if sides is not None:
            rows = self.train_dataset if isinstance(self.train_dataset, TaskRows) else TaskRows({})
            of_tasks = sides.resolved(objective, parts_of_data or {}, rows, self.args, following)
            self.distillation_objective = next(iter(of_tasks.values())).objective
        else:
            self.distillation_objective = compatibility.resolve_objective(
                objective, self.student, info, self.train_dataset, self.args, self._label_names, teacher, following
            )
            compatibility.match_labels(self.student, teacher, self.label_names_of_data, self.distillation_objective)
        if self._other_tokens:
            makers = (tokenizer, teacher.tokenizer if teacher is not None else None)
            check_compares(
                self.distillation_objective,
                problem_of_config(self.student.config),
                self._other_tokens,
                makers,
                translated,
                getattr(self.train_dataset, "column_names", None),
            )
            check_parts_compare(following, self._other_tokens)
        elif sides is None and teacher is not None and teacher.tokenizer is not None and tokenizer is not None:
            compatibility.check_same_tokens(tokenizer, teacher.tokenizer, text_sample(visible))
        # Of the first student, as Trainer's own list of columns is: between the trials of a search there is none.
        reads_words = self._reads_words or (problem is not None and problem.labels_itself)
        read = {
            "label",
            "label_ids",
            "label_mask",
            EXAMPLE_WEIGHT,
            *self.label_names,
            *(["words"] if reads_words else []),
            *((*TEACHER_INPUTS, ALIGNMENT, TEACHER_ALIGNMENT) if self._other_tokens else ()),
            *(() if sides is None else (TASK_ID,)),
        }
        if sides is not None:  # an evaluation reads it too
            self._signature_columns = cast("None", [*self._student_columns(), "label", "label_ids", "labels", TASK_ID])
        self._columns = sorted(read | self._student_columns() | (teacher.columns if teacher is not None else set()))
        self._label_names = self.label_names_of_data or label_names_of(self.student)
        self._check_class_ids(self.train_dataset, "train_dataset")
        self._check_class_ids(self.eval_dataset, EVAL)
        # A term that becomes another loss from task to task, as `response` does, is logged as it was called.
        logged = objective if sides is not None and objective is not None else self.distillation_objective
        self._terms = TermLog(logged, following)
        self._clock = StepClock(self.args.device)
        self._hook = ObjectiveHook(self.distillation_objective, info, following, of_tasks, self._clock.phase)
        # The teacher first, which may copy the student before anything hangs on it; the objective's hook, which
        # replaces what the student returns, last.
        self._parts = Parts([*following, self._hook])
        self._epochs = EpochOfSampler()
        self._epochs.masks = self._make_masks(problem, tokenizer)
        self.add_callback(self._epochs)
        saved = checkpoints.SaveAtSteps(keep_checkpoints)
        self._kept_steps = saved.steps
        self.add_callback(saved)
        self.add_callback(checkpoints.SaveWhenTheEpochIsOver())
        self.add_callback(self._parts)
        self.add_callback(self._clock)  # after the parts, whose work at the end of a step is the step's

    @property
    def step_time(self) -> StepTime | None:
        """What the steps of the last training took their time for, in this process; None where none was measured."""
        return self._clock.taken

    @property
    def student(self) -> PreTrainedModel:
        """The student as a model of transformers, whatever is wrapped around it."""
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        return model if isinstance(model, PreTrainedModel) else model.get_base_model()

    @property
    def _trained(self) -> nn.Module:
        if not isinstance(self.model, nn.Module):
            raise RequestError("there is no student: give model= or model_init=")
        return self.model

    # ---- the training ----

    def train(
        self,
        resume_from_checkpoint: str | bool | None = None,
        trial: Any = None,
        ignore_keys_for_eval: list[str] | None = None,
    ) -> TrainOutput:
        """As `Trainer.train`; afterwards nothing is left on the student or the teacher.

        Args:
            resume_from_checkpoint: a checkpoint's folder; True: the last one in ``args.output_dir`` that is whole.
            trial, ignore_keys_for_eval: as for Trainer.
        Raises:
            RequestError: the checkpoint lacks what the training needs to end with the weights of one without a break,
                or a file of it is not what was written (says which); beside what the class raises.
        """
        if self.train_dataset is None:
            raise RequestError("there is nothing to train on: give train_dataset= to the trainer")
        if self.model_init is None:  # else there is no student yet
            arguments.check_trainable(self._trained)
        if self.args.should_save:
            checkpoints.remove_incomplete(Path(self.args.output_dir or "."))
        self._resumed = self._to_resume(resume_from_checkpoint)
        self._terms.reset()
        self._prepare_teacher()
        try:
            self._cached = self._kept_answers()
            resumed = None if self._resumed is None else str(self._resumed)
            result = super().train(resumed, trial, ignore_keys_for_eval)
            # And not after a failure: what was answered serves the run that resumes.
            if trial is None and self.cache.folder is None:
                drop_own_cache(self.args)
        finally:
            self._cached = self._resumed = None
            self._parts.finish()
            if self.teacher is not None:
                self.teacher.release()
        offered = self._parts.candidates()
        self.candidate_scores = {}
        if offered:
            self.candidate_scores = take_best(
                self.student, offered, self.args, lambda prefix: self.evaluate(metric_key_prefix=prefix)
            )
        return result

    def _to_resume(self, wanted: str | bool | None) -> Path | None:
        if not wanted:
            return None
        checkpoint = checkpoints.to_resume(wanted, Path(self.args.output_dir or "."), self.args.world_size)
        if any(isinstance(callback, ExportableState) for callback in self.callback_handler.callbacks):
            # How long EarlyStoppingCallback has waited, say.
            self.args.restore_callback_states_from_checkpoint = True
        return checkpoint

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, epochs: int, resumed: str | None, trial: Any
    ) -> tuple[int, int]:
        """As in Trainer, which takes a stream for endless: one that ended was begun again with another epoch."""
        position: tuple[int, int] = super()._init_training_state(max_steps, steps_per_epoch, epochs, resumed, trial)
        if resumed is None:
            return position
        if self.args.load_best_model_at_end:
            self.state.best_model_checkpoint = checkpoints.best_before(Path(resumed))
        if not isinstance(self.train_dataset, datasets.IterableDataset):
            return position
        epoch = int(self.state.epoch or 0)
        of_epoch = max_steps * self.args.gradient_accumulation_steps
        return epoch, round(((self.state.epoch or 0) - epoch) * of_epoch)

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """As in Trainer; the teacher's answers are kept for all trials."""
        try:
            return super().hyperparameter_search(*args, **kwargs)
        finally:
            drop_own_cache(self.args)

    def _prepare_teacher(self) -> None:
        if self.teacher is None:
            return
        needs = self._hook.needs_teacher()
        self.teacher.prepare(self.args.device, needs)
        if self._sides is not None and isinstance(self.train_dataset, TaskRows):
            self._sides.confirm_labels(self._hook.tasks, self.train_dataset, self.data_collator, self.args)
            return
        if answering(self.teacher, needs):
            confirm_labels(
                self.teacher,
                lambda: self.get_train_dataloader().dataset,
                self.data_collator,
                self.args,
                self._label_names,
                self._answers,
            )

    def _kept_answers(self) -> CachedTeacher | None:
        if self._epochs.masks is not None:
            if self.cache.use == "always":
                raise RequestError(
                    "cache.use=always, and the teacher reads other masks in every epoch, so that it gives no answer "
                    "twice: use auto or never"
                )
            return None
        data, steps = self.train_dataset, self.args.max_steps
        passes = self.args.num_train_epochs
        if steps > 0 and isinstance(data, datasets.Dataset):
            passes = steps * self._batch_and_seed()[0] / len(data)
        collate = self.data_collator
        if self._own_reader is not None and isinstance(data, datasets.Dataset):
            flat = flat_dataset(data)
            data = own_dataset(flat)
            passes *= len(flat) / len(data)  # a source is read for each of its translations
            collate = make_collator(self._own_reader.tokenizer)
        return keep_answers(
            self.teacher,
            data,
            self._columns,
            collate,
            self.cache,
            self.args,
            passes=passes * self.distillation_objective.teacher_until,
            autocast=self.accelerator.autocast,
        )

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """As in Trainer, over the student and the auxiliary modules.

        Called at the start of every training, also for the new student of each trial of ``hyperparameter_search``.

        Raises:
            RequestError: a part cannot be attached or resumed; a given optimizer lacks what it would have to train.
        """
        training = Training(
            self._trained,
            self.student,
            self.args.device,
            self.args.seed,
            self.teacher,
            self.distillation_objective,
            self.args,
            self.eval_dataset is not None,
            self.state.max_steps,
        )
        self._parts.attach(training)
        if self._parts.trained and not self._optimizer_is_given:
            self.optimizer = None  # that of an earlier training holds the auxiliary modules of then
        if self._resumed is not None:
            self._parts.load(self._resumed)
        optimizer = super().create_optimizer(*args, **kwargs)
        if self._optimizer_is_given or self.optimizer_cls_and_kwargs is not None:
            arguments.check_optimizer(optimizer, self._trained, self._parts.trained)
        return optimizer

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As in Trainer, in batches of like length; with a cache each comes with the teacher's answers to it."""
        lengths = token_lengths(self.train_dataset) if self.args.train_sampling_strategy == "random" else None
        sampler: LengthBucketSampler | TaskSampler
        with self._reading_for_training():
            if isinstance(self.train_dataset, TaskRows):
                most = most_steps(self.args, len(self.train_dataset), self._batch_and_seed()[0])
                sampler = TaskSampler(self.train_dataset.lengths, *self._batch_and_seed(), self.size_power, most)
            elif lengths is None:
                return super().get_train_dataloader()
            else:
                sampler = LengthBucketSampler(lengths, *self._batch_and_seed())
            self._epochs.sampler = sampler
            # Upstream's own get_train_dataloader is this call; a sampler of another kind has no public way in.
            data = cast("Dataset[Any]", self.train_dataset)
            return self._get_dataloader(data, "Training", self._train_batch_size, lambda _: sampler, is_training=True)

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Sampler[Any] | None:
        sampler = super()._get_train_sampler(*args, **kwargs)
        self._epochs.own_generator(sampler, self._batch_and_seed()[1])
        return sampler

    @contextmanager
    def _reading_for_training(self) -> Iterator[None]:
        """What only a training reads is left in its batches, and not in those of an evaluation."""
        # The only list that decides which columns a loader drops; `remove_unused_columns` is all or nothing.
        columns, collate = self._signature_columns, self.data_collator
        self._signature_columns = cast("None", self._columns)  # upstream declares what it begins with
        if self._cached is not None:
            own = (own_rows, own_mask) if self._other_tokens else (flat_rows,)
            self.data_collator = self._cached.collator(collate, *own, reading=self._clock.phase)
        elif self._epochs.masks is not None and isinstance(collate, Collator):
            self.data_collator = collate.hiding(self._epochs.masks)
        try:
            yield
        finally:
            self._signature_columns, self.data_collator = columns, collate

    def _make_masks(self, problem: Problem | None, tokenizer: PreTrainedTokenizerBase | None) -> Masks | None:
        if problem is None or tokenizer is None or not problem.labels_itself:
            return None
        share = self._read_as["settings"].get("mask_share", SHARE)
        return Masks(Masking.of(tokenizer, share), self._batch_and_seed()[1])

    def _student_columns(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.student.forward).parameters)

    def _batch_and_seed(self) -> tuple[int, int]:
        """The examples of an optimizer step over all processes, and the seed of their order."""
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.accelerator.num_processes
        return batch, self.args.data_seed if self.args.data_seed is not None else self.args.seed

    # ---- other data than those of the training ----

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """As `Trainer.evaluate`; ``eval_dataset`` is whatever the constructor takes, tokenised or not.

        Raises:
            RequestError: there is nothing to evaluate on, or other labels.
        """
        if eval_dataset is None and self.eval_dataset is None:
            raise RequestError("there is nothing to evaluate on: give eval_dataset= here or to the trainer")
        if isinstance(eval_dataset, str) and isinstance(self.eval_dataset, dict):
            if eval_dataset not in self.eval_dataset:
                raise unknown("evaluation set", eval_dataset, self.eval_dataset)
        else:
            eval_dataset = self._accepted(as_datasets(eval_dataset, EVAL), EVAL)
        self._evaluated = self._set_named(eval_dataset)
        measured = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
        sets = self.eval_dataset if eval_dataset is None else eval_dataset
        if self._sides is None or not isinstance(sets, dict):
            return measured
        means = means_of_tasks(measured, list(sets), metric_key_prefix)
        self.log(means)
        return measured | means

    def _set_named(self, asked: Any) -> Any:
        """The evaluation set that is asked for: itself, one of several by its name, or the trainer's own."""
        if asked is None or isinstance(asked, str):
            return self.eval_dataset[asked] if isinstance(self.eval_dataset, dict) and asked else self.eval_dataset
        return asked

    def _metrics(self, given: Any, problem: Problem | None, held_out: Any) -> Metrics | None:
        """What an evaluation is told by: what is given, else the scores of the kind of task; of several, of each."""
        sides = self._sides
        if sides is None:
            return cast("Metrics | None", given) or self._metrics_of(problem, held_out)
        own = {
            name: (given or {}).get(name) or self._metrics_of(side.problem, (held_out or {}).get(name), side)
            for name, side in sides.sides.items()
        }

        def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
            compute = own[list(own)[int(self._evaluated[0][TASK_ID])]]
            return {} if compute is None else compute(prediction)

        return compute_metrics

    def _metrics_of(self, problem: Problem | None, held_out: Any, side: TaskSide | None = None) -> Metrics | None:
        """The scores that a kind of task is told by; of texts in windows, and of answers, those of joined inputs."""
        if problem is None:
            return None
        first = next(iter(held_out.values()), None) if isinstance(held_out, dict) else held_out
        metrics = problem.metrics_for(None, label_feature(getattr(first, "features", None) or {}))

        def config() -> PreTrainedConfig:
            return self.student.config if side is None else side.sketch.config

        def names() -> tuple[str, ...] | None:
            return self._label_names if side is None else side.label_names

        plain = make_compute_metrics(metrics, problem, config, names)

        def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
            logits = prediction.predictions
            logits = logits[0] if isinstance(logits, tuple) else logits
            data = self._evaluated
            texts = self._texts.get(data) if isinstance(data, datasets.Dataset) else None
            partial = self.args.dataloader_drop_last  # what is left out of the last batch cannot be joined
            if texts is None or partial or not joins(problem, texts, len(logits)):
                return {} if plain is None else plain(prediction)
            tokenizer = cast("PreTrainedTokenizerBase", self.processing_class)  # that has made the tokens
            settings = self._read_as["settings"]
            return joined_scores(
                np.asarray(logits), texts, tokenizer, self._max_length, problem, config(), settings, names()
            )

        return compute_metrics

    def _get_eval_sampler(self, eval_dataset: Any) -> Sampler[Any] | None:
        """In the order of the data, also where a training's is by length: the windows of a text are joined."""
        if self.args.train_sampling_strategy == "group_by_length" and isinstance(eval_dataset, datasets.Dataset):
            return SequentialSampler(eval_dataset) if self.args.world_size <= 1 else None
        return super()._get_eval_sampler(eval_dataset)

    def predict(
        self, test_dataset: Any, ignore_keys: list[str] | None = None, metric_key_prefix: str = "test"
    ) -> PredictionOutput:
        """As `Trainer.predict`; ``test_dataset`` is whatever the constructor takes for one data set.

        Raises:
            RequestError: no data set, or other labels.
        """
        if test_dataset is None:
            raise RequestError("there is nothing to predict: give test_dataset=")
        dataset = self._accepted(as_dataset(test_dataset, "test_dataset"), "test_dataset")
        self._evaluated = dataset
        return super().predict(dataset, ignore_keys, metric_key_prefix)

    def _accepted(self, dataset: Any, argument: str) -> Any:
        """Data as the student reads them, whose labels it has."""
        dataset = self._to_tokens(dataset, argument)
        self._check_class_ids(dataset, argument)
        return dataset

    def _train_tokens(self, dataset: Any) -> Any:
        if self._sides is not None:
            named = self._sides.named(dataset, "train_dataset", every=True)
            return None if named is None else TaskRows(self._tokens_of_tasks(named, "train_dataset"))
        tokens = to_tokens(
            dataset,
            self._makers,
            self._max_length,
            words=self._reads_words,
            teacher=self._own_reader,
            **self._read_as,
        )
        return scale_weights(tokens, "train_dataset")

    def _tokens_of_tasks(self, data: Mapping[str, Any], argument: str) -> dict[str, Any]:
        """The data of several tasks, tokenised each as its kind reads them."""
        made = {}
        for name, each in data.items():
            made[name] = cast("TaskSides", self._sides).tokens(
                each,
                name,
                self._makers,
                self._max_length,
                f"{argument}[{name!r}]",
                words=self._reads_words and argument != EVAL,
                held_out=argument == EVAL,
            )
            if argument == EVAL and made[name] is not each:
                self._texts[made[name]] = each
        return made

    def _to_tokens(self, dataset: Any, argument: str) -> Any:
        if self._sides is not None:
            if isinstance(dataset, datasets.Dataset) and TASK_ID in dataset.column_names:
                return dataset
            named = self._sides.named(dataset, argument, every=False)
            return None if named is None else self._tokens_of_tasks(named, EVAL)
        if isinstance(dataset, dict):
            return {name: self._to_tokens(each, f"{argument}[{name!r}]") for name, each in dataset.items()}
        dataset = count_labels_as(dataset, self._label_names, argument, self._read_as["problem"])
        tokens = to_tokens(dataset, self._makers, self._max_length, **self._read_as, held_out=True)
        if tokens is not dataset and isinstance(dataset, datasets.Dataset) and isinstance(tokens, datasets.Dataset):
            self._texts[tokens] = dataset
        return tokens

    def _check_class_ids(self, dataset: Any, argument: str) -> None:
        if self._sides is not None:
            return  # each task's are looked at when they are tokenised
        if isinstance(dataset, dict):
            for name, each in dataset.items():
                self._check_class_ids(each, f"{argument}[{name!r}]")
        else:
            problem = problem_of_config(self.student.config)
            if problem.rows in ("list", "span") or problem.vectors:  # no ids, or ones that are no classes of the head
                return
            check_class_ids(dataset, problem.head_size(self.student.config), argument)

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """As in Trainer, but what is counted is the examples of the step, over all processes."""
        if self.state.global_step >= self.state.max_steps:
            return [], None  # resumed after its last step, which was within an epoch: Trainer would train another one
        self._clock.begin()
        with self._clock.phase("data"):
            batches, _ = super().get_batch_samples(*args, **kwargs)
        count = torch.tensor(sum(examples(batch) for batch in batches), device=self.args.device)
        return batches, self.accelerator.gather(count).sum()

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The objective while training; in evaluation the task's own loss against the labels."""
        student_inputs = {
            name: inputs[name] for name in inputs if name in self._student_columns() and name != "labels"
        }
        if not model.training or not self._parts.attached:
            with answering_for(self.student, inputs.get(HEAD_TOKENS)):
                logits = head_logits(model(**student_inputs))
            loss, kept = measured(problem_of_config(self.student.config), logits, inputs)
            return (loss, {"loss": loss, "logits": kept}) if return_outputs else loss
        with self._clock.phase("losses"):
            loss, output = self._training_loss(model, inputs, student_inputs, num_items_in_batch)
        self._clock.then("backward")
        return (loss, output) if return_outputs else loss

    def _training_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Tensor],
        student_inputs: Mapping[str, Tensor],
        num_items_in_batch: Tensor | int | None,
    ) -> tuple[Tensor, Any]:
        """What a pass adds to the loss of its step, and what the student gave."""
        if "attention_mask" in inputs:
            self.tokens_read = self.tokens_read + inputs["attention_mask"].detach().sum()
        progress = self._progress()
        self._parts.on_pass(progress)
        asked = self._asked(inputs) if self._parts.use_teacher or self._uses_teacher_at(progress) else None
        within = isinstance(self.teacher, Part) and self.teacher.within
        self._hook.feed(asked if within or asked is None else asked(None), inputs, progress)
        tokens = inputs.get(HEAD_TOKENS)
        if tokens is not None and not self._hook.needs_student().logits:
            tokens = tokens[:, :0]  # no row of logits is read
        kernel = attention_kernel(student_inputs, self.args)
        with self._clock.phase("student"), answering_for(self.student, tokens), kernel:
            output = model(**student_inputs)
        self._terms.note(output["terms"], progress, self.state.global_step)
        micro_batches = self.current_gradient_accumulation_steps * self.accelerator.num_processes
        return output["loss"] * share_of_step(examples(inputs), num_items_in_batch, micro_batches), output

    def _uses_teacher_at(self, progress: float) -> bool:
        return self.teacher is not None and self.distillation_objective.uses_teacher_at(progress)

    def _asked(self, inputs: Mapping[str, Tensor]) -> Callable[[Outputs | None], Answers]:
        """What asks the teacher about a batch, in the precision of the training; within a pass it is told of it."""
        teacher = cast("Teacher", self._cached or self.teacher)

        def ask(student: Outputs | None) -> Answers:
            if student is not None and isinstance(self.teacher, Part):
                self.teacher.hear(student)
            with self._clock.phase("teacher"), self.accelerator.autocast():
                return self._answers(teacher, inputs)

        return ask

    def _answers(self, teacher: Teacher, inputs: Mapping[str, Tensor]) -> Outputs:
        return answers_to(teacher, inputs) if self._other_tokens else teacher(inputs)

    def _progress(self) -> float:
        """The share of the optimizer steps that are done, which a resumed training finds in its state."""
        return self.state.global_step / self.state.max_steps if self.state.max_steps > 0 else 0.0

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in Trainer; beside the loss stands each term, raw and weighted, as a mean since the last log.

        And what is scheduled, as it was at the last step.
        """
        if "loss" in logs:
            logs |= self._terms.means(self.state.global_step, self.accelerator.gather)
        super().log(logs, *args, **kwargs)

    def _load_best_model(self) -> None:
        """As in Trainer, which reads weights whatever has become of them, and goes on where there are none."""
        if self.state.best_model_checkpoint is not None:
            checkpoints.check_best(Path(self.state.best_model_checkpoint))
            self._parts.load(Path(self.state.best_model_checkpoint), best=True)
        super()._load_best_model()
        self._load_dense(self.state.best_model_checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._load_dense(resume_from_checkpoint)

    def _issue_warnings_after_load(self, load_result: Any) -> None:
        """Without the second names of weights that the model has once (tied ones): the file has them by the first."""
        missing = set(load_result.missing_keys)
        every = dict(self.student.named_parameters(remove_duplicate=False))
        loaded = {id(weight) for name, weight in every.items() if name not in missing}
        left = [name for name in load_result.missing_keys if id(every.get(name)) not in loaded]
        super()._issue_warnings_after_load(load_result._replace(missing_keys=left))

    def _load_dense(self, checkpoint: str | None) -> None:
        """Upstream reads model.safetensors alone, in which the linear maps of a sentence encoder are not."""
        student = self.student
        if checkpoint is not None and isinstance(student, SentenceEncoder) and student.sentence.dense:
            student.load_dense(Path(checkpoint))

    # ---- saving and publishing ----

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in Trainer: a plain model and its tokenizer, complete or absent. Adapters are merged (`keep_adapter`)."""
        target, trained = Path(output_dir or self.args.output_dir or "."), self._trained
        # A checkpoint keeps its adapters, to be resumed.
        merges = not (isinstance(trained, PreTrainedModel) or self.keep_adapter or self._parts.attached)
        with (
            checkpoints.full_disk_is_named(target),
            checkpoints.staged_files(target, self.args.should_save) as folder,
        ):
            if merges:
                self.model = merge_adapter(copy.deepcopy(trained))
            try:
                super().save_model(str(folder), _internal_call)
            finally:
                self.model = trained
            if self.args.should_save:
                self._parts.publish(folder)
            # A pickle that would carry the Hub token into the model's folder; resuming does not read it.
            (folder / "training_args.bin").unlink(missing_ok=True)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """A checkpoint is complete or absent; with the student's go the states of the parts.

        No public hook comes before the first file of a checkpoint, and ``on_save`` is too late: it is visible then.
        """
        self._terms.check(self.state.global_step)
        run_dir = Path(self._get_output_dir(trial))  # nothing public tells the folder of a trial
        everyone = self.accelerator.wait_for_everyone
        with checkpoints.staged_checkpoint(self.state, self.args, run_dir, everyone, self._kept_steps):
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
                self._parts.save(folder, resumable=not self.args.save_only_model)

    def push_to_hub(  # type: ignore[override]  # the address, where Trainer gives the commit
        self,
        commit_message: str | None = None,
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs: Any,
    ) -> str:
        """Save the model into ``args.output_dir``, with its card, publish both in one commit; return the address.

        Args:
            commit_message: what the history of the repository shows.
            token, private: default: ``args.hub_token`` and ``args.hub_private_repo``.
            blocking, revision: not supported; it waits, and writes to the main branch.
            kwargs: as for `create_model_card`.
        Raises:
            RequestError, RunError: as `distilnlp.hub.push`.
        """
        publishing.refuse_other_branches(self.args, blocking, revision)
        self.save_model(_internal_call=True)
        self.create_model_card(model_name=publishing.repo_of(self.args), **kwargs)
        if not self.is_world_process_zero():
            return ""
        return publishing.publish(self.args, token=token, private=private, commit_message=commit_message)

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write ``README.md`` into ``args.output_dir``: what was evaluated, trained and compared, nothing besides.

        Args:
            language, license: of the model.
            model_name: the repository that the code in the card names; default: the folder.
            finetuned_from: the start weights, where the model does not know them.
            dataset: the name of the data.
            dataset_tags: its Hub id.
            tags, tasks, dataset_args: not used: they follow from the training.
        """
        evaluation = self.evaluate() if self.eval_dataset is not None else {}
        if not self.is_world_process_zero():
            return
        publishing.write_card(
            self.student,
            self.args,
            merged=not isinstance(self.model, PreTrainedModel),
            teacher=self.teacher.info.name if self.teacher is not None else None,
            objective=self.distillation_objective,
            parts=self._parts.without(self.teacher, self._hook) if self.state.global_step else (),
            evaluation=evaluation,
            eval_dataset=self.eval_dataset,
            known={
                "language": language,
                "license": license,
                "task": dataset,
                "dataset_id": dataset_tags,
                "teacher": finetuned_from,
            },
            model_name=model_name,
        )
