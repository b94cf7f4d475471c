"""What is told of a run when it is over: to people (`summary`, `page`) and to programs (`document`, `junit`).

Pure functions of an `Outcome` and its verdicts; showing and writing what they return is the command's.
"""

from trioproxy.chaos.report.document import document
from trioproxy.chaos.report.junit import junit
from trioproxy.chaos.report.page import About, page
from trioproxy.chaos.report.scale import number
from trioproxy.chaos.report.summary import summary, verdict_lines

__all__ = ["About", "document", "junit", "number", "page", "summary", "verdict_lines"]
