"""Codelet 7: a sparse autoencoder on MNIST, from the data to the answers in a PDF.

python codelet7.py            trains, and leaves pictures and codelet7.pdf in figures/codelet7/
python codelet7.py --help     lists the settings
"""

import utils

PENALTY_WEIGHT = 1e-4  # of the sparsity penalty in the loss
RHO = 0.05  # the mean activation that every hidden node should have
SETTINGS = ("epochs", "batch_size", "lr", "hidden", "seed")  # what a run's numbers depend on


def make_parser():
    """The flags of the script; their defaults reproduce the losses that the assignment publishes."""
    parser = utils.flag_parser(
        "Train a sparse autoencoder on MNIST, picture what it learned and answer the assignment's questions in a PDF. "
        "With other settings than the defaults the pictures go to a folder that is named after them.",
        batch_size=64,
        lr=1e-4,
    )
    utils.add_flag(parser, "--epochs", utils.positive_int, 20, "passes over the training set")
    utils.add_flag(parser, "--hidden", utils.positive_int, 10, "hidden nodes")
    parser.add_argument(
        "--load",
        type=utils.path,
        metavar="FILE",
        help="make pictures and PDF from the model.pt of an earlier run, with its settings, without training",
    )
    return parser


if __name__ == "__main__":  # before PyTorch is imported: --help and a mistyped flag answer at once
    settings = utils.start(make_parser())

import argparse
import copy
import math
import sys
import textwrap
from typing import NamedTuple

import torch
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torchvision.utils import make_grid

import checkpoint
from utils import A4, UserError, draw, show

NAME = "sparse autoencoder"
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels in [0, 1]
EPSILON = 1e-8  # keeps the penalty's logarithms finite
PUBLISHED_LOSSES = {1: 0.8029, 20: 0.5329}  # train loss by epoch, from the assignment
MOST_THREADS = 2  # a batch of 64 is too small to be shared out among more
TOP = 100  # images shown for a hidden node


# --- Model and loss --------------------------------------------------------------------------


def init_weights(linear):
    """Xavier (Glorot & Bengio 2010) uniform weights and a bias of 0.01, in place."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)


class SparseAutoencoder(nn.Module):
    """hidden = sigmoid(W x + b), reconstruction = tanh(W' hidden + b').

    Args:
        inputDims: pixels of an image.
        hDims: hidden nodes.
    """

    def __init__(self, inputDims, hDims):
        super().__init__()
        self.hDims = hDims
        side = math.isqrt(inputDims)
        self.imageShapes = [(inputDims,), (side, side), (1, side, side)][: 3 if side**2 == inputDims else 1]
        self.encoder = nn.Sequential(nn.Linear(inputDims, hDims), nn.Sigmoid())
        self.decoder = nn.Sequential(nn.Linear(hDims, inputDims), nn.Tanh())
        init_weights(self.encoder[0])
        init_weights(self.decoder[0])

    def forward(self, x):
        """Encodes and decodes images.

        Args:
            x: images `(N, inputDims)`, or `(N, side, side)` or `(N, 1, side, side)` with side^2 = inputDims.

        Returns:
            hidden `(N, hDims)` in [0, 1]; reconstruction in [-1, 1], of the shape of `x`.

        Raises:
            ValueError: any other shape.
        """
        utils.check_shape(x, *self.imageShapes)
        hidden = self.encoder(x.flatten(1))
        return hidden, self.decoder(hidden).view_as(x)

    def batched_sparsity_penalty(self, hidden):
        """KL divergence of Bernoulli(rho_hat_j) from Bernoulli(rho), summed over nodes j (the assignment's formula):

            sum_j  rho log(rho / rho_hat_j) + (1 - rho) log((1 - rho) / (1 - rho_hat_j))

        Args:
            hidden: activations `(N, hDims)` in [0, 1], N at least 1; rho_hat_j is the mean of column j.

        Returns:
            Scalar tensor, finite, with finite gradients; NaN where an activation is NaN. 1.1490 for the
            assignment's example.

        Raises:
            ValueError: any other shape. The values are not looked at: a GPU would have to wait in every step.
        """
        utils.check_shape(hidden, hidden.shape[-1:])
        rho_hat = hidden.mean(dim=0)
        # In float32 1 - 1e-8 is 1, so that clamping rho_hat alone leaves log(0) at the upper end. Clamping rho_hat and
        # 1 - rho_hat from below is the same interval, and exact at both ends.
        on, off = rho_hat.clamp(min=EPSILON), (1 - rho_hat).clamp(min=EPSILON)
        return (RHO * (math.log(RHO) - on.log()) + (1 - RHO) * (math.log(1 - RHO) - off.log())).sum()

    def loss_function(self, x, hidden, reconstruction):
        """Mean squared error over the pixels plus 1e-4 times the sparsity penalty.

        Args:
            x, reconstruction: tensors of one shape.
            hidden: activations `(N, hDims)`, out of `forward`.

        Returns:
            Scalar tensor.
        """
        return F.mse_loss(reconstruction, x) + PENALTY_WEIGHT * self.batched_sparsity_penalty(hidden)


# --- Data and training -----------------------------------------------------------------------


class ImageSet(TensorDataset):
    """All images and labels on the device; an index tensor gets a whole batch in one operation."""

    def __getitem__(self, indices):
        # index_select copies whole rows, in half the time of tensor[indices]
        return tuple(tensor.index_select(0, indices) for tensor in self.tensors)


class RandomBatches(Sampler):
    """What `BatchSampler(RandomSampler(...))` does, but it gives index tensors on the device, not lists of numbers:
    a list would be copied to the device in every step, and a GPU would wait for it."""

    def __init__(self, count, batch_size, device, generator):
        self.count, self.batch_size, self.device, self.generator = count, batch_size, device, generator

    def __iter__(self):
        return iter(torch.randperm(self.count, generator=self.generator).to(self.device).split(self.batch_size))

    def __len__(self):
        return math.ceil(self.count / self.batch_size)


def make_dataloader(digits, batch_size, device="cpu", seed=0):
    """A `DataLoader` over `utils.Digits`, normalised once and reshuffled every epoch.

    Returns:
        `DataLoader` of images float32 `(batch_size, 1, 28, 28)`, in [-0.42, 2.82], and labels int64 `(batch_size,)`.
    """
    images = torch.from_numpy(digits.images).unsqueeze(1).to(device, torch.float32)
    images.div_(255).sub_(MEAN).div_(STD)
    dataset = ImageSet(images, torch.from_numpy(digits.labels).to(device))
    batches = RandomBatches(len(dataset), batch_size, device, torch.Generator().manual_seed(seed))
    return DataLoader(dataset, sampler=batches, batch_size=None)


def make_optimizer(model, lr):
    return torch.optim.Adam(model.parameters(), lr=lr, fused=True)


def train_epoch(model, train_dataloader, optimizer, tick=lambda: None):
    """One pass over the training set; returns its loss, the mean over the batches. Calls `tick` after each batch,
    and prints what it returns."""
    total = 0
    for images, _ in train_dataloader:
        hidden, reconstruction = model(images)
        loss = model.loss_function(images, hidden, reconstruction)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach()  # no .item() before the epoch's end: it would wait for the device
        if line := tick():
            print(line)
    return total.item() / len(train_dataloader)


def train(model, train_dataloader, settings, threads):
    """Trains for `settings.epochs`; returns the loss of each epoch.

    Raises:
        UserError: the loss is no finite number any more.
    """
    # The seed alone decides the batches, also where some were looked at before.
    train_dataloader.sampler.generator.manual_seed(settings.seed)
    optimizer = make_optimizer(model, settings.lr)
    losses = []
    for epoch in range(1, settings.epochs + 1):
        losses.append(train_epoch(model, train_dataloader, optimizer, threads.tick))
        if not math.isfinite(losses[-1]):
            raise UserError(f"the loss became {losses[-1]} in epoch {epoch}; try a smaller --lr than {settings.lr:g}")
        print(f"Epoch: {epoch}/{settings.epochs} - Train Loss: {losses[-1]:.4f}")
    return losses


def choose_threads(threads, model, images, lr):
    """Has `threads` choose by the training step of a copy of `model`, so that the run's numbers stay as they are."""
    model = copy.deepcopy(model)
    batch = [(images, None)]
    optimizer = make_optimizer(model, lr)
    threads.choose(lambda: train_epoch(model, batch, optimizer))


@torch.no_grad()
def mean_loss(model, dataloader):
    """The loss of `train_epoch`, without training."""
    losses = [model.loss_function(images, *model(images)) for images, _ in dataloader]
    return torch.stack(losses).mean().item()


@torch.no_grad()
def reconstruction_error(model, images):
    """Mean squared error over the pixels of all `images` `(N, 1, 28, 28)`."""
    blocks = images.split(10_000)  # a reconstruction of all is as large as all of them
    return sum(F.mse_loss(model(block)[1], block, reduction="sum").item() for block in blocks) / images.numel()


def verdict(error, before, mean_image, lr, epochs):
    """Why a run whose loss is a number may still have learned nothing, in a sentence; "" where it has learned.

    Args:
        error: mean squared error of the trained model on the training images.
        before: the same before training.
        mean_image: the same of answering every image with the mean of all.
    """
    if error < mean_image:
        return ""
    found = (
        f"the reconstructions' mean squared error, {error:.4f}, is not below the {mean_image:.4f} of answering every "
        f"image with the mean image"
    )
    if error >= before:
        return (
            f"Training diverged: {found}, nor below {before:.4f}, that before training; try a smaller --lr than {lr:g}."
        )
    return f"Training has only begun: {found}; train for more than --epochs {epochs} or with another --lr than {lr:g}."


# --- Pictures --------------------------------------------------------------------------------


@torch.no_grad()
def activations(model, images):
    """Activations `(N, hDims)` of images `(N, 1, 28, 28)`."""
    return model.encoder(images.flatten(1))


def top_images(hidden, node, count=TOP):
    """The images at which a hidden node is most active.

    Args:
        hidden: activations of all images, `(N, hDims)`.
        node: 0 to hDims - 1.

    Returns:
        Indices of `count` images (of all N where there are fewer), the highest activation first.

    Raises:
        ValueError: there is no such node.
    """
    if not 0 <= node < hidden.shape[1]:
        raise ValueError(f"node {node} does not exist; expected 0 to {hidden.shape[1] - 1}")
    return hidden[:, node].topk(min(count, len(hidden))).indices


def grid_of(images, columns):
    """`make_grid` with dark grey lines between the images, whatever their range."""
    low, high = images.min().item(), images.max().item()
    return make_grid(images, columns, pad_value=low + 0.13 * (high - low))


@torch.no_grad()
def reconstruction_grids(model, images):
    """16 rows of 4 images `(64, 1, 28, 28)` and, laid out alike, their reconstructions; what a reconstruction
    makes darker than any input is shown as black."""
    return grid_of(images, 4), grid_of(model(images)[1].clamp(min=images.min()), 4)


def top_grids(images, hidden, nodes):
    """For each of `nodes` the 100 images `(N, 1, 28, 28)` with its highest activation, 10 a row, highest first."""
    return [grid_of(images[top_images(hidden, node)], 10) for node in nodes]


def save_samples(train_dataloader, path, source):
    """`mnist.png`: 64 images in 4 rows of 16, by the assignment's snippet."""
    batch = next(iter(train_dataloader))
    images, _ = batch
    g = [image for image in images[:64]]  # noqa: C416 - as the assignment has it
    grid = make_grid(g, 16)
    show(grid, path, title=f"{len(g)} training images ({source})")


def save_views(model, images, hidden, samples, folder, suffix, caption):
    """`reconstructions*.png` and `top100*.png` of a model; returns the same as A4 figures.

    Args:
        images, hidden: training images `(N, 1, 28, 28)`, among which the top 100 are sought, and their activations.
        samples: images `(64, 1, 28, 28)` to reconstruct.
        suffix: ends the files' names.
        caption: what the model is, for the titles.
    """
    pairs = {
        "images": reconstruction_grids(model, samples),
        "titles": ("input", "reconstruction"),
        "title": f"Test images and their reconstructions, {caption}\n"
        f"White is {samples.max():.2f} in the inputs and at most 1, the limit of a Tanh, in the reconstructions",
    }
    blocks = top_grids(images, hidden, range(model.hDims))
    labels = [f"node {node}" for node in range(model.hDims)]
    title = f"The {TOP} images with the highest activation of each hidden node, {caption}"
    show(**pairs, path=folder / f"reconstructions{suffix}.png")
    show(blocks, folder / f"top100{suffix}.png", title=title, titles=labels, columns=5, zoom=2)
    sheets = [
        draw(Figure(), blocks[start : start + 10], title, labels[start : start + 10], 2, size=A4)
        for start in range(0, model.hDims, 10)
    ]
    return [draw(Figure(), **pairs, size=A4), *sheets]


def plot_losses(axis, losses, source, published):
    """The train loss by epoch, with the `published` losses, a dict by epoch, marked."""
    axis.plot(range(1, len(losses) + 1), losses, "o-", color="tab:blue", label=f"this run, on {source}")
    if published:
        style = {"color": "tab:red", "markersize": 11, "markeredgewidth": 2}
        axis.plot(list(published), list(published.values()), "x", **style, label="published, on MNIST")
    for epoch, loss in published.items():
        above = {"xytext": (0, 10), "textcoords": "offset points", "ha": "center"}
        axis.annotate(f"{loss:.4f}", (epoch, loss), **above, color="tab:red")
    axis.set(xlabel="epoch", ylabel="train loss (mean over the batches)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.margins(0.1)
    axis.grid(alpha=0.3)
    axis.legend()


# --- The written answers ---------------------------------------------------------------------


class Node(NamedTuple):
    """What a hidden node learned, all of it measured."""

    number: int
    mean: float  # activation over the training set, to be compared with RHO
    active: float  # share of the images at which the activation is above 0.5
    digits: list  # how many of its top images show a 0, a 1, ... a 9
    weights: torch.Tensor  # (28, 28), what the node adds to the picture when it fires, before the Tanh
    correlations: list  # of the weights with each digit's mean image, the mean of all images taken off

    def describe(self):
        """The measurements as sentences."""
        first, second = sorted(range(10), key=lambda digit: -self.digits[digit])[:2]
        shown = sum(self.digits)
        if 2 * self.digits[first] > shown:
            fires = f"fires for {first}: {self.digits[first]} of its top {shown}"
        else:
            fires = (
                f"has no digit of its own: of its top {shown}, {self.digits[first]} are {first} and "
                f"{self.digits[second]} are {second}"
            )
        like = max(range(10), key=lambda digit: self.correlations[digit])
        unlike = min(range(10), key=lambda digit: self.correlations[digit])
        return (
            f"Node {self.number} {fires}. Mean activation {self.mean:.3f}, {self.mean / RHO:.1f} times rho; above "
            f"0.5 for {self.active:.0%} of the images. Its weights are most like the average {like} (correlation "
            f"{self.correlations[like]:.2f}) and least like the average {unlike} "
            f"({self.correlations[unlike]:.2f})."
        )


@torch.no_grad()
def examine_nodes(model, images, hidden, labels):
    """Measures every hidden node; returns a list of `Node`.

    Args:
        images: `(N, 1, 28, 28)`, of all ten digits.
        hidden: their activations, `(N, hDims)`.
        labels: `(N,)`, 0 to 9.
    """
    flat = images.flatten(1)
    averages = torch.stack([flat[labels == digit].mean(dim=0) for digit in range(10)]) - flat.mean(dim=0)
    weights = model.decoder[0].weight.detach().T
    correlations = torch.corrcoef(torch.cat((weights, averages)))[: model.hDims, model.hDims :]
    return [
        Node(
            number=node,
            mean=hidden[:, node].mean().item(),
            active=(hidden[:, node] > 0.5).float().mean().item(),
            digits=labels[top_images(hidden, node)].bincount(minlength=10).tolist(),
            weights=weights[node].view(28, 28),
            correlations=correlations[node].tolist(),
        )
        for node in range(model.hDims)
    ]


def summarise(nodes, penalty, loss):
    """What holds of all nodes together, in sentences; `penalty` and `loss` are those of the trained model."""
    means = [node.mean for node in nodes]
    near = sum(0.5 * RHO <= mean <= 1.5 * RHO for mean in means)
    own = [node for node in nodes if 2 * max(node.digits) > sum(node.digits)]
    favourites = sorted({node.digits.index(max(node.digits)) for node in own})
    text = f"{len(own)} of {len(nodes)} nodes have a digit that makes up more than half of their top images"
    if own:
        text += f"; between them they cover {', '.join(map(str, favourites))}"
    return (
        f"{text}. An image has on average {sum(node.active for node in nodes):.1f} nodes above 0.5. A node's weights "
        "are what it adds to the picture when it fires: white where it puts ink, black where it takes ink away, grey "
        "for 0; they are compared with the average image of each digit, less the average of all images.\n"
        f"The mean activations lie between {min(means):.3f} and {max(means):.3f}, where rho is {RHO}; {near} of "
        f"{len(nodes)} nodes are within half of it. The weighted penalty is {PENALTY_WEIGHT * penalty:.4f} of a loss "
        f"of {loss:.4f}, that is {PENALTY_WEIGHT * penalty / loss:.2%}: no more can be gained by firing less."
    )


def write_pdf(path, facts, losses, source, published, pages, nodes, summary):
    """Writes the answers on A4: the losses, `pages` (figures), and what the nodes learned.

    Args:
        facts: lines about the run, pairs of a name and a value.
        losses: train loss of each epoch; `published` are those to compare it with.
        source: where the images come from.
    """
    title = f"Codelet 7: a sparse autoencoder on {source}"
    # Without the date of its making, the same run gives the same file.
    with utils.replacing(path) as part, PdfPages(part, metadata={"Title": title, "CreationDate": None}) as pdf:
        first = Figure(figsize=A4)
        first.text(0.1, 0.95, title, fontsize=16, va="top")
        for line, (name, value) in enumerate(facts):
            first.text(0.1, 0.89 - 0.021 * line, name, va="top")
            first.text(0.4, 0.89 - 0.021 * line, value, va="top")
        plot_losses(first.add_axes((0.12, 0.08, 0.78, 0.4)), losses, source, published)
        pdf.savefig(first)
        for page in pages:
            pdf.savefig(page)
        for start in range(0, len(nodes), 10):
            pdf.savefig(draw_nodes(nodes[start : start + 10], source, summary))
    print(f"  {path}")


def draw_nodes(nodes, source, summary):
    """An A4 page: `summary`, then for up to ten nodes their weights, the digits of their top images, a sentence."""
    figure = Figure(figsize=A4)
    figure.text(0.07, 0.965, f"What the nodes learned, from {source}", fontsize=14, va="top")
    figure.text(
        0.07,
        0.935,
        "\n".join(textwrap.fill(part, 112) for part in summary.split("\n")),
        fontsize=9,
        va="top",
        linespacing=1.4,
    )
    for row, node in enumerate(nodes):
        bottom = 0.74 - 0.078 * row
        weights = figure.add_axes((0.07, bottom, 0.09, 0.064))
        largest = node.weights.abs().max().item()
        weights.imshow(node.weights.cpu().numpy(), cmap="gray", vmin=-largest, vmax=largest, interpolation="none")
        weights.axis("off")
        digits = figure.add_axes((0.2, bottom + 0.012, 0.2, 0.05))
        digits.bar(range(10), node.digits, color="tab:blue")
        digits.set(xticks=range(10), yticks=(0, TOP), ylim=(0, TOP))
        digits.tick_params(labelsize=7, length=2, pad=1)
        figure.text(0.44, bottom + 0.06, textwrap.fill(node.describe(), 68), fontsize=9, va="top", linespacing=1.4)
    return figure


# --- The run ---------------------------------------------------------------------------------


def load_model(path, settings):
    """What `save_model` wrote, a dict.

    Raises:
        UserError: it cannot be read, or a flag asks for something else than it was trained with.
    """
    saved = checkpoint.load_file(path)
    if saved["model"] != NAME:
        raise UserError(
            f"--load {path}: that is of an {saved['model']}, not of a {NAME}; name a model.pt of codelet7.py"
        )
    for name, value in utils.changed_flags(make_parser(), settings, SETTINGS).items():
        if value != saved["settings"][name]:
            flag = f"--{name.replace('_', '-')}"
            trained = saved["settings"][name]
            raise UserError(f"{flag} {value}: {path} was trained with {flag} {trained}; leave {flag} out, or --load")
    return saved


def save_model(path, model, source, settings, losses):
    """Saves a trained model: its `state_dict` as "weights", the settings of `SETTINGS`, the loss of each epoch."""
    chosen = {name: getattr(settings, name) for name in SETTINGS}
    weights = model.state_dict()
    checkpoint.save_file(
        path, {"model": NAME, "source": source, "settings": chosen, "weights": weights, "losses": losses}
    )
    print(f"  {path}")


def main(settings):
    """Trains, or loads what was trained, saves the model, the pictures and the PDF, and prints each path.

    Args:
        settings: see `make_parser`.
    """
    if settings.explore:
        import explore  # here, because it imports the model from this file

        explore.explore(settings, utils.changed_flags(make_parser(), settings, SETTINGS))
        return
    saved = load_model(settings.load, settings) if settings.load else {"settings": {}}
    settings = argparse.Namespace(**{**vars(settings), **saved["settings"]})
    device = utils.pick_device(settings.device)
    train_digits, test_digits = (utils.load_digits(train, settings.data) for train in (True, False))
    source = train_digits.source
    if settings.load and saved["source"] != source:
        raise UserError(f"--load {settings.load}: trained on {saved['source']}, but here are {source}; see --data")
    utils.check_batch_size(settings.batch_size, len(train_digits.images))
    changed = utils.changed_flags(make_parser(), settings, SETTINGS)
    folder = utils.picture_folder(settings.figures, utils.run_name("codelet7", changed), source)

    train_dataloader = make_dataloader(train_digits, settings.batch_size, device, settings.seed)
    test_dataloader = make_dataloader(test_digits, settings.batch_size, device, settings.seed)
    images, labels = train_dataloader.dataset.tensors
    samples = test_dataloader.dataset.tensors[0][:64]
    torch.manual_seed(settings.seed)
    model = SparseAutoencoder(inputDims=28 * 28, hDims=settings.hidden).to(device)

    with utils.Threads(settings.threads, device, MOST_THREADS) as threads:
        if not settings.load:
            choose_threads(threads, model, images[: settings.batch_size], settings.lr)
        utils.print_data(source, len(images), len(test_digits.images), device, threads)
        save_samples(train_dataloader, folder / "mnist.png", source)
        caption = f"before training ({source})"
        pages = save_views(model, images, activations(model, images), samples, folder, "_untrained", caption)
        before = reconstruction_error(model, images)
        if settings.load:
            try:
                model.load_state_dict(saved["weights"])
            except RuntimeError as error:  # the file is whole, the layers are others
                raise UserError(
                    f"--load {settings.load}: its layers are others than codelet7.py has; train anew"
                ) from error
            losses = saved["losses"]
        else:
            losses = train(model, train_dataloader, settings, threads)
            save_model(folder / "model.pt", model, source, settings, losses)

        test_loss = mean_loss(model, test_dataloader)
        print(f"Test Loss: {test_loss:.4f}")
        mean_image = images.var(dim=0, correction=0).mean().item()
        error = reconstruction_error(model, images)
        warning = verdict(error, before, mean_image, settings.lr, settings.epochs)
        if warning:
            print(f"codelet7.py: {warning}", file=sys.stderr)

        epochs = f"{settings.epochs} epoch{'s' if settings.epochs > 1 else ''}"
        caption = f"after {epochs}{utils.in_words(changed)} ({source})"
        hidden = activations(model, images)
        pages += save_views(model, images, hidden, samples, folder, "", caption)
        for node, grid in enumerate(top_grids(images, hidden, range(settings.hidden))):
            title = f"Node {node}: the {TOP} images with the highest activation, {caption}"
            show(grid, folder / f"top100_node{node}.png", title=title)
        published = PUBLISHED_LOSSES if source == utils.MNIST and not changed.keys() - {"seed"} else {}
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axis = figure.subplots()
        plot_losses(axis, losses, source, published)
        axis.set_title(f"Loss of the sparse autoencoder{utils.in_words(changed)} ({source})")
        utils.save(figure, folder / "loss.png")

        nodes = examine_nodes(model, images, hidden, labels)
        summary = summarise(nodes, model.batched_sparsity_penalty(hidden).item(), losses[-1])
        facts = [
            ("Data", f"{source}: {len(images):,} training and {len(test_digits.images):,} test images"),
            ("Preparation", f"(x / 255 - {MEAN}) / {STD}; batches of {settings.batch_size}, reshuffled every epoch"),
            ("Model", f"784 - {settings.hidden} (sigmoid) - 784 (tanh), Xavier uniform weights, bias 0.01"),
            ("Loss", f"mean squared error + {PENALTY_WEIGHT:g} x KL penalty with rho = {RHO}"),
            ("Training", f"{epochs} of Adam, learning rate {settings.lr:g}, seed {settings.seed}"),
            ("", ""),
        ]
        for epoch in sorted({1, len(losses)}):
            beside = f"   (published: {published[epoch]:.4f})" if epoch in published else ""
            facts.append((f"Train loss, epoch {epoch}", f"{losses[epoch - 1]:.4f}{beside}"))
        facts.append(("Test loss", f"{test_loss:.4f}"))
        summary = "\n".join(filter(None, (warning, summary)))
        write_pdf(folder / "codelet7.pdf", facts, losses, source, published, pages, nodes, summary)


if __name__ == "__main__":
    utils.run(main, settings)
