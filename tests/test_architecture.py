"""Import rules: rooms import only earlier rooms, and few modules use argv, environment or clock."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "readmit_spark"

# A file imports its own room and earlier ones. "base": the modules beside the rooms.
ROOMS = (
    "base",
    "storage",
    "pages",
    "notes",
    "evaluation",
    "scoring",
    "training",
    "nightly",
    "pretraining",
    "comparison",
    "insight",
    "demo",
    "emr",
    "start",
    "cli",
    "readmit",
)
MODEL_LIBRARIES = {"torch", "transformers", "mlflow"}
ALONE = {"demo", "emr", "start"}  # no room but the base and storage: they run without the pipeline


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join((PACKAGE.name, *path.relative_to(PACKAGE).with_suffix("").parts))


def room_of(module: str) -> str:
    """Return the room of a module of the package."""
    parts = module.split(".")
    if len(parts) > 1 and (PACKAGE / parts[1]).is_dir():
        return parts[1]
    return parts[1] if parts[1:] in (["cli"], ["readmit"]) else "base"


def imported(nodes: list[ast.stmt] | list[ast.AST]) -> set[str]:
    """Return the dotted names that these nodes import; `from a import b` is a.b."""
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] == PACKAGE.name}


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_a_file_imports_its_own_room_and_earlier_ones(path: Path) -> None:
    """Imports inside functions count as well."""
    room = room_of(module_name(path))
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    if room in ALONE:
        allowed = {"base", "storage", room}
    for name in own(imported(list(ast.walk(ast.parse(path.read_text()))))):
        assert room_of(name) in allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_no_file_imports_spark_and_a_model_library(path: Path) -> None:
    """At its top: what a function imports for itself, a worker pays for."""
    libraries = {name.split(".")[0] for name in imported(ast.parse(path.read_text()).body)}
    assert not ("pyspark" in libraries and libraries & MODEL_LIBRARIES)


def test_no_circle() -> None:
    files = {module_name(path).removesuffix(".__init__"): path for path in modules()}
    imports: dict[str, set[str]] = {}
    for name, path in files.items():
        names = own(imported(list(ast.walk(ast.parse(path.read_text())))))
        targets = {n if n in files else n.rpartition(".")[0] for n in names}
        imports[name] = (targets & files.keys()) - {name}
    while imports:
        free = {name for name, targets in imports.items() if not targets & imports.keys()}
        assert free, f"these modules import each other: {sorted(imports)}"
        imports = {name: targets for name, targets in imports.items() if name not in free}


OUTERMOST = {"readmit.py", "cli.py", "storage/java.py", "progress.py"}
# What the executor's own process needs to be told, and the driver's Java.
ENVIRONMENT = {"storage/session.py", "scoring/score_chunks.py"}


@pytest.mark.parametrize("path", modules(), ids=module_name)
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
        "import sys, readmit_spark.notes.prepare_job, readmit_spark.scoring.score_job, "
        "readmit_spark.nightly.nightly_job; print(sorted({'torch', 'transformers'} & "
        "set(sys.modules)))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == "[]"


# The loaders, which run no code of a folder and check what they get; the last reads what it wrote.
MAY_LOAD = {
    "scoring/whole_model.py", "scoring/load_tokenizer.py", "scoring/classifier.py",
    "scoring/convert_checkpoint.py",
}  # fmt: skip


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_only_the_loaders_read_a_model_folder(path: Path) -> None:
    source = path.read_text()
    loads = re.findall(r"(?<!Embedding)\.from_pretrained\(|torch\.load\(", source)
    relative = str(path.relative_to(PACKAGE))
    assert not loads or relative in MAY_LOAD | {
        "scoring/weight_files.py",
        "training/checkpoints.py",
    }
    assert all(
        "trust_remote_code=False" in call
        for call in re.findall(r"Auto\w+\.from_\w+\([^)]*", source)
    )
