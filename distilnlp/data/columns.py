"""Which columns of the user's data are the texts and the label: named by the user, or found by their names."""

from collections.abc import Sequence
from dataclasses import dataclass

from distilnlp.errors import RequestError, listed, nearest

__all__ = ["EXAMPLE_WEIGHT", "LABELS", "PAIRS", "SINGLES", "Columns", "find_columns", "find_text_columns"]

# The column of weights in a data set and in a batch: long, so that no column of a user's means it by chance.
EXAMPLE_WEIGHT = "example_weight"

PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_1", "sentence_2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "context"),
    ("question", "answer"),
    ("question", "passage"),
    ("query", "passage"),
    ("query", "document"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
)
# fmt: off
SINGLES = (
    "text", "sentence", "content", "review", "document", "tweet", "comment", "utterance", "message", "query",
    "question", "premise", "sentence1", "text1", "text_a", "tokens", "words",
)
LABELS = (
    "label", "labels", "target", "targets", "class", "category", "score", "rating", "stars", "sentiment", "intent",
    "emotion", "gold_label", "similarity_score", "ner_tags", "tags", "pos_tags", "entities", "answers",
)
# fmt: on


@dataclass(frozen=True)
class Columns:
    """The columns' names as the data have them.

    Args:
        text, text_pair: of the texts; ``text_pair`` is None for single ones.
        label: of the label; several where each holds a 0 or 1 for one label; None for texts without labels.
        weight: of how much each example counts; None where all count alike.
    """

    text: str
    text_pair: str | None
    label: str | tuple[str, ...] | None
    weight: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        labels = (self.label,) if isinstance(self.label, str) else self.label or ()
        return tuple(name for name in (self.text, self.text_pair, *labels, self.weight) if name is not None)


def find_columns(
    columns: Sequence[str],
    where: str,
    *,
    text: str | None = None,
    text_pair: str | None = None,
    label: str | Sequence[str] | None = None,
    weight: str | None = None,
    other: Sequence[str] = (),
    optional: bool = False,
) -> Columns:
    """Names given are taken as they are; the others are found among common names, whatever their case.

    With ``text`` given and no ``text_pair`` the texts are single. Nothing is guessed between two candidates. Several
    columns of labels are a sequence, or one name with commas where no column has that name.

    Args:
        columns: all column names of the data.
        where: the file or data set, for the errors.
        text, text_pair, label: columns that the user named.
        weight: the column of the examples' weights, which is never looked for.
        other: columns that are known to be something else.
        optional: whether there may be no label: where no column's name is, or is like, a common one.

    Raises:
        RequestError: a named column is not there, none or several could be meant, or one is meant twice.
    """
    if text_pair is not None and text is None:
        raise RequestError(f"{where}: text_pair='{text_pair}' without text: name both columns of the pair")
    labels = _split(label, columns)
    given = [("text", text), ("text_pair", text_pair), *(("label", name) for name in labels), ("weight", weight)]
    for role, name in given:
        if name is not None and name not in columns:
            raise _missing(where, role, name, columns)
    free = [name for name in columns if name not in (text, text_pair, *labels, weight, *other)]
    if text is None:
        text, text_pair = _find_texts(free, where, columns)
    if not labels:
        label_found = _find_label([n for n in free if n not in (text, text_pair)], where, columns, optional)
        labels = () if label_found is None else (label_found,)
    found = Columns(text, text_pair, (labels[0] if len(labels) == 1 else labels) if labels else None, weight)
    if len(set(found.names)) < len(found.names):
        raise RequestError(
            f"{where}: one column is named twice ({', '.join(found.names)}): texts, label and weight need their own"
        )
    return found


def find_text_columns(
    columns: Sequence[str], where: str, text: str | None = None, text_pair: str | None = None
) -> tuple[str, ...]:
    """The columns of the texts alone, one or two, where no label is read; as `find_columns` finds them.

    The only column of a data set holds the texts, whatever its name.
    """
    for role, name in (("text", text), ("text_pair", text_pair)):
        if name is not None and name not in columns:
            raise _missing(where, role, name, columns)
    if text_pair is not None and text_pair == text:
        raise RequestError(f"{where}: '{text}' is named for both texts of a pair: name two columns, or one text")
    if text_pair is not None and text is None:
        raise RequestError(f"{where}: text_pair='{text_pair}' without text: name both columns of the pair")
    if text is None and len(columns) == 1:
        return (columns[0],)
    first, second = (text, text_pair) if text is not None else _find_texts(columns, where, columns)
    return (first,) if second is None else (first, second)


def _split(label: str | Sequence[str] | None, columns: Sequence[str]) -> tuple[str, ...]:
    given = (label,) if isinstance(label, str) else tuple(label or ())
    parts = (
        [part.strip() for part in name.split(",") if part.strip()] if "," in name and name not in columns else [name]
        for name in given
    )
    return tuple(name for names in parts for name in names)


def _find_texts(free: Sequence[str], where: str, columns: Sequence[str]) -> tuple[str, str | None]:
    lowered = _lowered(free)
    pairs = [(lowered[a], lowered[b]) for a, b in PAIRS if a in lowered and b in lowered]
    singles = [lowered[name] for name in SINGLES if name in lowered and not any(lowered[name] in p for p in pairs)]
    found: list[tuple[str, str | None]] = [*pairs, *((name, None) for name in singles)]
    if len(found) > 1:
        candidates = " or ".join("+".join(name for name in each if name) for each in found)
        raise RequestError(
            f"{where}: the text could be {candidates}: name it with text= (--text) and "
            f"text_pair= (--text-pair); columns: {listed(columns)}"
        )
    if not found:
        raise _not_found(where, "text", free, (*SINGLES, *(name for pair in PAIRS for name in pair)), columns)
    return found[0]


def _find_label(free: Sequence[str], where: str, columns: Sequence[str], optional: bool) -> str | None:
    lowered = _lowered(free)
    found = [lowered[name] for name in LABELS if name in lowered]
    if len(found) > 1:
        raise RequestError(
            f"{where}: the label could be {' or '.join(found)}: name it with label= (--label); "
            f"columns: {listed(columns)}"
        )
    if not found and optional and not any(nearest(name.lower(), LABELS) for name in free):
        return None
    if not found:
        raise _not_found(where, "label", free, LABELS, columns)
    return found[0]


def _lowered(names: Sequence[str]) -> dict[str, str]:
    return {name.lower(): name for name in names}


def _missing(where: str, role: str, name: str, columns: Sequence[str]) -> RequestError:
    match = nearest(name, columns)
    hint = f"did you mean '{match}'? " if match else ""
    return RequestError(f"{where}: no column '{name}' for {role}: {hint}columns: {listed(columns)}")


def _not_found(
    where: str, role: str, free: Sequence[str], known: Sequence[str], columns: Sequence[str]
) -> RequestError:
    match = next((name for name in free if nearest(name.lower(), known)), None)
    hint = f"did you mean '{match}'? " if match else ""
    return RequestError(
        f"{where}: no column with a common name for the {role}: {hint}name it with {role}= "
        f"(--{role.replace('_', '-')}); columns: {listed(columns)}"
    )
