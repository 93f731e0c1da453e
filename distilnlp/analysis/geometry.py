"""How the vectors of texts lie to the direction that tells their class from the others."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError

__all__ = ["class_angles"]


def class_angles(features: ArrayLike, weights: ArrayLike, classes: ArrayLike) -> NDArray[np.float64]:
    """The angle between each text's vector and the direction of its class, in degrees.

    The direction of a class is its row of the head's weights less the mean of the other rows: with two classes the one
    direction of a linear classifier. At 0 a vector is all class; at 90 it says nothing of it, and a small change of
    the weights gives the text another one. The fewer texts are near 90, the fewer a linear student needs to learn its
    teacher's direction from (their data geometry).

    Shapes:
        features: ``(texts, width)``, what the head's linear map reads.
        weights: ``(classes, width)``, of that map.
        classes: ``(texts,)``, which class of each text, such as the one with the largest logit.
    Ranges: 0 to 180; 90 where a vector or a direction is 0.
    Source: Phuong & Lampert 2019, arXiv:2105.13093, section 4, where the teacher is linear and the vectors are the
        inputs. Here they are what a deep model's last linear map reads.
    Raises:
        RequestError: other shapes, fewer than two classes.
    """
    vectors, rows, chosen = np.asarray(features, float), np.asarray(weights, float), np.asarray(classes)
    if vectors.ndim != 2 or rows.ndim != 2 or vectors.shape[1] != rows.shape[1] or chosen.shape != vectors.shape[:1]:
        raise RequestError(
            f"angles need features (texts, width), weights (classes, width) and classes (texts,); got"
            f" {vectors.shape}, {rows.shape} and {chosen.shape}"
        )
    count = len(rows)
    if count < 2:
        raise RequestError(f"angles are to the direction between classes, and there is {count}: give two or more")
    directions = (rows * count - rows.sum(axis=0)) / (count - 1)
    own = directions[chosen]
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(own, axis=1)
    dots = (vectors * own).sum(axis=1)
    cosines = np.divide(dots, lengths, out=np.zeros_like(dots), where=lengths > 0)
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))))
