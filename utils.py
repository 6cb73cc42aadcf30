"""What both scripts need: pictures shown and saved, MNIST or drawn digits, the flags and the folder of a run."""

import argparse
import contextlib
import functools
import gzip
import hashlib
import io
import math
import os
import shutil
import socket
import sys
import tempfile
import threading
import urllib.request
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.animation import Animation
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from torchvision.datasets import MNIST as PUBLISHED
from torchvision.datasets.utils import calculate_md5

MNIST, DRAWN = "MNIST", "drawn digits, not MNIST"  # where images come from; every picture says it
UNPACKED = {  # MD5 sums of the published files, unpacked; torchvision knows those of the packed ones
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class UserError(Exception):
    """Something that the user can mend; the message is the one line that they read."""


# --- Pictures --------------------------------------------------------------------------------


def show(images, path=None, title="", titles=(), columns=None):
    """Shows images in a window or a notebook, or saves them.

    Args:
        images: one, `(H, W)`, `(1, H, W)` or in colour `(3, H, W)`; or several: a list of such, or a tensor
            `(N, 28, 28)`, `(N, 1, H, W)` or `(N, 3, H, W)`. Integers lie in [0, 255], or all in [0, 1]. Floats that
            leave [0, 1] are stretched: the smallest value becomes black, the largest white.
        path: saves there instead; its suffix decides the format.
        titles: one for each image.
        columns: images in a row; None puts all in one row.

    Raises:
        ValueError: no image, another shape, or values that are NaN or infinite.
    """
    if isinstance(images, torch.Tensor):
        # Three digits are no colour image; but of a single digit `make_grid` makes three equal channels.
        colours = images.shape[0] == 3 and (images.shape[1:] != (28, 28) or bool((images == images[:1]).all()))
        images = [images] if images.dim() == 2 or (images.dim() == 3 and (len(images) == 1 or colours)) else images
    if len(images) == 0:
        raise ValueError("there is no image to show: the list is empty")
    images = [displayable(image) for image in images]
    columns = columns or len(images)
    rows = math.ceil(len(images) / columns)
    height, width = images[0].shape[:2]
    inches = max(3, 280 / max(height, columns * width)) / 100  # a pixel
    size = max(4, columns * (width * inches + 0.15)), rows * (height * inches + (0.45 if titles else 0.15)) + 0.6
    figure = Figure(size, layout="constrained") if path else pyplot.figure(figsize=size, layout="constrained")
    figure.suptitle(title, wrap=True)
    for place, image in enumerate(images):
        axis = figure.add_subplot(rows, columns, place + 1)
        axis.imshow(image, cmap="gray", vmin=0, vmax=1)
        axis.set_title(titles[place] if place < len(titles) else "", fontsize="medium")
        axis.axis("off")
    if path:
        save(figure, path)
        return
    if pyplot.get_backend().lower() in backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE):
        print("there is no display here to show it; with a path, show saves the picture", file=sys.stderr)
    pyplot.show()
    pyplot.close(figure)


def displayable(image):
    """An image as `show` takes it, as an array `(H, W)` or `(H, W, 3)` in [0, 1]."""
    if image.dim() not in (2, 3) or (image.dim() == 3 and len(image) not in (1, 3)) or image.numel() == 0:
        raise ValueError(f"an image of shape {tuple(image.shape)}; expected (H, W), (1, H, W) or (3, H, W)")
    values = image.detach().cpu().float()
    if not values.isfinite().all():
        raise ValueError("the image has values that are NaN or infinite")
    low, high = values.min().item(), values.max().item()
    if not image.is_floating_point():
        values = values / (255 if high > 1 else 1)
    elif low < 0 or high > 1:
        values = (values - low) / (high - low) if high > low else values.clamp(0, 1)
    return (values.movedim(0, -1).squeeze(-1) if image.dim() == 3 else values).numpy()


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, which takes the place of `path` when the block has gone well: a kill, a
    full disk or a power cut leaves the file before."""
    part = Path(path).with_name(f".{os.getpid()}-{Path(path).name}")  # two runs at once do not meet
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def save(contents, path):
    """Writes a figure or an animation of matplotlib, a list of figures as the pages of a PDF, a text, or a dict of
    tensors for `torch.load`; prints the path of what is to be looked at."""
    with replacing(path) as part:
        if isinstance(contents, Animation):
            contents.save(part, "pillow")
        elif isinstance(contents, list):
            with PdfPages(part, metadata={"CreationDate": None}) as pdf:  # the same run gives the same file
                for page in contents:
                    pdf.savefig(page)
        elif isinstance(contents, str):
            part.write_text(contents, "utf-8")
        elif isinstance(contents, dict):
            torch.save(contents, buffer := io.BytesIO())  # to a file it reports a full disk as a defect
            part.write_bytes(buffer.getbuffer())
        else:
            contents.savefig(part, dpi=120)
    if not isinstance(contents, dict):
        print(f"  {path}")


def save_all(folder, name, sentences, figures):
    """Prints what an extra found and saves it as `name`; and saves its figures, a dict by file name."""
    print(*sentences, sep="\n")
    for file, contents in {name: "\n".join([*sentences, ""]), **figures}.items():
        save(contents, folder / file)


def save_page(folder, put, key, entry, test_digits, colours):
    """Puts what was trained on the page `explore.html` by `extras.page.put`; a run with other settings than the
    defaults has a page of its own."""
    path = (folder if "-" in folder.name else folder.parent) / "explore.html"
    before = path.read_text("utf-8", "replace") if path.exists() else None
    images, labels, source = test_digits
    samples = images[[np.argmax(labels == digit) for digit in range(10)]]
    mean = images.mean(axis=0).round().astype(np.uint8)
    save(put(before, key, entry, samples, mean, source != MNIST, colours), path)


# --- Data ------------------------------------------------------------------------------------


class Digits(NamedTuple):
    """Images `uint8 (N, 28, 28)`, white ink (255) on black (0), labels `int64 (N,)`, and their source, `MNIST` or
    `DRAWN`."""

    images: np.ndarray
    labels: np.ndarray
    source: str


def read_idx(path):
    """A file of MNIST, packed or not, as an array `uint8`: images `(N, 28, 28)` or labels `(N,)`."""
    data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
    images = "images" in path.name
    return np.frombuffer(data, np.uint8, offset=16 if images else 8).reshape((-1, 28, 28) if images else -1)


@functools.cache
def load_digits(train=True, data=None, read=read_idx):
    """MNIST, each file checked against its MD5; or drawn digits where MNIST cannot be had.

    Args:
        train: the 60,000 training images, else the 10,000 test images.
        data: folder of the four files, packed or not, or with torchvision's `MNIST/raw/`; what is missing is
            downloaded into it. None stands for `data/`, and allows drawn digits.
        read: takes the path of a checked file to its array.

    Raises:
        UserError: a file is not MNIST's, or is missing and cannot be downloaded.
    """
    if files := find_mnist(data):
        images, labels = (read(path) for name, path in files.items() if name.startswith("train") == train)
        return Digits(images, labels.astype("int64"), MNIST)
    try:
        from extras.digits import draw_digits
    except ImportError:
        raise UserError("there is no MNIST here, and without extras/ no drawn digits; see --data") from None
    return Digits(*draw_digits(60_000 if train else 10_000, seed=0 if train else 1), DRAWN)


@functools.cache
def find_mnist(data):
    """The checked paths of MNIST's files by name, images before labels, or None to go on with drawn digits."""
    folder, files = Path("data" if data is None else data).expanduser(), {}
    for name, md5 in PUBLISHED.resources:
        stem = name.removesuffix(".gz")
        names = (name, stem, stem.replace("-idx", ".idx"))  # packed, unpacked, and as 7-zip unpacks
        paths = [place / one for place in (folder, folder / "MNIST" / "raw") for one in names]
        files[name] = path = next((path for path in paths if path.exists()), folder / name)
        if path.exists() and calculate_md5(path) != (md5 if path.suffix == ".gz" else UNPACKED[stem]):
            raise UserError(f"{path} is damaged or not MNIST's: its MD5 sum is another; delete it, or see --data")
    missing = [name for name, path in files.items() if not path.exists()]
    if missing and (failure := download(missing, folder)):
        lacking = f"{folder} lacks {', '.join(missing)}, and no download: {failure}"
        if data is not None:
            raise UserError(f"--data {lacking}; put the files there, or name a folder that has them")
        print(f"{lacking}.\nGoing on with DRAWN digits; for MNIST name its folder with --data.", file=sys.stderr)
        return None
    return files


def download(names, folder):
    """Fetches MNIST, and puts the files `names` into `folder`, all or none; returns why that failed, or None."""
    before, mirrors = socket.getdefaulttimeout(), [mirror for mirror in PUBLISHED.mirrors if answers(mirror)]
    if not mirrors:
        return "no mirror answers"
    with tempfile.TemporaryDirectory() as part:
        try:
            socket.setdefaulttimeout(10)  # a connection that dies on the way ends in an error
            type("MNIST", (PUBLISHED,), {"mirrors": mirrors})(part, download=True)  # checks the MD5 sums
        except Exception as error:  # whatever a network, a proxy or a mirror comes up with
            return " ".join(str(error).split())
        finally:
            socket.setdefaulttimeout(before)
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            with replacing(folder / name) as path:
                shutil.copy(Path(part, "MNIST", "raw", name), path)
    return None


def answers(mirror, seconds=7):
    """Whether a mirror answers in time; a socket's time-out bounds neither the look-up of a name nor the trying of a
    host's many addresses."""
    answered, url = threading.Event(), mirror + PUBLISHED.resources[1][0]

    def ask():
        with contextlib.suppress(Exception), urllib.request.urlopen(url, timeout=seconds):
            answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(seconds)


# --- The flags, the folder and the end of a run ----------------------------------------------


def flag_parser(description, batch_size, lr):
    """An `ArgumentParser` with the flags that both scripts have."""
    parser = argparse.ArgumentParser(description=description)
    parser.print_usage = lambda file=None: None  # a mistake is one line
    add = parser.add_argument
    add("--batch-size", type=int, default=batch_size, metavar="N", help="images in a step (%(default)s)")
    add("--lr", type=float, default=lr, help="learning rate of Adam (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="start of all random numbers (%(default)s)")
    add("--data", metavar="DIR", help="folder of MNIST's files; missing ones are downloaded (data)")
    add("--figures", type=Path, default=Path("figures"), metavar="DIR", help="where pictures go (%(default)s)")
    add("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="where to compute (%(default)s)")
    return parser


def check_flags(parser, args, **limits):
    """Ends the script with one line where a flag is not within its limits, `name=(lowest, highest)`; and chooses the
    device, where that is left to the script."""
    for name, (low, high) in {"batch_size": (1, 60_000), "lr": (1e-12, 1e6), "seed": (0, 2**63 - 1), **limits}.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            parser.error(f"--{name.replace('_', '-')} {value} is out of range; expected {low} to {high}")
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not there.get(args.device, True):
        parser.error(f"--device {args.device}: PyTorch finds none here; leave --device out")
    args.device = next(name for name in there if there[name]) if args.device == "auto" else args.device


def name_run(parser, args, script, source, length, names):
    """The folder of a run's pictures, made and tried: `figures/codelet7`, with other settings
    `figures/codelet7-hidden5`, with drawn digits below `figures/drawn`; and what titles say of the run: "MNIST, 20
    epochs, --hidden 5". `names` are the flags that make a run what it is; the first is that of its `length`."""
    values = {name: getattr(args, name) for name in names if getattr(args, name) != parser.get_default(name)}
    flags = {name.replace("_", "-"): " ".join(map(str, np.ravel(value))) for name, value in values.items()}
    about = ", ".join([source, length, *(f"--{flag} {text}" for flag, text in flags.items() if flag != names[0])])
    name = "-".join([script, *(flag + text.replace(" ", "_") for flag, text in flags.items())])
    if len(name) > 100:  # file systems take 255 bytes
        name = f"{name[:90]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    folder = args.figures.expanduser() / ("" if source == MNIST else "drawn") / name
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return folder, about


def run(main, script):
    """Calls `main`; Ctrl-C, a full disk and whatever a user can mend end it in one line."""
    if not hasattr(sys.modules["__main__"], "__file__"):
        print(f"This is a cell of a notebook; there the script runs with: %run {script}")
        return
    threads = torch.get_num_threads()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"{script}: stopped by Ctrl-C")
    except (UserError, FloatingPointError, ImportError, OSError, MemoryError, RuntimeError) as error:
        memory = isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))
        if isinstance(error, RuntimeError) and not memory:
            raise  # a defect, of which the traceback tells more
        text = " ".join(str(error).split())[:300]
        sys.exit(f"{script}: error: {f'out of memory; choose smaller settings ({text})' if memory else text}")
    finally:  # a notebook goes on
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        torch.backends.mkldnn.matmul.fp32_precision = "none"
