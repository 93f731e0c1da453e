"""How long until the command line answers, each time in a new process. Goals: --help 0.5 s, import distilnlp 0.1 s.

python -m benchmarks.startup [--quick]
"""

import subprocess
import sys
from functools import partial

from benchmarks._harness import ROOT, Spread, alternate, make_parser, parse, print_table, timed, write_results

SIDES = {
    "python, nothing imported": (["-c", "pass"], None),
    "import distilnlp": (["-c", "import distilnlp"], 0.1),
    "distilnlp --help": (["-m", "distilnlp", "--help"], 0.5),
    "distilnlp tasks": (["-m", "distilnlp", "tasks"], None),
    "distilnlp losses": (["-m", "distilnlp", "losses"], None),
    "distilnlp recipes": (["-m", "distilnlp", "recipes"], None),
    "distilnlp run, a misspelt key": (["-m", "distilnlp", "run", "mrpc", "--set", "data.tsak=x"], None),
    "distilnlp validate glue/mrpc": (["-m", "distilnlp", "validate", "glue/mrpc"], None),
}


def main() -> None:
    """Measure, print the table, write the results."""
    arguments = parse(make_parser(__doc__, rounds=10), {"rounds": 2})

    def start(command: list[str]) -> None:
        subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, check=False)

    sides = {name: timed(partial(start, command)) for name, (command, _) in SIDES.items()}
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
