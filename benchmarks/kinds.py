"""What a token costs of each kind of task, over a token of a classification: to distil it, to read it, to answer it.

All kinds: the same number of sequences in a step, each of as many tokens; a live teacher of 6 layers, a student of 3,
384 wide, random weights; hard labels (where there are any), the kind's loss between answers, hidden states; float32.
The vocabulary has 4,000 words; masked words stand there a second time with BERT's 30,522, whose head is most of what
they cost more. In turns, and each cost is processor time of one thread, which other work on the machine disturbs less;
the first step is not counted. Reading is tokenising texts into a data set; answering is `Predictor.answers`, which
tokenises too.

Goal: a step at most 1.10 times that of a classification, the large vocabulary apart.
"""

import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from datasets import ClassLabel, Dataset, Features, List, Value
from transformers import BertConfig, BertTokenizer, TrainerCallback

from benchmarks._harness import (
    Row,
    Spread,
    alternate,
    make_parser,
    make_trainer,
    parse,
    print_table,
    ratio,
    write_results,
)
from distilnlp import Objective
from distilnlp.data import tokenize
from distilnlp.losses import HardLabel, HiddenState, get_loss
from distilnlp.models import Predictor, TorchBackend
from distilnlp.models.heads import model_from_config
from distilnlp.models.sentence_encoder import SENTENCE
from distilnlp.models.sentence_modules import SentenceModules
from distilnlp.problems import get_problem
from distilnlp.teachers import CacheSettings, FrozenTeacher

GOAL = 1.10
QUICK: dict[str, object] = {"rows": 16, "rounds": 1, "batch_size": 8, "length": 16, "steps": 2, "answered": 8}
CLASSES, WORDS = "classes", 4_000
LARGE = 30_522
TEXTS = 8  # of a query
TAGS = ["O", *(f"{place}-{kind}" for kind in ("a", "b", "c", "d") for place in "BI")]

# Examples of so many tokens, from a source of random words.
Examples = Callable[[int, int, "Words"], Dataset]


class Words:
    """Random words, each of which is one token."""

    def __init__(self, count: int, seed: int) -> None:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        self.known = [f"w{number}" for number in range(count - len(special))]
        vocabulary = {word: number for number, word in enumerate([*special, *self.known])}
        self.tokenizer = BertTokenizer(vocab=vocabulary, model_max_length=512)
        self.random = random.Random(seed)

    def draw(self, count: int) -> list[str]:
        """So many."""
        return self.random.choices(self.known, k=count)

    def text(self, count: int) -> str:
        """Of so many words."""
        return " ".join(self.draw(count))


def classes(rows: int, length: int, words: Words) -> Dataset:
    """Texts with a class."""
    columns = {"text": [words.text(length - 2) for _ in range(rows)], "label": [row % 2 for row in range(rows)]}
    return Dataset.from_dict(columns, Features({"text": Value("string"), "label": ClassLabel(names=["a", "b"])}))


def tags(rows: int, length: int, words: Words) -> Dataset:
    """Words with tags, one in ten of an entity."""
    texts = [words.draw(length - 2) for _ in range(rows)]
    labels = [[words.random.randrange(len(TAGS)) if place % 10 == 0 else 0 for place in range(length - 2)]] * rows
    kinds = {"text": List(Value("string")), "label": List(ClassLabel(names=TAGS))}
    return Dataset.from_dict({"text": texts, "label": labels}, Features(kinds))


def questions(rows: int, length: int, words: Words) -> Dataset:
    """A question of five words, and a context with its answer."""
    contexts = [words.draw(length - 8) for _ in range(rows)]
    labels = [{"text": [own[2]], "answer_start": [len(own[0]) + len(own[1]) + 2]} for own in contexts]
    columns = {"text": [words.text(5) for _ in contexts], "text_pair": [" ".join(own) for own in contexts]}
    label = {"text": List(Value("string")), "answer_start": List(Value("int32"))}
    kinds = Features({"text": Value("string"), "text_pair": Value("string"), "label": label})
    return Dataset.from_dict({**columns, "label": labels}, kinds)


def queries(rows: int, length: int, words: Words) -> Dataset:
    """Queries of five words with 8 texts each; as many sequences as of the others."""
    count = rows // TEXTS
    columns = {
        "text": [words.text(5) for _ in range(count)],
        "text_pair": [[words.text(length - 8) for _ in range(TEXTS)] for _ in range(count)],
        "label": [[1.0] + [0.0] * (TEXTS - 1)] * count,
    }
    kinds = {"text": Value("string"), "text_pair": List(Value("string")), "label": List(Value("float32"))}
    return Dataset.from_dict(columns, Features(kinds))


def texts(rows: int, length: int, words: Words) -> Dataset:
    """Texts alone."""
    return Dataset.from_dict({"text": [words.text(length - 2) for _ in range(rows)]})


@dataclass(frozen=True)
class Kind:
    """What is measured of a kind of task.

    Args:
        problem: its registered name.
        examples: makes some.
        labels: what its head has to tell apart.
        vocabulary: how many words there are.
        sequences: inputs of an example.
    """

    problem: str
    examples: Examples
    labels: Sequence[str] = ("a", "b")
    vocabulary: int = WORDS
    sequences: int = 1

    def model(self, layers: int) -> Any:
        """With random weights."""
        names = dict(enumerate(self.labels))
        size = {"hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536, "num_hidden_layers": layers}
        config = BertConfig(
            vocab_size=self.vocabulary, id2label=names, label2id={b: a for a, b in names.items()}, **size
        )
        config.problem_type = self.problem
        if get_problem(self.problem).vectors:
            setattr(config, SENTENCE, SentenceModules(("mean",), max_tokens=512).to_dict())
        return model_from_config(config)

    def objective(self) -> Objective:
        """Labels where there are any, answers, hidden states."""
        problem = get_problem(self.problem)
        hard = [] if problem.vectors else [(1.0, HardLabel())]
        return Objective([*hard, (1.0, get_loss(problem.response_loss)), (1.0, HiddenState())])


KINDS: Mapping[str, Kind] = {
    CLASSES: Kind("single_label_classification", classes),
    "entities": Kind("token_classification", tags, TAGS),
    "questions": Kind("question_answering", questions),
    "queries": Kind("ranking", queries, ("score",), sequences=TEXTS),
    "vectors": Kind("sentence_embedding", texts),
    "masked words": Kind("masked_lm", texts),
    f"masked words of {LARGE:,}": Kind("masked_lm", texts, vocabulary=LARGE),
}


# ---- what is measured: microseconds of processor time a token ----


class Steps(TrainerCallback):
    """Processor time of the steps after the first, and the tokens of theirs, padding included."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """One ends now."""
        self.ends.append(time.process_time())

    @property
    def seconds(self) -> float:
        """Of a step."""
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def distilled(kind: Kind, arguments: Any) -> float:
    """A step of training."""
    words, steps = Words(kind.vocabulary, arguments.seed), Steps()
    rows = arguments.batch_size * (arguments.steps + 2)  # blocks of masked words are a few more, or a few less
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            folder=folder,
            training={
                "max_steps": arguments.steps + 1,
                "per_device_train_batch_size": arguments.batch_size // kind.sequences,
                "seed": arguments.seed,
                "logging_steps": 100,
            },
            model=kind.model(3),
            teacher=FrozenTeacher(kind.model(6), words.tokenizer),
            objective=kind.objective(),
            train_dataset=kind.examples(rows, arguments.length, words),
            processing_class=words.tokenizer,
            max_length=arguments.length,
            callbacks=[steps],
            cache=CacheSettings(use="never"),
        )
        trainer.train()
    return 1e6 * steps.seconds / (arguments.batch_size * arguments.length)


def read(kind: Kind, arguments: Any) -> float:
    """Tokenising."""
    words = Words(kind.vocabulary, arguments.seed)
    examples = kind.examples(arguments.rows, arguments.length, words)
    tokenize(examples.select([0]), words.tokenizer, arguments.length, problem=get_problem(kind.problem))
    start = time.process_time()
    tokenize(examples, words.tokenizer, arguments.length, problem=get_problem(kind.problem))
    return 1e6 * (time.process_time() - start) / (arguments.rows * arguments.length)


def answered(kind: Kind, arguments: Any) -> float:
    """Answering new texts; in those of masked words every seventh is a blank."""
    words = Words(kind.vocabulary, arguments.seed)
    examples = kind.examples(arguments.answered, arguments.length, words)
    given = list(
        zip(*(examples[name] for name in ("text", "text_pair") if name in examples.column_names), strict=True)
    )
    if get_problem(kind.problem).labels_itself:
        blanks = [text.split() for (text,) in given]
        given = [(" ".join("[MASK]" if i % 7 == 0 else word for i, word in enumerate(own)),) for own in blanks]
    predictor = Predictor(TorchBackend(kind.model(3).eval()), words.tokenizer, max_length=arguments.length)
    predictor.answers(given[:1])
    start = time.process_time()
    predictor.answers(given)
    return 1e6 * (time.process_time() - start) / (arguments.answered * arguments.length)


MEASURED = {"distil": distilled, "read": read, "answer": answered}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write."""
    parser = make_parser(__doc__, rows=2_000, rounds=5, batch_size=16)
    parser.add_argument("--length", type=int, default=64, help="tokens of a sequence (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4, help="timed steps of a round (default: %(default)s)")
    parser.add_argument("--answered", type=int, default=64, help="sequences to answer (default: %(default)s)")
    parser.set_defaults(threads=1)
    arguments = parse(parser, QUICK, argv)
    costs = {
        what: alternate({name: partial(measure, kind, arguments) for name, kind in KINDS.items()}, arguments.rounds)
        for what, measure in MEASURED.items()
    }
    rows = rows_of(costs)
    print_table(f"microseconds of processor time a token, and x {CLASSES}; {arguments.rounds} rounds", rows)
    slowest = {name: ratio(each, costs["distil"][CLASSES]).median for name, each in costs["distil"].items()}
    met = max(each for name, each in slowest.items() if KINDS[name].vocabulary == WORDS) <= GOAL
    print(f"\ngoal: a step at most {GOAL} times that of {CLASSES}, the large vocabulary apart")
    write_results("kinds", arguments, rows, goal=GOAL, met=met)


def rows_of(costs: Mapping[str, Mapping[str, Sequence[float]]]) -> list[Row]:
    """A line for each kind; ``costs``: what was measured -> kind -> round by round."""
    kinds = next(iter(costs.values()))
    return [
        {
            "kind": kind,
            **{f"{what} us": Spread.of(each[kind]).median for what, each in costs.items()},
            **{f"{what} x": ratio(each[kind], each[CLASSES]) for what, each in costs.items()},
        }
        for kind in kinds
    ]


if __name__ == "__main__":
    main()
