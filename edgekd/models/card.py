"""The card beside a model file: what its input means, as JSON with the file's stem."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekd.errors import ModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a card says. `input_shape` is (channels, height, width); `mean` and `std` are for inputs in [0, 1]."""

    input_shape: tuple[int, int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    classes: tuple[str, ...] | None = None


def read_card(model_path: Path) -> Card:
    """Return what `MODEL.json` beside `MODEL.pt2` says, or an empty card if there is none.

    Read are `input.shape` (with or without the batch), `input.mean`, `input.std` and `output.classes`; everything
    else in the file is ignored.

    Raises:
        ModelError: The card is not JSON, or one of these has another form.
    """
    path = model_path.with_suffix(".json")
    if path == model_path or not path.is_file():
        return Card()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _card_error(path, "a JSON object", str(error)) from error
    if not isinstance(document, dict):
        raise _card_error(path, "a JSON object", type(document).__name__)
    described, output = document.get("input"), document.get("output")
    described = described if isinstance(described, dict) else {}
    output = output if isinstance(output, dict) else {}
    shape = _shape(path, described.get("shape"))
    classes = output.get("classes") or []
    if not isinstance(classes, list):
        raise _card_error(path, "'output.classes' as a list of names", repr(classes))
    return Card(
        input_shape=shape,
        mean=_numbers(path, "input.mean", described.get("mean") or [], float),
        std=_numbers(path, "input.std", described.get("std") or [], float),
        classes=tuple(str(name) for name in classes) or None,
    )


def _shape(path: Path, value: Any) -> tuple[int, int, int] | None:
    """Channels, height, width; a batch in front, as a number or a name, is left out."""
    if value is None:
        return None
    sizes = value[-3:] if isinstance(value, list) and len(value) in (3, 4) else ()
    if len(sizes) != 3 or not all(type(size) is int and size > 0 for size in sizes):
        raise _card_error(path, "'input.shape' of channels, height, width", repr(value))
    return sizes[0], sizes[1], sizes[2]


def _numbers(path: Path, key: str, values: Any, kind: type) -> tuple[Any, ...] | None:
    accepted = (int,) if kind is int else (int, float)
    if not isinstance(values, list) or not all(type(v) in accepted for v in values):
        raise _card_error(path, f"'{key}' as a list of numbers", repr(values))
    return tuple(kind(v) for v in values) or None


def _card_error(path: Path, expected: str, found: str) -> ModelError:
    hint = "Correct the card, or move it away and use --input-size, --mean and --std."
    return ModelError(str(path), expected=expected, found=found, hint=hint)
