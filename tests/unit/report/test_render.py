from __future__ import annotations

import dataclasses
import itertools
import math
import re
from html.parser import HTMLParser

import pytest

from edgekd.quantities import parse_latency_us, parse_size
from edgekd.records import Budget, Finding, Report
from edgekd.report import render_html, render_markdown
from edgekd.report.artifacts import is_original
from edgekd.report.escape import escape_markdown, fence, printable
from edgekd.report.plots import plot_accuracy_over_size
from edgekd.report.view import view_report

VOID = {"meta", "line", "circle", "br"}
HOSTILE = "<script>alert(1)</script> | `x` & \"q\" 'a' \x1b[31m\u202e\n# heading [link](http://x) {{ 7*7 }} \ud800"


class _Page(HTMLParser):
    """Collects what a browser would build, and insists that every element is closed where it was opened."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data


def _markdown_row(text: str, start: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.fixture
def hostile(report: Report) -> Report:
    row = dataclasses.replace(report.rows[1], name=f"compressed {HOSTILE}", path=f"{HOSTILE}.onnx")
    stage = dataclasses.replace(report.stages[0], name=HOSTILE, summary=HOSTILE)
    return dataclasses.replace(
        report,
        title=HOSTILE,
        target=HOSTILE,
        plan_id=HOSTILE,
        rows=(report.rows[0], row),
        stages=(stage,),
        findings=(Finding(level="note", code=HOSTILE, subject=HOSTILE, message=HOSTILE, hint=HOSTILE),),
        widths=((HOSTILE, 2, 1),),
        provenance=(("command", HOSTILE), (HOSTILE, HOSTILE)),
    )


def test_the_verdict_comes_before_everything_but_the_title(report: Report) -> None:
    lines = render_markdown(report).splitlines()
    assert lines[0] == "# resnet20 for jetson-tx2"
    assert lines[2].startswith("**FAIL.**")
    passed = render_markdown(dataclasses.replace(report, verdict="pass"))
    assert "**PASS.**" in passed
    assert "FAIL" not in passed
    page = _Page(render_html(report))
    assert page.text.index("FAIL") < page.text.index("Budgets") < page.text.index("Artifacts")


def test_a_budget_line_gives_limit_actual_and_whether_it_is_met(report: Report) -> None:
    rows = view_report(report).budgets.rows
    cells = [[cell.text for cell in row] for row in rows]
    # One byte over: both round to 250 KB, so the bytes have to be there.
    assert cells[0] == [
        "File size",
        "compressed int8",
        "250 KB (250,000 bytes)",
        "250 KB (250,001 bytes)",
        "no",
    ]
    assert cells[1][3:] == ["200 KB (200,000 bytes)", "yes"]
    assert cells[2] == ["Latency", "compressed int8", "3 ms", "2.4 ms", "yes"]
    assert cells[3][3:] == ["not known", "not known"]
    assert not any("original" in row for row in cells)


def test_a_memory_budget_is_told_in_bytes_and_repeated_as_an_option(report: Report) -> None:
    told = dataclasses.replace(report, budgets=(Budget(quantity="memory_bytes", limit=49_151, precision="int8"),))
    (row,) = view_report(told).budgets.rows
    assert [cell.text for cell in row] == [
        "Peak activation memory",
        "compressed int8",
        "49.2 KB (49,151 bytes)",
        "49.2 KB (49,152 bytes)",
        "no",
    ]
    assert row[3].detail == "predicted"
    assert "edgekd check RUN --max-memory 49151B\n" in render_markdown(told)


def test_a_budget_for_one_precision_is_compared_with_its_files_only(report: Report) -> None:
    budgets = (
        Budget(quantity="size_bytes", limit=1, precision="fp16"),
        Budget(quantity="size_bytes", limit=1, precision="fp32"),
    )
    rows = view_report(dataclasses.replace(report, budgets=budgets)).budgets.rows
    assert [(row[0].detail, row[1].text, row[4].text) for row in rows] == [
        ("of fp16", "compressed fp16", "no"),
        ("of fp32", "none", "not known"),  # the original's fp32 file is not bound by a budget
    ]


def test_an_artifact_has_one_line_with_everything_known_about_it(report: Report) -> None:
    text = render_markdown(report)
    cells = _markdown_row(text, "compressed int8 (")
    standard_error = math.sqrt(0.91326 * (1 - 0.91326) / 10_000) * 100
    assert cells[:9] == [
        "compressed int8 (int8, cpu, artifacts/model.int8.onnx)",
        "250 KB (250,001 bytes)",
        "0.25x",  # of 1,000,000 bytes
        "10 M",
        "0.25x",  # of 40 M
        "90 k",
        f"91.33 % (\u00b1 {standard_error:.2f} %, n = 10,000, test)",
        f"91.23 % (\u00b1 {standard_error:.2f} %, n = 10,000, test)",
        "+0.10 points",  # 91.33 - 91.23
    ]
    assert cells[9] == "2.4 ms (2 ms to 2.9 ms, fitted (1))"
    assert cells[10] == "8.1 mJ \u2020 (7 mJ to 9.5 mJ, published (2), extrapolated)"
    assert cells[11] == "49.2 KB (49,152 bytes)"
    assert cells[12] == "passed (99.85 % of 2,000 predictions equal, top-1 difference -0.05 points)"
    assert "(1) fitted: fit to 16 whole networks (docs/profiles.md)" in text
    assert "(2) published: a paper" in text
    assert "\u2020 outside the range" in text


def test_what_is_not_known_says_so(report: Report) -> None:
    cells = _markdown_row(render_markdown(report), "compressed fp16 (")
    assert [cells[index] for index in (6, 8, 9, 10, 11, 12)] == ["not known"] * 5 + ["not checked"]


def test_a_report_without_an_original_knows_no_ratios(report: Report) -> None:
    cells = _markdown_row(render_markdown(dataclasses.replace(report, rows=report.rows[1:])), "compressed int8 (")
    assert (cells[2], cells[4]) == ("not known", "not known")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("original", True), ("original fp32", True), ("originality", False), ("int8", False), ("", False)],
)
def test_the_original_is_known_by_its_name(report: Report, name: str, expected: bool) -> None:
    assert is_original(dataclasses.replace(report.rows[1], name=name)) is expected


def test_accuracies_on_different_splits_have_no_difference(report: Report) -> None:
    trained = dataclasses.replace(report.rows[1].trained_accuracy, split="validation")  # type: ignore[type-var]
    row = dataclasses.replace(report.rows[1], trained_accuracy=trained)
    cells = _markdown_row(render_markdown(dataclasses.replace(report, rows=(row,))), "compressed int8 (")
    assert cells[8] == "not known"


def test_a_stage_is_compared_with_the_last_one_that_measured_accuracy(report: Report) -> None:
    text = render_markdown(report)
    assert _markdown_row(text, "load (")[3] == ""
    assert _markdown_row(text, "groups (")[2:] == ["not known", "", "", ""]
    prune = _markdown_row(text, "prune (")
    assert prune[0] == "prune (56 of 112 units)"
    assert prune[1] == "2 min 05 s"  # 125 s
    assert prune[3:] == ["-21.00 points", "10 M", "90 k"]  # 71 - 92


def test_widths_are_shown_with_a_bar_of_their_ratio(report: Report) -> None:
    assert _markdown_row(render_markdown(report), "layer1") == ["layer1", "16", "8", "0.50"]
    attributes = _Page(render_html(report)).attributes
    assert [value for name, value in attributes if name == "style"] == ["width: 50.0%", "width: 100.0%"]


def test_the_commands_to_repeat_carry_budgets_that_mean_the_same(report: Report) -> None:
    text = render_markdown(report)
    assert "```\nedgekd compress model.pt2 --target jetson-tx2\n```" in text
    match = re.search(r"edgekd check RUN --max-size (\S+) --max-latency (\S+)\n", text)
    assert match is not None
    assert (parse_size(match[1]), parse_latency_us(match[2])) == (250_000, 3000)


def test_an_empty_report_says_what_is_not_there(report: Report) -> None:
    empty = dataclasses.replace(report, rows=(), stages=(), budgets=(), findings=(), widths=(), provenance=())
    for text in (render_markdown(empty), render_html(empty)):
        assert "No budget was set." in text
        assert "No artifact was made." in text
        assert "Nothing to report." in text
    _Page(render_html(empty))
    with_budget = dataclasses.replace(empty, budgets=(Budget(quantity="size_bytes", limit=1),))
    assert "No budget was set." not in render_markdown(with_budget)


def test_the_page_needs_no_script_and_no_other_file(report: Report) -> None:
    text = render_html(report)
    page = _Page(text)
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href"} & {name for name, _ in page.attributes}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_both_forms_print_the_same_cells(report: Report) -> None:
    page_rows = [[cell.split() for cell in row] for row in _Page(render_html(report)).rows]
    view = view_report(report)
    expected = [
        [f"{cell.text} {cell.detail}".split() for cell in row]
        for section in (view.budgets, view.artifacts, *view.sections)
        for row in section.rows
    ]
    assert expected
    # In the page a bar or a line break may take the place of the space before the detail.
    assert [["".join(cell) for cell in row] for row in expected] == [
        ["".join(cell) for cell in row] for row in page_rows if "".join(row[0]) not in _first_headers()
    ]


def _first_headers() -> set[str]:
    return {"Quantity", "Artifact", "Stage", "Channelgroup", "Level", "What"}


def test_nothing_in_a_report_acts_on_the_page(report: Report, hostile: Report) -> None:
    calm, page = _Page(render_html(report)), _Page(render_html(hostile))
    assert set(page.tags) <= set(calm.tags)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text
    render_html(hostile).encode("utf-8")


def test_nothing_in_a_report_acts_on_markdown_or_a_terminal(report: Report, hostile: Report) -> None:
    text = render_markdown(hostile)
    outside_code = re.sub(r"(`{3,})\n.*?\n\1", "", text, flags=re.DOTALL)
    assert "<" not in outside_code
    assert not re.search(r"(?<!\\)\]\(", outside_code)
    assert "\x1b" not in text
    assert "\u202e" not in text
    headings = [line for line in outside_code.splitlines() if line.startswith("#")]
    calm = [line for line in render_markdown(report).splitlines() if line.startswith("#")]
    assert headings[1:] == calm[1:]
    widths = [len(re.split(r"(?<!\\)\|", line)) for line in outside_code.splitlines() if line.startswith("|")]
    artifact_table = 13 + 2
    assert widths.count(artifact_table) == 2 + len(hostile.rows)
    text.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("a`b", r"a\`b"),
        ("a\nb", "a b"),
        ("<b>", "&lt;b&gt;"),
        ("&lt;", "&amp;lt;"),
        ("a\\|b", r"a\\\|b"),
        ("*_x_*", r"\*\_x\_\*"),
        ("\x1b[31m", r"\\x1b\[31m"),
    ],
)
def test_markdown_shows_text_as_it_is(text: str, expected: str) -> None:
    assert escape_markdown(text) == expected


def test_control_and_direction_characters_are_spelled_out() -> None:
    assert printable("a\x1b\x00\u202e\u2028\x9b\ud800z\u00e9") == r"a\x1b\x00\u202e\u2028\x9b\ud800z" + "\u00e9"
    assert printable("a\r\n\tb") == "a b"


def test_no_backtick_ends_a_code_block() -> None:
    block = fence("a ```` b\n```")
    assert block.splitlines() == ["`````", "a ```` b ```", "`````"]


def test_the_plot_keeps_order_and_proportion(report: Report) -> None:
    first, second = report.rows[0], report.rows[1]
    plot = plot_accuracy_over_size(report.rows)
    assert plot is not None
    assert len(plot.points) == 2  # the third has no accuracy
    original, int8 = plot.points
    # The size axis starts at zero: distances from its left end are in the ratio of the sizes.
    ratio = (int8.x - plot.left) / (original.x - plot.left)
    assert ratio == pytest.approx(second.size_bytes / first.size_bytes, abs=0.002)
    assert original.y < int8.y  # more accurate is higher up
    for point in plot.points:
        assert plot.left <= point.x <= plot.right
        assert plot.top <= point.y_high <= point.y <= point.y_low <= plot.bottom
    assert plot.description == "original: 92.00 % at 1 MB; compressed int8: 91.33 % at 250 KB."
    assert len({tick.label for tick in plot.y_ticks}) == len(plot.y_ticks) > 1


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_plot_can_draw_equal_points_and_keeps_their_labels_apart(report: Report, share: float) -> None:
    accuracy = dataclasses.replace(report.rows[0].accuracy, value=share)  # type: ignore[type-var]
    rows = tuple(dataclasses.replace(report.rows[0], name=f"row {index}", accuracy=accuracy) for index in range(4))
    plot = plot_accuracy_over_size(rows)
    assert plot is not None
    lines = sorted(point.label_y for point in plot.points)
    assert all(below - above >= 12 for above, below in itertools.pairwise(lines))
    assert all(plot.top <= point.y <= plot.bottom for point in plot.points)


def test_one_point_is_no_plot(report: Report) -> None:
    assert plot_accuracy_over_size(report.rows[1:]) is None
    page = _Page(render_html(dataclasses.replace(report, rows=report.rows[1:])))
    assert "svg" not in page.tags


def test_the_plot_is_described_for_those_who_cannot_see_it(report: Report) -> None:
    page = _Page(render_html(report))
    assert {"title", "desc"} <= set(page.tags[page.tags.index("svg") :])
    assert ("role", "img") in page.attributes
    assert "original: 92.00 % at 1 MB" in page.text
