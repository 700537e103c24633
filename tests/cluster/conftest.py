from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.cluster import jobs
from tests.cluster.jobs import Prepared, Ran, Started
from tests.cluster.standalone import Cluster

NODES = {"a": ["0"], "b": ["0", "1"]}
Score = Callable[..., Started]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster"), NODES)
    yield made
    made.stop()


@pytest.fixture(scope="session")
def prepared(
    cluster: Cluster, tiny_model: str, tmp_path_factory: pytest.TempPathFactory
) -> Prepared:
    return jobs.prepare(cluster, tmp_path_factory.mktemp("prepared"), tiny_model, patients=120)


@pytest.fixture(scope="session")
def score(cluster: Cluster, prepared: Prepared, tmp_path_factory: pytest.TempPathFactory) -> Score:
    """`jobs.score` on the prepared chunks: score(kind, *settings, master=..., **spark_conf)."""

    def start(*arguments: str, **conf: str) -> Started:
        return jobs.score(cluster, prepared, tmp_path_factory.mktemp("score"), *arguments, **conf)

    return start


@pytest.fixture(scope="session")
def local(score: Score) -> Ran:
    """The same job in local mode. Its scores are the expected ones."""
    done = score(master="local[3]").end()
    assert done.code == 0, done.output
    return done
