"""Which layers of a model stay in fp32 so that its score holds: the fewest that the search finds, one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from distilnlp.errors import RunError

__all__ = ["Attempt", "Gated", "drop", "keep_score", "show_attempts"]

Made = TypeVar("Made")


@dataclass(frozen=True)
class Attempt:
    """What a model scores with some groups of layers left in fp32.

    Args:
        left_out: the groups.
        score: on the held-out examples.
        drop: by which share of it the score in fp32 fell (`drop`).
    """

    left_out: tuple[str, ...]
    score: float
    drop: float


@dataclass(frozen=True)
class Gated(Generic[Made]):
    """A quantised model whose score holds.

    Args:
        made: the model.
        attempts: all that were tried, this one last.
    """

    made: Made
    attempts: tuple[Attempt, ...]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The groups that it has in fp32."""
        return self.attempts[-1].left_out


def drop(before: float, after: float, *, higher_is_better: bool = True) -> float:
    """By which share of its size a score got worse; below 0 where it got better. Of a score of 0, the difference."""
    worse = before - after if higher_is_better else after - before
    return worse / (abs(before) or 1.0)


def keep_score(
    groups: Iterable[str],
    *,
    make: Callable[[Sequence[str]], Made],
    score: Callable[[Made], float],
    harm: Callable[[Made], float],
    before: float,
    max_drop: float,
    higher_is_better: bool = True,
    say: Callable[[str], object] = lambda line: None,
) -> Gated[Made]:
    """Quantise all groups; where the score falls too far, leave out those that hurt most, one more at a time.

    A group hurts as much as the answers come nearer to those in fp32 without it, all others being quantised.

    Args:
        groups: of layers, by name.
        make: the model with these groups left in fp32.
        score: of a model, on the held-out examples.
        harm: how far the answers of a model are from those in fp32.
        before: the score in fp32.
        max_drop: by which share of it the score may fall (`drop`).
        higher_is_better: of the score.
        say: shows one line of text to the user.
    Raises:
        RunError: the score does not hold with any group quantised; the attempts are in the message.
    """
    names = list(groups)
    attempts: list[Attempt] = []

    def tried(left_out: Sequence[str]) -> Made | None:
        made = make(left_out)
        found = score(made)
        fell = drop(before, found, higher_is_better=higher_is_better)
        attempts.append(Attempt(tuple(left_out), found, fell))
        if fell <= max_drop:
            return made
        what = f"with {left_out[-1]} in fp32 too" if left_out else "with all layers in int8"
        say(f"{what} the score falls by {fell:.1%}, to {found:.4f}")
        return None

    made = tried([])
    if made is None:
        say(f"asking which of {len(names)} groups of layers hurt most")
        order = sorted(names, key=lambda name: harm(make([name])))
        left_out: list[str] = []
        for name in order[:-1]:  # with all of them left out nothing is quantised
            left_out.append(name)
            made = tried(left_out)
            if made is not None:
                break
    if made is None:
        raise RunError(
            f"int8 costs more than {max_drop:.1%} of the score ({before:.4f} in fp32), whatever stays in fp32: "
            f"{show_attempts(attempts)}: nothing is written; give a larger --max-drop, or export without --int8"
        )
    return Gated(made, tuple(attempts))


def show_attempts(attempts: Sequence[Attempt]) -> str:
    """Each group in the order in which it was left out, and the score that came of it."""
    return ", ".join(
        f"{'+' + each.left_out[-1] if each.left_out else 'all in int8'} {each.score:.4f}" for each in attempts
    )
