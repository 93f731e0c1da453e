"""``distilnlp init``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from distilnlp.cli import _options as options
from distilnlp.cli._output import make_way
from distilnlp.cli._quiet import quiet_libraries
from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from distilnlp.data.task import Task
    from distilnlp.problems import Problem

__all__ = ["command"]


def command(
    task: options.TaskName,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .yaml file to write; none may be there.")],
    text: options.Text = None,
    text_pair: options.TextPair = None,
    label: options.Label = None,
    label_names: options.LabelNames = None,
    problem_type: options.ProblemType = None,
    validation: options.Validation = None,
    data_dir: options.DataDir = None,
) -> None:
    """Write a commented recipe for TASK, to start from.

    Fine-tunes a teacher, trains a control and distils a student, with the settings that suit the kind of task, which
    is told by the data or by --problem-type. Change it, then: distilnlp run FILE
    """
    if output.suffix not in (".yaml", ".yml"):
        raise RequestError(f"--output {output}: a recipe is a .yaml file: give a name that ends so")
    if output.exists():
        raise RequestError(f"--output {output} is there already, and nothing is written over it: give another name")
    make_way(output)
    data = {
        "text": text,
        "text_pair": text_pair,
        "label": options.label_columns(label),
        "label_names": label_names,
        "problem_type": problem_type,
        "validation": validation,
        "data_dir": None if data_dir is None else str(data_dir),
    }
    from distilnlp.cli._catalogue import shipped_losses
    from distilnlp.recipe.starter import starting_recipe
    from distilnlp.whole_files import write_text

    problem = _problem(task, data)
    losses = {name: entry.doc.partition("\n")[0] for name, entry in shipped_losses().items()}
    about = [
        f"A recipe for {' '.join(task.split())} ({problem.name}). Run it: distilnlp run {output.name}",
        f"What it does: distilnlp run {output.name} --plan; every setting: distilnlp run {output.name} --dry-run",
        "What else can be said: docs/recipes.md; distilnlp losses; for an editor, distilnlp schema",
    ]
    write_text(output, starting_recipe(problem.recipe, {"task": task, **data}, losses, about))
    typer.echo(f"a recipe for {problem.name} is in {output}; run it: distilnlp run {output}")


def _problem(task: str, data: dict[str, Any]) -> "Problem":
    """The kind of task: as it is said, or as the data look."""
    from distilnlp.data.glue_table import GLUE
    from distilnlp.problems import get_problem

    if data["problem_type"] is not None:
        return get_problem(data["problem_type"])
    if task in GLUE:
        return GLUE[task].problem
    quiet_libraries()
    from distilnlp.run.requests import look_at

    unsaid = dict.fromkeys(("weight", "without_relevant", "translations"))
    return cast("Task", look_at(task, {**data, **unsaid}, strict=True)).problem
