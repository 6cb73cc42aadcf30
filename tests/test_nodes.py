"""Hidden nodes: measured as by other code, told as they were measured, drawn within their pages."""

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import codelet7
from extras import nodes
from extras.digits import draw_digits


def images_of(count, seed=0):
    images, labels = draw_digits(count, seed)
    images = torch.from_numpy(images).float().div(255).sub(codelet7.MEAN).div(codelet7.STD).unsqueeze(1)
    return images, torch.from_numpy(labels).long()


def node(by_digit, digit=0.3, shape=0.2, goes_with=(0.1, -0.2, 0, 0, 0, 0), alike=(0,) * 10):
    return nodes.Node(sum(by_digit) / 10, list(by_digit), digit, shape, list(goes_with), list(alike), np.eye(28))


def fits(*figures):
    """Whatever is drawn lies within its figure."""
    for figure in figures:
        box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
        assert (box.min >= 0).all() and (box.max <= figure.get_size_inches()).all(), box


def regression(y, x):
    """R^2 of a linear regression with a constant, by least squares in float64."""
    x = np.column_stack((np.ones(len(y)), x))
    return 1 - (y - x @ np.linalg.lstsq(x, y, rcond=None)[0]).var() / y.var()


@pytest.fixture(scope="module")
def measured():
    images, labels = images_of(500)
    torch.manual_seed(1)
    model = codelet7.SparseAutoencoder(784, 3)
    return model, images, labels, nodes.examine(model, images.flatten(1), labels, nodes.shape(images))


def properties_of(image, low, high):
    """Slant, ink, width, height, share of the ink in the upper and the left half, pixel by pixel."""
    ink, (rows, columns) = (image - low) / (high - low), np.mgrid[:28, :28]
    y, x = (ink * rows).sum() / ink.sum() - rows, columns - (ink * columns).sum() / ink.sum()
    size = (ink.max(0) > 0.5).sum(), (ink.max(1) > 0.5).sum()
    halves = ink[:14].sum() / ink.sum(), ink[:, :14].sum() / ink.sum()
    return [(ink * x * y).sum() / (ink * y * y).sum(), ink.sum(), *size, *halves]


def test_nodes_are_those_of_numpy(measured):
    model, images, labels, found = measured
    x, labels = images.flatten(1).double().numpy(), labels.numpy()
    properties = np.stack([properties_of(row.reshape(28, 28), x.min(), x.max()) for row in x])
    np.testing.assert_allclose(nodes.shape(images), properties, rtol=1e-3, atol=1e-4)
    weight, bias, paints, _ = (parameter.detach().double().numpy() for parameter in model.parameters())
    averages = np.stack([x[labels == digit].mean(0) for digit in range(10)])
    for place, one in enumerate(found):
        y = 1 / (1 + np.exp(-x @ weight[place] - bias[place]))
        expected = [y.mean(), *(y[labels == digit].mean() for digit in range(10))]
        expected += [regression(y, np.eye(10)[labels][:, 1:]), regression(y, properties)]
        expected += [np.corrcoef(y, column)[0, 1] for column in properties.T]
        expected += [np.corrcoef(paints[:, place], average - x.mean(0))[0, 1] for average in averages]
        values = [one.mean, *one.by_digit, one.digit, one.shape, *one.goes_with, *one.alike]
        np.testing.assert_allclose(values, expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(one.paints, paints[:, place].reshape(28, 28), rtol=1e-6)


def test_what_is_recognised_and_missed(measured):
    model, images, labels, _ = measured
    flat = images.flatten(1)
    with torch.no_grad():
        codes, rises = model.encoder(flat), nodes.costs(model, flat, labels)
        centres = torch.stack([codes[labels == digit].mean(0) for digit in range(10)])
        nearest = torch.stack([(code - centres).norm(dim=1).argmin() for code in codes[:90]])
        held = torch.cat((codes[:, :2], codes[:, 2:].mean().expand(len(codes), 1)), dim=1)
        before, after = ((model.decoder(code) - flat)[labels == 7].square().mean() for code in (codes, held))
    share = (nearest == labels[:90]).float().mean()
    assert nodes.recognised(codes, labels, codes[:90], labels[:90]) == pytest.approx(share.item())
    assert len(rises) == 3 and rises[2][7] == pytest.approx((after - before).item(), abs=1e-5)


QUESTION = node([0.82, 0.04, 0.73, 0.69, 0.07, 0.51, 0.75, 0.10, 0.28, 0.07], 0.6)
DETECTOR = node([0.46, 0, 0.03, 0.01, 0.03, 0.03, 0.11, 0.02, 0.02, 0.03], 0.44)
VAGUE = node([0.54, 0.41, 0.59, 0.52, 0.64, 0.49, 0.58, 0.48, 0.58, 0.61], 0.1)
DEAD, TIE = node([0.0] * 10, 0.0, 0.0), node([0.9, 0.9, 0.0] + [0.45] * 7)


def test_what_was_learned():
    rest = "for a digit, over twice as active for it as for any other. On for some digits and off for others:"
    for some, said in (
        ([QUESTION, QUESTION], "No node stands for a digit. Each is on for some digits and off for others."),
        ([DETECTOR, DETECTOR], f"2 of 2 nodes stand {rest} none."),
        ([DETECTOR, QUESTION, VAGUE, DEAD], f"1 of 4 nodes stands {rest} 1."),
        ([VAGUE, DEAD, TIE], f"None of 3 nodes stand {rest} 1."),
    ):
        assert nodes.learned(some, some, (0.4, 0.7), (1, 0.5), 0.7)[0] == said
    *_, digit, shape = nodes.learned([QUESTION], [VAGUE], (0.46, 0.72), (1, 0.5), 0.7)
    assert "A digit is recognised" in digit and "72% of the test images. Before training it is for 46%" in digit
    assert "digit alone explains 60%" in shape and "alone explain 20%. Before training: 10% and 20%." in shape
    assert "hardly recognised" in nodes.learned([QUESTION], [VAGUE], (0.2, 0.3), (1, 0.5), 0.7)[1]
    assert "not made the digits easier" in nodes.learned([QUESTION], [VAGUE], (0.7, 0.7), (1, 0.5), 0.7)[1]
    assert "diverged: the squared error, 1.200" in nodes.learned([DEAD], [VAGUE], (0.4, 0.1), (1, 1.2), 0.7)[-1]
    assert "only begun: the squared error, 0.800" in nodes.learned([DEAD], [VAGUE], (0.4, 0.1), (1, 0.8), 0.7)[-1]


def test_is_it_sparse():
    said = nodes.is_it_sparse([0.4, 0.58], [0.3, 0.7], 0.05, 1e-4, 0.0009)
    assert all(words in said for words in ("sparse? No.", "0.40 to 0.58", "0.09% of the loss, too little to be felt."))
    assert "sparse? No." in nodes.is_it_sparse([0.8, 0.9], [0.3, 0.7], 0.9, 1e-4, 0.2)
    assert "For 1 of 2 nodes." in nodes.is_it_sparse([0.1, 0.11], [0.3, 0.7], 0.05, 0.1, 0.0009)
    said = nodes.is_it_sparse([0.06, 0.1], [0.3, 0.7], 0.05, 0.3, 0.0009)
    assert "sparse? Yes." in said and "felt" not in said
    assert "felt" not in nodes.is_it_sparse([0.4, 0.3], [0.3, 0.7], 0.05, 0.01, 0.03)


def test_nodes_are_described_and_chosen():
    assert nodes.describe(QUESTION).startswith("It is on for 0, 6, 2, 3 and off for 1, ")
    assert nodes.describe(DETECTOR).startswith("It is on for 0 and off for 1, ")
    assert nodes.describe(VAGUE) == "It is most active for 4, 9, 2 and least for 1."
    assert nodes.describe(DEAD) == "It tells no digit from another: its mean activation is 0.00."
    both = nodes.describe(QUESTION._replace(alike=[0.47, 0, 0.39, 0.4, 0, 0, 0, -0.45, 0, -0.56]))
    assert "It puts ink where 0s, 3s have more ink" in both and "and takes ink away where 9s, 7s have it." in both
    clears = nodes.describe(QUESTION._replace(alike=[0, -0.5] + [0.39] * 8))
    assert clears.endswith("It takes ink away where 1s have more ink than the average image.")
    shaped = node([0.5] * 10, 0.1, 0.5, (-0.67, 0.2, 0, 0, 0, 0))
    chosen = nodes.choose([QUESTION, shaped, VAGUE], [[0.01] * 10, [0.02] * 10, [0.047] + [0.01] * 9])
    assert "60%" in chosen[0] and chosen[2].endswith("squared error of 0s changes by +0.047.")
    assert "shape explains this one best: 50%, mostly a slant to the left, correlation 0.67." in chosen[1]
    assert list(nodes.choose([DEAD], [[0.0] * 10])) == [0]


def test_how_images_come_back():
    model, cut, same = (np.eye(10) * 0.8 for _ in range(3))
    model[4] = [0] * 4 + [0.34] + [0] * 4 + [0.56]
    cut[4, 9], same[4, 9] = 0.27, 0.13
    said = nodes.coming_back([1.02, 0.533, 0.499], [0.68, 0.31] + [0.5] * 8, [model, cut, same])
    assert "0.533, from 0.31 for 1s to 0.68 for 0s; before training it is 1.020. " in said
    assert "range, it is 0.499. 56% of the 4s come back most like the average 9 (" in said
    assert "components 27%; of the 4s themselves 13%" in said


@pytest.mark.parametrize("hidden", [1, 2, 12])
def test_report(hidden):
    (images, labels), test, published = images_of(300), images_of(200, 1), codelet7.PUBLISHED if hidden == 2 else {}
    untrained, model = codelet7.SparseAutoencoder(784, hidden), codelet7.SparseAutoencoder(784, hidden)
    about = "drawn digits, not MNIST, 20 epochs, --hidden 12, --penalty-weight 0.0003, --seed 12345"
    sentences, figures = nodes.report(untrained, model, images, labels, *test, [0.9], [0.8], published, about)
    fits(figures["nodes.png"], figures["loss.png"], *figures["codelet7.pdf"])
    assert sentences[-1].startswith("Is it sparse?")
    assert len(figures["loss.png"].axes[0].get_legend().get_texts()) == (3 if published else 2)
