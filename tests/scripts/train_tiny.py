"""Trains tiny students in a process of its own, or in one of several: what the tests launch and kill.

``python -m tests.scripts.train_tiny '{"jobs": [{"folder": "runs/a", "narrow": true}, ...]}'``
"""

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from datasets import ClassLabel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from distilnlp.losses import (
    AttentionScores,
    HardLabel,
    HiddenState,
    Objective,
    Response,
    Schedule,
    SoftTarget,
    get_loss,
)
from distilnlp.models.task_heads import join_tasks
from distilnlp.parts import PARTS, Part
from distilnlp.teachers import (
    Branches,
    ByTaskTeacher,
    CacheSettings,
    EMATeacher,
    EnsembleTeacher,
    FrozenTeacher,
    Peers,
    layout,
)
from distilnlp.training.trainer import DistillationTrainer
from tests.masked import masked_model, texts_alone
from tests.runs import NAMES, all_losses, dataset, make_trainer, student_model, teacher_model, without_dropout
from tests.tiny import piece_tokenizer, tiny_tokenizer, toy_dataset
from tests.training import test_ranking as ranking
from tests.training import test_retrieval as retrieval

__all__ = ["FOLLOWING", "METRICS", "inputs_file", "train_tiny", "weights_file"]

METRICS = "metrics.json"  # of the queries that are held out

OBJECTIVES = {
    "all": all_losses,
    "no logits": lambda: Objective([(1.0, HiddenState()), (1.0, AttentionScores())]),
    # A term ends within the training, and what only it trains has no gradient from then on.
    "scheduled": lambda: Objective(
        [
            (1.0, HardLabel()),
            (Schedule("linear", 1.0, 0.0, until=0.6), HiddenState()),
            (0.5, SoftTarget(), {"temperature": Schedule("cosine", 8.0, 1.0)}),
        ]
    ),
    "jacobian": lambda: Objective([(1.0, HardLabel()), (1.0, get_loss("jacobian", compare="norms"))]),
    "rocket": lambda: Objective([(1.0, HardLabel()), (1.0, get_loss("rocket_launching"))]),
    "answers": lambda: Objective([(1.0, HardLabel()), (1.0, SoftTarget())]),
    "masked words": lambda: Objective(
        [(1.0, HardLabel()), (1.0, SoftTarget()), (1.0, get_loss("hidden_state_cosine"))]
    ),
    "other tokens": lambda: Objective([(1.0, HardLabel()), (1.0, SoftTarget()), (1.0, HiddenState())]),
    "several tasks": lambda: Objective([(1.0, HardLabel()), (1.0, Response()), (1.0, HiddenState())]),
    "queue": lambda: Objective([(1.0, HardLabel()), (1.0, get_loss("crd", queue=16, dimension=8))]),
    "ranking": lambda: ranking.OBJECTIVE,
    "retrieval": lambda: retrieval.OBJECTIVE,
}
FOLLOWING = {
    "average": lambda: EMATeacher(decay=0.9),
    "peers": lambda: Peers([student_model(dropout=False, hidden=16, seed=3)]),
    "branches": lambda: Branches(count=1),
    # Which of the two is asked is drawn for each step: the same one in all processes.
    "drawn": lambda: EnsembleTeacher(
        {"one": teacher_model(), "two": teacher_model(seed=3, initializer_range=0.5)}, combine="stochastic"
    ),
}
# Parts that change a student while it learns: what each freezes, draws and trains has to be alike in all processes.
CHANGING: dict[str, dict[str, object]] = {
    "early_exits": {},
    "theseus": {"until": 0.6},
    "perturbed_embeddings": {"steps": 2},
    "adversarial_text": {"generator_steps": 2, "student_steps": 2},
    # Not mobilebert: fresh LayerNorms have equal variances but for rounding, and |v_s - v_t| has a kink there.
    # Their gradients' squares, which do not depend on how the rows are shared out but for rounding.
    "pruning": {"intermediate_size": 16, "score": "gradient"},
    "progressive": {"losses": {"hidden_state": {}}},
    "int8": {"start": 0.3},
}
# Students of queries with their texts, and their cross-encoder.
STUDENTS = {"ranking": ranking.ranker, "retrieval": retrieval.bi_encoder}


def _of_tasks() -> dict[str, Any]:
    """Two tasks of other labels, each with a teacher of another width, so that each has a projection of its own."""
    names = {"a": NAMES, "b": ("no", "yes")}
    sizes = {"a": {}, "b": {"hidden": 24}}
    tokenizer = tiny_tokenizer()
    return {
        "model": without_dropout(
            join_tasks({name: student_model(hidden=16, label_names=own) for name, own in names.items()})
        ),
        "teacher": ByTaskTeacher(
            {
                name: FrozenTeacher(teacher_model(label_names=own, **sizes[name]), tokenizer)
                for name, own in names.items()
            }
        ),
        "train_dataset": {
            "a": dataset(32),
            "b": toy_dataset(24, seed=1, classes=2).cast_column("label", ClassLabel(names=list(names["b"]))),
        },
    }


def _part(name: str) -> Part:
    """One of `CHANGING`; one that is made of a model with one that writes."""
    given = (masked_model(seed=7, initializer_range=0.3), tiny_tokenizer()) if PARTS.get(name).of_model else ()
    return PARTS.make(name, CHANGING[name], *given)


def _of_queries(student: str) -> dict[str, Any]:
    """16 queries of 2 to 5 texts; the 7 that are held out divide into no even parts."""
    held_out = ranking.queries(7)
    data = {"train_dataset": ranking.queries(16), "eval_dataset": held_out}
    return {"model": STUDENTS[student](), "teacher": ranking.ranker(4, 1), **data}


class _KeepWeights(TrainerCallback):
    """Notes the student, its auxiliary modules and its average at the end of the training, which takes them off."""

    def __init__(self, teacher: object) -> None:
        self.average = teacher if isinstance(teacher, EMATeacher) else None
        self.weights: dict[str, Tensor] = {}

    def on_train_end(self, *args: Any, model: Any, **kwargs: Any) -> None:
        average = {} if self.average is None else self.average.state()
        tensors = {**dict(model.named_parameters()), **{f"average.{name}": each for name, each in average.items()}}
        self.weights = {name: tensor.detach().clone() for name, tensor in tensors.items()}


class _Inputs:
    """The tokens that models read in a training, in their order."""

    def __init__(self, **models: nn.Module) -> None:
        self.seen: dict[str, Tensor] = {}
        for name, model in models.items():
            model.register_forward_pre_hook(self._keep(name), with_kwargs=True)

    def _keep(self, name: str) -> Any:
        def keep(model: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            number = sum(each.startswith(f"{name}.") for each in self.seen)
            self.seen[f"{name}.{number}"] = kwargs["input_ids"].clone()

        return keep


def inputs_file(folder: Path, rank: int = 0) -> Path:
    """Where a process leaves what teacher and student have read, if it learned masked words."""
    return folder / f"rank-{rank}-inputs.safetensors"


def weights_file(folder: Path, rank: int = 0) -> Path:
    """Where a process leaves the weights that it ended with."""
    return folder / f"rank-{rank}.safetensors"


def train_tiny(
    folder: str,
    *,
    narrow: bool = True,
    dropout: bool = True,
    objective: str = "all",
    rows: int = 48,
    resume: str | None = None,
    cache: str | None = None,
    follows: str | None = None,
    part: str | None = None,
    args: dict[str, Any] | None = None,
) -> DistillationTrainer:
    """Train into ``folder``, from its last checkpoint when it has one, or from ``resume``; write `weights_file`.

    The teacher's answers are kept in the folder ``cache``, in chunks so small that every process has some to ask for.
    The teacher may be one that ``follows`` the student: its ``average``, or ``peers``; ``part`` is one of `CHANGING`.
    Of an objective for queries the student is one that puts texts in order, which is measured at the end: `METRICS`.

    ``several tasks`` are learned by one student from a teacher each. The teacher of ``other tokens`` cuts words into
    pieces.

    The objective ``masked words`` is learned from texts alone, by models with a head for words; what both read is
    kept in `inputs_file`.
    """
    place = Path(folder)
    teacher = None if follows is None else FOLLOWING[follows]()
    keep, chosen = _KeepWeights(teacher), OBJECTIVES[objective]()
    settings: dict[str, Any] = {"train_dataset": dataset(rows)}
    settings |= {} if teacher is None else {"teacher": teacher}
    settings |= {} if chosen.uses_teacher else {"teacher": None}
    inputs = None
    if objective == "masked words":
        settings |= {"teacher": masked_model(layers=4, seed=1), "model": without_dropout(masked_model(seed=2))}
        settings |= {"train_dataset": texts_alone(rows), "max_length": 24}
        inputs = _Inputs(teacher=settings["teacher"], student=settings["model"])
    elif objective in STUDENTS:
        settings |= _of_queries(objective)
    elif objective == "several tasks":
        settings |= _of_tasks()
    else:
        if objective == "other tokens":
            pieces = piece_tokenizer()
            settings["teacher"] = FrozenTeacher(teacher_model(vocab_size=len(pieces)), pieces)
        settings["model"] = student_model(dropout=dropout, **({"hidden": 16} if narrow else {}))
    trainer = make_trainer(
        place,
        objective=chosen,
        **settings,
        cache=CacheSettings(use="always", folder=cache) if cache is not None else None,
        args=args or {},
        callbacks=[keep],
        parts=[] if part is None else [_part(part)],
    )
    last = get_last_checkpoint(folder) if place.is_dir() else None
    with mock.patch.object(layout, "CHUNK_ROWS", 5):
        trainer.train(resume_from_checkpoint=resume or last)
    place.mkdir(parents=True, exist_ok=True)
    target = weights_file(place, trainer.args.process_index)
    save_file(keep.weights, target.with_suffix(".tmp"))
    os.replace(target.with_suffix(".tmp"), target)
    if inputs is not None:
        save_file(inputs.seen, inputs_file(place, trainer.args.process_index))
    if objective in STUDENTS:
        found = trainer.evaluate()
        if trainer.is_world_process_zero():
            (place / METRICS).write_text(json.dumps(found))
    return trainer


if __name__ == "__main__":
    for job in json.loads(sys.argv[1])["jobs"]:
        train_tiny(**job)
