"""Text from files and options, made safe to print: nothing in it may act on a terminal or on Markdown.

HTML is not handled here: the template escapes by itself.
"""

from __future__ import annotations

import re
import unicodedata

# Other; not among them: unassigned (a newer Unicode may print it).
_ACTING = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_MARKDOWN_BACKSLASH = re.compile(r"([\\`*_{}\[\]#|~$!])")


def printable(text: str) -> str:
    r"""Return one line in which control, direction and surrogate characters are spelled out, as in `\x1b`.

    Line breaks and tabs become spaces.
    """
    spaced = re.sub(r"[\r\n\t]+", " ", text)
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) in _ACTING else character
        for character in spaced
    )


def escape_markdown(text: str) -> str:
    """Return printable text that Markdown shows as it is, in a paragraph as in a table cell."""
    escaped = _MARKDOWN_BACKSLASH.sub(r"\\\1", printable(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fence(text: str) -> str:
    """Return printable text as a Markdown code block that no backtick in it can end."""
    line = printable(text)
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks}\n{line}\n{ticks}"
