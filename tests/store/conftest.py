"""Servers for the session (one set a worker), and a maker of stores for each backend."""

import shutil
from contextlib import contextmanager

import pytest
from servers import Postgres, Redis, make_folder


@contextmanager
def running(kind, **more):
    folder = make_folder()
    try:
        server = kind(folder, **more)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis():
    with running(Redis) as server:
        yield server


@pytest.fixture(scope="session")
def cluster():
    with running(Redis, cluster=True) as server:
        yield server


@pytest.fixture(scope="session")
def postgres():
    with running(Postgres) as server:
        yield server
