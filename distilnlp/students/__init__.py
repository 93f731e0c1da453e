"""Students: plain transformers models made from a teacher. Importing this loads neither torch nor transformers."""

from typing import TYPE_CHECKING

from distilnlp.students.layers import kept_layers

if TYPE_CHECKING:
    from distilnlp.students.build import build_student

__all__ = ["build_student", "kept_layers"]


def __getattr__(name: str) -> object:
    if name == "build_student":
        from distilnlp.students.build import build_student

        return build_student
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
