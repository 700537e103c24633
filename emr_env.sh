#!/usr/bin/env bash
# Build the Python environment of the EMR nodes, on any x86_64 Linux with Python 3.11:
#
#   PYTHON=.venv/bin/python ./emr_env.sh dist/readmit-env.tar.gz [PIP OPTION ...]
#
# It has the dependencies of setup.py in the versions of requirements.txt. The archive is unpacked into a
# virtual environment of the node's /usr/bin/python3.11. It has no Spark, which the cluster has, and not
# this project's code, which each run uploads. PIP OPTIONs select another build of torch, such as
# --extra-index-url https://download.pytorch.org/whl/cu126 for an older driver.
set -euo pipefail
umask 022 # executors run as a different user than the bootstrap action

PYTHON=${PYTHON:-python3.11}
OUT=$(realpath -m "${1:?"usage: emr_env.sh ARCHIVE.tar.gz [PIP OPTION ...]"}")
shift
HERE=$(cd "$(dirname "$0")" && pwd)
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
SITE=$WORK/env/lib/python3.11/site-packages

fail() { echo "emr_env: $*" >&2; exit 1; }

"$PYTHON" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
    || fail "$PYTHON is not Python 3.11, which the nodes have; set PYTHON"

"$PYTHON" - > "$WORK/requirements.txt" << 'END'
from importlib.metadata import requires
print(*(r for r in requires("readmit-spark") if "extra ==" not in r and not r.startswith("pyspark")), sep="\n")
END

# Wheels for glibc up to 2.34, the version of Amazon Linux 2023, whatever this machine has.
platforms=(--platform manylinux2014_x86_64)
for minor in {17..34}; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
"$PYTHON" -m pip install --quiet --target "$SITE" --only-binary=:all: --python-version 3.11 \
    "${platforms[@]}" -c "$HERE/requirements.txt" -r "$WORK/requirements.txt" "$@"
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
mkdir -p "$(dirname "$OUT")"
tar --owner=0 --group=0 -C "$WORK/env" -czf "$OUT" .
echo "emr_env: $OUT, $(du -h "$OUT" | cut -f 1), $(du -sh "$WORK/env" | cut -f 1) unpacked;" \
    "CUDA $cuda, driver $driver or later"
