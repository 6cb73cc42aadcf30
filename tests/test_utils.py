"""Pictures as they were given, MNIST or what takes its place, flags, folders, and errors in one line."""

import functools
import gzip
import hashlib
import shutil
import socket
import struct
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image, pyplot
from torchvision.utils import make_grid

import utils
from utils import UserError, show

BLACK, WHITE = torch.zeros(28, 28), torch.ones(28, 28)


@pytest.mark.parametrize(
    ("picture", "grey"),
    [
        (torch.full((28, 28), 0.5), 0.5), (torch.full((28, 28), 0.5, dtype=torch.bfloat16), 0.5),
        (torch.full((28, 28), 7.0), 1), (torch.full((28, 28), -7.0), 0), (torch.full((28, 28), 51), 0.2),
        (torch.ones(28, 28, dtype=torch.bool), 1), (torch.linspace(-1, 3, 784).view(28, 28), 0.5),
    ],
)  # fmt: skip
def test_show_has_black_for_0_white_for_1_and_stretches_what_leaves_them(picture, grey, tmp_path):
    show(picture, tmp_path / "shown.png")
    pixels = image.imread(tmp_path / "shown.png")
    assert pixels[len(pixels) // 2, pixels.shape[1] // 2, :3] == pytest.approx(grey, abs=0.05)


@pytest.mark.parametrize(
    ("images", "count"),
    [
        (torch.zeros(3, 28, 28), 1), (make_grid(BLACK[None]), 1), (torch.stack([BLACK, WHITE, BLACK]), 3),
        (torch.rand(3, 40, 50), 1), ([BLACK, WHITE], 2), (torch.zeros(2, 28, 28), 2), (torch.zeros(5, 1, 28, 28), 5),
        (torch.zeros(4, 3, 28, 28), 4), (BLACK, 1), (BLACK[None], 1),
    ],
)  # fmt: skip
def test_show_draws_as_many_images_as_it_is_given(images, count, monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(utils, "save", lambda figure, _: figures.append(figure))
    show(images, tmp_path / "x.png", columns=2)
    assert len(figures[0].axes) == count


@pytest.mark.parametrize(
    "images", [[], torch.zeros(0, 28, 28), torch.full((28, 28), torch.nan), torch.zeros(2, 2, 28, 28), torch.zeros(9)]
)
def test_show_refuses(images, tmp_path):
    with pytest.raises(ValueError, match=r"empty|NaN|expected"):
        show(images, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_show_in_the_format_of_the_suffix(tmp_path):
    show(BLACK, tmp_path / "x.pdf")
    assert (tmp_path / "x.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("backend", ["agg", "pdf", "svg"])
def test_show_says_that_there_is_no_display(backend, capsys):
    pyplot.switch_backend(backend)
    show(BLACK)
    assert "no display" in capsys.readouterr().err
    assert not pyplot.get_fignums()
    pyplot.switch_backend("agg")


# --- Data


@pytest.fixture
def small_mnist(tmp_path, monkeypatch, digits):
    """A folder with four files in MNIST's format, published with their sums."""
    folder, resources = tmp_path / "published", []
    folder.mkdir()
    for name, _ in utils.PUBLISHED.resources:
        images, labels, _ = digits[name.startswith("t10k")]
        array = images if "images" in name else labels.astype(np.uint8)
        content = struct.pack(f">{1 + array.ndim}i", 0x800 + array.ndim, *array.shape) + array.tobytes()
        (folder / name).write_bytes(gzip.compress(content, 1, mtime=0))
        resources.append((name, hashlib.md5((folder / name).read_bytes()).hexdigest()))
        monkeypatch.setitem(utils.UNPACKED, name.removesuffix(".gz"), hashlib.md5(content).hexdigest())
    monkeypatch.setattr(utils.PUBLISHED, "resources", resources)
    monkeypatch.setattr(utils.PUBLISHED, "mirrors", ["http://127.0.0.1:9/"])  # nothing listens there
    monkeypatch.chdir(tmp_path)
    for name in ("load_digits", "find_mnist"):  # which remember what they found
        monkeypatch.setattr(utils, name, functools.cache(getattr(utils, name).__wrapped__))
    return folder


def unpack(folder, name):
    for path in folder.glob("*.gz"):
        (folder / name(path.stem)).write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()


@pytest.mark.parametrize("place", ["packed", "unpacked", "7-zip", "MNIST/raw"])
def test_mnist_is_found_and_damage_is_seen(small_mnist, digits, place, monkeypatch):
    folder = small_mnist
    if place == "unpacked":
        unpack(folder, str)
    elif place == "7-zip":
        unpack(folder, lambda stem: stem.replace("-idx", ".idx"))
    elif place == "MNIST/raw":
        Path("root/MNIST").mkdir(parents=True)
        folder = folder.rename("root/MNIST/raw").parents[1]
    monkeypatch.setenv("HOME", str(folder.resolve().parent))
    for train in (True, False):
        found = utils.load_digits(train, f"~/{folder.name}")
        assert found.source == "MNIST"
        assert np.array_equal(found.images, digits[not train].images)
        assert np.array_equal(found.labels, digits[not train].labels)
    path = next(folder.rglob("train-images*"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"{path.name} is damaged"):
        utils.load_digits(data=str(folder))


def test_a_named_folder_is_never_replaced_by_drawn_digits(small_mnist):
    next(small_mnist.glob("t10k-labels*")).unlink()
    with pytest.raises(UserError, match="lacks t10k-labels"):
        utils.load_digits(data=str(small_mnist))


def test_without_files_and_network_digits_are_drawn(small_mnist, capsys, monkeypatch):
    monkeypatch.setattr("extras.digits.draw_digits", lambda N, seed: (np.zeros((N, 28, 28)), np.zeros(N, int)))
    assert [utils.load_digits(train).source for train in (True, False)] == [utils.DRAWN] * 2
    assert capsys.readouterr().err.count("DRAWN") == 1


def test_download(small_mnist, tmp_path, monkeypatch):
    """From the second mirror, because the first is silent; two silent ones are given up within 20 seconds, and what is
    not MNIST's is not kept."""
    assert len(utils.PUBLISHED.mirrors) * utils.answers.__defaults__[0] < 20
    monkeypatch.setattr(utils.answers, "__defaults__", (0.5,))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (mine := tmp_path / "mine").mkdir()
    kept, images = (small_mnist / f"train-{name}-ubyte.gz" for name in ("labels-idx1", "images-idx3"))
    shutil.copy(kept, mine)
    handler, content = functools.partial(SimpleHTTPRequestHandler, directory=small_mnist), images.read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bad, good = (f"http://127.0.0.1:{port}/" for port in (silent.getsockname()[1], server.server_port))
        for mirror, offered, failure in (bad, content, "no mirror answers"), (good, b"please log in", "corrupted"):
            monkeypatch.setattr(utils.PUBLISHED, "mirrors", [bad, mirror])
            images.write_bytes(offered)
            with pytest.raises(UserError, match=failure):
                utils.load_digits(data="mine")
            assert [path.name for path in mine.iterdir()] == [kept.name]
        images.write_bytes(content)
        assert utils.load_digits(data="mine").source == "MNIST"
        server.shutdown()
    assert sorted(path.name for path in mine.iterdir()) == sorted(dict(utils.PUBLISHED.resources))


# --- Flags, folders, ends


def test_a_run_with_other_settings_has_a_folder_of_its_own(tmp_path):
    parser = utils.flag_parser("", 64, 1e-4)
    args = parser.parse_args(["--seed", "3", "--lr", "0.1"])
    args.figures = tmp_path

    def name(source, *names):
        return utils.name_run(parser, args, "x", source, "20 epochs", names)

    assert name(utils.MNIST, "seed", "lr") == (tmp_path / "x-seed3-lr0.1", "MNIST, 20 epochs, --lr 0.1")
    assert name(utils.DRAWN, "batch_size") == (tmp_path / "drawn" / "x", f"{utils.DRAWN}, 20 epochs")
    names = []
    for args.sweep in ([1.0] * 50, [1.0] * 51):
        names.append(name(utils.MNIST, "sweep")[0].name)
    assert names[0] != names[1]
    assert max(map(len, names)) <= 100


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a\nb"), "x.py: error: a b"), (KeyboardInterrupt(), "x.py: stopped by Ctrl-C"),
        (OSError(28, "No space left", "file"), "x.py: error: [Errno 28] No space left: 'file'"),
        (MemoryError(), "out of memory; choose smaller settings"), (FloatingPointError("nan"), "x.py: error: nan"),
        (RuntimeError("can't allocate memory"), "out of memory; choose smaller settings"),
    ],
)  # fmt: skip
def test_an_error_is_one_line(error, line):
    def main():
        torch.set_flush_denormal(True)
        raise error

    with pytest.raises(SystemExit) as end:
        utils.run(main, "x.py")
    assert line in end.value.code
    assert "\n" not in end.value.code
    assert torch.tensor(1e-40).mul(0.5) != 0  # what `main` changed is as before
