"""A model is loaded whole or not at all: the kinds of model folders, and what becomes of each."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertModel

from readmit_spark.errors import UserError
from readmit_spark.pretraining.pretrain import load_start_model
from readmit_spark.pretraining.similarity import embed
from readmit_spark.scoring.classifier import load_for_training
from readmit_spark.scoring.engines import load_model
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.model import fingerprint
from tests.tiny import VOCABULARY, save_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")

QUERY = "bert.encoder.layer.1.attention.self.query.weight"
Weights = dict[str, Tensor]


@pytest.fixture
def folder(tiny_model: str, tmp_path: Path) -> Path:
    """A copy of the tiny classifier: two layers, one logit, 39 + 2 weights in one file."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def weights_of(folder: Path) -> Weights:
    return load_file(folder / "model.safetensors")


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    changed = {name: tensor.clone() for name, tensor in change(weights_of(folder)).items()}
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})


def set_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def as_bin(folder: Path, content: object) -> None:
    torch.save(content, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def in_shards(folder: Path, **change: str) -> dict[str, str]:
    """Split the weights into two files with an index; `change` replaces entries of the index."""
    weights = weights_of(folder)
    (folder / "model.safetensors").unlink()
    half = len(weights) // 2
    index = {}
    for number, names in enumerate((list(weights)[:half], list(weights)[half:]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({n: weights[n] for n in names}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(names, file)
    index |= change
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return index


def prefixed(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {n: tensor for n, tensor in weights.items() if part not in n}


def plus(name: str, tensor: Tensor) -> Callable[[Weights], Weights]:
    return lambda weights: weights | {name: tensor}


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code of a model file was run",)


def old_names(weights: Weights) -> Weights:
    """As BERT was published: gamma and beta, and the positions among the weights."""
    renamed = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): t
        for n, t in weights.items()
    }
    return renamed | {"bert.embeddings.position_ids": torch.arange(128)[None]}


READ: list[tuple[str, Callable[[Path], object]]] = [
    ("as it was saved", lambda f: None),
    ("module. of DataParallel", lambda f: rewrite(f, prefixed("module."))),
    ("model. of Lightning", lambda f: rewrite(f, prefixed("model."))),
    ("nested", lambda f: rewrite(f, prefixed("_forward_module.model._orig_mod.module."))),
    ("names of old checkpoints", lambda f: rewrite(f, old_names)),
    ("pytorch_model.bin", lambda f: as_bin(f, weights_of(f))),
    ("pytorch_model.bin, module.", lambda f: as_bin(f, prefixed("module.")(weights_of(f)))),
    ("shards", in_shards),
    ("in fp64", lambda f: rewrite(f, lambda w: {n: t.double() for n, t in w.items()})),
]

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 438007537\n"
INDEX = "model.safetensors.index.json"


def write(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def cut(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])


def lost_shard(folder: Path) -> None:
    in_shards(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def pointer_shard(folder: Path) -> None:
    in_shards(folder)
    write("model-00002-of-00002.safetensors", LFS)(folder)


def mixed_shards(folder: Path) -> None:
    """The second shard is one of another training, with one weight fewer."""
    in_shards(folder)
    second = folder / "model-00002-of-00002.safetensors"
    save_file(dict(list(load_file(second).items())[1:]), second, metadata={"format": "pt"})


def quantised(weights: Weights) -> Weights:
    return weights | {QUERY: weights[QUERY].to(torch.int8)}


def not_finite(weights: Weights) -> Weights:
    weights[QUERY][0, 0] = float("nan")
    return weights


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("a layer is missing", lambda f: rewrite(f, without("layer.1.")),
     r"lacks weights: bert\.encoder\.layer\.1\.attention\.output\.LayerNorm\.bias and 15 more"),
    ("the head is missing", lambda f: rewrite(f, without("classifier.")),
     r"lacks weights: classifier\.bias and 1 more"),
    ("one weight is missing", lambda f: rewrite(f, without(QUERY)),
     rf"lacks weights: {QUERY};"),
    ("one weight is unknown", lambda f: rewrite(f, plus("bert.extra", torch.ones(2))),
     r"has unknown weights: bert\.extra;"),
    ("more layers than config.json", lambda f: set_config(f, num_hidden_layers=1),
     r"has unknown weights: bert\.encoder\.layer\.1\..* and 15 more"),
    ("fewer layers than config.json", lambda f: set_config(f, num_hidden_layers=5),
     r"lacks weights: bert\.encoder\.layer\.2\..* and 47 more"),
    ("a million layers", lambda f: set_config(f, num_hidden_layers=10**6),
     r"describes 1,000,000 layers"),
    ("another width", lambda f: set_config(f, intermediate_size=48),
     r"unfitting weights: .*\.dense\.bias of shape \[64\] instead of \[48\] and 5 more"),
    ("a giant vocabulary", lambda f: set_config(f, vocab_size=10**9), r"do not belong together"),
    ("shorter position table", lambda f: set_config(f, max_position_embeddings=512),
     r"position_embeddings\.weight of shape \[128, 32\] instead of \[512, 32\];"),
    ("a prefix on some names", lambda f: rewrite(
        f, lambda w: {n if "classifier" in n else f"module.{n}": t for n, t in w.items()}),
     r"lacks weights: bert\..* and 38 more"),
    ("an unknown prefix", lambda f: rewrite(f, prefixed("student.")), r"lacks weights: .* 40 more"),
    ("a cut file", cut, r"is damaged or truncated"),
    ("a Git LFS pointer", write("model.safetensors", LFS), r"is a Git LFS pointer"),
    ("an empty file", write("model.safetensors", ""), r"is empty"),
    ("a web page", write("model.safetensors", "<!DOCTYPE html>"), r"is damaged or truncated"),
    ("no weight in the file", lambda f: rewrite(f, lambda w: {}), r"no weight in them"),
    ("no weights", lambda f: (f / "model.safetensors").unlink(), r"has no weights"),
    ("TensorFlow's weights only", lambda f: (f / "model.safetensors").rename(f / "tf_model.h5"),
     r"has no weights \(model\.safetensors or pytorch_model\.bin\)"),
    ("a shard is missing", lost_shard, r"lacks model-00002-of-00002\.safetensors"),
    ("a shard is a pointer", pointer_shard, r"is a Git LFS pointer"),
    ("a shard of another model", mixed_shards, r"does not hold what its index lists"),
    ("an index to another folder", lambda f: in_shards(f, x="../../etc/passwd"),
     r"names a file outside its folder"),
    ("an index to nowhere", lambda f: in_shards(f, x="other.safetensors"), r"lacks other\."),
    ("two models in a folder", write(INDEX, '{"weight_map": {"x": "y"}}'), r"two models"),
    ("an index of nothing", lambda f: (
        (f / "model.safetensors").unlink(), write(INDEX, '{"weight_map": {}}')(f)),
     r"lists no weights"),
    ("a damaged index", lambda f: (
        (f / "model.safetensors").unlink(), write(INDEX, '{"weight_map"')(f)),
     r"is damaged: no map"),
    ("pickled code", lambda f: as_bin(f, {"x": Evil()}), r"no code in it was run"),
    ("a pickle of no torch", lambda f: (
        (f / "model.safetensors").unlink(),
        write("pytorch_model.bin", pickle.dumps({"x": Evil()}))(f)),
     r"pytorch_model\.bin "),
    ("a checkpoint with more", lambda f: as_bin(f, {"state_dict": weights_of(f), "epoch": 3}),
     r"not a dictionary of weights by name"),
    ("quantised", lambda f: rewrite(f, quantised), rf"{QUERY} has numbers of type int8"),
    ("in fp8", lambda f: rewrite(
        f, lambda w: w | {QUERY: w[QUERY].to(torch.float8_e4m3fn)}), r"float8"),
    ("not a number", lambda f: rewrite(f, not_finite), rf"{QUERY} has a number that is not finite"),
    ("an empty config.json", write("config.json", ""), r"config\.json is not JSON"),
    ("no object", write("config.json", "{}"), r"config\.json is empty"),
    ("a list", write("config.json", "[1]"), r"config\.json is empty, or no JSON object"),
    ("a pointer", write("config.json", LFS), r"config\.json is not JSON"),
    ("nested deeply", write("config.json", "[" * 100_000), r"config\.json is not JSON"),
    ("no model_type", lambda f: set_config(f, model_type=None), r"names no model_type"),
    ("code of its own", lambda f: set_config(
        f, model_type="evil", auto_map={"AutoConfig": "evil.EvilConfig"}), r"code .* never run"),
    ("text for a number", lambda f: set_config(f, hidden_size="wide"), r"cannot be loaded"),
    ("heads that do not divide", lambda f: set_config(f, num_attention_heads=5), r"can be built"),
    ("an unknown activation", lambda f: set_config(f, hidden_act="zelu"), r"can be built"),
    ("a quantisation", lambda f: set_config(f, quantization_config={"quant_method": "awq"}),
     r"is quantised"),
    ("an unknown dtype", lambda f: set_config(f, dtype="float17"), r"cannot be loaded"),
    ("an adapter", write("adapter_config.json", "{}"), r"has an adapter"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change"), READ, ids=[kind for kind, _ in READ])
def test_these_folders_are_read_with_the_weights_of_the_file(
    folder: Path, kind: str, change: Callable[[Path], object]
) -> None:
    right = weights_of(folder)
    change(folder)
    for load in (load_model, load_for_training):
        loaded = load(str(folder)).state_dict()
        assert loaded.keys() == right.keys()
        assert all(torch.equal(loaded[name], right[name]) for name in right)


@pytest.mark.parametrize(
    ("kind", "change", "message"), REFUSED, ids=[kind for kind, _, _ in REFUSED]
)
def test_these_folders_are_refused_in_one_line(
    folder: Path, kind: str, change: Callable[[Path], object], message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    change(folder)
    for load in (load_model, load_for_training):
        if load is load_for_training and "the head" in kind:
            continue
        with pytest.raises(UserError, match=message) as error:
            load(str(folder))
        line = str(error.value)
        assert str(folder) in line and "\n" not in line
        assert not any(word in line for word in ("weights_only", "trust_remote_code", "torch.load"))
    assert "was run" not in capsys.readouterr().out


def save_encoder(kind: Any, folder: Path, **values: Any) -> Path:
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=128, **values,
    )  # fmt: skip
    kind(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    return folder


LOADERS: dict[str, Callable[[Path], Any]] = {
    "train": lambda folder: load_for_training(str(folder)),
    "similarity": lambda folder: embed(str(folder), ["heart failure"]),
    "pretrain": lambda folder: start_model(folder),
}


def start_model(folder: Path) -> Any:
    from readmit_spark.config_file import load_config
    from readmit_spark.pretraining.pretrain import PretrainPlan

    config = load_config()
    plan = PretrainPlan(str(folder), "", 16, 1, config.pretrain, config.train, False, "")
    return load_start_model(plan)


@pytest.mark.parametrize("kind", [BertModel, BertForPreTraining, BertForMaskedLM])
def test_an_encoder_of_another_task_keeps_its_weights_and_gets_a_new_head(
    kind: Any, tmp_path: Path
) -> None:
    folder = save_encoder(kind, tmp_path)
    stored = {n.removeprefix("bert."): t for n, t in weights_of(folder).items()}
    for job in ("train", "pretrain"):
        loaded = LOADERS[job](folder).bert.state_dict()
        kept = [name for name in loaded if name in stored]
        assert len(kept) in (37, 39)  # a model for masked words has no pooler
        assert all(torch.equal(loaded[name], stored[name]) for name in kept)
    assert LOADERS["similarity"](folder).shape == (1, 32)


@pytest.mark.parametrize("job", list(LOADERS))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: rewrite(f, without("layer.1.")), r"lacks weights: .* and 15 more"),
        (lambda f: rewrite(f, without("pooler.")), r"lacks weights: .*pooler\.dense\.bias and 1"),
        (lambda f: set_config(f, num_hidden_layers=1), r"has unknown weights: .* and 15 more"),
        (lambda f: rewrite(f, prefixed("roberta.")), r"lacks weights: .* and 38 more"),
        (cut, r"is damaged or truncated"),
        (
            lambda f: (
                set_config(f, architectures=["BertPreTrainedModel"]),
                rewrite(f, without("layer.1.")),
            ),
            r"lacks weights: .* and 15 more",
        ),
    ],
)
def test_an_encoder_that_is_not_whole_is_refused_by_every_job(
    job: str, change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    folder = save_encoder(BertModel, tmp_path)
    change(folder)
    with pytest.raises(UserError, match=message):
        LOADERS[job](folder)


def test_weights_in_16_bits_are_trained_in_32(folder: Path) -> None:
    rewrite(folder, lambda weights: {n: tensor.half() for n, tensor in weights.items()})
    set_config(folder, dtype="float16")
    assert load_for_training(str(folder)).dtype == torch.float32


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_a_damaged_tokenizer_is_one_line(folder: Path, name: str) -> None:
    (folder / name).write_text(LFS)
    with pytest.raises(UserError, match=r"the tokenizer in .* cannot be loaded"):
        load_tokenizer(str(folder), 64)


def test_the_fingerprint_covers_shards_and_their_index(folder: Path) -> None:
    index = in_shards(folder)
    first = fingerprint(str(folder))
    (folder / INDEX).write_text(json.dumps({"weight_map": index}, indent=2))
    assert fingerprint(str(folder)) != first
    shard = folder / "model-00002-of-00002.safetensors"
    second = fingerprint(str(folder))
    save_file({n: t + 1 for n, t in load_file(shard).items()}, shard)
    assert fingerprint(str(folder)) != second


def test_the_fingerprint_of_a_plain_folder_is_that_of_earlier_versions(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_text("weights")
    (tmp_path / "vocab.txt").write_text("[PAD]")
    assert fingerprint(str(tmp_path)) == "c3bf65fb99ad"


def test_two_loads_are_equal_to_the_last_bit(folder: Path) -> None:
    """Also without the same random state, which no weight depends on."""
    save_tiny_model(folder.parent / "other", seed=8)  # moves the random state
    first, second = (load_model(str(folder)).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
