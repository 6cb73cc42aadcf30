"""What both scripts need: MNIST, pictures, files, the flags and the folder of a run."""

import argparse
import contextlib
import gzip
import hashlib
import io
import math
import os
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot, style
from matplotlib.animation import PillowWriter
from matplotlib.backends import BackendFilter, backend_registry
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from PIL import Image, ImageOps

DATA = Path(__file__).resolve().with_name("data")  # MNIST, beside the scripts
FIGURES = DATA.with_name("figures")  # with the trained models


class UserError(Exception):
    """Something that the user can mend; the message is the line that they read."""


# --- Data ----------------------------------------------------------------------------


def read_idx(path):
    """The array `uint8` of an IDX file that is packed with gzip; data/ has such files.

    Byte 3 is the number of dimensions; their sizes follow, 4 bytes each, then the
    values.
    """
    content = gzip.decompress(path.read_bytes())
    dimensions = content[3]
    shape = np.frombuffer(content, ">i4", count=dimensions, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    return values.reshape(shape).copy()  # that may be written to


def load_mnist(train=True, folder=DATA, read=read_idx):
    """MNIST, or other data in files of these names.

    Args:
        train: the training images, else the test images; of MNIST 60,000 and 10,000.
        folder: of the files, such as train-images-idx3-ubyte.gz.
        read: takes the path of a file to its array.

    Returns:
        Images uint8 `(N, 28, 28)`, of MNIST white ink (255) on black (0), and labels
        int64 `(N,)` from 0 to 9.

    Raises:
        UserError: a file is missing, damaged, or holds something else.
    """
    part = "train" if train else "t10k"
    images = read_file(Path(folder) / f"{part}-images-idx3-ubyte.gz", read)
    labels = read_file(Path(folder) / f"{part}-labels-idx1-ubyte.gz", read)
    if images.ndim != 3 or images.shape[1:] != (28, 28) or images.dtype != np.uint8:
        raise UserError(
            f"{folder}: the {part} images have the shape {images.shape} and the type "
            f"{images.dtype}; expected (N, 28, 28) and uint8"
        )
    digits = np.unique(labels).tolist()
    if labels.shape != (len(images),) or digits != list(range(10)):
        raise UserError(
            f"{folder}: the {part} labels have the shape {labels.shape} and the values "
            f"{digits}; expected ({len(images)},) and each of 0 to 9"
        )
    return images, labels.astype(np.int64)


def read_file(path, read):
    """`read(path)`, with errors in a line."""
    if not path.is_file():
        raise UserError(
            f"{path} is missing; git checkout data brings MNIST's own files back, and "
            "--data names a folder with four files of these names"
        )
    try:
        return read(path)
    except (EOFError, zlib.error, gzip.BadGzipFile, ValueError, IndexError) as error:
        raise UserError(
            f"{path} is damaged or of another kind ({error}); put a good copy there"
        ) from error


def first_of_each_digit(labels):
    """The indices of the first image of each digit 0 to 9, an array `(10,)`."""
    return np.array([np.argmax(labels == digit) for digit in range(10)])


def load_image(path):
    """A picture of one's own as MNIST's digits were made; says what was done with it.

    Transparency becomes white, a phone's rotation is applied, dark ink on a light
    ground is inverted. The ink is scaled into 20 x 20 pixels, and its centre of mass
    put into the middle of 28 x 28. A page that was photographed with shadows may fail.

    Returns:
        float32 `(1, 28, 28)` in [0, 1], white ink on black.

    Raises:
        UserError: the file is no picture, or the sheet is empty or full.
    """
    ink = read_ink(path)
    height, width = ink.shape
    scale = 20 / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(ink).resize(size, Image.Resampling.BOX)
    pixels = np.array(small)
    top = place_of(pixels.sum(axis=1))
    left = place_of(pixels.sum(axis=0))
    canvas = torch.zeros(1, 28, 28)
    canvas[0, top : top + size[1], left : left + size[0]] = torch.from_numpy(pixels)
    return canvas


def read_ink(path):
    """A picture cut to its ink, an array float32 `(H, W)`, from 0 to 1 for full ink."""
    grey = read_grey(path)
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ground = np.median(border)
    is_light = ground > 0.5
    ink = ground - grey if is_light else grey - ground
    if ink.max() < 0.2:
        raise UserError(f"{path}: there is no ink that differs from its ground")
    ink = np.clip(ink / ink.max(), 0, 1).astype(np.float32)
    rows = np.flatnonzero(ink.max(axis=1) > 0.2)
    columns = np.flatnonzero(ink.max(axis=0) > 0.2)
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    colours = "dark ink on a light ground" if is_light else "light ink on a dark ground"
    print(f"{path}: {colours}, {len(columns)} x {len(rows)} pixels, scaled and centred")
    return ink


def read_grey(path):
    """A picture in grey, transparency as white, an array `(H, W)` in [0, 1]."""
    try:
        picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    except OSError as error:
        raise UserError(f"{path} cannot be read as a picture: {error}") from error
    sheet = Image.new("RGBA", picture.size, "white")
    sheet.alpha_composite(picture)
    return np.array(sheet.convert("L")) / 255


def place_of(profile):
    """Where the first of up to 20 pixels goes, so that the centre of mass of `profile`,
    the ink along them, comes to pixel 14 of 0 to 27, as in MNIST."""
    centre = np.arange(len(profile)) @ profile / profile.sum()
    return int(np.clip(round(14 - centre), 0, 28 - len(profile)))


# --- Pictures ------------------------------------------------------------------------


@style.context("default")
def show(images, path=None, title="", titles=(), columns=None):
    """Shows images in a window or a notebook, or saves them.

    Args:
        images: tensors or NumPy arrays; one image, or several:

            | `(H, W)`, `(1, H, W)`          | one, grey                           |
            | `(3, H, W)`, `(H, W, 3)`       | one, in colour                      |
            | `(N, H, W)`, `(N, 1, H, W)`    | several, grey; `(3, 28, 28)`, too,  |
            |                                | unless all three are equal          |
            | `(N, 3, H, W)`                 | several, in colour                  |
            | a list of any of the first two | several                             |

            Integers lie in [0, 255], or all in [0, 1]. An image of floats that leave
            [0, 1] is stretched: its smallest becomes black, its largest white.
        path: saves there instead; its suffix decides the format.
        titles: one for each image.
        columns: images in a row; None puts all in one row.

    Raises:
        ValueError: no image, another shape, or values that are NaN or infinite.
        UserError: `path` has no suffix, or its folder is not there.
    """
    if path:
        save_figure(draw_images(images, title, titles, columns), path)
        return
    figure = draw_images(images, title, titles, columns, pyplot.figure)
    silent = backend_registry.list_builtin(BackendFilter.NON_INTERACTIVE)
    if pyplot.get_backend().lower() in silent:
        print(
            "there is no display here to show it; with a path, show saves the picture",
            file=sys.stderr,
        )
    pyplot.show()
    pyplot.close(figure)


def draw_images(images, title="", titles=(), columns=None, make_figure=Figure):
    """The figure that `show` shows or saves."""
    pictures = [as_picture(image) for image in split_images(images)]
    if not pictures:
        raise ValueError("there is no image to show: the list is empty")
    columns = columns or len(pictures)
    rows = math.ceil(len(pictures) / columns)
    height, width = pictures[0].shape[:2]
    inches_per_pixel = max(3, 280 / max(height, columns * width)) / 100
    title_inches = 0.45 if titles else 0.15
    figure = make_figure(layout="constrained")
    figure.set_size_inches(
        max(4, columns * (width * inches_per_pixel + 0.15)),
        rows * (height * inches_per_pixel + title_inches) + 0.6,
    )
    figure.suptitle(title, wrap=True)
    for place, picture in enumerate(pictures):
        axis = figure.add_subplot(rows, columns, place + 1)
        axis.imshow(picture, cmap="gray", vmin=0, vmax=1)
        axis.axis("off")
        if place < len(titles):
            axis.set_title(titles[place], fontsize="medium")
    return figure


def split_images(images):
    """A list or tensor of single images, out of what `show` takes."""
    if isinstance(images, (list, tuple)):
        return images
    images = torch.as_tensor(images)
    if images.dim() == 2 or (images.dim() == 3 and is_single(images)):
        return [images]
    return images


def is_single(images):
    """Whether a tensor of three dimensions is one image, and not several grey ones."""
    if len(images) == 1 or images.shape[-1] == 3:
        return True
    if len(images) != 3:
        return False
    # Three digits; but the grid of one digit has three equal channels.
    return images.shape[1:] != (28, 28) or bool((images == images[0]).all())


def as_picture(image):
    """One of `split_images` as an array `(H, W)` or `(H, W, 3)` in [0, 1]."""
    image = torch.as_tensor(image)
    if image.dim() == 3 and len(image) in (1, 3):
        image = image.movedim(0, -1)
    if image.dim() == 3 and image.shape[-1] == 1:
        image = image.squeeze(-1)
    in_colour = image.dim() == 3 and image.shape[-1] == 3
    if not (image.dim() == 2 or in_colour) or image.numel() == 0:
        raise ValueError(
            f"an image of shape {tuple(image.shape)}; expected (H, W), (1, H, W), "
            "(3, H, W) or (H, W, 3)"
        )
    values = image.detach().cpu().float()
    if not values.isfinite().all():
        raise ValueError("the image has values that are NaN or infinite")
    low = values.min().item()
    high = values.max().item()
    if not image.is_floating_point():
        values = values / (255 if high > 1 else 1)
    elif low < high and (low < 0 or high > 1):
        values = (values - low) / (high - low)
    return values.clamp(0, 1).numpy()


# --- Files ---------------------------------------------------------------------------


@contextlib.contextmanager
def replacing(path):
    """Gives a path beside `path` to write to, which takes the place of `path` when the
    block has gone well: a kill, a full disk or a power cut leaves the file before."""
    path = Path(path)
    part = path.with_name(f".{os.getpid()}-{path.name}")  # two runs at once do not meet
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        take_place(part, path)
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, why, str(path)) from error
    finally:
        part.unlink(missing_ok=True)


def take_place(part, path):
    """Renames `part` to `path`. On Windows that fails while another program, a viewer
    or a scanner, holds the file: it is tried for a second, and then left as it is."""
    for _ in range(10):
        try:
            part.replace(path)
            return
        except PermissionError:
            time.sleep(0.1)
    print(f"{path}: another program holds this file; it was not saved", file=sys.stderr)


@style.context("default")
def save_figure(figure, path, small=False):
    """Writes a figure of matplotlib in the format of the path's suffix; where `small`
    says so, a PNG in at most 256 colours."""
    path = Path(path)
    if not path.suffix:
        raise UserError(f"{path} has no suffix; expected one such as {path}.png")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; make it first")
    with replacing(path) as part:
        if small:  # packed in a hurry, since it is rewritten
            figure.savefig(part, dpi=120, pil_kwargs={"compress_level": 1})
            reduce_colours(part)
        else:
            figure.savefig(part, dpi=120)
    print(f"  {path}")


def reduce_colours(path):
    """Rewrites a PNG in greys or 256 colours: it looks the same, and takes a third."""
    picture = Image.open(path).convert("RGB")
    pixels = np.asarray(picture)
    if (pixels == pixels[:, :, :1]).all():
        picture = picture.convert("L")
    else:
        coverage = Image.Quantize.MAXCOVERAGE  # keeps rare colours
        nearest = Image.Dither.NONE
        picture = picture.quantize(256, coverage, kmeans=2, dither=nearest)
    picture.save(path)


@style.context("default")
def save_pages(figures, path):
    """Writes figures as the pages of a PDF."""
    dateless = {"CreationDate": None}  # the same run gives the same file
    with replacing(path) as part, PdfPages(part, metadata=dateless) as pdf:
        for figure in figures:
            pdf.savefig(figure)
    print(f"  {path}")


@style.context("default")
def save_animation(figure, draw_frame, count, path):
    """Writes a GIF. `draw_frame(number)` draws a frame, 0 to `count` - 1, on `figure`;
    the last one stays for a while."""
    writer = PillowWriter(fps=3)
    with replacing(path) as part, writer.saving(figure, part, dpi=100):
        for number in [*range(count), *[count - 1] * 8]:
            draw_frame(number)
            writer.grab_frame()
    print(f"  {path}")


def save_text(text, path):
    """Writes a text in UTF-8."""
    with replacing(path) as part:
        part.write_text(text, "utf-8")
    print(f"  {path}")


def save_weights(state, path):
    """Writes a dict of tensors for `torch.load(path, weights_only=True)`."""
    buffer = io.BytesIO()  # to a file, torch.save reports a full disk as a defect
    torch.save(state, buffer)
    with replacing(path) as part:
        part.write_bytes(buffer.getbuffer())


def load_weights(path):
    """The `state_dict` of a model.pt, on the CPU; `UserError` where there is none."""
    if not Path(path).is_file():
        raise UserError(f"{path} is missing; a run trained to its end leaves it")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # there are many ways to be damaged
        raise UserError(f"{path} is damaged or holds no weights; delete it") from error


# --- A run: its flags, its folder, its title, its end --------------------------------


def make_parser(description, batch_size, lr):
    """An `ArgumentParser` with the flags that both scripts have."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.print_usage = lambda file=None: None  # a mistake is one line
    add = parser.add_argument
    add(
        "--batch-size",
        type=int,
        default=batch_size,
        metavar="N",
        help="images in a step (%(default)s)",
    )
    add("--lr", type=float, default=lr, help="learning rate of Adam (%(default)s)")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="start of all random numbers (%(default)s)",
    )
    add(
        "--data",
        type=Path,
        default=DATA,
        metavar="DIR",
        help="folder of four files, named as MNIST's (data, beside the script)",
    )
    add(
        "--figures",
        type=Path,
        default=Path("figures"),
        metavar="DIR",
        help="where pictures go (%(default)s)",
    )
    add(
        "--device",
        default="auto",
        choices=("auto", "cpu", "cuda", "mps"),
        help="where to train (%(default)s)",
    )
    return parser


def parse_flags(parser, script, **limits):
    """The flags of a run of `script`, checked.

    A notebook or an editor that calls `main` has a command line of its own in
    `sys.argv`; then all flags are the defaults.

    Args:
        limits: lowest and highest value of a flag, by name.
    """
    is_ours = Path(sys.argv[0]).name == script
    args = parser.parse_args(sys.argv[1:] if is_ours else [])
    limits |= {"batch_size": (1, 60_000), "lr": (1e-12, 1e6), "seed": (0, 2**63 - 1)}
    for name, (low, high) in limits.items():
        value = getattr(args, name)
        if value is not None and not low <= value <= high:
            flag = "--" + name.replace("_", "-")
            parser.error(f"{flag} {value} is out of range; expected {low} to {high}")
    args.data = args.data.expanduser()
    args.device = choose_device(parser, args.device)
    return args


def choose_device(parser, name):
    """The device of that name, or the fastest that is there for "auto"."""
    is_there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        return next(device for device, there in is_there.items() if there)
    if not is_there[name]:
        parser.error(f"--device {name}: PyTorch finds none here; leave --device out")
    return name


@dataclass
class Run:
    """Where a run's files go, and what the titles of its pictures say of it."""

    folder: Path
    about: str  # "MNIST, 20 epochs, --hidden 5"
    data: Path  # folder of the images
    changed_flags: dict  # the settings that are not the defaults, as text

    @property
    def is_default(self):
        return not self.changed_flags

    def sibling(self, name):
        """The path of something else with the same settings, `figures/name-hidden5`."""
        return self.folder.with_name(folder_name(name, self.changed_flags))

    @property
    def page(self):
        """The path of explore.html; runs with the default settings share one."""
        folder = self.folder.parent if self.is_default else self.folder
        return folder / "explore.html"

    def read_page(self):
        """The text of the page that is there, or None."""
        return self.page.read_text("utf-8", "replace") if self.page.exists() else None

    def page_images(self):
        """What the page shows of the data, uint8: the first test image of each digit
        `(10, 28, 28)`, and the mean of all `(28, 28)`."""
        images, labels = load_mnist(False, self.data)
        mean = images.mean(axis=0).round().astype(np.uint8)
        return images[first_of_each_digit(labels)], mean

    def save_page(self, text):
        save_text(text, self.page)

    def stamp(self, figure):
        """Adds to the title of a figure what it is a figure of."""
        figure.suptitle(f"{figure.get_suptitle()}\n({self.about})".strip())

    def save_figure(self, figure, name):
        self.stamp(figure)
        save_figure(figure, self.folder / name, small=True)

    def save_beside(self, figure, name):
        """Saves a figure beside the folder, such as `figures/name-hidden5.png`."""
        self.stamp(figure)
        path = self.sibling(name)
        save_figure(figure, path.with_name(f"{path.name}.png"), small=True)

    def save_images(self, images, name, title="", titles=(), columns=None):
        self.save_figure(draw_images(images, title, titles, columns), name)

    def save_pages(self, figures, name):
        for figure in figures:
            self.stamp(figure)
        save_pages(figures, self.folder / name)

    def save_animation(self, figure, draw_frame, count, name):
        self.stamp(figure)
        save_animation(figure, draw_frame, count, self.folder / name)

    def save_report(self, table, name="report.txt"):
        """Saves a table of numbers, and prints it."""
        save_text(f"{self.about}\n\n{table}\n", self.folder / name)
        print(table)


def start_run(parser, args, name, length, settings):
    """The `Run` of the flags; makes its folder, and tries to write there.

    With the default settings it is `figures/codelet7`, with others a folder such as
    `figures/codelet7-hidden5`.

    Args:
        name: the first part of the folder's.
        length: how long it trains, in words.
        settings: the flags that make a run what it is, the first that of the length.
    """
    flags = {}
    for setting in settings:
        if getattr(args, setting) != parser.get_default(setting):
            value = " ".join(str(part) for part in np.ravel(getattr(args, setting)))
            flags[setting.replace("_", "-")] = value
    is_mnist = args.data.resolve() == DATA
    data = "MNIST" if is_mnist else args.data.resolve().name
    named = [f"--{flag} {flags[flag]}" for flag in flags if flag != settings[0]]
    about = ", ".join([data, length, *named])
    if not is_mnist:
        flags["data"] = data
    folder = args.figures.expanduser() / folder_name(name, flags)
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()  # fails now rather than after training
    return Run(folder, about, args.data, flags)


def folder_name(name, flags):
    """`codelet7-hidden5`: a name, and the flags with their values."""
    parts = [flag + value.replace(" ", "_") for flag, value in flags.items()]
    whole = "-".join([name, *parts])
    if len(whole) > 100:  # file systems take 255 bytes
        return f"{whole[:90]}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"
    return whole


def run_script(main, script):
    """Calls `main`; Ctrl-C, a full disk and whatever a user can mend end it in one
    line."""
    if not hasattr(sys.modules["__main__"], "__file__"):
        print(f"This is a cell of a notebook; there it runs with: %run {script}")
        return
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a path in letters it does not know
    threads = torch.get_num_threads()
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(f"{script}: stopped by Ctrl-C")
    except (UserError, FloatingPointError, ImportError, OSError) as error:
        sys.exit(f"{script}: error: {in_a_line(error)}")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise  # a defect, of which the traceback tells more
        sys.exit(f"{script}: error: out of memory; choose smaller settings")
    finally:  # a notebook goes on
        torch.set_num_threads(threads)
        torch.set_flush_denormal(False)
        torch.backends.mkldnn.matmul.fp32_precision = "none"


def in_a_line(error):
    return " ".join(str(error).split())[:300]
