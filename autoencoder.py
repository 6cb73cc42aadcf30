"""An autoencoder with a code of two numbers, and its variational sibling.

python autoencoder.py                  trains it; leaves the pictures in figures/
python autoencoder.py --variational    the same for the variational one

The same command goes on where it was stopped, and draws again what is trained.
"""

import functools
import itertools
import math
import tempfile
from pathlib import Path

import mnist
import numpy as np
import torch
from matplotlib import style
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LinearLR

import utils
from extras import page, plane, speed
from extras.checkpoint import Progress
from utils import UserError, show

ACTIVATION = nn.SiLU
HIDDEN = (192, 128, 128, 128)  # widths of the encoder; the decoder's are reversed
LOGVAR_LIMITS = (-20, 10)  # exp(logvar) neither vanishes nor outweighs all other images
PLOTTED = 10_000  # training images whose codes are shown
WATCHED = 2_000  # test images whose codes are kept during the training


# --- The models ----------------------------------------------------------------------


class Residual(nn.Module):
    """x + activation(W x + b), a layer with a shortcut around it (He et al. 2016).

    x is `(N, width)`; where `normalise` says so, W gets it normalised (Ba et al. 2016,
    Layer Normalization).
    """

    def __init__(self, width, normalise):
        super().__init__()
        norm = [nn.LayerNorm(width)] if normalise else []
        self.layers = nn.Sequential(*norm, nn.Linear(width, width), ACTIVATION())

    def forward(self, x):
        return x + self.layers(x)


def mlp(*widths, normalise=False):
    """The layers of a multilayer perceptron: linear ones with activations between, a
    `Residual` where the width stays, and a linear one as the last."""
    *hidden, outputs = widths
    layers = []
    for before, after in itertools.pairwise(hidden):
        if before == after:
            layers.append(Residual(before, normalise))
        else:
            layers += [nn.Linear(before, after), ACTIVATION()]
    return [*layers, nn.Linear(hidden[-1], outputs)]


class Autoencoder(nn.Module):
    """c = f(x), x' = g(c): f and g are multilayer perceptrons, c has `latent_dim`
    numbers.

    `encoder` takes images `(N, 28, 28)` to `(N, latent_dim)`, `decoder` codes
    `(N, latent_dim)` to images `(N, 28, 28)` in [0, 1].

    What all methods take for images:

        | tensors `(N, 28, 28)`, `(N, 1, 28, 28)`, `(N, 784)` | taken               |
        | values in [0, 1], or up to 0.01 outside of it       | taken               |
        | other values, but for `forward`, which doesn't look | ValueError          |
        | other shapes, or none                               | ValueError          |
        | NumPy arrays                                        | TypeError           |
    """

    key = "autoencoder"  # of its folder
    name = "autoencoder"
    loss_name = "mean squared error"
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

    key = "variational"
    name = "variational autoencoder"
    loss_name = "negative ELBO, nats per image"
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
        # Without Sigmoid and Unflatten: the logarithm of a sigmoid may be infinite.
        logits = self.decoder[:-2](codes)
        pixels = images.flatten(1)
        # -log p(x|c)
        nats = F.binary_cross_entropy_with_logits(logits, pixels, reduction="sum")
        # KL(q(c|x) || p(c)), appendix B of the paper
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
    """Refuses values outside [0, 1], but for the little that a resize leaves; and other
    shapes."""
    check_shape(images)
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


def load_tensors(train=True, device="cpu"):
    """All images of `data_folder`, float32 `(N, 28, 28)` in [0, 1], and labels, int64
    `(N,)`, on a device; read once and kept. See `utils.load_mnist`."""
    return keep_tensors(train, data_folder(), str(device))


@functools.cache
def keep_tensors(train, folder, device):
    images, labels = utils.load_mnist(train, folder, read_with_mnist)
    pixels = torch.from_numpy(images).to(device).float() / 255
    return pixels, torch.from_numpy(labels).to(device)


def sample_train(N, return_labels=False, generator=None, device="cpu"):
    """Draws training images at random, without replacement.

    Args:

        | `N`             | how many; of MNIST 1 to 60,000                             |
        | `return_labels` | whether to return the labels too                           |
        | `generator`     | a seed or an `np.random.Generator`; None draws others each |
        |                 | time                                                       |
        | `device`        | where the images are to lie                                |

    Returns:
        Images float32 `(N, 28, 28)` in [0, 1]; with `return_labels` a pair of them and
        their labels int64 `(N,)`.

    Raises:
        ValueError: N out of range.
        UserError: the files of `mnist.temporary_dir` are missing or damaged.
    """
    images, labels = load_tensors(True, device)
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
            saves checkpoints, and prints how it goes; without, nothing is printed.

    Raises:
        FloatingPointError: with `progress`: the loss became infinite or NaN.
    """
    device = next(model.parameters()).device
    generator = np.random.default_rng(seed)
    first_lr = 2 * lr if model.rate_falls else lr
    last_factor = 0 if model.rate_falls else 1
    # fused=True changes all weights in one operation.
    optimizer = torch.optim.Adam(model.parameters(), lr=first_lr, fused=True)
    scheduler = LinearLR(optimizer, 1, last_factor, total_iters=steps)
    first_step = progress.resume(optimizer, scheduler, generator) if progress else 0
    for step in range(first_step, steps):
        images = sample_train(batch_size, generator=generator, device=device)
        loss = model.loss(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if progress:
            progress.after_step(step + 1, loss)
            if progress.is_due():
                save_progress(progress, images)


def save_progress(progress, images):
    """Saves the checkpoint; and chooses the threads anew, by a step on `images`."""
    if progress.path:
        utils.save_weights(progress.state(), progress.path)
    if progress.threads:
        speed.choose_threads(progress.model, images, progress.threads)


# --- Pictures and the run ------------------------------------------------------------


@torch.no_grad()
def reconstruction_pairs(model, samples):
    """Images, each followed by its reconstruction, `(2 N, 28, 28)`."""
    reconstructions = plane.reconstruct(model, samples)
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


KINDS = {kind.key: kind for kind in (Autoencoder, VariationalAutoencoder)}


def load(path=utils.FIGURES / "autoencoder" / "model.pt"):
    """The trained model that lies at `path`, dense or variational, on the CPU, in
    evaluation mode; the default is the committed dense one.

    Raises:
        UserError: the file is missing, damaged or of another model.
    """
    weights = utils.load_weights(path)
    try:
        latent_dim = weights["decoder.0.weight"].shape[1]
        *_, last_bias = (name for name in weights if name.startswith("encoder."))
        is_variational = len(weights[last_bias]) == 2 * latent_dim
        kind = VariationalAutoencoder if is_variational else Autoencoder
        model = kind(latent_dim)
        model.load_state_dict(weights)
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path} is of another model than these") from error
    return model.eval()


# --- The run -------------------------------------------------------------------------


@torch.no_grad()
def measure_losses(model, last, train_images, test_images):
    """`plane.LossMeasures` of a model with averaged weights, and of that with the
    last."""
    parts = model.losses(test_images)
    return plane.LossMeasures(
        name=model.loss_name,
        train=model.loss(train_images).item(),
        parts={name: part.item() for name, part in parts.items()},
        last=last.loss(test_images).item(),
        mean_image=loss_of_mean_image(model, train_images, test_images),
    )


def loss_of_mean_image(model, train_images, test_images):
    """The loss of a model that answers each image with the mean of the training images;
    its code tells nothing, so that there is no KL."""
    mean_image = train_images.mean(dim=0).expand_as(test_images)
    if isinstance(model, VariationalAutoencoder):
        nats = F.binary_cross_entropy(mean_image, test_images, reduction="sum")
        return nats.item() / len(test_images)
    return F.mse_loss(mean_image, test_images).item()


def save_pictures(run, progress, seed):
    """Saves what there is to see of a trained run, and its table."""
    model = progress.averaged.cpu()
    train_images, train_labels = load_tensors(True)
    test_images, test_labels = load_tensors(False)
    ten = test_images[utils.first_of_each_digit(test_labels.numpy())]
    pairs = reconstruction_pairs(model, ten)
    names = ("original", "reconstruction")
    run.save_images(pairs, "reconstructions.png", "Test images", names, columns=2)
    torch.manual_seed(seed)  # the ELBO is estimated from samples
    losses = measure_losses(model, progress.model.cpu(), train_images, test_images)
    record = plane.analyse(model, (train_images, train_labels), load_tensors(False))
    unfolding = plane.make_unfolding(progress.snapshots, progress.losses, test_labels)
    curve = plane.Curve(progress.losses.cpu(), losses.test, losses.name)
    run.save_figure(plane.training_figure(unfolding, ten, curve), "training.png")
    run.save_figure(plane.random_figure(record.random), "random.png")
    tables = [
        plane.format_losses(losses),
        plane.format_errors(record),
        plane.format_digits(record.codes),
        plane.format_pictures(record.random | record.controls),
    ]
    has_plane = record.train.codes.shape[1] == 2
    if has_plane:
        tables.append(save_planes(run, model, record, unfolding))
    run.save_report("\n\n".join(tables))
    if has_plane:
        save_comparison(run, model, record)


def encode_sample(model):
    """The training images whose codes are shown, `plane.Coded`."""
    count = min(PLOTTED, len(load_tensors(True)[0]))
    images, labels = sample_train(count, return_labels=True, generator=0)
    return plane.encode(model, images, labels)


def save_planes(run, model, record, unfolding):
    """Saves what is to be seen of a code of two numbers, and puts the model on the
    page; returns the table of the code for a 4."""
    sample = encode_sample(model)
    dots = plane.make_plane(sample)
    run.save_figure(plane.latent_figure(dots, sample.images), "latent.png")
    run.save_figure(plane.plane_figure(model, dots.limits), "plane.png")
    chosen = {}
    for digit in range(10):
        chosen[digit] = plane.choose_code(model, record.judge, sample, digit)
    run.save_figure(plane.digits_figure(chosen.values()), "digits.png")
    four = chosen[4]
    figure = plane.code_figure(dots, four.code, four.picture, "A code for a 4")
    run.save_figure(figure, "digit4.png")
    run.save_figure(plane.unfolding_figure(unfolding), "unfolding.png")
    figure, draw_frame = plane.unfolding_frames(unfolding)
    run.save_animation(figure, draw_frame, len(unfolding.steps), "unfolding.gif")
    normal = record.random[plane.NORMAL]
    random = {"recognised": normal.recognised, "different": normal.different}
    entry = page.plane_entry(model, dots, unfolding, random, run.about)
    run.save_page(page.put(run.read_page(), model.key, entry, *run.page_images()))
    return plane.format_chosen(four)


def save_comparison(run, model, record):
    """Saves `unruly_or_tamed.png`: both models side by side, by one judge."""
    (other_key,) = KINDS.keys() - {model.key}
    path = find_other(run, other_key)
    if path is None:
        return
    is_own = path.parent == run.sibling(other_key)
    where = "" if is_own else f" (figures/{other_key})"
    models = {model.name: model, KINDS[other_key].name + where: load(path)}
    judge = plane.make_judge(record.train, models.values())
    planes = {}
    random = {}
    for name in sorted(models):  # the autoencoder on the left
        sample = encode_sample(models[name])
        planes[name] = plane.make_plane(sample)
        random[name] = plane.judge_random_codes(models[name], sample.codes, judge)
    run.save_beside(plane.comparison_figure(planes, random), "unruly_or_tamed")


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


def save_code(run, key, code):
    """Saves what the trained model makes of a code."""
    path = run.folder / "model.pt"
    if run.is_default and not path.exists():
        path = utils.FIGURES / key / "model.pt"
    if not path.exists():
        raise UserError(f"{path} is missing; leave --code out to train the model")
    model = load(path)
    with torch.no_grad():
        picture = model.decode([code])[0]
    if not picture.isfinite().all():
        raise UserError(f"--code {code} is so far out that the decoder overflows")
    numbers = ", ".join(f"{number:g}" for number in code)
    title = f"The code ({numbers}), decoded"
    if len(code) == 2:
        dots = plane.make_plane(encode_sample(model))
        run.save_figure(plane.code_figure(dots, code, picture, title), "code.png")
    else:
        run.save_images(picture, "code.png", title)


def read_flags():
    """The flags, checked, the class of the model, and the `utils.Run`."""
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
    kind = VariationalAutoencoder if args.variational else Autoencoder
    settings = ("steps", "batch_size", "lr", "seed", "latent_dim")
    length = f"{args.steps:,} steps"
    return args, kind, utils.start_run(parser, args, kind.key, length, settings)


def check_code(parser, args):
    if len(args.code) != args.latent_dim or not all(map(math.isfinite, args.code)):
        parser.error(f"--code {args.code}: expected {args.latent_dim} finite numbers")
    if args.anew:
        parser.error("--code decodes with the trained model; leave --anew out")


def start_progress(run, model, args):
    """The `Progress` of the flags, with the checkpoint that is there."""
    test_images, test_labels = load_tensors(False, args.device)
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
        architecture=str(model),
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
        save_code(run, kind.key, args.code)
        return
    torch.set_num_threads(args.threads or torch.get_num_threads())
    torch.set_flush_denormal(True)  # tiny gradients of pixels without ink are slow
    speed.allow_fast_products()
    print(f"Training on {args.device}: {run.about}")
    torch.manual_seed(args.seed)
    model = kind(args.latent_dim).to(args.device)
    progress = start_progress(run, model, args)
    if progress.threads:
        images = sample_train(args.batch_size, generator=0)
        speed.choose_threads(model, images, progress.threads)
    train(model, args.steps, args.batch_size, args.lr, args.seed, progress)
    utils.save_weights(progress.averaged.state_dict(), run.folder / "model.pt")
    save_pictures(run, progress, args.seed)


if __name__ == "__main__":
    utils.run_script(main, "autoencoder.py")
