"""An autoencoder with a code of two numbers, so that the codes can be seen; and its variational sibling.

python autoencoder.py                  trains, and leaves pictures in figures/autoencoder/
python autoencoder.py --variational    the same, trained so that random codes give digits
python autoencoder.py --help           lists the settings
"""

import utils


def flags():
    """The settings of a run; their defaults are the assignment's."""
    parser = utils.flag_parser(
        "Train an autoencoder with a two-dimensional code on MNIST and picture what it learned.",
        batch_size=200,
        lr=1e-3,
    )
    utils.add_flag(parser, "--steps", utils.positive_int, 50_000, "training steps")
    parser.add_argument("--variational", action="store_true", help="train the variational autoencoder instead")
    parser.add_argument("--load", metavar="FILE", help="make the pictures from this checkpoint, without training")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--resume", action="store_true", help="go on from the last checkpoint of an interrupted run")
    only.add_argument(
        "--code",
        nargs=2,
        type=utils.finite_float,
        metavar=("C1", "C2"),
        help="only decode this code, with the last checkpoint or that of --load",
    )
    only.add_argument(
        "--explore",
        action="store_true",
        help="only open a window that decodes the code under the mouse, with a checkpoint as for --code",
    )
    only.add_argument(
        "--compare",
        action="store_true",
        help="only picture the codes of both models side by side, with the last checkpoint of each",
    )
    return parser


if __name__ == "__main__":  # before PyTorch is imported: --help and a mistyped flag answer at once
    settings = utils.start(flags())

import contextlib
import functools
import math
import pickle
import signal
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from torch import nn
from torch.nn import functional as F
from torchvision.utils import make_grid

from utils import GREY, UserError, show

HIDDEN = (320, 128, 64)  # widths of the encoder's hidden layers; the decoder's are the same, reversed
TRACKED = (0, 100, 1_000, 5_000, 20_000, 50_000)  # steps at which eight test digits are reconstructed
CHECKPOINT_EVERY = 5_000  # steps
SMOOTHING = 500  # steps over which the loss is averaged for the curve and the progress line
LOGVAR_LIMIT = 20  # keeps the variance between 2e-9 and 5e8: exp(logvar) can neither overflow nor vanish
NEIGHBOURS = 10  # training codes that vote on a test code
DRAWN_CODES = 10_000  # training images in the scatter
CELLS = 60  # a side of the grid in which the scatter's codes are counted
# Ten colours that a colour-blind reader can tell apart as far as ten can be (Petroff 2021, arXiv:2107.02270)
COLOURS = matplotlib.style.library["petroff10"]["axes.prop_cycle"].by_key()["color"]


# --- Model and loss --------------------------------------------------------------------------


def mlp(*widths):
    """Linear layers of these widths with SiLU between them."""
    layers = [nn.Linear(widths[0], widths[1])]
    for before, after in zip(widths[1:], widths[2:]):
        layers += [nn.SiLU(), nn.Linear(before, after)]
    return nn.Sequential(*layers)


def check_shape(x, *shape):
    """Raises ValueError unless `x` has the shape `(N, *shape)`."""
    if x.shape[1:] != shape:
        raise ValueError(f"shape {tuple(x.shape)}; expected (N, {', '.join(map(str, shape))})")


class Encoder(nn.Module):
    """Takes images `(N, 28, 28)` to `outputs` numbers each, `(N, outputs)`."""

    def __init__(self, outputs):
        super().__init__()
        self.layers = mlp(28 * 28, *HIDDEN, outputs)

    def forward(self, images):
        check_shape(images, 28, 28)
        return self.layers(images.flatten(1))


class Decoder(nn.Module):
    """Takes codes `(N, latent_dim)` to images `(N, 28, 28)` in [0, 1], the sigmoid of `logits`."""

    def __init__(self, latent_dim):
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = mlp(latent_dim, *reversed(HIDDEN), 28 * 28)

    def logits(self, codes):
        check_shape(codes, self.latent_dim)
        return self.layers(codes).view(-1, 28, 28)

    def forward(self, codes):
        return torch.sigmoid(self.logits(codes))


class Autoencoder(nn.Module):
    """c = f(x), x' = g(c), with f and g multilayer perceptrons and c of `latent_dim` numbers."""

    NAME, LOSS = "autoencoder", "mean squared error"
    LOSSES = ("MSE",)  # the parts of the loss, whose sum is minimised
    NUMBERS = 1  # that the encoder gives for each dimension of a code

    def __init__(self, latent_dim=2):
        super().__init__()
        self.encoder = Encoder(self.NUMBERS * latent_dim)
        self.decoder = Decoder(latent_dim)

    def forward(self, images):
        """Encodes and decodes images.

        Args:
            images: `(N, 28, 28)` in [0, 1].

        Returns:
            codes `(N, latent_dim)` and reconstructions `(N, 28, 28)` in [0, 1].

        Raises:
            ValueError: any other shape.
        """
        codes = self.encoder(images)
        return codes, self.decoder(codes)

    def losses(self, images):
        """The parts of the loss of images `(N, 28, 28)` in [0, 1]: scalars, named by `LOSSES`."""
        return (F.mse_loss(self(images)[1], images),)


class VariationalAutoencoder(Autoencoder):
    """q(c|x) = N(mu(x), diag(exp(logvar(x)))), p(c) = N(0, I), p(x|c) Bernoulli in every pixel, with grey values
    as probabilities (Kingma & Welling 2014, Auto-Encoding Variational Bayes)."""

    NAME, LOSS = "variational autoencoder", "negative ELBO (nats an image)"
    LOSSES = ("reconstruction", "KL")  # nats an image; their sum is the negative evidence lower bound (ELBO)
    NUMBERS = 2

    def posterior(self, images):
        """mu and logvar of images `(N, 28, 28)`, `(N, latent_dim)` each."""
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        return mu, logvar.clamp(-LOGVAR_LIMIT, LOGVAR_LIMIT)

    def forward(self, images):
        """As `Autoencoder.forward`; the codes are samples when training and the means mu when evaluating."""
        mu, logvar = self.posterior(images)
        codes = reparameterise(mu, logvar) if self.training else mu
        return codes, self.decoder(codes)

    def losses(self, images):
        """Reconstruction and KL of images `(N, 28, 28)` in [0, 1], in nats an image, from one sample an image."""
        mu, logvar = self.posterior(images)
        logits = self.decoder.logits(reparameterise(mu, logvar))
        # -log p(x|c); from logits, because the logarithm of a sigmoid that is 0 in float32 is infinite
        reconstruction = F.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        return reconstruction / len(images), kl_divergence(mu, logvar).sum() / len(images)


def reparameterise(mu, logvar):
    """Samples of N(mu, exp(logvar)), through which gradients flow (Kingma & Welling 2014, section 2.4)."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def kl_divergence(mu, logvar):
    """KL divergence of N(mu, exp(logvar)) from N(0, 1) in each dimension, in nats (Kingma & Welling 2014, appendix B):

        (mu^2 + sigma^2 - log sigma^2 - 1) / 2

    Args:
        mu, logvar: of one shape; logvar = log sigma^2, at most 88 in float32.

    Returns:
        Tensor of that shape, 0 or more.
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


# --- Data ------------------------------------------------------------------------------------


@functools.cache
def load_tensors(train, data, device):
    """`utils.load_digits` as tensors on a device: images float32 `(., 28, 28)` in [0, 1], labels int64 `(.,)`."""
    digits = utils.load_digits(train, data)
    images = torch.from_numpy(digits.images).to(device, torch.float32).div_(255)
    return images, torch.from_numpy(digits.labels).to(device)


def sample_train(N, return_labels=False, data=None, device="cpu", generator=None):
    """Draws training images at random, without replacement.

    Args:
        N: how many, 1 to 60,000.
        return_labels: whether to return the labels too.
        data: folder of MNIST's files, see `utils.load_digits`.
        generator: `np.random.Generator` that draws; None takes a fresh one.

    Returns:
        Images float32 `(N, 28, 28)` in [0, 1]; with `return_labels` a pair of them and their labels int64 `(N,)`.

    Raises:
        ValueError: N out of range.
    """
    images, labels = load_tensors(True, data, device)
    if not 1 <= N <= len(images):
        raise ValueError(f"N is {N}; expected 1 to {len(images):,}")
    generator = generator or np.random.default_rng()
    indices = torch.from_numpy(generator.choice(len(images), N, replace=False, shuffle=False))
    if images.is_cuda:
        indices = indices.pin_memory()  # a copy from other memory would wait for the device
    indices = indices.to(device, non_blocking=True)
    sample = images.index_select(0, indices)
    return (sample, labels.index_select(0, indices)) if return_labels else sample


# --- Training --------------------------------------------------------------------------------


class Run:
    """A training run: everything that a checkpoint holds.

    Args:
        model: an `Autoencoder`, on its device.
        settings: those of `flags`.
        source: where the images come from, `utils.MNIST` or `utils.DRAWN`.
    """

    def __init__(self, model, settings, source):
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=settings.lr, fused=True)
        self.generator = np.random.default_rng(settings.seed)  # draws the batches
        self.step = 0
        device = next(model.parameters()).device
        self.history = torch.zeros(settings.steps, len(model.LOSSES), device=device)  # the losses of each step
        self.tracked = {}  # step to reconstructions of the same eight test images
        # What must be the same for a run to go on from a checkpoint, by the flag that sets it.
        self.settings = {
            "--variational": type(model) is not Autoencoder,
            "--data": source,
            "--batch-size": settings.batch_size,
            "--lr": settings.lr,
            "--seed": settings.seed,
        }

    def save(self, path):
        """Writes a checkpoint; a kill at any moment leaves the one before."""
        device = self.history.device
        random = {"numpy": self.generator.bit_generator.state, "cpu": torch.get_rng_state()}
        if device.type != "cpu":
            random[device.type] = torch.get_device_module(device).get_rng_state()
        with utils.replacing(path) as part:
            torch.save(
                {
                    "settings": self.settings,
                    "step": self.step,
                    "weights": self.model.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "random": random,
                    "history": self.history[: self.step],
                    "tracked": self.tracked,
                },
                part,
            )

    def load(self, path, resume):
        """Takes over a checkpoint: to go on with it (`resume`), or just its weights and history for pictures.

        Raises:
            UserError: it is missing, corrupt, from another model or, to be resumed, from other settings.
        """
        device = self.history.device
        try:
            with zipfile.ZipFile(path) as archive:  # torch.load does not look at the checksums
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(damaged)
            saved = torch.load(path, map_location=device, weights_only=True)
            theirs = saved["settings"]
            for flag in self.settings if resume else ("--variational", "--data"):
                if theirs[flag] != self.settings[flag]:
                    advice = {
                        "--variational": f"{'add' if theirs[flag] else 'leave out'} --variational",
                        "--data": "use the --data that it was made with",
                    }.get(flag, f"use the same {flag}")
                    raise UserError(
                        f"{path} was made with {flag} {theirs[flag]}, this run has {self.settings[flag]}; "
                        f"{advice}, or another checkpoint"
                    )
            if resume and saved["step"] > len(self.history):
                raise UserError(
                    f"{path} is at step {saved['step']:,}, beyond this run's --steps {len(self.history):,}; "
                    "use a larger --steps, or --load to make its pictures"
                )
            self.model.load_state_dict(saved["weights"])
            self.step, self.tracked = saved["step"], saved["tracked"]
            if not resume:
                self.history = saved["history"]
                return
            self.history[: self.step] = saved["history"]
            self.optimizer.load_state_dict(saved["optimizer"])
            self.generator.bit_generator.state = saved["random"]["numpy"]
            torch.set_rng_state(saved["random"]["cpu"].cpu())
            if device.type in saved["random"] and device.type != "cpu":
                torch.get_device_module(device).set_rng_state(saved["random"][device.type].cpu())
        except FileNotFoundError:
            command = "python autoencoder.py" + " --variational" * self.settings["--variational"]
            raise UserError(f"there is no checkpoint {path}; {command}, with the same --data, trains one") from None
        except (
            RuntimeError,
            KeyError,
            TypeError,
            ValueError,
            EOFError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
            OSError,
        ) as error:
            raise UserError(
                f"{path} is damaged, or not a checkpoint of this model ({type(error).__name__}); "
                "train anew, or use another checkpoint"
            ) from error


def train_step(model, optimizer, images):
    """One step of the optimizer; returns the parts of the loss, `(parts,)`, without waiting for the device."""
    losses = model.losses(images)
    optimizer.zero_grad()
    functools.reduce(torch.add, losses).backward()
    optimizer.step()
    return torch.stack([loss.detach() for loss in losses])


@contextlib.contextmanager
def noting_ctrl_c():
    """Gives an event that Ctrl-C sets, so that a step is never cut in two."""
    pressed = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def train(run, settings, device, samples, path):
    """Trains from `run.step` to `settings.steps`, with a checkpoint at `path` now and then and at the end.

    Args:
        samples: eight test images `(8, 28, 28)`, reconstructed at the steps `TRACKED` and at the last.

    Raises:
        UserError: the loss became infinite or NaN.
        KeyboardInterrupt: Ctrl-C, after a checkpoint.
    """
    model = run.model
    terminal = sys.stdout.isatty()
    every = 100 if terminal else 1_000  # the only moments at which the device is waited for
    start, first = time.perf_counter(), run.step
    with noting_ctrl_c() as pressed:
        while True:
            if run.step in TRACKED or run.step == settings.steps:
                run.tracked[run.step] = reconstruct(model, samples)
            ended = run.step == settings.steps or pressed.is_set()
            if run.step > first and (run.step % every == 0 or ended):
                report(run, settings.steps, (run.step - first) / (time.perf_counter() - start), terminal)
            if ended or run.step > first and run.step % CHECKPOINT_EVERY == 0:
                run.save(path)
            if ended:
                break
            images = sample_train(settings.batch_size, False, settings.data, device, run.generator)
            run.history[run.step] = train_step(model, run.optimizer, images)
            run.step += 1
    if terminal:
        print()
    if run.step < settings.steps:
        raise KeyboardInterrupt(f"at step {run.step:,}; the same command with --resume goes on from there")


def report(run, steps, speed, terminal):
    """Prints the progress line: step, losses averaged over the last 500 steps, steps a second, time left."""
    means = run.history[max(0, run.step - SMOOTHING) : run.step].mean(dim=0).tolist()
    if not math.isfinite(sum(means)):
        raise UserError(f"the loss became {sum(means)} by step {run.step:,}; try a smaller --lr")
    losses = "  ".join(f"{name} {mean:.4f}" for name, mean in zip(run.model.LOSSES, means))
    left = round((steps - run.step) / speed)
    line = f"step {run.step:,}/{steps:,}  {losses}  {speed:.0f} steps/s  {left // 60}:{left % 60:02} left"
    print(f"\r{line:79}" if terminal else line, end="" if terminal else "\n", flush=True)


# --- Measurements ----------------------------------------------------------------------------


@torch.no_grad()
def reconstruct(model, images):
    """Reconstructions `(N, 28, 28)`, on the CPU."""
    return model.eval()(images)[1].cpu()


@torch.no_grad()
def in_blocks(function, tensor, size=10_000):
    """`function` of `tensor`, block by block along its first dimension to bound the memory; concatenated."""
    return torch.cat([function(block) for block in tensor.split(size)])


def encode(model, images):
    """Codes `(N, 2)` of images `(N, 28, 28)`."""
    return in_blocks(lambda block: model.eval()(block)[0], images)


@torch.no_grad()
def mean_losses(model, images):
    """The parts of the loss of images `(N, 28, 28)`, as numbers."""
    return in_blocks(lambda block: torch.stack(model.losses(block)).expand(len(block), -1), images).mean(dim=0).tolist()


def reconstruction_error(model, images):
    """Mean squared error over all pixels of images `(N, 28, 28)`."""
    return in_blocks(lambda block: (model.eval()(block)[1] - block).square().mean(dim=(1, 2)), images).mean().item()


@torch.no_grad()
def neighbour_share(codes, labels, test_codes, test_labels):
    """Share of the test codes `(M, 2)` whose 10 nearest training codes `(N, 2)` vote for the right label."""

    def vote(block):
        return labels[torch.cdist(block, codes).topk(NEIGHBOURS, largest=False).indices].mode(dim=1).values

    return (in_blocks(vote, test_codes, size=500) == test_labels).float().mean().item()


class Plane(NamedTuple):
    """The codes of training images `(N, 2)`, their labels `(N,)`, and the square of the plane that holds most."""

    codes: np.ndarray
    labels: np.ndarray
    limits: tuple  # (low, high) of c1 and of c2; both of one length

    @classmethod
    def of(cls, codes, labels):
        """Leaves out what lies far out: the square spans the 2 % to 98 % quantiles of the wider direction."""
        low, high = np.quantile(codes, (0.02, 0.98), axis=0)
        half = 0.55 * (high - low).max()
        return cls(codes, labels, tuple((middle - half, middle + half) for middle in (low + high) / 2))

    def count(self, labels):
        """How many codes with one of `labels` lie in each cell of a grid and the eight cells around it,
        `(CELLS, CELLS)`, and the middles of the cells in c1 and in c2, `(CELLS,)` each."""
        chosen = self.codes[np.isin(self.labels, labels)]
        counts, *edges = np.histogram2d(*chosen.T, bins=CELLS, range=self.limits)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(counts, 1), (3, 3))
        return windows.sum(axis=(2, 3)), *((edge[1:] + edge[:-1]) / 2 for edge in edges)

    def best_code(self, label):
        """The code in the middle of the most images of `label`, each place's count taken times the fourth power of
        their share among all images there: where they are many, and nearly alone."""
        own, c1, c2 = self.count([label])
        share = own / np.maximum(self.count(range(10))[0], 1)
        row, column = np.unravel_index((own * share**4).argmax(), own.shape)
        return float(c1[row]), float(c2[column])


# --- Pictures --------------------------------------------------------------------------------


def plot(model, samples, path=None, title=""):
    """Shows images and their reconstructions side by side, a pair a row; or saves them.

    Args:
        samples: images `(N, 28, 28)` in [0, 1].
        path: saves there instead of showing.

    Returns:
        The matplotlib figure.
    """
    pairs = [image for pair in zip(samples.cpu(), reconstruct(model, samples)) for image in pair]
    return show(pairs, path, title=title, titles=("original", "reconstruction"), columns=2)


def draw_scatter(axis, plane, size=4):
    """The codes in the (c1, c2)-plane, coloured by label, each label's number at the centre of its densest spot."""
    order = np.random.default_rng(0).permutation(len(plane.codes))  # else the last label would cover the others
    axis.scatter(*plane.codes[order].T, c=np.array(COLOURS)[plane.labels[order]], s=size, alpha=0.6, linewidths=0)
    taken = np.zeros((CELLS, CELLS), bool)  # cells too close to a number that is already there
    for label in range(10):
        counts, c1, c2 = plane.count([label])
        row, column = np.unravel_index(np.where(taken, -1, counts).argmax(), counts.shape)
        taken[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
        axis.text(
            c1[row],
            c2[column],
            str(label),
            fontsize=15,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=3, foreground="white")],
        )
    axis.set(xlim=plane.limits[0], ylim=plane.limits[1], xlabel="$c_1$", ylabel="$c_2$", aspect="equal")


def square_figure(title):
    """A figure with one square axes, always in the same place: two such pictures can be laid over each other."""
    figure = Figure(figsize=(8.4, 8), dpi=200)
    axis = figure.add_axes((0.7 / 8.4, 0.5 / 8, 7 / 8.4, 7 / 8))  # 7 inches: 25 images of 28 pixels fit exactly
    axis.set_title(title)
    return figure, axis


def save_latent(plane, path, source):
    """`latent.png`: where the digits lie."""
    low, high = np.transpose(plane.limits)
    outside = ((plane.codes < low) | (plane.codes > high)).any(axis=1).mean()
    figure, axis = square_figure(f"Codes of {len(plane.codes):,} training images ({source}); {outside:.1%} lie outside")
    draw_scatter(axis, plane)
    marks = [
        Line2D([], [], marker="o", linestyle="", color=colour, label=label) for label, colour in enumerate(COLOURS)
    ]
    axis.legend(handles=marks, title="label", loc="upper left", bbox_to_anchor=(1, 1))
    utils.save(figure, path)


def save_plane(model, plane, path, source):
    """`plane.png`: what the decoder makes of the plane, 25 x 25 images.

    They lie evenly over the part that `latent.png` shows; for the variational autoencoder on the quantiles of
    N(0, 1), so that each is as likely as any other.
    """
    cells = (np.arange(25) + 0.5) / 25
    if isinstance(model, VariationalAutoencoder):
        c1 = c2 = torch.special.ndtri(torch.from_numpy(cells)).numpy()
        title, extent = f"The decoder on the quantiles of N(0, I) ({source})", (0, 25, 0, 25)
    else:
        c1, c2 = (low + cells * (high - low) for low, high in plane.limits)
        title, extent = f"What the decoder makes of the plane ({source})", np.ravel(plane.limits)
    codes = np.stack(np.meshgrid(c1, c2[::-1]), axis=-1).reshape(-1, 2)  # the top row is the highest c2
    mosaic = make_grid(decode(model, codes).unsqueeze(1), nrow=25, padding=0)[0].numpy()
    figure, axis = square_figure(title)
    axis.imshow(mosaic, **GREY, extent=extent)
    if isinstance(model, VariationalAutoencoder):
        ticks = range(0, 25, 4)
        labels = [f"{c1[tick]:.2f}" for tick in ticks]
        axis.set(
            xticks=[tick + 0.5 for tick in ticks],
            xticklabels=labels,
            yticks=[tick + 0.5 for tick in ticks],
            yticklabels=labels,
        )
    axis.set(xlabel="$c_1$", ylabel="$c_2$")
    utils.save(figure, path)


def random_grid(model, plane):
    """64 random codes, decoded, 8 x 8, and in words where they were drawn: from N(0, I) for the variational
    autoencoder, else evenly from the square that `latent.png` shows."""
    generator = np.random.default_rng(0)
    if isinstance(model, VariationalAutoencoder):
        codes, words = generator.standard_normal((64, 2)), "from N(0, I): where training puts the codes"
    else:
        codes = generator.uniform(*np.transpose(plane.limits), (64, 2))
        words = "evenly from the square of the scatter: expected to be hard to read"
    return make_grid(decode(model, codes).unsqueeze(1), nrow=8), words


def save_comparison(runs, planes, path, source):
    """`unruly_or_tamed.png`: for each run the scatter of its codes above 64 random codes, decoded."""
    figure = Figure(figsize=(11, 11.6), dpi=120, layout="constrained")
    figure.suptitle(
        f"Two numbers for a digit, without and with a rule for where they lie ({source})", fontsize="x-large"
    )
    axes = figure.subplots(2, len(runs))
    for (upper, lower), run, plane in zip(axes.T, runs, planes):
        draw_scatter(upper, plane, size=2)
        upper.set_title(f"Codes of the {run.model.NAME} ({run.step:,} steps)")
        grid, words = random_grid(run.model, plane)
        lower.imshow(grid[0].numpy(), **GREY)
        lower.set_title(f"64 random codes, drawn {words}".replace(": ", ":\n"))
        lower.axis("off")
    utils.save(figure, path)


def save_code(model, plane, code, path, source, chosen=""):
    """A code marked on the scatter, beside the image that the decoder makes of it."""
    figure = Figure(figsize=(9, 4.9), dpi=150)
    left, right = figure.add_axes((0.08, 0.11, 0.43, 0.79)), figure.add_axes((0.56, 0.11, 0.43, 0.79))
    draw_scatter(left, plane, size=2)
    left.plot(*code, "*", color="black", markeredgecolor="white", markersize=22)
    left.set(title=f"Codes of {len(plane.codes):,} training images ({source})")
    (low1, high1), (low2, high2) = plane.limits
    grow = max(0, low1 - code[0], code[0] - high1, low2 - code[1], code[1] - high2)  # a code far out is shown too
    left.set(xlim=(low1 - grow, high1 + grow), ylim=(low2 - grow, high2 + grow))
    right.imshow(decode(model, [code])[0].numpy(), **GREY)
    right.set_title(f"{chosen}code ({code[0]:.2f}, {code[1]:.2f}), decoded")
    right.axis("off")
    utils.save(figure, path)


@torch.no_grad()
def decode(model, codes):
    """Images `(N, 28, 28)` of codes `(N, 2)`, a list or an array, on the CPU."""
    device = next(model.parameters()).device
    return model.decoder(torch.as_tensor(codes, dtype=torch.float32, device=device)).cpu()


def wire_explorer(figure, model, plane, source):
    """Fills a figure on an interactive canvas: left the scatter, right the image that the decoder makes of the code
    under the mouse; a click pins it and writes its code."""
    left, right = figure.subplots(1, 2)
    draw_scatter(left, plane, size=3)
    left.set_title(f"Codes ({source}): move the mouse over them, click to pin one")
    right.set_title(f"What the decoder of the {model.NAME} makes of the code")
    right.axis("off")
    picture = right.imshow(np.zeros((28, 28)), **GREY, animated=True)
    caption = right.text(0.5, 0.97, "", color="white", ha="center", va="top", transform=right.transAxes, animated=True)
    canvas, background = figure.canvas, None

    def draw_moving():
        right.draw_artist(picture)
        right.draw_artist(caption)

    def on_draw(event):  # all that does not move is drawn once, and kept
        nonlocal background
        background = canvas.copy_from_bbox(right.bbox)
        draw_moving()

    def on_move(event):
        if event.inaxes is left and background is not None:
            picture.set_data(decode(model, [(event.xdata, event.ydata)])[0].numpy())
            caption.set_text(f"({event.xdata:.2f}, {event.ydata:.2f})")
            canvas.restore_region(background)
            draw_moving()
            canvas.blit(right.bbox)

    def on_click(event):
        if event.inaxes is left and not canvas.widgetlock.locked():  # locked: the toolbar zooms or pans
            on_move(event)
            left.plot(event.xdata, event.ydata, "*", color="black", markeredgecolor="white", markersize=16)
            left.annotate(
                caption.get_text(),
                (event.xdata, event.ydata),
                xytext=(8, 8),
                textcoords="offset points",
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
            print(f"code {caption.get_text()}")
            canvas.draw_idle()

    for name, react in (("draw_event", on_draw), ("motion_notify_event", on_move), ("button_press_event", on_click)):
        canvas.mpl_connect(name, react)


def explore(model, plane, source):
    """Opens `wire_explorer` in a window or, with an interactive backend, in a notebook.

    Raises:
        UserError: there is no display.
    """
    from matplotlib import pyplot

    if pyplot.get_backend().lower() == "agg":
        raise UserError(
            "--explore opens a window, and there is no display here; --code C1 C2 decodes a code into a file"
        )
    wire_explorer(pyplot.figure(figsize=(12, 6.2), layout="constrained"), model, plane, source)
    pyplot.show()


def save_training(run, samples, test_loss, path, source):
    """`training.png`: eight test images as the model reconstructed them on the way, and the loss by step."""
    figure = Figure(figsize=(13, 5.6), dpi=120, layout="constrained")
    figure.suptitle(f"Training of the {run.model.NAME} ({source})")
    left, right = figure.subplots(1, 2)
    rows = [samples.cpu(), *run.tracked.values()]
    strip = make_grid(torch.cat(rows).unsqueeze(1), nrow=len(samples))[0].numpy()
    left.imshow(strip, **GREY)
    left.set(xticks=[], yticks=[15 + 30 * row for row in range(len(rows))])
    left.set_yticklabels(["original", *(f"step {step:,}" for step in run.tracked)])
    left.tick_params(length=0)
    left.set_title("Test images, reconstructed on the way")

    losses = run.history[: run.step].sum(dim=1).cpu().numpy()
    width = min(SMOOTHING, len(losses))
    smooth = np.convolve(losses, np.full(width, 1 / width), mode="valid")
    right.semilogy(np.arange(width, len(losses) + 1), smooth, label=f"training, mean of the last {width} steps")
    right.axhline(test_loss, color="tab:red", linestyle="--", label=f"test set, after training: {test_loss:.4g}")
    right.set(xlabel="step", ylabel=run.model.LOSS)
    right.grid(alpha=0.3, which="both")
    right.legend()
    utils.save(figure, path)


# --- The run ---------------------------------------------------------------------------------


def set_up(kind, settings, source, device):
    """A run of the model class `kind`, not yet begun, and its folder."""
    torch.manual_seed(settings.seed)
    folder = utils.picture_folder(
        settings.figures, "variational" if kind is VariationalAutoencoder else "autoencoder", source
    )
    return Run(kind().to(device), settings, source), folder


def see_plane(model, settings, device):
    """The `Plane` of 10,000 training images, always the same ones."""
    images, labels = sample_train(DRAWN_CODES, True, settings.data, device, np.random.default_rng(0))
    return Plane.of(encode(model, images).cpu().numpy(), labels.cpu().numpy())


def main(settings):
    """Trains, or loads a checkpoint, saves the pictures and prints the measurements.

    Args:
        settings: see `flags`.
    """
    if settings.load and (settings.resume or settings.compare):
        raise UserError(
            "--load makes the pictures of one checkpoint without training; leave out --resume and --compare"
        )
    # Gradients of pixels that are hardly ever inked shrink to subnormal numbers, which are slow to compute with.
    torch.set_flush_denormal(True)
    device = utils.pick_device(settings.device)
    source = utils.load_digits(True, settings.data).source
    images, labels = load_tensors(True, settings.data, device)
    test_images, test_labels = load_tensors(False, settings.data, device)
    print(f"Data: {source}, {len(images):,} training and {len(test_images):,} test images; device: {device}")

    if settings.batch_size > len(images):
        raise UserError(f"--batch-size {settings.batch_size}: there are only {len(images):,} training images")
    if settings.compare:
        runs = []
        for kind in (Autoencoder, VariationalAutoencoder):
            run, folder = set_up(kind, settings, source, device)
            run.load(folder / "checkpoint.pt", resume=False)
            runs.append(run)
        planes = [see_plane(run.model, settings, device) for run in runs]
        save_comparison(runs, planes, folder.parent / "unruly_or_tamed.png", source)
        return

    run, folder = set_up(VariationalAutoencoder if settings.variational else Autoencoder, settings, source, device)
    model, checkpoint = run.model, folder / "checkpoint.pt"
    if settings.load or settings.code or settings.explore:
        run.load(Path(settings.load or checkpoint), resume=False)
    else:
        if settings.resume:
            run.load(checkpoint, resume=True)
            print(f"Going on from step {run.step:,} of {checkpoint}")
        elif checkpoint.exists():
            previous = checkpoint.replace(folder / "previous.pt")
            print(f"The earlier checkpoint is now {previous}; under its old name --resume goes on from it")
        train(run, settings, device, test_images[:8], checkpoint)
        print(f"  {checkpoint}")
    plane = see_plane(model, settings, device)
    source = f"{source}, {run.step:,} steps"  # for the titles
    if settings.explore:
        return explore(model, plane, source)
    if settings.code:
        return save_code(model, plane, settings.code, folder / "code.png", source)

    torch.manual_seed(settings.seed)  # the ELBO is estimated from samples: from the same ones with --load
    test_losses = mean_losses(model, test_images)
    save_training(run, test_images[:8], sum(test_losses), folder / "training.png", source)
    one_of_each = torch.stack([test_images[test_labels == label][0] for label in range(10)])
    plot(model, one_of_each, folder / "reconstructions.png", f"Test images and their reconstructions ({source})")
    save_latent(plane, folder / "latent.png", source)
    save_plane(model, plane, folder / "plane.png", source)
    grid, words = random_grid(model, plane)
    show(grid, folder / "random.png", title=f"64 random codes, decoded ({source});\ndrawn {words}")
    code = plane.best_code(4)
    print(f"Code for a 4: ({code[0]:.2f}, {code[1]:.2f}), where the codes of 4s are many and nearly alone")
    save_code(model, plane, code, folder / "four.png", source, "a 4? ")

    codes, test_codes = encode(model, images), encode(model, test_images)
    share = neighbour_share(codes, labels, test_codes, test_labels)
    print(f"After {run.step:,} steps:")
    if settings.variational:
        print(
            f"  negative ELBO on the test set: {sum(test_losses):.1f} nats an image "
            f"({test_losses[0]:.1f} reconstruction + {test_losses[1]:.1f} KL)"
        )
    print(
        f"  mean squared error: {reconstruction_error(model, images):.4f} training, "
        f"{reconstruction_error(model, test_images):.4f} test"
    )
    print(f"  test images that their {NEIGHBOURS} nearest training codes label rightly: {share:.1%}")
    print(
        f"  standard deviation of the codes: {codes[:, 0].std():.2f} in c1, {codes[:, 1].std():.2f} in c2; "
        f"farthest from their mean: {(codes - codes.mean(dim=0)).norm(dim=1).max():.2f}"
    )


if __name__ == "__main__":
    main(settings)
