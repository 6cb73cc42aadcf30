"""What the scripts share: reading flags, the one door to MNIST, and drawing and saving pictures.

PyTorch, torchvision and matplotlib are imported inside the functions that need them: they take
seconds, which `--help` and a mistyped flag should not cost.
"""

import argparse
import contextlib
import functools
import http.client
import itertools
import math
import os
import socket
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np

MNIST = "MNIST"
DRAWN = "drawn digits, not MNIST"
A4 = (8.27, 11.69)  # inches
GREY = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "none"}  # how `imshow` draws every digit
SPINS = "100000"  # of a thread that waits for another, see `start`


class UserError(Exception):
    """Something that the user can mend; its message is the one line that they get to read."""


# --- Flags -----------------------------------------------------------------------------------


def flag_parser(description, batch_size, lr):
    """An `ArgumentParser` with the flags that every script has; the script adds its own.

    Args:
        description: what the script does, the first lines of its `--help`.
        batch_size, lr: the defaults of `--batch-size` and `--lr`.
    """
    parser = argparse.ArgumentParser(description=description)
    add = functools.partial(add_flag, parser)
    add("--batch-size", positive_int, batch_size, "images in a training step")
    add("--lr", positive_float, lr, "learning rate of Adam")
    add("--seed", seed, 0, "start of every random choice; the same seed gives the same numbers")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="folder of the four MNIST .gz files, downloaded into it where "
        "they are missing (default: data, and drawn digits where there is no network)",
    )
    add("--figures", str, "figures", "folder that the pictures go to", metavar="DIR")
    add(
        "--device",
        str,
        "auto",
        "where to compute; auto takes a GPU if there is one",
        metavar=None,
        choices=("auto", "cpu", "cuda", "mps"),
    )
    return parser


def add_flag(parser, name, type, default, help, metavar="N", **options):
    """Adds a flag whose help ends with its default."""
    parser.add_argument(
        name, type=type, default=default, metavar=metavar, help=f"{help} (default: {default})", **options
    )


def positive_int(text):
    """`text` as a whole number of at least 1, for argparse."""
    return _number(text, int, 1, 2**63, "a whole number of at least 1")


def positive_float(text):
    """`text` as a finite number above 0, for argparse."""
    return _number(text, float, sys.float_info.min, math.inf, "a number above 0")


def finite_float(text):
    """`text` as a finite number, for argparse."""
    return _number(text, float, -sys.float_info.max, math.inf, "a number")


def seed(text):
    """`text` as a whole number that PyTorch and NumPy both take as a seed, 0 to 2**63 - 1, for argparse."""
    return _number(text, int, 0, 2**63, "a whole number from 0 to 2**63 - 1")


def _number(text, kind, smallest, limit, expected):
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not smallest <= value < limit:  # also refuses nan
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return value


def start(parser):
    """Reads the command line of a script; from here on a user's mistake and Ctrl-C end it in one line.

    Returns:
        The settings of the run, an `argparse.Namespace`.
    """
    sys.stdout.reconfigure(line_buffering=True)  # every line shows at once, also in a pipe
    sys.excepthook = functools.partial(_report, parser.prog)
    # For the OpenMP library that PyTorch brings on Linux: its threads spin while they wait for each other, which
    # made training many times slower where another program took one of two cores; after fewer spins they sleep.
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    settings = parser.parse_args()
    print(f"{parser.prog}: loading PyTorch, which takes a few seconds ...")
    return settings


def _report(program, kind, error, traceback):
    if issubclass(kind, KeyboardInterrupt):
        print(f"{program}: stopped by Ctrl-C {error}".rstrip(), file=sys.stderr)
    elif issubclass(kind, (UserError, OSError)):
        print(f"{program}: error: {error}", file=sys.stderr)
    elif issubclass(kind, (MemoryError, RuntimeError)) and "memory" in str(error):
        print(
            f"{program}: error: out of memory, choose smaller settings ({str(error).splitlines()[0]})", file=sys.stderr
        )
    else:
        sys.__excepthook__(kind, error, traceback)


def pick_device(name):
    """The `torch.device` that `--device` asks for: auto takes cuda, else mps, else cpu.

    Raises:
        UserError: this machine, or this build of PyTorch, has no such device.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in there if there[device])
    if not there[name]:
        raise UserError(f"--device {name}: PyTorch finds no such device here; --device auto takes one that is there")
    return torch.device(name)


# --- Data ------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Images `uint8 (N, 28, 28)`, white ink (255) on black (0); labels `int64 (N,)`, 0 to 9; and where they
    come from, `MNIST` or `DRAWN`, which every picture says."""

    images: np.ndarray
    labels: np.ndarray
    source: str


@functools.cache
def load_digits(train=True, data=None):
    """MNIST, each file checked against its published MD5; or drawn digits where MNIST cannot be had.

    Args:
        train: the 60,000 training images, else the 10,000 test images.
        data: folder of the four `.gz` files; what is missing there is downloaded into it.
            None stands for `data/`, and allows drawn digits where there are neither files nor network.

    Returns:
        `Digits`; one and the same object however often it is asked for.

    Raises:
        UserError: a file is not MNIST's, or `data` was named, lacks files and they cannot be downloaded.
    """
    folder = _mnist_folder(data)
    if folder is None:
        from digits import draw_digits

        count = 60_000 if train else 10_000
        print(f"Drawing {count:,} digits ...")
        return Digits(*draw_digits(count, seed=0 if train else 1), DRAWN)

    import mnist
    from torchvision.datasets import MNIST as published

    # The package's own host has answered 403 since 2024, so that a plain mnist.train_images() fails for
    # everyone: both of its settings point at what is known to be there and checked.
    mnist.datasets_url = published.mirrors[0]
    mnist.temporary_dir = lambda: str(folder)
    images, labels = (mnist.train_images, mnist.train_labels) if train else (mnist.test_images, mnist.test_labels)
    return Digits(images(), labels().astype(np.int64), MNIST)


@functools.cache  # one download, and one notice, for the training and the test set
def _mnist_folder(data):
    """The folder that now holds MNIST's files, all checked, or None to go on with drawn digits."""
    from torchvision.datasets import MNIST as published
    from torchvision.datasets.utils import calculate_md5

    folder = Path(data or "data")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--data {folder} is not a folder; name the folder that holds MNIST's four files")
    missing = []
    for name, md5 in published.resources:
        path = folder / name
        if not path.exists():
            missing.append((name, md5))
        elif (found := calculate_md5(path)) != md5:
            raise UserError(
                f"{path} is damaged or not MNIST's: its MD5 sum is {found}, MNIST's is {md5}; "
                "delete it to have it downloaded anew, or name another folder with --data"
            )
    if missing and (failure := _download(missing, folder, published.mirrors)):
        lacks = f"lacks {', '.join(name for name, _ in missing)}" if folder.exists() else "does not exist"
        lacking = f"{folder} {lacks}, and downloading MNIST failed ({failure})"
        if data:
            raise UserError(f"--data {lacking}; put the files there, or name a folder that holds them")
        print(
            f"{lacking}.\nGoing on with drawn digits, whose losses and pictures are NOT MNIST's: for MNIST, put "
            f"the files into {folder} or name a folder that holds them with --data.",
            file=sys.stderr,
        )
        return None
    return folder


def _download(files, folder, mirrors):
    """Fetches `files`, pairs of name and MD5, into `folder`; returns why that failed, or None."""
    from torchvision.datasets.utils import download_url

    failures = []
    for mirror in mirrors:
        failure = _why_silent(mirror + files[0][0])
        if failure is None:
            timeout = socket.getdefaulttimeout()
            socket.setdefaulttimeout(20)  # a connection that dies on the way ends in an error, not in a wait
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for name, md5 in files:
                    # Into a folder of its own first: half a download never stands under the file's name.
                    with tempfile.TemporaryDirectory(dir=folder, prefix="download-") as part:
                        print(f"Downloading {mirror}{name} ...")
                        download_url(mirror + name, part, name, md5)
                        os.replace(Path(part, name), folder / name)
                return None
            except (OSError, RuntimeError, http.client.HTTPException) as error:
                failure = error
            finally:
                socket.setdefaulttimeout(timeout)
        failures.append(f"{mirror}: {failure}")
    return "; ".join(failures)


def _why_silent(url, seconds=4):
    """Why `url` does not answer within `seconds`, or None where it does."""
    failure = [f"no answer within {seconds} s"]

    def ask():
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds).close()
            failure[0] = None
        except (OSError, http.client.HTTPException) as error:
            failure[0] = str(error).strip("<>").removeprefix("urlopen error ")

    # In a thread that may be left behind: a socket's timeout bounds neither the look-up of a name nor the
    # trying of a host's many addresses one after the other.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return failure[0]


# --- Pictures --------------------------------------------------------------------------------


def picture_folder(figures, script, source):
    """The folder for a script's pictures, made and tried: `figures/script`, for drawn digits
    `figures/drawn/script`, so that what lies in `figures/script` is always MNIST.

    Raises:
        UserError: it cannot be made or written to.
    """
    folder = Path(figures, script) if source == MNIST else Path(figures, "drawn", script)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UserError(
            f"--figures {figures}: {folder} cannot be written to ({error.strerror}); name a folder that can"
        ) from error
    return folder


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`; it takes the place of `path` when the block has gone well, so that
    neither Ctrl-C nor a full disk leaves half a file or loses the old one."""
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def save(figure, path):
    """Writes a matplotlib figure as PNG, and prints the path."""
    with replacing(Path(path)) as part:
        figure.savefig(part, format="png")
    print(f"  {path}")


def show(images, path=None, **layout):
    """Shows images in a window or a notebook, or saves them.

    Args:
        images: a tensor `(C, H, W)` or `(H, W)`, or a list of them; C is 1 or 3; any range (see `displayable`).
        path: saves there instead of showing.
        layout: see `draw`.

    Returns:
        The matplotlib figure.
    """
    from matplotlib.figure import Figure

    if path is not None:
        figure = draw(Figure(), images, **layout)
        save(figure, path)
        return figure

    from matplotlib import pyplot

    figure = draw(pyplot.figure(), images, **layout)
    if pyplot.get_backend().lower() == "agg":
        print("show: there is no display here; show(images, path) saves the picture", file=sys.stderr)
    else:
        pyplot.show()
    return figure


def draw(figure, images, title="", titles=(), columns=None, zoom=None, size=None):
    """Draws images, each with its title above it, in rows of `columns` (default: all in one row).

    A pixel becomes `zoom` x `zoom` dots (default: at least 3 x 3), or what fits into `size` (width and height in
    inches), and is never smeared.

    Returns:
        `figure`, which gets the size that this needs.
    """
    images = images if isinstance(images, (list, tuple)) else [images]
    columns = columns or len(images)
    rows = math.ceil(len(images) / columns)
    pixels_down, pixels_across = images[0].shape[-2:]
    zoom = zoom or max(3, 280 // max(pixels_down, columns * pixels_across))
    # All in inches, and in whole dots at 100 dots an inch: then every pixel is equally large.
    head, gap = 0.6, 0.1
    labels = [0.3 if row * columns < len(titles) else gap for row in range(rows)]  # above each row
    across, down = pixels_across * zoom / figure.dpi, pixels_down * zoom / figure.dpi
    if size:
        shrink = min(((size[0] - gap) / columns - gap) / across, (size[1] - head - gap - sum(labels)) / (rows * down))
        across, down = across * shrink, down * shrink
    width = columns * (across + gap) + gap
    total_width, total_height = size or (max(5, width), rows * down + sum(labels) + head + gap)
    figure.set_size_inches(total_width, total_height)
    figure.text(0.5, 1 - 0.3 / total_height, title, fontsize="large", ha="center", va="center", wrap=True)
    for place, (image, text) in enumerate(itertools.zip_longest(images, titles, fillvalue="")):
        row, column = divmod(place, columns)
        left = (total_width - width) / 2 + gap + column * (across + gap)
        bottom = total_height - head - (row + 1) * down - sum(labels[: row + 1])
        axis = figure.add_axes((left / total_width, bottom / total_height, across / total_width, down / total_height))
        axis.imshow(displayable(image), **GREY)
        axis.set_title(text, fontsize="medium", pad=4)
        axis.axis("off")
    return figure


def displayable(image):
    """An image as matplotlib takes it.

    Args:
        image: tensor `(C, H, W)` or `(H, W)`; integers lie in [0, 255]; floats that leave [0, 1] are mapped so
            that their smallest value becomes 0 and their largest 1.

    Returns:
        float array `(H, W)` for grey values, `(H, W, 3)` for colours, in [0, 1].
    """
    image = image.detach().cpu()
    if not image.is_floating_point():
        image = image / 255
    low, high = image.min().item(), image.max().item()
    if low < 0 or high > 1:
        image = (image - low) / ((high - low) or 1)
    if image.dim() == 3:
        image = image[0] if image.shape[0] == 1 else image.permute(1, 2, 0)
    return image.numpy()
