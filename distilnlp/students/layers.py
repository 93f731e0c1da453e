"""Which layers of the teacher a student keeps. Numbers only, no tensors."""

from collections.abc import Sequence
from itertools import pairwise

from distilnlp.errors import RequestError, unknown
from distilnlp.layer_map import uniform_layers

__all__ = ["IMPORTANCE", "KEEP_MAPS", "kept_layers"]

KEEP_MAPS = ("uniform", "skip", "first", "last", "cadence")
IMPORTANCE = "importance"  # the layers that matter most on some texts: no map of numbers, see `important_layers`


def kept_layers(
    layers: str | Sequence[int],
    student_layers: int | None,
    teacher_layers: int,
    layer_types: Sequence[str] | None = None,
) -> tuple[int, ...]:
    """The teacher's layers, counted from 1, that become the student's, in order.

    Args:
        layers: a name or the layers themselves, ascending. With S student and T teacher layers, ``"uniform"`` is the
            layer at the same relative depth, ``round(k * T / S)`` (4 of 12: 3, 6, 9, 12); ``"skip"`` spreads them
            evenly with the first and the last (6 of 12: 1, 3, 5, 8, 10, 12; a single layer is the first);
            ``"first"`` and ``"last"`` are S layers from that end; ``"cadence"``, for a teacher with layers of several
            kinds, gives the student the kinds of the teacher's first S layers in their order, each as near as may be
            to where ``"skip"`` has it (4 of 12 with global attention in every third: 1, 5, 8, 10).
        student_layers: S, between 1 and T; None keeps all of them for a name, and is what a list itself says.
        teacher_layers: T, at least 1.
        layer_types: the kind of each of the teacher's layers, where they differ (``layer_types`` of its config).
    Source: ``"uniform"`` TinyBERT (arXiv:1909.10351, section 3); ``"skip"`` the extraction of DistilBERT
        (arXiv:1910.01108), which counts from 0: 0, 2, 4, 7, 9, 11. ``"cadence"`` is ours.
    Raises:
        RequestError: ``"cadence"`` for layers of one kind, unknown name, S not in 1..T, or a list that is
            empty, out of range, repeated or not ascending.
    """
    if not isinstance(layers, str):
        return _checked(tuple(layers), student_layers, teacher_layers)
    if layers not in KEEP_MAPS:
        raise unknown("layer map", layers, (*KEEP_MAPS, IMPORTANCE))
    count = teacher_layers if student_layers is None else student_layers
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= teacher_layers:
        raise RequestError(
            f"a student of {count} layers cannot keep layers of a teacher of {teacher_layers}: "
            f"ask for 1 to {teacher_layers}"
        )
    if layers == "first":
        return tuple(range(1, count + 1))
    if layers == "last":
        return tuple(range(teacher_layers - count + 1, teacher_layers + 1))
    if layers == "uniform":
        return uniform_layers(count, teacher_layers)
    spread = tuple(1 + round(k * (teacher_layers - 1) / max(1, count - 1)) for k in range(count))
    return spread if layers == "skip" else _in_cadence(spread, layer_types)


def _in_cadence(spread: Sequence[int], types: Sequence[str] | None) -> tuple[int, ...]:
    """Ascending layers of the kinds that the first so many are of, with the least squared distances to ``spread``.

    Args:
        spread: ascending layers, counted from 1.
        types: the kind of each layer that there is.
    """
    if types is None or len(set(types)) < 2:
        raise RequestError(
            "layer map 'cadence' keeps the order of global and local attention, and the layers of this teacher are "
            "all of one kind: use 'uniform' or 'skip'"
        )
    # best[l]: the layers chosen so far of which l is the last, and how far they are from where they should be.
    best: dict[int, tuple[int, tuple[int, ...]]] = {0: (0, ())}
    for place, wanted in enumerate(spread):
        following: dict[int, tuple[int, tuple[int, ...]]] = {}
        for layer in range(place + 1, len(types) + 1):
            if types[layer - 1] == types[place]:
                before = min((chosen for last, chosen in best.items() if last < layer), default=None)
                if before is not None:
                    following[layer] = (before[0] + (layer - wanted) ** 2, (*before[1], layer))
        best = following
    return min(best.values())[1]


def _checked(layers: tuple[int, ...], student_layers: int | None, teacher_layers: int) -> tuple[int, ...]:
    whole = all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers)
    ascending = whole and all(low < high for low, high in pairwise(layers))
    if not layers or not ascending or layers[0] < 1 or layers[-1] > teacher_layers:
        raise RequestError(
            f"layers {list(layers)} of a teacher of {teacher_layers} layers: "
            f"name each layer once, ascending, from 1 to {teacher_layers}, at least one"
        )
    if student_layers not in (None, len(layers)):
        raise RequestError(
            f"layers {list(layers)} make {len(layers)} layers and not {student_layers}: leave the number out"
        )
    return layers
