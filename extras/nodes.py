"""What hidden nodes learn, beside the same nodes before training: measures, sentences, the pages of codelet7.pdf."""

import textwrap
from collections import namedtuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F
from torchvision.utils import make_grid

TWICE = 2  # a factor that is no chance: so much more active for one digit than for any other, so near to rho
CLEAR = 0.4  # few untrained nodes reach it: correlations from here on are named, means so far apart on and off
LITTLE = 0.01  # the pictures' two decimals just show it: less is no difference, and no part of the loss
A4, DRAWN = (8.27, 11.69), 10  # inches; nodes that have room on a page
MORE = "a slant to the right", "much ink", "wide digits", "tall digits", "ink in the upper half", "ink at the left"
LESS = "a slant to the left", "little ink", "narrow digits", "low digits", "ink in the lower half", "ink at the right"
EXPLAINED = "At the right of a row: the share of the activation's variance that digit and shape explain, each alone."
HOW_TO_READ = (
    "A row is a node. Left: what it paints, white where it puts ink, black where it takes ink away. Middle: its mean "
    "activation for each digit, from 0 to 1. It is on for those in the upper quarter of the row's range, and off for "
    f"those in the lower. {EXPLAINED} Shown are {{}} of {{}} nodes."
)

# Of a hidden node, over all training images: its mean activation, the ten for 0s to 9s, the share of its variance that
# digit and shape explain, its correlation with the six properties of shape, that of what it paints with each digit's
# mean image (less the mean of all), and what it paints: its decoder weights, an array (28, 28).
Node = namedtuple("Node", "mean by_digit digit shape goes_with alike paints")


def correlations(a, b):
    """Pearson's, of each column of `a` `(N, p)` with each of `b` `(N, q)`: `(p, q)`, 0 for a constant column."""
    a, b = (columns.cpu().double() - columns.cpu().double().mean(dim=0) for columns in (a, b))  # MPS has no float64
    return a.T @ b / torch.outer(a.norm(dim=0), b.norm(dim=0)).clamp(min=1e-9)


def digit_means(values, labels):
    """The mean row of each digit's rows: `(10, columns)`."""
    return torch.stack([values[labels == digit].mean(dim=0) for digit in range(10)])


def shape(images):
    """Slant, ink, width, height (of what is half white), share of the ink in the upper and the left half: `(N, 6)`."""
    ink, place = (images - images.min()) / (images.max() - images.min()), torch.arange(28.0, device=images.device)
    total = ink.sum(dim=(1, 2, 3)).clamp(min=1e-9)
    down, across = (ink.sum(dim=(1, dim)) / total[:, None] for dim in (3, 2))
    y, x = (place - (shares @ place)[:, None] for shares in (down, across))  # from the centre of mass
    slant = torch.einsum("ncij,ni,nj->n", ink, -y, x) / (down * y**2).sum(dim=1).mul(total).clamp(min=1e-9)
    size = [(ink.amax(dim=(1, dim)) > 0.5).sum(dim=1) for dim in (2, 3)]
    return torch.stack((slant, total, *size, down[:, :14].sum(dim=1), across[:, :14].sum(dim=1)), dim=1)


@torch.no_grad()
def examine(model, images, labels, properties):
    """A `Node` for each hidden node, from images `(N, 784)`, whose `shape` are `properties`."""
    hidden, paints = model.encoder(images), model.decoder[0].weight.cpu()
    alike = correlations(paints, (digit_means(images, labels) - images.mean(dim=0)).T)
    columns = [hidden.mean(dim=0), digit_means(hidden, labels).T]
    for what in (F.one_hot(labels, 10), properties):  # R^2 of linear regressions
        links, among = correlations(what, hidden), correlations(what, what)
        columns.append((links * (torch.linalg.pinv(among, rtol=1e-6, hermitian=True) @ links)).sum(dim=0))
    lists = (column.tolist() for column in (*columns, correlations(hidden, properties), alike))
    return [Node(*row) for row in zip(*lists, paints.T.view(-1, 28, 28).numpy(), strict=True)]


def recognised(codes, labels, test_codes, test_labels):
    """The share of the test images whose code is nearest to the mean code of their own digit."""
    nearest = torch.cdist(test_codes, digit_means(codes, labels)).argmin(dim=1)
    return (nearest == test_labels).float().mean().item()


def costs(model, images, labels):
    """By how much the squared error of each digit's images rises with each of the first nodes held at its mean."""
    hidden = model.encoder(images)
    others = 1 - torch.eye(min(DRAWN, hidden.shape[1]), hidden.shape[1]).to(hidden)
    held = (hidden, *(hidden * kept + hidden.mean(dim=0) * (1 - kept) for kept in others))
    errors = torch.stack([digit_means((model.decoder(some) - images).square(), labels).mean(dim=1) for some in held])
    return (errors[1:] - errors[0]).tolist()


def stands(node):
    """Whether a node stands for a digit: is more than `TWICE` as active for it as for any other."""
    return max(node.by_digit) > max(LITTLE, TWICE * sorted(node.by_digit)[-2])


def learned(nodes, before, right, error, average):
    """What was learned. `right` and `error` hold before and after training, `average` is the average image's error."""
    alone, split = sum(map(stands, nodes)), sum(np.ptp(node.by_digit) >= CLEAR and not stands(node) for node in nodes)
    stand = "No node stands for a digit. Each is on for some digits and off for others."
    if split < len(nodes):
        stand = f"{alone or 'None'} of {len(nodes)} nodes stand{'s' * (alone == 1)} for a digit, over twice as active "
        stand += f"for it as for any other. On for some digits and off for others: {split or 'none'}."
    text = f"A digit is {'' if right[1] > 0.5 else 'hardly '}recognised by the pattern of all nodes"
    text = text if right[1] > right[0] else "Training has not made the digits easier to recognise"
    text += f": the nearest of the ten average patterns is the right one for {right[1]:.0%} of the test images. "
    now, old = ([sum(node[place] for node in some) / len(some) for place in (2, 3)] for some in (nodes, before))
    vary = f"Activations vary from image to image. On average over the nodes the digit alone explains {now[0]:.0%} of "
    vary += f"this variance; slant, ink, width, height and place of the ink alone explain {now[1]:.0%}. "
    vary += f"Before training: {old[0]:.0%} and {old[1]:.0%}."
    why = "Training diverged" if error[1] >= error[0] else "Training has only begun"
    why += f": the squared error, {error[1]:.3f}, is not below that of the average image, {average:.3f}."
    return [why] if error[1] >= average else [stand, f"{text}Before training it is for {right[0]:.0%}.", vary]


def is_it_sparse(means, before, rho, weight, share):
    """Whether the mean activations are where the penalty wants them; `share` is its weighted share of the loss."""
    near = sum(mean <= min(TWICE * rho, 0.5) for mean in means)
    answer = "Yes" if near == len(means) else f"For {near} of {len(means)} nodes" if near else "No"
    felt = ", too little to be felt" if share < LITTLE and near < len(means) else ""
    now, old = (f"{min(some):.2f} to {max(some):.2f}" for some in (means, before))
    text = f"Is it sparse? {answer}. The penalty asks for a mean activation of {rho:g}; the nodes are at {now}, before "
    return f"{text}training at {old}. Its weight of {weight:g} makes it {share:.2%} of the loss{felt}."


def describe(node):
    """For which digits a node is active, and what it paints."""
    means, alike, apart = node.by_digit, node.alike, np.ptp(node.by_digit)
    if apart < LITTLE:
        return f"It tells no digit from another: its mean activation is {node.mean:.2f}."
    on = ", ".join(f"{digit}" for digit in np.argsort(means)[::-1] if means[digit] >= max(means) - apart / 4)
    off = ", ".join(f"{digit}" for digit in np.argsort(means) if means[digit] <= min(means) + apart / 4)
    words = ("on", "off") if apart >= CLEAR else ("most active", "least")
    like, unlike = (", ".join(f"{d}s" for d in np.argsort(alike)[::-s] if s * alike[d] >= CLEAR) for s in (1, -1))
    ink = [f"puts ink where {like} have more ink than the average image"] * bool(like)
    ink += [f"takes ink away where {unlike} have {'it' if like else 'more ink than the average image'}"] * bool(unlike)
    return f"It is {words[0]} for {on} and {words[1]} for {off}." + f" It {' and '.join(ink)}." * bool(ink)


def choose(nodes, rises):
    """Up to three nodes to look at, a dict by number of the reason; `rises` is what `costs` gives."""
    digit, form = (max(range(len(rises)), key=lambda number: nodes[number][place]) for place in (2, 3))
    dear = max(range(len(rises)), key=lambda number: max(rises[number]))
    trait, rise = np.argmax(np.abs(nodes[form].goes_with)), max(rises[dear])
    name, r = (MORE, LESS)[nodes[form].goes_with[trait] < 0][trait], abs(nodes[form].goes_with[trait])
    best, fixed = f"Of {len(rises)} nodes, {{}} explains this one best:", "with its activation fixed at its mean,"
    return {
        form: f"{best.format('shape')} {nodes[form].shape:.0%}, mostly {name}, correlation {r:.2f}.",
        digit: f"{best.format('the digit')} {nodes[digit].digit:.0%} of its variance.",
        dear: f"It is missed most: {fixed} the squared error of {rises[dear].index(rise)}s changes by {rise:+.3f}.",
    }


def coming_back(error, by_digit, returns):
    """How test images come back: the errors before and after training and of components, the second's by digit, and how
    often digits (rows) look most like each average (columns): after training, of components, of the images."""
    best, worst, mixed = np.argmin(by_digit), np.argmax(by_digit), np.array(returns[0]) * (1 - np.eye(10))
    digit, other = np.unravel_index(mixed.argmax(), mixed.shape)
    share, cut, same = (f"{kind[digit][other]:.0%}" for kind in returns)
    return (
        f"The squared error is {error[1]:.3f}, from {by_digit[best]:.2f} for {best}s to {by_digit[worst]:.2f} for "
        f"{worst}s; before training it is {error[0]:.3f}. With as many principal components, the best linear code, "
        f"clipped to the Tanh's range, it is {error[2]:.3f}. {share} of the {digit}s come back most like the average "
        f"{other} (with the principal components {cut}; of the {digit}s themselves {same} are most like it)."
    )


def table(nodes, before):
    """The first nodes in numbers, a line each."""
    lines = [
        "       mean activation   variance explained",
        "node  trained  untrained   digit    shape      goes most with (r)               paints most like (r)",
    ]
    for number, (node, old) in enumerate(zip(nodes[:50], before, strict=False)):
        trait = np.argmax(np.abs(node.goes_with))
        name = f"{(MORE, LESS)[node.goes_with[trait] < 0][trait]} ({abs(node.goes_with[trait]):.2f})"
        numbers = f"{number:4}{node.mean:9.2f}{old.mean:11.2f}{node.digit:11.0%}{node.shape:9.0%}"
        lines.append(f"{numbers}   {name:33}{np.argmax(node.alike)}s ({max(node.alike):.2f})")
    return "\n".join([*lines, *[f"... and {len(nodes) - 50} more"] * (len(nodes) > 50)])


def page(title, *paragraphs):
    """An A4 page."""
    figure = Figure(figsize=A4)
    figure.text(0.07, 0.965, title, fontsize=14, va="top")
    figure.text(0.07, 0.925, "\n\n".join(textwrap.fill(some, 92) for some in paragraphs), va="top", linespacing=1.35)
    return figure


def draw(figure, place, images, columns):
    """Draws images `(N, 784)` in columns at a place (left, bottom, width, height)."""
    axis = figure.add_axes(place, anchor="N")
    grid = make_grid(images.view(-1, 1, 28, 28), columns, normalize=True, pad_value=0.13)[0]
    axis.imshow(grid.cpu().numpy(), cmap="gray")
    axis.axis("off")


def heat_map(axis, nodes, title, size=7.0):
    """Draws nodes, a dict by number, a row each: what it paints, its mean activation by digit, what explains it."""
    axis.imshow([node.by_digit for node in nodes.values()], cmap="viridis", vmin=0, vmax=1)
    for row, node in enumerate(nodes.values()):
        most, extent = abs(node.paints).max() or 1, (-1.7, -0.7, row + 0.48, row - 0.48)
        axis.imshow(node.paints, cmap="gray", vmin=-most, vmax=most, extent=extent)
        cells = [f"{mean:.2f}" for mean in node.by_digit] + [f"{node.digit:.0%}", f"{node.shape:.0%}"]
        for place, (text, mean) in enumerate(zip(cells, [*node.by_digit, 1, 1], strict=True)):
            axis.text(place, row, text, ha="center", va="center", fontsize=size, color=("white", "black")[mean > 0.6])
    axis.set(xlim=(-1.8, 11.5), ylim=(len(nodes) - 0.5, -0.5), title=title)
    axis.set_xticks([-1.2, *range(12)], ["paints", *(f"{d}s" for d in range(10)), "by\ndigit", "by\nshape"])
    axis.set_yticks(range(len(nodes)), [f"node {number}" for number in nodes])
    axis.tick_params(length=0, labelsize=size)
    axis.spines[:].set_visible(False)


@torch.no_grad()
def report(untrained, model, images, labels, test_images, test_labels, losses, test_losses, published, about):
    """What `codelet7.py` prints, a list of sentences; its figures, a dict by file name, a PDF as a list of pages."""
    flat, test, properties = images.flatten(1), test_images.flatten(1), shape(images)
    before, nodes = (examine(one, flat, labels, properties) for one in (untrained, model))
    right = [recognised(one.encoder(flat), labels, one.encoder(test), test_labels) for one in (untrained, model)]
    mean, averages, hidden = flat.mean(dim=0), digit_means(flat, labels), model.encoder(flat)
    axes = torch.linalg.eigh(torch.cov(flat.T).cpu().double()).eigenvectors[:, -len(nodes) :].to(flat)
    kinds = untrained(test)[1], model(test)[1], (mean + (test - mean) @ axes @ axes.T).clamp(-1, 1), test
    errors = [(kind - test).square().mean(dim=1, keepdim=True) for kind in kinds]
    error, by_digit = [some.mean().item() for some in errors], [digit_means(some, test_labels)[:, 0] for some in errors]
    like = (F.one_hot(correlations(kind.T, averages.T).argmax(dim=1), 10).to(test) for kind in kinds[1:])
    back = coming_back(error, by_digit[1].tolist(), [digit_means(one, test_labels).tolist() for one in like])
    penalty = model.penalty_weight * model.batched_sparsity_penalty(model.encoder(test)).item()
    means = [[node.mean for node in some] for some in (nodes, before)]
    sparse = is_it_sparse(*means, model.rho, model.penalty_weight, penalty / (error[1] + penalty))
    said = learned(nodes, before, right, error, (test - mean).square().mean().item())
    first = page("A sparse autoencoder", f"{about}. {len(flat):,} images, {len(nodes)} hidden nodes.", sparse)
    second = page("What the nodes learned", *said, HOW_TO_READ.format(len(nodes[:DRAWN]), len(nodes)))
    third = page("Nodes, with the ten images that activate each most and least")
    fourth, fifth = (
        page("Test images, each beside its copy"),
        page("The 100 images that most activate a node"),
    )
    sixth, seventh = page("How the test images come back", back), page("All nodes in numbers")
    loss, picture = Figure((7, 4.5), layout="constrained"), Figure((13, 1.6 + 0.43 * len(nodes[:DRAWN])))
    for axis in (loss.subplots(), first.add_axes((0.11, 0.45, 0.82, 0.33))):
        curves = dict(enumerate(losses, 1)), dict(enumerate(test_losses, 1)), published
        for curve, style, name in zip(curves, ("o-", "^:", "rx"), ("train", "test", "published train"), strict=True):
            ends = " to ".join(f"{curve[epoch]:.4f}" for epoch in sorted({*list(curve)[:1], *list(curve)[-1:]}))
            axis.plot(list(curve), list(curve.values()), style, label=ends and f"{name} loss: {ends}")
        axis.set(title=textwrap.fill(f"Loss, {about}", 60), xlabel="epoch", ylabel="squared error + weighted penalty")
        axis.set_xticks(np.unique(np.linspace(1, len(losses), 6).round()))
        axis.legend()
    small = first.add_axes((0.11, 0.08, 0.82, 0.25), xlabel="node", ylabel="mean activation", ylim=(-0.03, 1.03))
    small.plot(np.transpose(means), "o", label=("trained", "untrained"))
    small.axhline(model.rho, color="red", linestyle="--", label=f"rho = {model.rho:g}, what the penalty asks for")
    small.legend(ncols=3)
    picture.suptitle(f"{said[0]}\n({about})")
    picture.text(0.5, 0.02, EXPLAINED, ha="center")
    for number, (some, name) in enumerate(((before, "before"), (nodes, "after"))):
        shown, title = dict(enumerate(some[:DRAWN])), f"Mean activation by digit, {name} training"
        heat_map(picture.add_axes((0.05 + 0.5 * number, 0.08, 0.44, 0.76)), shown, title)
        heat_map(second.add_axes((0.1, 0.37 - 0.335 * number, 0.84, 0.285)), shown, title)
    for place, (number, why) in enumerate(choose(nodes, costs(model, test, test_labels)).items()):
        top, order = 0.92 - 0.31 * place, hidden[:, number].argsort(descending=True)
        third.text(0.07, top, textwrap.fill(f"Node {number}. {why} {describe(nodes[number])}", 92), va="top")
        heat_map(third.add_axes((0.12, top - 0.13, 0.82, 0.06)), {number: nodes[number]}, "", 8)
        draw(third, (0.15, top - 0.26, 0.7, 0.1), flat[torch.cat((order[:10], order[-10:]))], 10)
        if place < 2:
            draw(fifth, (0.2, 0.49 - 0.47 * place, 0.6, 0.42), flat[order[:100]], 10)
            fifth.text(0.5, 0.92 - 0.47 * place, f"Node {number}. {why}", ha="center")
    draw(fourth, (0.07, 0.03, 0.86, 0.9), torch.stack((test[:64], kinds[1][:64]), dim=1).clamp(test.min(), 1), 8)
    bars = sixth.add_axes((0.11, 0.48, 0.82, 0.3), xlabel="digit", ylabel="squared error", xticks=range(10))
    names = "untrained", "trained", f"{len(nodes)} principal components, clipped to the Tanh's range"
    for place, name in enumerate(names):
        bars.bar(np.arange(10) + 0.27 * (place - 1), by_digit[place].cpu().numpy(), 0.25, label=name)
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1))
    seventh.text(0.07, 0.92, table(nodes, before), va="top", family="monospace", fontsize=8, linespacing=1.5)
    ours = {1: losses[0], len(losses): losses[-1]}
    ours, theirs = (", ".join(f"{one[at]:.4f} after epoch {at}" for at in one) for one in (ours, published))
    theirs = f" Published: {theirs}." * bool(published)
    said = [f"Train loss: {ours}.{theirs} Test loss: {test_losses[-1]:.4f}.", *said]
    pages = [first, second, third, fourth, fifth, sixth, seventh]
    return [*said, sparse], {"nodes.png": picture, "loss.png": loss, "codelet7.pdf": pages}
