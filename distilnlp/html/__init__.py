"""A run, or several, as one HTML page that fetches nothing.

`render_page` makes the text of a page of `Evidence`: all that a run has kept, which `distilnlp.run.page.read_run`
reads from its folder. `render_comparison` sets several runs beside each other.
"""

from distilnlp.html.comparison import render_comparison
from distilnlp.html.evidence import Evidence, Similarity
from distilnlp.html.page import render_page, write_page_file

__all__ = ["Evidence", "Similarity", "render_comparison", "render_page", "write_page_file"]
