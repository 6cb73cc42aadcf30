"""The solutions that the checks are about, and the surroundings in which they run."""

import functools
import shutil
import sys
from pathlib import Path

import mnist
import pytest
import torch

import utils
from tests.assignment import solution
from tests.assignment.reading import errors_in_a_line, find_file
from tests.conftest import ROOT

parse_once = functools.cache(mnist.download_and_parse_mnist_file)


def named_path(config):
    """What `--solution` names; else the package's own folder."""
    named = config.getoption("--solution")
    return config.invocation_params.dir / named if named else ROOT


def pytest_ignore_collect(collection_path, config):
    """Leaves out the checks that a single file is not about."""
    assignment = collection_path.stem.removeprefix("test_")
    path = named_path(config)
    if path.is_dir() or assignment not in ("codelet7", "autoencoder"):
        return None  # of a folder, the checks of what is missing are skipped
    return None if find_file(path, assignment) else True


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call():
    with errors_in_a_line():
        return (yield)


@pytest.fixture(scope="session")
def codelet7(pytestconfig):
    return solution.Codelet7(required_file(pytestconfig, "codelet7"))


@pytest.fixture(scope="session")
def autoencoder(pytestconfig):
    return solution.Autoencoder(required_file(pytestconfig, "autoencoder"))


def required_file(config, assignment):
    path = named_path(config)
    return find_file(path, assignment) or pytest.skip(f"not handed in: {assignment}.py")


@pytest.fixture(scope="session")
def workplace(tmp_path_factory):
    """A folder with `data/`, in which solutions may leave what they like."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copytree(utils.DATA, folder / "data")
    return folder


@pytest.fixture(autouse=True)
def surroundings(pytestconfig, workplace, monkeypatch):
    path = named_path(pytestconfig)
    monkeypatch.chdir(workplace)
    prepare_surroundings(path if path.is_dir() else path.parent, monkeypatch)


def prepare_surroundings(folder, monkeypatch):
    """Lets a solution in a folder find MNIST and its own modules, and no GPU."""
    monkeypatch.setattr(mnist, "temporary_dir", lambda: utils.DATA)
    monkeypatch.setattr(mnist, "download_and_parse_mnist_file", parsed_copy)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["solution"])
    monkeypatch.syspath_prepend(folder)
    own_utils = folder / "utils.py"
    if own_utils.exists() and not is_copy(own_utils, utils.__file__):
        monkeypatch.delitem(sys.modules, "utils")


def parsed_copy(name, *_, **__):
    """A file of MNIST; a solution may read it on each call, and shuffle it."""
    return parse_once(name).copy()


def is_copy(path, original):
    return path.read_bytes() == Path(original).read_bytes()
