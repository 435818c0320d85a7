"""What a tenant wants done about duplicates."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class DuplicatePolicy:
    """A tenant's policy.

    Attributes
    ----------
    action : list duplicates for review; also refuse to take a file a second time; also merge exact copies.
    undo_seconds : how long a merge can be undone.
    """

    action: Literal["report", "reject", "auto-merge-exact"] = "report"
    undo_seconds: int = 7 * 86_400


REPORT = DuplicatePolicy()
"""Of tenants that have none of their own."""
