"""Which students a search looks at: sizes, layers, embeddings, vocabulary, numbers and objective of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedConfig, TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe, make_recipe
from distilnlp.students.architectures import field_name
from distilnlp.students.low_rank import embedding_width, has_map

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

__all__ = ["NEEDED", "STAGE", "Candidate", "Space", "whole_space", "without_what_cannot_be"]

STAGE = "student"  # what a search calls the one stage of its recipes
ALL, NEEDED = "all", "needed"
VOCABULARIES: dict[str | int, int] = {NEEDED: 1, ALL: 2}  # by their size; a number of tokens is fewer than are needed
SHARES = (2 / 3, 1 / 2, 1 / 3, 1 / 6)
LAYER_MAPS = ("uniform", "first", "last", "importance")
STATIC = 0  # layers of a student that is a table of embeddings
# Such a table learns by larger steps, and more of them, which cost next to nothing.
STATIC_LEARNING_RATE, STATIC_LONGER = 1e-2, 2.5
RATES = (1.0, 2.0, 4.0)
# What a student of layers does without, by BERT's names: on a CPU it costs a good part of each step.
DROPOUT = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass(frozen=True)
class Candidate:
    """A student that may be tried.

    Args:
        layers: how many of the teacher's; 0: none, but a table of embeddings and their mean (`is_static`).
        layer_map: which.
        heads: of each layer; its width is as many times the width of the teacher's heads.
        units: of each feed-forward network.
        rank: columns of its embeddings; None: as many as its layers are wide, and of a table 256.
        vocabulary: ``all``, ``needed``, or how many tokens at most.
        int8: whether it is served as an ONNX file in 8 bits; else in PyTorch.
        method: the name of its objective.
        rate: how many times as large as the recipe's its learning rate is; a table has one of its own.
    """

    layers: int
    layer_map: str
    heads: int
    units: int
    rank: int | None
    vocabulary: str | int
    int8: bool
    method: str
    rate: float = 1.0

    @property
    def is_static(self) -> bool:
        """Whether it has no layers: a text's vector is the mean of its tokens' rows."""
        return self.layers == STATIC

    @property
    def shape(self) -> "Candidate":
        """The same without what changes neither size nor speed."""
        return replace(self, layer_map="", method="", rate=1.0)

    def is_no_smaller(self, other: "Candidate") -> bool:
        """Whether all is at least as much as of another: neither less time nor less room is to be expected of it."""
        if (self.is_static, self.int8, self.rank is None) != (other.is_static, other.int8, other.rank is None):
            return False
        ours, theirs = (
            (each.layers, each.heads, each.units, each.rank or 0, VOCABULARIES.get(each.vocabulary, 0))
            for each in (self, other)
        )
        return all(own >= their for own, their in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class Space:
    """What a search may choose.

    Args:
        teacher: config of the teacher; each first value below is as the teacher has it.
        layers, layer_maps, heads, units, ranks, vocabularies, int8, methods, rates: the values of each choice.
        narrow_methods: those of them by which a student with fewer heads can learn.
        static_methods: those by which a table of embeddings can; empty: there is none among the students.
        objectives: of the methods, as a recipe says them.
    """

    teacher: PreTrainedConfig
    layers: tuple[int, ...]
    layer_maps: tuple[str, ...]
    heads: tuple[int, ...]
    units: tuple[int, ...]
    ranks: tuple[int | None, ...]
    vocabularies: tuple[str | int, ...]
    int8: tuple[bool, ...]
    methods: tuple[str, ...]
    narrow_methods: tuple[str, ...]
    static_methods: tuple[str, ...]
    objectives: Mapping[str, Mapping[str, Any]]
    rates: tuple[float, ...] = RATES

    @property
    def plain(self) -> Candidate:
        """The teacher itself, as a student."""
        return Candidate(
            self.layers[0],
            self.layer_maps[0],
            self.heads[0],
            self.units[0],
            self.ranks[0],
            self.vocabularies[0],
            self.int8[-1],
            self.methods[0],
        )

    @property
    def static(self) -> Candidate | None:
        """The table of embeddings as it is tried first."""
        if not self.static_methods:
            return None
        return replace(self.plain, layers=STATIC, layer_map=self.layer_maps[0], method=self.static_methods[0])

    def corners(self) -> list[Candidate]:
        """The students that no other is smaller or faster than: one is of the fewest layers, units and tokens."""
        least = replace(
            self.plain,
            layers=min(self.layers),
            heads=min(self.heads),
            units=min(self.units),
            vocabulary=self.vocabularies[-1],
            method=self.narrow_methods[-1] if len(self.heads) > 1 else self.methods[-1],
        )
        ranks = {None, self.ranks[-1]} & {*self.ranks}
        found = [replace(least, rank=rank, int8=int8) for rank in sorted(ranks, key=str) for int8 in self.int8]
        if self.static is not None:
            small = replace(self.static, vocabulary=self.vocabularies[-1], rank=self.ranks[-1])
            found += [replace(small, int8=int8) for int8 in self.int8]
        return found

    def starts(self, fits: Callable[[Candidate], bool] | None = None) -> list[Candidate]:
        """What is tried first, the most promising before the others.

        Args:
            fits: whether a candidate is within the budget, which is measured. Then these are the students that just
                are: with all feed-forward units the most layers and one layer less, with fewer units the most layers
                where these are more, and the deepest of all with the largest learning rate, of uniform and of the
                first layers. None: half, a third and a sixth of the layers, and half of them with fewer units and
                tokens.
        """
        static = [] if self.static is None else [self.static]
        if fits is not None:
            return list(dict.fromkeys([*self._within(fits), *(each for each in static if fits(each))]))
        counts = dict.fromkeys(max(1, round(self.layers[0] * share)) for share in SHARES[1:])
        found = [replace(self.plain, layers=count) for count in counts]
        units, vocabulary = self.units[len(self.units) // 2], self.vocabularies[:2][-1]
        small = replace(found[0], units=units, vocabulary=vocabulary, method=self.methods[-1])
        return list(dict.fromkeys([*found[:2], *static, *found[2:], small]))

    def _within(self, fits: Callable[[Candidate], bool]) -> list[Candidate]:
        """The most layers that fit, one less, with fewer units those that are deeper; the deepest in other ways."""
        found: list[Candidate] = []
        most = 0
        for units in self.units[:4]:
            plain, least = replace(self.plain, units=units), most
            most = self._most_layers(plain, least, fits)
            if most > least:
                found.append(replace(plain, layers=most))
            if least == 0 and most > 1:
                found.append(replace(plain, layers=most - 1))
        if found:
            deepest = replace(max(found, key=lambda each: each.layers), rate=self.rates[-1])
            found.append(deepest)
            if "first" in self.layer_maps and deepest.layers < self.layers[0]:
                found.append(replace(deepest, layer_map="first"))
        return found

    def _most_layers(self, plain: Candidate, least: int, fits: Callable[[Candidate], bool]) -> int:
        """By halving, as each one is measured; first come half of all layers, or one more than are known to fit.

        Args:
            plain: with any number of layers.
            least: layers that fit; 0: none are known to.
            fits: whether a candidate does.
        """
        low, high = least, self.layers[0] + 1  # of as many it fits, of as many it does not
        middle = least + 1 if least else max(1, self.layers[0] // 2)
        while high - low > 1:
            if fits(replace(plain, layers=middle)):
                low = middle
            else:
                high = middle
            middle = (low + high) // 2
        return low

    def neighbours(self, candidate: Candidate) -> list[Candidate]:
        """The students that differ from one of layers in one choice: units, learning rate, which layers, or objective.

        Units and learning rate are one step away; fewer units and the smaller rate come first. Of a table there are
        none.
        """
        if candidate.is_static:
            return []
        rates = tuple(reversed(self.rates))
        found = [replace(candidate, units=units) for units in _next_to(candidate.units, self.units)]
        found += [replace(candidate, rate=rate) for rate in _next_to(candidate.rate, rates)]
        if candidate.layers < self.layers[0]:
            others = (each for each in self.layer_maps if each != candidate.layer_map)
            found += [replace(candidate, layer_map=each) for each in others]
        methods = self.methods if candidate.heads == self.heads[0] else self.narrow_methods
        return found + [replace(candidate, method=each) for each in methods if each != candidate.method]

    def trained_as(self, candidate: Candidate, other: Candidate) -> Candidate:
        """A candidate of layers of another's: which they are, its learning rate, and its objective are the other's."""
        layer_map = other.layer_map if candidate.layers < self.layers[0] else self.layer_maps[0]
        return replace(candidate, layer_map=layer_map, rate=other.rate, method=other.method)

    def suggest(self, trial: "BaseTrial") -> Candidate:
        """The candidate that a trial of Optuna is of."""
        layers = trial.suggest_int("layers", STATIC if self.static_methods else min(self.layers), max(self.layers))
        rank, vocabulary, int8 = (
            self._one(trial, name, values)
            for name, values in (("rank", self.ranks), ("vocabulary", self.vocabularies), ("int8", self.int8))
        )
        if layers == STATIC and self.static is not None:
            method = self._one(trial, "static_method", self.static_methods)
            return replace(self.static, rank=rank, vocabulary=vocabulary, int8=int8, method=method)
        heads = self._one(trial, "heads", self.heads)
        is_narrow = heads < self.heads[0]
        methods = ("narrow_method", self.narrow_methods) if is_narrow else ("method", self.methods)
        return Candidate(
            layers=layers,
            layer_map=self._one(trial, "layer_map", self.layer_maps) if layers < max(self.layers) else "uniform",
            heads=heads,
            units=self._one(trial, "units", self.units),
            rank=rank,
            vocabulary=vocabulary,
            int8=int8,
            method=self._one(trial, *methods),
            rate=self._one(trial, "rate", self.rates),
        )

    @staticmethod
    def _one(trial: "BaseTrial", name: str, values: Sequence[Any]) -> Any:
        return values[0] if len(values) == 1 else trial.suggest_categorical(name, values)

    def params(self, candidate: Candidate) -> dict[str, Any]:
        """A candidate as the parameters of a trial."""
        return {**asdict(candidate), "narrow_method": candidate.method, "static_method": candidate.method}

    def steps(self, candidate: Candidate, steps: int) -> int:
        """How many steps of a candidate's training stand for so many of a student of layers."""
        return round(steps * STATIC_LONGER) if candidate.is_static else steps

    def student(self, candidate: Candidate) -> dict[str, Any]:
        """What a recipe says of a candidate's ``student``, beside ``from``."""
        if candidate.is_static:
            said: dict[str, Any] = {"architecture": "static"}
            if candidate.vocabulary != ALL:
                said["vocabulary"] = {} if candidate.vocabulary == NEEDED else {"size": candidate.vocabulary}
            return said if candidate.rank is None else {**said, "config": {"hidden_size": candidate.rank}}
        kind = self.teacher.model_type
        config: dict[str, Any] = {}
        if candidate.heads != self.heads[0]:
            config["hidden_size"] = candidate.heads * _head_size(self.teacher)
        if candidate.units != self.units[0]:
            config["intermediate_size"] = candidate.units
        said = {"layers": candidate.layers}
        if candidate.layers < self.layers[0] and candidate.layer_map != "uniform":
            said["layer_map"] = candidate.layer_map
        if config:
            said["choose"] = "importance"
        known = self.teacher.to_dict()
        config.update((name, 0.0) for name in DROPOUT if known.get(field_name(name, kind)))
        if candidate.rank is not None:
            config["embedding_size"] = candidate.rank
            if kind not in _WITH_RANK:
                said["architecture"] = "albert"
        if candidate.vocabulary != ALL:
            said["vocabulary"] = {} if candidate.vocabulary == NEEDED else {"size": candidate.vocabulary}
        return {**said, **({"config": config} if config else {})}

    def recipe(self, base: Recipe, candidate: Candidate, *, steps: int | None = None) -> Recipe:
        """The recipe of a candidate.

        Args:
            base: of the search; its one stage has the teacher and the training.
            candidate: what is to be trained.
            steps: of the training, with nothing measured or kept meanwhile; None: as the base has it.
        """
        values = base.to_dict()
        stage = values["stages"][STAGE]
        stage["student"] = {"from": stage["student"]["from"], **self.student(candidate)}
        stage["objective"] = dict(self.objectives[candidate.method])
        if candidate.is_static:
            stage["training"] |= self._static_training(stage["training"])
        elif candidate.rate != 1:
            stage["training"]["learning_rate"] = candidate.rate * float(
                stage["training"].get("learning_rate", TrainingArguments.learning_rate)
            )
        if steps is not None:
            stage["training"] |= {"max_steps": steps, "eval_strategy": "no", "save_strategy": "no"}
        return make_recipe(values, name=base.name, origin="a student of the search")

    def _static_training(self, training: Mapping[str, Any]) -> dict[str, Any]:
        longer: dict[str, Any] = {"learning_rate": STATIC_LEARNING_RATE}
        if "num_train_epochs" in training:
            longer["num_train_epochs"] = STATIC_LONGER * float(training["num_train_epochs"])
        if int(training.get("max_steps", -1)) > 0:
            longer["max_steps"] = round(STATIC_LONGER * int(training["max_steps"]))
        return longer

    def words(self, candidate: Candidate) -> str:
        """A candidate in a few words."""
        layers = f"{candidate.layers} {'layer' if candidate.layers == 1 else 'layers'}"
        if 1 < self.layers[0] != candidate.layers:
            layers += f" {candidate.layer_map}"
        parts = ["static" if candidate.is_static else layers]
        parts += [f"{candidate.heads} heads"] if candidate.heads != self.heads[0] else []
        parts += [f"ffn {candidate.units}"] if candidate.units != self.units[0] else []
        parts += [f"rank {candidate.rank}"] if candidate.rank is not None else []
        parts += [f"{candidate.vocabulary} tokens"] if candidate.vocabulary != ALL else []
        parts += ["int8"] if candidate.int8 else []
        parts += [candidate.method] if len(self.methods) > 1 and not candidate.is_static else []
        parts += [f"{candidate.rate:g}x learning rate"] if candidate.rate != 1 else []
        return ", ".join(parts)


_WITH_RANK = ("albert", "electra", "deberta", "deberta-v2")


def whole_space(teacher: PreTrainedConfig, objectives: Mapping[str, Mapping[str, Any]], *, int8: bool) -> Space:
    """All that a student of a teacher may be, whether or not it can be made.

    Args:
        teacher: its config.
        objectives: by the names of the methods, as a recipe says them.
        int8: whether ONNX files can be made here.
    Raises:
        RequestError: a teacher without layers.
    """
    sizes = teacher.to_dict()
    kind = teacher.model_type
    depth = sizes.get(field_name("num_hidden_layers", kind))
    heads, units = (sizes.get(field_name(name, kind)) for name in ("num_attention_heads", "intermediate_size"))
    if not (isinstance(depth, int) and isinstance(heads, int) and isinstance(units, int)):
        raise RequestError(
            f"a search looks at students of a teacher's layers, and a {kind} model has none: give another --teacher"
        )
    width = embedding_width(teacher)
    return Space(
        teacher=teacher,
        layers=tuple(range(depth, 0, -1)),
        layer_maps=LAYER_MAPS,
        heads=_parts(heads, 1),
        units=_parts(units, 8),
        ranks=(None, *(each for each in _parts(width, 8)[1:] if not has_map(teacher) or each < width)),
        vocabularies=(ALL, NEEDED),
        int8=(False, True) if int8 else (False,),
        methods=tuple(objectives),
        narrow_methods=tuple(objectives),
        static_methods=tuple(reversed([*objectives])),  # of the fewest needs first
        objectives=objectives,
    )


def without_what_cannot_be(space: Space, refused: Callable[[Candidate], str | None]) -> tuple[Space, dict[str, str]]:
    """A space without the choices of which no student can be made, and why, by the choice's name.

    Args:
        space: the whole one.
        refused: why there can be no such student; None where there can.
    """
    told: dict[str, str] = {}
    # Of the fewest needs: what others need beyond it is asked below.
    one = replace(space.plain, layers=max(1, space.layers[0] - 1), int8=False, method=space.methods[-1])

    def kept(name: str, values: Sequence[Any], start: Candidate) -> tuple[Any, ...]:
        """The values that can be. Sizes are alike: where the first smaller one cannot be, none can."""
        sizes, found = name in ("heads", "units", "rank"), [values[0]]
        for value in values[1:2] if sizes else values[1:]:
            why = refused(replace(start, **{name: value}))
            if why is None:
                found.extend(values[1:] if sizes else [value])
            else:
                told[f"{name} {value}"] = why
        return tuple(found)

    space = replace(
        space,
        layer_maps=kept("layer_map", space.layer_maps, one),
        heads=kept("heads", space.heads, one),
        units=kept("units", space.units, one),
        ranks=kept("rank", space.ranks, one),
        vocabularies=kept("vocabulary", space.vocabularies, one),
        methods=kept("method", space.methods, one),
    )
    if len(space.heads) > 1:
        narrow = replace(one, heads=space.heads[1])
        learned = [name for name in space.methods if refused(replace(narrow, method=name)) is None]
        space = replace(space, narrow_methods=tuple(learned))
    if space.static is not None:
        whys = {name: refused(replace(space.static, int8=False, method=name)) for name in space.static_methods}
        learned = [name for name, why in whys.items() if why is None]
        if not learned:
            told["architecture static"] = str(next(iter(whys.values())))
        space = replace(space, static_methods=tuple(learned))
    return space, told


def _next_to(value: Any, values: Sequence[Any]) -> list[Any]:
    """The value after one, of values from the largest, and the one before it."""
    place = values.index(value)
    return [*values[place + 1 : place + 2], *values[max(0, place - 1) : place]]


def _parts(size: int, multiple: int) -> tuple[int, ...]:
    """A size and shares of it, the largest first."""
    shares = (max(1, round(size * share / multiple)) * multiple for share in SHARES)
    return tuple(sorted({size, *(each for each in shares if each < size)}, reverse=True))


def _head_size(config: PreTrainedConfig) -> int:
    sizes, kind = config.to_dict(), config.model_type
    return int(sizes[field_name("hidden_size", kind)] // sizes[field_name("num_attention_heads", kind)])
