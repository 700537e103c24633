"""The rules of texts follow from the profile and from those keys that have an effect."""

from __future__ import annotations

import pytest

from readmit_spark.config import to_dict
from readmit_spark.config_file import load_config
from readmit_spark.text_rules import TextRules


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ([], TextRules("segments", None, 10)),
        (["chunk.words=40"], TextRules("segments", None, 10)),  # has no effect
        (["profile=paper"], TextRules("words", 318, 10)),
        (["profile=paper", "chunk.mode=segments"], TextRules("segments", None, 10)),
        (["chunk.mode=words", "chunk.words=40"], TextRules("words", 40, 10)),
    ],
)
def test_null_is_the_rule_of_the_profile(settings: list[str], rules: TextRules) -> None:
    assert load_config(overrides=settings).text_rules == rules


def test_the_keys_of_rules_give_them_again() -> None:
    for settings in ([], ["profile=paper"], ["chunk.mode=words", "chunk.min_tail_words=3"]):
        rules = load_config(overrides=settings).text_rules
        keys = [f"{key}={value}" for key, value in rules.settings().items()]
        assert load_config(overrides=keys).text_rules == rules


def test_tables_of_an_earlier_version_name_the_mode_otherwise() -> None:
    values = to_dict(load_config())
    values["chunk"] = {"mode": "tokens", "words": 318, "min_tail_words": 10}
    assert TextRules.of(values) == TextRules("segments", None, 10)
