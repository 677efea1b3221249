"""All that can be said of a run, as one page: `lt.report(run, "report.html")`."""

from .write import report

__all__ = ["report"]
