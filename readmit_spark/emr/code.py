"""Collect the files that a cluster needs: package, jobs, configuration and bootstrap script."""

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
    """Files by name, and the s3:// folder for them.

    The folder's name is a hash of the content. Therefore the code of a running cluster never
    changes, and an existing folder has the same content.
    """

    folder: str
    files: Mapping[str, bytes]

    def uri(self, name: str) -> str:
        """Return the file's s3:// URI; raise a UserError if there is no such file."""
        if name not in self.files:
            raise UserError(f"this clone has no {name} to send to a cluster")
        return f"{self.folder}/{name}"


def collect_code(config: Config, root: Path) -> Code:
    """Collect the files of the clone at `root`; raise a UserError if it is not a clone."""
    if not (root / "setup.py").exists():
        raise UserError(f"{root} is not a clone of the project: run jobs/emr_submit.py from one")
    files = {path.name: path.read_bytes() for path in sorted((root / "jobs").glob("*.py"))}
    files[BOOTSTRAP] = (root / BOOTSTRAP).read_bytes()
    files[PACKAGE] = package_zip(root, code_version())
    return with_run_config(config, files)


def with_run_config(config: Config, files: Mapping[str, bytes]) -> Code:
    """Add the run's configuration to `files` and name their folder below emr.prefix."""
    prefix = required(config.emr.prefix, "emr.prefix").rstrip("/")
    if urlsplit(prefix).scheme != "s3":
        raise UserError(f"emr.prefix is {prefix}: write it as s3://BUCKET/FOLDER")
    all_files = {**files, RUN_CONFIG: run_config(config).encode()}
    digest = hashlib.sha256()
    for name, content in sorted(all_files.items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return Code(f"{prefix}/code/{digest.hexdigest()[:16]}", all_files)


def run_config(config: Config) -> str:
    """Return the configuration as YAML, from which `load_config` restores an equal one."""
    plain = {
        key: {k: list(v) if isinstance(v, tuple) else v for k, v in value.items()}
        if isinstance(value, dict)
        else list(value) if isinstance(value, tuple) else value
        for key, value in to_dict(config).items()
    }  # fmt: skip
    text: str = yaml.safe_dump(plain, sort_keys=False)
    return text


def package_zip(root: Path, version: str) -> bytes:
    """Return the package of the clone at `root` as a zip that Python can import from.

    The zip has the layout of an installed package, and `version` in its metadata. The same source
    gives the same bytes.
    """
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
