"""Write the results of a benchmark to bench/results."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results"


def write_result(
    name: str, machine: dict[str, Any], figures: dict[str, Any], *, full: bool
) -> Path:
    """Write machine, command and figures to results/NAME.json, and return its path.

    With full=False the file is NAME_small.json, so that a quick run never replaces published
    figures. machine: from `describe`.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}{'' if full else '_small'}.json"
    command = " ".join(["python", *sys.argv])
    content = {"machine": machine, "command": command, **figures}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path
