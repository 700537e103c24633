"""Fetch a model from the Hugging Face hub, only when `model.path` says `hub:`."""

from __future__ import annotations

import re
from pathlib import Path

from readmit_spark.errors import UserError, reason

# What the readers of a model folder use; a repository may hold other formats, gigabytes each.
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin")


def fetch_from_hub(path: str) -> tuple[str, str]:
    """Fetch hub:NAME@REVISION. Return its folder in the hub's local cache and NAME@COMMIT.

    REVISION is a commit, a tag or a branch; COMMIT the first 12 digits of what it is now. Tables,
    manifests, model cards and MLflow show it as part of the model's name. UserError if no revision
    is given or the model cannot be fetched.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    match = re.fullmatch(r"hub:([\w.-]+(?:/[\w.-]+)?)@([\w./-]+)", path)
    if match is None:
        raise UserError(
            f"model.path: {path}: write it hub:NAME@REVISION, with the commit or tag to use, such "
            "as hub:emilyalsentzer/Bio_ClinicalBERT@main"
        )
    name, revision = match.groups()
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES)))
    except (OSError, ValueError, HfHubHTTPError) as error:
        raise UserError(f"model.path: {path} cannot be fetched: {reason(error)}") from None
    return str(folder), f"{name}@{folder.name[:12]}"  # the cache names the folder by the commit
