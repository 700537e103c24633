"""The configuration: what a person can get wrong, and what she is told."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import yaml

from readmit_spark.config import Config, flatten, to_dict
from readmit_spark.config_file import base_yaml, load_config
from readmit_spark.errors import UserError

CONF = Path(__file__).parent.parent / "conf"


def test_base_yaml_and_the_types_have_the_same_keys() -> None:
    values = yaml.safe_load(base_yaml())
    assert set(values) == {field.name for field in dataclasses.fields(Config)}
    assert set(flatten(values)) == set(flatten(to_dict(load_config())))


def test_every_key_says_what_it_is() -> None:
    keys = [line for line in base_yaml().splitlines() if ":" in line and not line.startswith("#")]
    bare = [k for k in keys if "#" not in k and not k.endswith(":")]
    assert bare == ["  experiment: readmission"]  # says itself


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.name)
def test_the_shipped_files_load(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_later_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("seed: 1\nvote: {c: 3}\n")
    config = load_config(file, ["vote.c=4", "windows=[2days, 5days]", "train.learning_rate=2e-5"])
    assert (config.seed, config.vote.c, config.windows) == (1, 4.0, ("2days", "5days"))
    assert config.train.learning_rate == 2e-5
    rates = load_config(overrides=["tune.learning_rates=[1e-5, 2]"]).tune.learning_rates
    assert rates == (1e-5, 2.0)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("vote.k=2", r"unknown key vote\.k in --set vote\.k=2; did you mean vote\.c\?"),
        ("vtoe.c=2", r"unknown key vtoe in --set"),
        ("seed=yes please", r"seed is 'yes please' \(str\): a whole number is needed"),
        ("seed=1.5", r"seed is 1\.5 \(float\)"),
        ("seed=true", r"seed is True \(bool\)"),
        ("vote.c=two", r"vote\.c is 'two' \(str\): a number is needed"),
        ("windows=2days", r"windows is '2days': a list is needed"),
        ("windows=[]", r"windows is \[\]: a list is needed"),
        ("windows=[2days,2days]", r"windows names a window more than once: 2days, 2days"),
        ("score.windows=[2days,2days]", r"score\.windows names a window more than once"),
        ("profile=published", r"profile is 'published': one of default, paper"),
        ("vote=2", r"vote in --set vote=2 is a section"),
        ("vote.c", r"--set vote\.c: write it as section\.key=value"),
        ("vote.c=[1", r"the value is not valid YAML"),
        ("vote.c=0", r"vote\.c is 0\.0: it must be above 0"),
        ("tune.learning_rates=1e-5", r"a list is needed, such as \[1, 2\]"),
        ("tune.learning_rates=[1e-5, fast]", r"tune\.learning_rates is 'fast'"),
        ("tune.vote_c=[1, 0]", r"tune\.vote_c is 0\.0: it must be above 0"),
        ("train.processes=0", r"train\.processes is 0"),
        ("chunk.words=0", r"chunk\.words is 0: it must be above 0"),
        ("nightly.lookback=0", r"nightly\.lookback is 0: it must be above 0"),
        ("chunk.min_tail_words=-1", r"it must be 0 or more"),
        ("model.max_tokens=3", r"it must be 8 or more"),
        ("score.batch_tokens=0", r"score\.batch_tokens is 0: it must be above 0"),
        ("score.alert_threshold=7", r"score\.alert_threshold is 7\.0: it must be below 1"),
        ("train.warmup_ratio=-0.1", r"train\.warmup_ratio is -0\.1: it must be 0 or more"),
        ("train.checkpoint_minutes=-1", r"train\.checkpoint_minutes is -1\.?0?: it must be 0"),
        ("audit.sample=0", r"audit\.sample is 0: it must be above 0"),
    ],
)
def test_a_mistake_is_named(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_config(overrides=[override])


def test_a_missing_file_and_broken_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("vote:\n  c: [1\n")
    with pytest.raises(UserError, match=r"not valid YAML at line \d"):
        load_config(broken)
    broken.write_text("- a\n- b\n")
    with pytest.raises(UserError, match="must hold sections and keys"):
        load_config(broken)
    broken.write_bytes(b"\xff\xfe")
    for path in (broken, tmp_path):
        with pytest.raises(UserError, match="cannot be read as a text file"):
            load_config(path)


def test_a_date_may_be_written_without_quotes() -> None:
    found = load_config(overrides=["monitor.reference_from=2101-02-26"])
    assert found.monitor.reference_from == "2101-02-26"


def test_the_paper_profile_splits_over_admissions_unless_told() -> None:
    assert load_config(overrides=["profile=paper"]).split_level == "admission"
    assert load_config().split_level == "patient"
    assert load_config(overrides=["profile=paper", "split.level=patient"]).split_level == "patient"


def test_an_object_store_needs_a_tracking_uri() -> None:
    with pytest.raises(UserError, match=r"set tracking\.uri"):
        _ = load_config(overrides=["output.root=s3://bucket/x"]).tracking_uri
    assert (
        load_config(overrides=["output.root=/tmp/x/"]).tracking_uri == "sqlite:////tmp/x/mlflow.db"
    )
