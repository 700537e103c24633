#!/usr/bin/env bash
# EMR 7.x bootstrap action (Amazon Linux 2023): runs on every node, before applications are installed.
#
#   emr_bootstrap.sh s3://BUCKET/PREFIX/readmit-env.tar.gz
#
# 1. unpacks the prebuilt Python environment to /mnt/readmit-env (torch is gigabytes: once a node, not
#    once an application); 2. on a GPU node, mounts the cgroup v1 devices controller that YARN's GPU
#    plugin needs, prints nvidia-smi and stops the node where the driver is too old for the torch build.
# Run twice, it does nothing the second time. A non-zero exit makes EMR replace the node.
set -euo pipefail

ENV_ARCHIVE=${1:?"usage: emr_bootstrap.sh s3://BUCKET/PREFIX/readmit-env.tar.gz"}
ENV_FOLDER=${READMIT_ENV_FOLDER:-/mnt/readmit-env}
CGROUP=${READMIT_CGROUP_ROOT:-/spark-rapids-cgroup}
MIN_DRIVER=${READMIT_MIN_DRIVER:-525} # CUDA 12; a CUDA 13 build of torch needs 580

say() { echo "readmit bootstrap: $*"; }
fail() { say "$*" >&2; exit 1; }

unpack_environment() {
    if [[ -f $ENV_FOLDER/.complete ]]; then
        say "environment is there already: $ENV_FOLDER"
        return
    fi
    sudo mkdir -p "$ENV_FOLDER"
    sudo chown "$(id -u):$(id -g)" "$ENV_FOLDER"
    aws s3 cp --only-show-errors "$ENV_ARCHIVE" - | tar -xz -C "$ENV_FOLDER" \
        || fail "$ENV_ARCHIVE could not be fetched or unpacked; is it there, and may this role read it?"
    "$ENV_FOLDER/bin/python" -c 'import readmit_spark, pyarrow, torch' \
        || fail "the environment in $ENV_ARCHIVE does not run here; build it with python3.11 on AL2023"
    touch "$ENV_FOLDER/.complete"
    say "environment unpacked to $ENV_FOLDER"
}

mount_cgroup_v1() {
    # EMR 7 runs cgroup v2; YARN's GPU plugin knows only v1 (AWS: "Use the Nvidia RAPIDS Accelerator").
    sudo mkdir -p "$CGROUP/devices"
    if ! grep -q " $CGROUP/devices " /proc/mounts; then
        sudo mount -t cgroup -o devices cgroupv1-devices "$CGROUP/devices"
    fi
    sudo chmod a+rwx -R "$CGROUP"
    say "cgroup v1 devices controller at $CGROUP/devices"
}

check_driver() {
    local version
    nvidia-smi || fail "this node has an NVIDIA GPU but nvidia-smi fails: no driver is loaded"
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
    if (( ${version%%.*} < MIN_DRIVER )); then
        fail "NVIDIA driver $version is older than $MIN_DRIVER, which this torch build needs"
    fi
}

unpack_environment
if command -v nvidia-smi > /dev/null; then
    mount_cgroup_v1
    check_driver
else
    say "no GPU on this node"
fi
