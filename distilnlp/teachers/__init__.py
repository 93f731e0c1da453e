"""Teachers: whatever answers a batch with `Outputs`."""

from distilnlp.teachers.base import Teacher
from distilnlp.teachers.frozen import FrozenTeacher, load_teacher

__all__ = ["FrozenTeacher", "Teacher", "load_teacher"]
