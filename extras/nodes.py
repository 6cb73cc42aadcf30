"""What hidden nodes learn, beside the same nodes before training: measures, sentences, the pages of codelet7.pdf."""

import textwrap
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F
from torchvision.utils import make_grid

TWICE = 2  # a factor that is no chance: so much more active for one digit than for any other, so near to rho
CLEAR = 0.4  # hardly an untrained node reaches it: correlations from here on are named, means so far apart on and off
LITTLE = 0.01  # the pictures' two decimals just show it: less is no difference, and no part of the loss
A4, DRAWN = (8.27, 11.69), 10  # inches; nodes that have room on a page
MORE = "a slant to the right", "much ink", "wide digits", "tall digits", "ink in the upper half", "ink in the left half"
LESS = (
    "a slant to the left",
    "little ink",
    "narrow digits",
    "low digits",
    "ink in the lower half",
    "ink in the right half",
)


class Node(NamedTuple):
    """What a hidden node does, over all training images."""

    mean: float  # activation
    by_digit: list  # mean activation for 0s, 1s, ... 9s
    digit: float  # share of the activation's variance that the digit explains
    shape: float  # and that the six properties of shape, `MORE` or `LESS`, explain together
    goes_with: list  # correlation of the activation with each of these
    alike: list  # correlation of what it paints with each digit's mean image, the mean of all images taken off
    paints: np.ndarray  # (28, 28), its decoder weights

    @property
    def apart(self):
        return max(self.by_digit) - min(self.by_digit)

    @property
    def stands(self):
        """Whether it stands for a digit: is more than `TWICE` as active for it as for any other."""
        return self.apart >= LITTLE and max(self.by_digit) > TWICE * sorted(self.by_digit)[-2]

    def near(self, end):
        """The digits whose mean is nearer to the `end`, max or min, of all than to the middle; the nearest first."""
        off = [abs(mean - end(self.by_digit)) for mean in self.by_digit]
        return [digit for digit in sorted(range(10), key=off.__getitem__) if off[digit] <= self.apart / 4]


def correlations(a, b):
    """Pearson's, of each column of `a` `(N, p)` with each of `b` `(N, q)`: `(p, q)`, 0 for a constant column."""
    a, b = (columns.cpu().double() - columns.cpu().double().mean(dim=0) for columns in (a, b))  # MPS has no float64
    return a.T @ b / torch.outer(a.norm(dim=0), b.norm(dim=0)).clamp(min=1e-9)


def explained(hidden, what):
    """Share R^2 of each activation's variance that a linear regression on the columns of `what` explains."""
    links = correlations(what, hidden)
    return (links * (torch.linalg.pinv(correlations(what, what), rtol=1e-6, hermitian=True) @ links)).sum(dim=0)


def digit_means(values, labels):
    """The mean row of each digit's rows: `(10, columns)`."""
    one_hot = F.one_hot(labels, 10).to(values)
    return one_hot.T @ values / one_hot.sum(dim=0).clamp(min=1)[:, None]


def shape(images):
    """Slant, ink, width, height (of what is half white), share of the ink in the upper and the left half: `(N, 6)`."""
    place, rows = torch.arange(28.0, device=images.device), []
    for ink in images[:, 0].sub(images.min()).div(images.max() - images.min()).split(2_000):
        total = ink.sum(dim=(1, 2)).clamp(min=1e-9)
        down, across = (ink.sum(dim=dim) / total[:, None] for dim in (2, 1))
        y, x = (place - (shares @ place)[:, None] for shares in (down, across))  # from the centre of mass
        slant = torch.einsum("nij,ni,nj->n", ink, -y, x) / torch.einsum("nij,ni->n", ink, y**2).clamp(min=1e-9)
        size = [(ink.amax(dim=dim) > 0.5).sum(dim=1) for dim in (1, 2)]
        rows.append(torch.stack((slant, total, *size, down[:, :14].sum(dim=1), across[:, :14].sum(dim=1)), dim=1))
    return torch.cat(rows)


@torch.no_grad()
def examine(model, images, labels, properties):
    """A `Node` for each hidden node, from images `(N, 784)`, whose `shape` are `properties`."""
    hidden, paints = model.encoder(images), model.decoder[0].weight.cpu()
    alike = correlations(paints, (digit_means(images, labels) - images.mean(dim=0)).T)
    shares = (explained(hidden, what) for what in (F.one_hot(labels, 10), properties))
    columns = (hidden.mean(dim=0), digit_means(hidden, labels).T, *shares, correlations(hidden, properties), alike)
    return [
        Node(*row) for row in zip(*(column.tolist() for column in columns), paints.T.reshape(-1, 28, 28).numpy(), strict=True)
    ]


def recognised(codes, labels, test_codes, test_labels):
    """The share of the test images whose code is nearest to the mean code of their own digit."""
    means = digit_means(codes, labels)
    return ((test_codes @ means.T - means.square().sum(dim=1) / 2).argmax(dim=1) == test_labels).float().mean().item()


def principal_copies(images, others, count):
    """Copies of `others` `(M, 784)` by `count` principal components of `images`, cut to the range of a Tanh."""
    mean, axes = images.mean(dim=0), torch.linalg.eigh(torch.cov(images.T).cpu().double()).eigenvectors[:, -count:]
    return (mean + (others - mean) @ axes.to(images) @ axes.T.to(images)).clamp(-1, 1)


def errors(copies, images, labels):
    """The squared error of the copies of images `(N, 784)`, that of each digit's: `(10,)`."""
    return digit_means((copies - images).square().mean(dim=1, keepdim=True), labels)[:, 0]


def costs(model, images, labels):
    """By how much the `errors` of each digit rise with one of the first nodes held at its mean: lists of ten."""
    hidden = model.encoder(images)
    others = (1 - torch.eye(hidden.shape[1])[:DRAWN]).to(hidden)
    copies = (model.decoder(hidden * kept + hidden.mean(dim=0) * (1 - kept)) for kept in others)
    return [(errors(copy, images, labels) - errors(model.decoder(hidden), images, labels)).tolist() for copy in copies]


def learned(nodes, before, right, error, average):
    """What was learned, in sentences. `right` is what `recognised` gives before and after training, `error` the mean
    squared error, `average` that of answering with the average image."""
    alone, split = sum(node.stands for node in nodes), sum(not node.stands and node.apart >= CLEAR for node in nodes)
    stand = f"{alone or 'No'} {f'of {len(nodes)} nodes stand' if alone > 1 else 'node stands'} for a digit."
    many = "Each" if split == len(nodes) else f"{split or 'None'} of {len(nodes)}"
    many = f" {many} {'are' if 1 < split < len(nodes) else 'is'} on for some digits and off for others."
    text = f"A digit is {'recognised' if right[1] > 0.5 else 'hardly recognised'} by the pattern of all"
    text = text if right[1] > right[0] else "Training has not made digits easier to recognise"
    now, old = ([sum(node[place] for node in some) / len(some) for place in (2, 3)] for some in (nodes, before))
    why = "Training diverged" if error[1] >= error[0] else "Training has only begun"
    why += f": the squared error, {error[1]:.3f}, is not below the {average:.3f} of the average image."
    return [
        *([why] if error[1] >= average else []),
        stand
        + many * (split > 0 or not alone)
        + (
            f" {text}: the nearest of the ten average patterns is the right one for {right[1]:.0%} of the test images. "
            f"Before training it is for {right[0]:.0%}."
        ),
        (
            f"Activations vary from image to image. The digit explains {now[0]:.0%} of this variance; slant, ink, width, "
            f"height and place of the ink explain {now[1]:.0%}. Before training it is {old[0]:.0%} and {old[1]:.0%}."
        ),
    ]


def is_it_sparse(means, before, rho, weight, share):
    """Whether the mean activations are where the penalty wants them; `share` is its weighted share of the loss."""
    near = sum(mean <= TWICE * rho for mean in means)
    answer = "Yes" if near == len(means) else f"For {near} of {len(means)} nodes" if near else "No"
    felt = ", too little to be felt" if share < LITTLE and near < len(means) else ""
    return (
        f"Is it sparse? {answer}. The penalty asks for a mean activation of {rho:g}; the nodes are at {min(means):.2f} "
        f"to {max(means):.2f}, before training {min(before):.2f} to {max(before):.2f}. Its weight of {weight:g} makes it "
        f"{share:.{0 if share >= LITTLE else 2}%} of the loss{felt}."
    )


def describe(node):
    """For which digits a node is active, and what it paints."""
    if node.apart < LITTLE:
        return f"It tells no digit from another: its mean activation is {node.mean:.2f}."
    on, off = (", ".join(map(str, node.near(end))) for end in (max, min))
    words, order = (
        ("on", "off") if node.apart >= CLEAR else ("most active", "least"),
        sorted(range(10), key=lambda d: -abs(node.alike[d])),
    )
    like, unlike = (", ".join(f"{d}s" for d in order if sign * node.alike[d] >= CLEAR) for sign in (1, -1))
    ink = [f"puts ink where {like} have more of it than the average image"] * bool(like)
    ink += [f"takes ink away where {unlike} have {'it' if like else 'more than the average image'}"] * bool(unlike)
    return f"It is {words[0]} for {on} and {words[1]} for {off}." + f" It {' and '.join(ink)}." * bool(ink)


def choose(nodes, rises):
    """Up to three nodes to look at, a dict by number of the reason; `rises` is what `costs` gives."""
    digit, form = (max(range(len(rises)), key=lambda number: nodes[number][place]) for place in (2, 3))
    dear = max(range(len(rises)), key=lambda number: max(rises[number]))
    trait = max(range(6), key=lambda place: abs(nodes[form].goes_with[place]))
    r, rise = nodes[form].goes_with[trait], max(rises[dear])
    return {
        form: f"Most explained by shape, {nodes[form].shape:.0%}: it goes with {(MORE, LESS)[r < 0][trait]}, r = {abs(r):.2f}.",
        digit: f"Most explained by the digit: {nodes[digit].digit:.0%} of its variance.",
        dear: f"Missed most: held at its mean, {rises[dear].index(rise)}s come back worse by {rise:.3f}.",
    }


def coming_back(error, returns):
    """How the test images come back, untrained, by the model, by components, unchanged: the squared errors, and how
    often a digit (row) looks most like the average of each (column)."""
    mixed = [(share, d, other) for d, row in enumerate(returns[1]) for other, share in enumerate(row) if d != other]
    share, digit, other = max(mixed, key=lambda mix: mix[0])
    _, _, cut, same = (f"{kind[digit][other]:.0%}" for kind in returns)
    return (
        f"The squared error of the copies of the test images is {error[1]:.3f}, before training {error[0]:.3f}. As many "
        f"principal components, the best linear code, have {error[2]:.3f}. What is mixed up most: {share:.0%} of the "
        f"{digit}s come back most like the average {other}. Of the components' copies {cut} do, of the images {same}."
    )


def page(title, *paragraphs):
    """An A4 page."""
    figure, top = Figure(figsize=A4), 0.925
    figure.text(0.07, 0.965, title, fontsize=14, va="top")
    for lines in (textwrap.wrap(paragraph, 92) for paragraph in paragraphs):
        figure.text(0.07, top, "\n".join(lines), va="top", fontsize=10, linespacing=1.35)
        top -= 0.018 * len(lines) + 0.01
    return figure


def draw(figure, place, images, columns):
    """Draws images `(N, 784)` in columns at a place (left, bottom, width, height)."""
    axis, low, high = figure.add_axes(place, anchor="N"), images.min().item(), images.max().item()
    grid = make_grid(images.view(-1, 1, 28, 28).cpu(), columns, pad_value=low + 0.13 * (high - low))[0]
    axis.imshow(grid.numpy(), cmap="gray", vmin=low, vmax=high)
    axis.axis("off")


def heat_map(axis, nodes, title, size=7.0):
    """Draws the mean activation by digit of nodes, a dict by number, a row each, and left of it what a node paints."""
    axis.imshow([node.by_digit for node in nodes.values()], cmap="viridis", vmin=0, vmax=1)
    for row, node in enumerate(nodes.values()):
        most, extent = abs(node.paints).max() or 1, (-1.7, -0.7, row + 0.48, row - 0.48)
        axis.imshow(node.paints, cmap="gray", vmin=-most, vmax=most, extent=extent)
        for digit, mean in enumerate(node.by_digit):
            color = "black" if mean > 0.6 else "white"
            axis.text(digit, row, f"{mean:.2f}", ha="center", va="center", fontsize=size, color=color)
    axis.set(xlim=(-1.8, 9.5), ylim=(len(nodes) - 0.5, -0.5), ylabel="node", xlabel="digit")
    axis.set_xticks([-1.2, *range(10)], ["paints", *range(10)])
    axis.set_yticks(range(len(nodes)), list(nodes))
    axis.set_title(title, fontsize=size + 3)
    axis.tick_params(length=0, labelsize=size + 1)
    axis.spines[:].set_visible(False)


def draw_losses(axis, losses, test_losses, published):
    """Draws the losses by epoch, the first and the last train loss in numbers, beside the `published` ones."""
    axis.plot(range(1, len(losses) + 1), losses, "o-", markersize=4, label="train loss")
    axis.plot(range(1, len(losses) + 1), test_losses, "^:", markersize=4, label="test loss")
    if published:
        axis.plot(*zip(*published.items(), strict=True), "rx", markersize=10, label="published train loss")
    for epoch in {1, len(losses)}:
        text = f"{losses[epoch - 1]:.4f}" + (f"\npublished {published[epoch]:.4f}" if epoch in published else "")
        style = {"textcoords": "offset points", "ha": "left" if epoch == 1 else "right"}
        axis.annotate(text, (epoch, losses[epoch - 1]), (8, 4) if epoch == 1 else (0, 14), **style)
    axis.set(xlabel="epoch", ylabel="squared error + weighted penalty")
    axis.margins(0.1, 0.15)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.legend()


@torch.no_grad()
def report(untrained, model, images, labels, test_images, test_labels, losses, test_losses, published, about):
    """What `codelet7.py` prints, a list of sentences; its figures, a dict by file name; and its PDF's pages, a list."""
    flat, test, properties = images.flatten(1), test_images.flatten(1), shape(images)
    before, nodes = (examine(one, flat, labels, properties) for one in (untrained, model))
    right = [recognised(one.encoder(flat), labels, one.encoder(test), test_labels) for one in (untrained, model)]
    kinds = (untrained(test)[1], model(test)[1], principal_copies(flat, test, len(nodes)), test)
    error, averages = [(kind - test).square().mean().item() for kind in kinds], digit_means(flat, labels)
    like = (correlations(kind.T, averages.T).argmax(dim=1).to(labels) for kind in kinds)
    returns = [digit_means(F.one_hot(one, 10).float(), test_labels).tolist() for one in like]
    penalty = model.penalty_weight * model.batched_sparsity_penalty(model.encoder(test)).item()
    means, old = ([node.mean for node in some] for some in (nodes, before))
    sparse = is_it_sparse(means, old, model.rho, model.penalty_weight, penalty / (error[1] + penalty))
    said = learned(nodes, before, right, error, (test - flat.mean(dim=0)).square().mean().item())
    rises, rows = costs(model, test, test_labels), min(DRAWN, len(nodes))
    said += [f"Of {len(nodes)} nodes the first {rows} are drawn."] * (len(nodes) > rows)
    seen = "\n".join(textwrap.wrap(f"{about}: {said[-2 if len(said) > 2 else 0].split(' A digit')[0]}", 100))

    facts = f"Model: {flat.shape[1]} - {len(nodes)} - sigmoid - {flat.shape[1]} - tanh. Loss: mean squared error + "
    facts += (
        f"{model.penalty_weight:g} x sparsity penalty with rho = {model.rho:g}. Last test loss: {test_losses[-1]:.4f}."
    )
    loss, picture = Figure(figsize=(7, 4.5), layout="constrained"), Figure(figsize=(11, 2.2 + 0.41 * rows))
    first, second = (
        page("A sparse autoencoder", f"Trained on {about}.", facts, sparse),
        page("What the nodes learned", *said),
    )
    for axis in (loss.subplots(), first.add_axes((0.11, 0.46, 0.82, 0.3))):
        draw_losses(axis, losses, test_losses, published)
        axis.set_title(f"Loss, {about}", fontsize=10)
    bars = first.add_axes((0.11, 0.08, 0.82, 0.3), xlabel="node", ylabel="mean activation", ylim=(0, 1))
    bars.bar(range(len(nodes)), means, label="trained")
    bars.bar(range(len(nodes)), old, color="none", edgecolor="black", label="untrained")
    bars.axhline(model.rho, color="tab:red", linestyle="--", label=f"rho = {model.rho:g}, what the penalty asks for")
    bars.legend(ncols=3)
    picture.suptitle(seen)
    for figure, bottom, height, size in ((picture, 0.1, 0.73, 7.5), (second, 0.3, 0.35, 5.5)):
        for left, some, name in ((0.06, before, "before"), (0.54, nodes, "after")):
            title = f"Mean activation by digit, {name} training"
            heat_map(figure.add_axes((left, bottom, 0.44, height)), dict(enumerate(some[:DRAWN])), title, size)
    third, pages = page("Nodes looked at"), []
    for top, (number, why) in zip((0.9, 0.6, 0.3), sorted(choose(nodes, rises).items()), strict=False):
        order = model.encoder(flat)[:, number].argsort(descending=True)
        third.text(
            0.07, top, textwrap.fill(f"Node {number}. {why} {describe(nodes[number])}", 92), va="top", linespacing=1.35
        )
        heat_map(third.add_axes((0.07, top - 0.13, 0.86, 0.06)), {number: nodes[number]}, "", 9)
        for bottom, which in ((top - 0.18, order[:10]), (top - 0.25, order[-10:])):
            draw(third, (0.15, bottom, 0.7, 0.07), flat[which], 10)
        pages.append((number, order[:100]))
    fourth, fifth = (
        page("Test images, each beside its copy", about),
        page("The 100 training images at which a node is most active"),
    )
    draw(fourth, (0.07, 0.03, 0.86, 0.88), torch.stack((test[:64], kinds[1][:64].clamp(min=test.min())), dim=1), 8)
    for bottom, (number, which) in zip((0.5, 0.03), pages, strict=False):
        draw(fifth, (0.2, bottom, 0.6, 0.42), flat[which], 10)
        fifth.text(0.5, bottom + 0.43, f"Node {number}. {describe(nodes[number])[:90]}", ha="center")
    sixth = page("How the test images come back", coming_back(error, returns))
    bars = sixth.add_axes((0.11, 0.45, 0.82, 0.3), xlabel="digit", ylabel="mean squared error", xticks=range(10))
    for place, name in enumerate(("before training", "this model", "principal components")):
        by_digit = errors(kinds[place], test, test_labels).tolist()
        bars.bar([digit + 0.27 * (place - 1) for digit in range(10)], by_digit, 0.25, label=name)
    bars.legend(ncols=3)
    table = [" node   mean  before   digit explains  before   shape explains  before   goes most with"]
    seventh = page("All nodes in numbers")
    return (
        [*said, sparse],
        {"nodes.png": picture, "loss.png": loss},
        [first, second, third, fourth, fifth, sixth, seventh],
    )
