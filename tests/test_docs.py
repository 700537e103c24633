"""The documents are true: links, commands, keys, files, tables and terms in them exist."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

from readmit_spark import cli
from readmit_spark.config import flatten
from readmit_spark.config_file import base_yaml, load_config
from readmit_spark.emr import steps
from readmit_spark.nightly.worklist_page import CSV_COLUMNS
from readmit_spark.storage.output_tables import EXAMPLES, OUTPUT_TABLES

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "bench/README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
OWN_CONFIG = "conf/hospital.yaml"  # the reader's own file, which the README shows
BASH = "sh"

pages = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


# --- reading a page -------------------------------------------------------------------------------


def prose(text: str) -> str:
    """Return the page without its code blocks."""
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)


def code_blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield (language, content) of each fenced block."""
    for match in re.finditer(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield match.group(1), match.group(2)


def code_spans(text: str) -> list[str]:
    """Return the texts between single backticks."""
    return re.findall(r"`([^`\n]+)`", prose(text))


def code(text: str) -> str:
    return "\n".join([*(content for _, content in code_blocks(text)), *code_spans(text)])


@cache
def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page.read_text()), re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        count = 0
        while (slug := f"{kept}-{count}" if count else kept) in found:
            count += 1
        found.add(slug)
    return found


@cache
def repository_files() -> list[str]:
    folders = ("bench", "conf", "docs", "jobs", "readmit_spark", "requirements", "tests")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    found += [path for path in ROOT.iterdir() if path.is_file()]
    return [path.relative_to(ROOT).as_posix() for path in found]


# --- links, files, targets ------------------------------------------------------------------------


@pages
def test_relative_links_have_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} does not exist"
        if anchor:
            assert anchor in anchors(linked), f"{target}: no such heading"


@pages
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][\w-]*)", code(page.read_text())))
    assert named <= targets


@pages
def test_files_exist(page: Path) -> None:
    """Files of the repository that the page names in code. Capitals (NAME, JOB) stand for any."""
    files = repository_files()
    shown = re.findall(
        r"(?<![\w./-])(?:[\w.-]+/)*[\w.-]+\.(?:py|yaml|conf|sh|j2)\b", code(page.read_text())
    )
    for name in set(shown) - {OWN_CONFIG}:
        if re.search(r"[A-Z]{3}", name):
            continue
        assert any(f"/{file}".endswith(f"/{name}") for file in files), f"there is no file {name}"


def test_readme_names_every_job() -> None:
    jobs = {path.name for path in (ROOT / "jobs").glob("*.py")} - {
        "demo_summary.py",  # steps of `make demo` and `make compare`
        "demo_compared.py",
    }
    text = README.read_text()
    assert {name for name in jobs if f"`jobs/{name}`" not in text} == set()


def test_readme_is_short() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    assert len(text.split()) <= 2000


# --- configuration and commands -------------------------------------------------------------------


@pages
def test_configuration_keys_exist(page: Path) -> None:
    known = set(flatten(yaml.safe_load(base_yaml())))
    sections = {key.partition(".")[0] for key in known if "." in key}
    for span in code_spans(page.read_text()):
        match = re.match(r"([a-z_]+)\.([a-z_]+)(?:=.*)?$", span)
        file = match and match.group(2) in {"json", "html", "py", "csv", "md", "png", "safetensors"}
        if match and not file and match.group(1) in sections:
            assert f"{match.group(1)}.{match.group(2)}" in known, f"there is no key {span}"


def own_config(folder: Path) -> Path:
    """The configuration that the README shows, as a file."""
    shown = next(content for kind, content in code_blocks(README.read_text()) if kind == "yaml")
    file = folder / "hospital.yaml"
    file.write_text(shown)
    return file


def test_the_configuration_in_the_readme_loads(tmp_path: Path) -> None:
    assert load_config(own_config(tmp_path)).output_root == "/data/readmit"


def job_commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """(job, arguments) of each command line that runs a job, or `readmit run`."""
    for kind, content in code_blocks(text):
        if kind not in (BASH, ""):
            continue
        for line in content.replace("\\\n", " ").splitlines():
            match = re.search(r"\bjobs/(\w+)\.py\b(.*)", line)
            if not match or not ("python" in line or "spark-submit" in line):
                match = re.match(r"\s*readmit (\w+)(.*)", line)
            if match:
                words = shlex.split(match.group(2), comments=True)
                stop = [i for i, word in enumerate(words) if word in (">", ">>", "|", "&&", "||")]
                job = {"night": "nightly"}.get(match.group(1), match.group(1))
                yield job, words[: stop[0] if stop else None]


def arguments_of(job: str) -> Callable[[argparse.ArgumentParser], object] | None:
    """`arguments` of jobs/JOB.py, without importing Spark and torch as the job does."""
    if job in ("run", "check"):
        return None
    tree = ast.parse((ROOT / "jobs" / f"{job}.py").read_text())
    functions = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "arguments"]
    if not functions:
        return None
    names = {"argparse": argparse, "Path": Path, "CONF": ROOT / "conf", "steps": steps}
    exec(compile(ast.Module(functions, type_ignores=[]), job, "exec"), names)
    return names["arguments"]  # type: ignore[return-value]


@pages
def test_commands_parse(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments and configuration of every job command are accepted; nothing runs."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HADOOP_CONF_DIR", "of a cluster")  # so paths are not looked for here
    own = str(own_config(tmp_path))
    for job, words in job_commands(page.read_text()):
        line = f"jobs/{job}.py {' '.join(words)}"
        given = [own if word == OWN_CONFIG else word for word in words]
        try:
            done = cli.run(job, "", lambda *_: None, given, arguments_of(job))
        except SystemExit:
            done = cli.USER_ERROR
        assert done == cli.OK, f"{line}: {capsys.readouterr().err}"


def test_there_are_commands_to_check() -> None:
    found = {job for page in PAGES for job, _ in job_commands(page.read_text())}
    assert {"run", "prepare", "finetune", "nightly", "explain", "emr_submit"} <= found


# --- method, tables, glossary ---------------------------------------------------------------------


def test_sections_of_the_method_that_the_code_names_exist() -> None:
    headings = re.findall(r"^## (\d+)\. ", (ROOT / "docs/method.md").read_text(), re.MULTILINE)
    assert headings == [str(i) for i in range(1, len(headings) + 1)]
    named = set()
    for path in (ROOT / "readmit_spark").rglob("*.py"):
        named |= set(re.findall(r"docs/method\.md,\s+section (\d+)", path.read_text()))
    assert named
    assert named <= set(headings)


def test_documents_that_the_code_names_exist() -> None:
    for path in [*(ROOT / "readmit_spark").rglob("*.py"), *(ROOT / "conf").rglob("*")]:
        if path.is_file():
            for name in re.findall(r"\bdocs/[\w-]+\.md", path.read_text(errors="ignore")):
                assert (ROOT / name).exists(), f"{path}: {name}"


Table = tuple[list[tuple[str, str]], tuple[str, ...], tuple[str, ...]]


def documented_tables() -> dict[tuple[str, str], Table]:
    """(job, table) -> columns with types, key and partition columns, as docs/tables.md has them."""
    text = (ROOT / "docs/tables.md").read_text()
    found: dict[tuple[str, str], Table] = {}
    for job, name, body in re.findall(
        r"^## (\w+): (\w+)\n(.*?)(?=^## )", text, re.DOTALL | re.MULTILINE
    ):
        columns = re.findall(r"^\| `(\w+)` \| ([^|]+?) \| [^|]+ \|$", body, re.MULTILINE)
        key = re.search(r"Key: ((?:`\w+`(?:, )?)+)\.", body)
        partitions = re.findall(r"^\| `(\w+)` \|[^|]+\| partition column \|$", body, re.MULTILINE)
        found[job, name] = (
            columns,
            tuple(re.findall(r"\w+", key.group(1))) if key else (),
            tuple(partitions),
        )
    return found


def test_the_documented_tables_are_those_that_jobs_publish() -> None:
    """Names, columns in order, types, keys and partitioning. Partition columns come last, as they
    do when a table is read."""
    published = {
        (job, name): table
        for job, tables in OUTPUT_TABLES.items()
        for name, table in tables.items()
    }
    published["pretrain", "examples_N"] = EXAMPLES
    expected: dict[tuple[str, str], Table] = {}
    for name, table in published.items():
        fields = sorted(table.schema, key=lambda field: field.name in table.partition_by)
        columns = [(field.name, field.dataType.simpleString()) for field in fields]
        expected[name] = (columns, table.key, table.partition_by)
    assert documented_tables() == expected


def test_the_documented_columns_of_the_worklist_are_those_of_the_file() -> None:
    section = (ROOT / "docs/tables.md").read_text().partition("`worklist.csv` has")[2]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert tuple(documented) == CSV_COLUMNS


def test_core_objects_are_where_the_architecture_says() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| ((?:`[A-Z]\w+`(?:, )?)+) \| `([\w/]+\.py)` \|", text, re.MULTILINE)
    assert len(rows) > 5
    for names, file in rows:
        source = (ROOT / "readmit_spark" / file).read_text()
        for name in re.findall(r"\w+", names):
            assert re.search(rf"^class {name}\b", source, re.MULTILINE), f"no {name} in {file}"


def test_every_term_of_the_glossary_is_used() -> None:
    glossary = ROOT / "docs/glossary.md"
    terms = re.findall(r"^\| ([^|]+?) \|", glossary.read_text(), re.MULTILINE)[1:]
    suffixes = (".py", ".md", ".yaml", ".j2")
    others = [ROOT / name for name in repository_files() if name.endswith(suffixes)]
    text = " ".join(path.read_text() for path in others if path != glossary).lower()
    folded = re.sub(r"[\s_]+", " ", text)
    assert len(terms) > 50
    assert [term for term in terms if term.lower() not in folded] == []
    assert terms == sorted(terms, key=str.lower)
