"""Measuring and sentences: against NumPy, plain loops, and made-up numbers of every kind."""

import itertools
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

import answers
import codelet7
import sparsity
import utils
from digits import draw_digits


@pytest.fixture(scope="module")
def data():
    """500 drawn digits, normalised, and their labels."""
    loader = codelet7.make_dataloader(utils.Digits(*draw_digits(500, seed=0), utils.DRAWN), 64)
    return loader.dataset.tensors


@pytest.fixture
def model():
    torch.manual_seed(0)
    return codelet7.SparseAutoencoder(784, 4)


def made_up(number=0, nodes=10, **changes):
    """A node that is nothing special: it fires for half of all images, whatever they show."""
    node = {
        "number": number,
        "mean": 0.5,
        "spread": 0.3,
        "fires": 0.5,
        "digits": [10] * 10,
        "recall": [0.5] * 10,
        "precision": [0.1] * 10,
        "goes_with": [0.01] * 16,
        "partners": [float(place == number) for place in range(nodes)],
        "adds": torch.zeros(28, 28),
        "alike": [0.01] * 10,
    }
    return answers.Node(**node | changes)


def group(nodes=10, **changes):
    return [made_up(number, nodes, **changes) for number in range(nodes)]


def detector(digit=7, **changes):
    """The measurements of a node that fires for nearly all images of a digit, and for little else."""
    at = [float(place == digit) for place in range(10)]
    return {
        "mean": 0.08,
        "fires": 0.1,
        "digits": [int(100 * one) for one in at],
        "recall": [0.01 + 0.9 * one for one in at],
        "precision": [0.01 + 0.9 * one for one in at],
        "goes_with": [0.1] * 6 + [0.8 * one for one in at],
        "alike": [0.7 * one for one in at],
    } | changes


DEAD = {"mean": 0.05, "spread": 0.001, "fires": 0.0}


# --- Measuring


def test_top_images():
    hidden = torch.rand(500, 4)
    for node in range(4):
        places = answers.top_images(hidden, node)
        assert places.tolist() == np.argsort(-hidden[:, node].numpy(), kind="stable")[:100].tolist()
    for node in (-1, 4):
        with pytest.raises(ValueError, match=f"node {node} does not exist"):
            answers.top_images(hidden, node)
    assert len(answers.top_images(hidden[:30], 0)) == 30


def test_correlations_against_numpy():
    a, b = torch.randn(50, 3), torch.randn(50, 2)
    b[:, 1] += a[:, 0]
    expected = np.corrcoef(a.numpy(), b.numpy(), rowvar=False)[:3, 3:]
    np.testing.assert_allclose(answers.correlations(a, b), expected, atol=1e-6)
    a[:, 1] = 0.05  # a dead node
    assert answers.correlations(a, b)[1].abs().max() < 1e-6


def test_traits_of_drawn_strokes():
    images = torch.zeros(3, 1, 28, 28)
    for row in range(4, 24):
        images[0, 0, row, 14] = 1  # upright
        images[1, 0, row, 14 + (14 - row) // 2] = 1  # leans to the right, one column for two rows
    images[2, 0, 3:7, 2:12] = 1  # a bar, upper left
    values = answers.traits(images * 3 - 0.4, torch.tensor([1, 1, 7]))
    slant, ink, width, height, upper, left = values[:, :6].T
    assert slant[0].item() == pytest.approx(0, abs=1e-5)
    assert slant[1].item() == pytest.approx(0.5, abs=0.01)
    assert ink.tolist() == pytest.approx([20, 20, 40], rel=1e-5)
    assert width.tolist() == [1, 11, 10]
    assert height.tolist() == [20, 20, 4]
    assert upper.tolist() == pytest.approx([0.5, 0.5, 1], abs=1e-5)
    assert left[2].item() == pytest.approx(1, abs=1e-5)
    assert values[:, 6:].argmax(dim=1).tolist() == [1, 1, 7]
    assert values.shape[1] == len(answers.TRAITS)


def test_nodes_are_measured(model, data):
    images, labels = data
    flat = images.flatten(1).double().numpy()
    with torch.no_grad():  # node 0 draws the average 3, and fires for it
        three = images[labels == 3].mean(0).flatten() - images.mean(0).flatten()
        model.decoder[0].weight[:, 0] = three
        model.encoder[0].weight[0] = three / 100  # more would saturate
    properties = answers.traits(images, labels)
    nodes = answers.examine(model, images, labels, properties)
    hidden = model.encoder(images.flatten(1)).detach().double().numpy()
    averages = np.stack([flat[labels == digit].mean(0) for digit in range(10)]) - flat.mean(0)
    for number, node in enumerate(nodes):
        mine, fires = hidden[:, number], hidden[:, number] > 0.5
        assert node.number == number
        assert node.mean == pytest.approx(mine.mean(), rel=1e-5)
        assert node.spread == pytest.approx(mine.std(), rel=1e-4)
        assert node.fires == pytest.approx(fires.mean())
        top = labels.numpy()[np.argsort(-mine)[:100]]
        assert node.digits == [int((top == digit).sum()) for digit in range(10)]
        for digit in range(10):
            these = labels.numpy() == digit
            assert node.recall[digit] == pytest.approx((fires & these).sum() / these.sum())
            assert node.precision[digit] == pytest.approx((fires & these).sum() / max(1, fires.sum()))
            assert node.goes_with[6 + digit] == pytest.approx(np.corrcoef(mine, these)[0, 1], abs=1e-4)
            alike = np.corrcoef(model.decoder[0].weight[:, number].detach(), averages[digit])[0, 1]
            assert node.alike[digit] == pytest.approx(alike, abs=1e-4)
        assert node.goes_with[1] == pytest.approx(np.corrcoef(mine, properties[:, 1])[0, 1], abs=1e-4)
        assert node.partners == pytest.approx(np.corrcoef(hidden, rowvar=False)[number].tolist(), abs=1e-4)
        np.testing.assert_allclose(node.adds.flatten(), model.decoder[0].weight[:, number].detach(), atol=1e-5)
    assert nodes[0].digit == 3
    assert nodes[0].alike[3] == pytest.approx(1, abs=1e-4)


def test_a_deeper_decoder_is_measured_too(model, data):
    model.decoder = torch.nn.Sequential(
        torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 784), torch.nn.Tanh()
    )
    node = answers.examine(model, *data, answers.traits(*data))[2]
    codes = answers.activations(model, data[0]).mean(dim=0).repeat(2, 1)
    codes[:, 2] = torch.tensor([0.0, 1.0])
    off, on = torch.atanh(model.decoder(codes)).detach()
    np.testing.assert_allclose(node.adds.flatten(), on - off, atol=1e-5)
    assert answers.layers(model) == "784 - 4 - sigmoid - 8 - relu - 784 - tanh; 10,236 parameters"


def test_copies_against_numpy(model, data):
    images, labels = data
    torch.manual_seed(1)
    untrained = codelet7.SparseAutoencoder(784, 4)
    train, test, answer = images[:400], images[400:], labels[400:].numpy()
    copies = answers.compare_copies(model, untrained, train, labels[:400], test, labels[400:])
    flat, goal = train.flatten(1).double().numpy(), test.flatten(1).double().numpy()
    axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:4]
    pca = flat.mean(0) + (goal - flat.mean(0)) @ axes.T @ axes
    averages = np.stack([flat[labels[:400] == digit].mean(0) for digit in range(10)])
    expected = [model(test.flatten(1))[1].detach(), untrained(test.flatten(1))[1].detach(), pca, pca.clip(-1, 1)]
    expected.append(goal.clip(-1, 1))
    assert [copy.name for copy in copies][2] == "PCA, 4 components"
    for copy, image in zip(copies, map(np.asarray, expected), strict=True):
        assert copy.error == pytest.approx(np.square(image - goal).mean(), rel=1e-4)
        like = np.array([np.argmax([np.corrcoef(one, average)[0, 1] for average in averages]) for one in image])
        for digit in range(10):
            assert copy.by_digit[digit] == pytest.approx(np.square(image - goal)[answer == digit].mean(), rel=1e-4)
            shares = [(like[answer == digit] == other).mean() for other in range(10)]
            assert copy.returns[digit] == pytest.approx(shares, abs=0.03)  # the nearest two may be equally near
        assert sum(map(sum, copy.returns)) == pytest.approx(10, abs=1e-4)


# --- Sentences


def test_a_node_that_fires_for_everything_is_no_detector():
    text = answers.describe(made_up(goes_with=[0.1] * 6 + [0.0] * 9 + [0.2], digits=[0] * 9 + [100]), made_up())
    assert "It goes most with 9s: it fires for 50% of them, and only 10% of what it fires for are 9s" in text
    assert "100% of its top 100 are 9s (untrained 10% 0s)." in text
    assert "goes with none of the properties, at best with 9s (0.20)" in text
    assert "looks like no digit" in text
    assert "goes with no other node" in text


def test_a_detector_is_called_one():
    node = made_up(**detector(partners=[1.0, 0.5, -0.4] + [0.0] * 7))
    text = answers.describe(node, made_up())
    assert "A detector of 7s: it fires for 91% of them, and 91% of what it fires for are 7s (untrained 0s" in text
    assert "Its activation goes with 7s (0.80); untrained at best a slant to the right (0.01)." in text
    assert "it adds what the average 7 has" in text
    assert "not a 7" not in text
    assert "It goes with node 1 (0.50), against node 2 (-0.40)." in text
    rare = answers.describe(made_up(**detector(recall=[0.1] * 10)), made_up())
    assert "It picks out some 7s: it fires for 10% of them" in rare


def test_evidence_that_seems_to_contradict_itself_is_explained():
    node = made_up(**detector(alike=[0.0, 0.6] + [0.0] * 7 + [-0.5], digits=[0, 0, 61, 39] + [0] * 6))
    text = answers.describe(node, made_up())
    assert "adds what the average 1 has" in text
    assert "takes away what the average 9 has (-0.50)" in text
    assert "it adds a part to 7s, not a 7" in text
    assert "61% of its top 100 are 2s (untrained 10% 0s): its highest activations say little of the others." in text


def test_dead_and_silent_nodes():
    text = answers.describe(made_up(3, **DEAD), made_up())
    assert text.startswith("Node 3 is dead: whatever the image, its activation is 0.050, with a standard deviation of")
    assert "fires" not in text
    silent = answers.describe(made_up(mean=0.05, fires=0.0, spread=0.1), made_up())
    assert "It is above 0.5 for no image, and highest with 0s" in silent
    assert answers.describe(made_up(nodes=1), made_up(nodes=1)).endswith("0.01).")  # no partners


@pytest.mark.parametrize(
    ("nodes", "weight", "share", "begins", "says", "not_says"),
    [
        (group(), 1e-4, 0.0009, "No: 0 of 10", "0.09% of the loss, too little to be felt", "Dead"),
        (group(), 0.1, 0.2, "No: 0 of 10", "20% of the loss.", "sweep"),
        (group(mean=0.06, fires=0.05), 0.3, 0.014, "Yes: 10 of 10", "1.4% of the loss.", "sweep"),
        (group(**DEAD), 1e-4, 1e-5, "Yes: 10 of 10", "Dead, that is the same for every image: 10 of 10", "sweep"),
        ([*group(9), made_up(9, mean=0.1)], 0.1, 0.2, "In part: 1 of 10", "at 0.10 to 0.50", "Dead"),
        (group(1), 1e-4, 0.0009, "No: 0 of 1 nodes", "--sweep", "Dead"),
        (group(11), 1e-4, 0.0009, "No: 0 of 11", "5.5 of 11 nodes fire", "Dead"),
    ],
)
def test_is_it_sparse(nodes, weight, share, begins, says, not_says):
    text = answers.is_it_sparse(nodes, group(len(nodes), mean=0.4), 0.05, weight, share)
    assert text.startswith(begins)
    assert says in text
    assert not_says not in text
    assert "(untrained 0.40)" in text


def test_what_training_changed():
    text = answers.what_training_changed([made_up(place, **detector(place)) for place in range(10)], group())
    assert "nodes stand for a digit each: 10 of 10 (untrained 0)" in text
    assert "They tell digits apart rather than shapes" in text
    assert "more than half are one digit 10 (0)" in text
    assert "Changed by no more" not in text
    text = answers.what_training_changed(group(goes_with=[0.4] * 6 + [0.01] * 10), group())
    assert "do not stand for a digit each: 0 of 10 (untrained 0)" in text
    assert "They tell shapes apart rather than digits" in text
    assert (
        "Changed by training (untrained in brackets, means over the nodes): its strongest correlation with a " in text
    )
    assert "Changed by no more than 20%: the nodes of whose top 100" in text
    text = answers.what_training_changed(group(), group())
    assert "They tell shapes and digits apart alike" in text
    assert "Changed by training" not in text
    assert "do not stand" in answers.what_training_changed(group(1, **DEAD), group(1))
    mixed = [made_up(0, **detector(3)), *group(10)[1:]]
    assert "mostly do not stand for a digit each: 1 of 10" in answers.what_training_changed(mixed, group())


def copies(model=0.5, untrained=1.0, pca=0.3, cut=0.45, floor=0.25, lost=None):
    """Made-up copies that all come back as what they are, but those of the model at `lost`, pairs of digits."""
    kept = [[float(digit == other) for other in range(10)] for digit in range(10)]
    mine = [list(row) for row in kept]
    for digit, other in lost or ():
        mine[digit][digit], mine[digit][other] = 0.4, 0.6
    return [
        answers.Copies(name, error, [error + 0.01 * digit for digit in range(10)], returns)
        for name, error, returns in (
            ("this model", model, mine),
            ("untrained", untrained, kept),
            ("PCA, 10 components", pca, kept),
            ("PCA cut to [-1, 1]", cut, kept),
            ("images cut to [-1, 1]", floor, kept),
        )
    ]


def test_how_images_come_back():
    text = answers.how_images_come_back(copies(lost=[(4, 9)]))
    assert "is 0.500 (untrained 1.000), from 0.500 for 0s to 0.590 for 9s" in text
    assert "is 0.300: the model loses 0.200." in text
    assert "has 0.250, 50% of the model's error" in text
    assert "has 0.450: beside that the model loses 0.050." in text
    assert "4s come back most like the average 9: 60% of them, and 40% like the average 4" in text
    assert "The other digits come back most like their own average." in text
    assert "94% come back most like their own" in text
    text = answers.how_images_come_back(copies(model=0.28, cut=0.281))
    assert "the model wins 0.020." in text
    assert "beside that the model does as well." in text
    assert "All digits come back most like their own average." in text
    assert "4s come back" not in text
    text = answers.how_images_come_back(copies(lost=[(digit, (digit + 1) % 10) for digit in range(10)]))
    assert "their own average" not in text


@pytest.mark.parametrize(
    ("error", "before", "says"),
    [
        (0.6, 1.1, ""),
        (0.75, 1.1, "Training has only begun: .* 0.7500, .* 0.7000 .*more than --epochs 3.*"),
        (1.4, 1.1, "Training diverged: .* 1.4000, .* 0.7000 .* 1.1000, .*a smaller --lr than 10.*"),
    ],
)
def test_verdict(error, before, says):
    assert re.fullmatch(says, answers.verdict(error, before, 0.7, lr=10, epochs=3))


# --- The sweep's


def row(weight, error, nodes, penalty=1.0):
    return sparsity.Row(weight, error, error + 0.01, penalty, nodes)


UNTRAINED = row(0, 1.0, group())
SPARSE = [made_up(place, **detector(place)) for place in range(10)]
ROWS = [
    row(0, 0.53, group()),
    row(1e-4, 0.529, group(mean=0.45), 5),
    row(3e-3, 0.52, group(mean=0.3)),
    row(0.1, 0.56, SPARSE),
    row(1, 0.6, group(mean=0.05), 0.0),
]


def test_telling_rows_are_chosen_by_what_was_measured():
    def chosen(rows):
        return [(row.weight, why) for row, why in sparsity.telling(rows, 0.05, 1e-4)]

    sparse = "first within twice rho"
    assert chosen(ROWS) == [(0, "no penalty"), (1e-4, "the assignment's"), (3e-3, "lowest error"), (0.1, sparse)]
    assert chosen(ROWS[1:2]) == [(1e-4, "the assignment's and lowest error")]
    assert chosen(ROWS[3:]) == [(0.1, f"lowest error and {sparse}")]
    one_high = [row(0.1, 0.5, [*SPARSE[:9], made_up(9, mean=0.11)])]
    assert chosen(one_high) == [(0.1, "lowest error")]


def test_findings():
    text = " ".join(sparsity.findings(ROWS, UNTRAINED, 0.05, 1e-4))
    assert "assignment's weight of 0.0001 the penalty is 0.09% of the loss, hardly a part" in text
    assert "mean activations are 0.45 (untrained 0.50), where rho is 0.05, and 5.0 of 10 nodes fire" in text
    assert "within twice rho, 0.1, is 0.1: they are 0.08, 1.0 nodes fire in an image" in text
    assert "The weight 0.003 reconstructs best: its mean squared error is 0.5200 on the training and 0.5300" in text
    assert "Against no penalty (0.5300) that is 1.9% less, 1.9% on the test images" in text
    assert "At the largest weight, 1, it is 15% more: 0.6000." in text
    assert "a majority of the nodes has a digit of its own, one that makes up at least 90% of its top 100" in text
    assert "is 0.1: 10 of 10 nodes, for 10 different digits (untrained: 0)." in text
    assert "at the weight 0.1: the strongest correlation with one is 0.80 on average (untrained 0.01, at" in text
    assert "diverged" not in text


def test_findings_of_the_other_kind():
    own = [made_up(place, **detector(7)) for place in range(3)] + group(10)[3:]
    rows = [row(0, 0.5, group()), row(1e-4, 0.51, own, 500)]
    text = " ".join(sparsity.findings(rows, row(0, 1.0, own), 0.05, 1e-4))
    assert "8.9% of the loss, a part of" in text
    assert "At no weight are all mean activations within twice rho, 0.1; one is at least 0.50." in text
    assert "The weight 0 reconstructs best" in text
    assert "Against" not in text
    assert "At no weight has a majority" in text
    assert "; the most is 3 of 10 nodes, for 1 different digit (untrained: 3), at 0.0001." in text
    diverged = " ".join(sparsity.findings([row(0, 1.3, own), row(1, 0.9, own)], row(0, 1.0, own), 0.05, 1e-4))
    assert "Training diverged at the weight 0 (1.3000): the mean squared error is not below that before" in diverged
    alone = " ".join(sparsity.findings([row(0.5, 0.6, group(1))], row(0, 1.0, group(1)), 0.05, 1e-4))
    assert "assignment" not in alone
    assert "largest" not in alone


def test_a_sweeps_table_against_plain_loops(data):
    images, labels = data
    models = []
    for seed, weight in enumerate((0.0, 1e-4, 0.5)):
        torch.manual_seed(seed)
        models.append(codelet7.SparseAutoencoder(784, 3, penalty_weight=weight))
    properties = answers.traits(images, labels)
    rows = [sparsity.measure(model, images[:300], labels[:300], properties[:300], images[300:]) for model in models]
    lines = [re.split("[ ,]+", line.strip()) for line in sparsity.table(rows[1:], rows[0])[2:]]
    assert [line[0] for line in lines] == ["untrained", "0.0001", "0.5"]
    for line, model in zip(lines, models, strict=True):
        total = penalty = 0.0
        sums, fires = [0.0] * 3, 0
        for image in images[:300]:
            hidden, copy = model(image[None])
            total += ((copy - image) ** 2).mean().item() / 300
            for node in range(3):
                sums[node] += hidden[0, node].item() / 300
                fires += hidden[0, node].item() > 0.5
        for mean in sums:
            penalty += 0.05 * np.log(0.05 / mean) + 0.95 * np.log(0.95 / (1 - mean))
        test = np.mean([((model(image[None])[1] - image) ** 2).mean().item() for image in images[300:]])
        weight = model.penalty_weight.item()
        expected = [f"{total:.4f}", f"{test:.4f}", f"{min(sums):.2f}", f"{max(sums):.2f}", f"{fires / 300:.1f}"]
        assert line[1:6] == expected
        if line[0] != "untrained":
            assert float(line[6]) == pytest.approx(100 * weight * penalty / (total + weight * penalty), abs=0.006)


@pytest.mark.parametrize("count", [1, 4, 11])
def test_the_picture_shows_the_nodes_of_each_telling_weight(count):
    rows = [row(0, 0.5, group(count)), row(0.1, 0.6, group(count, mean=0.05, digits=[0, 0, 0, 94, 6] + [0] * 5))]
    figure = sparsity.draw_sparsity(Figure(figsize=(8, 8)), rows, 0.05, 1e-4, "a title")
    pictures = [axis for axis in figure.axes if axis.images]
    assert len(pictures) == 2 * min(10, count)
    assert [axis.get_title() for axis in pictures[min(10, count) :]] == ["3: 94%"] * min(10, count)
    labels = list(itertools.chain.from_iterable(axis.texts for axis in figure.axes))
    assert labels[1].get_text().startswith("weight 0.1, first within twice rho: squared error 0.6")
    figure.canvas.draw()
