"""Codelet 7: a sparse autoencoder on MNIST.

python codelet7.py            trains it; leaves pictures and codelet7.pdf in figures/
python codelet7.py --sweep    trains it with nine weights of the penalty, to compare
"""

import copy
import math
from dataclasses import dataclass, field

import torch
from matplotlib import style
from torch import nn
from torch.nn import functional as F
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
)
from torchvision.utils import make_grid

import utils
from utils import show  # noqa: F401, which the assignment imports here

MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training images in [0, 1]
EPSILON = 1e-8  # keeps the logarithms of the penalty finite
PUBLISHED = {1: 0.8029, 20: 0.5329}  # train loss by epoch, from the assignment
WEIGHTS = [0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1]  # of --sweep


def init_weights(linear):
    """Xavier initialisation (Glorot & Bengio 2010), uniform, with a bias of 0.01."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)


class SparseAutoencoder(nn.Module):
    """hidden = sigmoid(W x + b), reconstruction = tanh(W' hidden + b').

    x has inputDims pixels, hidden has hDims nodes. What is taken for x:

        | `(N, 1, 28, 28)`, `(N, 28, 28)`, `(N, inputDims)` | tensors, normalised  |
        | NumPy arrays                                      | TypeError            |
    """

    rho = 0.05  # the mean activation that each hidden node should have, in (0, 1)
    penalty_weight = 1e-4  # of the sparsity penalty in the loss

    def __init__(self, inputDims, hDims):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputDims, hDims), nn.Sigmoid())
        self.decoder = nn.Sequential(nn.Linear(hDims, inputDims), nn.Tanh())
        init_weights(self.encoder[0])
        init_weights(self.decoder[0])

    def forward(self, x):
        """Hidden `(N, hDims)` in [0, 1], and reconstruction in [-1, 1], of x's shape.

        x is `(N, inputDims)`, `(N, 28, 28)` or `(N, 1, 28, 28)`.
        """
        if not isinstance(x, torch.Tensor):
            raise TypeError("x is no tensor; torch.from_numpy makes one of an array")
        hidden = self.encoder(x.flatten(1))
        reconstruction = self.decoder(hidden)
        return hidden, reconstruction.view_as(x)

    def batched_sparsity_penalty(self, hidden):
        """KL(Bernoulli(rho) || Bernoulli(rho_hat_j)), summed over the nodes j (the
        assignment's formula):

            sum_j  rho log(rho / rho_hat_j)
                   + (1 - rho) log((1 - rho) / (1 - rho_hat_j))

        Args:
            hidden: activations `(N, hDims)` in [0, 1]; rho_hat_j is the mean of column
                j. Of a mean above 1, as a ReLU may have, the second term is constant,
                and the first pushes it further up.

        Returns:
            Scalar in float32 or wider, finite, with finite gradients.

        Raises:
            ValueError: `hidden` is not a matrix, or is empty.
        """
        if hidden.dim() != 2 or hidden.numel() == 0:
            raise ValueError(f"hidden is {tuple(hidden.shape)}; expected (N, hDims)")
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        rho = self.rho
        rho_hat = hidden.mean(dim=0)
        # 1 - 1e-8 is 1 in float32, so that 1 - rho_hat wants a clamp of its own.
        rest = (1 - rho_hat).clamp(min=EPSILON)
        rho_hat = rho_hat.clamp(min=EPSILON)
        first_term = rho * torch.log(rho / rho_hat)
        second_term = (1 - rho) * torch.log((1 - rho) / rest)
        return (first_term + second_term).sum()

    def loss_function(self, x, hidden, reconstruction):
        """Mean squared error over the pixels plus the weighted penalty, a scalar.

        Args:
            x: images.
            hidden: activations `(N, hDims)` in [0, 1].
            reconstruction: of the shape of x.

        Raises:
            ValueError: `x` and `reconstruction` differ in shape.
        """
        if x.shape != reconstruction.shape:
            raise ValueError(
                f"x is {tuple(x.shape)}, reconstruction {tuple(reconstruction.shape)}; "
                "expected the same shape"
            )
        error = F.mse_loss(reconstruction, x)
        return error + self.penalty_weight * self.batched_sparsity_penalty(hidden)


# --- Data and training ---------------------------------------------------------------


def make_dataloader(images, labels, batch_size=64, shuffle=True, seed=0, device="cpu"):
    """A `DataLoader` of normalised images and their labels.

    Args:
        images: uint8 `(N, 28, 28)` in [0, 255].
        labels: int64 `(N,)`.
        shuffle: whether each pass has another order. Without, as for test images, codes
            of one pass and labels of another belong together.

    Returns:
        Loader of images float32 `(64, 1, 28, 28)` in [-0.42, 2.82], and labels int64
        `(64,)`, where 64 is `batch_size`.
    """
    pixels = torch.from_numpy(images).to(device).float().unsqueeze(1)
    normalised = (pixels / 255 - MEAN) / STD
    dataset = TensorDataset(normalised, torch.from_numpy(labels).to(device))
    if shuffle:
        generator = torch.Generator().manual_seed(seed)
        order = RandomSampler(dataset, generator=generator)
    else:
        order = SequentialSampler(dataset)
    # The sampler gives 64 indices at once, so that a batch is one look-up, not 64.
    batches = BatchSampler(order, batch_size, drop_last=False)
    return DataLoader(dataset, sampler=batches, batch_size=None)


@dataclass
class Losses:
    """The mean loss of the batches, for each epoch."""

    train: list = field(default_factory=list)
    test: list = field(default_factory=list)


def train(model, train_dataloader, epochs, lr, test_dataloader=None):
    """Trains a model with Adam.

    Returns:
        `Losses`; those on test images where `test_dataloader` is given.

    Raises:
        FloatingPointError: the loss became infinite or NaN.
    """
    # fused=True changes all weights in one operation.
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    losses = Losses()
    for epoch in range(1, epochs + 1):
        total = 0
        for images, _ in train_dataloader:
            hidden, reconstruction = model(images)
            loss = model.loss_function(images, hidden, reconstruction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()  # .item() would make a GPU wait in each step
        mean = float(total) / len(train_dataloader)
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"the loss became {mean} in epoch {epoch}; try a smaller --lr"
            )
        print(f"Epoch: {epoch}/{epochs} - Train Loss: {mean:.4f}", flush=True)
        losses.train.append(mean)
        if test_dataloader:
            losses.test.append(mean_loss(model, test_dataloader))
    return losses


@torch.no_grad()
def mean_loss(model, dataloader):
    """The mean of the batches' losses, without training."""
    total = 0
    for images, _ in dataloader:
        hidden, reconstruction = model(images)
        total += model.loss_function(images, hidden, reconstruction)
    return float(total) / len(dataloader)


# --- The assignment's two figures ----------------------------------------------------


@torch.no_grad()
def reconstruction_grid(model, images):
    """16 rows of 4 images, each beside its reconstruction, a grid for `show`.

    Args:
        images: `(64, 1, 28, 28)`, `(64, 28, 28)` or `(64, 784)`, normalised.
    """
    _, reconstructions = model(images)
    pairs = torch.stack((images, reconstructions), dim=1).view(-1, 1, 28, 28)
    # A Tanh gives -1 to 1, normalised images go from -0.42 to 2.82: both are cut.
    pairs = pairs.clamp(images.min(), 1)
    return make_grid(pairs, 8, normalize=True, pad_value=0.13)


def top_images_grid(model, images, node):
    """The 100 images at which a hidden node is most active, a grid for `show`.

    The most active stands first; a row has 10.

    Args:
        images: `(N, 1, 28, 28)`, `(N, 28, 28)` or `(N, 784)`, normalised.
        node: 0 to hDims - 1.
    """
    return grid_of_ten(images[most_active(model, images, node)])


@torch.no_grad()
def most_active(model, images, node):
    """The numbers of the 100 images at which a node is most active, `(100,)`."""
    activations = model.encoder(images.flatten(1))[:, node]
    return activations.topk(min(100, len(images))).indices


def grid_of_ten(images):
    """Images, ten a row, a grid for `show`."""
    pictures = images.view(-1, 1, 28, 28)
    return make_grid(pictures, 10, normalize=True, pad_value=0.13)


# --- The run -------------------------------------------------------------------------


def load(path=utils.FIGURES / "codelet7" / "model.pt"):
    """The trained model that lies at `path`, on the CPU, in evaluation mode.

    It has the number of hidden nodes that the file has, and the default `rho` and
    `penalty_weight`; the default file is the committed one, of ten nodes.

    Raises:
        UserError: the file is missing, damaged or of another model.
    """
    weights = utils.load_weights(path)
    try:
        hidden, pixels = weights["encoder.0.weight"].shape
        model = SparseAutoencoder(pixels, hidden)
        model.load_state_dict(weights)
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise utils.UserError(f"{path} is of another model than this one") from error
    return model.eval()


def save_reconstructions(run, untrained, model, test_images):
    """Saves the assignment's first figure, and the same before training."""
    title = "Test images, each beside its reconstruction; white is 1, where a Tanh ends"
    grid = reconstruction_grid(untrained, test_images[:64])
    run.save_images(grid, "reconstructions_untrained.png", f"{title}\nBefore training")
    grid = reconstruction_grid(model, test_images[:64])
    run.save_images(grid, "reconstructions.png", title)


def save_top_images(run, untrained, model, train_set):
    """Saves the assignment's second figure for each of up to ten nodes, and the same
    for one before training; `train_set` are images and labels."""
    images, labels = train_set
    top = most_active(untrained, images, 0)
    title = f"{top_images_title(labels[top], 0)}\nBefore training"
    run.save_images(grid_of_ten(images[top]), "top100_untrained.png", title)
    for node in range(min(10, model.encoder[0].out_features)):
        top = most_active(model, images, node)
        title = top_images_title(labels[top], node)
        run.save_images(grid_of_ten(images[top]), f"top100_node{node}.png", title)


def top_images_title(labels, node):
    """Which images are shown, and how many there are of each digit."""
    counts = labels.bincount(minlength=10).tolist()
    digits = sorted(range(10), key=lambda digit: -counts[digit])
    named = ", ".join(f"{counts[digit]} {digit}s" for digit in digits if counts[digit])
    return f"The training images that activate node {node} most: {named}"


def save_analysis(run, untrained, model, losses, train_set, test_set):
    """Saves what extras/ finds out about the nodes: the table, pictures, codelet7.pdf
    and the page. The sets are images `(N, 1, 28, 28)` and labels `(N,)`."""
    try:
        from extras import nodes, page
    except ModuleNotFoundError:
        print("Without extras/ there is no codelet7.pdf")
        return
    published = PUBLISHED if run.is_default else {}
    record = nodes.analyse(untrained, model, losses, published, train_set, test_set)
    run.save_report(record.table)
    run.save_figure(nodes.losses_figure(losses, published), "loss.png")
    run.save_figure(nodes.nodes_figure(record.trained, record.untrained), "nodes.png")
    answers = nodes.read_answers() if run.is_default else {}
    run.save_pages(nodes.make_pages(record, answers), "codelet7.pdf")
    entry = page.sparse_entry(model, MEAN, STD, run.about)
    run.save_page(page.put(run.read_page(), "sparse", entry, *run.page_images()))


def save_sweep(run, untrained, args, train_dataloader, test_dataloader):
    """Trains a copy of the model for each weight of the penalty, side by side; saves
    the table, sparsity.png and the page."""
    from extras import page, sweep

    weights = args.sweep
    models = sweep.train(untrained, weights, train_dataloader, args.epochs, args.lr)
    images, labels = on_cpu(train_dataloader)
    test_images, _ = on_cpu(test_dataloader)
    before = sweep.measure(untrained.cpu(), images, labels, test_images)
    rows = [sweep.measure(model.cpu(), images, labels, test_images) for model in models]
    run.save_report(sweep.format_table(before, rows), "sparsity.txt")
    run.save_figure(sweep.sweep_figure(rows, untrained.penalty_weight), "sparsity.png")
    errors = [row.test_error for row in rows]
    means = [row.nodes.mean.mean().item() for row in rows]
    entry = page.sweep_entry(models, weights, errors, means, MEAN, STD)
    run.save_page(page.put(run.read_page(), "sweep", entry, *run.page_images()))


def on_cpu(dataloader):
    """All images and labels of a loader of `make_dataloader`, on the CPU."""
    images, labels = dataloader.dataset.tensors
    return images.cpu(), labels.cpu()


def read_flags():
    """The flags, checked, and the `utils.Run` of them."""
    parser = utils.make_parser(
        "Train a sparse autoencoder on MNIST and show what its hidden nodes learn.",
        batch_size=64,
        lr=1e-4,
    )
    rho = SparseAutoencoder.rho
    weight = SparseAutoencoder.penalty_weight
    helps = {
        "epochs": "passes over the training images (%(default)s)",
        "hidden": "hidden nodes (%(default)s)",
        "rho": "mean activation that the penalty asks of each node (%(default)s)",
        "weight": "weight of the penalty in the loss (%(default)s)",
        "sweep": f"train with each of these weights, and compare ({WEIGHTS})",
    }
    add = parser.add_argument
    add("--epochs", type=int, default=20, metavar="N", help=helps["epochs"])
    add("--hidden", type=int, default=10, metavar="N", help=helps["hidden"])
    add("--rho", type=float, default=rho, help=helps["rho"])
    add(
        "--penalty-weight",
        type=float,
        default=weight,
        metavar="W",
        help=helps["weight"],
    )
    add("--sweep", type=float, nargs="*", metavar="W", help=helps["sweep"])
    args = utils.parse_flags(
        parser,
        "codelet7.py",
        epochs=(1, 1e6),
        hidden=(1, 1e6),
        rho=(1e-7, 1 - 1e-7),  # nearer to 0 or 1, float32 cannot tell it from them
        penalty_weight=(0, 1e30),
    )
    settings = ["epochs", "batch_size", "lr", "hidden", "seed", "penalty_weight", "rho"]
    if args.sweep is not None:
        args.sweep = sorted(set(args.sweep or WEIGHTS))
        check_sweep(parser, args)
        if args.sweep != WEIGHTS:
            settings.append("sweep")
    length = "1 epoch" if args.epochs == 1 else f"{args.epochs} epochs"
    return args, utils.start_run(parser, args, "codelet7", length, settings)


def check_sweep(parser, args):
    if args.penalty_weight != parser.get_default("penalty_weight"):
        parser.error("--sweep takes its weights itself; leave --penalty-weight out")
    if not all(0 <= weight <= 1e30 for weight in args.sweep):
        parser.error(f"--sweep {args.sweep}: a weight is not between 0 and 1e30")


@style.context("default")  # a user's own style stays out of the pictures
def main():
    """Reads the flags, trains, and saves what there is to see."""
    args, run = read_flags()
    torch.set_num_threads(1)  # batches of 64 are too small to be shared out
    images, labels = utils.load_mnist(True, args.data)
    test_images, test_labels = utils.load_mnist(False, args.data)
    common = {"batch_size": args.batch_size, "device": args.device}
    train_dataloader = make_dataloader(images, labels, seed=args.seed, **common)
    test_dataloader = make_dataloader(test_images, test_labels, shuffle=False, **common)
    torch.manual_seed(args.seed)
    untrained = SparseAutoencoder(28 * 28, args.hidden).to(args.device)
    untrained.rho = args.rho
    untrained.penalty_weight = args.penalty_weight
    print(f"Training on {args.device}: {run.about}")
    if args.sweep:
        save_sweep(run, untrained, args, train_dataloader, test_dataloader)
        return
    model = copy.deepcopy(untrained)
    losses = train(model, train_dataloader, args.epochs, args.lr, test_dataloader)
    print(f"Test Loss: {losses.test[-1]:.4f}")
    model.cpu()
    untrained.cpu()
    utils.save_weights(model.state_dict(), run.folder / "model.pt")
    train_set = on_cpu(train_dataloader)
    test_set = on_cpu(test_dataloader)
    test_images, _ = test_set
    run.save_images(make_grid(train_set[0][:64], 16), "mnist.png", "Training images")
    save_reconstructions(run, untrained, model, test_images)
    save_top_images(run, untrained, model, train_set)
    save_analysis(run, untrained, model, losses, train_set, test_set)


if __name__ == "__main__":
    utils.run_script(main, "codelet7.py")
