"""What several test files share: one thread, a few digits of MNIST, and a script run as
a user runs it."""

import gzip
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="agg")

import pytest
import torch

import autoencoder
import codelet7
import utils

ROOT = Path(__file__).parents[1]
SCRIPTS = {"codelet7.py": codelet7, "autoencoder.py": autoencoder}
FEW = {"train": 3_000, "t10k": 1_000}


def pytest_addoption(parser):
    parser.addoption(
        "--solution",
        metavar="PATH",
        help="what tests/assignment checks: codelet7.py or autoencoder.py, by any "
        "name, or a folder with them (the package's own)",
    )


def pytest_configure(config):
    path = config.getoption("--solution")
    if path and not is_solution(config.invocation_params.dir / path):
        raise pytest.UsageError(
            f"--solution {path}: expected a file of Python, or a folder with "
            "codelet7.py or autoencoder.py"
        )


def is_solution(path):
    if path.is_dir():
        names = ("codelet7.py", "autoencoder.py")
        return any((path / name).is_file() for name in names)
    return path.is_file() and path.suffix == ".py"


def pytest_collection_modifyitems(items):
    """What trains a model to its end, or waits for such a training, is slow."""
    for item in items:
        if {"mnist_run", "figures"} & set(item.fixturenames):
            item.add_marker("slow")
    items.sort(key=lambda item: "mnist_run" in item.fixturenames)  # last


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """A data folder with the first 3,000 training and 1,000 test images of MNIST."""
    folder = tmp_path_factory.mktemp("few")
    for part, count in FEW.items():
        cut(part, "images-idx3", count, 16, 28 * 28, folder)
        cut(part, "labels-idx1", count, 8, 1, folder)
    return folder


def cut(part, kind, count, header, size, folder):
    name = f"{part}-{kind}-ubyte.gz"
    content = gzip.decompress((utils.DATA / name).read_bytes())
    sizes = content[:4] + count.to_bytes(4, "big") + content[8:header]
    values = content[header : header + count * size]
    (folder / name).write_bytes(gzip.compress(sizes + values, 1))


@pytest.fixture(scope="session")
def images(few):
    """1,000 test images as `autoencoder.py` takes them, `(1000, 28, 28)`."""
    return torch.from_numpy(utils.load_mnist(False, few)[0]) / 255


@pytest.fixture(scope="session")
def labels(few):
    return torch.from_numpy(utils.load_mnist(False, few)[1])


@pytest.fixture(scope="session")
def normalised(few):
    """The same as `codelet7.py` takes them, `(1000, 1, 28, 28)`."""
    loader = codelet7.make_dataloader(*utils.load_mnist(False, few))
    return loader.dataset.tensors[0]


def run_script(name, *arguments):
    """Runs a script in this process, as a user does on the command line; returns its
    exit status and the line it ended with."""
    before = sys.argv
    sys.argv = [name, *map(str, arguments)]
    try:
        utils.run_script(SCRIPTS[name].main, name)
    except SystemExit as end:
        is_line = isinstance(end.code, str)
        return SimpleNamespace(status=1 if is_line else end.code, line=end.code)
    finally:
        sys.argv = before
    return SimpleNamespace(status=0, line="")


def train_mnist():
    """The model of codelet7.py's default settings, and its losses."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = codelet7.SparseAutoencoder(28 * 28, 10)
    loader = codelet7.make_dataloader(*utils.load_mnist())
    losses = codelet7.train(model, loader, 20, 1e-4)
    return SimpleNamespace(model=model, losses=losses)


def pytest_collection_finish(session):
    """Starts the training on the other core, if a test will want it."""
    names = {name for item in session.items for name in item.fixturenames}
    if "mnist_run" in names and not session.config.option.collectonly:
        pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        session.config.mnist_run = pool.submit(train_mnist)
        pool.shutdown(wait=False)


@pytest.fixture(scope="session")
def mnist_run(pytestconfig):
    return pytestconfig.mnist_run.result()
