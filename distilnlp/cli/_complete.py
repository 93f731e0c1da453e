"""What a shell completes beside options and commands; where nothing fits, it completes files."""

import re

import typer

__all__ = ["exit_threshold", "losses", "recipes", "stages", "tasks", "thresholds"]

_STEPS = ("0", "0.05", "0.1", "0.2", "0.3", "0.5", "1")


def recipes(incomplete: str) -> list[str]:
    """The shipped recipes whose names begin so."""
    from distilnlp.recipe.source import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


def stages(ctx: typer.Context, incomplete: str) -> list[str]:
    """The stages of the recipe on the command line, as they go on a range or a list that was begun."""
    from distilnlp.errors import DistilError
    from distilnlp.recipe import load_recipe

    # An option that is being completed has no value yet, at which the parser stops: the recipe is among what is left.
    try:
        names = load_recipe(str(ctx.params.get("recipe") or next(iter(ctx.args), ""))).stages
    except DistilError:
        return []
    begun = re.match(r"(.*(?:,|\.\.))?", incomplete)
    before = (begun and begun[1]) or ""
    return [f"{before}{name}" for name in names if name.startswith(incomplete[len(before) :])]


def losses(incomplete: str) -> list[str]:
    """The registered losses whose names begin so."""
    from distilnlp.cli._catalogue import shipped_losses

    return [name for name in shipped_losses() if name.startswith(incomplete)]


def tasks(incomplete: str) -> list[str]:
    """The tasks that are known by name and begin so."""
    from distilnlp.data.glue_table import task_names

    return [name for name in task_names() if name.startswith(incomplete)]


def exit_threshold(incomplete: str) -> list[str]:
    """Thresholds at which exits are mostly tried, that begin so."""
    return [step for step in _STEPS if step.startswith(incomplete)]


def thresholds(incomplete: str) -> list[str]:
    """What is typed, with one more threshold behind its last comma."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{step}" for step in _STEPS if step.startswith(last)]
