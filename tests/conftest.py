"""What several test files share."""

import numpy as np
import pytest

from digits import draw_digits


@pytest.fixture(scope="session")
def digits_file(tmp_path_factory):
    """An .npz file of the "images" and "labels" of 3,000 drawn digits, for `running.Forked`."""
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    images, labels = draw_digits(3_000, seed=0)
    np.savez(path, images=images, labels=labels)
    return path
