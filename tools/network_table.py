"""Write docs/networks.md: what the library can do with each network of the test zoo.

    python tools/network_table.py --write
    python tools/network_table.py --check

The letters in the table are those of tests/conformance/test_networks.py. A letter that is missing stands in
`NOT_YET` of tests/zoo/narrowed.py, whose entries the tests hold to: what is listed there must fail.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(_ROOT), str(_ROOT / "tests")]

DOCUMENT = _ROOT / "docs" / "networks.md"

_HEAD = """\
# Networks

What EdgeKD does with each network of its test zoo: small implementations of published networks, one for every shape
the library is to handle. `tools/network_table.py` writes this page from the functions that the tests use; the tests
check that it is up to date.

| letter | promise |
|---|---|
| a | the pruned network answers as the whole one with the dropped channels at zero |
| b | every parameter and buffer is cut to the size the plan predicts |
| c | the pruned network trains, is saved and loaded elsewhere, runs in onnxruntime, and is quantized |
| d | parameters, multiply-accumulates and file size fall by what the plan predicts |
| e | widths are multiples of what the target asks for |
| f | two hundred narrowings leave no memory behind |

*Prunable* is the share of the parameters that belong to a channel of a group whose width may be chosen. Numbers are
of the small version that is tested, not of the network in the paper. Where nothing can be pruned, only (c) is stated:
the others would hold for that reason alone. Channels of the input and the output always stay and are not listed.

| network | parameters | prunable | groups | holds | left whole |
|---|--:|--:|--:|---|---|
"""


def document() -> str:
    """Return the page as it should be."""
    from zoo import NETWORKS
    from zoo.narrowed import NOT_YET

    rows = "".join(f"{_row(name)}\n" for name in NETWORKS)
    sources = _list((f"`{network.name}`", network.published) for network in NETWORKS.values())
    parts = [_HEAD + rows]
    if NOT_YET:
        parts.append(f"## Not yet\n\nA network, or some checks of it.\n\n{_exceptions(NOT_YET)}")
    parts.append(f"## Sources\n\n{sources}")
    return "\n".join(parts)


def _exceptions(table: Mapping[str, str]) -> str:
    """Return one line for each network and reason, with the checks that it is the reason for."""
    checks: dict[tuple[str, str], list[str]] = {}
    for entry, reason in table.items():
        name, _, check = entry.partition("/")
        checks.setdefault((name, reason), []).append(check)
    return _list((f"`{name}` {', '.join(found)}".strip(), reason) for (name, reason), found in checks.items())


def _list(entries: Iterable[tuple[str, str]]) -> str:
    return "".join(f"- {name}: {text}\n" for name, text in entries)


def _row(name: str) -> str:
    from zoo import build
    from zoo.narrowed import CHECKS, NOT_YET, channels_of, not_yet, prunable_share

    parameters = sum(parameter.numel() for parameter in build(name).parameters())
    if name in NOT_YET:
        return f"| {name} | {parameters} | | | | {NOT_YET[name]} |"
    channels = channels_of(name)
    letters = [letter for letter, checks in CHECKS.items() if not any(not_yet(name, check) for check in checks)]
    if not channels.prunable:  # of nothing pruned, only that the network is still one says something
        letters = [letter for letter in letters if letter == "c"]
    share = f"{100 * prunable_share(name):.0f} %"
    groups = str(len(channels.prunable))
    return f"| {name} | {parameters} | {share} | {groups} | {' '.join(letters)} | {_left_whole(name)} |"


def _left_whole(name: str) -> str:
    """Return the reasons for which layers keep all channels, each with the first of the layers."""
    from zoo.narrowed import channels_of

    by_reason: dict[str, list[str]] = {}
    for group in channels_of(name).groups:
        if not group.prunable and group.reason not in (None, "the network's input", "the network's output"):
            makers = [member.removesuffix(".out") for member in group.members if member.endswith(".out")]
            # Names of nodes count up with the network; the operator is what matters.
            reason = re.sub(r"used by '[^']*' \((.*)\), which", r"used by \1, which", str(group.reason))
            by_reason.setdefault(reason, []).extend(makers)
    texts = []
    for reason, makers in sorted(by_reason.items()):
        layers = list(dict.fromkeys(makers))
        if layers:
            more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
            texts.append(f"`{layers[0]}`{more}: {reason}")
    return "; ".join(texts).replace("|", "\\|")


def main() -> int:
    """Write the page, or say whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write docs/networks.md")
    action.add_argument("--check", action="store_true", help="fail if docs/networks.md is out of date")
    arguments = parser.parse_args()
    text = document()
    if arguments.write:
        DOCUMENT.write_text(text, encoding="utf-8")
        return 0
    if not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != text:
        print(f"{DOCUMENT} is out of date: python tools/network_table.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
