"""An autoencoder with a code of two numbers, so that the codes can be seen; and its variational sibling.

python autoencoder.py                  trains, and leaves pictures in figures/autoencoder/
python autoencoder.py --variational    the same, trained so that random codes give digits
python autoencoder.py --help           lists the settings
"""

try:
    import utils
except KeyboardInterrupt:
    raise SystemExit("stopped by Ctrl-C") from None

RUN = ("steps", "batch_size", "lr", "seed")  # the flags that make a run what it is


def make_parser():
    """The flags of the script; their defaults are the assignment's settings."""
    parser = utils.flag_parser(
        "Train an autoencoder with a two-dimensional code on MNIST and picture what it learned. Other settings have a "
        "folder of their own. unfinished.pt is an interrupted run, until --resume finishes or --anew gives it up; "
        "checkpoint.pt a finished one, until another with its settings finishes.",
        batch_size=200,
        lr=1e-3,
    )
    utils.add_flag(parser, "--steps", utils.positive_int, 50_000, "training steps")
    add = parser.add_argument
    resume = "go on where a run with these settings was interrupted, or with FILE, a run of fewer --steps"
    add("--resume", nargs="?", const=True, type=utils.path, metavar="FILE", help=resume)
    add("--load", type=utils.path, metavar="FILE", help="make the pictures from this checkpoint, without training")
    code = "only decode this code, with the last checkpoint or that of --load"
    add("--code", nargs=2, type=utils.finite_float, metavar=("C1", "C2"), help=code)
    digit = "only picture the code that should give this digit, as --code does (a training does so for a 4)"
    add("--digit", type=utils.digit, metavar="N", help=digit)
    for flag, words in (
        ("--variational", "take the variational autoencoder instead"),
        ("--anew", "give up an unfinished run, and begin anew (with --resume FILE, from there)"),
        ("--compare", "only picture the codes of both models side by side, with the last checkpoint of each"),
    ):
        add(flag, action="store_true", help=words)
    return parser


def check(settings):
    """Raises UserError where flags contradict each other."""
    modes = ("--resume", "--anew", "--load", "--code", "--digit", "--explore", "--compare")
    given = [flag for flag in modes if getattr(settings, flag[2:]) not in (None, False)]
    together = [["--load", "--code"], ["--load", "--digit"]]
    if settings.resume is not True:  # but a FILE
        together.append(["--resume", "--anew"])
    if len(given) > 1 and given not in together:
        raise utils.UserError(f"{' and '.join(given)} do not go together; leave one of them out")
    if settings.load and (changed := utils.changed_flags(make_parser(), settings, RUN)):
        raise utils.UserError(f"--load takes a run as it was trained; leave out{utils.in_words(changed)[1:]}")


if __name__ == "__main__":  # before PyTorch is imported: --help and a mistyped flag answer at once
    settings = utils.start(make_parser(), check)

import collections
import contextlib
import copy
import functools
import itertools
import math
import shutil
import sys
import time

import mnist
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import checkpoint
import latent
from utils import UserError, check_shape, show

HIDDEN = (192, 128, 128, 128)  # widths of the encoder's hidden layers; the decoder's are the same, reversed
TRACKED = (0, 100, 1_000, 5_000, 20_000, 50_000)  # steps at which eight test digits are reconstructed
CHECKPOINT_STEPS, CHECKPOINT_SECONDS = 5_000, 60  # between two checkpoints at the most
LOGVAR_LIMITS = (-20, 10)  # exp(logvar) neither vanishes nor lets a single image outweigh all others


# --- Model and loss --------------------------------------------------------------------------


class Residual(nn.Module):
    """x + SiLU(W x + b): a layer with a shortcut around it (He et al. 2016); x `(N, width)`, where `normalise` says so
    normalised for W (Ba et al. 2016, Layer Normalization)."""

    def __init__(self, width, normalise):
        super().__init__()
        norm = [nn.LayerNorm(width)] if normalise else []
        self.layers = nn.Sequential(*norm, nn.Linear(width, width), nn.SiLU())

    def forward(self, x):
        return x + self.layers(x)


def mlp(*widths, normalise=False):
    """A multilayer perceptron of linear layers with SiLU between them, `Residual` where the width stays the same."""
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [Residual(before, normalise)] if before == after else [nn.Linear(before, after), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class Encoder(nn.Module):
    """Takes images `(N, 28, 28)` to `outputs` numbers each, `(N, outputs)`."""

    def __init__(self, outputs):
        super().__init__()
        self.layers = mlp(28 * 28, *HIDDEN, outputs)

    def forward(self, images):
        check_shape(images, (28, 28))
        return self.layers(images.flatten(1))


class Decoder(nn.Module):
    """Takes codes `(N, latent_dim)` to images `(N, 28, 28)` in [0, 1], the sigmoid of `logits`."""

    def __init__(self, latent_dim):
        super().__init__()
        self.latent_dim = latent_dim
        self.layers = mlp(latent_dim, *reversed(HIDDEN), 28 * 28, normalise=True)

    def logits(self, codes):
        check_shape(codes, (self.latent_dim,))
        return self.layers(codes).view(-1, 28, 28)

    def forward(self, codes):
        return torch.sigmoid(self.logits(codes))


class Autoencoder(nn.Module):
    """c = f(x), x' = g(c), with f and g multilayer perceptrons and c of `latent_dim` numbers."""

    NAME, FOLDER, COMMAND = "autoencoder", "autoencoder", "python autoencoder.py"
    LOSS = "mean squared error"
    PARTS = ("MSE",)  # of the loss, whose sum is minimised
    OUTPUTS = 1  # of the encoder, for each dimension of a code
    SPREAD = "evenly over the scatter's square"  # how `spread` spreads codes
    WIDE = 20  # standard deviation of random codes that are drawn with no look at where the data lie

    def __init__(self, latent_dim=2):
        super().__init__()
        self.encoder = Encoder(self.OUTPUTS * latent_dim)
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
        """The parts of the loss of images `(N, 28, 28)` in [0, 1]: scalars, named by `PARTS`."""
        return (F.mse_loss(self(images)[1], images),)

    def baseline(self, images):
        """The loss of answering each of the images `(N, 28, 28)` with their mean."""
        return images.var(dim=0, correction=0).mean().item()

    def spread(self, uniform, limits):
        """Codes `(N, 2)` out of numbers in (0, 1), `(N, 2)`: evenly over the square with these `Plane.limits`."""
        low, high = np.transpose(limits)
        return low + uniform * (high - low)


class VariationalAutoencoder(Autoencoder):
    """q(c|x) = N(mu(x), diag(exp(logvar(x)))), p(c) = N(0, I), p(x|c) Bernoulli in every pixel, with grey values
    as probabilities (Kingma & Welling 2014, Auto-Encoding Variational Bayes)."""

    NAME, FOLDER, COMMAND = "variational autoencoder", "variational", "python autoencoder.py --variational"
    LOSS = "negative ELBO (nats an image)"
    PARTS = ("reconstruction", "KL")  # nats an image; their sum is the negative evidence lower bound (ELBO)
    OUTPUTS = 2
    SPREAD = "like N(0, I)"
    WIDE = None  # training has prepared the model for N(0, I)

    def posterior(self, images):
        """mu and logvar of images `(N, 28, 28)`, `(N, latent_dim)` each."""
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        return mu, logvar.clamp(*LOGVAR_LIMITS)

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

    def baseline(self, images):
        """As `Autoencoder.baseline`; the code tells nothing, and KL is 0."""
        mean = images.mean(dim=0)
        return F.binary_cross_entropy(mean, mean, reduction="sum").item()

    def spread(self, uniform, limits):
        """Codes `(N, 2)` out of numbers in (0, 1), `(N, 2)`: the quantiles of N(0, I), wherever the data lie."""
        return latent.normal(uniform)


def reparameterise(mu, logvar):
    """Samples of N(mu, exp(logvar)), through which gradients flow (Kingma & Welling 2014, section 2.4)."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def kl_divergence(mu, logvar):
    """KL divergence of N(mu, exp(logvar)) from N(0, 1) in each dimension, in nats (Kingma & Welling 2014, appendix B):

        (mu^2 + sigma^2 - log sigma^2 - 1) / 2

    Tensors of one shape, also the result, which is 0 or more; logvar = log sigma^2 is at most 88 in float32.
    """
    return 0.5 * (mu.square() + logvar.exp() - logvar - 1)


# --- Data ------------------------------------------------------------------------------------


def read_with_mnist(file):
    """`utils.read_idx` by the package that the assignment asks for; the file at the `Path` is there, and checked."""
    return mnist.download_and_parse_mnist_file(file.name, target_dir=file.parent)


@functools.cache
def load_tensors(train, data, device):
    """`utils.load_digits` as tensors on a `torch.device`: images float32 `(., 28, 28)` in [0, 1], labels `(.,)`."""
    digits = utils.load_digits(train, data, read_with_mnist)
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
    images, labels = load_tensors(True, data, torch.device(device))
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


def train_step(model, optimizer, images):
    """One step of the optimizer; returns the parts of the loss, `(parts,)`, without waiting for the device."""
    losses = model.losses(images)
    optimizer.zero_grad()
    sum(losses).backward()
    optimizer.step()
    return torch.stack([loss.detach() for loss in losses])


def train(run, data, samples, folder, threads):
    """Trains from `run.step` to `run.steps`; leaves `checkpoint.pt` or, where it is stopped, `unfinished.pt`.

    Args:
        data: see `sample_train`.
        samples: eight test images `(8, 28, 28)`, reconstructed at the steps `TRACKED` and at the last.
        folder, threads: `Path` of the run's folder, `utils.Threads`.

    Raises:
        UserError: the loss or the weights became infinite or NaN.
        KeyboardInterrupt: Ctrl-C, SIGTERM, SIGHUP, or nobody reads the output; after a checkpoint.
    """
    first, saved, progress = run.step, time.monotonic(), Progress(run)
    run.tracked.setdefault(0, latent.reconstruct(run.averaged, samples).cpu())
    with utils.noting_stops() as stops:
        while run.step < run.steps and not stops:
            images = sample_train(run.settings["batch_size"], False, data, run.device, run.generator)
            run.count_step(train_step(run.model, run.optimizer, images))
            if run.step in TRACKED or run.step == run.steps:
                run.tracked[run.step] = latent.reconstruct(run.averaged, samples).cpu()
            try:
                progress.show(threads.tick())
            except OSError:  # the pipe or the terminal that it prints to is closed
                stops.append("a closed output")
            if run.step % CHECKPOINT_STEPS == 0 or time.monotonic() - saved > CHECKPOINT_SECONDS:
                saved = time.monotonic()
                progress.loss()
                run.try_to_save(folder / checkpoint.UNFINISHED)
        with contextlib.suppress(OSError):
            print(end=progress.below)
        if run.step > first or run.step == run.steps:
            progress.loss()
            run.save_in(folder)
    if stops:
        then = "goes on from there" if run.step < run.steps else "makes the pictures"
        raise KeyboardInterrupt(f"stopped by {stops[0]} at step {run.step:,}; the same command with --resume {then}")


class Progress:
    """The line that says where a `Run` is: its step, the loss averaged over the last 500 steps, speed, time left."""

    def __init__(self, run):
        self.run, self.terminal = run, sys.stdout.isatty()
        self.below = "\n" if self.terminal else ""  # leads below the line, where something else is printed
        self.marks = collections.deque([(time.monotonic(), run.step)], maxlen=6 if self.terminal else 2)

    def show(self, warning=None):
        """Prints the line twice a second on a terminal, else every 1,000 steps and at the end; and `warning`."""
        run, now = self.run, time.monotonic()
        if warning:
            print(self.below + warning)
        if run.step < run.steps and (now - self.marks[-1][0] < 0.5 if self.terminal else run.step % 1_000):
            return
        loss, (then, step) = self.loss(), self.marks[0]
        self.marks.append((now, run.step))
        speed = (run.step - step) / max(now - then, 1e-9)  # since a few marks ago: it soon follows a change
        minutes, seconds = divmod(round((run.steps - run.step) / speed), 60)
        line = f"step {run.step:,}/{run.steps:,}, loss {loss:#.4g}, {speed:.0f}/s, {minutes}:{seconds:02} left"
        if self.terminal:  # a line that it would break could not be overwritten
            line = f"\r{line:60}"[: shutil.get_terminal_size().columns]
        print(line, end="" if self.terminal else "\n", flush=True)

    def loss(self):
        """The loss of the last 500 steps; raises UserError where it is infinite or NaN."""
        run = self.run
        loss = run.history[max(0, run.step - latent.SMOOTHING) : run.step].sum(dim=1).mean().item()
        if not math.isfinite(loss):
            print(end=self.below)
            raise UserError(f"the loss became {loss} by step {run.step:,}; try a smaller --lr")
        return loss


# --- Pictures --------------------------------------------------------------------------------


def plot(model, samples, path=None, title=""):
    """Shows images and their reconstructions side by side, a pair a row; or saves them.

    Args:
        samples: images `(N, 28, 28)` in [0, 1].
        path: saves there instead of showing.
    """
    pairs = [image for pair in zip(samples, latent.reconstruct(model, samples), strict=True) for image in pair]
    show(pairs, path, title=title, titles=("original", "reconstruction"), columns=2)


# --- The run ---------------------------------------------------------------------------------


def main(settings):
    """Trains, or takes what was trained, and saves pictures; `settings` are those of `make_parser`."""
    # Gradients of pixels that are hardly ever inked shrink to subnormal numbers, which are slow to compute with.
    torch.set_flush_denormal(True)
    kind = VariationalAutoencoder if settings.variational else Autoencoder
    with utils.Threads(settings.threads, utils.pick_device(settings.device)) as threads:
        if settings.compare:
            compare(settings)
        elif settings.explore:
            import explore  # here, because it imports the models from this file

            explore.explore(settings, utils.changed_flags(make_parser(), settings, RUN))
        elif settings.code or settings.digit is not None:
            decode_only(trained_run(kind, settings), settings)
        elif settings.load:
            picture(trained_run(kind, settings), settings)
        else:
            run = train_run(kind, settings, threads)
            with utils.also_saying("the training is kept, and the same command with --resume draws"):
                picture(run, settings)


def new_run(kind, settings):
    """A run of the model class `kind`, not yet begun."""
    source = utils.load_digits(True, settings.data, read_with_mnist).source
    usual = {name: make_parser().get_default(name) for name in RUN}
    torch.manual_seed(settings.seed)
    return checkpoint.Run(kind().to(utils.pick_device(settings.device)), settings, source, usual)


def trained_run(kind, settings):
    """The run that was trained with these settings, or that of `--load`."""
    run = new_run(kind, settings)
    run.load(settings.load or checkpoint.latest(run.folder(settings.figures)), resume=False)
    return run


def train_run(kind, settings, threads):
    """Begins or resumes the run of these settings and trains it to its end; returns it."""
    run = new_run(kind, settings)
    images, test_images = (load_tensors(train, settings.data, run.device)[0] for train in (True, False))
    utils.check_batch_size(settings.batch_size, len(images))
    folder = run.folder(settings.figures)
    run.begin(folder, settings.resume, settings.anew)
    model = copy.deepcopy(run.model)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    with torch.random.fork_rng(devices=[]):  # the run's own random numbers stay as they are
        threads.choose(lambda: train_step(model, optimizer, images[: settings.batch_size]))
    utils.print_data(run.source, len(images), len(test_images), run.device, threads)
    train(run, settings.data, test_images[:8], folder, threads)
    print(f"  {folder / checkpoint.FINISHED}")
    return run


def see_plane(run, settings):
    """The `latent.Plane` of 10,000 training images, always the same ones."""
    images, labels = sample_train(latent.PLOTTED, True, settings.data, run.device, np.random.default_rng(0))
    return latent.Plane.of(run.averaged, images, labels, run.title())


def decode_only(run, settings):
    """`--code` or `--digit`."""
    plane, folder = see_plane(run, settings), run.folder(settings.figures)
    if settings.code:
        latent.save_code(plane, settings.code, folder / "code.png")
    else:
        chosen = latent.choose_codes(plane, *load_tensors(True, settings.data, run.device))[settings.digit]
        latent.save_digit(plane, chosen, folder)
        print(chosen.sentence())


def compare(settings):
    """`--compare`: the codes of both models side by side, and what random codes give."""
    runs = [trained_run(kind, settings) for kind in (Autoencoder, VariationalAutoencoder)]
    planes = [see_plane(run, settings) for run in runs]
    (images, labels), (test_images, _) = (load_tensors(train, settings.data, runs[0].device) for train in (True, False))
    drawn = [next(latent.random_digits(plane, images, labels, test_images)) for plane in planes]
    for plane, digits in zip(planes, drawn, strict=True):
        print(f"{plane.model.NAME}: {digits.sentence()}")
    name = utils.run_name("unruly_or_tamed", runs[0].unusual())
    latent.save_comparison(planes, drawn, runs[0].folder(settings.figures).parent / f"{name}.png")


def picture(run, settings):
    """Saves the pictures of a run and prints its measurements."""
    folder, plane = run.folder(settings.figures), see_plane(run, settings)
    images, labels = load_tensors(True, settings.data, run.device)
    test_images, test_labels = load_tensors(False, settings.data, run.device)
    torch.manual_seed(run.settings["seed"])  # the ELBO is estimated from samples: from the same ones with --load
    measured = latent.measure(run.averaged, images, labels, test_images, test_labels)
    latent.save_training(run, test_images[:8], measured.total(), folder / "training.png")
    one_of_each = torch.stack([test_images[test_labels == label][0] for label in range(10)])
    plot(run.averaged, one_of_each, folder / "reconstructions.png", f"Test images, reconstructed ({plane.source})")
    sentences = latent.save_pictures(plane, images, labels, test_images, folder)
    print(f"After {run.step:,} steps:", *measured.lines(), *sentences, sep="\n  ")
    if warning := utils.nothing_learned(measured.total(), measured.baseline, run.settings["lr"]):
        print(warning)


if __name__ == "__main__":
    utils.run(main, settings)
