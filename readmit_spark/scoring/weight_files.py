"""Read the weights of a model folder: all of them, or none. No code in a file is run."""

from __future__ import annotations

import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from readmit_spark.errors import UserError

if TYPE_CHECKING:  # the driver of a scoring job checks that the files are there, without torch
    from torch import Tensor

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in this order, as transformers chooses
_INDEX = ".index.json"
_LFS_POINTER = b"version https://git-lfs"
# What tools put before every name: DataParallel, Lightning, torch.compile, Lightning Fabric.
_WRAPPERS = {"module", "model", "_orig_mod", "_forward_module"}
# Constants that old versions of transformers saved among the weights.
_CONSTANTS = ("position_ids", "token_type_ids")
_LONGEST_HEADER = 100 << 20  # bytes, as safetensors allows
_HEAD = re.compile(rb"(?<![\w.])(?:\w+\.)*(?:classifier|score|logits_proj)\.(?:\w+\.)*weight")
_TYPES = ("float32", "bfloat16", "float16", "float64")
# Errors that torch.load raises for a truncated or damaged file.
_DAMAGED = (
    RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, OSError,
    struct.error,
)  # fmt: skip


def find_weights(folder: str) -> dict[Path, set[str] | None]:
    """Return the files of weights in `folder`, each with the names that its index lists.

    The names are None for a model in one file, which has no index. UserError if there are none, if
    one that the index names is missing, lies elsewhere, or is a Git LFS pointer.
    """
    for name in WEIGHTS:
        single, index = Path(folder, name), Path(folder, name + _INDEX)
        if single.is_file() and index.is_file():
            raise UserError(
                f"model.path: {folder} has {name} and {index.name}: two models; delete one of them"
            )
        if not single.is_file() and not index.is_file():
            continue
        files = {single: None} if single.is_file() else _shards(index)
        for file in files:
            _check_content(file)
        return dict(files)
    raise UserError(f"model.path: {folder} has no weights ({' or '.join(WEIGHTS)})")


def find_head(folder: str) -> str | None:
    """Return the name of a weight of a classification head, or None if the files have none.

    Only names are read, without torch. Errors of `find_weights`.
    """
    for path in find_weights(folder):
        names = (match.group().decode() for match in _HEAD.finditer(_with_names(path)))
        found = next(names, None)
        if found:
            return found
    return None


def _with_names(path: Path) -> bytes:
    """Return the part of a file that has the names of its weights."""
    with path.open("rb") as file:
        start = file.read(8)
        if path.suffix == ".safetensors":
            return file.read(min(int.from_bytes(start, "little"), _LONGEST_HEADER))
        if start[:2] == b"PK":
            try:
                with zipfile.ZipFile(path) as parts:
                    name = next(n for n in parts.namelist() if n.endswith("/data.pkl"))
                    return parts.read(name)
            except (zipfile.BadZipFile, StopIteration, OSError):
                return b""  # `read_weights` says what is wrong
        return file.read(_LONGEST_HEADER)  # before version 1.6 of torch the names came first


def read_weights(folder: str) -> dict[str, Tensor]:
    """Return the weights in `folder` by name, as they are stored.

    UserError if a file is damaged, holds something else than weights, or does not hold what its
    index lists, or if a number is not finite. Errors of `find_weights`.
    """
    weights: dict[str, Tensor] = {}
    for file, listed in find_weights(folder).items():
        part = read_file(file)
        if listed is not None and part.keys() != listed:
            odd = sorted(listed ^ part.keys())
            raise UserError(
                f"model.path: {file} does not hold what its index lists: {odd[0]}{_more(odd)}"
            )
        weights |= part
    kept = {n: tensor for n, tensor in weights.items() if not n.endswith(_CONSTANTS)}
    if not kept:
        raise UserError(f"model.path: {folder} has files of weights with no weight in them")
    check_numbers(kept, f"model.path: {folder}")
    return kept


def read_file(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file of safetensors or of torch.save, by name."""
    _check_content(path)
    stored = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path)
    by_name = isinstance(stored, Mapping) and all(isinstance(name, str) for name in stored)
    if not by_name or not all(_is_plain(value) for value in stored.values()):
        raise UserError(f"{path} is not a dictionary of weights by name (a state_dict)")
    return dict(stored)


def check_numbers(weights: Mapping[str, Tensor], where: str) -> None:
    """UserError if a weight is of another type than `_TYPES`, or not finite. where: the file."""
    unfit = sorted(n for n, tensor in weights.items() if _type(tensor) not in _TYPES)
    if unfit:
        raise UserError(
            f"{where}: {unfit[0]}{_more(unfit)} has numbers of type {_type(weights[unfit[0]])}: "
            "quantised models are not read; weights in fp32, bf16 or fp16 are needed"
        )
    unfit = sorted(n for n, tensor in weights.items() if not _is_finite(tensor))
    if unfit:
        raise UserError(
            f"{where}: {unfit[0]}{_more(unfit)} has a number that is not finite: it is damaged"
        )


def without_wrapper(weights: dict[str, Tensor], own: str = "") -> dict[str, Tensor]:
    """Take off the prefixes that tools put before every name, such as `module.`, nested ones too.

    own: the prefix that the architecture itself gives to its encoder, which stays.
    """
    first = {name.partition(".")[0] for name in weights}
    if len(first) != 1 or not first <= _WRAPPERS - {own}:
        return weights
    return without_wrapper({n.partition(".")[2]: tensor for n, tensor in weights.items()}, own)


def _shards(index: Path) -> dict[Path, set[str] | None]:
    _check_content(index)
    try:
        parts = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        named = {(str(weight), str(file)) for weight, file in parts.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise UserError(f"model.path: {index} is damaged: no map of weights to files") from None
    if not named:
        raise UserError(f"model.path: {index} lists no weights")
    shards: dict[Path, set[str] | None] = {}
    for file in sorted({file for _, file in named}):
        if Path(file).name != file:
            raise UserError(f"model.path: {index} names a file outside its folder")
        path = index.parent / file
        if not path.is_file():
            raise UserError(f"model.path: {index.parent} lacks {file}, which {index.name} names")
        shards[path] = {weight for weight, shard in named if shard == file}
    return shards


def _check_content(path: Path) -> None:
    """UserError if a file is empty or only says where its content is."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_LFS_POINTER))
    except OSError:
        raise UserError(f"model.path: {path} cannot be read") from None
    if start == _LFS_POINTER:
        raise UserError(f"model.path: {path} is a Git LFS pointer, not the file: run git lfs pull")
    if not start:
        raise UserError(f"model.path: {path} is empty: it is damaged or truncated")


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        # Copies: what is read stays the same if the file is replaced meanwhile.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except (SafetensorError, *_DAMAGED):
        raise UserError(f"{path} is damaged or truncated, or no safetensors file") from None


def _torch_file(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # The full message would explain how to run the code in the file anyway.
        if "Unsupported" in str(error) or "weights only" in str(error).lower():
            reason = "contains more than weights, or no weights; no code in it was run"
        else:
            reason = "was not written by torch.save, or is damaged"
        raise UserError(f"{path} {reason}") from None
    except _DAMAGED:
        raise UserError(f"{path} is damaged or truncated: download it again") from None


def _is_plain(value: Any) -> bool:
    import torch

    return torch.is_tensor(value) and value.layout == torch.strided and not value.is_quantized


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _is_finite(tensor: Tensor) -> bool:
    return bool(tensor.float().isfinite().all())


def _more(names: list[str]) -> str:
    return f" and {len(names) - 1} more" if len(names) > 1 else ""
