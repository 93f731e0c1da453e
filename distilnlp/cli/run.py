"""``distilnlp run``"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from distilnlp.cli import _complete
from distilnlp.cli._options import AcceptWeakTeacher, DryRun, Fresh, Output, Plan, Set, Stages, Training

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
    stages: Stages = None,
    dry_run: DryRun = False,
    plan: Plan = False,
    fresh: Fresh = False,
    accept_weak_teacher: AcceptWeakTeacher = False,
) -> None:
    """Run a recipe, or go on with it.

    Trains the stages in order, evaluates them, writes report and model card. Run it again to go on after a break:
    finished stages are skipped.
    """
    from distilnlp.recipe import load_recipe
    from distilnlp.run.requests import ACCEPT

    accepted = [ACCEPT] if accept_weak_teacher else []
    options = Training(output=output, dry_run=dry_run, fresh=fresh)
    start(load_recipe(recipe, [*(settings or ()), *accepted]), options, stages=stages, only_plan=plan)


def start(recipe: "Recipe", options: Training, *, stages: str | None = None, only_plan: bool = False) -> Path | None:
    """Check and run a recipe, as all commands that train do; the run's folder, or None where nothing is run.

    Args:
        recipe, options: of the command.
        stages: the stages to run, as `--stages` says them; None: all.
        only_plan: show which stage is made of what, and stop.
    """
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
    from distilnlp.run import run_recipe

    folder = options.output or Path("runs") / recipe.name
    run_recipe(plan, folder, fresh=options.fresh, stages=stages, say=typer.echo)
    return folder
