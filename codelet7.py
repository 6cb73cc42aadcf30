"""Codelet 7: a sparse autoencoder on MNIST.

python codelet7.py            trains it, and leaves the pictures and codelet7.pdf in figures/codelet7/
python codelet7.py --sweep    trains it with nine weights of the sparsity penalty, and compares them
"""

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset
from torchvision.utils import make_grid

import utils
from utils import show

MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training images in [0, 1]
EPSILON = 1e-8  # keeps the logarithms of the penalty finite
PUBLISHED = {1: 0.8029, 20: 0.5329}  # train loss by epoch, from the assignment


def init_weights(linear):
    """Xavier initialisation (Glorot & Bengio 2010), uniform, with a bias of 0.01, in place."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.constant_(linear.bias, 0.01)


class SparseAutoencoder(nn.Module):
    """hidden = sigmoid(W x + b), reconstruction = tanh(W' hidden + b'); x has inputDims pixels, hidden hDims nodes."""

    rho = 0.05  # the mean activation that each hidden node should have, in (0, 1)
    penalty_weight = 1e-4  # of the sparsity penalty in the loss

    def __init__(self, inputDims, hDims):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputDims, hDims), nn.Sigmoid())
        self.decoder = nn.Sequential(nn.Linear(hDims, inputDims), nn.Tanh())
        init_weights(self.encoder[0])
        init_weights(self.decoder[0])

    def forward(self, x):
        """Images `(N, inputDims)`, `(N, 28, 28)` or `(N, 1, 28, 28)` to hidden `(N, hDims)` in [0, 1] and
        reconstruction in [-1, 1], of the shape of `x`."""
        hidden = self.encoder(x.flatten(1))
        return hidden, self.decoder(hidden).view_as(x)

    def batched_sparsity_penalty(self, hidden):
        """KL divergence of Bernoulli(rho_hat_j) from Bernoulli(rho), summed over nodes j (the assignment's formula):

            sum_j  rho log(rho / rho_hat_j) + (1 - rho) log((1 - rho) / (1 - rho_hat_j))

        Args:
            hidden: activations `(N, hDims)` in [0, 1]; rho_hat_j is the mean of column j.

        Returns:
            Scalar in float32 or wider, finite, with finite gradients.

        Raises:
            ValueError: `hidden` is not a matrix, or is empty.
        """
        if hidden.dim() != 2 or hidden.numel() == 0:
            raise ValueError(f"hidden has the shape {tuple(hidden.shape)}; expected (N, hDims)")
        # 1e-8 is 0 in float16. And 1 - 1e-8 is 1 in float32, so that 1 - rho_hat is clamped instead of rho_hat.
        rho, rho_hat = self.rho, hidden.to(torch.promote_types(hidden.dtype, torch.float32)).mean(dim=0)
        on, off = rho_hat.clamp(min=EPSILON), (1 - rho_hat).clamp(min=EPSILON)
        return (rho * torch.log(rho / on) + (1 - rho) * torch.log((1 - rho) / off)).sum()

    def loss_function(self, x, hidden, reconstruction):
        """Mean squared error over the pixels plus `penalty_weight` times the sparsity penalty, a scalar.

        Raises:
            ValueError: `x` and `reconstruction` differ in shape.
        """
        if x.shape != reconstruction.shape:
            raise ValueError(f"x has the shape {tuple(x.shape)}, reconstruction {tuple(reconstruction.shape)}")
        return F.mse_loss(reconstruction, x) + self.penalty_weight * self.batched_sparsity_penalty(hidden)


# --- Data and training -----------------------------------------------------------------------


def make_dataloader(digits, batch_size=64, device="cpu", seed=0):
    """A `DataLoader` over `utils.Digits`: normalised images float32 `(batch_size, 1, 28, 28)` in [-0.42, 2.82], and
    labels int64 `(batch_size,)`. All images are one tensor, and a batch is cut out of it at once."""
    images = torch.from_numpy(digits.images).unsqueeze(1).to(device, torch.float32).div_(255).sub_(MEAN).div_(STD)
    dataset = TensorDataset(images, torch.from_numpy(digits.labels).to(device))
    shuffled = RandomSampler(dataset, generator=torch.Generator().manual_seed(seed))
    return DataLoader(dataset, sampler=BatchSampler(shuffled, batch_size, drop_last=False), batch_size=None)


def train(model, train_dataloader, epochs, lr, test_dataloader=None):
    """Trains a model with Adam. Returns the train loss of each epoch, the mean over its batches, a list; with
    `test_dataloader` a pair of that and of the test loss after each epoch.

    Raises:
        FloatingPointError: the loss became infinite or NaN.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=True)
    losses, test_losses = [], []
    for epoch in range(1, epochs + 1):
        total = 0
        for images, _ in train_dataloader:
            hidden, reconstruction = model(images)
            loss = model.loss_function(images, hidden, reconstruction)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()  # .item() would make a GPU wait in each step
        losses.append(float(total) / len(train_dataloader))
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss became {losses[-1]} in epoch {epoch}; try a smaller --lr than {lr:g}")
        print(f"Epoch: {epoch}/{epochs} - Train Loss: {losses[-1]:.4f}", flush=True)
        if test_dataloader:
            test_losses.append(mean_loss(model, test_dataloader))
    return (losses, test_losses) if test_dataloader else losses


@torch.no_grad()
def mean_loss(model, dataloader):
    """The mean of the batches' losses, without training."""
    losses = [model.loss_function(images, *model(images)) for images, _ in dataloader]
    return torch.stack(losses).mean().item()


# --- The assignment's two figures ------------------------------------------------------------


@torch.no_grad()
def show_reconstructions(model, images, path=None, title=""):
    """16 rows of 4 images, each beside its reconstruction. `images` are `(64, 1, 28, 28)`, `(64, 28, 28)` or
    `(64, 784)`; with `path`, the figure is saved there instead of shown."""
    pairs = torch.stack((images, model(images)[1]), dim=1).view(-1, 1, 28, 28)
    pairs = pairs.clamp(images.min(), 1)  # a Tanh ends at 1, normalised images at 2.82
    show(make_grid(pairs, 8, normalize=True, pad_value=0.13), path, title)


@torch.no_grad()
def show_top_images(model, images, node, path=None, title=""):
    """The 100 images at which a hidden node, 0 to hDims - 1, is most active, 10 a row, the most active first. `images`
    are `(N, 1, 28, 28)`, `(N, 28, 28)` or `(N, 784)`; with `path`, the figure is saved there instead of shown."""
    activations = model.encoder(images.flatten(1))[:, node]
    top = images[activations.topk(min(100, len(images))).indices]
    show(make_grid(top.view(-1, 1, 28, 28), 10, normalize=True, pad_value=0.13), path, title)


# --- The run ---------------------------------------------------------------------------------


def main():
    """Reads the flags, trains, and saves what they ask for."""
    parser = utils.flag_parser("Train a sparse autoencoder on MNIST and show what its hidden nodes learn.", 64, 1e-4)
    weights = [0, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1]
    rho, weight = SparseAutoencoder.rho, SparseAutoencoder.penalty_weight
    add = parser.add_argument
    add("--epochs", type=int, default=20, metavar="N", help="passes over the training images (%(default)s)")
    add("--hidden", type=int, default=10, metavar="N", help="hidden nodes (%(default)s)")
    add("--rho", type=float, default=rho, help="mean activation that the penalty asks of each node (%(default)s)")
    add("--penalty-weight", type=float, default=weight, metavar="W", help="weight of the penalty (%(default)s)")
    add("--sweep", type=float, nargs="*", metavar="W", help=f"train with each weight, and compare ({weights})")
    args = parser.parse_args()
    # Nearer to 0 or 1, float32 cannot tell rho from them.
    limits = {"epochs": (1, 1e6), "hidden": (1, 1e6), "rho": (1e-7, 1 - 1e-7), "penalty_weight": (0, 1e30)}
    utils.check_flags(parser, args, **limits)
    if args.sweep is not None and args.penalty_weight != weight:
        parser.error("--sweep takes its weights itself; leave --penalty-weight out")
    args.sweep = args.sweep if args.sweep is None else sorted(set(args.sweep or weights))
    if args.sweep and not 0 <= args.sweep[0] <= args.sweep[-1] <= 1e30:
        parser.error(f"--sweep {args.sweep}: a weight is out of range; expected 0 to 1e30")
    torch.set_num_threads(1)  # batches of 64 are too small to be shared out
    digits, test_digits = (utils.load_digits(train, args.data) for train in (True, False))
    names = ["epochs", "batch_size", "lr", "hidden", "seed", "penalty_weight", "rho"]
    names += [] if args.sweep in (None, weights) else ["sweep"]
    length = f"{args.epochs} epoch{'s' * (args.epochs > 1)}"
    folder, about = utils.name_run(parser, args, "codelet7", digits.source, length, names)
    print(f"Data: {digits.source}; computing on {args.device}")
    loaders = [make_dataloader(some, args.batch_size, args.device, args.seed) for some in (digits, test_digits)]
    torch.manual_seed(args.seed)
    untrained = SparseAutoencoder(28 * 28, args.hidden).to(args.device)
    untrained.rho, untrained.penalty_weight = args.rho, args.penalty_weight
    save = save_sweep if args.sweep else save_run
    save(untrained, *loaders, args, folder, about, test_digits)


def save_run(untrained, train_dataloader, test_dataloader, args, folder, about, test_digits):
    """Trains a model; saves it, the assignment's figures and, with `extras/`, the PDF and the page. Titles say what was
    trained on what, which is `about`."""
    images, _ = train_dataloader.dataset[:64]
    show(make_grid(list(images), 16), folder / "mnist.png", f"Training images ({test_digits.source})")
    model = copy.deepcopy(untrained)
    losses = train(model, train_dataloader, args.epochs, args.lr, test_dataloader)
    print(f"Test Loss: {losses[1][-1]:.4f}")
    utils.save({name: tensor.cpu() for name, tensor in model.state_dict().items()}, folder / "model.pt")
    (images, labels), (test_images, test_labels) = train_dataloader.dataset.tensors, test_dataloader.dataset.tensors
    title = "Test images, each beside its reconstruction; white is 1, where a Tanh ends"
    before = f"\n({test_digits.source}, untrained)"
    show_reconstructions(untrained, test_images[:64], folder / "reconstructions_untrained.png", title + before)
    show_reconstructions(model, test_images[:64], folder / "reconstructions.png", f"{title}\n({about})")
    title = "The 100 training images at which node {} is most active{}"
    show_top_images(untrained, images, 0, folder / "top100_untrained.png", title.format(0, before))
    for node in range(min(10, args.hidden)):
        path = folder / f"top100_node{node}.png"
        show_top_images(model, images, node, path, title.format(node, f"\n({about})"))
    if args.hidden > 10:
        print(f"The top 100 are shown of the first 10 of {args.hidden} nodes")
    try:
        from extras import latent, nodes, page
    except ImportError:
        print("Without extras/ there is no codelet7.pdf")
        return
    data = images, labels, test_images, test_labels
    published = PUBLISHED if about == "MNIST, 20 epochs" else {}
    utils.save_all(folder, "report.txt", *nodes.report(untrained, model, *data, *losses, published, about))
    utils.save_page(folder, page.put, "sparse", page.sparse_entry(model, MEAN, STD, about), test_digits, latent.COLOURS)


def save_sweep(untrained, train_dataloader, test_dataloader, args, folder, about, test_digits):
    """Trains copies of a model with each weight of `args.sweep`, side by side; saves what their comparison shows."""
    from extras import latent, page, sweep

    models = sweep.train(untrained, args.sweep, train_dataloader, args.epochs, args.lr)
    (images, labels), (test_images, _) = train_dataloader.dataset.tensors, test_dataloader.dataset.tensors
    rows = sweep.measure([untrained, *models], images, labels, test_images)
    utils.save_all(folder, "sparsity.txt", *sweep.report(rows, about))
    errors, means = ([getattr(row, name) for row in rows[1:]] for name in ("test_error", "mean"))
    entry = page.sweep_entry(models, args.sweep, errors, means, MEAN, STD)
    utils.save_page(folder, page.put, "sweep", entry, test_digits, latent.COLOURS)


if __name__ == "__main__":
    utils.run(main, "codelet7.py")
