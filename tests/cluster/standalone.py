"""A standalone Spark cluster on this machine: a master, and one worker for each node.

A node has its own address (127.0.0.x), work folder, environment and GPUs. Its `nvidia-smi` is a
small script, which the discovery script of EMR's nodes calls. Its Python can import this clone's
dependencies but not the clone, so it gets the package only through --py-files.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path

import pyspark

from readmit_spark.emr.code import package_zip
from readmit_spark.emr.request import read_shape
from readmit_spark.storage.java import java_home

ROOT = Path(__file__).parents[2]
SPARK = Path(pyspark.__file__).parent
_START = 300.0  # seconds
_NOT_ON_NODES = ("pyspark", "py4j", "readmit", "__editable__", "__pycache__")
# These Java processes end before code of the second compiler would pay off.
_SHORT_LIVED = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


@dataclass
class Node:
    name: str
    host: str
    process: subprocess.Popen[bytes]
    log: Path

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)


class Cluster:
    """A running cluster. nodes: name -> GPU addresses; a node has one core for each GPU."""

    def __init__(self, folder: Path, nodes: dict[str, list[str]]) -> None:
        self.folder = folder
        self.nodes: dict[str, Node] = {}
        self._gpus = nodes
        self.python = _python(folder / "python")
        self.code = folder / "readmit_spark.zip"
        self.code.write_bytes(package_zip(ROOT, "0.1.0"))
        port = _free_port()
        self.master = f"spark://127.0.0.1:{port}"
        self._master = self._daemon(
            "master", "org.apache.spark.deploy.master.Master",
            ["--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"], [],
        )  # fmt: skip
        for name in nodes:
            self.start(name)

    def start(self, name: str) -> None:
        """Start the node `name`, or start it again; return when the master has registered it."""
        host = f"127.0.0.{2 + list(self._gpus).index(name)}"
        folder = self.folder / name
        smi = folder / "bin/nvidia-smi"
        smi.parent.mkdir(parents=True, exist_ok=True)
        indices = "\\n".join(self._gpus[name])
        smi.write_text(f"#!/bin/sh\nprintf '{indices}\\n'\n")
        smi.chmod(0o755)
        (folder / "worker.conf").write_text(
            f"spark.worker.resource.gpu.amount {len(self._gpus[name])}\n"
            f"spark.worker.resource.gpu.discoveryScript {ROOT}/conf/gpu_addresses.sh\n"
            "spark.decommission.enabled true\n"
        )
        self.nodes[name] = self._daemon(
            name, "org.apache.spark.deploy.worker.Worker",
            ["--host", host, "--webui-port", "0", "--cores", str(len(self._gpus[name])),
             "--memory", "3g", "--work-dir", str(folder / "work"),
             "--properties-file", str(folder / "worker.conf"), self.master],
            [str(smi.parent)],
        )  # fmt: skip
        _wait(self.nodes[name].log, "Successfully registered with master")

    def _daemon(self, name: str, main: str, arguments: list[str], path: list[str]) -> Node:
        folder = self.folder / name
        (folder / "cwd").mkdir(parents=True, exist_ok=True)
        log = folder / f"log-{time.monotonic_ns()}"
        process = subprocess.Popen(
            [SPARK / "bin/spark-class", main, *arguments],
            cwd=folder / "cwd", env=self._environment(path), stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        if name == "master":
            _wait(log, "Starting Spark master")
        return Node(name, arguments[1], process, log)

    def _environment(self, path: list[str]) -> dict[str, str]:
        """Return an environment without this process's PYTHONPATH and virtual environment."""
        return {
            "PATH": ":".join([*path, "/usr/local/bin", "/usr/bin", "/bin"]),
            "JAVA_HOME": str(java_home(os.environ)),
            "SPARK_HOME": str(SPARK),
            "SPARK_NO_DAEMONIZE": "1",
            "SPARK_DAEMON_MEMORY": "256m",
            "SPARK_DAEMON_JAVA_OPTS": _SHORT_LIVED,
            "HOME": str(self.folder),
        }

    def submit(
        self,
        program: Path,
        *arguments: str,
        master: str | None = None,
        py_files: tuple[Path, ...] = (),
        conf: dict[str, str] | None = None,
    ) -> subprocess.Popen[str]:
        """Run spark-submit in an empty folder, with the Spark settings of score on EMR."""
        master = master or self.master
        slots = sum(map(len, self._gpus.values()))
        settings = self._shape(slots, gpus=master == self.master) | (conf or {})
        files = ",".join(map(str, (self.code, *py_files)))
        (self.folder / "driver").mkdir(exist_ok=True)
        return subprocess.Popen(
            [
                str(SPARK / "bin/spark-submit"), "--master", master, "--py-files", files,
                *(part for key, value in settings.items() for part in ("--conf", f"{key}={value}")),
                str(program), *arguments,
            ],
            cwd=self.folder / "driver", env=self._environment([]), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _shape(self, slots: int, gpus: bool) -> dict[str, str]:
        """Return the settings of conf/spark-emr-score.conf, reduced to this machine."""
        shipped = {
            key: value
            for key, value in read_shape(ROOT / "conf/spark-emr-score.conf").items()
            if not re.search(r"yarn|memoryOverhead|pyspark|discoveryScript|_CACHE_DIR", key)
            and (gpus or "gpu" not in key)
        }
        return shipped | {
            "spark.pyspark.python": str(self.python),
            "spark.pyspark.driver.python": str(self.python),
            "spark.default.parallelism": str(slots),
            "spark.sql.shuffle.partitions": str(slots),
            "spark.executor.cores": "1",
            "spark.task.cpus": "1",
            "spark.executor.memory": "512m",
            "spark.driver.memory": "1g",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.ui.enabled": "false",
            "spark.driver.extraJavaOptions": _SHORT_LIVED,
            "spark.executor.extraJavaOptions": _SHORT_LIVED,
            "spark.local.dir": str(self.folder / "scratch"),
        }

    def stop(self) -> None:
        for node in (*self.nodes.values(), self._master):
            node.process.terminate()
        for node in (*self.nodes.values(), self._master):
            node.process.wait(30)


def _python(folder: Path) -> Path:
    """Create a Python environment like that of EMR's nodes.

    It has the dependencies of this clone, but neither the clone nor pyspark: those come from the
    zip files that Spark puts on the path, and a zip has no package metadata.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.lower().startswith(_NOT_ON_NODES) and path.suffix != ".pth":
            (site / path.name).symlink_to(path)
    return folder / "bin/python"


def _wait(log: Path, text: str) -> None:
    end = time.monotonic() + _START
    while text not in log.read_text():
        if time.monotonic() > end:
            raise TimeoutError(f"no {text!r} in {log}:\n{log.read_text()[-2000:]}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
