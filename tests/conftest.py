"""What several test files share."""

import os

import pytest


def pytest_configure():
    """One thread for this process and those that it starts, before any of them imports NumPy or PyTorch: several
    suites may run at a time, and threads that wait for each other on a busy machine cost many times what tests do."""
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """An .npz file of the "images" and "labels" of 3,000 drawn digits, for `running.Forked`."""
    import numpy as np  # here, after `pytest_configure`

    from digits import draw_digits

    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    images, labels = draw_digits(3_000, seed=0)
    np.savez(path, images=images, labels=labels)
    return path
