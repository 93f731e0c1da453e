"""Runs recipes. Importing this is quick: what it offers is loaded when it is first used (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilnlp.run.check import check_recipe, full_schema
    from distilnlp.run.evaluation import evaluate_model
    from distilnlp.run.runner import run_recipe

__all__ = ["check_recipe", "evaluate_model", "full_schema", "run_recipe"]

_HOMES = {"check_recipe": "check", "full_schema": "check", "evaluate_model": "evaluation", "run_recipe": "runner"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
