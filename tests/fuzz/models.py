"""Damaged model folders, asked for predictions or loaded to be trained."""

import random
import shutil
from pathlib import Path

from distilnlp.models.loading import load_classifier
from distilnlp.run.predict import predict
from distilnlp.teachers import load_teacher
from tests.fuzz.answers import Case
from tests.fuzz.folders import damages

__all__ = ["damaged_folder"]

TEXTS = [("the film was good",), ("a bad book",)]


def damaged_folder(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A copy of the folder with something wrong in it."""
    copied = Path(shutil.copytree(model, folder / "model"))
    said, damage = next(damages(copied, 1, rng.getrandbits(32)))
    damage(copied)
    use = rng.choice(("predict", "predict", "start", "teacher"))

    def call() -> None:
        if use == "predict":
            predict(str(copied), TEXTS)
        elif use == "teacher":
            load_teacher(copied)
        else:
            load_classifier(str(copied), label_names=("a", "b", "c"), problem="single_label_classification", seed=0)

    return Case(f"model folder ({use}): {said}", call)
