"""``distilnlp search``"""

from pathlib import Path
from typing import Annotated

import typer

from distilnlp.cli._options import AcceptWeakTeacher, TaskName, Training, with_options
from distilnlp.cli._output import say
from distilnlp.errors import RequestError

__all__ = ["command"]


@with_options(Training)
def command(
    task: TaskName,
    options: Training,
    teacher: Annotated[str, typer.Option(help="Folder or Hub id of a model fine-tuned on TASK.")],
    keep: Annotated[float, typer.Option(help="Share of the teacher's score that the student keeps; 0.98 is 98 %.")],
    max_ms: Annotated[
        float | None, typer.Option(help="Milliseconds of a text by itself on one thread of this processor, at most.")
    ] = None,
    speedup: Annotated[float | None, typer.Option(help="How many times as fast as the teacher, at least.")] = None,
    max_mb: Annotated[float | None, typer.Option(help="MB of its weights, at most.")] = None,
    trials: Annotated[
        int, typer.Option(min=1, help="How many students are trained, most of them for a few steps.")
    ] = 20,
    minutes: Annotated[
        float | None, typer.Option(help="Begin no training that would end later. [default: as long as it takes]")
    ] = None,
    processor_minutes: Annotated[
        float | None, typer.Option(help="The same by the processor's time, where the machine does other work too.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that try students side by side.")] = 1,
    accept_weak_teacher: AcceptWeakTeacher = False,
) -> None:
    """Find a small, fast student that keeps a share of the score.

    Tries students of the teacher's layers: how many and which, narrower ones, low-rank embeddings, fewer tokens, int8;
    and a static one. Each is timed before it is trained, and refused where it is over a budget. Shows the best
    trade-offs, and trains the fastest student that keeps the share (the smallest, where --max-mb is the only budget).
    Run it again to go on after a break, or with more --trials; or at the same time, to help. Needs Optuna: pip install
    'distilnlp[search]'.
    """
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.distilling import is_without_labels, looking
    from distilnlp.run.requests import Remove, look_at, recipe_of
    from distilnlp.run.search import Goal, SearchSettings, need_optuna, search_student

    settings = SearchSettings(
        trials=trials, minutes=minutes, processor_minutes=processor_minutes, jobs=jobs, fresh=options.fresh
    )
    goal = Goal(keep=keep, max_ms=max_ms, speedup=speedup, max_mb=max_mb)
    need_optuna()
    request = options.request("search", task)
    found = look_at(task, request.data, **looking(teacher, None))
    if found is not None and found.problem.apart:
        raise RequestError(
            "a search looks at students of the teacher's own layers, and here a student is another kind"
        )
    stages = {
        "teacher": None,
        "control": None,
        "student": {
            "teacher": teacher,
            "student": {"from": teacher},
            "model": Remove(),
            "training": request.training,
            "objective": {"hard_label": Remove()} if found is not None and is_without_labels(found) else {},
        },
    }
    base = None if found is None else found.problem.recipe
    recipe = recipe_of(request, stages, base, accept_weak_teacher=accept_weak_teacher)
    if options.dry_run:
        typer.echo(recipe.to_yaml(), nl=False)
        return
    folder = options.output or Path("runs") / recipe.name
    search_student(recipe, folder, goal, settings, say=say)
