"""What a shell completes beside options and commands; where nothing fits, it completes files."""

__all__ = ["losses", "recipes", "tasks"]


def recipes(incomplete: str) -> list[str]:
    """The shipped recipes whose names begin so."""
    from distilnlp.recipe.source import shipped_recipes

    return [name for name in shipped_recipes() if name.startswith(incomplete)]


def losses(incomplete: str) -> list[str]:
    """The registered losses whose names begin so."""
    from distilnlp.cli._catalogue import shipped_losses

    return [name for name in shipped_losses() if name.startswith(incomplete)]


def tasks(incomplete: str) -> list[str]:
    """The tasks that are known by name and begin so."""
    from distilnlp.data.glue_table import task_names

    return [name for name in task_names() if name.startswith(incomplete)]
