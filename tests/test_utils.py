"""The door to MNIST against damaged, missing and foreign files and dead networks; flags; pictures."""

import gzip
import hashlib
import http.server
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import MNIST

import utils
from tests.running import ROOT

NAMES = [name for name, _ in MNIST.resources]
CLOSED = "http://127.0.0.1:9/"  # nothing listens there


def idx(array):
    """`array` as a gzipped IDX file, the format of MNIST's files."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0)


@pytest.fixture
def small_mnist(monkeypatch, tmp_path):
    """A stand-in for MNIST of 6 training and 4 test images, with its sums: a dict of file name to bytes."""
    rng = np.random.default_rng(0)
    files = {}
    for name in NAMES:
        count = 6 if name.startswith("train") else 4
        array = rng.integers(0, 10, count) if "labels" in name else rng.integers(0, 256, (count, 28, 28))
        files[name] = idx(array.astype(np.uint8))
    monkeypatch.setattr(MNIST, "resources", [(name, hashlib.md5(file).hexdigest()) for name, file in files.items()])
    monkeypatch.setattr(MNIST, "mirrors", [CLOSED])
    monkeypatch.setenv("no_proxy", "127.0.0.1")  # the servers of these tests are here
    monkeypatch.chdir(tmp_path)
    utils.load_digits.cache_clear()
    utils._mnist_folder.cache_clear()
    yield files
    utils.load_digits.cache_clear()
    utils._mnist_folder.cache_clear()


@pytest.fixture
def folder(small_mnist, tmp_path):
    """A folder of the four small files."""
    folder = tmp_path / "files"
    folder.mkdir()
    for name, file in small_mnist.items():
        (folder / name).write_bytes(file)
    return folder


@pytest.fixture
def serve(monkeypatch):
    """Serves a dict of files on this machine as the only mirror of MNIST; gives the list of requested paths."""
    servers = []

    def start(files):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                file = files.get(self.path[1:])
                self.send_response(200 if file is not None else 404)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(file or b"")

            do_HEAD = do_GET
            log_message = lambda *_: None

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        return requests

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_files_are_parsed(folder, small_mnist):
    for train, count, prefix in ((True, 6, "train"), (False, 4, "t10k")):
        digits = utils.load_digits(train, str(folder))
        assert digits.images.shape == (count, 28, 28) and digits.images.dtype == np.uint8
        assert digits.labels.shape == (count,) and digits.labels.dtype == np.int64
        assert digits.source == utils.MNIST
        raw = gzip.decompress(small_mnist[f"{prefix}-images-idx3-ubyte.gz"])
        assert digits.images.tobytes() == raw[16:]


def damage(kind, folder):
    """Damages one of the files in `folder`; returns its name."""
    if kind == "swapped":
        first, second = folder / NAMES[0], folder / NAMES[2]
        whole = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(whole)
        return NAMES[0]
    file = folder / NAMES[3]
    whole = file.read_bytes()
    if kind == "truncated":
        file.write_bytes(whole[:-1])
    elif kind == "corrupt":
        file.write_bytes(whole[:20] + bytes([whole[20] ^ 1]) + whole[21:])
    elif kind == "another data set's":
        file.write_bytes(idx(np.arange(4, dtype=np.uint8)))
    else:
        file.write_bytes(b"")
    return file.name


@pytest.mark.parametrize("kind", ["swapped", "truncated", "corrupt", "another data set's", "empty"])
@pytest.mark.parametrize("named", [True, False])
def test_wrong_files_are_refused(folder, small_mnist, kind, named):
    name = damage(kind, folder)
    if not named:  # the default folder must be as strict
        folder.rename("data")
        folder = Path("data")
    found = hashlib.md5((folder / name).read_bytes()).hexdigest()
    with pytest.raises(utils.UserError) as error:
        utils.load_digits(True, str(folder) if named else None)
    for part in (str(folder / name), found, dict(MNIST.resources)[name], "delete", "--data"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_are_downloaded(small_mnist, serve, tmp_path):
    requests = serve(small_mnist)
    folder = tmp_path / "new" / "folder"
    assert len(utils.load_digits(False, str(folder)).images) == 4
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == small_mnist
    requests.clear()
    utils._mnist_folder.cache_clear()
    utils.load_digits.cache_clear()
    assert len(utils.load_digits(True, str(folder)).images) == 6
    assert requests == []


def test_only_what_is_missing_is_downloaded(folder, small_mnist, serve):
    requests = serve(small_mnist)
    (folder / NAMES[1]).unlink()
    assert len(utils.load_digits(True, str(folder)).labels) == 6
    assert {path[1:] for path in requests} == {NAMES[1]}


def test_half_a_download_is_not_a_file(small_mnist, serve, tmp_path):
    serve({**small_mnist, NAMES[2]: small_mnist[NAMES[2]][:-100]})
    with pytest.raises(utils.UserError, match="downloading MNIST failed"):
        utils.load_digits(True, str(tmp_path / "files"))
    assert sorted(path.name for path in (tmp_path / "files").iterdir()) == sorted(NAMES[:2])
    serve(small_mnist)  # the next run goes on where this one failed
    assert len(utils.load_digits(True, str(tmp_path / "files")).images) == 6


def test_second_mirror_is_tried(small_mnist, serve, tmp_path, monkeypatch):
    serve(small_mnist)
    monkeypatch.setattr(MNIST, "mirrors", [CLOSED, *MNIST.mirrors])
    assert len(utils.load_digits(True, str(tmp_path / "files")).images) == 6


def test_named_folder_without_files_is_an_error(small_mnist, tmp_path):
    with pytest.raises(utils.UserError, match="Connection refused") as error:
        utils.load_digits(True, str(tmp_path / "nothing"))
    assert str(tmp_path / "nothing") in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "nothing").exists()


def test_a_file_in_place_of_the_folder_is_an_error(folder):
    with pytest.raises(utils.UserError, match="is not a folder"):
        utils.load_digits(True, str(folder / NAMES[0]))


def test_no_files_and_no_network_gives_drawn_digits(small_mnist, capsys):
    train, test = utils.load_digits(True), utils.load_digits(False)
    assert train.source == test.source == utils.DRAWN
    assert train.images.shape == (60_000, 28, 28) and test.images.shape == (10_000, 28, 28)
    assert not np.array_equal(train.images[:10_000], test.images)
    notice = capsys.readouterr().err.splitlines()
    assert len(notice) == 2, "one notice for both sets, of two lines"
    assert "Connection refused" in notice[0] and "drawn digits" in notice[1] and "--data" in notice[1]


def test_silent_network_is_noticed_within_ten_seconds(small_mnist, monkeypatch, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(MNIST, "mirrors", [address, address])
        start = time.monotonic()
        with pytest.raises(utils.UserError, match="no answer|timed out"):
            utils.load_digits(True, str(tmp_path / "files"))
        assert time.monotonic() - start < 10


@pytest.mark.parametrize(
    "convert, text",
    [
        (utils.positive_int, "0"),
        (utils.positive_int, "-3"),
        (utils.positive_int, "2.5"),
        (utils.positive_int, "ten"),
        (utils.positive_float, "0"),
        (utils.positive_float, "-1e-4"),
        (utils.positive_float, "nan"),
        (utils.positive_float, "inf"),
        (utils.positive_float, ""),
        (utils.seed, "-1"),
        (utils.finite_float, "nan"),
        (utils.seed, str(2**63)),
    ],
)
def test_bad_numbers_are_refused(convert, text):
    with pytest.raises(utils.argparse.ArgumentTypeError, match="is not a"):
        convert(text)


def test_good_numbers_are_taken():
    assert (utils.positive_int("64"), utils.positive_float("1e-4"), utils.seed("0")) == (64, 1e-4, 0)


def test_device():
    assert utils.pick_device("cpu").type == "cpu"
    assert utils.pick_device("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(utils.UserError, match="--device cuda"):
            utils.pick_device("cuda")


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(utils.UserError, match="--figures"):
        utils.picture_folder(tmp_path / "file", "codelet7", utils.MNIST)


def test_drawn_pictures_have_a_folder_of_their_own(tmp_path):
    assert utils.picture_folder(tmp_path, "codelet7", utils.MNIST) == tmp_path / "codelet7"
    assert utils.picture_folder(tmp_path, "codelet7", utils.DRAWN) == tmp_path / "drawn" / "codelet7"


def test_replacing_keeps_the_old_file_when_interrupted(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), utils.replacing(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"] and path.read_text() == "old"


def test_displayable_maps_any_range():
    normalised = torch.linspace(-0.42, 2.82, 28 * 28).view(1, 28, 28)
    shown = utils.displayable(normalised)
    assert shown.shape == (28, 28)
    np.testing.assert_allclose(shown, np.linspace(0, 1, 28 * 28).reshape(28, 28), atol=1e-6)
    fits = torch.rand(3, 5, 7)
    np.testing.assert_array_equal(utils.displayable(fits), fits.permute(1, 2, 0).numpy())
    bytes_ = torch.tensor([[0, 255]], dtype=torch.uint8)
    np.testing.assert_array_equal(utils.displayable(bytes_), [[0, 1]])
    assert np.isfinite(utils.displayable(torch.full((1, 2, 2), 2.0))).all()


def test_show_saves_pixels_unsmeared(tmp_path, capsys):
    from matplotlib.image import imread

    checkers = (torch.arange(28 * 28).view(1, 28, 28) + torch.arange(28).view(28, 1)) % 2 * 3.0 - 1
    utils.show([checkers, checkers], tmp_path / "two.png", title="checkers", titles=["left", "right"])
    assert str(tmp_path / "two.png") in capsys.readouterr().out
    picture = imread(tmp_path / "two.png")[..., 0]
    row = picture[picture.shape[0] - 60]  # through both images, near the bottom
    dark = row[row < 0.5]
    assert len(dark) == 2 * 14 * 5 and (dark == 0).all() and set(row) == {0, 1}


def test_show_without_a_display_says_so(capsys, monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    figure = utils.show(torch.rand(1, 28, 28))
    assert "no display" in capsys.readouterr().err
    assert len(figure.axes) == 1


@pytest.mark.parametrize("script", sorted(path.name for path in ROOT.glob("*.py")))
def test_import_touches_neither_disk_nor_network(script, tmp_path):
    code = f"import sys, socket; sys.path.insert(0, {str(ROOT)!r}); socket.socket.connect = None; import {script[:-3]}"
    done = subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
