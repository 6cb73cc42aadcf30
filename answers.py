"""What hidden nodes do, measured beside the untrained model and said in sentences; pages.py lays them out.

Nothing here trains, and no sentence is there whatever the numbers: each is chosen by what was measured.
"""

from typing import NamedTuple

import torch

import utils

TOP = 100  # images shown for a hidden node
FIRES = 0.5  # a node fires for an image at which its activation is above this
DEAD = 0.01  # a node whose activation has less than this standard deviation tells images apart no more
STRONG = 0.3  # correlations from here on are named
MOSTLY = 0.5  # shares from here on make a detector
CHANGED = 0.2  # difference, as a share of the larger number, from which on training is said to have changed it
DIGIT_NAME, SHAPE_NAME = "its strongest correlation with a digit", "its strongest correlation with a property of shape"
# What an image has more or less of, in words for a positive and a negative correlation with it.
TRAITS = [
    ("a slant to the right", "a slant to the left"),
    ("much ink", "little ink"),
    ("wide digits", "narrow digits"),
    ("tall digits", "low digits"),
    ("ink in the upper half", "ink in the lower half"),
    ("ink in the left half", "ink in the right half"),
    *((f"{digit}s", f"no {digit}s") for digit in range(10)),
]


# --- Measuring -------------------------------------------------------------------------------


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


def correlations(a, b):
    """Pearson's correlation of each column of `a` `(N, p)` with each of `b` `(N, q)`: `(p, q)`, on the CPU, 0 where a
    column is constant."""
    a, b = (columns.cpu().double() for columns in (a, b))  # some GPUs have no float64
    a, b = a - a.mean(dim=0), b - b.mean(dim=0)
    return (a.T @ b / torch.outer(a.norm(dim=0), b.norm(dim=0)).clamp(min=1e-9)).float()


def traits(images, labels):
    """What `TRAITS` names of each image, `(N, 16)`.

    Args:
        images: `(N, 1, 28, 28)`, of any brightness; the smallest value of all is no ink.
        labels: `(N,)`, 0 to 9.

    Returns:
        Columns: slant (columns to the right for a row upwards), ink (sum), width and height (rows and columns with a
        pixel above half), share of the ink in the upper and in the left half; then 1 or 0 for each of the ten digits.
    """
    low, high = images.min(), images.max()
    place = torch.arange(28.0, device=images.device)
    rows = []
    for block in images.split(2_000):
        ink = (block[:, 0] - low) / (high - low)
        total = ink.sum(dim=(1, 2)).clamp(min=1e-9)
        x = place - ((ink.sum(dim=1) @ place) / total)[:, None]  # of each column, from the centre of mass
        y = ((ink.sum(dim=2) @ place) / total)[:, None] - place  # of each row, upwards
        slant = torch.einsum("nij,ni,nj->n", ink, y, x) / torch.einsum("nij,ni->n", ink, y**2).clamp(min=1e-9)
        across, down = ((ink.amax(dim=dim) > 0.5).sum(dim=1) for dim in (1, 2))
        upper, left = ink[:, :14].sum(dim=(1, 2)) / total, ink[:, :, :14].sum(dim=(1, 2)) / total
        rows.append(torch.stack((slant, total, across, down, upper, left), dim=1))
    return torch.cat((torch.cat(rows), torch.nn.functional.one_hot(labels, 10)), dim=1)


class Node(NamedTuple):
    """What a hidden node does, over all images; the shares are in [0, 1]."""

    number: int
    mean: float  # activation, to be compared with rho
    spread: float  # standard deviation of the activation
    fires: float  # share of the images for which it fires
    digits: list  # how many of its top images show a 0, a 1, ... a 9
    recall: list  # share of all 0s, 1s, ... for which it fires
    precision: list  # share of 0s, 1s, ... among the images for which it fires
    goes_with: list  # correlation of its activation with each of `TRAITS`
    partners: list  # and with each node's
    adds: torch.Tensor  # (28, 28), what going from 0 to 1 adds to the picture, before the Tanh
    alike: list  # correlation of `adds` with each digit's mean image, the mean of all images taken off

    @property
    def digit(self):
        """The digit that its activation goes with most. Unlike a share of the images for which it fires, this also
        tells nodes apart that fire for nearly all or nearly no images."""
        return most(self.goes_with[-10:])

    @property
    def with_digit(self):
        """The correlation of its activation with that digit."""
        return self.goes_with[-10:][self.digit]


@torch.no_grad()
def examine(model, images, labels, properties):
    """Measures every hidden node; returns a list of `Node`.

    Args:
        images: `(N, 1, 28, 28)`.
        labels: `(N,)`, 0 to 9.
        properties: the `traits` of these images.
    """
    hidden = activations(model, images)
    one_hot = properties[:, -10:]
    fires = (hidden > FIRES).float()
    both = fires.T @ one_hot  # (hDims, 10) images
    # The others at their mean. Where the decoder has one layer, this is its weights.
    means = hidden.mean(dim=0)
    off, on = means.repeat(len(means), 1).fill_diagonal_(0), means.repeat(len(means), 1).fill_diagonal_(1)
    adds = model.decoder[:-1](on) - model.decoder[:-1](off)
    averages = digit_means(images, labels) - images.mean(dim=0).flatten()
    goes_with, partners = correlations(hidden, properties), correlations(hidden, hidden)
    alike = correlations(adds.T, averages.T)
    return [
        Node(
            number=node,
            mean=means[node].item(),
            spread=hidden[:, node].std(correction=0).item(),
            fires=fires[:, node].mean().item(),
            digits=labels[top_images(hidden, node)].bincount(minlength=10).tolist(),
            recall=(both[node] / one_hot.sum(dim=0).clamp(min=1)).tolist(),
            precision=(both[node] / both[node].sum().clamp(min=1)).tolist(),
            goes_with=goes_with[node].tolist(),
            partners=partners[node].tolist(),
            adds=adds[node].view(28, 28).cpu(),
            alike=alike[node].tolist(),
        )
        for node in range(len(means))
    ]


def digit_means(images, labels):
    """The mean image of each digit, `(10, 784)`; 0 for a digit that is not there."""
    one_hot = torch.nn.functional.one_hot(labels, 10).to(images.dtype)
    return one_hot.T @ images.flatten(1) / one_hot.sum(dim=0).clamp(min=1)[:, None]


def layers(model):
    """The layers of an autoencoder in a line, with how many numbers they learn."""
    words = [
        f"{layer.out_features}" if isinstance(layer, torch.nn.Linear) else type(layer).__name__.lower()
        for part in (model.encoder, model.decoder)
        for layer in part
    ]
    learned = sum(parameter.numel() for parameter in model.parameters())
    return f"{model.encoder[0].in_features} - {' - '.join(words)}; {learned:,} parameters"


def most(values):
    """The place of the largest value."""
    return max(range(len(values)), key=values.__getitem__)


@torch.no_grad()
def reconstruction_error(model, images):
    """Mean squared error over the pixels of all `images` `(N, 1, 28, 28)`."""
    blocks = images.split(10_000)  # a reconstruction of all is as large as all of them
    return sum((model(block)[1] - block).square().sum().item() for block in blocks) / images.numel()


class Copies(NamedTuple):
    """Reconstructions of one kind."""

    name: str
    error: float  # mean squared error over the pixels of all images
    by_digit: list  # the same of the images of each digit
    returns: list  # [d][e]: share of the ds whose reconstruction is most like (correlation) the average e


@torch.no_grad()
def compare_copies(model, untrained, images, labels, test_images, test_labels):
    """How the test images come back: list of `Copies` by the model, by the untrained one, by the principal
    components of the training images, as many as the model has nodes, by these cut to [-1, 1], the range of a Tanh,
    and of the images themselves cut so, which no model with a Tanh can better."""
    flat, averages = test_images.flatten(1), digit_means(images, labels)
    axes, mean = utils.principal_axes(images, model.hDims)
    components = mean + (flat - mean) @ axes @ axes.T
    kinds = {
        "this model": model(flat)[1],
        "untrained": untrained(flat)[1],
        f"PCA, {axes.shape[1]} component{'s' if axes.shape[1] > 1 else ''}": components,
        "PCA cut to [-1, 1]": components.clamp(-1, 1),
        "images cut to [-1, 1]": flat.clamp(-1, 1),
    }
    copies = []
    for name, copy in kinds.items():
        errors = (copy - flat).square().mean(dim=1).cpu()
        # By correlation, not by distance: all that is cut to 1 is nearer to the faint averages.
        like = correlations(copy.T, averages.T).argmax(dim=1)
        chosen = [test_labels.cpu() == digit for digit in range(10)]
        by_digit = [errors[which].mean().item() for which in chosen]
        returns = [(like[which].bincount(minlength=10) / which.sum().clamp(min=1)).tolist() for which in chosen]
        copies.append(Copies(name, errors.mean().item(), by_digit, returns))
    return copies


# --- Sentences: pure functions of what was measured ------------------------------------------


def percent(share):
    return f"{share:.2%}" if share < 0.001 else f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def span(values, digits=2):
    """The smallest to the largest value in words."""
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def named(values, words, count=3):
    """The strongest correlations in words: all from `STRONG` on, at most `count`, or else the strongest one."""
    order = sorted(range(len(values)), key=lambda place: -abs(values[place]))
    strong = [place for place in order[:count] if abs(values[place]) >= STRONG]
    return ", ".join(f"{words[place][values[place] < 0]} ({abs(values[place]):.2f})" for place in strong or order[:1])


def describe(node, before):
    """What a node does, beside `before`, the same node of the untrained model, in sentences."""
    if node.spread < DEAD:
        return (
            f"Node {node.number} is dead: whatever the image, its activation is {node.mean:.3f}, with a standard "
            f"deviation of {node.spread:.3f} (untrained: {before.mean:.3f}, {before.spread:.3f})."
        )
    strong = max(map(abs, node.goes_with)) >= STRONG
    goes_with = "Its activation goes with" if strong else "It goes with none of the properties, at best with"
    return " ".join(filter(None, (
        f"Node {node.number} fires for {percent(node.fires)} of the images (untrained {percent(before.fires)}), mean "
        f"activation {node.mean:.2f} ({before.mean:.2f}). {_detects(node)} (untrained {before.digit}s: "
        f"{percent(before.recall[before.digit])}, {percent(before.precision[before.digit])}). {_top(node, before)}",
        f"{goes_with} {named(node.goes_with, TRAITS)}; untrained at best {named(before.goes_with, TRAITS, 1)}.",
        _adds(node, before),
        _partners(node),
    )))  # fmt: skip


def _top(node, before):
    first, share, share_before = most(node.digits), *(max(one.digits) / sum(one.digits) for one in (node, before))
    text = f"{percent(share)} of its top {sum(node.digits)} are {first}s (untrained {percent(share_before)}"
    if first == node.digit:
        return f"{text} {most(before.digits)}s)."
    return f"{text} {most(before.digits)}s): its highest activations say little of the others."


def _detects(node):
    digit, recall, precision = node.digit, node.recall[node.digit], node.precision[node.digit]
    if not node.fires:
        return f"It is above {FIRES} for no image, and highest with {digit}s"
    kind = "It goes most with" if precision < MOSTLY else "A detector of" if recall >= MOSTLY else "It picks out some"
    only = "only " if precision < MOSTLY else ""
    return (
        f"{kind} {digit}s: it fires for {percent(recall)} of them, and {only}{percent(precision)} of what it fires for "
        f"are {digit}s"
    )


def _adds(node, before):
    like, unlike = most(node.alike), most([-value for value in node.alike])
    if node.alike[like] < STRONG:
        return f"What it adds when it is on looks like no digit (at best {like}, correlation {node.alike[like]:.2f})."
    text = (
        f"Switched on, it adds what the average {like} has and the average image has not (correlation "
        f"{node.alike[like]:.2f}; untrained at best {max(before.alike):.2f}) and takes away what the average {unlike} "
        f"has ({node.alike[unlike]:.2f})."
    )
    if like != node.digit:
        text += f" So it adds a part to {node.digit}s, not a {node.digit}: a picture is the sum of what all nodes add."
    return text


def _partners(node):
    others = {place: value for place, value in enumerate(node.partners) if place != node.number}
    if not others:
        return ""
    strongest = max(others, key=lambda place: abs(others[place]))
    strong = [place for place in sorted(others, key=lambda place: -others[place]) if abs(others[place]) >= STRONG]
    if not strong:
        return f"It goes with no other node, at most with node {strongest} ({others[strongest]:.2f})."
    return "It goes " + ", ".join(
        f"{'with' if others[place] > 0 else 'against'} node {place} ({others[place]:.2f})" for place in strong
    ) + "."  # fmt: skip


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


def is_it_sparse(nodes, before, rho, weight, share):
    """Whether the code is sparse, in sentences; `share` is the weighted penalty's share of the loss."""
    means, count = [node.mean for node in nodes], len(nodes)
    dead = [node.number for node in nodes if node.spread < DEAD]
    near = sum(mean <= 2 * rho for mean in means)
    answer = "Yes" if near == count else "In part" if near else "No"
    text = (
        f"{answer}: {near} of {count} nodes have a mean activation of at most twice rho, that is {2 * rho:g}; they lie "
        f"at {span(means)} (untrained {span([node.mean for node in before])}). On average "
        f"{sum(node.fires for node in nodes):.1f} of {count} nodes fire, that is are above {FIRES}, in an image "
        f"(untrained {sum(node.fires for node in before):.1f}). At its weight of {weight:g} the penalty is "
        f"{percent(share)} of the loss"
    )
    if near < count and share < 0.01:
        text += ", too little to be felt; what larger weights do, python codelet7.py --sweep shows"
    if dead:
        text += f". Dead, that is the same for every image: {len(dead)} of {count} nodes ({', '.join(map(str, dead))})"
    return f"{text}."


def what_training_changed(nodes, before):
    """Whether the nodes stand for digits, and what is more or less than before training, in sentences."""

    def counts(group):
        alive = [node for node in group if node.spread >= DEAD]

        def average(value):
            return sum(map(value, alive)) / max(1, len(alive))

        return {
            f"the nodes of whose top {TOP} more than half are one digit": sum(
                2 * max(node.digits) > sum(node.digits) for node in alive
            ),
            "the share of its digit's images for which a node fires": average(lambda node: node.recall[node.digit]),
            "the digit's share of the images for which it fires": average(lambda node: node.precision[node.digit]),
            DIGIT_NAME: average(lambda node: node.with_digit),
            SHAPE_NAME: average(lambda node: max(map(abs, node.goes_with[:6]))),
            "the strongest correlation of what it adds with the average of a digit": average(
                lambda node: max(node.alike)
            ),
        }

    detect, detect_before = (
        sum(min(node.recall[node.digit], node.precision[node.digit]) >= MOSTLY for node in group)
        for group in (nodes, before)
    )
    verdict = "stand" if 2 * detect > len(nodes) else "do not stand" if not detect else "mostly do not stand"
    changed, same = [], []
    for (name, now), old in zip(counts(nodes).items(), counts(before).values(), strict=True):
        words = f"{now} ({old})" if isinstance(now, int) else f"{now:.2f} ({old:.2f})"
        (changed if abs(now - old) > CHANGED * max(now, old) else same).append(f"{name} {words}")
    digit, shape = (counts(nodes)[name] for name in (DIGIT_NAME, SHAPE_NAME))
    first, second = ("shapes", "digits") if shape > digit else ("digits", "shapes")
    like = abs(shape - digit) <= CHANGED * max(shape, digit)
    more = "shapes and digits apart alike" if like else f"{first} apart rather than {second}"
    text = (
        f"The nodes {verdict} for a digit each: {detect} of {len(nodes)} (untrained {detect_before}) fire for at least "
        "half of a digit's images, and this digit is at least half of what they fire for. They tell "
        f"{more}: their strongest correlation with a property of shape is {shape:.2f} on average, with a digit "
        f"{digit:.2f}. "
    )
    if changed:
        text += f"Changed by training (untrained in brackets, means over the nodes): {'; '.join(changed)}. "
    if same:
        text += f"Changed by no more than {percent(CHANGED)}: {'; '.join(same)}."
    return text.strip()


def how_images_come_back(copies):
    """The reconstructions of the test images in sentences, from `compare_copies`."""
    model, untrained, pca, cut, floor = copies
    best, worst = most([-error for error in model.by_digit]), most(model.by_digit)
    text = [
        f"The mean squared error on the test images is {model.error:.3f} (untrained {untrained.error:.3f}), from "
        f"{model.by_digit[best]:.3f} for {best}s to {model.by_digit[worst]:.3f} for {worst}s. The best that as many "
        f"numbers can do linearly ({pca.name}) is {pca.error:.3f}: the model {_against(model.error, pca.error)}.",
        f"A Tanh gives no more than 1, and white is more: even a perfect copy cut to [-1, 1] has {floor.error:.3f}, "
        f"{percent(floor.error / model.error)} of the model's error. Cut so too, PCA has {cut.error:.3f}: beside that "
        f"the model {_against(model.error, cut.error)}.",
    ]
    lost = [digit for digit in range(10) if most(model.returns[digit]) != digit]
    for digit in lost:
        other = most(model.returns[digit])
        text.append(
            f"{digit}s come back most like the average {other}: {percent(model.returns[digit][other])} of them, and "
            f"{percent(model.returns[digit][digit])} like the average {digit} (the images so cut: "
            f"{percent(floor.returns[digit][other])} and {percent(floor.returns[digit][digit])})."
        )
    kept, kept_untrained, kept_images = (
        sum(copy.returns[digit][digit] for digit in range(10)) / 10 for copy in (model, untrained, floor)
    )
    if len(lost) < 10:
        text.append(f"{'The other' if lost else 'All'} digits come back most like their own average.")
    text.append(
        f"On average over the digits {percent(kept)} come back most like their own (untrained "
        f"{percent(kept_untrained)}, the images so cut {percent(kept_images)})."
    )
    return " ".join(text)


def _against(mine, other):
    if abs(mine - other) < 0.005 * other:
        return "does as well"
    return f"{'loses' if mine > other else 'wins'} {abs(mine - other):.3f}"
