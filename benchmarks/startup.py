"""How long until the command line answers, each time in a new process. Goals: --help 0.5 s, import distilnlp 0.1 s.

python -m benchmarks.startup [--quick]
"""

import subprocess
import sys
from collections.abc import Sequence
from functools import partial

from benchmarks._harness import ROOT, Spread, alternate, make_parser, parse, print_table, timed, write_results

MISSPELT = "distilnlp run, a misspelt key"
SIDES = {
    "python, nothing imported": (["-c", "pass"], None),
    "import distilnlp": (["-c", "import distilnlp"], 0.1),
    "distilnlp --help": (["-m", "distilnlp", "--help"], 0.5),
    "distilnlp tasks": (["-m", "distilnlp", "tasks"], None),
    "distilnlp losses": (["-m", "distilnlp", "losses"], None),
    "distilnlp recipes": (["-m", "distilnlp", "recipes"], None),
    MISSPELT: (["-m", "distilnlp", "run", "mrpc", "--set", "data.tsak=x"], None),
    "distilnlp validate glue/mrpc": (["-m", "distilnlp", "validate", "glue/mrpc"], None),
}


def start(name: str) -> None:
    """Run a side to its end.

    Raises:
        RuntimeError: it ended otherwise than it should, and how long that took says nothing.
    """
    done = subprocess.run([sys.executable, *SIDES[name][0]], cwd=ROOT, capture_output=True, text=True, check=False)
    wanted = 2 if name == MISSPELT else 0
    if done.returncode != wanted:
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"{name}: exit status {done.returncode} in place of {wanted}; it said: {said}")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the results."""
    arguments = parse(make_parser(__doc__, rounds=10), {"rounds": 2}, argv)

    sides = {name: timed(partial(start, name)) for name in SIDES}
    seconds = {name: Spread.of(values) for name, values in alternate(sides, arguments.rounds).items()}
    bare = seconds["python, nothing imported"].median
    rows = []
    for name, (_, goal) in SIDES.items():
        # What importing costs is what is beyond the interpreter's own start
        own = max(0.0, seconds[name].median - bare) if name.startswith("import") else seconds[name].median
        met = "-" if goal is None else "yes" if own < goal else "no"
        rows.append({"what": name, "seconds": seconds[name], "goal": goal or "-", "met": met})
    print_table(f"start-up, {arguments.rounds} new processes each", rows)
    write_results("startup", arguments, rows)


if __name__ == "__main__":
    main()
