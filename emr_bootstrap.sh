#!/usr/bin/env bash
# EMR 7 bootstrap action (Amazon Linux 2023). It runs on every node before applications are installed.
#
#   emr_bootstrap.sh s3://BUCKET/FOLDER/readmit-env-SHA256.tar.gz   (the archive that `make emr-env` builds)
#
# 1. Check that the archive is the one that its name says, and unpack the environment into a venv of
#    /usr/bin/python3.11 in /mnt/readmit-env. It is unpacked once per node and not per application,
#    because torch has gigabytes. The primary node runs no Python and gets none.
# 2. On a GPU node, mount the cgroup v1 devices controller that YARN's GPU plugin needs, print
#    nvidia-smi, fail if the driver is too old for the environment's torch, and see to the compiler and
#    headers with which torch compiles the model.
# The output is in /mnt/var/log/bootstrap-actions and below LogUri. A second run does nothing. EMR
# replaces the node if the exit code is not 0.
set -euo pipefail
umask 022 # executors run as a different user

ROOT=${READMIT_ROOT:-} # only tests set it
ARCHIVE=${1:?"usage: emr_bootstrap.sh s3://BUCKET/FOLDER/readmit-env-SHA256.tar.gz"}
ENVIRONMENT=$ROOT/mnt/readmit-env
CACHE=$ROOT/mnt/readmit-cache
CGROUP=$ROOT/spark-rapids-cgroup

say() { echo "$(date +%T) readmit bootstrap: $*"; }
fail() { say "$*" >&2; exit 1; }

is_primary() {
    grep -qs '"isMaster": *true' "$ROOT/mnt/var/lib/info/instance.json"
}

install_packages() { # from Amazon Linux's repositories, which a private subnet reaches through S3's endpoint
    say "installing $*"
    sudo dnf -y -q install "$@" || say "$* could not be installed" >&2
}

download() { # $1: file to write
    local expected found
    [[ $ARCHIVE =~ readmit-env-([0-9a-f]{64})\.tar\.gz$ ]] \
        || fail "$ARCHIVE does not carry its SHA-256 in its name: use the file that make emr-env makes"
    expected=${BASH_REMATCH[1]}
    aws s3 cp --only-show-errors "$ARCHIVE" "$1" \
        || fail "$ARCHIVE could not be downloaded: does it exist, may the role of this node read it, is /mnt full?"
    found=$(sha256sum "$1" | cut -d ' ' -f 1)
    [[ $found == "$expected" ]] \
        || fail "$ARCHIVE has the SHA-256 $found: it is not the archive that its name says, upload it again"
}

unpack_environment() {
    local partial=$ENVIRONMENT.partial
    if [[ -d $ENVIRONMENT ]]; then
        say "the environment exists already: $ENVIRONMENT"
        return
    fi
    sudo rm -rf "$partial" # of an interrupted run
    sudo mkdir -p "$partial"
    sudo chown "$(id -u):$(id -g)" "$partial"
    say "unpacking $ARCHIVE; free space: $(df -h --output=avail "$ROOT/mnt" | tail -n 1)"
    [[ -x $ROOT/usr/bin/python3.11 ]] || install_packages python3.11
    "$ROOT/usr/bin/python3.11" -m venv --without-pip "$partial" \
        || fail "/usr/bin/python3.11 cannot create a virtual environment: is this EMR 7?"
    download "$partial/archive"
    tar -xzf "$partial/archive" --no-same-owner -C "$partial" || fail "$ARCHIVE cannot be unpacked: is /mnt full?"
    rm "$partial/archive"
    "$partial/bin/python" -c 'import pyarrow, torch' \
        || fail "the environment in $ARCHIVE does not run on this node: build it again with make emr-env"
    sudo mv -T "$partial" "$ENVIRONMENT" # complete or absent
    say "the environment is in $ENVIRONMENT"
}

make_cache() { # for compiled kernels and the font list, which are written at the first use
    sudo mkdir -p "$CACHE"
    sudo chmod 1777 "$CACHE"
}

has_gpu() { # looks for the card, because EMR may load its driver later
    grep -qs 0x10de "$ROOT"/sys/bus/pci/devices/*/vendor
}

mount_cgroup_v1() {
    # EMR 7 uses cgroup v2, but YARN's GPU plugin needs v1 (AWS: "Use the Nvidia RAPIDS Accelerator").
    if grep -qs " $CGROUP/devices " "$ROOT/proc/mounts"; then
        say "the cgroup v1 devices controller is already mounted"
        return
    fi
    sudo mkdir -p "$CGROUP/devices"
    sudo mount -t cgroup -o devices cgroupv1-devices "$CGROUP/devices" \
        || fail "the cgroup v1 devices controller cannot be mounted: YARN would not offer the GPU of this node"
    sudo chmod a+rwx -R "$CGROUP"
    say "mounted the cgroup v1 devices controller at $CGROUP/devices"
}

check_driver() {
    local version required
    if ! command -v nvidia-smi > /dev/null; then
        say "this node has a GPU but no driver yet; scoring fails with a clear message without a driver"
        return
    fi
    nvidia-smi || fail "this node has a GPU, but nvidia-smi fails"
    version=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader | head -n 1)
    [[ $version =~ ^[0-9]+(\.|$) ]] || fail "nvidia-smi gives no driver version but '$version'"
    required=$(< "$ENVIRONMENT/min_driver")
    if ((${version%%.*} < required)); then
        fail "NVIDIA driver $version is older than $required, which the environment's torch needs:" \
            "build it with a torch for an older CUDA (see emr_env.sh)"
    fi
    say "NVIDIA driver $version; required: $required or later"
}

can_compile() {
    command -v gcc cc clang > /dev/null && [[ -f $ROOT/usr/include/python3.11/Python.h ]]
}

see_to_compiler() { # without it the model runs uncompiled: slower, with the same scores to 16 bits
    can_compile || install_packages gcc python3.11-devel
    if can_compile; then
        say "torch can compile the model on this node"
    else
        say "no compiler or no Python.h on this node: the model runs uncompiled, which is slower"
    fi
}

if is_primary; then
    say "this is the primary node, which runs no Python: nothing to do"
    exit
fi
unpack_environment
make_cache
if has_gpu; then
    mount_cgroup_v1
    check_driver
    see_to_compiler
else
    say "no GPU on this node"
fi
