"""How fast several models answer on a machine that does other work too: in turns, and of many turns the best."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Turns", "take_turns"]

PARTS = 3  # of the rounds, each of which tells the ratio by itself: how far these differ is the spread
SETTLED = 1.1  # so far, as a factor, the ratios that the parts tell may differ where no more rounds are needed
REPEATS = 3  # answers of a turn: the first finds the weights of the model before it in the processor's caches
PATIENCE = 4  # so many times the seconds, and nothing is waited for any more


@dataclass(frozen=True)
class Turns:
    """What each of several models took for the same inputs, round by round.

    Other work only ever makes an answer take longer. So the time of an input is the shortest of all rounds, and that
    of a model the mean over the inputs; a median would be that of the machine's other work as well.

    Args:
        seconds: of each model, ``(rounds, inputs)``.
    """

    seconds: Mapping[str, NDArray[np.float64]]

    @property
    def rounds(self) -> int:
        """How often each model answered each input."""
        return len(next(iter(self.seconds.values())))

    def best(self, name: str) -> float:
        """Seconds that a model takes for an input, where nothing holds it up."""
        return _best(self.seconds[name])

    def speedup(self, name: str, over: str) -> float:
        """How many times as fast as the model ``over`` a model is."""
        return self.best(over) / self.best(name)

    @property
    def is_settled(self) -> bool:
        """Whether each third of the rounds tells the same of the models, but for a tenth."""
        first, *others = self.seconds
        spreads = [self.spread(name, first) for name in others]
        return all(greatest <= SETTLED * least for least, greatest in spreads)

    def spread(self, name: str, over: str) -> tuple[float, float]:
        """The least and the greatest speedup that a third of the rounds by itself would tell."""
        parts = [slice(first, None, PARTS) for first in range(min(PARTS, self.rounds))]
        found = [_best(self.seconds[over][part]) / _best(self.seconds[name][part]) for part in parts]
        return min(found), max(found)


def _best(seconds: NDArray[np.float64]) -> float:
    return float(seconds.min(axis=0).mean())


def take_turns(
    work: Mapping[str, Sequence[Callable[[], object]]],
    *,
    rounds: tuple[int, int],
    seconds: float,
    clock: Callable[[], float] = time.thread_time,
    wall: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Time several models, input by input in turns (A B A B ...), over and over. A turn is of `REPEATS` answers.

    Args:
        work: of each model: for each of the same inputs what answers it. The first round is not counted.
        rounds: at least, and at most.
        seconds: for all of them; more rounds are begun while some are left. Where the least number is not reached by
            then, or what the rounds tell is not settled, `PATIENCE` times as many may be spent.
        clock: of the answers, in seconds. By default the processor's time of this thread, for models that use no
            other: on a busy machine a long answer is always interrupted, and a short one hardly ever, so that by the
            clock on the wall a small model looks faster than it is.
        wall: by which ``seconds`` are counted.
    """
    counts = {len(each) for each in work.values()}
    if len(counts) != 1 or not all(counts) or rounds[0] < 1:
        raise ValueError("the same inputs, one or more, are answered by every model, in one round or more")
    inputs = counts.pop()
    _round(work, inputs, clock)
    taken: list[dict[str, list[float]]] = []
    start = wall()
    while len(taken) < rounds[1]:
        spent = wall() - start
        is_enough = len(taken) >= rounds[0] and spent >= seconds and _turns(taken).is_settled
        if taken and (is_enough or spent >= PATIENCE * seconds):
            break
        taken.append(_round(work, inputs, clock))
    return _turns(taken)


def _turns(taken: Sequence[Mapping[str, Sequence[float]]]) -> Turns:
    return Turns({name: np.array([each[name] for each in taken]) for name in taken[0]})


def _round(
    work: Mapping[str, Sequence[Callable[[], object]]], inputs: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in work}
    for place in range(inputs):
        for name, each in work.items():
            repeated = []
            for _ in range(REPEATS):
                start = clock()
                each[place]()
                repeated.append(clock() - start)
            took[name].append(min(repeated))
    return took
