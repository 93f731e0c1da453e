"""DistillationTrainer: a transformers Trainer whose loss is an objective between a student and a teacher."""

import copy
import inspect
import itertools
import logging
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import datasets
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.trainer_utils import EvalPrediction, TrainOutput

from distilnlp.data.collate import make_collator
from distilnlp.data.inspect import (
    dataset_label_names,
    dataset_problem,
    has_labels,
    text_sample,
    to_tokens,
    token_lengths,
    visible_part,
)
from distilnlp.data.sampler import LengthBucketSampler, bucket_stream
from distilnlp.errors import RequestError, RunError
from distilnlp.losses import HardLabel, Objective, Response, hard_label_only
from distilnlp.models.capture import model_info
from distilnlp.models.labels import label_names_of, label_order
from distilnlp.models.loading import merge_adapter
from distilnlp.outputs import Outputs
from distilnlp.report.metrics import make_compute_metrics
from distilnlp.teachers import CachedTeacher, CacheSettings, FrozenTeacher, Teacher, load_teacher
from distilnlp.teachers.cached import cache_answers
from distilnlp.training import checkpoints
from distilnlp.training.compatibility import check_same_tokens, confirm_label_order
from distilnlp.training.objective_hook import Attachment
from distilnlp.training.publishing import PublishingTrainer

__all__ = ["DistillationTrainer"]

logger = logging.getLogger(__name__)

MODULES_FILE = "distilnlp_modules.safetensors"
CONFIRM_BATCHES = 8


class DistillationTrainer(PublishingTrainer):
    """Trains a student on an objective; with ``teacher=None`` it fine-tunes with the labels alone.

    Everything that `transformers.Trainer` documents holds: mixed precision, gradient accumulation and checkpointing,
    ``torch.compile``, callbacks, trackers, resuming, ``hyperparameter_search``, ``accelerate launch``. The teacher and
    the control are trained with this class too, so that a comparison compares methods and not trainers.

    Args:
        model: the student, a sequence classifier of transformers (or a PeftModel around one).
        teacher: a `Teacher`, a model, a folder or a Hub id; None for plain fine-tuning.
        objective: what is minimised; default: the labels alone without a teacher, else half labels and half the
            `Response`, the loss between logits that fits the head.
        args: `transformers.TrainingArguments`.
        train_dataset, eval_dataset: with the columns ``text``, optional ``text_pair`` and ``label`` (as `load_task`
            gives them), or already tokenised. ``eval_dataset`` may be a dict of them. Both may be streams
            (`datasets.IterableDataset`), for which ``args.max_steps`` says when training ends.
        processing_class: the student's tokenizer; default: the teacher's.
        max_length: tokens to which texts are truncated; default: what the tokenizer allows, at most 512.
        compute_metrics: as for Trainer; default: accuracy, or Pearson and Spearman, by the kind of the labels.
        keep_adapter: save LoRA adapters as such; by default `save_model` merges them into the weights.
        cache: whether the teacher's answers are kept on disk and read from there from the second time on; default:
            where that pays (see `CacheSettings`).
        kwargs: passed on to Trainer (``model_init``, ``callbacks``, ``optimizers``, ...).
    Raises:
        RequestError: the two models cannot be compared as the objective asks, read different tokens, or mean
            different labels; label smoothing, FSDP, DeepSpeed or DataParallel, which would be ignored or wrong.
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
        train_dataset: Dataset[Any] | None = None,
        eval_dataset: Dataset[Any] | dict[str, Dataset[Any]] | None = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        max_length: int | None = None,
        compute_metrics: Callable[[EvalPrediction], dict[str, float]] | None = None,
        keep_adapter: bool = False,
        cache: CacheSettings | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(teacher, PreTrainedModel | str | Path):
            teacher = load_teacher(teacher)
        self.teacher = teacher
        self.keep_adapter = keep_adapter
        self.cache = cache or CacheSettings()
        self._cached: CachedTeacher | None = None
        tokenizer = processing_class or (teacher.tokenizer if teacher is not None else None)
        if isinstance(train_dataset, datasets.IterableDataset):
            _prepare_for_stream(args)
        visible = visible_part(train_dataset)
        self.label_names_of_data = dataset_label_names(visible)
        self._texts = text_sample(visible)
        if args is not None and args.push_to_hub:
            raise RequestError(
                "push_to_hub=True would publish half-trained models, and the token in a pickle of the arguments: "
                "leave it out, and call trainer.push_to_hub() after train()"
            )
        if kwargs.get("compute_loss_func") is not None:
            raise RequestError("compute_loss_func would replace the objective: register a loss and put it in there")
        if tokenizer is not None and kwargs.get("data_collator") is None:
            kwargs["data_collator"] = make_collator(tokenizer)
        self._reads_words = objective is not None and objective.reads_words
        makers = [tokenizer, teacher.tokenizer if teacher is not None else None]
        super().__init__(
            model=model,
            args=args,
            train_dataset=to_tokens(train_dataset, makers, max_length, words=self._reads_words),
            eval_dataset=to_tokens(eval_dataset, makers, max_length),
            processing_class=tokenizer,
            compute_metrics=compute_metrics or _metrics_for(visible if visible is not None else eval_dataset),
            **kwargs,
        )
        self._bucket_stream()
        self.model_accepts_loss_kwargs = False
        # It would look at the loss of every step, and so wait for the device, to hide a NaN that `_check_terms` names.
        self.args.logging_nan_inf_filter = False
        self._epochs = _EpochOfSampler()
        self.add_callback(self._epochs)
        self._attachment: Attachment | None = None
        self._sums: Tensor | None = None  # of the raw and the weighted terms since the last log, on the device
        self._noted = 0.0  # the progress at the last of them
        self._passes = 0
        self._staging: Path | None = None
        self._refuse_what_would_be_wrong()
        # Not `objective`: hyperparameter_search keeps its own under that name.
        self.distillation_objective: Objective = self._resolve(objective)
        self._check_labels()
        if teacher is not None and teacher.tokenizer is not None and tokenizer is not None:
            check_same_tokens(tokenizer, teacher.tokenizer, self._texts)

    # ---- before step 0 ----

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

    def _refuse_what_would_be_wrong(self) -> None:
        if self.args.label_smoothing_factor:
            raise RequestError("label_smoothing_factor has no effect on an objective: leave it out")
        if self.args.n_gpu > 1:
            raise RequestError(
                f"{self.args.n_gpu} GPUs in one process (DataParallel) would leave the teacher on one of them: "
                "start with 'accelerate launch', or choose one with CUDA_VISIBLE_DEVICES"
            )
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            which = "FSDP" if self.is_fsdp_enabled else "DeepSpeed"
            raise RequestError(
                f"{which} shards parameters that capture and projections need whole, and an encoder that has to be "
                "distilled fits on one device: use DistributedDataParallel (accelerate launch --multi_gpu)"
            )

    def _resolve(self, objective: Objective | None) -> Objective:
        student = model_info(self.student)
        teacher = self.teacher.info if self.teacher is not None else None
        if objective is None:
            objective = hard_label_only()
            if self.teacher is not None:
                objective = Objective([(0.5, HardLabel()), (0.5, Response())])
        if self.teacher is not None and not objective.uses_teacher:
            raise RequestError("a teacher is given and no term of the objective reads it: leave it out, or add a loss")
        if objective.uses_labels and not has_labels(visible_part(self.train_dataset)):
            names = " and ".join(term.name for term in objective if term.loss.uses_labels)
            raise RequestError(
                f"the objective has {names} and the training data has no label column: name the column, or leave "
                f"{names} out and learn from the teacher's outputs alone"
            )
        resolved = objective.resolve(student, teacher)
        if resolved.needs_student().input_gradients and self.args.torch_compile:
            names = " and ".join(term.name for term in resolved if term.loss.needs_student().input_gradients)
            raise RequestError(
                f"a compiled student cannot be differentiated twice: leave out torch_compile, or {names}"
            )
        unused = not resolved.needs_student().logits or resolved.stops_terms
        if unused and self.args.ddp_find_unused_parameters is None:
            # The head, or what a term at weight 0 trains alone, gets no gradient, for which DDP would wait.
            self.args.ddp_find_unused_parameters = True
        return resolved

    def _check_labels(self) -> None:
        """The order of the labels in the data, in the student and in the teacher's logits must be one."""
        student, data = label_names_of(self.student), self.label_names_of_data
        if data is not None and student is not None and label_order(data, student, "the data") is not None:
            raise RequestError(
                f"the data counts its labels as {', '.join(data)} and the student as {', '.join(student)}: put the "
                "student's in the data's order with distilnlp.models.align_labels(model, label_names)"
            )
        if data is not None and student is None and len(data) == self.student.config.num_labels:
            self.student.config.id2label = dict(enumerate(data))
            self.student.config.label2id = {name: index for index, name in enumerate(data)}
        reference = data or student
        if self.teacher is None or self.teacher.label_names is None or reference is None:
            return
        if self.distillation_objective.needs_teacher().logits:
            order = label_order(reference, self.teacher.label_names, "the data" if data else "the student")
            if order is not None:
                logger.info("the teacher counts the labels in another order; its logits are put into ours")
                self.teacher.reorder_labels(order)

    def _prepare_teacher(self) -> None:
        if self.teacher is None:
            return
        self.teacher.prepare(self.args.device, self.distillation_objective.needs_teacher())
        reference = self.label_names_of_data or label_names_of(self.student)
        unnamed = self.teacher.label_names is None and self.teacher.info.num_logits > 1
        if unnamed and reference is not None and self.distillation_objective.needs_teacher().logits:
            loader = DataLoader(
                self.get_train_dataloader().dataset,
                batch_size=self.args.train_batch_size,
                collate_fn=self.data_collator,
            )
            batches = (self._prepare_inputs(batch) for batch in itertools.islice(loader, CONFIRM_BATCHES))
            answers = ((self.teacher(batch).get_logits(), batch["labels"]) for batch in batches if "labels" in batch)
            confirm_label_order(((logits.cpu(), labels.cpu()) for logits, labels in answers), reference)

    def _cache_answers(self) -> CachedTeacher | None:
        """The teacher with its answers on disk, where that is wished for and possible."""
        teacher, data, steps = self.teacher, self.train_dataset, self.args.max_steps
        if isinstance(teacher, FrozenTeacher) and isinstance(data, datasets.Dataset) and "input_ids" in data.features:
            passes = steps * self._batch_and_seed()[0] / len(data) if steps > 0 else self.args.num_train_epochs
            return cache_answers(
                teacher,
                self._remove_unused_columns(data, description="cached"),
                self.data_collator,
                settings=self.cache,
                folder=Path(self.cache.folder) if self.cache.folder else self._own_cache,
                passes=passes * self.distillation_objective.teacher_until,
                autocast=self.accelerator.autocast,
            )
        if teacher is not None and self.cache.use == "always":
            raise RequestError(
                "cache.use=always needs a frozen teacher and a tokenised data set (no stream): use auto or never"
            )
        return None

    @property
    def _own_cache(self) -> Path:
        return Path(self.args.output_dir or ".") / "teacher-cache"

    def _drop_own_cache(self) -> None:
        if self.args.should_save:
            shutil.rmtree(self._own_cache, ignore_errors=True)

    # ---- what Trainer calls ----

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; afterwards nothing is left on the student or the teacher."""
        if self.args.output_dir is not None and self.args.should_save:
            checkpoints.remove_incomplete(Path(self.args.output_dir))
        self._sums, self._passes = None, 0  # a training that was broken off may have left some
        self._prepare_teacher()
        try:
            self._cached = self._cache_answers()
            result = super().train(*args, **kwargs)
            if kwargs.get("trial") is None:  # and not after a failure: what was answered serves the run that resumes
                self._drop_own_cache()
            return result
        finally:
            self._cached = None
            if self._attachment is not None:
                self._attachment.remove()
                self._attachment = None
            if isinstance(self.teacher, FrozenTeacher):
                self.teacher.release()

    def hyperparameter_search(self, *args: Any, **kwargs: Any) -> Any:
        """As in Trainer; the teacher's answers are kept for all trials."""
        try:
            return super().hyperparameter_search(*args, **kwargs)
        finally:
            self._drop_own_cache()

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """As in Trainer, over the student and the modules that are learned with it.

        Called at the start of every training, also for the new student of each trial of ``hyperparameter_search``.
        """
        if self._attachment is not None:
            self._attachment.remove()
        encoder = self.student
        teacher = self.teacher.info if self.teacher is not None else None
        with torch.random.fork_rng(devices=[]):  # a projection must not change the student's dropout
            torch.manual_seed(self.args.seed)
            modules = self.distillation_objective.make_modules(model_info(encoder), teacher).to(self.args.device)
        self._attachment = Attachment(self._trained, encoder, self.distillation_objective, modules)
        return super().create_optimizer(*args, **kwargs)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """As in Trainer; with a cache each batch comes with the teacher's answers to it."""
        if self._cached is None:
            return super().get_train_dataloader()
        collate, self.data_collator = self.data_collator, self._cached.collator(self.data_collator)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = collate

    def get_batch_samples(self, *args: Any, **kwargs: Any) -> tuple[list[Any], Any]:
        """As in Trainer, but what is counted is the examples of the step, over all processes."""
        batches, _ = super().get_batch_samples(*args, **kwargs)
        count = torch.tensor(sum(_examples(batch) for batch in batches), device=self.args.device)
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
        if not model.training or self._attachment is None:
            logits = model(**student_inputs).logits
            loss = HardLabel()(Outputs(logits=logits), None, inputs)
            return (loss, {"loss": loss, "logits": logits}) if return_outputs else loss
        teacher = None
        answering, progress = self._cached or self.teacher, self._progress()
        if answering is not None and self.distillation_objective.asks_teacher(progress):
            with self.accelerator.autocast():
                teacher = answering(inputs)
        self._attachment.feed(teacher, inputs, progress)
        output = model(**student_inputs)
        self._note_terms(output["terms"], progress)
        loss = output["loss"] * self._share(_examples(inputs), num_items_in_batch)
        return (loss, output) if return_outputs else loss

    def _progress(self) -> float:
        """The share of the optimizer steps that are done, which a resumed training finds in its state."""
        return self.state.global_step / self.state.max_steps if self.state.max_steps > 0 else 0.0

    def _share(self, examples: int, in_step: Tensor | int | None) -> Tensor | float:
        """What makes the mean of the micro-batches' means the mean over the examples of the step.

        Trainer divides by the accumulation steps and DistributedDataParallel by the processes, as if all micro-batches
        were equally large; the last of an epoch may be smaller.
        """
        if in_step is None:
            return 1.0
        scale: float = examples * self.current_gradient_accumulation_steps * self.accelerator.num_processes
        return scale / in_step

    def _student_columns(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.student.forward).parameters)

    def prediction_step(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor],
        prediction_loss_only: bool,
        ignore_keys: list[str] | None = None,
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """As in Trainer; only logits are gathered, and the student gets only the inputs that it reads."""
        wanted = {name: value for name, value in inputs.items() if name in self._student_columns() | {"labels"}}
        ignored = ["loss", "hidden_states", "attentions", *(ignore_keys or [])]
        return super().prediction_step(model, wanted, prediction_loss_only, ignored)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        if self.teacher is not None:
            columns = cast("list[str]", self._signature_columns)
            columns += sorted(self.teacher.columns - set(columns))
        if self._reads_words:
            cast("list[str]", self._signature_columns).append("words")

    def _get_train_sampler(self, train_dataset: Dataset[Any] | None = None) -> Sampler[Any] | None:
        strategy = self.args.train_sampling_strategy
        lengths = token_lengths(self.train_dataset) if strategy == "random" else None
        if lengths is None:
            return super()._get_train_sampler(train_dataset)
        self._epochs.sampler = LengthBucketSampler(lengths, *self._batch_and_seed())
        return self._epochs.sampler

    def _bucket_stream(self) -> None:
        stream, random = self.train_dataset, self.args.train_sampling_strategy == "random"
        if random and isinstance(stream, datasets.IterableDataset) and "length" in (stream.column_names or ()):
            self.train_dataset = bucket_stream(stream, *self._batch_and_seed())

    def _batch_and_seed(self) -> tuple[int, int]:
        """The examples of an optimizer step over all processes, and the seed of their order."""
        batch = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.accelerator.num_processes
        return batch, self.args.data_seed if self.args.data_seed is not None else self.args.seed

    # ---- logging ----

    def _note_terms(self, raw: Tensor, progress: float) -> None:
        # By Python's numbers: a tensor of weights would have to be copied to the device, and waited for.
        terms = zip(self.distillation_objective, raw.unbind(), strict=True)
        both = torch.stack([raw, torch.stack([term.weight_at(progress) * value for term, value in terms])])
        self._sums = both if self._sums is None else self._sums + both
        self._noted = progress
        self._passes += 1
        if raw.device.type == "cpu":  # elsewhere to look would be to wait for the device: at the next log or save
            self._check_terms()

    def _check_terms(self) -> None:
        """Stop at a term that is not a finite number; a sum keeps it until somebody looks."""
        if self._sums is None or bool(torch.isfinite(self._sums).all()):
            return
        terms = zip(self.distillation_objective, self._sums.sum(dim=0).tolist(), strict=True)
        names = [term.name for term, value in terms if not math.isfinite(value)]
        raise RunError(
            f"the loss term {', '.join(names)} is not a finite number at step {self.state.global_step + 1}: lower "
            "the learning rate, or train in fp32 or bf16 in place of fp16; the last checkpoint is kept"
        )

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """As in Trainer; beside the loss stands each term, raw and weighted, as a mean since the last log.

        And what is scheduled, as it was at the last step.
        """
        if "loss" in logs and self._sums is not None:
            self._check_terms()
            raw, weighted = self.accelerator.gather((self._sums / self._passes)[None]).mean(dim=0).tolist()
            for term, mean, part in zip(self.distillation_objective, raw, weighted, strict=True):
                logs[f"raw/{term.name}"] = mean
                logs[f"weighted/{term.name}"] = part
                for key, schedule in term.scheduled.items():
                    logs[f"scheduled/{term.name}.{key}"] = schedule.at(self._noted)
            self._sums, self._passes = None, 0
        super().log(logs, *args, **kwargs)

    # ---- saving and loading ----

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Tensor] | None = None) -> None:
        target = Path(output_dir or self.args.output_dir or ".")
        with (
            checkpoints.full_disk_is_named(target),
            checkpoints.hidden(self._attachment),
            checkpoints.staged_files(target, self.args.should_save) as folder,
        ):
            super()._save(str(folder), state_dict=state_dict)
            # A pickle that would carry the Hub token into the model's folder; resuming does not read it.
            (folder / "training_args.bin").unlink(missing_ok=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in Trainer: a plain model and its tokenizer, complete or absent. Adapters are merged (`keep_adapter`)."""
        in_training = self._attachment is not None  # a checkpoint keeps its adapters, to be resumed
        if isinstance(self.model, PreTrainedModel) or self.keep_adapter or in_training:
            super().save_model(output_dir, _internal_call)
            return
        adapted = self._trained
        self.model = merge_adapter(copy.deepcopy(adapted))
        try:
            super().save_model(output_dir, _internal_call)
        finally:
            self.model = adapted

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        """A checkpoint is written beside its place and renamed when whole, so that it is complete or absent."""
        self._check_terms()
        run_dir = Path(super()._get_output_dir(trial=trial))
        staging = self._staging = run_dir / checkpoints.STAGING
        try:
            with checkpoints.full_disk_is_named(run_dir):
                super()._save_checkpoint(model, trial)
        except Exception:
            checkpoints.remove_incomplete(run_dir)  # a full disk has better uses for the space
            raise
        finally:
            self._staging = None
        self.accelerator.wait_for_everyone()
        with checkpoints.full_disk_is_named(run_dir):
            checkpoints.publish(self.state, self.args, staging, run_dir)
        self.accelerator.wait_for_everyone()

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._staging) if self._staging is not None else super()._get_output_dir(trial=trial)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self._attachment is not None and len(self._attachment.modules) and self.args.should_save:
            tensors = {name: tensor.contiguous() for name, tensor in self._attachment.modules.state_dict().items()}
            save_file(tensors, str(Path(output_dir) / MODULES_FILE))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self._attachment is not None and len(self._attachment.modules):
            path = Path(checkpoint) / MODULES_FILE
            if not path.is_file():
                raise RequestError(f"the checkpoint {checkpoint} lacks {MODULES_FILE}: it is of another objective")
            self._attachment.modules.load_state_dict(load_file(str(path)))

    def _load_best_model(self) -> None:
        with checkpoints.hidden(self._attachment):
            super()._load_best_model()


class _EpochOfSampler(TrainerCallback):
    """Tells the sampler its epoch. Accelerate does not reach it when several processes resume within an epoch."""

    sampler: LengthBucketSampler | None = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.sampler is not None and state.epoch is not None:
            self.sampler.set_epoch(int(state.epoch + 1e-6))


def _prepare_for_stream(args: TrainingArguments | None) -> None:
    if args is None or args.max_steps <= 0:
        raise RequestError(
            "the training data is a stream, whose length nobody knows: say with max_steps= how long to train"
        )
    config = cast("AcceleratorConfig", args.accelerator_config)  # what TrainingArguments makes of a dict or a file
    if config.dispatch_batches is None:
        config.dispatch_batches = False  # the default, one process reads for all, needs batches of one length


def _metrics_for(dataset: Any) -> Callable[[EvalPrediction], dict[str, float]] | None:
    problem = dataset_problem(visible_part(dataset))
    return make_compute_metrics(problem.metrics, problem) if problem is not None else None


def _examples(batch: Mapping[str, Tensor]) -> int:
    return len(next(iter(batch.values())))
