"""Every supported kind of encoder, from its folder through tokenizer, training and scoring.

Scores are compared with transformers' own forward pass.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

from readmit_spark.errors import UserError
from readmit_spark.notes.chunk import segment_chunks
from readmit_spark.notes.segment import segment
from readmit_spark.notes.tokenizer import ChunkTokenizer
from readmit_spark.scoring.batching import Ids
from readmit_spark.scoring.load_tokenizer import load_tokenizer
from readmit_spark.scoring.scorer import Scorer
from readmit_spark.training.checkpoints import load_best_model
from readmit_spark.training.finetune import finetune
from readmit_spark.training.plan import TrainingPlan
from readmit_spark.training.ranks import Ranks
from tests.prepared import plan, write_prepared
from tests.tiny import VOCABULARY

pytestmark = pytest.mark.usefixtures("one_thread")


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 64}  # fmt: skip
WORDPIECE = {**SIZES, "vocab_size": len(VOCABULARY), "max_position_embeddings": 128}


def byte_pairs(unknown: str, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts()[0], trainer)
    return tokenizer


def save_wordpiece(folder: Path) -> None:
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")


def save_roberta_tokenizer(folder: Path) -> int:
    tokenizer = byte_pairs("<unk>", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt, as RoBERTa is published
    return tokenizer.get_vocab_size()


def save_modernbert_tokenizer(folder: Path) -> int:
    names = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    tokenizer = byte_pairs("[UNK]", names)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{f"{n[1:-1].lower()}_token": n for n in names},
    ).save_pretrained(folder)
    return tokenizer.get_vocab_size()


def save_encoder(folder: Path, kind: str, positions: int = 128) -> str:
    """A small random encoder without a readmission head, and its tokenizer."""
    folder.mkdir(exist_ok=True)
    torch.manual_seed(3)
    config: Any
    wide = {"initializer_range": 0.2}  # at 0.02 every chunk gets nearly the same probability
    if kind == "roberta":
        size = save_roberta_tokenizer(folder)
        config = RobertaConfig(
            **SIZES, **wide, vocab_size=size, max_position_embeddings=positions + 2, pad_token_id=1
        )
    elif kind == "modernbert":
        size = save_modernbert_tokenizer(folder)
        config = ModernBertConfig(
            **SIZES, **wide, vocab_size=size, max_position_embeddings=positions, local_attention=16,
            pad_token_id=3, cls_token_id=1, sep_token_id=2, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
    else:
        save_wordpiece(folder)
        config = {
            "bert": lambda: BertConfig(**WORDPIECE, **wide),
            "electra": lambda: ElectraConfig(**WORDPIECE, **wide, embedding_size=16),
            "distilbert": lambda: DistilBertConfig(
                vocab_size=len(VOCABULARY), dim=32, n_layers=2, n_heads=2, hidden_dim=64,
                max_position_embeddings=128, **wide,
            ),
        }[kind]()  # fmt: skip
    AutoModel.from_config(config).save_pretrained(folder)
    return str(folder)


def texts() -> tuple[list[str], list[int]]:
    """24 texts of unequal length and their labels; only readmitted patients have heart failure."""
    rng = np.random.default_rng(4)
    words = ["the", "patient", "was", "admitted", "with", "denies", "pain", "stable", "afebrile"]
    sentences, labels = [], []
    for i in range(24):
        middle = " ".join(rng.choice(words, rng.integers(5, 25)))
        sentences.append(f"{'heart failure ' * 3 if i % 2 else 'no complaints '}{middle}")
        labels.append(i % 2)
    return sentences, labels


def prepared(tokenizer: ChunkTokenizer, folder: Path) -> tuple[str, list[Ids]]:
    """Write the texts as chunks of train and of validation; return the folder and the token ids."""
    sentences, labels = texts()
    encoded = [e.input_ids for e in tokenizer.encode(sentences)]
    rows = [
        {
            "subject_id": first + i, "hadm_id": first + i, "chunk_index": 0, "input_ids": ids,
            "n_tokens": len(ids), "label": label, "split": split, "fold": 0,
            "midnights": 5, "admission_type": "EMERGENCY",
        }
        for split, first in (("train", 0), ("validation", 100))
        for i, (ids, label) in enumerate(zip(encoded, labels, strict=True))
    ]  # fmt: skip
    return write_prepared(folder, rows), [np.array(ids, np.int32) for ids in encoded]


def train(plan: TrainingPlan) -> tuple[Any, list[float]]:
    """Train; return the best model and the loss of each step."""
    losses: list[float] = []

    def log(values: dict[str, float], step: int, steps: int) -> None:
        losses.extend(v for k, v in values.items() if k == "train_loss")

    finetune(plan, Ranks.alone(), log)
    return load_best_model(plan), losses


@pytest.mark.parametrize("kind", ["bert", "distilbert", "electra", "modernbert", "roberta"])
def test_an_encoder_is_trained_and_scores_as_in_transformers(tmp_path: Path, kind: str) -> None:
    folder = save_encoder(tmp_path / kind, kind)
    tokenizer = load_tokenizer(folder, 64)
    table, chunks = prepared(tokenizer, tmp_path / "in")
    model, losses = train(
        plan(folder, table, tmp_path / "work", epochs=2.0, learning_rate=2e-3, log_every=1)
    )
    assert len(losses) == 6 and 0.3 < losses[0] < 1.5
    before = AutoModel.from_pretrained(folder).get_input_embeddings().weight
    changes = (model.get_input_embeddings().weight - before).abs().amax(1)
    used_ids = np.unique(np.concatenate(chunks))
    assert (changes[used_ids] > 1e-4).all()  # the encoder is trained, not the head alone
    out = tmp_path / "out"
    model.save_pretrained(out)

    scores = Scorer(str(out), device="cpu").score(chunks)
    reference = AutoModelForSequenceClassification.from_pretrained(out).eval()
    with torch.no_grad():  # one at a time: no padding, so no mask that could be wrong
        logits = [
            reference(input_ids=torch.from_numpy(ids[None].astype(np.int64))).logits.item()
            for ids in chunks
        ]
    expected = 1 / (1 + np.exp(-np.array(logits)))
    assert np.abs(scores - expected).max() < 1e-5
    assert np.ptp(scores) > 1e-3  # probabilities depend on the chunks


@pytest.mark.parametrize("kind", ["bert", "modernbert", "roberta"])
def test_special_tokens_are_those_of_the_model(tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(save_encoder(tmp_path / kind, kind), 64)
    first, last = {"bert": (2, 3), "modernbert": (1, 2), "roberta": (0, 2)}[kind]
    ids = tokenizer.encode(["heart failure"])[0].input_ids
    assert (ids[0], ids[-1]) == (first, last)
    assert len(tokenizer.encode(["pain " * 200])[0].input_ids) == 64
    assert tokenizer.budget == 62


def test_a_model_with_a_long_context_has_long_chunks_without_lost_tokens(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "long", "modernbert", positions=2048)
    tokenizer = load_tokenizer(folder, 2048)
    text = " ".join(f"{' '.join(texts()[0][i % 24] for i in range(3 * j, 3 * j + 3))}."
                    for j in range(80))  # fmt: skip
    pieces = segment_chunks(segment(text), tokenizer.count, tokenizer.budget, 10)
    encoded = tokenizer.encode(pieces)
    assert " ".join(pieces).split() == text.split()
    assert all(e.n_cut == 0 for e in encoded)
    lengths = [len(e.input_ids) for e in encoded]
    assert 1024 < max(lengths) <= 2048
    torch.manual_seed(2)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.save_pretrained(folder)
    ids = [np.array(e.input_ids, np.int32) for e in encoded]
    scores = Scorer(folder, device="cpu").score(ids)
    with torch.no_grad():
        logits = [model.eval()(input_ids=torch.from_numpy(i[None].astype(np.int64))).logits.item()
                  for i in ids]  # fmt: skip
    assert np.abs(scores - 1 / (1 + np.exp(-np.array(logits)))).max() < 1e-5


def test_a_roberta_never_uses_two_of_its_positions(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "roberta", "roberta", positions=64)
    assert load_tokenizer(folder, 64).budget == 62
    with pytest.raises(UserError, match="accepts at most 64"):
        load_tokenizer(folder, 65)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.save_pretrained(folder)
    scorer = Scorer(folder, device="cpu")
    assert len(scorer.score([np.full(64, 5, np.int32)])) == 1
    with pytest.raises(UserError, match="has 65 tokens, but the model accepts 64"):
        scorer.score([np.full(65, 5, np.int32)])
