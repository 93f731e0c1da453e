"""Teachers: whatever answers a batch with `Outputs`."""

from distilnlp.teachers.base import Teacher
from distilnlp.teachers.cached import CachedTeacher, CacheSettings
from distilnlp.teachers.frozen import FrozenTeacher, load_teacher

__all__ = ["CacheSettings", "CachedTeacher", "FrozenTeacher", "Teacher", "load_teacher"]
