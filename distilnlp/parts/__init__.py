"""The parts that a recipe names: each changes what a student learns, or the student itself, while it trains."""

from distilnlp.part import PARTS, Part, Pass, Training, register_part
from distilnlp.parts.adversarial_text import AdversarialText
from distilnlp.parts.early_exits import EarlyExits
from distilnlp.parts.int8 import Int8
from distilnlp.parts.perturbed_embeddings import PerturbedEmbeddings
from distilnlp.parts.progressive import Progressive
from distilnlp.parts.pruning import Pruning
from distilnlp.parts.theseus import Theseus

__all__ = [
    "PARTS",
    "AdversarialText",
    "EarlyExits",
    "Int8",
    "Part",
    "Pass",
    "PerturbedEmbeddings",
    "Progressive",
    "Pruning",
    "Theseus",
    "Training",
    "register_part",
]
