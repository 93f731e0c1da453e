"""A teacher that is made of several: they answer together, and any of them can be asked alone."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError, unknown
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.part import Part, Training
from distilnlp.teachers.base import Cacheable, Teacher, register_teacher
from distilnlp.teachers.combination import Combination, Combine, Weights
from distilnlp.teachers.frozen import load_teacher
from distilnlp.teachers.privacy import Noise, noisy_vote
from distilnlp.typed import typed

__all__ = ["EnsembleTeacher", "answering", "members_of"]


@register_teacher("ensemble")
class EnsembleTeacher(Part):
    """Several teachers whose answers are put together.

    Its own outputs are logits and nothing else. What a term of an objective reads of one teacher alone (its layers, or
    its logits) are the outputs of that member, by its name. Of each member nothing else is computed.

    The members may be of any size and architecture, and count their labels in any order: the trainer puts the logits
    of each into the student's order, by the names of the labels. They read the same tokens.

    Args:
        members: the teachers by name (a model, a folder or a Hub id is loaded); or a sequence of teachers, each called
            as its `ModelInfo` says.
        combine, weights, sigma, delta: see `Combination`.
        noise_seed: of the noise of ``noisy_vote``, for a test: who knows it can take the noise off. None: it is drawn
            from the operating system, and kept in checkpoints, so that a resumed training asks nothing anew.
    Raises:
        RequestError: two of one name; a member that follows the student; weights that cannot be.
    """

    of_others = True
    name = "ensemble"
    auxiliary_modules = None

    info: ModelInfo
    tokenizer: PreTrainedTokenizerBase | None
    columns: frozenset[str]
    label_names: tuple[str, ...] | None

    @typed
    def __init__(
        self,
        members: Mapping[str, Any] | Sequence[Any],
        /,
        combine: Combine = "logits",
        weights: Weights = None,
        sigma: float | None = None,
        delta: float = 1e-5,
        noise_seed: int | None = None,
    ) -> None:
        self.combination = Combination(combine, weights, sigma, delta)
        self._noise = Noise(noise_seed) if combine == "noisy_vote" else None
        self.members: dict[str, Teacher] = {}
        self.needs = Needs()
        self.device = torch.device("cpu")
        self._seed, self._steps = 0, 0
        self._order: list[int] | None = None
        named = _named(members)
        if named:
            self.combination.check_count(list(named))
            self._take(named)

    def _take(self, members: Mapping[str, Teacher]) -> None:
        """Be made of these."""
        self.members = dict(members)
        answering = list(self.answering.values())
        infos = {name: member.info for name, member in members.items()}
        self.info = _info(infos, answering[0].info)
        # The others read the same tokens, and have their labels put into one order.
        self.tokenizer = next((each.tokenizer for each in members.values() if each.tokenizer is not None), None)
        self.label_names = next((each.label_names for each in answering if each.label_names is not None), None)
        labels = {"labels"} if self.combination.reads_labels else set()
        self.columns = frozenset(labels.union(*(each.columns for each in members.values())))

    # ---- as a teacher ----

    @property
    def answering(self) -> dict[str, Teacher]:
        """The members whose logits are put together, by name: those whose weight is above 0."""
        fixed = self.combination.fixed
        return {
            name: member
            for place, (name, member) in enumerate(self.members.items())
            if fixed is None or place >= len(fixed) or fixed[place] > 0
        }

    @staticmethod
    def info_of(student: ModelInfo, others: Sequence[ModelInfo]) -> ModelInfo:
        """As many logits as the first of its members, and no layers."""
        return _info({info.name: info for info in others}, others[0])

    def changed(self, change: Callable[[Teacher], Teacher]) -> "EnsembleTeacher":
        """The same ensemble of changed members."""
        made = copy.copy(self)
        made._take({name: change(member) for name, member in self.members.items()})
        return made

    def needs_of(self, name: str, needs: Needs) -> Needs:
        """What is needed of a member, where so much is needed of the ensemble."""
        return Needs(logits=needs.logits and name in self.answering) | needs.members.get(name, Needs())

    def check(self, needs: Needs) -> None:
        """Whether the members can give what is needed, as far as their sizes tell.

        Raises:
            RequestError: a name that no member has; a member of which nothing is read; logits that mean different
                things; a kind of task whose answers cannot be put together so.
        """
        for name in needs.members:
            if name not in self.members:
                raise unknown("teacher", name, self.members)
        if self._noise is not None and needs.members:
            raise RequestError(
                f"a term reads {next(iter(needs.members))} alone, and noisy_vote is private only where nothing but the"
                " vote is read: leave 'teacher' out of the terms"
            )
        idle = [name for name in self.members if not self.needs_of(name, needs)]
        if idle:
            raise RequestError(
                f"of the teacher {idle[0]} nothing is read: leave it out, give it a weight above 0 and a loss between"
                " logits, or name it in a term ('teacher')"
            )
        if not needs.logits:
            return
        (first, one), *others = ((name, member.info) for name, member in self.answering.items())
        for name, other in others:
            if other.num_logits != one.num_logits or not one.problem.learns_from(other.problem):
                raise RequestError(
                    f"the teachers do not answer the same: {first} gives {one.num_logits} logits for"
                    f" {one.problem.name}, {name} {other.num_logits} for {other.problem.name}: take teachers of one"
                    " task, or let each loss between logits name its own ('teacher')"
                )
        self.combination.check_problem(one.problem)

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Prepare each member for what is needed of it. Raises RequestError as `check`."""
        self.check(needs)
        self.device, self.needs = where, needs
        for name, member in self.members.items():
            member.prepare(where, self.needs_of(name, needs))

    def release(self) -> None:
        """Let every member go."""
        for member in self.members.values():
            member.release()

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """From now on give logit ``order[i]`` of what was put together as the i-th."""
        self._order = list(order)

    def fingerprint(self) -> str | None:
        """A digest of the members and of how they are put together.

        None: its answers may not be kept, as they change, follow from the labels, or are of members alone.
        """
        changes = self.combination.combine in ("stochastic", "noisy_vote") or self.combination.reads_labels
        if changes or self.needs.members:
            return None
        marks: list[str] = []
        for member in self.answering.values():
            mark = member.fingerprint() if isinstance(member, Cacheable) else None
            if mark is None:
                return None
            marks.append(mark)
        told = [self.combination.combine, self.combination.weights, self._order, marks]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The outputs for a batch: the logits of all, and those of the members that are read alone."""
        names = list(self.members)
        places = self.combination.asked(len(names), self._seed, self._steps) if self.needs.logits else []
        together = [names[place] for place in places]
        found = {name: self.members[name](batch) for name in names if name in together or name in self.needs.members}
        logits = None
        if together:
            with torch.no_grad():
                answers = [found[name].get_logits() for name in together]
                labels = batch.get("labels") if self.combination.reads_labels else None
                if self._noise is not None:
                    noise = self._noise.draw(batch, answers[0].shape[-1])
                    logits = noisy_vote(answers, noise, self.combination.sigma or 0.0)
                else:
                    logits = self.combination.logits(answers, self.info.problem, labels, places)
            logits = logits if self._order is None else logits[..., self._order]
        return Outputs(
            logits=logits,
            attention_mask=batch.get("attention_mask"),
            problem=self.info.problem,
            members={name: found[name] for name in self.needs.members},
        )

    # ---- as a part of the training: it knows the step, by which a member is drawn ----

    def attach(self, training: Training) -> None:
        """Begin to draw."""
        self._seed, self._steps = training.seed, 0
        if self._noise is not None:
            self._noise.share()

    def on_step(self, progress: float) -> None:
        """Count the step."""
        self._steps += 1

    def state(self) -> Mapping[str, Tensor]:
        """The steps that are done, where they decide who is drawn; the key of the noise."""
        if self._noise is not None:
            return {"key": torch.tensor(list(self._noise.key), dtype=torch.uint8)}
        return {"steps": torch.tensor(self._steps)} if self.combination.combine == "stochastic" else {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on after so many steps, with the same noise."""
        if self._noise is not None:
            self._noise.key = bytes(state["key"].tolist())
        elif state:
            self._steps = int(state["steps"])


def members_of(teacher: Any) -> dict[str, Any]:
    """The teachers that a teacher is made of, by name; itself where it is made of no other, and none without one."""
    if isinstance(teacher, EnsembleTeacher):
        return dict(teacher.members)
    return {} if teacher is None else {"": teacher}


def answering(teacher: Any, needs: Needs) -> dict[str, Any]:
    """Those of `members_of` whose logits are read, where so much is needed of the teacher."""
    if not isinstance(teacher, EnsembleTeacher):
        return members_of(teacher) if needs.logits else {}
    return {name: each for name, each in teacher.members.items() if teacher.needs_of(name, needs).logits}


def _named(members: Mapping[str, Any] | Sequence[Any]) -> dict[str, Teacher]:
    """The members by name, those loaded that are none yet."""
    pairs: list[tuple[str | None, Any]] = (
        list(members.items()) if isinstance(members, Mapping) else [(None, each) for each in members]
    )
    named: dict[str, Teacher] = {}
    for given, each in pairs:
        teacher = load_teacher(each) if isinstance(each, PreTrainedModel | str | Path) else each
        if isinstance(teacher, Part):
            raise RequestError(
                f"{type(teacher).__name__} follows a training and cannot be one of several teachers: give models that"
                " never change"
            )
        if not isinstance(teacher, Teacher):
            raise RequestError(
                f"{type(teacher).__name__} is no teacher: give a model, a folder, a Hub id or a teacher"
            )
        name = given or teacher.info.name
        if name in named:
            raise RequestError(f"two of the teachers are called {name}: give a mapping name -> teacher")
        named[name] = teacher
    return named


def _info(infos: Mapping[str, ModelInfo], one: ModelInfo) -> ModelInfo:
    name = f"ensemble of {', '.join(infos)}"
    return ModelInfo(
        name, layers=0, width=0, heads=0, num_logits=one.num_logits, problem=one.problem, members=dict(infos)
    )
