"""What the scripts share: flags and errors, the number of threads, the one door to MNIST, saving and showing pictures.

NumPy, PyTorch, torchvision and matplotlib are imported inside the functions that need them: they take seconds, which
`--help` and a mistyped flag should not cost.
"""

import argparse
import collections
import contextlib
import errno
import functools
import gzip
import http.client
import importlib
import io
import itertools
import math
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

MNIST = "MNIST"
DRAWN = "drawn digits, not MNIST"
A4 = (8.27, 11.69)  # inches
GREY = {"cmap": "gray", "vmin": 0, "vmax": 1, "interpolation": "none"}  # how `imshow` draws every digit
MOST = 2**31 - 1  # of anything that a flag counts
CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
LARGEST = 3.4028234e38  # that a float32 holds


class UserError(Exception):
    """Something that the user can mend; its message is the one line that they get to read."""

    status = 1  # the exit status of a script that it ends


# --- Flags -----------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose mistakes are one line, and that takes -1e2 for a number, not for a flag."""

    def parse_known_args(self, args=None, namespace=None):
        args = sys.argv[1:] if args is None else args
        return super().parse_known_args([f" {arg}" if re.match(r"-\.?\d", arg) else arg for arg in args], namespace)

    def error(self, message):
        error = UserError(f"{message}; {self.prog} --help lists the flags")
        error.status = 2
        raise error


def flag_parser(description, batch_size, lr):
    """A `Parser` with the flags that every script has; the script adds its own.

    Args:
        description: what the script does, the first lines of its `--help`.
        batch_size, lr: the defaults of `--batch-size` and `--lr`.
    """
    parser = Parser(description=description)
    add = functools.partial(add_flag, parser)
    add("--batch-size", positive_int, batch_size, "images in a training step")
    add("--lr", positive_float, lr, "learning rate of Adam")
    add("--seed", seed, 0, "start of every random choice")
    parser.add_argument(
        "--threads",
        type=threads,
        metavar="N",
        help="threads that compute (default: one or several, whichever is found to be faster, tried anew on the way; "
        "with a number the same seed gives the same result bit for bit)",
    )
    parser.add_argument(
        "--data",
        type=path,
        metavar="DIR",
        help="folder of the four MNIST .gz files, downloaded into it where "
        "they are missing (default: data, and drawn digits where there is no network)",
    )
    add("--figures", path, "figures", "folder that the folders of pictures go to", metavar="DIR")
    add(
        "--device",
        str,
        "auto",
        "where to compute; auto takes a GPU if there is one",
        metavar=None,
        choices=("auto", "cpu", "cuda", "mps"),
    )
    explore = "only write explore.html, the page of all that was trained into --figures, and open it in the browser"
    parser.add_argument("--explore", action="store_true", help=explore)
    parser.add_argument("--no-open", action="store_true", help="leave the opening out")
    return parser


def add_flag(parser, name, type, default, help, metavar="N", **options):
    """Adds a flag whose help ends with its default."""
    parser.add_argument(
        name, type=type, default=default, metavar=metavar, help=f"{help} (default: {default})", **options
    )


def positive_int(text):
    """`text` as a whole number of at least 1, for argparse."""
    return number(text, int, 1, MOST, f"a whole number from 1 to {MOST}")


def positive_float(text):
    """`text` as a number above 0, for argparse."""
    return number(text, float, sys.float_info.min, LARGEST, f"a number above 0, at most {LARGEST:g}")


def finite_float(text):
    """`text` as a number that a float32 holds, for argparse."""
    return number(text, float, -LARGEST, LARGEST, f"a number from {-LARGEST:g} to {LARGEST:g}")


def seed(text):
    """`text` as a whole number that PyTorch and NumPy both take as a seed, 0 to 2**63 - 1, for argparse."""
    return number(text, int, 0, 2**63 - 1, "a whole number from 0 to 2**63 - 1")


def threads(text):
    """`text` as a number of threads, few enough that they can be started, for argparse."""
    return number(text, int, 1, 256, "a whole number from 1 to 256")


def digit(text):
    """`text` as a digit, for argparse."""
    return number(text, int, 0, 9, "a digit, 0 to 9")


def number(text, kind, smallest, largest, expected):
    """`text` as a number of `kind` (int or float) in [smallest, largest]; `expected` says so in words."""
    try:
        value = kind(text)
    except ValueError:
        value = math.nan
    if not smallest <= value <= largest:  # also refuses nan
        raise argparse.ArgumentTypeError(f"{text.strip()!r} is not {expected}")
    return value


def path(text):
    """`text` as the name of a file or folder, with ~ for the home folder, for argparse."""
    text = text.removeprefix(" ")  # of `Parser`, before what it took for a negative number
    if not text:
        raise argparse.ArgumentTypeError("the name is empty (a variable that is not set?)")
    return str(Path(text).expanduser())


def changed_flags(parser, settings, names):
    """Those of the settings `names` that are not the parser's defaults, as a dict."""
    return {name: getattr(settings, name) for name in names if getattr(settings, name) != parser.get_default(name)}


def run_name(base, changed):
    """The folder's name of a run with these `changed_flags`: codelet7, or codelet7-hidden5-epochs2."""
    return "-".join([base, *(f"{name.replace('_', '-')}{value}" for name, value in changed.items())])


def in_words(changed):
    """These `changed_flags` as a title names them: ", --hidden 5 --epochs 2", or nothing where there are none."""
    words = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed.items())
    return words and f", {words}"


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


def check_shape(x, *shapes):
    """Raises ValueError unless the tensor `x` has the shape `(N, *shape)` for one of `shapes`, N at least 1."""
    if x.shape[1:] not in shapes or len(x) == 0:
        expected = " or ".join(f"(N, {', '.join(map(str, shape))})" for shape in shapes)
        raise ValueError(f"shape {tuple(x.shape)}; expected {expected} with N at least 1")


# --- Starting and ending a script ------------------------------------------------------------


def start(parser, check=None):
    """Reads the command line of a script, and imports what takes seconds.

    Args:
        parser: see `flag_parser`.
        check: function of the settings that raises UserError where flags contradict each other.

    Returns:
        The settings of the run, an `argparse.Namespace`.
    """
    sys.stdout = sys.stdout or io.StringIO()  # Python has none where it was closed
    if hasattr(sys.stdout, "reconfigure"):  # not a notebook's
        # Every line shows at once, also in a pipe, and a name that the terminal cannot print stops nothing.
        sys.stdout.reconfigure(line_buffering=True, errors="backslashreplace")
    with one_line():
        settings = parser.parse_args()
        if getattr(settings, "no_open", False) and not settings.explore:
            parser.error("--no-open goes with --explore; add that, or leave it out")
        if check:
            check(settings)
        if not in_notebook():
            os.environ["MPLBACKEND"] = "agg"  # the scripts only write files; what is set here may not even exist
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, leave)
        print(f"{parser.prog}: loading PyTorch, which takes a few seconds ...")
        for package in ("torch", "torchvision", "matplotlib.figure"):
            importlib.import_module(package)  # here, where Ctrl-C and a missing package end in one line
    return settings


def leave(*_):
    """What Ctrl-C does from `start` to `run`: some packages swallow its exception while they are imported."""
    print(f"{Path(sys.argv[0]).name}: stopped by Ctrl-C", file=sys.stderr)
    os._exit(1)  # there is nothing yet to bring to an end


def run(main, settings):
    """Calls `main` with the settings; a user's mistake, Ctrl-C or a full disk ends it in one line."""
    with one_line():
        if signal.getsignal(signal.SIGINT) is leave:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        main(settings)


@contextlib.contextmanager
def one_line():
    """Ends the script in one line for what is no defect of the script, see `explain`."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        line = explain(error)
        if line is None:
            raise
        print(f"{Path(sys.argv[0]).name}: {line}", file=sys.stderr)
        try:
            sys.stdout.flush()
        except OSError:  # a closed pipe, of which Python would complain once more at its end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A notebook shows a status above 0 as an error of its own, below the line.
        sys.exit(0 if in_notebook() else getattr(error, "status", 1))


@contextlib.contextmanager
def noting_stops():
    """Gives a list to which Ctrl-C, SIGTERM (a shutdown) and SIGHUP (a closed terminal) add their name, so that what
    is under way can be brought to an end. What the process ignores, it goes on ignoring."""
    stops, before = [], {}
    if threading.current_thread() is threading.main_thread():  # signals are handled nowhere else
        for name, word in (("SIGINT", "Ctrl-C"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGHUP")):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number and signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, lambda *_, word=word: stops.append(word))
    try:
        yield stops
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def also_saying(words):
    """Adds `words` to the line that a user reads where Ctrl-C or a full disk ends the block."""
    try:
        yield
    except (OSError, KeyboardInterrupt) as error:
        raise type(error)(f"{explain(error).removeprefix('error: ')}; {words}") from error


def explain(error):
    """What a user gets to read of an error, in one line; None for a defect, of which the traceback tells more."""
    text = " ".join(str(error).split())
    if isinstance(error, KeyboardInterrupt):
        return text or "stopped by Ctrl-C"
    if isinstance(error, BrokenPipeError):
        return "stopped: nobody reads what it prints any more"
    if isinstance(error, ModuleNotFoundError):
        return f"error: {text}; pip install -r requirements.txt installs what is needed"
    if isinstance(error, OSError) and error.strerror:
        text = ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    if isinstance(error, (UserError, OSError)):
        return f"error: {text}"
    # PyTorch has no exception of its own for the memory of a CPU.
    words = "out of memory|not enough memory|allocate memory|Storage size calculation overflowed"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and re.search(words, text)):
        return f"error: out of memory, choose smaller settings ({text[:200]})"
    return None


def in_notebook():
    """Whether IPython runs this, in a notebook or a terminal."""
    return "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None


# --- Threads ---------------------------------------------------------------------------------


class Threads:
    """Keeps PyTorch at the number of threads with which a training step is fastest.

    A step that is shared out among several threads waits for the slowest of them; where another program uses a core,
    that one waits for its turn there, and one thread alone can be ten times as fast.

    As a context manager it gives back PyTorch's number of threads at the end.

    Args:
        asked: the number to keep to, or None to choose.
        device: on any other than the CPU there is nothing to choose.
        most: threads among which a step can be shared out at the most.
    """

    PAUSE = 20  # seconds between two trials on the way
    TRIAL = 0.1  # seconds that the trial of a number of threads lasts, and at least ten steps

    def __init__(self, asked, device, most=MOST):
        import torch

        self.torch, self.before = torch, torch.get_num_threads()
        self.on_cpu = device.type == "cpu"
        self.options = [asked] if asked else sorted({1, min(most, self.before)})
        self.count = self.options[-1]
        self.step = None
        self.slow = False

    def __enter__(self):
        self.torch.set_num_threads(self.count)
        return self

    def __exit__(self, *_):
        self.torch.set_num_threads(self.before)

    def __str__(self):
        return f"{self.count} thread{'s' if self.count > 1 else ''}"

    def choose(self, step):
        """Chooses by calling `step` some dozens of times, now and again on the way; it is to train one step on
        throwaway copies, so that the numbers of the run stay as they are as long as its threads do."""
        if self.on_cpu:
            self.step = step
            self._compare()  # warms up
            self._compare()
            self.first = self.seconds
            self.start, self.steps = time.perf_counter(), 0

    def tick(self):
        """To be called after each training step; now and then it chooses anew.

        Returns:
            A line to print when training has become slow, else None.
        """
        if self.step is None:
            return None
        self.steps += 1
        passed = time.perf_counter() - self.start
        if passed < self.PAUSE:
            return None
        self._compare()
        before, self.slow = self.slow, min(passed / self.steps, self.seconds) > 3 * self.first
        self.start, self.steps = time.perf_counter(), 0
        if before or not self.slow:
            return None
        return (
            f"Training has slowed down to less than a third ({self}): another program seems to use the processor. "
            + self.advice()
        )

    def advice(self):
        """What can be done against another program that uses the processor."""
        if self.count > 1 and len(self.options) == 1:
            return "Without --threads, or with --threads 1, it bothers less."
        return "Closing that helps; else all goes on, only slower."

    def _compare(self):
        """Times each number of threads, and keeps the fastest."""
        times = {}
        with self.torch.random.fork_rng(devices=[]):  # the run's own random numbers stay as they are
            for count in sorted(self.options, key=lambda count: count != self.count):  # the present one first
                self.torch.set_num_threads(count)
                times[count] = self._time(limit=2 * min(times.values(), default=math.inf))
        # What is in use stays unless another is clearly faster: trials are short, and machines noisy.
        fastest = min(times, key=lambda count: times[count] * (1 if count == self.count else 1.05))
        self.torch.set_num_threads(fastest)
        self.count, self.seconds = fastest, times[fastest]

    def _time(self, limit):
        """Seconds a step; gives up after three when they take longer than `limit`."""
        self.step()  # threads start
        steps, seconds, start = 0, 0, time.perf_counter()
        while (steps < 10 or seconds < self.TRIAL) and (steps < 3 or seconds <= limit * steps):
            self.step()
            steps, seconds = steps + 1, time.perf_counter() - start
        return seconds / steps


# --- Data ------------------------------------------------------------------------------------


class Digits(collections.namedtuple("Digits", ("images", "labels", "source"))):
    """Images `uint8 (N, 28, 28)`, white ink (255) on black (0); labels `int64 (N,)`, 0 to 9; and where they
    come from, `MNIST` or `DRAWN`, which every picture says."""


def read_idx(file):
    """The array in a gzipped IDX file of bytes, as MNIST's are: `uint8 (N,)` or `(N, 28, 28)`."""
    import numpy as np

    with gzip.open(file) as stream:
        dimensions = stream.read(4)[3]
        shape = np.frombuffer(stream.read(4 * dimensions), ">u4")
        return np.frombuffer(bytearray(stream.read()), np.uint8).reshape(shape)  # a bytearray can be written to


def load_digits(train=True, data=None, read=read_idx):
    """MNIST, each file checked against its published MD5; or drawn digits where MNIST cannot be had.

    Args:
        train: the 60,000 training images, else the 10,000 test images.
        data: folder of the four `.gz` files; what is missing there is downloaded into it.
            None stands for `data/`, and allows drawn digits where there are neither files nor network.
        read: function that takes the `Path` of a checked file to its array.

    Returns:
        `Digits`; one and the same object however often it is asked for.

    Raises:
        UserError: a file is not MNIST's, or `data` was named, lacks files and they cannot be downloaded.
    """
    return _load_digits(train, data, read)


@functools.cache  # all arguments by their place: a call that names them would be another entry
def _load_digits(train, data, read):
    folder = _mnist_folder(data)
    if folder is None:
        from digits import draw_digits

        count = 60_000 if train else 10_000
        print(f"Drawing {count:,} digits ...")
        return Digits(*draw_digits(count, seed=0 if train else 1), DRAWN)
    prefix = "train" if train else "t10k"
    images, labels = (read(folder / f"{prefix}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return Digits(images, labels.astype("int64"), MNIST)


@functools.cache  # one download, and one notice, for the training and the test set
def _mnist_folder(data):
    """The folder that now holds MNIST's files, all checked, or None to go on with drawn digits."""
    from torchvision.datasets import MNIST as published
    from torchvision.datasets.utils import calculate_md5

    folder = Path("data" if data is None else data)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--data {folder} is not a folder; name the folder that holds MNIST's four files")
    missing = []
    for name, md5 in published.resources:
        path = folder / name
        if not path.exists():
            missing.append((name, md5))
            continue
        try:
            found = calculate_md5(path)
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror}); mend that, or name another folder with --data"
            ) from error
        if found != md5:
            raise UserError(
                f"{path} is damaged or not MNIST's: its MD5 sum is {found}, MNIST's is {md5}; "
                "delete it to have it downloaded anew, or name another folder with --data"
            )
    if missing and (failure := _download(missing, folder, published.mirrors)):
        names = [name for name, _ in missing if not (folder / name).exists()]
        lacks = f"lacks {', '.join(names)}" if folder.exists() else "does not exist"
        if unpacked := [name for name in names if (folder / name).with_suffix("").exists()]:
            lacks += f" (it has {Path(unpacked[0]).stem}, but the published .gz files are wanted)"
        lacking = f"{folder} {lacks}, and downloading MNIST failed ({failure})"
        if data is not None:
            raise UserError(f"--data {lacking}; put the files there, or name a folder that holds them")
        print(
            f"{lacking}.\nGoing on with drawn digits, whose losses and pictures are NOT MNIST's: for MNIST, put "
            f"the files into {folder} or name a folder that holds them with --data.",
            file=sys.stderr,
        )
        return None
    return folder


def _download(files, folder, mirrors):
    """Fetches `files`, pairs of name and MD5, into `folder`; returns why that failed, or None.

    Raises:
        UserError: the network is there, but the files cannot be written.
    """
    from torchvision.datasets.utils import download_url

    failures = []
    for mirror in mirrors:
        failure = _why_silent(mirror + files[0][0])
        if failure is None:
            timeout = socket.getdefaulttimeout()
            socket.setdefaulttimeout(20)  # a connection that dies on the way ends in an error, not in a wait
            try:
                for name, md5 in files:
                    if (folder / name).exists():  # from the mirror before
                        continue
                    # Half a download never stands under the file's name, and what a kill leaves of it lies in the
                    # system's folder for such things.
                    with tempfile.TemporaryDirectory() as part:
                        print(f"Downloading {mirror}{name} ...")
                        download_url(mirror + name, part, name, md5)
                        folder.mkdir(parents=True, exist_ok=True)
                        with replacing(folder / name) as path:
                            path.write_bytes(Path(part, name).read_bytes())
                return None
            except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
                if getattr(error, "errno", None) in CANNOT_WRITE:
                    raise UserError(
                        f"MNIST cannot be downloaded into {folder}: {error.strerror}; make room or mend that, "
                        "or name another folder with --data"
                    ) from error
                failure = error
            finally:
                socket.setdefaulttimeout(timeout)
        failures.append(f"{mirror}: {' '.join(str(failure).split())}")
    return "; ".join(failures)


def _why_silent(url, seconds=4):
    """Why `url` does not answer within `seconds`, or None where it does."""
    failure = [f"no answer within {seconds} s"]

    def ask():
        try:
            urllib.request.urlopen(url, timeout=seconds).close()  # not HEAD, which some mirrors refuse
            failure[0] = None
        except (OSError, ValueError, http.client.HTTPException) as error:
            failure[0] = str(error).strip("<>").removeprefix("urlopen error ")

    # In a thread that may be left behind: a socket's timeout bounds neither the look-up of a name nor the
    # trying of a host's many addresses one after the other.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return failure[0]


def principal_axes(images, count):
    """The first `count` principal axes of images `(N, ...)`, an orthonormal `(pixels, count)`, the last the first; and
    the mean image, `(pixels,)`."""
    import torch

    mean = images.mean(dim=0).flatten()
    # Block by block: centred images would take as much memory as the images.
    moments = sum(block.flatten(1).T @ block.flatten(1) for block in images.split(10_000)) / len(images)
    _, axes = torch.linalg.eigh((moments - torch.outer(mean, mean)).cpu())  # not every GPU has it
    return axes[:, -count:].to(mean.device), mean


def nothing_learned(loss, baseline, lr):
    """The line that says so where a trained model is no better than its `baseline`, else None.

    Args:
        loss, baseline: of the model, and of answering every image with the mean image.
        lr: the learning rate of the training.
    """
    if loss < 0.99 * baseline:
        return None
    return (
        f"Nothing was learned: the loss is {loss:#.4g}, and answering every image with the mean image gives "
        f"{baseline:#.4g}. Longer training may help; where it does not, a smaller --lr than {lr:g} will."
    )


def check_batch_size(batch_size, count):
    """Raises UserError where `--batch-size` is more than the `count` training images."""
    if batch_size > count:
        raise UserError(f"--batch-size {batch_size}: there are only {count:,} training images; choose fewer")


def print_data(source, count, test_count, device, threads):
    """Prints the "Data: ..." line."""
    computer = threads if device.type == "cpu" else device
    print(f"Data: {source}, {count:,} training and {test_count:,} test images; computing on {computer}")


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
        for part in folder.glob("*.part"):  # that a killed run left
            if time.time() - part.stat().st_mtime > 3600:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"--figures {figures}: {folder} cannot be written to ({error.strerror}); name a folder that can"
        ) from error
    return folder


@contextlib.contextmanager
def replacing(path):
    """Gives a temporary path beside `path`, unlike any other run's; it takes the place of `path` when the block has
    gone well, so that neither Ctrl-C nor a full disk leaves half a file or loses the old one.

    Raises:
        OSError: it could not be written; names `path`.
    """
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
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
        layout: see `draw`, which gives the figure itself.
    """
    from matplotlib.figure import Figure

    if path is not None:
        save(draw(Figure(), images, **layout), path)
        return

    from matplotlib import pyplot

    draw(pyplot.figure(), images, **layout)
    if pyplot.get_backend().lower() == "agg":
        print("there is no display here to show it; with a path the picture is saved", file=sys.stderr)
    else:
        pyplot.show()


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
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    labels = [0.1 + 0.2 * lines if row * columns < len(titles) else gap for row in range(rows)]  # above each row
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
