"""Write the lists of operators that `edgekd check --target` reads: what each runtime says it has.

    python tools/runtime_operators.py --write
    python tools/runtime_operators.py --check

Of ONNX Runtime these are the operators with a kernel for its CPU provider, and those that ONNX itself defines by
others. Of TVM they are the operators that its Relax importer converts. TensorRT tells nothing without a GPU: its list
was taken from the documentation that the file names, and stays as it is.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "edgekd" / "checks" / "runtimes"
_STANDARD = ("", "ai.onnx")


def onnxruntime_operators() -> dict[str, Any]:
    """Return the list of ONNX Runtime."""
    import onnx.defs
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    kernels = [it for it in state.get_all_opkernel_def() if it.provider == "CPUExecutionProvider"]
    pairs = {(kernel.domain, kernel.op_name) for kernel in kernels}
    schemas = onnx.defs.get_all_schemas_with_history()
    pairs |= {(it.domain, it.name) for it in schemas if it.has_function or it.has_context_dependent_function}
    newest = max(it.since_version for it in state.get_all_operator_schema() if it.domain in _STANDARD)
    return {
        "runtime": "ONNX Runtime",
        "version": onnxruntime.__version__,
        "source": "kernels registered for CPUExecutionProvider, and ONNX's operators that are functions of others",
        "complete": True,
        "newest_opset": newest,
        "operators": _by_domain(pairs),
    }


def tvm_operators() -> dict[str, Any]:
    """Return the list of TVM."""
    import tvm
    from tvm.relax.frontend.onnx import onnx_frontend

    return {
        "runtime": "TVM",
        "version": tvm.__version__,
        "source": "operators converted by tvm.relax.frontend.onnx",
        "complete": True,
        "newest_opset": None,
        "operators": _by_domain({("", name) for name in onnx_frontend._get_convert_map()}),  # no other
    }


def _by_domain(pairs: set[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for domain, name in sorted(pairs):
        found.setdefault("" if domain in _STANDARD else domain, []).append(name)
    return {domain: sorted(names) for domain, names in sorted(found.items())}


LISTS: Mapping[str, Callable[[], dict[str, Any]]] = {"onnxruntime": onnxruntime_operators, "tvm": tvm_operators}


def text_of(name: str) -> str:
    """Return the content of a list's file as it should be."""
    return json.dumps(LISTS[name](), indent=1) + "\n"


def main() -> int:
    """Write the lists, or say whether they are up to date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="write the files")
    action.add_argument("--check", action="store_true", help="fail if a file is out of date")
    arguments = parser.parse_args()
    stale = []
    for name in LISTS:
        path, text = FOLDER / f"{name}.json", text_of(name)
        if arguments.write:
            path.write_text(text, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"out of date: {', '.join(stale)}; python tools/runtime_operators.py --write", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
