"""The configuration: values that are read, and the one-line error for each kind of mistake."""

from __future__ import annotations

import dataclasses
import json
import typing
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from readmit_spark.config import Config, flatten, split_name, to_dict
from readmit_spark.config_file import base_yaml, load_config
from readmit_spark.errors import UserError

CONF = Path(__file__).parent.parent / "conf"
NUMBERS = {
    key
    for section in dataclasses.fields(Config)
    if dataclasses.is_dataclass(kind := typing.get_type_hints(Config)[section.name])
    for name, hint in typing.get_type_hints(kind).items()
    for key in [f"{section.name}.{name}"]
    if "float" in str(hint) or "int" in str(hint)
}


def test_base_yaml_and_the_classes_have_the_same_keys() -> None:
    values = yaml.safe_load(base_yaml())
    assert set(values) == {field.name for field in dataclasses.fields(Config)}
    assert set(flatten(values)) == set(flatten(to_dict(load_config())))


def test_every_key_has_a_comment() -> None:
    keys = [line for line in base_yaml().splitlines() if ":" in line and not line.startswith("#")]
    bare = [k for k in keys if "#" not in k and not k.endswith(":")]
    assert not bare


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.name)
def test_the_shipped_files_load(path: Path) -> None:
    assert isinstance(load_config(path), Config)


def test_later_overrides_win(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("split: {seed: 1}\nvote: {c: 3}\n")
    config = load_config(file, ["vote.c=4", "windows=[2days, 5days]"])
    assert (config.split.seed, config.vote.c, config.windows) == (1, 4.0, ("2days", "5days"))


WRONG = {
    "windows=[2days, 2nights]": "windows holds '2nights': 2days, "
    "3days, any Ndays, or discharge is needed",
    "nightly.window=3 days": "nightly.window is '3 days': 2days, "
    "3days, any Ndays, or discharge is needed",
    # unknown keys and sections
    "vote.k=2": "unknown key vote.k in --set vote.k=2; did you mean vote.c?",
    "vtoe.c=2": "unknown key vtoe in --set vtoe.c=2; did you mean vote.c?",
    "seed=7": "unknown key seed in --set seed=7; did you mean demo.seed?",
    "xyzzy=1": "unknown key xyzzy in --set xyzzy=1; conf/base.yaml lists every key",
    "vote=2": "vote in --set vote=2 is a section: set vote.<key>",
    "vote=": "vote in --set vote= is a section: set vote.<key>",
    "vote.c.x=2": "vote.c is {'x': 2} (dict): a number is needed",
    "vote.c": "--set vote.c: write it as section.key=value",
    "=2": "--set =2: write it as section.key=value",
    "vote.c=[1": "--set vote.c=[1: the value is not valid YAML; quote it",
    "vote.c=2101-13-01": "--set vote.c=2101-13-01: the value is not valid YAML; quote it",
    # a whole number
    "split.by=time": "split.by=time needs split.validation_from and a later split.test_from, "
    "such as '2025-01-01' and '2025-07-01'",
    "split.by=site": "split.by=site needs split.site_column, split.validation_sites and "
    "split.test_sites",
    "split.test_from=soon": "split.test_from is 'soon': a date is needed, such as 2026-01-31",
    "train.seeds=[]": "train.seeds is []: a list is needed, such as [1, 2]",
    "split.seed=yes please": "split.seed is 'yes please' (str): a whole number is needed",
    "split.seed=1.5": "split.seed is 1.5 (float): a whole number is needed",
    "split.seed=2.0": "split.seed is 2.0 (float): a whole number is needed",
    "split.seed=true": "split.seed is True (bool): a whole number is needed",
    "split.seed='7'": "split.seed is '7' (str): a whole number is needed",
    "split.seed=null": "split.seed is null: a whole number is needed",
    "split.seed=[7]": "split.seed is [7] (list): a whole number is needed",
    "split.seed=2101-02-26":
        "split.seed is datetime.date(2101, 2, 26) (date): a whole number is needed",
    "chunk.words=.nan": "chunk.words is nan (float): a whole number is needed",
    "chunk.words=.inf": "chunk.words is inf (float): a whole number is needed",
    # a number
    "vote.c=two": "vote.c is 'two' (str): a number is needed",
    "vote.c=true": "vote.c is True (bool): a number is needed",
    "vote.c=[2]": "vote.c is [2] (list): a number is needed",
    "vote.c=2101-02-26": "vote.c is datetime.date(2101, 2, 26) (date): a number is needed",
    "train.epochs=null": "train.epochs is null: a number is needed",
    "vote.c=.nan": "vote.c is nan: a finite number is needed",
    "vote.c=.inf": "vote.c is inf: a finite number is needed",
    "vote.c=-.inf": "vote.c is -inf: a finite number is needed",
    "vote.c=nan": "vote.c is nan: a finite number is needed",
    "vote.c=infinity": "vote.c is inf: a finite number is needed",
    "vote.c=1e999": "vote.c is inf: a finite number is needed",
    f"vote.c={'9' * 400}": f"vote.c is {'9' * 400} (int): a number is needed",
    "promote.min_gain=.nan": "promote.min_gain is nan: a finite number is needed",
    "nightly.alert_value=.inf": "nightly.alert_value is inf: a finite number is needed",
    "train.warmup_ratio=.nan": "train.warmup_ratio is nan: a finite number is needed",
    # true or false, text
    "output.overwrite=1": "output.overwrite is 1 (int): true or false is needed",
    "output.overwrite='true'": "output.overwrite is 'true' (str): true or false is needed",
    "output.root=7": "output.root is 7 (int): a text is needed",
    "output.root=[a]": "output.root is ['a'] (list): a text is needed",
    "model.path=null": "model.path is null: a text is needed",
    # a choice
    "profile=published": "profile is 'published': one of default, paper",
    "score.split=tset": "score.split is 'tset': one of all, train, validation, test",
    "score.split=[test]": "score.split is ['test']: one of all, train, validation, test",
    "score.split=null": "score.split is null: one of all, train, validation, test",
    "split.level=ward": "split.level is 'ward': one of patient, admission",
    # a list
    "windows=2days": "windows is '2days': a list is needed, such as [2days, 3days]",
    "windows=[]": "windows is []: a list is needed, such as [2days, 3days]",
    "windows=[2days,3]": "windows holds 3 (int): a text is needed",
    "windows=[2days,2days]": "windows names a window more than once: 2days, 2days",
    "score.windows=[2days,2days]": "score.windows names a window more than once: 2days, 2days",
    "pretrain.categories=nursing":
        "pretrain.categories is 'nursing': a list is needed, such as [nursing, physician]",
    "tune.learning_rates=1e-5":
        "tune.learning_rates is '1e-5': a list is needed, such as [0.5, 1]",
    "tune.learning_rates=[1e-5, fast]":
        "tune.learning_rates holds 'fast' (str): a number is needed",
    "tune.learning_rates=[1e-5, true]":
        "tune.learning_rates holds True (bool): a number is needed",
    "tune.learning_rates=[1e-5, .nan]": "tune.learning_rates holds nan: a finite number is needed",
    "tune.vote_c=[1, .inf]": "tune.vote_c holds inf: a finite number is needed",
    "tune.vote_c=[1, nan]": "tune.vote_c holds nan: a finite number is needed",
    "tune.vote_c=[1, 0]": "tune.vote_c holds 0: it must be above 0",
    "tune.vote_c=[[1]]": "tune.vote_c holds [1] (list): a number is needed",
    "pretrain.tokens=128": "pretrain.tokens is 128: a list is needed, such as [1, 2]",
    "pretrain.tokens=[128.0]": "pretrain.tokens holds 128.0 (float): a whole number is needed",
    "pretrain.steps=[10, 0]": "pretrain.steps holds 0: it must be above 0",
    "pretrain.steps=[10]":
        "pretrain.tokens has 2 phases and pretrain.steps 1: both need one entry for each phase",
    # a range
    "split.seed=-1": "split.seed is -1: it must be 0 or more",
    "train.seed=4294967296": "train.seed is 4294967296: it must be below 4294967296",
    "label.horizon_days=0": "label.horizon_days is 0: it must be above 0",
    "chunk.words=0": "chunk.words is 0: it must be above 0",
    "chunk.min_tail_words=-1": "chunk.min_tail_words is -1: it must be 0 or more",
    "model.max_tokens=3": "model.max_tokens is 3: it must be 8 or more",
    "train.processes=0": "train.processes is 0: it must be above 0",
    "train.learning_rate=-2e-5": "train.learning_rate is '-2e-5': it must be above 0",
    "train.checkpoint_minutes=-1": "train.checkpoint_minutes is -1: it must be 0 or more",
    "train.warmup_ratio=-0.1": "train.warmup_ratio is -0.1: it must be 0 or more",
    "train.warmup_ratio=1": "train.warmup_ratio is 1: it must be below 1",
    "pretrain.masked=0": "pretrain.masked is 0: it must be above 0",
    "pretrain.masked=1": "pretrain.masked is 1: it must be below 1",
    "score.alert_threshold=7": "score.alert_threshold is 7: it must be below 1",
    "score.batch_tokens=0": "score.batch_tokens is 0: it must be above 0",
    "vote.c=0": "vote.c is 0: it must be above 0",
    "audit.sample=0": "audit.sample is 0: it must be above 0",
    "audit.max_auroc=1.5": "audit.max_auroc is 1.5: it must be 1 or less",
    "nightly.lookback=0": "nightly.lookback is 0: it must be above 0",
    "monitor.false_alarm_rate=0.0001":
        "monitor.false_alarm_rate is 0.0001: it must be 0.001 or more",
    "emr.idle_minutes=0": "emr.idle_minutes is 0: it must be above 0",
    "label.horizon_days=3651": "label.horizon_days is 3651: it must be 3650 or less",
    "label.horizon_days=true": "label.horizon_days is True (bool): a number is needed",
    "vote.c=1e-7": "vote.c is '1e-7': it must be 1e-06 or more",
    "vote.c=1e10": "vote.c is '1e10': it must be 1000000000.0 or less",
    "chunk.words=2147483648": "chunk.words is 2147483648: it must be 2147483647 or less",
    "data.max_unread_share=1": "data.max_unread_share is 1: it must be below 1",
    f"vote.c={'[' * 20000}": "--set vote.c: the value nests lists too deeply",
    # a folder
    "output.root=/": "output.root is '/': a folder of its own is needed, such as /data/readmit",
    "output.root=''": "output.root is '': a folder of its own is needed, such as /data/readmit",
    "output.root=' //'":
        "output.root is ' //': a folder of its own is needed, such as /data/readmit",
    "output.root=s3://":
        "output.root is 's3://': a folder of its own is needed, such as /data/readmit",
    "output.root=/data/..":
        "output.root is '/data/..': a folder of its own is needed, such as /data/readmit",
    "output.root='/data/{a,b}'":
        "output.root is '/data/{a,b}': Spark reads { } in its path as a pattern; choose another "
        "folder",
    "output.root='s3://b/[ab]'":
        "output.root is 's3://b/[ab]': Spark reads [ ] in its path as a pattern; choose another "
        "folder",
    r"output.root='a*b?\c'":
        r"output.root is 'a*b?\\c': Spark reads * ? \ in its path as a pattern; choose another "
        "folder",
    # codes
    "codes.planned=elective": "codes.planned is 'elective': a list is needed, such as [elective]",
    "codes.planned=[ELECTIVE, ' Urgent ']":
        "codes.planned and codes.unplanned both list 'urgent': a code has one meaning",
}  # fmt: skip


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_value_gives_one_line(override: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(overrides=[override])
    assert str(error.value) == WRONG[override]


@pytest.mark.parametrize("key", sorted(NUMBERS))
@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", "nan"])
def test_no_number_may_be_infinite_or_undefined(key: str, value: str) -> None:
    for written in (value, f"[{value}]"):
        with pytest.raises(UserError, match=rf"^{key} (is|holds) [^\n]*\Z"):
            load_config(overrides=[f"{key}={written}"])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("vote.c=2e-5", 2e-5),
        ("vote.c='3'", 3.0),
        ("vote.c=3", 3.0),
        ("tune.vote_c=[1e-5, 2]", (1e-5, 2.0)),
        ("monitor.reference_from=2101-02-26", "2101-02-26"),
        ("monitor.reference_from='2101-02-26'", "2101-02-26"),
        ("pretrain.categories=[nursing, 2101-02-26]", ("nursing", "2101-02-26")),
        ("split.level=null", None),
        ("output.overwrite=yes", True),
        ("pretrain.steps=[1, 2]", (1, 2)),
        ("codes.newborn=[' New  born', BABY]", ("new born", "baby")),
        ("output.root=s3://bucket", "s3://bucket"),
    ],
)
def test_a_value_is_read_as_its_type(override: str, value: object) -> None:
    found = flatten(to_dict(load_config(overrides=[override])))[override.partition("=")[0]]
    assert found == value
    assert type(found) is type(value)


def test_a_replaced_value_is_checked_and_the_original_stays() -> None:
    config = load_config()
    changed = dataclasses.replace(config, train=dataclasses.replace(config.train, epochs=1))
    assert (changed.train.epochs, config.train.epochs) == (1.0, 3.0)
    with pytest.raises(ValidationError, match="greater than 0"):
        dataclasses.replace(config.train, epochs=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.train.epochs = 1  # type: ignore[misc]


def test_the_plain_values_are_those_of_base_yaml() -> None:
    plain = json.loads(json.dumps(to_dict(load_config())))
    # The profile decides the windows where base.yaml sets none.
    assert plain == yaml.safe_load(base_yaml()) | {"windows": ["1days", "2days", "3days"]}


@pytest.mark.parametrize(
    ("url", "recorded"),
    [
        ("https://ward:secret@mlflow:5000/x", "https://mlflow:5000/x"),
        ("https://token@mlflow", "https://mlflow"),
        ("postgresql://ward:sec/r@et@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("mssql+pyodbc://db/mlflow?UID=ward&PWD=secret", "mssql+pyodbc://db/mlflow"),
        ("https://mlflow:5000/x", "https://mlflow:5000/x"),
        ("s3://ward/a@b/c?d", "s3://ward/a@b/c?d"),
        ("sqlite:////data/a@b.db", "sqlite:////data/a@b.db"),
        ("models:/readmission@champion", "models:/readmission@champion"),
    ],
)
def test_the_recorded_configuration_has_no_password(url: str, recorded: str) -> None:
    config = load_config(overrides=[f"tracking.uri='{url}'"])
    assert config.tracking_uri == url
    assert to_dict(config)["tracking"]["uri"] == recorded


def test_no_class_holds_a_default() -> None:
    for section in (Config, *typing.get_type_hints(Config).values()):
        if dataclasses.is_dataclass(section):
            fields = dataclasses.fields(section)
            assert all(f.default is f.default_factory is dataclasses.MISSING for f in fields)


def test_the_split_is_named_by_its_own_seed() -> None:
    config = load_config(overrides=["split.seed=3", "train.seed=4"])
    assert config.split_name == "patient 3"
    old = {"profile": "default", "split": {"level": None}, "seed": 3}
    with pytest.raises(UserError, match=r"run jobs/prepare\.py again") as error:
        split_name(old)
    assert "\n" not in str(error.value)


def test_a_missing_file_and_broken_yaml_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml does not exist"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("vote:\n  c: [1\n")
    with pytest.raises(UserError, match=r"not valid YAML at line \d"):
        load_config(broken)
    broken.write_text("monitor:\n  reference_from: 2101-13-01\n")
    with pytest.raises(UserError, match=r"not valid YAML: month must be in 1\.\.12"):
        load_config(broken)
    broken.write_text("- a\n- b\n")
    with pytest.raises(UserError, match="must hold sections and keys"):
        load_config(broken)
    broken.write_bytes(b"\xff\xfe")
    for path in (broken, tmp_path):
        with pytest.raises(UserError, match="cannot be read as a text file"):
            load_config(path)


def test_windows_and_snapshots_follow_the_profile_unless_they_are_set() -> None:
    default, paper = load_config(), load_config(overrides=["profile=paper"])
    assert (default.windows, default.train_snapshots) == (("1days", "2days", "3days"), True)
    assert (paper.windows, paper.train_snapshots) == (("2days", "3days"), False)
    chosen = load_config(overrides=["profile=paper", "train.snapshots=true", "windows=[5days]"])
    assert (chosen.windows, chosen.train_snapshots) == (("5days",), True)


def test_the_paper_profile_splits_by_admission_by_default() -> None:
    assert load_config(overrides=["profile=paper"]).split_level == "admission"
    assert load_config().split_level == "patient"
    assert load_config(overrides=["profile=paper", "split.level=patient"]).split_level == "patient"


def test_an_object_store_needs_a_tracking_uri() -> None:
    with pytest.raises(UserError, match=r"set tracking\.uri"):
        _ = load_config(overrides=["output.root=s3://bucket/x"]).tracking_uri
    assert (
        load_config(overrides=["output.root=/tmp/x/"]).tracking_uri == "sqlite:////tmp/x/mlflow.db"
    )
