"""How fast ours scores chunks through Spark on a CPU, beside four other ways.

    python bench/score.py --text FILE                 about 5 minutes on 2 quiet cores
    python bench/score.py --text FILE --chunks 64 --rounds 5    full batches of 32; half an hour
    python bench/score.py --text FILE --layers 1 --chunks 6 --rounds 1    a rehearsal

BERT-base shape with random weights, chunks of real text: up to 318 words, about 400 tokens on
average, of up to 512. Two processes with one thread each, as Spark has them on two cores. Ways take
turns, the order reversed from round to round, each in a Spark session of its own with new workers:
what is timed is from a table of chunks to probabilities at the driver, once both workers hold the
model. That holds the fixed cost of a Spark job, which more chunks make smaller. A ratio is the
median over rounds. Every way must give the same probabilities.

Rates are counted in useful arithmetic, tokens and never padding, of the whole model. Ours leaves
out the part of the last layer that no result depends on; `share_computed` counts without it.

Writes bench/results/score.json (machine, commit, figures) and score.png.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from _machine import describe, keep_to_cores, write_result
from _score_figures import table
from _score_picture import draw
from _text import add_text

BERT_BASE_LAYERS = 12
CORES = 2
ENVIRONMENT = {  # of this process and, as Java hands it on, of the workers
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def main() -> int:
    arguments = _arguments()
    os.environ.update(ENVIRONMENT)
    keep_to_cores(CORES)
    machine = describe()
    machine["packages"] |= {name: version(name) for name in ("mlflow", "openvino") if _has(name)}
    with tempfile.TemporaryDirectory(prefix="bench-score-") as folder:
        # Left to itself, MLflow would put a database into the working directory.
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        # Only now: the libraries read their settings as they are imported.
        from _score_run import measure

        result = measure(Path(folder), arguments.text, arguments.layers, arguments.chunks,
                         arguments.rounds)  # fmt: skip
    # A rehearsal must not take the place of the figures.
    full = arguments.layers == BERT_BASE_LAYERS
    path = write_result("score" if full else f"score_{arguments.layers}_layers", machine, result)
    picture = draw(result, path.with_suffix(".png"))
    print(table(result))
    print(f"{path}\n{picture}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--chunks", type=int, default=24, help="chunks a way a round, even")
    parser.add_argument("--layers", type=int, default=BERT_BASE_LAYERS)
    add_text(parser)
    arguments = parser.parse_args()
    if arguments.chunks < CORES or arguments.chunks % CORES:
        parser.error("--chunks: an even number, so that both tasks get as many")
    return arguments


def _has(package: str) -> bool:
    return find_spec(package) is not None


if __name__ == "__main__":
    sys.exit(main())
