"""The part of the trainer that publishes: the model with its card, in one commit."""

import dataclasses
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer

from distilnlp.errors import RequestError
from distilnlp.losses import Objective, Term
from distilnlp.models.capture import model_info
from distilnlp.models.labels import label_names_of
from distilnlp.report.card import render_card
from distilnlp.report.from_training import training_report
from distilnlp.teachers import Teacher
from distilnlp.whole_files import write_text

__all__ = ["PublishingTrainer"]


class PublishingTrainer(Trainer):
    """A Trainer whose model card tells of a distillation; the base of `DistillationTrainer`."""

    teacher: Teacher | None
    distillation_objective: Objective

    @property
    def student(self) -> PreTrainedModel:
        """The student as a model of transformers, whatever is wrapped around it."""
        raise NotImplementedError

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
        if not blocking or revision is not None or self.args.hub_revision is not None:
            raise RequestError("push_to_hub waits and writes to the main branch: leave out blocking and revision")
        folder = Path(self.args.output_dir or ".").absolute()
        repo_id = self.args.hub_model_id or folder.name
        self.save_model(_internal_call=True)
        self.create_model_card(model_name=repo_id, **kwargs)
        if not self.is_world_process_zero():
            return ""
        from distilnlp.hub.push import push

        return push(
            folder,
            repo_id,
            private=bool(self.args.hub_private_repo if private is None else private),
            token=token or self.args.hub_token,
            commit_message=commit_message,
        )

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
        folder = Path(self.args.output_dir or ".").absolute()
        student = self.student
        report = training_report(
            folder.name,
            student,
            self.args,
            counts=isinstance(self.model, PreTrainedModel),  # adapters would be counted, and are merged when saved
            teacher=self.teacher.info.name if self.teacher is not None else None,
            problem=model_info(student).problem,
            label_names=label_names_of(student),
            objective={term.name: _settings_of(term) for term in self.distillation_objective},
            evaluation=evaluation,
            further_sets=list(self.eval_dataset) if isinstance(self.eval_dataset, dict) else [],
            known={
                "language": language,
                "license": license,
                "task": _first(dataset),
                "dataset_id": _first(dataset_tags),
                "teacher": finetuned_from,
            },
        )
        card = render_card(report, stage=folder.name, repo_id=model_name)
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "README.md", card)


def _settings_of(term: Term) -> dict[str, Any]:
    """A term's weight and those of its settings that are plain values; schedules in words."""
    values = {**dataclasses.asdict(term.loss), **{key: str(schedule) for key, schedule in term.scheduled.items()}}
    return {"weight": term.weight, **{k: v for k, v in values.items() if isinstance(v, bool | int | float | str)}}


def _first(names: str | list[str] | None) -> str | None:
    return names[0] if isinstance(names, list) and names else str(names) if names else None
