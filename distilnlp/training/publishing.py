"""What the trainer publishes: the model with its card, in one commit."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.losses import Objective, Term
from distilnlp.models.capture import model_info
from distilnlp.models.labels import label_names_of
from distilnlp.part import Part
from distilnlp.report.card import render_card
from distilnlp.report.from_training import training_report
from distilnlp.whole_files import write_text

__all__ = ["publish", "refuse_other_branches", "repo_of", "write_card"]


def repo_of(args: TrainingArguments) -> str:
    """The repository that a model is published in: ``hub_model_id``, or the name of the folder it is saved in."""
    return args.hub_model_id or _folder(args).name


def publish(args: TrainingArguments, *, token: str | None, private: bool | None, commit_message: str | None) -> str:
    """Publish what is in ``args.output_dir`` in one commit; return the address.

    Raises:
        RequestError, RunError: as `distilnlp.hub.push`.
    """
    from distilnlp.hub.push import push

    return push(
        _folder(args),
        repo_of(args),
        private=bool(args.hub_private_repo if private is None else private),
        token=token or args.hub_token,
        commit_message=commit_message,
    )


def refuse_other_branches(args: TrainingArguments, blocking: bool, revision: str | None) -> None:
    """Raise RequestError for what Trainer's ``push_to_hub`` can do and ours cannot."""
    if not blocking or revision is not None or args.hub_revision is not None:
        raise RequestError("push_to_hub waits and writes to the main branch: leave out blocking and revision")


def write_card(
    student: PreTrainedModel,
    args: TrainingArguments,
    *,
    merged: bool,
    teacher: str | None,
    objective: Objective,
    parts: Sequence[Part],
    evaluation: Mapping[str, float],
    eval_dataset: object,
    known: Mapping[str, Any],
    model_name: str | None,
) -> None:
    """Write ``README.md`` into ``args.output_dir``: what was evaluated, trained and compared, nothing besides.

    Args:
        student: the student.
        args: of its training.
        merged: whether adapters are merged when it is saved, so that its parameters are not counted.
        teacher: the teacher's name; None without one.
        objective: resolved.
        parts: what else followed the training; none before it.
        evaluation: what `Trainer.evaluate` gave.
        eval_dataset: a dict of several sets, or one.
        known: see `training_report`.
        model_name: the repository that the code in the card names; None takes the folder.
    """
    folder = _folder(args)
    report = training_report(
        folder.name,
        student,
        args,
        counts=not merged,
        teacher=teacher,
        problem=model_info(student).problem,
        label_names=label_names_of(student),
        objective={term.name: _settings_of(term) for term in objective},
        parts={each.name: {"weight": each.weight} if each.weight else {} for each in parts},
        evaluation=evaluation,
        further_sets=list(eval_dataset) if isinstance(eval_dataset, dict) else [],
        known={key: _first(value) for key, value in known.items()},
    )
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "README.md", render_card(report, stage=folder.name, repo_id=model_name))


def _folder(args: TrainingArguments) -> Path:
    return Path(args.output_dir or ".").absolute()


def _settings_of(term: Term) -> dict[str, Any]:
    """A term's weight and those of its settings that are plain values; schedules in words."""
    values = {**dataclasses.asdict(term.loss), **{key: str(schedule) for key, schedule in term.scheduled.items()}}
    return {"weight": term.weight, **{k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}}


def _first(names: str | list[str] | None) -> str | None:
    return names[0] if isinstance(names, list) and names else str(names) if names else None
