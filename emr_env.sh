#!/usr/bin/env bash
# Builds the Python environment of the EMR nodes, on any Linux with x86_64 and Python 3.11:
#
#   PYTHON=.venv/bin/python ./emr_env.sh dist/readmit-env.tar.gz [PIP OPTION ...]
#
# It holds what setup.py asks for, at the versions of requirements.txt, laid out to be unpacked over a
# virtual environment of the node's own /usr/bin/python3.11. Spark is the cluster's; the code comes with
# each run. PIP OPTIONs choose another build of torch, such as
# --extra-index-url https://download.pytorch.org/whl/cu126 for an older driver.
set -euo pipefail
umask 022 # executors run as another user than the one who unpacks it

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

# Wheels for Amazon Linux 2023's glibc, 2.34, and those before it, whatever this machine has.
platforms=(--platform manylinux2014_x86_64)
for minor in {17..34}; do platforms+=(--platform "manylinux_2_${minor}_x86_64"); done
"$PYTHON" -m pip install --quiet --target "$SITE" --only-binary=:all: --python-version 3.11 \
    "${platforms[@]}" -c "$HERE/requirements.txt" -r "$WORK/requirements.txt" "$@"
rm -rf "${SITE:?}/bin" # scripts of the machine that built it

# The oldest driver that runs this torch (NVIDIA: CUDA compatibility); the bootstrap holds nodes to it.
cuda=$("$PYTHON" -c 'import runpy, sys; print(runpy.run_path(sys.argv[1])["cuda"] or "")' "$SITE/torch/version.py")
case ${cuda%%.*} in
    12) driver=525 ;;
    13) driver=580 ;;
    "") fail "pip chose a torch without CUDA: GPU nodes would score on their CPUs; choose another index" ;;
    *) fail "torch is built for CUDA $cuda, and which driver that needs is not known here: add it" ;;
esac
echo "$driver" > "$WORK/env/min_driver"

install -D -m 755 "$HERE/conf/gpu_addresses.sh" "$WORK/env/bin/gpu_addresses"
mkdir -p "$(dirname "$OUT")"
tar --owner=0 --group=0 -C "$WORK/env" -czf "$OUT" .
echo "emr_env: $OUT, $(du -h "$OUT" | cut -f 1), $(du -sh "$WORK/env" | cut -f 1) unpacked;" \
    "CUDA $cuda, driver $driver or later"
