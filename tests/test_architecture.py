"""Imports go one way, and only the outermost layer knows argv, the environment and the clock."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "readmit_spark"

# room -> (rooms of the package it may import, libraries it may not)
HEAVY = {"torch", "transformers", "mlflow"}
RULES = {
    "core": ({"errors", "core"}, {"pyspark", "boto3", *HEAVY}),
    "report": ({"errors", "core", "report"}, {"pyspark", "boto3", *HEAVY}),
    "demo": ({"errors", "core", "demo"}, {"pyspark", "boto3", *HEAVY}),
    "storage.py": ({"errors"}, {"pyspark", "boto3", *HEAVY}),
    "models": ({"errors", "config", "core", "storage", "models"}, {"pyspark", "boto3"}),
    "spark": ({"errors", "config", "core", "java", "storage", "spark"}, HEAVY),
    "emr": ({"errors", "config", "code_version", "progress", "emr"}, {"pyspark", *HEAVY}),
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top_level_imports(tree: ast.Module) -> set[str]:
    """Modules that importing the file imports; those inside functions run on the executor."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0]
    if room not in RULES:
        return
    allowed, forbidden = RULES[room]
    for name in top_level_imports(ast.parse(path.read_text())):
        parts = name.split(".")
        if parts[0] == "readmit_spark" and len(parts) > 1:
            assert parts[1] in allowed, f"{path.name} imports {name}"
        assert parts[0] not in forbidden, f"{path.name} imports {name}"


OUTERMOST = {"cli.py", "java.py", "progress.py"}
# What the executor's own process needs to be told, and the driver's Java.
ENVIRONMENT = {"spark/session.py", "spark/score.py"}


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_argv_environment_and_clock_stay_outside(path: Path) -> None:
    relative = str(path.relative_to(PACKAGE))
    if relative in OUTERMOST:
        return
    source = path.read_text()
    assert "sys.argv" not in source
    assert "datetime.now(" not in source and "datetime.today(" not in source
    if relative not in ENVIRONMENT:
        assert "os.environ" not in source and "os.getenv" not in source


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").glob("*.py")), ids=lambda p: p.name)
def test_jobs_are_thin(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 60


def test_jobs_that_score_do_not_wait_for_training_to_be_imported() -> None:
    """torch and transformers' Trainer take longer to import than a small night takes."""
    code = (
        "import sys, readmit_spark.steps.prepare, readmit_spark.steps.score, "
        "readmit_spark.steps.nightly; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
