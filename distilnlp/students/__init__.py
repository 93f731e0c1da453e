"""Students: plain transformers models made from a teacher. Importing this loads neither torch nor transformers."""

from typing import TYPE_CHECKING

from distilnlp.students.layers import kept_layers

if TYPE_CHECKING:
    from distilnlp.students.build import build_student
    from distilnlp.students.vocabulary import Vocabulary, trim_vocabulary

__all__ = ["Vocabulary", "build_student", "kept_layers", "trim_vocabulary"]


def __getattr__(name: str) -> object:
    if name == "build_student":
        from distilnlp.students.build import build_student

        return build_student
    if name in ("Vocabulary", "trim_vocabulary"):
        from distilnlp.students import vocabulary

        return getattr(vocabulary, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
