"""The JSON schema of report.json, made from the annotations and docstrings of the records themselves."""

from __future__ import annotations

import dataclasses
import json
import re
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from edgekd.records import Report

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def report_schema() -> dict[str, Any]:
    """Return the schema of the reports that this version writes."""
    records: dict[str, Any] = {}
    top = _of_record(Report, records)
    top["properties"]["schema_version"] = {"const": _version()}
    return {"$schema": _DIALECT, "title": "EdgeKD report", **top, "$defs": dict(sorted(records.items()))}


def schema_text() -> str:
    """Return the content of `docs/report.schema.json`."""
    return json.dumps(report_schema(), indent=2) + "\n"


def _version() -> int:
    (version,) = (field.default for field in dataclasses.fields(Report) if field.name == "schema_version")
    assert isinstance(version, int)
    return version


def _of_record(record: type, records: dict[str, Any]) -> dict[str, Any]:
    types = get_type_hints(record)
    return {
        "type": "object",
        "description": re.sub(r"\s+", " ", record.__doc__ or "").strip(),
        "properties": {field.name: _of(types[field.name], records) for field in dataclasses.fields(record)},
        "required": [field.name for field in dataclasses.fields(record)],
        "additionalProperties": False,
    }


def _of(kind: Any, records: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if kind.__name__ not in records:
            records[kind.__name__] = {}  # before its fields, so that a record inside of itself would end
            records[kind.__name__] = _of_record(kind, records)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [_of(argument, records) for argument in arguments]}
    if origin is tuple:
        if arguments[1:] == (...,):
            return {"type": "array", "items": _of(arguments[0], records)}
        items = [_of(argument, records) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    return {"type": _PLAIN[kind]}
