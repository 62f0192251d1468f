"""Write docs/report.schema.json, the JSON schema of report.json.

    python tools/report_schema.py --write
    python tools/report_schema.py --check

It is made from the records in `edgekd/records/`, so that it says what the code reads and writes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(_ROOT))

DOCUMENT = _ROOT / "docs" / "report.schema.json"


def main() -> int:
    """Write the schema, or say whether it is up to date."""
    from edgekd.report.schema import schema_text

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write docs/report.schema.json")
    action.add_argument("--check", action="store_true", help="fail if docs/report.schema.json is out of date")
    if parser.parse_args().write:
        DOCUMENT.write_text(schema_text(), encoding="utf-8")
        return 0
    if not DOCUMENT.is_file() or DOCUMENT.read_text(encoding="utf-8") != schema_text():
        print(f"{DOCUMENT} is out of date: python tools/report_schema.py --write", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
