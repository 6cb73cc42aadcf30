"""Codelet 7: a sparse autoencoder on MNIST, from the data to the answers in a PDF.

python codelet7.py            trains, and leaves pictures and codelet7.pdf in figures/codelet7/
python codelet7.py --sweep    trains at many weights of the sparsity penalty side by side, and compares them
python codelet7.py --help     lists the settings

Model and loss, data, training and pictures are here. What is measured and said of the nodes is in answers.py, the
pages that show it in pages.py, and the comparison of many weights in sparsity.py.
"""

try:
    import utils
except KeyboardInterrupt:
    raise SystemExit("stopped by Ctrl-C") from None

PENALTY_WEIGHT = 1e-4  # of the sparsity penalty in the loss
RHO = 0.05  # the mean activation that every hidden node should have
WEIGHTS = [0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1]  # of a sweep
SETTINGS = ("epochs", "batch_size", "lr", "hidden", "seed", "penalty_weight", "rho")  # what a run's numbers depend on


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
    utils.add_flag(parser, "--penalty-weight", weight, PENALTY_WEIGHT, "weight of the penalty in the loss", "W")
    utils.add_flag(parser, "--rho", between_0_and_1, RHO, "mean activation that each node should have", "RHO")
    only = parser.add_mutually_exclusive_group()
    load = "make pictures and PDF from the model.pt of an earlier run, with its settings, without training"
    only.add_argument("--load", type=utils.path, metavar="FILE", help=load)
    compare = (
        "train at all of --weights side by side, from the same initial weights and on the same batches, and compare"
    )
    only.add_argument("--sweep", action="store_true", help=compare)
    weights = f"weights of the penalty in a --sweep (default: {' '.join(f'{value:g}' for value in WEIGHTS)})"
    parser.add_argument("--weights", type=weight, default=WEIGHTS, nargs="+", metavar="W", help=weights)
    return parser


def weight(text):
    """`text` as a weight of the penalty, for argparse."""
    return utils.number(text, float, 0, utils.LARGEST, f"a number from 0 to {utils.LARGEST:g}")


def between_0_and_1(text):
    """`text` as a number in (0, 1) that stays there in float32, for argparse."""
    return utils.number(text, float, 1e-7, 1 - 1e-7, "a number above 0 and below 1")


def check(settings):
    """Raises UserError where flags contradict each other."""
    if settings.explore and (settings.sweep or settings.load):
        raise utils.UserError("--explore only writes the page of what was trained; leave out --sweep and --load")
    if settings.sweep and settings.penalty_weight != PENALTY_WEIGHT:
        raise utils.UserError("--sweep trains at the weights of --weights; leave out --penalty-weight")
    if settings.weights != WEIGHTS and not settings.sweep:
        raise utils.UserError("--weights names the weights of a --sweep; add --sweep, or use --penalty-weight")


if __name__ == "__main__":  # before PyTorch is imported: --help and a mistyped flag answer at once
    settings = utils.start(make_parser(), check)

import argparse
import copy
import math
from typing import NamedTuple

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torchvision.utils import make_grid

import answers
import checkpoint
import pages
import sparsity
from answers import TOP, activations, top_images
from utils import A4, UserError, draw, show

NAME = "sparse autoencoder"
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels in [0, 1]
EPSILON = 1e-8  # keeps the penalty's logarithms finite
PUBLISHED_LOSSES = {1: 0.8029, 20: 0.5329}  # train loss by epoch, from the assignment
MOST_THREADS = 2  # a batch of 64 is too small to be shared out among more


# --- Model and loss --------------------------------------------------------------------------


def init_weights(linear):
    """Xavier (Glorot & Bengio 2010) uniform weights and a bias of 0.01, in place."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)


def lay_by_columns(weight):
    """Lays the matrices of a parameter `(..., rows, columns)` column by column in memory, their values unchanged.

    PyTorch chooses the form of a product by how its factors lie: for a decoder, 784 rows of 10, so it is faster."""
    weight.data = weight.data.mT.contiguous().mT


class SparseAutoencoder(nn.Module):
    """hidden = sigmoid(W x + b), reconstruction = tanh(W' hidden + b').

    Args:
        inputDims: pixels of an image.
        hDims: hidden nodes.
        penalty_weight: of the sparsity penalty in the loss.
        rho: the mean activation that every hidden node should have, in (0, 1).
    """

    def __init__(self, inputDims, hDims, *, penalty_weight=PENALTY_WEIGHT, rho=RHO):
        super().__init__()
        self.hDims, self.rho = hDims, rho
        # A buffer, because models that are trained side by side differ in it; no part of the `state_dict`.
        self.register_buffer("penalty_weight", torch.tensor(float(penalty_weight)), persistent=False)
        side = math.isqrt(inputDims)
        self.imageShapes = [(inputDims,), (side, side), (1, side, side)][: 3 if side**2 == inputDims else 1]
        self.encoder = nn.Sequential(nn.Linear(inputDims, hDims), nn.Sigmoid())
        self.decoder = nn.Sequential(nn.Linear(hDims, inputDims), nn.Tanh())
        init_weights(self.encoder[0])
        init_weights(self.decoder[0])
        lay_by_columns(self.decoder[0].weight)

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
        rho, rho_hat = self.rho, hidden.mean(dim=0)
        # In float32 1 - 1e-8 is 1, so that clamping rho_hat alone leaves log(0) at the upper end. Clamping rho_hat and
        # 1 - rho_hat from below is the same interval, and exact at both ends. xlogy(a, b) is a log(b).
        cross = torch.xlogy(rho, rho_hat.clamp(min=EPSILON)) + torch.xlogy(1 - rho, (1 - rho_hat).clamp(min=EPSILON))
        return len(rho_hat) * (rho * math.log(rho) + (1 - rho) * math.log(1 - rho)) - cross.sum()

    def loss_function(self, x, hidden, reconstruction):
        """Mean squared error over the pixels plus `penalty_weight` times the sparsity penalty.

        Args:
            x, reconstruction: tensors of one shape.
            hidden: activations `(N, hDims)`, out of `forward`.

        Returns:
            Scalar tensor.
        """
        return F.mse_loss(reconstruction, x) + self.penalty_weight * self.batched_sparsity_penalty(hidden)


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


class Loss(nn.Module):
    """Takes images to the loss of a model, in one call; `sparsity.SideBySide` does the same for many models at once."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        hidden, reconstruction = self.model(images)
        return self.model.loss_function(images, hidden, reconstruction)


def make_optimizer(loss, lr):
    """Adam for what `loss`, a `Loss` or `SideBySide`, trains."""
    return torch.optim.Adam(loss.parameters(), lr=lr, fused=True)


def train_epoch(loss, train_dataloader, optimizer, tick=lambda: None):
    """One pass over the training set.

    Args:
        loss: a `Loss`, or `SideBySide`.
        tick: called after each batch; what it returns is printed.

    Returns:
        The mean of the batches' losses: a scalar tensor, or `(K,)` for K models side by side.
    """
    total = 0
    for images, _ in train_dataloader:
        value = loss(images)
        optimizer.zero_grad()
        value.backward(torch.ones_like(value))  # the gradient of the sum, where there are many
        optimizer.step()
        total += value.detach()  # no .item() before the epoch's end: it would wait for the device
        if line := tick():
            print(line)
    return total / len(train_dataloader)


def choose_threads(threads, loss, images, lr):
    """Has `threads` choose by training steps of a copy of `loss`, so that the run's numbers stay as they are."""
    loss, batch = copy.deepcopy(loss), [(images, None)]
    optimizer = make_optimizer(loss, lr)
    threads.choose(lambda: train_epoch(loss, batch, optimizer))


def train(loss, train_dataloader, settings, threads):
    """Trains for `settings.epochs`.

    Returns:
        The loss of each epoch, a tensor `(epochs,)`, or `(epochs, K)` for K models side by side.

    Raises:
        UserError: a loss is no finite number any more.
    """
    # The seed alone decides the batches, also where some were looked at before.
    train_dataloader.sampler.generator.manual_seed(settings.seed)
    optimizer = make_optimizer(loss, settings.lr)
    losses = []
    for epoch in range(1, settings.epochs + 1):
        losses.append(train_epoch(loss, train_dataloader, optimizer, threads.tick).cpu())
        low, high = losses[-1].min().item(), losses[-1].max().item()
        if not math.isfinite(low + high):
            largest = max(settings.weights if settings.sweep else [settings.penalty_weight])
            advice = (
                f"a smaller --lr than {settings.lr:g}"
                if largest <= 1
                else f"a smaller weight of the penalty than {largest:g}"
            )
            raise UserError(f"the loss became {low + high} in epoch {epoch}; try {advice}")
        value = f"{low:.4f}" + (f" to {high:.4f}" if losses[-1].dim() else "")
        print(f"Epoch: {epoch}/{settings.epochs} - Train Loss: {value}")
    return torch.stack(losses)


@torch.no_grad()
def mean_loss(model, dataloader):
    """The loss of `train_epoch`, without training."""
    losses = [model.loss_function(images, *model(images)) for images, _ in dataloader]
    return torch.stack(losses).mean().item()


# --- Pictures --------------------------------------------------------------------------------


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


def save_views(model, data, folder, suffix, caption):
    """`reconstructions*.png` and `top100*.png` of a model; returns the same as A4 figures.

    Args:
        data: `Data`; the first 64 test images are reconstructed, the top 100 sought among the training images.
        suffix: ends the files' names.
        caption: what the model is, for the titles.
    """
    samples = data.test_images[:64]
    pairs = {
        "images": reconstruction_grids(model, samples),
        "titles": ("input", "reconstruction"),
        "title": f"Test images and their reconstructions, {caption}\n"
        f"White is {samples.max():.2f} in the inputs and at most 1, the limit of a Tanh, in the reconstructions",
    }
    blocks = top_grids(data.images, activations(model, data.images), range(model.hDims))
    labels = [f"node {node}" for node in range(model.hDims)]
    title = f"The {TOP} images with the highest activation of each hidden node, {caption}"
    show(**pairs, path=folder / f"reconstructions{suffix}.png")
    show(blocks, folder / f"top100{suffix}.png", title=title, titles=labels, columns=5, zoom=2)
    sheets = [
        draw(Figure(), blocks[start : start + 4], title, labels[start : start + 4], 2, size=A4)
        for start in range(0, model.hDims, 4)
    ]
    return [draw(Figure(), **pairs, size=A4), *sheets]


# --- The run ---------------------------------------------------------------------------------


class Data(NamedTuple):
    """What a run trains on and looks at; the tensors lie on its device."""

    source: str
    train_dataloader: DataLoader
    test_dataloader: DataLoader
    images: torch.Tensor  # the training images, (N, 1, 28, 28), normalised
    labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor


def load_data(settings, device):
    """The `Data` that the flags ask for."""
    both = utils.load_digits(True, settings.data), utils.load_digits(False, settings.data)
    utils.check_batch_size(settings.batch_size, len(both[0].images))
    loaders = [make_dataloader(digits, settings.batch_size, device, settings.seed) for digits in both]
    return Data(both[0].source, *loaders, *(tensor for loader in loaders for tensor in loader.dataset.tensors))


def make_model(settings, device, penalty_weight):
    """An untrained model, whose weights the seed alone decides."""
    torch.manual_seed(settings.seed)
    return SparseAutoencoder(28 * 28, settings.hidden, penalty_weight=penalty_weight, rho=settings.rho).to(device)


def load_model(path, settings):
    """The dict that `save_model` wrote, and `settings` with those that the model was trained with.

    Raises:
        UserError: it cannot be read, or a flag asks for something else than it was trained with.
    """
    saved = checkpoint.load_file(path, "python codelet7.py trains a model, and keeps it as model.pt")
    if saved["model"] != NAME:
        raise UserError(
            f"--load {path}: that is of an {saved['model']}, not of a {NAME}; name a model.pt of codelet7.py"
        )
    for name, value in utils.changed_flags(make_parser(), settings, SETTINGS).items():
        trained, flag = saved["settings"][name], f"--{name.replace('_', '-')}"
        if value != trained:
            raise UserError(f"{flag} {value}: {path} was trained with {flag} {trained}; leave {flag} out, or --load")
    return saved, argparse.Namespace(**{**vars(settings), **saved["settings"]})


def save_model(path, model, source, settings, losses):
    """Saves a trained model: its `state_dict` as "weights", the settings of `SETTINGS`, the loss of each epoch."""
    chosen = {name: getattr(settings, name) for name in SETTINGS}
    contents = {"model": NAME, "source": source, "settings": chosen, "weights": model.state_dict(), "losses": losses}
    checkpoint.save_file(path, contents)
    print(f"  {path}")


def main(settings):
    """Does what the flags ask for.

    Args:
        settings: see `make_parser`.
    """
    if settings.explore:
        import explore  # here, because it imports the model from this file

        explore.explore(settings, utils.changed_flags(make_parser(), settings, SETTINGS))
    elif settings.sweep:
        sweep(settings)
    else:
        answer(settings)


def answer(settings):
    """Trains a model, or loads one that was trained, saves it, its pictures and the PDF, and prints each path."""
    saved = None
    if settings.load:
        saved, settings = load_model(settings.load, settings)
    device = utils.pick_device(settings.device)
    data = load_data(settings, device)
    if saved and saved["source"] != data.source:
        raise UserError(f"--load {settings.load}: trained on {saved['source']}, but here are {data.source}; see --data")
    changed = utils.changed_flags(make_parser(), settings, SETTINGS)
    folder = utils.picture_folder(settings.figures, utils.run_name("codelet7", changed), data.source)
    untrained = make_model(settings, device, settings.penalty_weight)
    model = copy.deepcopy(untrained)
    with utils.Threads(settings.threads, device, MOST_THREADS) as threads:
        if not saved:
            choose_threads(threads, Loss(model), data.images[: settings.batch_size], settings.lr)
        utils.print_data(data.source, len(data.images), len(data.test_images), device, threads)
        save_samples(data.train_dataloader, folder / "mnist.png", data.source)
        views = save_views(untrained, data, folder, "_untrained", f"before training ({data.source})")
        if saved:
            losses = saved["losses"]
            try:
                model.load_state_dict(saved["weights"])
            except RuntimeError as error:  # the file is whole, the layers are others
                raise UserError(f"--load {settings.load}: it has other layers than codelet7.py; train anew") from error
        else:
            losses = train(Loss(model), data.train_dataloader, settings, threads).tolist()
            save_model(folder / "model.pt", model, data.source, settings, losses)

        caption = f"after {pages.in_epochs(settings)}{utils.in_words(changed)} ({data.source})"
        views = save_views(model, data, folder, "", caption) + views
        for node, grid in enumerate(top_grids(data.images, activations(model, data.images), range(model.hDims))):
            title = f"Node {node}: the {TOP} images with the highest activation, {caption}"
            show(grid, folder / f"top100_node{node}.png", title=title)
        published = PUBLISHED_LOSSES if data.source == utils.MNIST and not changed.keys() - {"seed"} else {}
        title = f"Loss of the sparse autoencoder{utils.in_words(changed)} ({data.source})"
        utils.save(pages.loss_figure(title, losses, data.source, published), folder / "loss.png")

        test_loss = mean_loss(model, data.test_dataloader)
        print(f"Test Loss: {test_loss:.4f}")
        title = f"Codelet 7: a sparse autoencoder on {data.source}"
        preparation = f"(x / 255 - {MEAN}) / {STD}; batches of {settings.batch_size}, reshuffled every epoch"
        first = pages.cover(title, preparation, model, data, settings, losses, test_loss, published)
        views = [first, *pages.answer_pages(model, untrained, data, settings), *views]
        pages.write_pdf(folder / "codelet7.pdf", title, views)


def sweep(settings):
    """Trains a model at each of `--weights`, side by side; saves what their comparison shows, and prints each path."""
    settings.weights = sorted(set(settings.weights))
    device = utils.pick_device(settings.device)
    data = load_data(settings, device)
    changed = utils.changed_flags(make_parser(), settings, (*SETTINGS, "weights"))
    if "weights" in changed:
        changed["weights"] = " ".join(f"{value:g}" for value in settings.weights)
    name = utils.run_name("codelet7", changed).replace(" ", "_")
    folder = utils.picture_folder(settings.figures, name, data.source)
    untrained, *models = (make_model(settings, device, value) for value in (0, *settings.weights))
    loss = sparsity.SideBySide([Loss(model) for model in models])
    with utils.Threads(settings.threads, device) as threads:
        choose_threads(threads, loss, data.images[: settings.batch_size], settings.lr)
        utils.print_data(data.source, len(data.images), len(data.test_images), device, threads)
        train(loss, data.train_dataloader, settings, threads)
        loss.unstack()
        properties = answers.traits(data.images, data.labels)
        before, *rows = (
            sparsity.measure(model, data.images, data.labels, properties, data.test_images)
            for model in (untrained, *models)
        )
        words = sparsity.table(rows, before) + sparsity.findings(rows, before, settings.rho, PENALTY_WEIGHT)
        print("\n".join(words))
        after = f"after {pages.in_epochs(settings)}{utils.in_words(changed)} ({data.source})"
        title = f"The weight of the sparsity penalty, {after}"
        shown = (rows, settings.rho, PENALTY_WEIGHT, title)
        utils.save(sparsity.draw_sparsity(Figure(figsize=(10, 10)), *shown), folder / "sparsity.png")
        pages.write_pdf(folder / "sparsity.pdf", title, sparsity.sparsity_pages(before, *shown))


if __name__ == "__main__":
    utils.run(main, settings)
