"""``python -m distilnlp``, for where the command is not on the path (``accelerate launch -m distilnlp run ...``)."""

import sys

from distilnlp.cli import main

if __name__ == "__main__":
    sys.exit(main())
