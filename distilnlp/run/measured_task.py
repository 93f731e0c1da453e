"""The held-out examples that a model is measured on, read as the model's kind of task needs them."""

from collections.abc import Sequence
from pathlib import Path

from distilnlp.data import load_task
from distilnlp.data.load_measured import has_queries, load_pairs, load_queries
from distilnlp.data.task import Task
from distilnlp.errors import RequestError
from distilnlp.problems import get_problem
from distilnlp.run.evaluation import columns_of, kind_of
from distilnlp.run.vectors import gives_vectors

__all__ = ["load_measured_task"]


def load_measured_task(
    model: str,
    name: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    translations: Sequence[str] = (),
    label: str | list[str] | None = None,
    label_names: str | None = None,
    problem_type: str | None = None,
    without_relevant: str | None = None,
    validation: str | None = None,
    data_dir: Path | None = None,
) -> Task:
    """The task that a fine-tuned model is measured on.

    Args:
        model: a folder or Hub id. A sentence encoder is measured on pairs with a score, on queries, or on parallel
            text; any other on examples like those that it was trained on.
        name: a task, a file or a Hub data set.
        text, text_pair, translations, label, label_names, problem_type, without_relevant, validation, data_dir: as for
            `load_task`.
    Raises:
        RequestError: as `load_task`; settings that a sentence encoder's data cannot have.
    """
    folder = str(data_dir) if data_dir else None
    if not gives_vectors(model):
        return load_task(
            name,
            text=text,
            text_pair=text_pair,
            label=label,
            label_names=label_names,
            trained=columns_of(model),
            problem_type=problem_type or kind_of(model),
            without_relevant=without_relevant,
            validation=validation,
            data_dir=folder,
        )
    if label_names is not None or not (label is None or isinstance(label, str)):
        raise RequestError(
            f"{model} gives vectors, which are measured by one score a pair of texts: name its column with one"
            " --label, and leave out --label-names"
        )
    columns = {"text": text, "text_pair": text_pair, "label": label}
    measured, trained = validation or name, columns_of(model)
    ranks = get_problem(problem_type).rows == "list" if problem_type else has_queries(measured, trained)
    if ranks and not translations:
        return load_queries(measured, trained=trained, without_relevant=without_relevant, **columns)
    return load_pairs(measured, data_dir=folder, translations=translations, **columns)
