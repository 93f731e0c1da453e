"""Texts that a masked language model changes to where student and teacher differ most; the student learns there."""

import copy
import dataclasses
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.losses import get_loss
from distilnlp.losses.checks import check_count, check_positive
from distilnlp.losses.response.base import ResponseLoss
from distilnlp.models.capture import model_info
from distilnlp.models.chosen_tokens import answering_for
from distilnlp.models.encoder import moved_words, word_table
from distilnlp.models.heads import head_logits
from distilnlp.outputs import ModelInfo, Needs
from distilnlp.part import Part, Pass, Training, register_part
from distilnlp.problems import problem_of_config
from distilnlp.teachers import FrozenTeacher
from distilnlp.teachers.student_copy import load_tensors, tensors_of
from distilnlp.typed import typed

__all__ = ["AdversarialText"]


@register_part("adversarial_text")
class AdversarialText(Part):
    """Adds ``weight * L(S(x'), T(x'))``, with texts ``x'`` that a generator writes to make it large (MATE-KD).

    ``L`` is the loss between logits that fits the head (``response``: for classes ``T^2 KL``). A share of the words of
    ``x`` is hidden; for each the generator, a masked language model, draws a token by Gumbel-softmax, and both models
    read the text with it. In ``generator_steps`` optimizer steps the generator learns to raise ``L`` and nothing else
    is trained; in the ``student_steps`` that follow the student learns from its objective and from ``L``; and so on.
    The generator's gradient goes through both models, straight through the draw: forwards the token is what was drawn.

    With an objective of ``hard_label`` and ``response``, all three of weight 1/3, it is MATE-KD. The generator is
    trained by the student's optimizer, at its learning rate, and kept in checkpoints. What is hidden and drawn follows
    from the text, the seed and the number of the step alone; while the student learns, tokens are drawn from the
    generator's softmax, of which the largest of the Gumbel-softmax is a draw too.

    Args:
        generator: the masked language model, by position; it is copied, and after the training `generator` is the one
            that has learned.
        tokenizer: the generator's, by position: the student's, too.
        weight: of the term, > 0.
        mask_share: of the words of a text that are hidden, 0 < mask_share < 1; one at least. Special tokens stay, and
            none is drawn.
        generator_steps: optimizer steps of the generator, 1 or more.
        student_steps: optimizer steps of the student after them, 1 or more.
        gumbel_temperature: > 0, dimensionless: of the Gumbel-softmax. The lower, the nearer its gradient to that of a
            draw, and the noisier.
        temperature: of the soft targets, as for ``response``.
    Source: Rashid et al. 2021, "MATE-KD: Masked Adversarial TExt, a Companion to Knowledge Distillation",
        arXiv:2105.05912, equations 1 to 6 and algorithm 1, whose generator has a learning rate of its own.
    Raises:
        RequestError: a setting out of its range; a generator that is no masked language model, or whose tokenizer has
            no mask; a student that reads queries and texts apart, or that learns words or vectors; when a training
            begins: a teacher that is no single model, a training without a step for the student.
    """

    name = "adversarial_text"
    of_model = True
    holds_teacher = True
    freezes = True

    @typed
    def __init__(
        self,
        generator: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        /,
        weight: float = 1.0,
        mask_share: float = 0.3,
        generator_steps: int = 10,
        student_steps: int = 100,
        gumbel_temperature: float = 1.0,
        temperature: float | None = None,
    ) -> None:
        check_positive("weight", weight)
        check_positive("gumbel_temperature", gumbel_temperature)
        check_count("generator_steps", generator_steps)
        check_count("student_steps", student_steps)
        if not 0 < mask_share < 1:
            raise RequestError(f"mask_share lies between 0 and 1; got {mask_share!r}", key=["mask_share"])
        self.given = generator
        self.own_tokenizer = tokenizer
        self.weight = float(weight)
        self.mask_share = float(mask_share)
        self.generator_steps = generator_steps
        self.student_steps = student_steps
        self.gumbel_temperature = float(gumbel_temperature)
        self._response = get_loss("response", temperature=temperature)
        self._loss: ResponseLoss | None = None
        self._student_info: ModelInfo | None = None
        self._generator: PreTrainedModel | None = None
        self._training: Training | None = None
        self._teacher: FrozenTeacher | None = None
        self._trained: list[nn.Parameter] = []  # of the student
        self._allowed = torch.zeros(0, dtype=torch.bool)  # (vocabulary,): the tokens that may be drawn
        self._steps = 0

    @property
    def generator(self) -> PreTrainedModel:
        """The generator as it is now, a plain model of transformers."""
        if self._generator is None:
            raise RuntimeError("there is no generator before a training")
        return self._generator

    @property
    def generating(self) -> bool:
        """Whether it is the generator that learns in this step, and not the student."""
        return self._steps % (self.generator_steps + self.student_steps) < self.generator_steps

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student without answers of its own to a text, and a generator that writes none."""
        info = model_info(student)
        problem = info.problem
        if problem.apart or problem.labels_itself or problem.vectors:
            raise RequestError(
                f"{self.name} changes texts that a head answers, and the student is for {problem.name}: leave it out"
            )
        if self.given is None or self.own_tokenizer is None:
            raise RequestError(f"{self.name} needs a masked language model that changes texts, and its tokenizer")
        kind = problem_of_config(self.given.config)
        if not kind.labels_itself:
            raise RequestError(
                f"{self.name} changes texts with a masked language model, and {model_info(self.given).name} is for"
                f" {kind.name}"
            )
        if self.own_tokenizer.mask_token_id is None:
            raise RequestError(f"{self.name}: the tokenizer of {model_info(self.given).name} has no mask")
        self._student_info = info

    def meet(self, teacher: ModelInfo | None) -> None:
        """Fix the loss. Raises RequestError for a teacher that does not fit, or none."""
        if teacher is None or self._student_info is None:
            raise RequestError(
                f"{self.name} asks a teacher about the texts that it changes, and there is none: name one"
            )
        loss = self._response.resolve(self._student_info, teacher)
        if not isinstance(loss, ResponseLoss):
            raise RequestError(f"{self.name} compares logits, and {loss.name} does not: leave it out")
        self._loss = loss

    def needs_student(self) -> Needs:
        """Its logits."""
        return Needs(logits=True)

    def needs_teacher(self) -> Needs:
        """Its logits, in the student's order."""
        return Needs(logits=True)

    def attach(self, training: Training) -> None:
        """Copy the generator. Raises RequestError as the class says."""
        teacher = training.teacher
        if not isinstance(teacher, FrozenTeacher):
            raise RequestError(
                f"{self.name} asks the teacher about texts that are made while the student learns, with gradients that"
                f" go through it, and {type(teacher).__name__} is no single model: give one"
            )
        if 0 < training.steps <= self.generator_steps:
            raise RequestError(
                f"the training has {training.steps} steps, and {self.name} takes the first {self.generator_steps} for"
                " its generator (generator_steps), so that the student would learn nothing: train longer"
            )
        if self.given is None or self.own_tokenizer is None:
            raise RuntimeError("accept() the student before a training")
        self._training, self._teacher, self._steps, self.alone = training, teacher, 0, False
        made = copy.deepcopy(self.given).requires_grad_(True)
        nn.Module.to(made, device=training.device)  # upstream's own has no types
        self.auxiliary_modules = self._generator = made
        self._trained = [each for each in training.student.parameters() if each.requires_grad]
        rows = min(len(word_table(model)) for model in (training.student, teacher.model, made))
        allowed = torch.zeros(rows, dtype=torch.bool)
        allowed[: len(self.own_tokenizer)] = True
        allowed[[each for each in self.own_tokenizer.all_special_ids if each < rows]] = False
        self._allowed = allowed.to(training.device)

    def on_pass(self, progress: float) -> None:
        """Freeze whoever does not learn in this step."""
        self.alone = self.generating
        # Not before the first pass: what is frozen when the training is set up is frozen for good in several
        # processes. Without a gradient an optimizer passes over a weight, decay and momentum included.
        for parameter in self._trained:
            parameter.requires_grad_(not self.alone)
        self.generator.requires_grad_(self.alone)
        self.generator.eval()  # all that is drawn of it is drawn by what is hidden and by the Gumbel noise

    def on_step(self, progress: float) -> None:
        """Count the step."""
        self._steps += 1

    def term(self, step: Pass) -> Tensor:
        """The loss of the changed texts, ``()``; while the generator learns its gradient is reversed."""
        with self._precision():
            value = self._divergence(step)
        if not self.alone:
            return value
        nothing = 0 * next(self.generator.parameters()).sum()  # a batch of texts without a word trains nobody
        return 2 * value.detach() - value + nothing

    def _divergence(self, step: Pass) -> Tensor:
        training, teacher, loss = self._training, self._teacher, self._loss
        if training is None or teacher is None or loss is None:
            raise RuntimeError("attach() the part before its first term")
        ids, places, chosen = self.changed(step.batch)
        batch = {**step.batch, "input_ids": ids}
        columns = inspect.signature(training.student.forward).parameters
        inputs = {name: batch[name] for name in batch if name in columns and name != "labels"}
        with _choosing(training.student, ids, places, chosen):
            own = head_logits(step.model(**inputs))
        with torch.set_grad_enabled(self.alone), _choosing(teacher.model, ids, places, chosen):
            told = teacher.answer(batch)
        student = dataclasses.replace(step.student, logits=own)
        return loss.between(student, dataclasses.replace(step.student, logits=told), step.batch)

    def changed(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor | None]:
        """The texts of a batch with other words.

        Returns:
            The tokens, ``(batch, tokens)``; the places of those that were hidden, ``(words, 2)``: text and token; and
            where the generator learns the Gumbel-softmax of each, ``(words, vocabulary)``, whose largest is the token.
        """
        generator, tokenizer = self.generator, self.own_tokenizer
        if tokenizer is None:
            raise RuntimeError("there is no tokenizer without a generator")
        ids = batch["input_ids"]
        special = torch.isin(ids, torch.tensor(tokenizer.all_special_ids, device=ids.device))
        hidden, noise = self._drawn(ids, batch["attention_mask"].bool() & ~special)
        places = hidden.nonzero()  # (words, 2), text by text
        if not len(places):
            return ids, places, None
        asked = {**batch, "input_ids": ids.masked_fill(hidden, int(tokenizer.mask_token_id))}
        columns = inspect.signature(generator.forward).parameters
        inputs = {name: asked[name] for name in asked if name in columns and name != "labels"}
        counts = hidden.sum(dim=1)  # (batch,)
        rank = hidden.cumsum(dim=1)[hidden] - 1  # (words,): the place of each among those of its text
        heads = ids.new_zeros(len(ids), int(counts.max()))  # (batch, most)
        heads[places[:, 0], rank] = places[:, 1]
        with torch.set_grad_enabled(self.generating), answering_for(generator, heads):
            logits = head_logits(generator(**inputs)).float()[places[:, 0], rank]  # (words, vocabulary)
            logits = logits[:, : len(self._allowed)].masked_fill(~self._allowed, -torch.inf)
            if self.generating:
                chosen = ((logits - noise.log()) / self.gumbel_temperature).softmax(dim=-1)
                drawn = chosen.argmax(dim=-1)
            else:  # from the same distribution, without a number for each token of the vocabulary
                chosen, up_to = None, logits.softmax(dim=-1).cumsum(dim=-1)
                drawn = torch.searchsorted(up_to, noise * up_to[:, -1:], right=True)[:, 0]
        return ids.index_put((places[:, 0], places[:, 1]), drawn), places, chosen

    def _drawn(self, ids: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Which tokens are hidden, ``(batch, tokens)``, and the chance by which each is drawn anew.

        That is, while the generator learns, an exponential number for each token of the vocabulary, ``(words,
        vocabulary)``; else one from 0 to 1, ``(words, 1)``. Of each text by itself, so that it does not matter which
        others are beside it, in which process, or how long.
        """
        seed = 0 if self._training is None else self._training.seed
        hidden, noise = torch.zeros(ids.shape, dtype=torch.bool), [torch.zeros(0, self._chances)]
        for row, (text, real) in enumerate(zip(ids.cpu(), words.cpu(), strict=True)):
            able = real.nonzero()[:, 0]
            if not len(able):
                continue
            told = np.array([seed, self._steps, *text[able].tolist()], dtype=np.int64)
            digest = hashlib.blake2b(told.tobytes(), digest_size=7).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "little"))
            count = max(1, round(self.mask_share * len(able)))
            hidden[row, able[torch.randperm(len(able), generator=generator)[:count]]] = True
            chances = torch.empty(count, self._chances)
            drawn = chances.exponential_ if self.generating else chances.uniform_
            noise.append(drawn(generator=generator))
        return hidden.to(ids.device), torch.cat(noise).to(ids.device)

    @property
    def _chances(self) -> int:
        return len(self._allowed) if self.generating else 1

    def _precision(self) -> torch.autocast:
        """That of the training, in which the term is not computed by itself."""
        training = self._training
        arguments = None if training is None else training.arguments
        half = arguments is not None and (arguments.bf16 or arguments.fp16)
        dtype = torch.float16 if arguments is not None and arguments.fp16 else torch.bfloat16
        device = "cpu" if training is None else training.device.type
        return torch.autocast(device, dtype=dtype, enabled=half)

    def state(self) -> Mapping[str, Tensor]:
        """The generator, and how many steps were taken."""
        return {**tensors_of(self._generator), "steps": torch.tensor(self._steps)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from there."""
        load_tensors(self.generator, state)
        self._steps = int(state["steps"])

    def finish(self) -> None:
        """Let go of the student; the generator stays."""
        for parameter in self._trained:
            parameter.requires_grad_(True)
        self._trained, self._training, self._teacher, self.auxiliary_modules = [], None, None, None


@contextmanager
def _choosing(model: PreTrainedModel, ids: Tensor, places: Tensor, chosen: Tensor | None) -> Iterator[None]:
    """While it holds, drawn tokens have the gradient of their soft choice in a model; forwards nothing changes."""
    if chosen is None:
        yield
        return
    words = word_table(model)
    soft = (chosen - chosen.detach()).to(words.dtype) @ words[: chosen.shape[-1]].detach()  # (words, width), zeros
    zeros = soft.new_zeros(*ids.shape, soft.shape[-1])
    with moved_words(model, zeros.index_put((places[:, 0], places[:, 1]), soft)):
        yield
