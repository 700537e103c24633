#!/usr/bin/env bash
# Build the Python environment of the EMR nodes, on any x86_64 Linux with Python 3.11:
#
#   PYTHON=.venv/bin/python ./emr_env.sh FOLDER [PIP OPTION ...]
#
# It writes FOLDER/readmit-env-SHA256.tar.gz, whose name is its digest: a run names the archive that it
# was checked with, and the bootstrap compares. It has the versions of requirements/run.txt, each file
# checked by its hash. The archive is unpacked into a virtual environment of the node's
# /usr/bin/python3.11. It has no Spark, which the cluster has, and not this project's code, which each
# run uploads. PIP OPTIONs select another build of torch, such as
# --extra-index-url https://download.pytorch.org/whl/cu126 for an older driver. Torch and its CUDA
# libraries then come without a check of their hashes.
set -euo pipefail
umask 022 # executors run as a different user than the bootstrap action

PYTHON=${PYTHON:-python3.11}
FOLDER=${1:?"usage: emr_env.sh FOLDER [PIP OPTION ...]"}
shift
REQUIREMENTS=$(cd "$(dirname "$0")" && pwd)/requirements
HERE=$(dirname "$REQUIREMENTS")
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
SITE=$WORK/env/lib/python3.11/site-packages

fail() { echo "emr_env: $*" >&2; exit 1; }

"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
    || fail "$PYTHON is not Python 3.11, which the nodes have; set PYTHON"

# Wheels for glibc up to 2.34, the version of Amazon Linux 2023, whatever this machine has.
platforms=(--platform manylinux2014_x86_64)
for minor in {17..34}; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
pip_install() {
    "$PYTHON" -m pip install --quiet --target "$SITE" --only-binary=:all: --python-version 3.11 "${platforms[@]}" "$@"
}

checked=(--require-hashes --no-deps -r "$REQUIREMENTS/build.txt" -r "$REQUIREMENTS/run.txt")
if (($#)); then
    echo "emr_env: the hashes of torch and its CUDA libraries are not checked, because of $*"
    grep -hoE '^[a-zA-Z0-9._-]+==[^ ]+' "$REQUIREMENTS"/{run,torch}.txt > "$WORK/pins.txt"
    pip_install -c "$WORK/pins.txt" torch "$@"
    pip_install --upgrade "${checked[@]}" # also in place of what torch brought
else
    pip_install "${checked[@]}" -r "$REQUIREMENTS/torch.txt" -r "$REQUIREMENTS/cuda.txt"
fi
rm -rf "${SITE:?}/bin" # scripts with paths of this machine

# The oldest driver for this torch (NVIDIA: CUDA compatibility); emr_bootstrap.sh checks it.
cuda=$("$PYTHON" -c 'import runpy, sys; print(runpy.run_path(sys.argv[1])["cuda"] or "")' "$SITE/torch/version.py")
case ${cuda%%.*} in
    12) driver=525 ;;
    13) driver=580 ;;
    "") fail "pip installed a torch without CUDA: GPU nodes would score on their CPUs; use another index" ;;
    *) fail "torch is built for CUDA $cuda, whose driver this script does not know: add it here" ;;
esac
echo "$driver" > "$WORK/env/min_driver"

install -D -m 755 "$HERE/conf/gpu_addresses.sh" "$WORK/env/bin/gpu_addresses"
mkdir -p "$FOLDER"
# The same environment gives the same archive: fixed order, times and owners, no time in gzip's head.
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$WORK/env" -c . | gzip -n > "$WORK/archive"
OUT=$FOLDER/readmit-env-$(sha256sum "$WORK/archive" | cut -d ' ' -f 1).tar.gz
mv "$WORK/archive" "$OUT"
echo "emr_env: $OUT, $(du -h "$OUT" | cut -f 1), $(du -sh "$WORK/env" | cut -f 1) unpacked;" \
    "CUDA $cuda, driver $driver or later"
