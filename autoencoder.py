"""An autoencoder with a code of two numbers, and its variational sibling.

python autoencoder.py                  trains it; leaves the pictures in figures/
python autoencoder.py --variational    the same for the variational one

The same command goes on where it was stopped, and draws again what is trained.
"""

import functools
import itertools
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import mnist
import numpy as np
import torch
from matplotlib import style
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LinearLR

import utils
from extras import measures, page, plane, speed
from extras.checkpoint import Progress
from utils import UserError, show

HIDDEN = (192, 128, 128, 128)  # widths of the encoder; the decoder's are reversed
LOGVAR_LIMITS = (-20, 10)  # exp(logvar) neither vanishes nor outweighs all other images
PLOTTED = 10_000  # training images whose codes are shown
WATCHED = 2_000  # test images whose codes are kept during the training


# --- The models ----------------------------------------------------------------------


class Residual(nn.Module):
    """x + SiLU(W x + b), a layer with a shortcut around it (He et al. 2016).

    x is `(N, width)`; where `normalise` says so, W gets it normalised (Ba et al. 2016,
    Layer Normalization).
    """

    def __init__(self, width, normalise):
        super().__init__()
        norm = [nn.LayerNorm(width)] if normalise else []
        self.layers = nn.Sequential(*norm, nn.Linear(width, width), nn.SiLU())

    def forward(self, x):
        return x + self.layers(x)


def mlp(*widths, normalise=False):
    """The layers of a multilayer perceptron: linear ones with SiLU between, `Residual`
    where the width stays."""
    layers = []
    for before, after in itertools.pairwise(widths):
        if before == after:
            layers.append(Residual(before, normalise))
        else:
            layers += [nn.Linear(before, after), nn.SiLU()]
    return layers[:-1]


class Autoencoder(nn.Module):
    """c = f(x), x' = g(c): f and g are multilayer perceptrons, c has `latent_dim`
    numbers.

    `encoder` takes images `(N, 28, 28)` to `(N, latent_dim)`, `decoder` codes
    `(N, latent_dim)` to images `(N, 28, 28)` in [0, 1].

    Everywhere, images are tensors `(N, 28, 28)`, `(N, 1, 28, 28)` or `(N, 784)` in
    [0, 1]; other shapes raise a ValueError, NumPy arrays a TypeError.
    """

    encoder_outputs = 1  # for each number of a code
    rate_falls = False  # the assignment wants a constant learning rate

    def __init__(self, latent_dim=2):
        super().__init__()
        outputs = self.encoder_outputs * latent_dim
        self.encoder = nn.Sequential(nn.Flatten(), *mlp(28 * 28, *HIDDEN, outputs))
        layers = mlp(latent_dim, *reversed(HIDDEN), 28 * 28, normalise=True)
        self.decoder = nn.Sequential(*layers, nn.Sigmoid(), nn.Unflatten(1, (28, 28)))

    def forward(self, images):
        """Encodes and decodes images, such as `(N, 28, 28)`.

        Returns:
            A pair: codes `(N, latent_dim)`, and reconstructions in [0, 1], of the shape
            of `images`.
        """
        check_shape(images)
        codes = self.encoder(images)
        return codes, self.decoder(codes).view_as(images)

    def encode(self, images):
        """Codes `(N, latent_dim)`; a ValueError for values outside [0, 1]."""
        check_shape(images)
        check_range(images)
        return self.encoder(images)

    def decode(self, codes):
        """Images `(N, 28, 28)` in [0, 1] of codes `(N, latent_dim)`, a tensor, an array
        or a list, of any type of numbers."""
        weight = next(self.decoder.parameters())
        return self.decoder(torch.as_tensor(codes).to(weight))

    def losses(self, images):
        """The parts of the loss by name, scalars; a ValueError as in `encode`."""
        check_range(images)
        _, reconstructions = self(images)
        return {"mean squared error": F.mse_loss(reconstructions, images)}

    def loss(self, images):
        """The sum of `losses`, a scalar."""
        return sum(self.losses(images).values())


class VariationalAutoencoder(Autoencoder):
    """q(c|x) = N(mu(x), diag(exp(logvar(x)))), p(c) = N(0, I), p(x|c) Bernoulli in
    every pixel, with grey values as probabilities (Kingma & Welling 2014,
    Auto-Encoding Variational Bayes).

    `encoder` gives mu and logvar, `(N, 2 latent_dim)`.
    """

    encoder_outputs = 2
    rate_falls = True  # measured on three seeds: 130.5 nats instead of 132.0

    def posterior(self, images):
        """mu and logvar, `(N, latent_dim)` each."""
        check_shape(images)
        mu, logvar = self.encoder(images).chunk(2, dim=1)
        return mu, logvar.clamp(*LOGVAR_LIMITS)

    def encode(self, images):
        """mu, `(N, latent_dim)`; a ValueError for values outside [0, 1]."""
        check_range(images)
        mu, _ = self.posterior(images)
        return mu

    def forward(self, images):
        """As `Autoencoder.forward`; the codes are samples when training and the means
        mu when evaluating."""
        mu, logvar = self.posterior(images)
        codes = reparameterise(mu, logvar) if self.training else mu
        return codes, self.decoder(codes).view_as(images)

    def losses(self, images):
        """Reconstruction and KL in nats per image; their sum is the negative evidence
        lower bound (ELBO)."""
        check_range(images)
        mu, logvar = self.posterior(images)
        codes = reparameterise(mu, logvar)
        logits = self.decoder[:-2](codes)  # the logarithm of a sigmoid may be infinite
        pixels = images.flatten(1)
        # -log p(x|c)
        nats = F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
        # of q(c|x) from p(c), appendix B of the paper
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1).sum()
        return {"reconstruction": nats / len(images), "KL": kl / len(images)}


def reparameterise(mu, logvar):
    """Samples of N(mu, exp(logvar)), through which gradients flow (Kingma & Welling
    2014, section 2.4)."""
    return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)


def check_shape(images):
    if not isinstance(images, torch.Tensor):
        raise TypeError("images are no tensor; torch.from_numpy makes one of an array")
    if images.dim() < 2 or images.shape[1:].numel() != 28 * 28 or len(images) == 0:
        raise ValueError(
            f"images of shape {tuple(images.shape)}; expected (N, 28, 28), "
            "(N, 1, 28, 28) or (N, 784)"
        )


def check_range(images):
    """Refuses values outside [0, 1], but for the little that a resize leaves."""
    low = images.min().item()
    high = images.max().item()
    if not (low >= -0.01 and high <= 1.01):
        raise ValueError(f"images from {low:.4g} to {high:.4g}; expected 0 to 1")


# --- Data ----------------------------------------------------------------------------


def data_folder():
    """What `mnist.temporary_dir` gives; where nobody has set it, the package's data."""
    if mnist.temporary_dir is tempfile.gettempdir:
        return utils.DATA
    return Path(mnist.temporary_dir())


def read_with_mnist(path):
    """`utils.read_idx` by the package that the assignment asks for."""
    return mnist.download_and_parse_mnist_file(path.name, target_dir=path.parent)


@functools.cache
def load_tensors(train=True, folder=None, device="cpu"):
    """All images, float32 `(N, 28, 28)` in [0, 1], and labels, int64 `(N,)`, on a
    device; see `utils.load_mnist`."""
    images, labels = utils.load_mnist(train, folder or data_folder(), read_with_mnist)
    pixels = torch.from_numpy(images).to(device).float() / 255
    return pixels, torch.from_numpy(labels).to(device)


def sample_train(N, return_labels=False, generator=None, device="cpu"):
    """Draws training images at random, without replacement.

    Args:
        N: how many; of MNIST 1 to 60,000.
        return_labels: whether to return the labels too.
        generator: a seed or an `np.random.Generator`; None draws others each time.

    Returns:
        Images float32 `(N, 28, 28)` in [0, 1]; with `return_labels` a pair of them and
        their labels int64 `(N,)`.

    Raises:
        ValueError: N out of range.
        UserError: the files of `mnist.temporary_dir` are missing or damaged.
    """
    images, labels = load_tensors(True, data_folder(), device)
    if not 1 <= N <= len(images):
        raise ValueError(f"N is {N}; expected 1 to {len(images)}")
    random = np.random.default_rng(generator)
    places = random.choice(len(images), N, replace=False, shuffle=False)
    places = torch.from_numpy(places).to(device)
    sample = images.index_select(0, places)  # in half the time of images[places]
    if return_labels:
        return sample, labels.index_select(0, places)
    return sample


# --- Training ------------------------------------------------------------------------


def train(model, steps, batch_size=200, lr=1e-3, seed=0, progress=None):
    """Trains a model, dense or variational, with Adam.

    To go on with a stopped training from Python:

        model = Autoencoder()
        progress = Progress(model, steps=60_000).load("checkpoint.pt")
        train(model, steps=60_000, progress=progress)

    Args:
        steps: in all, those before a stop among them.
        lr: learning rate; of the variational model in the mean: it falls in a straight
            line from `2 * lr` to 0.
        seed: of the choice of images.
        progress: an `extras.checkpoint.Progress` of the model: averages the weights,
            keeps moments of the training and says how long it will take.

    Raises:
        FloatingPointError: with `progress`: the loss became infinite or NaN.
    """
    device = next(model.parameters()).device
    generator = np.random.default_rng(seed)
    first_lr = 2 * lr if model.rate_falls else lr
    last_factor = 0 if model.rate_falls else 1
    optimizer = torch.optim.Adam(model.parameters(), lr=first_lr, fused=True)
    scheduler = LinearLR(optimizer, 1, last_factor, total_iters=steps)
    first_step = progress.begin(optimizer, scheduler, generator) if progress else 0
    for step in range(first_step, steps):
        images = sample_train(batch_size, generator=generator, device=device)
        loss = model.loss(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if progress:
            progress.after_step(step + 1, loss)
            if progress.is_due() and progress.path:
                utils.save_weights(progress.state(), progress.path)
            if progress.is_due() and progress.threads:
                speed.choose_threads(model, images, progress.threads)


# --- Pictures and the run ------------------------------------------------------------


@torch.no_grad()
def reconstruction_pairs(model, samples):
    """Images, each followed by its reconstruction, `(2 N, 28, 28)`."""
    reconstructions = model.decode(model.encode(samples))
    pairs = torch.stack((samples.view(-1, 28, 28), reconstructions), dim=1)
    return pairs.flatten(0, 1)


def plot(model, samples, path=None):
    """Shows images, each beside its reconstruction, a pair a row.

    Args:
        samples: images in [0, 1], `(N, 28, 28)` or as `Autoencoder` takes them.
        path: saves the figure there instead.
    """
    pairs = reconstruction_pairs(model, samples)
    show(pairs, path, titles=("original", "reconstruction"), columns=2)


def cross_entropy(probabilities, images):
    """-log p(x|c) in nats per image, see `VariationalAutoencoder`."""
    nats = F.binary_cross_entropy(probabilities, images, reduction="sum")
    return nats / len(images)


@dataclass
class Kind:
    """One of the two models, and how it is spoken of."""

    model: type
    name: str
    loss_name: str
    reconstruction_loss: callable  # of reconstructions and images


KINDS = {  # by the name of their folder
    "autoencoder": Kind(
        Autoencoder,
        "autoencoder",
        "mean squared error",
        F.mse_loss,
    ),
    "variational": Kind(
        VariationalAutoencoder,
        "variational autoencoder",
        "negative ELBO, nats per image",
        cross_entropy,
    ),
}


def load(path=utils.FIGURES / "autoencoder" / "model.pt"):
    """The trained model that lies at `path`, dense or variational, on the CPU, in
    evaluation mode; the default is the committed dense one.

    Raises:
        UserError: the file is missing, damaged or of another model.
    """
    weights = utils.load_weights(path)
    try:
        encoder = [name for name in weights if name.startswith("encoder.")]
        outputs = len(weights[encoder[-1]])
        latent_dim = weights["decoder.0.weight"].shape[1]
        is_variational = outputs == 2 * latent_dim
        kind = KINDS["variational" if is_variational else "autoencoder"]
        model = kind.model(latent_dim)
        model.load_state_dict(weights)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise UserError(f"{path} is of another model than these") from error
    return model.eval()


# --- The run -------------------------------------------------------------------------


@dataclass
class LossMeasures:
    """Losses of a trained model."""

    train: float
    parts: dict  # of that of test images, by name; they sum up to it
    last: float  # of test images with the last weights, not averaged
    mean_image: float  # of test images, if the mean image is the answer to each

    @property
    def test(self):
        return sum(self.parts.values())


@torch.no_grad()
def measure_losses(kind, model, last, train_images, test_images):
    """`LossMeasures` of a model with averaged weights, and of that with the last."""
    mean_image = train_images.mean(dim=0).expand_as(test_images)
    parts = model.losses(test_images)
    return LossMeasures(
        train=model.loss(train_images).item(),
        parts={name: part.item() for name, part in parts.items()},
        last=last.loss(test_images).item(),
        mean_image=kind.reconstruction_loss(mean_image, test_images).item(),
    )


def format_losses(kind, losses):
    row = measures.row
    test = f"{losses.test:#.4g}"
    mean_image = f"{losses.mean_image:#.4g}"
    lines = [
        row(f"loss: {kind.loss_name}", "model", "mean image"),
        row("loss, training images", f"{losses.train:#.4g}"),
        row("loss, test images", test, mean_image),
    ]
    if len(losses.parts) > 1:
        lines += [
            row(f"  {name}", f"{losses.parts[name]:.2f}") for name in losses.parts
        ]
    learned = "yes" if losses.test < 0.99 * losses.mean_image else "no"
    lines += [
        row("  with the last weights, not averaged", f"{losses.last:#.4g}"),
        row("learned more than the mean image", learned),
    ]
    return "\n".join(lines)


def save_pictures(run, kind, progress, args):
    """Saves what there is to see of a trained run, and its table."""
    model = progress.averaged.cpu()
    train_set = load_tensors(True, args.data)
    test_set = load_tensors(False, args.data)
    ten = test_set[0][utils.first_of_each_digit(test_set[1].numpy())]
    pairs = reconstruction_pairs(model, ten)
    names = ("original", "reconstruction")
    run.save_images(pairs, "reconstructions.png", "Test images", names, columns=2)
    torch.manual_seed(args.seed)  # the ELBO is estimated from samples
    last = progress.model.cpu()
    losses = measure_losses(kind, model, last, train_set[0], test_set[0])
    record = plane.analyse(model, train_set, test_set)
    unfolding = plane.make_unfolding(progress.moments, progress.losses, test_set[1])
    curve = plane.Curve(progress.losses.cpu(), losses.test, kind.loss_name)
    run.save_figure(plane.training_figure(unfolding, ten, curve), "training.png")
    run.save_figure(plane.random_figure(record.random), "random.png")
    tables = [
        format_losses(kind, losses),
        plane.format_codes(record),
        plane.format_random([*record.random, *record.controls]),
    ]
    if args.latent_dim == 2:
        sample = draw_sample(model)
        chosen = save_planes(run, model, record, sample, unfolding)
        tables.append(plane.format_chosen(chosen[4]))
        dots = plane.make_plane(sample)
        save_page(run, model, record, dots, unfolding)
        save_comparison(run, kind, model, record, sample)
    run.save_report("\n\n".join(tables))


def draw_sample(model):
    """The training images whose codes are shown, `plane.Coded`."""
    count = min(PLOTTED, len(load_tensors(True, data_folder())[0]))
    images, labels = sample_train(count, return_labels=True, generator=0)
    return plane.encode(model, images, labels)


def save_planes(run, model, record, sample, unfolding):
    """Saves what is seen of a code of two numbers; returns a code for each digit."""
    dots = plane.make_plane(sample)
    run.save_figure(plane.latent_figure(dots, sample.images), "latent.png")
    run.save_figure(plane.plane_figure(model, dots.limits), "plane.png")
    digits = range(10)
    chosen = [plane.choose_code(model, record.judge, sample, d) for d in digits]
    run.save_figure(plane.digits_figure(chosen), "digits.png")
    four = chosen[4]
    title = "A code for a 4"
    figure = plane.code_figure(dots, four.code, four.picture, title)
    run.save_figure(figure, "digit4.png")
    run.save_figure(plane.unfolding_figure(unfolding), "unfolding.png")
    figure, draw_frame = plane.unfolding_frames(unfolding)
    run.save_animation(figure, draw_frame, len(unfolding.steps), "unfolding.gif")
    return chosen


def save_page(run, model, record, dots, unfolding):
    """Puts the model on explore.html."""
    key = "variational" if isinstance(model, VariationalAutoencoder) else "autoencoder"
    normal = record.random[0]
    random = {"recognised": normal.recognised, "different": normal.different}
    entry = page.plane_entry(model, dots, unfolding, random, run.about)
    run.save_page(page.put(run.read_page(), key, entry, *run.page_images()))


def save_comparison(run, kind, model, record, sample):
    """Saves `unruly_or_tamed.png`: both models side by side, by one judge."""
    other_key = "autoencoder" if kind is KINDS["variational"] else "variational"
    path = find_other(run, other_key)
    if path is None:
        return
    is_own = path.parent == run.sibling(other_key)
    where = "" if is_own else f" (figures/{other_key})"
    models = {kind.name: model, KINDS[other_key].name + where: load(path)}
    judge = plane.make_judge(record.train, models.values())
    planes = {}
    random = {}
    for name in sorted(models):  # the autoencoder on the left
        coded = plane.encode(models[name], sample.images, sample.labels)
        planes[name] = plane.make_plane(coded)
        random[name] = plane.draw_random_codes(models[name], coded.codes, judge)
    figure = plane.comparison_figure(planes, random)
    run.stamp(figure)
    path = run.sibling("unruly_or_tamed")
    utils.save_figure(figure, path.with_name(f"{path.name}.png"))


def find_other(run, key):
    """The path of the other model: of a run with the same settings or, for MNIST, of
    the committed run; None where there is none."""
    own = run.sibling(key) / "model.pt"
    committed = utils.FIGURES / key / "model.pt"
    if own.exists():
        return own
    if run.data.resolve() == utils.DATA and committed.exists():
        return committed
    return None


def save_code(run, code):
    """Saves what the trained model makes of a code."""
    path = run.folder / "model.pt"
    if run.is_default and not path.exists():
        path = utils.FIGURES / run.folder.name / "model.pt"
    if not path.exists():
        raise UserError(f"{path} is missing; leave --code out to train the model")
    model = load(path)
    with torch.no_grad():
        picture = model.decode([code])[0]
    if not picture.isfinite().all():
        raise UserError(f"--code {code} is so far out that the decoder overflows")
    title = f"The code ({', '.join(f'{number:g}' for number in code)}), decoded"
    if len(code) == 2:
        dots = plane.make_plane(draw_sample(model))
        run.save_figure(plane.code_figure(dots, code, picture, title), "code.png")
    else:
        run.save_images(picture, "code.png", title)


def read_flags():
    """The flags, checked, the `Kind` of the model, and the `utils.Run`."""
    parser = utils.make_parser(
        "Train an autoencoder with a code of two numbers on MNIST, and show it. The "
        "same command goes on where it was stopped; it draws again what is trained.",
        batch_size=200,
        lr=1e-3,
    )
    helps = {
        "steps": "training steps in all (%(default)s)",
        "latent": "numbers of a code (%(default)s)",
        "variational": "the variational model; its rate falls from 2 LR to 0",
        "anew": "start anew; replaces the run that is there, trained or not",
        "code": "train nothing; decode this code, C1 C2, with the trained model",
        "threads": "threads that compute (one or all, whichever is faster)",
    }
    add = parser.add_argument
    add("--steps", type=int, default=50_000, metavar="N", help=helps["steps"])
    add("--latent-dim", type=int, default=2, metavar="N", help=helps["latent"])
    add("--variational", action="store_true", help=helps["variational"])
    add("--anew", action="store_true", help=helps["anew"])
    add("--code", type=float, nargs="+", metavar="C", help=helps["code"])
    add("--threads", type=int, metavar="N", help=helps["threads"])
    limits = {"steps": (1, 1e9), "latent_dim": (1, 784), "threads": (1, 256)}
    args = utils.parse_flags(parser, "autoencoder.py", **limits)
    if args.code:
        check_code(parser, args)
    key = "variational" if args.variational else "autoencoder"
    settings = ("steps", "batch_size", "lr", "seed", "latent_dim")
    length = f"{args.steps:,} steps"
    return args, KINDS[key], utils.start_run(parser, args, key, length, settings)


def check_code(parser, args):
    if len(args.code) != args.latent_dim or not all(map(math.isfinite, args.code)):
        parser.error(f"--code {args.code}: expected {args.latent_dim} finite numbers")
    if args.anew:
        parser.error("--code decodes with the trained model; leave --anew out")


def start_progress(run, model, args):
    """The `Progress` of the flags, with the checkpoint that is there."""
    test_images, test_labels = load_tensors(False, args.data, args.device)
    ten = utils.first_of_each_digit(test_labels.cpu().numpy())
    may_choose = args.device == "cpu" and not args.threads
    progress = Progress(
        model,
        args.steps,
        path=run.folder / "checkpoint.pt",
        watched=test_images[:WATCHED],
        painted=test_images[ten],
        threads=torch.get_num_threads() if may_choose else None,
        about=run.about,
        variational=args.variational,
    )
    if progress.path.exists() and not args.anew:
        try:
            progress.load(progress.path)
        except ValueError as error:
            raise UserError(
                f"{progress.path} cannot be used: {error}; --anew trains again"
            ) from error
        print(
            f"{run.folder} holds {progress.step:,} of {args.steps:,} steps; "
            "--anew would train from the start"
        )
    return progress


@style.context("default")  # a user's own style stays out of the pictures
def main():
    """Reads the flags, trains or goes on, and saves the pictures."""
    args, kind, run = read_flags()
    mnist.temporary_dir = lambda: args.data
    if args.code:
        save_code(run, args.code)
        return
    torch.set_num_threads(args.threads or torch.get_num_threads())
    torch.set_flush_denormal(True)  # tiny gradients of pixels without ink are slow
    speed.allow_fast_products()
    print(f"Training on {args.device}: {run.about}")
    torch.manual_seed(args.seed)
    model = kind.model(args.latent_dim).to(args.device)
    progress = start_progress(run, model, args)
    if progress.threads:
        images = sample_train(args.batch_size, generator=0)
        speed.choose_threads(model, images, progress.threads)
    train(model, args.steps, args.batch_size, args.lr, args.seed, progress)
    utils.save_weights(progress.averaged.state_dict(), run.folder / "model.pt")
    save_pictures(run, kind, progress, args)


if __name__ == "__main__":
    utils.run(main, "autoencoder.py")
