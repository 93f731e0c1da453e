"""Which student layer learns from which teacher layer. A leaf: numbers only, no tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from distilnlp.errors import RequestError, unknown

__all__ = ["LAYER_MAPS", "LayerMap", "LayerMapSpec", "uniform_layers"]

LAYER_MAPS = ("auto", "uniform", "last", "skip", "final", "middle", "cadence")

LayerMapSpec = str | Sequence[Sequence[int]]


def uniform_layers(student_layers: int, teacher_layers: int) -> tuple[int, ...]:
    """The teacher layer at the same relative depth as each student layer: 4 of 12 gives (3, 6, 9, 12)."""
    return tuple(max(1, round(k * teacher_layers / student_layers)) for k in range(1, student_layers + 1))


@dataclass(frozen=True)
class LayerMap:
    """Pairs ``(student layer, teacher layer)``, counted as hidden states are.

    Layer 0 is the output of the embeddings and layer ``l`` the output of block ``l``; queries, keys and values of
    layer ``l`` are those of the block whose output is hidden state ``l``. One teacher layer may serve several student
    layers.

    Args:
        pairs: the pairs, in any order; at least one, no student layer twice.
    Raises:
        RequestError: no pairs, a negative number, or a student layer named twice.
    """

    pairs: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        try:
            pairs = tuple((int(student), int(teacher)) for student, teacher in self.pairs)
        except (TypeError, ValueError):
            pairs = ()
        if not pairs or min(map(min, pairs)) < 0:
            raise RequestError(
                f"a layer map is a list of pairs [student layer, teacher layer] of numbers >= 0 with at least one "
                f"pair; got {self.pairs!r:.200}"
            )
        students = [pair[0] for pair in pairs]
        if len(set(students)) != len(students):
            raise RequestError(f"a layer map names each student layer once; got {[list(pair) for pair in pairs]}")
        object.__setattr__(self, "pairs", pairs)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.pairs)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def student(self) -> tuple[int, ...]:
        """The student layers."""
        return tuple(pair[0] for pair in self.pairs)

    @property
    def teacher(self) -> tuple[int, ...]:
        """The teacher layers, pair by pair (a layer may stand twice)."""
        return tuple(pair[1] for pair in self.pairs)

    @classmethod
    def of(cls, pairs: "LayerMap | Sequence[Sequence[int]]") -> "LayerMap":
        """A map from pairs in whatever lists a recipe or a caller has them."""
        if isinstance(pairs, LayerMap):
            return pairs
        if any(len(pair) != 2 for pair in pairs):
            raise RequestError(f"a layer map is a list of pairs [student layer, teacher layer]; got {list(pairs)}")
        return cls(tuple((pair[0], pair[1]) for pair in pairs))

    @classmethod
    def from_spec(
        cls,
        spec: "LayerMap | LayerMapSpec",
        student_layers: int,
        teacher_layers: int,
        kept: Sequence[int] | None = None,
        types: tuple[Sequence[str] | None, Sequence[str] | None] = (None, None),
    ) -> "LayerMap":
        """Turn a name or a list of pairs into a map, and check it against the two depths.

        Args:
            spec: ``"uniform"``: student layer k learns from teacher layer ``k * T / S`` (TinyBERT, arXiv:1909.10351,
                section 3); ``"skip"``: the same without the last layer, which is left to the logits, and ``"last"``:
                student layer k learns from ``T - S + k``, again without the last (PKD, arXiv:1908.09355, section 3.2:
                for 12 to 6 layers 2, 4, 6, 8, 10 and 7 to 11); ``"final"``: the last layer of each, and no other
                (MiniLM, arXiv:2002.10957); ``"middle"``: the middle layer from the one at its relative depth (FitNets,
                arXiv:1412.6550); ``"auto"``: the layers that the student was built from where ``kept`` names them,
                else ``"cadence"`` where both have layers of several kinds, else uniform; ``"cadence"``: student layer
                k from the layer of its own kind that is nearest to ``k * T / S``, the later one of two, so that global
                attention learns from global and local from local; or a list of pairs ``[student, teacher]``.
            student_layers: number of blocks of the student, S.
            teacher_layers: number of blocks of the teacher, T.
            kept: for each student block the teacher block it was copied from (1-based), or None.
            types: the kind of each block of the student and of the teacher, or None where all are alike.
        Raises:
            RequestError: unknown name, ``"cadence"`` for blocks of one kind or of a kind that the teacher lacks, a
                layer out of range, or a map that would be empty.
        """
        if isinstance(spec, str):
            if spec not in LAYER_MAPS:
                raise unknown("layer map", spec, LAYER_MAPS)
            spec = cls(_named(spec, student_layers, teacher_layers, kept, types))
        layer_map = cls.of(spec)
        for student, teacher in layer_map:
            if student > student_layers or teacher > teacher_layers:
                raise RequestError(
                    f"the layer map pairs student layer {student} with teacher layer {teacher}, but the student has "
                    f"layers 0 to {student_layers} and the teacher 0 to {teacher_layers}"
                )
        return layer_map


def _named(
    name: str,
    student_layers: int,
    teacher_layers: int,
    kept: Sequence[int] | None,
    types: tuple[Sequence[str] | None, Sequence[str] | None],
) -> tuple[tuple[int, int], ...]:
    if name == "auto" and kept is not None and len(kept) == student_layers and max(kept) <= teacher_layers:
        return tuple(enumerate(kept, start=1))
    own, others = (set(each or ()) for each in types)
    if name == "cadence" and (not own or len(own | others) < 2 or not own <= others):
        raise RequestError(
            "layer map 'cadence' pairs layers of one kind of attention, global or local, and the models have "
            f"{', '.join(sorted(own)) or 'one kind'} (student) and {', '.join(sorted(others)) or 'one kind'} "
            "(teacher): use 'uniform' or name the pairs"
        )
    if name == "cadence" or (name == "auto" and len(own) > 1 and own <= others):
        return tuple(_same_kind(student_layers, teacher_layers, types[0] or (), types[1] or ()))
    if name in ("auto", "uniform"):
        return tuple(enumerate(uniform_layers(student_layers, teacher_layers), start=1))
    if name == "final":
        return ((student_layers, teacher_layers),)
    if name == "middle":
        middle = (student_layers + 1) // 2
        return ((middle, uniform_layers(student_layers, teacher_layers)[middle - 1]),)
    if student_layers < 2:
        raise RequestError(
            f"layer map '{name}' leaves the last layer out, and the student has only {student_layers}: "
            "use 'uniform' or name the pairs"
        )
    if name == "skip":
        return tuple(enumerate(uniform_layers(student_layers, teacher_layers)[:-1], start=1))
    return tuple((k, max(1, teacher_layers - student_layers + k)) for k in range(1, student_layers))


def _same_kind(
    student_layers: int, teacher_layers: int, own: Sequence[str], others: Sequence[str]
) -> Iterator[tuple[int, int]]:
    """Each student layer with the teacher layer of its kind that is nearest to its relative depth."""
    for layer, kind in enumerate(own, start=1):
        depth = layer * teacher_layers / student_layers
        alike = [place for place, each in enumerate(others, start=1) if each == kind]
        yield layer, min(alike, key=lambda place: (abs(place - depth), -place))
