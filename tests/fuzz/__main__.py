"""Ask many cases: ``python -m tests.fuzz --cases 5000``; one again: ``python -m tests.fuzz --kind data --seed 17``."""

import argparse
import sys
import time
from collections import Counter

from tests.fuzz.answers import KINDS
from tests.fuzz.kinds import KINDS_OF_CASES, Fuzzer


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=2000, help="how many, over all kinds")
    parser.add_argument("--first", type=int, default=0, help="the first seed; others give other cases")
    parser.add_argument("--kind", choices=sorted(KINDS_OF_CASES), action="append", help="only this kind; repeatable")
    parser.add_argument("--seed", type=int, help="one case, with its answer")
    options = parser.parse_args()
    kinds = options.kind or list(KINDS_OF_CASES)
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    started = time.monotonic()
    with Fuzzer() as fuzzer:
        for kind in kinds:
            share = round(options.cases * KINDS_OF_CASES[kind].share / sum(KINDS_OF_CASES[k].share for k in kinds))
            seeds = range(options.first, options.first + max(1, share)) if options.seed is None else [options.seed]
            for seed in seeds:
                case, answer = fuzzer.ask(kind, seed)
                counts[kind][answer.kind] += 1
                if answer.kind == "unexpected" or options.seed is not None:
                    print(f"--kind {kind} --seed {seed}\n  {case.what}\n  {answer.kind}: {answer.line}\n", flush=True)
    for kind in kinds:
        print(f"{kind:<9} {counts[kind].total():>6} cases: {_shown(counts[kind])}")
    total = sum(counts.values(), Counter[str]())
    print(f"{'all':<9} {total.total():>6} cases: {_shown(total)}, {time.monotonic() - started:.0f} s")
    return 1 if total["unexpected"] else 0


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{kind} {counts[kind]}" for kind in KINDS)


if __name__ == "__main__":
    sys.exit(main())
