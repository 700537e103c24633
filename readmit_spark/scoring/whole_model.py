"""Load a model whole or not at all: every weight comes from its folder (docs/inputs.md)."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Iterator
from typing import Any

import torch
from transformers import AutoModel, PreTrainedModel
from transformers.utils import logging as transformers_logging

from readmit_spark.errors import UserError, reason
from readmit_spark.scoring.weight_files import read_weights, without_wrapper

# A model of the folder's own size, or with a new head, is never this much larger than its files.
_MOST_WEIGHTS = 10


def load_whole(
    kind: Any,
    folder: str,
    settings: Any,
    *,
    other_head: bool = False,
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
) -> Any:
    """Load the model in `folder`, on the CPU and in eval mode.

    kind: one of transformers' Auto classes. settings: of the model, as `read_settings` returns
    them. other_head: the caller wants another head than the folder has. One that the folder lacks
    is then initialised at random, and one that the caller does not use is left out. attention:
    transformers' `attn_implementation`; None lets transformers choose.

    UserError if any other weight is missing, unknown or of another shape. It names the first and
    their number.
    """
    weights = read_weights(folder)
    _check_size(folder, settings, len(weights))
    empty = _empty(folder, lambda: kind.from_config(settings, trust_remote_code=False))
    weights = without_wrapper(weights, empty.base_model_prefix)
    target: Any = type(empty)
    size, stored = empty.num_parameters(), sum(tensor.numel() for tensor in weights.values())
    if size > _MOST_WEIGHTS * stored:
        raise UserError(
            f"model.path: {folder}: config.json describes a model of {size:,} numbers, and the "
            f"files hold {stored:,}: they do not belong together"
        )
    with quiet():
        try:
            # Without a folder, so that transformers reads no file that was not checked here.
            model, report = target.from_pretrained(
                None, config=settings, state_dict=weights, dtype=dtype,
                attn_implementation=attention, output_loading_info=True,
                ignore_mismatched_sizes=True,  # reported, and refused below
            )  # fmt: skip
        except Exception as error:  # whatever it is, it comes from the folder
            raise UserError(
                f"model.path: {folder}: the weights cannot be loaded ({reason(error)})"
            ) from None
    _check_whole(report, empty, folder, settings, other_head)
    model.name_or_path = model.config.name_or_path = folder
    return model.eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide progress bars, warnings and loading reports from a worker's log."""
    had_progress_bar = transformers_logging.is_progress_bar_enabled()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_progress_bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _empty(folder: str, build: Callable[[], PreTrainedModel]) -> PreTrainedModel:
    """Return the model that config.json describes, without memory for its weights."""
    try:
        with quiet(), torch.device("meta"):
            return build()
    except Exception as error:  # whatever it is, it comes from config.json
        raise UserError(
            f"model.path: {folder}/config.json describes no model that can be built "
            f"({reason(error)})"
        ) from None


def _check_size(folder: str, settings: Any, tensors: int) -> None:
    """UserError before time is spent on many more layers than the files can hold."""
    layers = getattr(settings, "num_hidden_layers", None) or 0
    if layers > tensors:
        raise UserError(
            f"model.path: {folder}: config.json describes {layers:,} layers, and the files hold "
            f"{tensors:,} weights: they do not belong together"
        )


def _check_whole(
    report: Any, empty: PreTrainedModel, folder: str, settings: Any, other_head: bool
) -> None:
    own = f"{empty.base_model_prefix}."
    missing, unknown = set(report["missing_keys"]), set(report["unexpected_keys"])
    if other_head:
        encoder, required = _encoder_names(folder, settings)
        parts = {name.partition(".")[0] for name in encoder}
        missing = {n for n in missing if n.removeprefix(own) in required}
        unknown = {
            n
            for n in unknown
            if (n.startswith(own) or n.partition(".")[0] in parts)
            and n.removeprefix(own) not in encoder  # a pooler that the caller's model lacks
        }
    _refuse(folder, "lacks", missing)
    _refuse(folder, "has unknown", unknown)
    other_shapes = {
        f"{name} of shape {list(found)} instead of {list(needed)}"
        for name, found, needed in report["mismatched_keys"]
    }
    _refuse(folder, "has unfitting", other_shapes)
    if report["error_msgs"]:
        raise UserError(f"model.path: {folder}: some weights cannot be converted")


def _encoder_names(folder: str, settings: Any) -> tuple[set[str], set[str]]:
    """Return the names of the encoder's weights, and those of them that the folder must have.

    A model for masked words is published without a pooler, which is then new, like the head.
    """
    encoder = _empty(folder, lambda: AutoModel.from_config(settings, trust_remote_code=False))
    names = set(encoder.state_dict())
    declared = (settings.architectures or [""])[0]
    if not declared.endswith("ForMaskedLM"):
        return names, names
    return names, {name for name in names if not name.startswith("pooler.")}


def _refuse(folder: str, verb: str, names: Collection[str]) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise UserError(
            f"model.path: {folder} {verb} weights: {min(names)}{more}; config.json may belong to "
            "another model"
        )
