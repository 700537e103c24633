#!/usr/bin/env bash
# Tells Spark which GPUs this executor has (spark.executor.resource.gpu.discoveryScript).
set -euo pipefail
found=$(nvidia-smi --query-gpu=index --format=csv,noheader) # one a line
echo "{\"name\": \"gpu\", \"addresses\": [\"${found//$'\n'/\", \"}\"]}"
