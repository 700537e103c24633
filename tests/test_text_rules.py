"""The rules of texts follow from the profile and from those keys that have an effect."""

from __future__ import annotations

import pytest

from readmit_spark.config import to_dict
from readmit_spark.config_file import load_config
from readmit_spark.text_rules import DEFAULT, PUBLISHED, Cleaning, TextRules


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ([], TextRules(DEFAULT, "segments", None, 10)),
        (["chunk.words=40"], TextRules(DEFAULT, "segments", None, 10)),  # has no effect
        (["profile=paper"], TextRules(PUBLISHED, "words", 318, 10)),
        (["profile=paper", "chunk.mode=segments"], TextRules(PUBLISHED, "segments", None, 10)),
        (["chunk.mode=words", "chunk.words=40"], TextRules(DEFAULT, "words", 40, 10)),
        (["clean.keep_decimals=false"], TextRules(Cleaning(False, False), "segments", None, 10)),
        (
            ["profile=paper", "clean.keep_decimals=true"],
            TextRules(Cleaning(True, True), "words", 318, 10),
        ),
    ],
)
def test_null_is_the_rule_of_the_profile(settings: list[str], rules: TextRules) -> None:
    assert load_config(overrides=settings).text_rules == rules


def test_the_keys_of_rules_give_them_again() -> None:
    some = ["chunk.mode=words", "chunk.min_tail_words=3", "clean.keep_decimals=false"]
    for settings in ([], ["profile=paper"], some):
        rules = load_config(overrides=settings).text_rules
        keys = [f"{key}={value}" for key, value in rules.settings().items()]
        assert load_config(overrides=keys).text_rules == rules


def test_tables_of_an_earlier_version_name_the_mode_otherwise() -> None:
    values = to_dict(load_config())
    values["chunk"] = {"mode": "tokens", "words": 318, "min_tail_words": 10}
    assert TextRules.of(values) == TextRules(DEFAULT, "segments", None, 10)
    del values["clean"]  # and cleaned as published
    assert TextRules.of(values) == TextRules(PUBLISHED, "segments", None, 10)


def test_the_title_says_what_the_rules_are() -> None:
    titles = [TextRules(c, "segments", None, 10).title(9) for c in
              (PUBLISHED, DEFAULT, Cleaning(False, False))]  # fmt: skip
    assert titles == [
        f"chunks of whole segments, at most 9 tokens, {how}"
        for how in ("cleaned as published", "with decimals", "without decimals")
    ]
