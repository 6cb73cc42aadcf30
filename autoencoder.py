"""An autoencoder with a code of two numbers, so that the codes can be seen; and its variational sibling.

python autoencoder.py                  trains it, and leaves the pictures in figures/autoencoder/
python autoencoder.py --variational    the same for the variational one, in figures/variational/

The same command goes on where it was stopped, and draws again what is trained.
"""

import copy
import functools
import itertools
import math
import statistics
import time
import timeit

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import utils
from extras import latent, page
from extras.checkpoint import Run
from utils import UserError, show

HIDDEN = (192, 128, 128, 128)  # widths of the encoder's hidden layers; the decoder's are the same, reversed
LOGVAR_LIMITS = (-20, 10)  # exp(logvar) neither vanishes nor lets a single image outweigh all others
PLOTTED = 10_000  # training images whose codes are shown
SETTINGS = ("steps", "batch_size", "lr", "seed", "latent_dim")  # the flags that make a run what it is
CHECKPOINT, SAVE_STEPS = "checkpoint.pt", 1_000  # saved every 1,000 steps, about four seconds of training


# --- The models ------------------------------------------------------------------------------


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
    """The layers of a multilayer perceptron: linear ones with SiLU between, `Residual` where the width stays."""
    layers = []
    for before, after in itertools.pairwise(widths):
        layers += [Residual(before, normalise)] if before == after else [nn.Linear(before, after), nn.SiLU()]
    return layers[:-1]


class Autoencoder(nn.Module):
    """c = f(x), x' = g(c): f and g are multilayer perceptrons, c has `latent_dim` numbers.

    `encoder` takes images `(N, 28, 28)` to `(N, latent_dim)`, `decoder` codes `(N, latent_dim)` to images
    `(N, 28, 28)` in [0, 1].
    """

    OUTPUTS = 1  # of the encoder, for each number of a code

    def __init__(self, latent_dim=2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Flatten(), *mlp(28 * 28, *HIDDEN, self.OUTPUTS * latent_dim))
        decoder = mlp(latent_dim, *reversed(HIDDEN), 28 * 28, normalise=True)
        self.decoder = nn.Sequential(*decoder, nn.Sigmoid(), nn.Unflatten(1, (28, 28)))
        self.checked = False

    def forward(self, images):
        """Images `(N, 28, 28)` in [0, 1] to codes `(N, latent_dim)` and reconstructions `(N, 28, 28)` in [0, 1].

        Raises:
            ValueError: another shape or range; a GPU, which would have to wait, looks at the range once.
        """
        codes = self.encode(images)
        return codes, self.decoder(codes)

    def encode(self, images):
        """`encoder`, after a look at the images; see `forward`."""
        if images.dim() != 3 or images.shape[1:] != (28, 28) or len(images) == 0:
            raise ValueError(f"images of shape {tuple(images.shape)}; expected (N, 28, 28)")
        if images.device.type == "cpu" or not self.checked:
            low, high = images.min().item(), images.max().item()
            if not (low >= 0 and high <= 1):
                raise ValueError(f"images have values from {low:g} to {high:g}; expected 0 to 1")
            self.checked = True
        return self.encoder(images)

    def losses(self, images):
        """The parts of the loss of images `(N, 28, 28)` in [0, 1] by name, scalars; the loss is their sum."""
        return {"MSE": F.mse_loss(self(images)[1], images)}

    def baseline(self, images):
        """The loss of answering each of the images `(N, 28, 28)` with their mean, which learns nothing."""
        return images.var(dim=0, correction=0).mean().item()

    def random_codes(self, normal, codes):
        """Random codes `(N, latent_dim)` by the words that say how they are drawn, a dict, out of samples `normal` of
        N(0, I), `(N, latent_dim)`, and the codes of training images, `(M, latent_dim)`."""
        own = codes.mean(dim=0) + codes.std(dim=0) * normal
        return {"N(0, I)": normal, "the codes' own mean and spread": own, "N(0, 100² I)": 100 * normal}


class VariationalAutoencoder(Autoencoder):
    """q(c|x) = N(mu(x), diag(exp(logvar(x)))), p(c) = N(0, I), p(x|c) Bernoulli in every pixel, with grey values
    as probabilities (Kingma & Welling 2014, Auto-Encoding Variational Bayes).

    `encoder` gives mu and logvar, `(N, 2 latent_dim)`.
    """

    OUTPUTS = 2

    def posterior(self, images):
        """mu and logvar of images `(N, 28, 28)`, `(N, latent_dim)` each."""
        mu, logvar = self.encode(images).chunk(2, dim=1)
        return mu, logvar.clamp(*LOGVAR_LIMITS)

    def forward(self, images):
        """As `Autoencoder.forward`; the codes are samples when training and the means mu when evaluating."""
        mu, logvar = self.posterior(images)
        codes = reparameterise(mu, logvar) if self.training else mu
        return codes, self.decoder(codes)

    def losses(self, images):
        """Reconstruction and KL in nats an image; their sum is the negative evidence lower bound (ELBO)."""
        mu, logvar = self.posterior(images)
        logits = self.decoder[:-2](reparameterise(mu, logvar))  # the logarithm of a sigmoid may be infinite
        reconstruction = F.binary_cross_entropy_with_logits(logits, images.flatten(1), reduction="sum")  # -log p(x|c)
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()  # of q(c|x) from p(c), appendix B of the paper
        return {"reconstruction": reconstruction / len(images), "KL": kl / len(images)}

    def baseline(self, images):
        """As `Autoencoder.baseline`; the code tells nothing, and KL is 0."""
        mean = images.mean(dim=0)
        return F.binary_cross_entropy(mean, mean, reduction="sum").item()

    def random_codes(self, normal, codes):
        """Training has prepared the model for N(0, I), and for nothing else."""
        return {"N(0, I)": normal}


def reparameterise(mu, logvar):
    """Samples of N(mu, exp(logvar)), through which gradients flow (Kingma & Welling 2014, section 2.4)."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


# --- Data ------------------------------------------------------------------------------------


def read_with_mnist(path):
    """`utils.read_idx` by the package that the assignment asks for; the file is there, and checked."""
    try:
        from mnist import download_and_parse_mnist_file
    except ImportError as error:
        raise UserError(f"this needs the package mnist, 0.2.2 or later ({error}); pip install mnist") from error
    return download_and_parse_mnist_file(path.name, target_dir=path.parent)


@functools.cache
def load_tensors(train=True, data=None, device="cpu"):
    """`utils.load_digits` as tensors on a device: images float32 `(N, 28, 28)` in [0, 1], labels int64 `(N,)`."""
    digits = utils.load_digits(train, data, read_with_mnist)
    images = torch.from_numpy(digits.images).to(device, torch.float32).div_(255)
    return images, torch.from_numpy(digits.labels).to(device)


def sample_train(N, return_labels=False, data=None, device="cpu", generator=None):
    """Draws training images at random, without replacement.

    Args:
        N: how many, 1 to 60,000.
        return_labels: whether to return the labels too.
        data: folder of MNIST's files, see `utils.load_digits`.
        generator: a seed or an `np.random.Generator`; None draws others each time.

    Returns:
        Images float32 `(N, 28, 28)` in [0, 1]; with `return_labels` a pair of them and their labels int64 `(N,)`.

    Raises:
        ValueError: N out of range.
    """
    images, labels = load_tensors(True, data, device)
    if not 1 <= N <= len(images):
        raise ValueError(f"N is {N}; expected 1 to {len(images)}")
    chosen = np.random.default_rng(generator).choice(len(images), N, replace=False, shuffle=False)
    chosen = torch.from_numpy(chosen).to(device)
    sample = images.index_select(0, chosen)  # in half the time of images[chosen]
    return (sample, labels.index_select(0, chosen)) if return_labels else sample


# --- Training --------------------------------------------------------------------------------


def train(run, steps, path=None, data=None, choose=True):
    """Trains a `Run` until it has done `steps` steps.

    Args:
        path: where its checkpoint goes every `SAVE_STEPS` steps, and at the end.
        data: see `sample_train`.
        choose: whether to choose every `SAVE_STEPS` steps how many threads compute, see `choose_threads`.

    Raises:
        FloatingPointError: the loss became infinite or NaN.
    """
    batch_size, lr, device = run.settings["batch_size"], run.settings["lr"], run.watched.device
    run.losses = F.pad(run.losses, (0, steps - len(run.losses))).to(device)
    moments = set(np.geomspace(1, steps, 23).round().astype(int).tolist())  # at which the plane is kept, as at step 0
    if run.step == 0:
        run.keep()
    own_threads, start = torch.get_num_threads(), time.monotonic()
    while run.step < steps:
        if choose and run.step % SAVE_STEPS == 0 and device.type == "cpu":
            choose_threads(run.model, sample_train(batch_size, data=data), own_threads)
        if run.falls:  # from twice the rate to 0, so that it is `lr` in the mean
            run.optimizer.param_groups[0]["lr"] = 2 * lr * (1 - run.step / steps)
        images = sample_train(batch_size, data=data, device=device, generator=run.generator)
        loss = sum(run.model.losses(images).values())
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        run.losses[run.step] = loss.detach()
        run.step += 1
        run.average()
        if run.step in moments:
            run.keep()
        if run.step % SAVE_STEPS == 0 or run.step == steps:
            loss = run.losses[max(0, run.step - SAVE_STEPS) : run.step].mean().item()
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss became {loss} by step {run.step}; try a smaller --lr")
            left = (steps - run.step) / SAVE_STEPS * (time.monotonic() - start)
            start = time.monotonic()
            print(f"step {run.step:,}/{steps:,}, loss {loss:#.4g}, {left / 60:.1f} minutes left", flush=True)
            if path:
                utils.save(run.state(), path)


def choose_threads(model, images, most):
    """Has PyTorch compute with one thread or with `most`, whichever makes a step faster at present: where another
    program uses a core, the threads wait for each other, and a step was measured to take up to 100 times as long."""
    seconds = {}
    for count in sorted({1, most}):
        torch.set_num_threads(count)
        model, times = copy.deepcopy(model), []
        with torch.random.fork_rng(devices=[]):  # the run's own random numbers stay as they are
            while len(times) < 6 and max(times, default=0) <= 2 * seconds.get(1, math.inf):
                start = time.perf_counter()
                sum(model.losses(images).values()).backward()
                times.append(time.perf_counter() - start)
        seconds[count] = statistics.median(times)
    torch.set_num_threads(min(seconds, key=seconds.get))


def allow_fast_products():
    """Lets PyTorch multiply with oneDNN where that is much faster, as on some processors of AMD, and as exact. For that
    PyTorch wants the permission to round to bfloat16, of which only few processors make use."""
    random, matmul = torch.Generator().manual_seed(0), torch.backends.mkldnn.matmul
    a, b = torch.randn(200, 784, generator=random), torch.randn(192, 784, generator=random)
    seconds, exact = [], a.double() @ b.T.double()
    for matmul.fp32_precision in ("none", "bf16"):
        seconds.append(min(timeit.repeat(lambda: F.linear(a, b), number=5, repeat=10)))
    if seconds[0] < 1.4 * seconds[1] or (F.linear(a, b) - exact).norm() > 1e-6 * exact.norm():
        matmul.fp32_precision = "none"


# --- Pictures and the run --------------------------------------------------------------------


def plot(model, samples, path=None, title=""):
    """Shows images `(N, 28, 28)` in [0, 1], each beside its reconstruction, a pair a row; with `path` saves the figure
    there instead."""
    pairs = torch.stack((samples, latent.reconstruct(model, samples)), dim=1).flatten(0, 1)
    show(pairs, path, title, ("original", "reconstruction"), columns=2)


KINDS = {  # by the name of their folder: the model, its name, and what its loss is
    "autoencoder": (Autoencoder, "autoencoder", "mean squared error"),
    "variational": (VariationalAutoencoder, "variational autoencoder", "negative ELBO (nats an image)"),
}


def start(kind, args, source, path):
    """A `Run` of the flags: that of the checkpoint `path`, where there is one, or one that has not begun."""
    torch.manual_seed(args.seed)  # the seed alone decides the weights
    model = KINDS[kind][0](args.latent_dim).to(args.device)
    watched = load_tensors(False, args.data, args.device)[0][:2_000]
    settings = {name: getattr(args, name) for name in SETTINGS}
    # The assignment wants a constant rate for the other. Measured on three seeds: 130.5 nats instead of 132.0.
    run = Run(model, watched, falls=kind == "variational", kind=kind, source=source, **settings)
    if path and path.exists():
        try:
            run.load(path)
        except ValueError as error:
            raise UserError(f"{path} cannot be used: {error}; --anew trains again") from error
    return run


def save_code(run, args, folder, about):
    """Saves what the decoder makes of `args.code`, one of two numbers beside the codes of training images."""
    if run.step < args.steps:
        raise UserError(f"{folder} holds {run.step:,} of {args.steps:,} steps; leave --code out to train")
    picture = latent.decode(run.averaged, [args.code])
    if not picture.isfinite().all():
        raise UserError(f"--code {args.code} is so far out that the decoder overflows; choose another")
    if args.latent_dim == 2:
        images, labels = sample_train(PLOTTED, True, args.data, args.device, generator=0)
        plane = latent.plane(latent.encode(run.averaged, images), labels)
        utils.save(latent.code_figure(run.averaged, args.code, plane, about), folder / "code.png")
    else:
        show(picture, folder / "code.png", f"The code {args.code}, decoded\n({about})")


def save_pictures(run, args, folder, about):
    """Saves what there is to see of a trained run, and what there is to say."""
    kind = run.settings["kind"]
    sample = sample_train(PLOTTED, True, args.data, args.device, generator=0)
    train_set, test_set = (load_tensors(train, args.data, args.device) for train in (True, False))
    one_of_each = torch.stack([test_set[0][test_set[1] == digit][0] for digit in range(10)])
    plot(run.averaged, one_of_each, folder / "reconstructions.png", f"Test images, reconstructed\n({about})")
    torch.manual_seed(args.seed)  # the ELBO is estimated from samples
    sets = sample, train_set, test_set
    report = latent.report(run.averaged, *sets, run.losses.cpu(), run.kept, *KINDS[kind][1:], about)
    utils.save_all(folder, "report.txt", *report)
    if args.latent_dim != 2:
        return
    codes, moving = latent.encode(run.averaged, sample[0]), latent.unfolding(run.kept, run.losses, test_set[1])
    ways = [*latent.random_codes(run.averaged, codes).items()]
    spread, random = ways[:2][-1]  # the codes' own spread, where there is a choice
    plane = latent.plane(codes, sample[1])
    entry = page.plane_entry(run.averaged, plane, moving, random, f"from {spread}", about)
    utils.save_page(folder, page.put, kind, entry, utils.load_digits(False, args.data, read_with_mnist), latent.COLOURS)
    other = "autoencoder" if args.variational else "variational"
    path = folder.with_name(folder.name.replace(kind, other)) / CHECKPOINT
    runs = {kind: run, other: start(other, args, run.settings["source"], path)}
    if runs[other].step == args.steps:
        models = {KINDS[name][1]: runs[name].averaged for name in KINDS}
        name = f"unruly_or_tamed{folder.name.removeprefix(kind)}.png"
        utils.save(latent.compare(models, sample, train_set, test_set[0], about), folder.parent / name)


def main():
    """Reads the flags, trains or goes on, and saves the pictures."""
    parser = utils.flag_parser("Train an autoencoder with a code of two numbers on MNIST, and show it.", 200, 1e-3)
    add = parser.add_argument
    add("--steps", type=int, default=50_000, metavar="N", help="training steps (%(default)s)")
    add("--latent-dim", type=int, default=2, metavar="N", help="numbers of a code (%(default)s)")
    add("--variational", action="store_true", help="train the variational model, at a rate that falls from 2 LR to 0")
    add("--anew", action="store_true", help="ignore the checkpoint, and train from the start")
    add("--code", type=float, nargs="+", metavar="C", help="only decode this code, by the model of these flags")
    add("--threads", type=int, metavar="N", help="threads that compute (one or all, whichever is faster)")
    args = parser.parse_args()
    utils.check_flags(parser, args, steps=(1, 1e9), latent_dim=(1, 784), threads=(1, 256))
    if args.code and (len(args.code) != args.latent_dim or not all(map(math.isfinite, args.code))):
        parser.error(f"--code {args.code}: expected {args.latent_dim} finite numbers")
    if args.code and args.anew:
        parser.error("--code decodes with the trained model; leave --anew out")
    torch.set_num_threads(args.threads or torch.get_num_threads())
    torch.set_flush_denormal(True)  # gradients of pixels that are hardly ever inked shrink to slow, tiny numbers
    allow_fast_products()
    source = utils.load_digits(True, args.data, read_with_mnist).source
    print(f"Data: {source}; computing on {args.device}")
    kind = "variational" if args.variational else "autoencoder"
    folder, about = utils.name_run(parser, args, kind, source, f"{args.steps:,} steps", SETTINGS)
    run = start(kind, args, source, None if args.anew else folder / CHECKPOINT)
    if run.step:
        print(f"{folder} holds {run.step:,} of {args.steps:,} steps; --anew trains from the start")
    if args.code:
        save_code(run, args, folder, about)
    else:
        train(run, args.steps, folder / CHECKPOINT, args.data, not args.threads)
        save_pictures(run, args, folder, about)


if __name__ == "__main__":
    utils.run(main, "autoencoder.py")
