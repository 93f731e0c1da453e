"""The kinds of task: one file a kind, registered like a loss. Importing this loads neither torch nor datasets.

Every module of this folder is imported here, so that a new kind is one new file.
"""

from importlib import import_module
from pkgutil import iter_modules

from distilnlp.problems.base import (
    ALIGNMENT,
    DECISION_THRESHOLDS,
    IGNORED,
    LEAST_PROBABILITY,
    TEACHER_ALIGNMENT,
    TEACHER_LOGITS,
    TEACHER_TEXT,
    Answer,
    LabelColumn,
    Labels,
    Problem,
    find_problem,
    get_problem,
    label_settings,
    list_problems,
    problem_of_columns,
    problem_of_config,
    problem_of_head,
    problem_of_labels,
    problem_of_queries,
    problem_of_vectors,
    register_problem,
)

__all__ = [
    "ALIGNMENT",
    "DECISION_THRESHOLDS",
    "IGNORED",
    "LEAST_PROBABILITY",
    "TEACHER_ALIGNMENT",
    "TEACHER_LOGITS",
    "TEACHER_TEXT",
    "Answer",
    "LabelColumn",
    "Labels",
    "Problem",
    "find_problem",
    "get_problem",
    "label_settings",
    "list_problems",
    "problem_of_columns",
    "problem_of_config",
    "problem_of_head",
    "problem_of_labels",
    "problem_of_queries",
    "problem_of_vectors",
    "register_problem",
]

# The order is that of asking: the first takes every label column that no later one recognises.
_FIRST = ("classification", "sentence_embedding", "regression", "multi_label", "token_classification")
_found = sorted(module.name for module in iter_modules(__path__))
for _name in (*_FIRST, *(name for name in _found if name not in (*_FIRST, "base"))):
    import_module(f"{__name__}.{_name}")
