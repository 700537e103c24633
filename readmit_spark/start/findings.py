"""One line of `readmit check`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the check."""

    state: Literal["ok", "warning", "missing"]
    line: str

    def __str__(self) -> str:
        return f"{self.state:<8} {self.line}"
