"""What a cluster runs: this package as a zip, the jobs, the configuration, the bootstrap."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import yaml

from readmit_spark.code_version import code_version
from readmit_spark.config import Config, required, to_dict
from readmit_spark.errors import UserError

BOOTSTRAP = "emr_bootstrap.sh"
PACKAGE = "readmit_spark.zip"
RUN_CONFIG = "run.yaml"


@dataclass(frozen=True)
class Code:
    """Files by name, and the s3:// folder they go to.

    The folder is named by their content: what runs on a cluster never changes under it, and a
    folder that is there already holds the same.
    """

    folder: str
    files: Mapping[str, bytes]

    def uri(self, name: str) -> str:
        """Where the file goes; a UserError where there is no such file."""
        if name not in self.files:
            raise UserError(f"this clone has no {name} to send to a cluster")
        return f"{self.folder}/{name}"


def collect(config: Config, root: Path) -> Code:
    """Gathers the files of the clone at `root`. UserError outside a clone."""
    if not (root / "setup.py").exists():
        raise UserError(f"{root} is not a clone of the project: run jobs/emr_submit.py from one")
    files = {path.name: path.read_bytes() for path in sorted((root / "jobs").glob("*.py"))}
    files[BOOTSTRAP] = (root / BOOTSTRAP).read_bytes()
    files[PACKAGE] = package(root, code_version())
    return code_of(config, files)


def code_of(config: Config, files: Mapping[str, bytes]) -> Code:
    """`files` with the run's whole configuration, at their place below emr.prefix."""
    prefix = required(config.emr.prefix, "emr.prefix").rstrip("/")
    if urlsplit(prefix).scheme != "s3":
        raise UserError(f"emr.prefix is {prefix}: write it as s3://BUCKET/FOLDER")
    every = {**files, RUN_CONFIG: run_config(config).encode()}
    digest = hashlib.sha256()
    for name, content in sorted(every.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return Code(f"{prefix}/code/{digest.hexdigest()[:16]}", every)


def run_config(config: Config) -> str:
    """The configuration as a YAML file that `load_config` reads back to an equal one."""
    plain = {
        key: {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
        if isinstance(value, dict)
        else list(value) if isinstance(value, tuple) else value
        for key, value in to_dict(config).items()
    }  # fmt: skip
    return yaml.safe_dump(plain, sort_keys=False)


def package(root: Path, version: str) -> bytes:
    """The package of the clone at `root` as a zip that Python imports from, laid out as it is
    installed; the same bytes for the same source. `version` is what it says of itself there."""
    files = {
        str(path.relative_to(root)): path
        for path in (root / "readmit_spark").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files["readmit_spark/conf/base.yaml"] = root / "conf" / "base.yaml"
    out = io.BytesIO()
    with ZipFile(out, "w", ZIP_DEFLATED) as archive:
        metadata = f"Metadata-Version: 2.1\nName: readmit-spark\nVersion: {version}\n"
        archive.writestr(ZipInfo("readmit_spark-run.dist-info/METADATA"), metadata)
        for name, path in sorted(files.items()):
            archive.writestr(ZipInfo(name), path.read_bytes(), ZIP_DEFLATED)
    return out.getvalue()
