"""A report as Markdown for a terminal or a pull request, and as one HTML file that needs no network."""

from __future__ import annotations

from edgekd.records import Report
from edgekd.report.cells import Cell, Section
from edgekd.report.escape import escape_markdown, fence, printable
from edgekd.report.plots import plot_accuracy_over_size
from edgekd.report.view import view_report


def render_markdown(report: Report) -> str:
    """Return the report as GitHub-flavoured Markdown, verdict first."""
    view = view_report(report)
    blocks = [
        f"# {escape_markdown(view.title)}",
        f"**{'PASS' if view.is_pass else 'FAIL'}.** {escape_markdown(view.summary)}",
    ]
    for section in (view.budgets, view.artifacts, *view.sections):
        blocks += [] if section.is_folded else _markdown_section(section)
    blocks.append("## How to repeat it")
    for purpose, command in view.commands:
        blocks += [f"{purpose}:", fence(command)]
    return "\n\n".join(blocks) + "\n"


def render_html(report: Report) -> str:
    """Return the report as one HTML page: no script, no other file, light and dark, for screens and paper."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("edgekd.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable_text,
    )
    template = environment.get_template("report.html.j2")
    return template.render(view=view_report(report), plot=plot_accuracy_over_size(report.rows)) + "\n"


def _printable_text(value: object) -> object:
    # Plain text only: what is already safe markup (the output of a macro) has its own line breaks.
    return printable(value) if type(value) is str else value


def _markdown_section(section: Section) -> list[str]:
    blocks = [f"## {section.title}"]
    if section.rows:
        lines = [_markdown_line(section.headers), _markdown_line(("---",) * len(section.headers))]
        lines += [_markdown_line([_markdown_cell(cell) for cell in row]) for row in section.rows]
        blocks.append("\n".join(lines))
    else:
        blocks.append(section.empty)
    # The backslash ends a line within one paragraph.
    if section.notes:
        blocks.append("\\\n".join(escape_markdown(note) for note in section.notes))
    return blocks


def _markdown_line(cells: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown_cell(cell: Cell) -> str:
    text = escape_markdown(cell.text)
    return f"{text} ({escape_markdown(cell.detail)})" if cell.detail else text
