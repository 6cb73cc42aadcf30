"""The door to MNIST against damaged, missing and foreign files and dead networks; flags; threads; pictures."""

import errno
import gzip
import hashlib
import http.server
import os
import socket
import struct
import threading
import time
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import image, pyplot
from torchvision.datasets import MNIST

import digits
import utils
from tests.running import ROOT, Forked, small_disk, unprivileged

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
    forget()
    yield files
    forget()


def forget():
    """Lets the next question for digits be answered anew."""
    utils._load_digits.cache_clear()
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
    """Serves a dict of files on this machine as the only mirror of MNIST; gives the list of requested paths.

    A file may also be a number, the status that is answered, or a pair of 302 and where to look instead.
    """
    servers = []

    def start(files):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                file = files.get(self.path[1:], 404)
                if isinstance(file, tuple):
                    self.send_response(file[0])
                    self.send_header("Location", file[1])
                else:
                    self.send_response(file if isinstance(file, int) else 200)
                self.end_headers()
                if isinstance(file, bytes):
                    self.wfile.write(file)

            def do_HEAD(self):
                self.send_response(405)
                self.end_headers()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
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
        assert digits.images.shape == (count, 28, 28)
        assert digits.images.dtype == np.uint8
        assert digits.labels.shape == (count,)
        assert digits.labels.dtype == np.int64
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
    forget()
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
    assert str(tmp_path / "nothing") in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "nothing").exists()


def test_a_file_in_place_of_the_folder_is_an_error(folder):
    with pytest.raises(utils.UserError, match="is not a folder"):
        utils.load_digits(True, str(folder / NAMES[0]))


def test_no_files_and_no_network_gives_drawn_digits(small_mnist, monkeypatch, capsys):
    monkeypatch.setattr(digits, "draw_digits", lambda count, seed: (np.full(count, seed), np.arange(count)))
    train, test = utils.load_digits(True), utils.load_digits(False)
    assert train.source == test.source == utils.DRAWN
    assert len(train.images) == 60_000
    assert len(test.images) == 10_000
    assert train.images[0] != test.images[0], "drawn from other seeds"
    notice = capsys.readouterr().err.splitlines()
    assert len(notice) == 2, "one notice for both sets, of two lines"
    assert "Connection refused" in notice[0]
    assert "drawn digits" in notice[1]
    assert "--data" in notice[1]


def test_a_network_that_is_silent_is_given_up(small_mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(utils._why_silent, "__defaults__", (0.3,))
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never answers
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(MNIST, "mirrors", [address, address])
        with pytest.raises(utils.UserError, match=r"no answer within 0.3 s|timed out"):
            utils.load_digits(True, str(tmp_path / "files"))


@pytest.mark.parametrize(
    "answer",
    [500, (302, "http://[nonsense"), (302, "no-such-scheme://nowhere"), (302, "http://127.0.0.1:0/"), (302, "")],
)
@pytest.mark.parametrize("first", [True, False])  # of the four files
def test_a_mirror_that_answers_nonsense(small_mnist, serve, tmp_path, answer, first):
    serve({**small_mnist, NAMES[0 if first else 3]: answer})
    with pytest.raises(utils.UserError, match="downloading MNIST failed") as error:
        utils.load_digits(True, str(tmp_path / "files"))
    assert "\n" not in str(error.value)
    if not first:
        assert f"lacks {NAMES[3]}, and" in str(error.value), "not what was fetched a moment ago"


def test_a_full_disk_while_downloading_stops(small_mnist, serve, tmp_path):
    serve(small_mnist)
    with small_disk(tmp_path / "data", 16 << 10):  # the default folder
        with pytest.raises(utils.UserError, match="cannot be downloaded into data: No space left on device; make room"):
            utils.load_digits(True)
        kept = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
        assert kept.items() < small_mnist.items(), "whole files, and nothing else"


def test_unpacked_files_are_named(folder):
    (folder / NAMES[1]).rename((folder / NAMES[1]).with_suffix(""))
    with pytest.raises(utils.UserError, match=r"it has train-labels-idx1-ubyte, but the published \.gz files"):
        utils.load_digits(True, str(folder))


def test_a_folder_in_place_of_a_file(folder):
    (folder / NAMES[1]).unlink()
    (folder / NAMES[1]).mkdir()
    with pytest.raises(utils.UserError, match=f"{NAMES[1]} cannot be read .*directory"):
        utils.load_digits(True, str(folder))


def test_a_file_that_may_not_be_read(small_mnist):
    with unprivileged() as folder:
        for name, file in small_mnist.items():
            (folder / name).write_bytes(file)
        (folder / NAMES[1]).chmod(0)
        with pytest.raises(utils.UserError, match=f"{NAMES[1]} cannot be read .Permission denied"):
            utils.load_digits(True, str(folder))


def test_digits_are_kept_once(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder.rename("data")
    every = [utils.load_digits(), utils.load_digits(True), utils.load_digits(True, None), utils.load_digits(train=True)]
    every.append(utils.load_digits(data=None, train=True, read=utils.read_idx))
    assert len({id(each) for each in every}) == 1
    assert utils.load_digits(False) is not every[0]


def test_a_reader_is_given_the_checked_files(folder):
    asked = []

    def read(path):
        asked.append(path)
        return utils.read_idx(path)

    assert len(utils.load_digits(False, str(folder), read).images) == 4
    assert asked == [folder / NAMES[2], folder / NAMES[3]]


# --- Flags


@pytest.mark.parametrize(
    ("convert", "text"),
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
    assert utils.finite_float("-3.4e38") == -3.4e38


@pytest.fixture
def parser():
    parser = utils.flag_parser("What it does.", batch_size=64, lr=1e-3)
    parser.prog = "script.py"
    utils.add_flag(parser, "--code", utils.finite_float, None, "a code", metavar=("C1", "C2"), nargs=2)
    utils.add_flag(parser, "--hidden", utils.positive_int, 10, "nodes")
    return parser


@pytest.mark.parametrize("code", [("-1e2", "0"), ("-.5", "-1"), ("3", "-3.4E+38")])
def test_negative_numbers_are_no_flags(parser, code):
    assert parser.parse_args(["--code", *code, "--lr", "2"]).code == [float(part) for part in code]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--code 1e39 0", ("--code", "'1e39'", "3.40282e+38")),
        ("--code -1e39 0", ("--code", "'-1e39'")),
        ("--code 1", ("--code", "2 arguments")),
        ("--hidden 99999999999", ("--hidden", "'99999999999'", "2147483647")),
        ("--threads 1000000", ("--threads", "'1000000'", "256")),
        ("--lr -1e-3", ("--lr", "'-1e-3'", "above 0")),
        ("--data=", ("--data", "empty", "variable")),
        ("--figures=", ("--figures", "empty")),
        ("--no-such-flag", ("--no-such-flag",)),
        ("--device gpu", ("--device", "gpu")),
    ],
)
def test_mistaken_flags_are_named_in_one_line(parser, capsys, arguments, words):
    with pytest.raises(utils.UserError) as error:
        parser.parse_args(arguments.split())
    for word in (*words, "script.py --help"):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.status == 2
    assert capsys.readouterr() == ("", "")


def test_the_home_folder_is_found(parser, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    for arguments in (["--data=~/x"], ["--data", "~/x"]):
        assert parser.parse_args(arguments).data == "/home/somebody/x"


def test_changed_flags_name_a_run(parser):
    names = ("hidden", "batch_size", "lr")
    usual = parser.parse_args(["--hidden", "10", "--lr", "1e-3"])
    assert utils.changed_flags(parser, usual, names) == {}
    assert utils.run_name("codelet7", {}) == "codelet7"
    assert utils.in_words({}) == ""
    other = parser.parse_args(["--batch-size", "128", "--hidden", "5", "--seed", "3"])
    changed = utils.changed_flags(parser, other, names)
    assert changed == {"hidden": 5, "batch_size": 128}
    assert utils.run_name("codelet7", changed) == "codelet7-hidden5-batch-size128"
    assert utils.in_words(changed) == ", --hidden 5 --batch-size 128"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (utils.UserError("a\nb"), "error: a b"),
        (OSError(errno.ENOSPC, "No space left on device", "x.png"), "error: x.png: No space left on device"),
        (np._core._exceptions._ArrayMemoryError((9**9, 9**9), np.dtype(float)), "error: out of memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "error: out of memory"),
        (RuntimeError("Storage size calculation overflowed with sizes=[9, 9]"), "error: out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB"), "error: out of memory"),
        (KeyboardInterrupt(), "stopped by Ctrl-C"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), "stopped: nobody reads"),
    ],
)
def test_errors_in_one_line(error, line):
    assert utils.explain(error).startswith(line)
    assert "\n" not in utils.explain(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        ValueError("x"),
    ],
)
def test_defects_are_not_explained_away(error):
    assert utils.explain(error) is None


def test_memory_that_cannot_be_had_is_explained():
    with pytest.raises((RuntimeError, MemoryError)) as error:
        torch.zeros(2**44)
    assert "out of memory" in utils.explain(error.value)
    with pytest.raises((RuntimeError, MemoryError)) as error:
        torch.nn.Linear(784, utils.MOST)
    assert "out of memory" in utils.explain(error.value)
    with pytest.raises((RuntimeError, MemoryError)) as error:
        np.zeros(2**44)
    assert "out of memory" in utils.explain(error.value)


@pytest.mark.parametrize(
    ("loss", "baseline", "said"),
    [(0.0326, 0.0675, False), (0.067, 0.0675, True), (0.85, 0.0675, True), (206.1, 206.3, True), (134, 206.3, False)],
)
def test_what_is_said_of_a_model_that_learned_nothing(loss, baseline, said):
    line = utils.nothing_learned(loss, baseline, lr=0.5)
    assert (line is not None) == said
    if said:
        assert line.startswith("Nothing was learned")
        assert "\n" not in line
        assert f"{loss:#.4g}" in line
        assert f"{baseline:#.4g}" in line
        assert "--lr than 0.5" in line


# --- Threads


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


CPU = torch.device("cpu")


@pytest.mark.parametrize(("faster", "words"), [(1, "1 thread"), (2, "2 threads")])
def test_the_faster_number_of_threads_is_chosen(two_threads, faster, words):
    def step():
        time.sleep(0.003 if torch.get_num_threads() == faster else 0.03)

    with utils.Threads(None, CPU) as threads:
        threads.choose(step)
        assert torch.get_num_threads() == threads.count == faster
        assert str(threads) == words
    assert torch.get_num_threads() == 2


def test_as_many_threads_as_asked_for(two_threads):
    for asked, most, count in ((1, 8, 1), (3, 1, 3), (None, 1, 1)):
        with utils.Threads(asked, CPU, most) as threads:
            threads.choose(lambda: time.sleep(0.001))
            assert torch.get_num_threads() == threads.count == count
        assert torch.get_num_threads() == 2


def train_until(threads, step, done, most=2_000):
    """Ticks through training steps until `done()`; returns the lines that were to be printed."""
    lines = []
    for _ in range(most):
        step()
        lines.append(threads.tick())
        if done():
            return [line for line in lines if line]
    raise AssertionError(f"not done after {most} steps")


def test_threads_are_changed_on_the_way(two_threads, monkeypatch):
    monkeypatch.setattr(utils.Threads, "PAUSE", 0.02)
    faster = 2

    def step():
        time.sleep(0.002 if torch.get_num_threads() == faster else 0.02)

    with utils.Threads(None, CPU) as threads:
        threads.choose(step)
        assert threads.count == 2
        faster = 1  # from here on another program uses a core
        assert train_until(threads, step, lambda: threads.count == 1) == []
        assert torch.get_num_threads() == 1
        faster = 2
        assert train_until(threads, step, lambda: threads.count == 2) == []


def test_each_slow_spell_is_said_once(monkeypatch):
    monkeypatch.setattr(utils.Threads, "PAUSE", 0.01)
    monkeypatch.setattr(utils.Threads, "TRIAL", 0)
    seconds = 0.001

    def step():
        time.sleep(seconds)

    with utils.Threads(1, CPU) as threads:
        threads.choose(step)
        threads.first = 0.006  # seconds a step, whatever else this machine does

        def after_trials(number):
            left, last = number, threads.seconds

            def done():
                nonlocal left, last
                left, last = left - (threads.seconds != last), threads.seconds
                return left == 0

            return train_until(threads, step, done)

        assert after_trials(2) == []
        for _ in range(2):
            seconds = 0.02
            (line,) = after_trials(2)
            assert "less than a third (1 thread)" in line
            assert "Closing that helps" in line
            assert "\n" not in line
            seconds = 0.001
            assert after_trials(2) == []


def test_advice_against_another_program(two_threads):
    assert "Without --threads" in utils.Threads(2, CPU).advice()
    assert "Closing that helps" in utils.Threads(1, CPU).advice()
    assert "Closing that helps" in utils.Threads(None, CPU).advice()


def test_without_a_processor_to_share_there_is_nothing_to_choose(two_threads):
    with utils.Threads(None, torch.device("meta")) as threads:
        threads.choose(pytest.fail)
        assert {threads.tick() for _ in range(100)} == {None}


# --- Files and pictures


def test_no_notebook_here():
    assert not utils.in_notebook()


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


def test_what_a_killed_run_left_is_taken_away(tmp_path):
    old, new = tmp_path / "codelet7" / "a.png.0.part", tmp_path / "codelet7" / "b.png.1.part"
    old.parent.mkdir()
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    utils.picture_folder(tmp_path, "codelet7", utils.MNIST)
    assert list(old.parent.iterdir()) == [new], "which may be another run's that is under way"


def test_replacing_keeps_the_old_file_when_interrupted(tmp_path):
    path = tmp_path / "picture.png"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), utils.replacing(path) as part:
        part.write_text("half")
        raise KeyboardInterrupt
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert path.read_text() == "old"


def test_two_at_a_time_replace_whole_files(tmp_path):
    path = tmp_path / "picture.png"
    with utils.replacing(path) as first:
        first.write_text("first")
        with utils.replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_names_the_picture_and_keeps_the_old_one(tmp_path):
    with small_disk(tmp_path / "disk", 64 << 10) as disk:
        path = disk / "picture.png"
        path.write_text("old")
        with pytest.raises(OSError, match="No space left") as error:
            utils.show(torch.rand(300, 300), path)
        assert utils.explain(error.value) == f"error: {path}: No space left on device"
        assert [file.name for file in disk.iterdir()] == ["picture.png"]
        assert path.read_text() == "old"


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
    checkers = (torch.arange(28 * 28).view(1, 28, 28) + torch.arange(28).view(28, 1)) % 2 * 3.0 - 1
    utils.show([checkers, checkers], tmp_path / "two.png", title="checkers", titles=["left", "right"])
    assert str(tmp_path / "two.png") in capsys.readouterr().out
    picture = image.imread(tmp_path / "two.png")[..., 0]
    row = picture[picture.shape[0] - 60]  # through both images, near the bottom
    dark = row[row < 0.5]
    assert len(dark) == 2 * 14 * 5
    assert (dark == 0).all()
    assert set(row) == {0, 1}


def test_show_without_a_display_says_so(capsys, monkeypatch):
    matplotlib.use("agg")
    assert utils.show(torch.rand(1, 28, 28)) is None, "a notebook would draw it a second time"
    assert "no display" in capsys.readouterr().err
    assert len(pyplot.gcf().axes) == 1
    pyplot.close("all")


def test_imports_touch_neither_disk_nor_network(tmp_path):
    modules = ", ".join(sorted(path.stem for path in ROOT.glob("*.py")))
    (tmp_path / "script.py").write_text(f"import socket; socket.socket.connect = None; import {modules}")
    (tmp_path / "empty").mkdir()
    done = Forked(tmp_path / "script.py", cwd=tmp_path / "empty").end()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "empty").iterdir()) == []
