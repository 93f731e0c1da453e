"""The pieces of a text that two tokenizers cut alike: by them, models that read other tokens are compared."""

from __future__ import annotations

from collections.abc import Sequence

from distilnlp.problems.reading import Places

__all__ = ["align_tokens", "stretch"]

# Between the places of the letters of a text and those of the second of a pair.
_APART = 1 << 32

Span = tuple[int, int]


def align_tokens(
    student: Places, teacher: Places, texts: Sequence[str], starts: Sequence[int] = (0, 0)
) -> tuple[list[int], list[int]]:
    """Number the pieces of text, as small as possible, that begin and end with a token of both.

    A piece is one token of each, or a word that one of them cuts into two and the other into three, and so on. Special
    tokens are pieces too, by where they stand: before the first text, between two, or behind the last; where one
    tokenizer has as many there as the other they are aligned one by one, else together. So equal tokens are aligned
    one by one, all but those of a space alone.

    Args:
        student, teacher: the tokens of one input, as each of the two has them.
        texts: what the student's are made of: a text, or a pair.
        starts: what the teacher's are made of begins so many letters behind the beginning of each of these.
    Returns:
        of each token of the student, and of the teacher, the number of its piece, from 0 in the order of the student's
        tokens; -1 where the other has none of it (it was truncated, or left out).
    """
    own, theirs = _spans(student, texts, (0, 0)), _spans(teacher, texts, starts)
    found = ([-1] * len(own), [-1] * len(theirs))
    _align_texts(own, theirs, found)
    _align_special(_slots(student), _slots(teacher), found)
    order: dict[int, int] = {}
    for piece in found[0]:
        if piece >= 0:
            order.setdefault(piece, len(order))
    return [order.get(piece, -1) for piece in found[0]], [order.get(piece, -1) for piece in found[1]]


def stretch(tokens: Places, text: int) -> Span:
    """Where the tokens of one of an input's texts begin and end in it, in letters.

    Args:
        text: 0, or 1 for the second of a pair.
    """
    places = [span for span, own in zip(tokens.offsets, tokens.sequence_ids, strict=True) if own == text]
    return min((start for start, _ in places), default=0), max((end for _, end in places), default=0)


def _spans(tokens: Places, texts: Sequence[str], starts: Sequence[int]) -> list[Span | None]:
    """Where each token stands, without white space around it; None for one that stands at no letter."""
    found: list[Span | None] = []
    for (start, end), own in zip(tokens.offsets, tokens.sequence_ids, strict=True):
        if own is None:
            found.append(None)
            continue
        first, last = start + starts[own], end + starts[own]
        letters = texts[own][first:last]
        if letters.strip() != letters:  # some count the space in front as the token's
            first, last = last - len(letters.lstrip()), first + len(letters.rstrip())
        found.append((own * _APART + first, own * _APART + last) if first < last else None)
    return found


def _align_texts(
    student: Sequence[Span | None], teacher: Sequence[Span | None], found: tuple[list[int], list[int]]
) -> None:
    """Give all tokens that overlap one number, also those of one tokenizer (of one letter in bytes, say)."""
    sides = [[(place, span) for place, span in enumerate(each) if span is not None] for each in (student, teacher)]
    at, piece = [0, 0], 0
    while at[0] < len(sides[0]) and at[1] < len(sides[1]):
        (_, (first, past)), (_, (other, past_other)) = sides[0][at[0]], sides[1][at[1]]
        if past <= other or past_other <= first:
            at[0 if past <= other else 1] += 1
            continue
        end, grew = max(past, past_other), True
        while grew:
            grew = False
            for side in (0, 1):
                while at[side] < len(sides[side]) and sides[side][at[side]][1][0] < end:
                    place, span = sides[side][at[side]]
                    found[side][place] = piece
                    end, grew = max(end, span[1]), True
                    at[side] += 1
        piece += 1


def _slots(tokens: Places) -> dict[int, list[int]]:
    """The special tokens before the first text (0), behind it (1) and behind the second (2), by their places."""
    slots: dict[int, list[int]] = {}
    behind = 0
    for place, own in enumerate(tokens.sequence_ids):
        if own is None:
            slots.setdefault(behind, []).append(place)
        else:
            behind = own + 1
    return slots


def _align_special(
    student: dict[int, list[int]], teacher: dict[int, list[int]], found: tuple[list[int], list[int]]
) -> None:
    """Number them on from the pieces of the texts."""
    piece = max(found[0], default=-1) + 1
    for slot in student.keys() & teacher.keys():
        own, theirs = student[slot], teacher[slot]
        alike = len(own) == len(theirs)
        for side, places in enumerate((own, theirs)):
            for number, place in enumerate(places):
                found[side][place] = piece + (number if alike else 0)
        piece += len(own) if alike else 1
