"""Teachers: whatever answers a batch with `Outputs`."""

from distilnlp.teachers.average import EMATeacher
from distilnlp.teachers.base import TEACHERS, Cacheable, Teacher, register_teacher
from distilnlp.teachers.cached import CachedTeacher, CacheSettings
from distilnlp.teachers.combination import Combination
from distilnlp.teachers.ensemble import EnsembleTeacher
from distilnlp.teachers.frozen import FrozenTeacher, load_teacher
from distilnlp.teachers.recorded import RecordedTeacher
from distilnlp.teachers.scores import ScoringTeacher

__all__ = [
    "TEACHERS",
    "CacheSettings",
    "Cacheable",
    "CachedTeacher",
    "Combination",
    "EMATeacher",
    "EnsembleTeacher",
    "FrozenTeacher",
    "RecordedTeacher",
    "ScoringTeacher",
    "Teacher",
    "load_teacher",
    "register_teacher",
]
