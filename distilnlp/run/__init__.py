"""Runs recipes. Importing this is quick: what it offers is loaded when it is first used (PEP 562)."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distilnlp.run.evaluation import evaluate_model
    from distilnlp.run.json_schema import full_schema
    from distilnlp.run.plan import make_plan
    from distilnlp.run.runner import run_recipe

__all__ = ["evaluate_model", "full_schema", "make_plan", "run_recipe"]

_HOMES = {
    "evaluate_model": "evaluation",
    "full_schema": "json_schema",
    "make_plan": "plan",
    "run_recipe": "runner",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
