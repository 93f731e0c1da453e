"""``distilnlp run``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distilnlp.cli import _complete
from distilnlp.cli._launch import check_can_launch, run_in_processes
from distilnlp.cli._options import (
    AcceptWeakTeacher,
    DryRun,
    Fresh,
    Output,
    Plan,
    Processes,
    Seeds,
    Set,
    Stages,
    Training,
)
from distilnlp.cli._output import say
from distilnlp.cli._recipes import recipe_with_seeds

if TYPE_CHECKING:
    from distilnlp.recipe import Recipe

__all__ = ["command", "start"]


def command(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A YAML file, or a shipped recipe (see 'recipes').",
            autocompletion=_complete.recipes,
        ),
    ],
    settings: Set = None,
    output: Output = None,
    seeds: Seeds = None,
    stages: Stages = None,
    dry_run: DryRun = False,
    plan: Plan = False,
    fresh: Fresh = False,
    processes: Processes = 1,
    accept_weak_teacher: AcceptWeakTeacher = False,
) -> None:
    """Run a recipe, or go on with it.

    Trains the stages in order, evaluates them, writes report and model card. Run it again to go on after a break:
    finished stages are skipped.
    """
    from distilnlp.run.requests import ACCEPT

    accepted = [ACCEPT] if accept_weak_teacher else []
    options = Training(output=output, dry_run=dry_run, fresh=fresh)
    made = recipe_with_seeds(recipe, seeds, [*(settings or ()), *accepted])
    start(made, options, stages=stages, only_plan=plan, processes=processes)


def start(
    recipe: "Recipe",
    options: Training,
    *,
    stages: str | None = None,
    only_plan: bool = False,
    processes: int = 1,
) -> Path | None:
    """Check and run a recipe, as all commands that train do; the run's folder, or None where nothing is run.

    Args:
        recipe, options: of the command.
        stages: the stages to run, as `--stages` says them; None: all.
        only_plan: show which stage is made of what, and stop.
        processes: how many train together.
    """
    if processes > 1:
        check_can_launch()
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.plan import make_plan

    plan = make_plan(recipe)
    if options.dry_run:
        typer.echo(recipe.to_yaml(), nl=False)
        return None
    if only_plan:
        from distilnlp.report.drawing import draw_line, draw_stages

        for line in (draw_line(recipe.to_dict()), "", *draw_stages(recipe.to_dict())):
            typer.echo(line)
        return None
    folder = options.output or Path("runs") / recipe.name
    if processes > 1:
        for note in recipe.notes:
            typer.echo(note)
        status = run_in_processes(recipe, processes, folder, fresh=options.fresh, stages=stages)
        if status:
            raise typer.Exit(status)
        return folder
    from distilnlp.run import run_recipe

    run_recipe(plan, folder, fresh=options.fresh, stages=stages, say=say)
    return folder
