"""What several test files share: one thread, few digits, and a script run as a user runs it."""

import os
import sys
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", MPLBACKEND="agg")  # several threads slow tests down

import pytest

import autoencoder
import codelet7
import utils
from extras.digits import draw_digits

ROOT = Path(__file__).parents[1]
SCRIPTS = {"codelet7.py": codelet7, "autoencoder.py": autoencoder}


@pytest.fixture(scope="session")
def digits():
    """3,000 drawn digits to train on, and 1,000 to test, two `utils.Digits`."""
    return utils.Digits(*draw_digits(3_000, 0), utils.DRAWN), utils.Digits(*draw_digits(1_000, 1), utils.DRAWN)


@pytest.fixture
def script(digits, monkeypatch, tmp_path, capsys):
    """Function that runs a script in this process, in an empty folder and on few digits, as a user does on the command
    line; it returns the exit status and what was printed."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        status = 0
        try:
            utils.run(SCRIPTS[name].main, name)
        except SystemExit as end:
            status = 1 if isinstance(end.code, str) else end.code
            print(end.code if isinstance(end.code, str) else "", file=sys.stderr)
        out, errors = capsys.readouterr()
        return status, out, errors.strip()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(utils, "load_digits", lambda train=True, data=None, read=None: digits[not train])
    monkeypatch.setattr(autoencoder, "PLOTTED", 2_000)
    autoencoder.load_tensors.cache_clear()
    return run


def needs_mnist():
    """The folder of MNIST's files; skips the test where there is none."""
    folder = os.environ.get("MNIST_DIR")
    if not folder:
        pytest.skip("MNIST_DIR does not name the folder of MNIST's files")
    return folder
