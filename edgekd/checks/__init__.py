"""The gate for continuous integration: are the files there and whole, and do they keep what was asked of them?

Looks at bytes, cards and reports only, and never loads a model, so that it runs anywhere and at once. Nothing here
raises for a bad file: every problem is a finding, and all of them are returned.
"""

from edgekd.checks.artifact import Checked, Question
from edgekd.checks.cards import read_card
from edgekd.checks.findings import Verdict, exit_code, verdict_of
from edgekd.checks.limits import Comparison, Limit
from edgekd.checks.paths import artifacts_of, check, check_paths
from edgekd.checks.quantities import Known

__all__ = [
    "Checked",
    "Comparison",
    "Known",
    "Limit",
    "Question",
    "Verdict",
    "artifacts_of",
    "check",
    "check_paths",
    "exit_code",
    "read_card",
    "verdict_of",
]
