"""Every scheme (``tasks/schemes``) beside the student without a teacher and plain distillation, on two tasks.

As ``benchmarks.knowledge``, whose teacher, rows, steps and seeds it shares: one seed for all, three for the best five,
the control and plain distillation. A scheme with more stages trains longer, and one with more models takes more
memory: the columns say so. Runs are kept in ``results/schemes.json``.
"""

import sys
from collections.abc import Sequence

from benchmarks import knowledge


def main(argv: Sequence[str] | None = None) -> None:
    """Run what is missing, print the table, write it."""
    knowledge.main(["--family", "schemes", *(sys.argv[1:] if argv is None else argv)])


if __name__ == "__main__":
    main()
