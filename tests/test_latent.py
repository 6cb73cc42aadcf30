"""The plane of codes: its measurements against NumPy, what its sentences say of one model and of another, pictures."""

import numpy as np
import pytest
import torch
from torch import distributions

import autoencoder
import latent
import utils

KINDS = [autoencoder.Autoencoder, autoencoder.VariationalAutoencoder]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, none of which is saved."""
    drawn = []
    monkeypatch.setattr(utils, "save", lambda figure, path: drawn.append(figure))
    return drawn


def plane_of(codes, labels, model=None):
    return latent.Plane(model, codes, labels, latent.square(codes), utils.DRAWN)


def clusters(model=None):
    """A plane with a cluster of codes for each digit, and the middles of the clusters."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 5000)
    centres = np.stack([np.cos(np.arange(10)), np.sin(np.arange(10))], axis=1) * 5
    return plane_of(centres[labels] + generator.normal(size=(5000, 2)) * 0.3, labels, model), centres


# --- Measurements


def test_blocks_give_what_the_whole_gives(monkeypatch):
    model, images = autoencoder.Autoencoder(), torch.rand(25, 28, 28)
    codes, reconstructions = (value.detach() for value in model(images))
    monkeypatch.setattr(latent.in_blocks, "__defaults__", (7,))
    monkeypatch.setattr(latent, "BLOCK", 7)
    torch.testing.assert_close(latent.encode(model, images), codes)
    torch.testing.assert_close(latent.reconstruct(model, images), reconstructions)
    torch.testing.assert_close(latent.decode(model, codes.tolist()), reconstructions)
    expected = np.square(reconstructions.double().numpy() - images.double().numpy()).mean()
    assert latent.reconstruction_error(model, images) == pytest.approx(expected, rel=1e-5)
    assert latent.mean_losses(model, images) == pytest.approx([expected], rel=1e-5)


def test_mean_losses_have_each_image_count_the_same(monkeypatch):
    class Model:
        def losses(self, images):
            return images.mean(), images.square().mean()

    monkeypatch.setattr(latent, "BLOCK", 4)  # blocks of 4, 4 and 2
    images = torch.rand(10, 28, 28)
    whole = images.double().numpy()
    assert latent.mean_losses(Model(), images) == pytest.approx([whole.mean(), np.square(whole).mean()], rel=1e-6)


def test_neighbour_share_against_numpy():
    generator = np.random.default_rng(0)
    codes, labels = generator.normal(size=(700, 2)), generator.integers(0, 10, 700)
    codes += labels[:, None]
    tests, test_labels = codes[:150] + 0.1, labels[:150]
    right = 0
    for code, label in zip(tests, test_labels, strict=True):
        nearest = np.argsort(np.square(codes - code).sum(axis=1))[:10]
        right += np.bincount(labels[nearest], minlength=10).argmax() == label
    share = latent.neighbour_share(*map(torch.from_numpy, (codes, labels, tests, test_labels)))
    assert share == pytest.approx(right / 150)
    assert 0.2 < share < 0.8


@pytest.mark.parametrize("kind", KINDS)
def test_measured(kind):
    model = kind()
    images, tests = torch.rand(200, 28, 28), torch.rand(60, 28, 28)
    labels, test_labels = torch.arange(200) % 10, torch.arange(60) % 10
    torch.manual_seed(1)
    measured = latent.measure(model, images, labels, tests, test_labels)
    codes = latent.encode(model, images).double().numpy()
    std = codes.std(axis=0, ddof=1)
    farthest = np.linalg.norm(codes - codes.mean(axis=0), axis=1).max()
    assert measured.spread == pytest.approx((*std, farthest), rel=1e-3)
    assert measured.errors == tuple(latent.reconstruction_error(model, each) for each in (images, tests))
    assert measured.baseline == model.baseline(images)
    torch.manual_seed(1)
    assert list(measured.parts.values()) == latent.mean_losses(model, tests)
    assert list(measured.parts) == list(model.PARTS)
    assert measured.total() == sum(measured.parts.values())
    expected = latent.neighbour_share(latent.encode(model, images), labels, latent.encode(model, tests), test_labels)
    assert measured.neighbours == expected


def test_principal_components_against_numpy():
    generator = np.random.default_rng(0)
    images, tests = (generator.random((count, 28, 28)) * np.linspace(0.1, 1, 28) for count in (300, 80))
    mean = images.mean(axis=0)
    flat, test_flat = (images - mean).reshape(-1, 784), (tests - mean).reshape(-1, 784)
    directions = np.linalg.svd(flat, full_matrices=False)[2][:2]
    expected = np.square(test_flat - test_flat @ directions.T @ directions).mean()
    codes, test_codes, error = latent.principal_components(torch.from_numpy(images), torch.from_numpy(tests))
    assert error == pytest.approx(expected, rel=1e-9)
    for got, wanted in ((codes, flat @ directions.T), (test_codes, test_flat @ directions.T)):
        np.testing.assert_allclose(np.abs(got.numpy()[:, ::-1]), np.abs(wanted), atol=1e-9)  # signs are free


def test_measurements_in_words():
    lines = latent.Measured(
        "nats", {"KL": 7.5, "rest": 126.9}, 206.3, (0.0307, 0.0329), 0.878, (0.0557, 0.456), (1, 2, 9.04)
    ).lines()
    words = (
        ("134.4", "126.9 rest", "7.500 KL", "206.3"),
        ("0.0307", "0.0329", "0.0557"),
        ("87.8%", "45.6%"),
        ("1.00", "9.0"),
    )
    for line, those in zip(lines, words, strict=True):
        assert all(word in line for word in those)


def test_nearest_against_numpy():
    generator = np.random.default_rng(0)
    pictures, images = generator.random((600, 4, 4)).astype(np.float32), generator.random((90, 4, 4)).astype(np.float32)
    labels = generator.integers(0, 10, 90)
    distances = np.linalg.norm(pictures.reshape(-1, 1, 16) - images.reshape(1, -1, 16), axis=2)
    found, closest = latent.nearest(*map(torch.from_numpy, (pictures, images, labels)))
    np.testing.assert_array_equal(found, labels[distances.argmin(axis=1)])
    np.testing.assert_allclose(closest, distances.min(axis=1), rtol=1e-4)


def test_normal_quantiles():
    uniform = np.array([[0.01, 0.5], [0.975, 0.99]])
    expected = distributions.Normal(0, 1).icdf(torch.from_numpy(uniform))
    np.testing.assert_allclose(latent.normal(uniform), expected, atol=1e-6)


class Decoder(torch.nn.Module):
    """Decodes any codes to the images that it is given, in turn."""

    def __init__(self, decoded):
        super().__init__()
        self.decoded = decoded

    def forward(self, codes):
        return self.decoded[torch.arange(len(codes)) % len(self.decoded)]


class Stub(autoencoder.Autoencoder):
    """Reconstructs each image as it is, and decodes as `Decoder`."""

    def __init__(self, decoded):
        super().__init__()
        self.decoder = Decoder(decoded)

    def forward(self, images):
        return torch.zeros(len(images), 2), images


@pytest.mark.parametrize("digits", [[3], [3, 5], list(range(10))])
def test_random_digits(monkeypatch, digits):
    monkeypatch.setattr(latent, "RANDOM", 100)
    images, labels = torch.rand(10, 28, 28), torch.arange(10)
    model = Stub(images[digits] + 0.01)
    plane = plane_of(np.random.default_rng(0).random((50, 2)), np.arange(50) % 10, model)
    ways = list(latent.random_digits(plane, images, labels, images[:5]))
    assert len(ways) == 2
    assert ways[0].words == model.SPREAD
    assert str(model.WIDE) in ways[1].words
    for way in ways:
        assert way.shares == pytest.approx([(digit in digits) / len(digits) for digit in range(10)])
        assert way.evenness() == pytest.approx(len(digits))
        assert way.distance == pytest.approx(0.01 * 28, rel=1e-3)
        assert way.usual == pytest.approx(0, abs=1e-3)
        assert way.near == 0, "reconstructions lie nearer"
        assert way.grid.shape == (8 * 30 + 2, 8 * 30 + 2)


def test_random_digits_in_words():
    even = latent.RandomDigits("somehow", None, [0.1] * 10, 4.2, 0.93, 4.0, 5.0).sentence()
    only = latent.RandomDigits("otherwise", None, [0, 0, 0, 1, *[0] * 6], 9.1, 0.02, 4.0, 5.0).sentence()
    for word in ("somehow", "10% give a 0", "10.0% a 0", "10.0 equally frequent digits", "93%", "4.2", "4.0"):
        assert word in even
    for word in ("otherwise", "100% give a 3", "0.0% a 0", "1.0 equally frequent digits", "2%", "9.1"):
        assert word in only


# --- The plane


def test_the_square_leaves_outliers_out():
    codes = np.random.default_rng(0).normal(size=(5000, 2)) * (1, 3)
    codes[0] = 1000
    plane = plane_of(codes, np.zeros(5000, int))
    (left, right), (low, high) = plane.limits
    assert right - left == pytest.approx(high - low)
    assert 12 < high - low < 17
    expected = np.mean([left <= c1 <= right and low <= c2 <= high for c1, c2 in codes])
    assert plane.inside() == pytest.approx(expected)
    assert 0.95 < expected < 1


def test_counts_of_cells_and_their_neighbours(monkeypatch):
    monkeypatch.setattr(latent, "CELLS", 6)
    generator = np.random.default_rng(0)
    plane = plane_of(generator.normal(size=(300, 2)), generator.integers(0, 10, 300))
    counts, *middles = plane.count([2, 7])
    (left, right), (low, high) = plane.limits
    side = (right - left) / 6
    for at1 in range(6):
        for at2 in range(6):
            expected = 0
            for (c1, c2), label in zip(plane.codes, plane.labels, strict=True):
                cell1, cell2 = np.floor((c1 - left) / side), np.floor((c2 - low) / side)
                inside = 0 <= cell1 < 6 and 0 <= cell2 < 6
                expected += label in (2, 7) and inside and abs(cell1 - at1) <= 1 and abs(cell2 - at2) <= 1
            assert counts[at1, at2] == expected
    np.testing.assert_allclose(middles[0], left + side * (np.arange(6) + 0.5))
    np.testing.assert_allclose(middles[1], low + side * (np.arange(6) + 0.5))
    assert high - low == pytest.approx(right - left)


def test_best_code_lies_among_the_label():
    plane, centres = clusters()
    for label in range(10):
        code, share, _ = plane.best_code(label)
        assert np.linalg.norm(code - centres[label]) < 0.6
        assert share == pytest.approx(1)


def test_best_code_avoids_other_labels():
    generator = np.random.default_rng(0)
    codes = np.concatenate([generator.normal(0, 0.3, (900, 2)), generator.normal(4, 0.3, (500, 2))])
    labels = np.array([4, 9] * 450 + [4] * 500)  # the densest spot of 4s is at 0, but among as many 9s
    plane = plane_of(codes, labels)
    code, share, cell = plane.best_code(4)
    assert np.linalg.norm(np.subtract(code, 4)) < 0.8
    assert share == pytest.approx(1)
    free = np.ones((latent.CELLS, latent.CELLS), bool)
    free[latent.CELLS // 2 :] = False
    code, share, cell = plane.best_code(4, free)
    assert np.linalg.norm(code) < 0.8
    assert 0.3 < share < 0.9
    assert free[cell]


def test_chosen_codes():
    images = torch.rand(10, 28, 28)
    model = Stub(images[[0, 1, 2, 3, 9, 5, 6, 7, 8, 9]])  # of the code for a 4 it makes a 9
    plane, centres = clusters(model)
    chosen = latent.choose_codes(plane, images, torch.arange(10))
    assert [one.nearest for one in chosen] == [0, 1, 2, 3, 9, 5, 6, 7, 8, 9]
    for digit, one in enumerate(chosen):
        assert one.digit == digit
        assert np.linalg.norm(one.code - centres[digit]) < 0.6
        assert one.of_all == pytest.approx((plane.labels == digit).mean())
        assert torch.equal(one.picture, model.decoder.decoded[digit])
    assert "Code for a 4" in chosen[4].sentence()
    assert "100% of the training codes around it are 4s" in chosen[4].sentence()
    assert "nearest to a 9" in chosen[4].sentence()
    poor = latent.Chosen(7, (1.234, -5), images[0], 0.31, 0.1, 7).sentence()
    for words in ("a 7", "(1.23, -5.00)", "31%", "10% of all", "nearest to a 7"):
        assert words in poor


# --- Pictures


@pytest.mark.parametrize("kind", KINDS)
def test_the_mosaic_is_decoded_where_it_lies(kind, figures, monkeypatch):
    model = kind()
    plane, _ = clusters(model)
    asked = []
    monkeypatch.setattr(latent, "decode", lambda _, codes: (asked.append(codes), torch.rand(len(codes), 28, 28))[1])
    latent.save_latent(plane, None)
    latent.save_plane(plane, None)
    scatter, images = (figure.axes[0] for figure in figures)
    codes = asked[0].reshape(25, 25, 2)
    assert (np.diff(codes[0, :, 0]) > 0).all()
    assert (np.diff(codes[:, 0, 1]) < 0).all()
    if kind is autoencoder.Autoencoder:
        assert scatter.get_xlim() == images.get_xlim()
        assert scatter.get_ylim() == images.get_ylim()
        (left, right), (low, high) = plane.limits
        np.testing.assert_allclose(codes[0, :, 0], left + (right - left) * (np.arange(25) + 0.5) / 25)
        np.testing.assert_allclose(codes[::-1, 0, 1], low + (high - low) * (np.arange(25) + 0.5) / 25)
    else:
        quantiles = distributions.Normal(0, 1).cdf(torch.from_numpy(codes[0, :, 0])).numpy()
        np.testing.assert_allclose(quantiles, (np.arange(25) + 0.5) / 25, atol=1e-6)


def texts(figure, axis=0):
    return [text.get_text() for text in figure.axes[axis].texts]


def test_numbers_stand_only_where_a_label_has_a_majority(figures):
    plane, centres = clusters(autoencoder.Autoencoder())
    latent.save_latent(plane, None)
    assert sorted(texts(figures[0])) == [str(label) for label in range(10)]
    for text in figures[0].axes[0].texts:
        assert np.linalg.norm(text.get_position() - centres[int(text.get_text())]) < 0.6
    mixed = plane._replace(labels=np.random.default_rng(0).permutation(plane.labels))
    latent.save_latent(mixed, None)
    assert texts(figures[1]) == []


@pytest.mark.parametrize("code", [(0.5, -1), (80, -3), (-1e15, 1e15)])
def test_a_code_is_shown_wherever_it_lies(figures, code):
    plane, _ = clusters(autoencoder.Autoencoder())
    latent.save_code(plane, code, None)
    scatter, image = figures[0].axes
    (star,) = (line for line in scatter.lines if line.get_marker() == "*")
    assert (star.get_xdata()[0], star.get_ydata()[0]) == code
    (left, right), (low, high) = scatter.get_xlim(), scatter.get_ylim()
    assert left <= code[0] <= right
    assert low <= code[1] <= high
    np.testing.assert_allclose(image.images[0].get_array(), latent.decode(plane.model, [code])[0], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_code_that_overflows_is_refused(figures, kind):
    plane, _ = clusters(kind())
    with pytest.raises(utils.UserError, match=r"the code \(-3e\+38, 3e\+38\) is so far out that the decoder overflows"):
        latent.save_code(plane, (-3e38, 3e38), None)
    assert figures == []
