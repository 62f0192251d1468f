"""How findings are made, and the verdict and exit code that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from edgekd.errors import EXIT_OK, ArtifactError, InputError, VerdictError
from edgekd.records import Finding

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]

# Errors that answer the question with no; every other error means that there is no answer.
_ANSWERED_NO = frozenset({"verdict-fail", "operator-not-supported", "opset-not-supported"})
_ANSWERED_NO_ENDINGS = ("-over-budget", "-under-budget", "-regression")
_EXIT_CODES = {"PASS": EXIT_OK, "FAIL": VerdictError.exit_code, "INCONCLUSIVE": InputError.exit_code}


def verdict_of(findings: Iterable[Finding]) -> Verdict:
    """Return PASS without errors, FAIL if the answer is no, INCONCLUSIVE if something cannot be answered.

    What cannot be answered outweighs a no: a file that is damaged, or a budget on something that is not known.
    """
    codes = {finding.code for finding in findings if finding.level == "error"}
    if not all(code in _ANSWERED_NO or code.endswith(_ANSWERED_NO_ENDINGS) for code in codes):
        return "INCONCLUSIVE"
    return "FAIL" if codes else "PASS"


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 0 for PASS, 1 for FAIL, 2 for INCONCLUSIVE."""
    return _EXIT_CODES[verdict_of(findings)]


def error_finding(code: str, subject: str, message: str, hint: str) -> Finding:
    """Return a finding that keeps the gate shut."""
    return Finding(level="error", code=code, subject=subject, message=message, hint=hint)


def warning_finding(code: str, subject: str, message: str, hint: str) -> Finding:
    """Return a finding that a person should read."""
    return Finding(level="warning", code=code, subject=subject, message=message, hint=hint)


def finding_of(code: str, error: ArtifactError) -> Finding:
    """Return what an error says, as a finding."""
    return error_finding(code, error.where, f"expected {error.expected}, found {error.found}", error.hint)
