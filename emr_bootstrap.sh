#!/usr/bin/env bash
# EMR 7 bootstrap action (Amazon Linux 2023): runs on every node, before applications are installed.
#
#   emr_bootstrap.sh s3://BUCKET/FOLDER/readmit-env.tar.gz     (the archive that `make emr-env` builds)
#
# 1. unpacks the environment over a venv of /usr/bin/python3.11 in /mnt/readmit-env: torch is gigabytes,
#    so once a node, not once an application;
# 2. on a GPU node, mounts the cgroup v1 devices controller that YARN's GPU plugin needs, prints
#    nvidia-smi, and stops the node where the driver is too old for the environment's torch.
# What it says is in /mnt/var/log/bootstrap-actions and under LogUri. Run twice, it does nothing the
# second time. A non-zero exit makes EMR replace the node.
set -euo pipefail
umask 022 # executors run as another user

ROOT=${READMIT_ROOT:-} # a test's own / and nothing else
ARCHIVE=${1:?"usage: emr_bootstrap.sh s3://BUCKET/FOLDER/readmit-env.tar.gz"}
ENVIRONMENT=$ROOT/mnt/readmit-env
CACHE=$ROOT/mnt/readmit-cache
CGROUP=$ROOT/spark-rapids-cgroup

say() { echo "$(date +%T) readmit bootstrap: $*"; }
fail() { say "$*" >&2; exit 1; }

unpack_environment() {
    local partial=$ENVIRONMENT.partial
    if [[ -d $ENVIRONMENT ]]; then
        say "the environment is there already: $ENVIRONMENT"
        return
    fi
    sudo rm -rf "$partial" # of a run that was cut off
    sudo mkdir -p "$partial"
    sudo chown "$(id -u):$(id -g)" "$partial"
    say "unpacking $ARCHIVE; free there: $(df -h --output=avail "$ROOT/mnt" | tail -n 1)"
    "$ROOT/usr/bin/python3.11" -m venv --without-pip "$partial" \
        || fail "no virtual environment from /usr/bin/python3.11: is this EMR 7?"
    aws s3 cp --only-show-errors "$ARCHIVE" - | tar -xz --no-same-owner -C "$partial" \
        || fail "$ARCHIVE could not be fetched or unpacked: is it there, may this node's role read it, is /mnt full?"
    "$partial/bin/python" -c 'import pyarrow, torch' \
        || fail "the environment in $ARCHIVE does not run here: build it anew with make emr-env"
    sudo mv -T "$partial" "$ENVIRONMENT" # whole or not at all
    say "the environment is in $ENVIRONMENT"
}

make_cache() { # for kernels that are compiled and fonts that are found at the first use
    sudo mkdir -p "$CACHE"
    sudo chmod 1777 "$CACHE"
}

has_gpu() { # by the card itself: EMR may load its driver after this
    grep -qs 0x10de "$ROOT"/sys/bus/pci/devices/*/vendor
}

mount_cgroup_v1() {
    # EMR 7 runs cgroup v2; YARN's GPU plugin knows only v1 (AWS: "Use the Nvidia RAPIDS Accelerator").
    if grep -qs " $CGROUP/devices " "$ROOT/proc/mounts"; then
        say "the cgroup v1 devices controller is mounted already"
        return
    fi
    sudo mkdir -p "$CGROUP/devices"
    sudo mount -t cgroup -o devices cgroupv1-devices "$CGROUP/devices" \
        || fail "the cgroup v1 devices controller cannot be mounted: YARN would give out no GPU on this node"
    sudo chmod a+rwx -R "$CGROUP"
    say "cgroup v1 devices controller at $CGROUP/devices"
}

check_driver() {
    local version needed
    if ! command -v nvidia-smi > /dev/null; then
        say "this node has a GPU and no driver yet; scoring stops with a clear line if none comes"
        return
    fi
    nvidia-smi || fail "this node has a GPU and nvidia-smi fails on it"
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
    needed=$(< "$ENVIRONMENT/min_driver")
    if ((${version%%.*} < needed)); then
        fail "NVIDIA driver $version is older than $needed, which the environment's torch needs:" \
            "build it with a torch for an older CUDA (emr_env.sh says how)"
    fi
    say "NVIDIA driver $version, $needed or later is needed"
}

unpack_environment
make_cache
if has_gpu; then
    mount_cgroup_v1
    check_driver
else
    say "no GPU on this node"
fi
