"""Reports: what a run found, as JSON for programs and as Markdown and HTML for people."""

from edgekd.report.document import read_report, report_from_json, report_to_json, write_report
from edgekd.report.render import render_html, render_markdown

__all__ = [
    "read_report",
    "render_html",
    "render_markdown",
    "report_from_json",
    "report_to_json",
    "write_report",
]
