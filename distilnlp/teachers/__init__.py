"""Teachers: whatever answers a batch with `Outputs`."""

from distilnlp.teachers.average import AverageTeacher, EMATeacher
from distilnlp.teachers.base import TEACHERS, Cacheable, Teacher, register_teacher
from distilnlp.teachers.best import BestTeacher
from distilnlp.teachers.branches import Branches
from distilnlp.teachers.by_task import ByTaskTeacher
from distilnlp.teachers.cached import CachedTeacher, CacheSettings
from distilnlp.teachers.combination import Combination
from distilnlp.teachers.ensemble import EnsembleTeacher
from distilnlp.teachers.frozen import FrozenTeacher, load_teacher
from distilnlp.teachers.peers import Peers
from distilnlp.teachers.recorded import RecordedTeacher
from distilnlp.teachers.scores import ScoringTeacher
from distilnlp.teachers.snapshots import SnapshotTeacher
from distilnlp.teachers.virtual import VirtualTeacher

__all__ = [
    "TEACHERS",
    "AverageTeacher",
    "BestTeacher",
    "Branches",
    "ByTaskTeacher",
    "CacheSettings",
    "Cacheable",
    "CachedTeacher",
    "Combination",
    "EMATeacher",
    "EnsembleTeacher",
    "FrozenTeacher",
    "Peers",
    "RecordedTeacher",
    "ScoringTeacher",
    "SnapshotTeacher",
    "Teacher",
    "VirtualTeacher",
    "load_teacher",
    "register_teacher",
]
