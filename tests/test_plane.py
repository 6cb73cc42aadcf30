"""The plane of codes: measured as by NumPy, tabled as measured, drawn in its frames."""

import numpy as np
import pytest
import torch

from autoencoder import Autoencoder, VariationalAutoencoder
from extras import plane
from extras.judge import train_judge
from extras.plane import Coded
from tests.test_nodes import fits, texts

KINDS = [Autoencoder, VariationalAutoencoder]
RING = np.stack([np.cos(np.arange(10)), np.sin(np.arange(10))], axis=1) * 5


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Autoencoder()


@pytest.fixture(scope="module")
def record(model, images, labels):
    return plane.analyse(model, (images[:600], labels[:600]), (images, labels))


@pytest.fixture
def ring():
    """Ten clusters in a ring, as `Coded` with images that tell nothing."""
    labels = torch.arange(5_000) % 10
    noise = np.random.default_rng(0).normal(size=(5_000, 2)) * 0.3
    codes = torch.from_numpy(RING[labels] + noise)
    return Coded(torch.rand(5_000, 28, 28), labels, codes)


# --- Measures


def test_distances_and_neighbours(ring):
    ring.codes[ring.labels == 3] += 100
    found = plane.measure_codes(ring, ring)
    codes = ring.codes.numpy()
    apart = np.linalg.norm(codes - np.median(codes, axis=0), axis=1)
    assert found.distance_of_all == pytest.approx(np.median(apart), abs=0.02)
    for digit in range(10):
        expected = np.median(apart[ring.labels == digit])
        assert found.distance[digit] == pytest.approx(expected, abs=0.05)
    assert found.correct > 0.99
    assert found.neighbours.sum(axis=1) == pytest.approx(np.ones(10))


def test_mixed_digits_are_neighbours(ring):
    fours_and_nines = (ring.labels == 4) | (ring.labels == 9)
    ring.codes[fours_and_nines] = torch.randn(1_000, 2).double()
    found = plane.measure_codes(ring, ring)
    assert found.neighbours[4, 9] == pytest.approx(0.5, abs=0.06)
    assert found.neighbours[9, 4] == pytest.approx(0.5, abs=0.06)
    assert found.neighbours[0, 0] > 0.95


def test_what_the_place_tells(ring):
    ink = 0.5 + 0.05 * ring.codes[:, 0].float()  # c1 tells the ink
    known = Coded(ring.images * ink[:, None, None], ring.labels, ring.codes)
    asked = Coded(known.images[:1_000], known.labels[:1_000], known.codes[:1_000])
    found = plane.measure_codes(known, asked)
    assert found.ink.mean() > 0.6
    assert found.slant.mean() < 0.3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_codes_are_those_of_evaluation_and_the_mode_stays(kind, training, images):
    model = kind().train(training)
    found = plane.encode(model, images[:20], torch.arange(20))
    codes, reconstructions = kind.forward(model.eval(), images[:20])
    model.train(training)
    torch.testing.assert_close(found.codes, codes.double())
    found = plane.reconstruct(model, images[:20])
    torch.testing.assert_close(found, reconstructions)
    assert model.training == training


def test_errors_beside_those_of_principal_components(record, model, images):
    pixels = images.flatten(1).double().numpy()
    train = pixels[:600]
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:2]
    copies = mean + (pixels - mean) @ axes.T @ axes
    reconstructions = model(images)[1].detach().flatten(1).double().numpy()
    expected = {
        "model": np.mean((reconstructions - pixels) ** 2),
        "2 components": np.mean((copies - pixels) ** 2),
        "mean image": np.mean((mean - pixels) ** 2),
    }
    assert record.errors == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("there", [[3], [3, 5]])
def test_random_codes_are_judged_by_their_pictures(there, images, labels, record):
    """A decoder that paints test images: what the judge is sure of is counted."""
    judge = train_judge(images, labels, epochs=20)
    sure = judge(images).softmax(dim=1).max(dim=1).values > 0.9
    chosen = [images[sure & (labels == digit)][0] for digit in there]
    painted = torch.stack(chosen).repeat(500, 1, 1)
    painter = torch.nn.Module()
    painter.decode = lambda codes: painted[: len(codes)]
    for one in plane.judge_random_codes(painter, record.train.codes, judge).values():
        assert one.recognised == 1
        assert one.different == pytest.approx(len(there))


def test_random_codes_come_as_their_names_say(record):
    codes = []
    painter = torch.nn.Module()
    painter.decode = lambda drawn: (
        codes.append(drawn) or torch.zeros(len(drawn), 28, 28)
    )
    own = 3 + 5 * torch.randn(10_000, 2)
    random = plane.judge_random_codes(painter, own, record.judge)
    spreads = [drawn.std().item() for drawn in codes]
    assert spreads == pytest.approx([1, 5, 100], rel=0.05)
    assert codes[1].mean().item() == pytest.approx(3, abs=0.4)
    names = list(random)
    assert names == ["N(0, I)", "the codes' own mean and spread", "N(0, 100^2 I)"]


def test_averages_are_of_two_different_digits(model, record, monkeypatch):
    judged = []
    monkeypatch.setattr(
        plane, "judge_pictures", lambda _, pictures: judged.append(pictures)
    )
    painted = torch.arange(10.0)[:, None, None].expand(10, 28, 28)
    labels = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    test = Coded(labels[:, None, None] * torch.ones_like(painted) / 10, labels, None)
    plane.judge_controls(model, test, None)
    values = judged[1][:, 0, 0]
    assert (20 * values).tolist() == pytest.approx([1 + 4, 1 + 5, 2 + 5, 3 + 6, 3 + 9])


def test_the_chosen_code_is_the_surest(model, record, ring):
    sample = Coded(ring.images, ring.labels, ring.codes.float())
    chosen = plane.choose_code(model, record.judge, sample, 4)
    pictures = model.decode(sample.of(4).codes)
    sureness = record.judge(pictures).softmax(dim=1)[:, 4]
    own = record.judge(chosen.picture[None]).softmax(dim=1)[0, 4]
    assert own.item() == pytest.approx(sureness.max().item(), abs=1e-6)
    assert chosen.share == 1
    torch.testing.assert_close(model.decode([chosen.code.tolist()])[0], chosen.picture)


def cells(table, name):
    """The cells of a table's row."""
    (line,) = [line for line in table.splitlines() if line.strip().startswith(name)]
    return line.strip().removeprefix(name).split()


def test_the_table_holds_the_measures(record):
    errors = plane.format_errors(record)
    expected = [f"{error:.4f}" for error in record.errors.values()]
    assert cells(errors, "mean squared error, test images") == expected
    codes = record.codes
    others = codes.neighbours[7] * (np.arange(10) != 7)
    assert cells(plane.format_digits(codes), "7 ") == [
        f"{codes.distance[7]:.1f}",
        f"{codes.neighbours[7, 7]:.0%}",
        f"{others.max():.0%}",
        f"{others.argmax()}s",
        f"{codes.slant[7]:.0%}",
        f"{codes.ink[7]:.0%}",
    ]
    pictures = plane.format_pictures(record.random | record.controls)
    normal = record.random["N(0, I)"]
    expected = [f"{normal.recognised:.0%}", f"{normal.different:.1f}"]
    assert cells(pictures, "N(0, I)") == expected


@pytest.mark.parametrize(("loss", "learned"), [(1.5, "yes"), (2.99, "no")])
def test_the_losses_say_whether_something_was_learned(loss, learned):
    parts = {"reconstruction": loss - 1, "KL": 1.0}
    losses = plane.LossMeasures("nats", 1.2345, parts, 1.7, mean_image=3.0)
    table = plane.format_losses(losses)
    assert cells(table, "loss, test images") == [f"{loss:#.4g}", "3.000"]
    assert cells(table, "KL") == ["1.00"]
    assert cells(table, "learned more than the mean image") == [learned]


def test_infinite_codes_are_a_line(model, images, labels):
    broken = Autoencoder()
    torch.nn.init.constant_(broken.encoder[1].weight, 1e38)
    with pytest.raises(FloatingPointError, match="the codes became infinite"):
        plane.analyse(broken, (images, labels), (images, labels))


# --- Pictures


def test_the_square_leaves_outliers_out():
    codes = np.random.default_rng(0).normal(size=(5000, 2)) * (1, 3)
    codes[0] = 1000
    limits = plane.square(codes)
    (left, right), (low, high) = limits
    assert right - left == pytest.approx(high - low)
    assert 0.95 < plane.inside(codes, limits).mean() < 1
    (left, right), _ = plane.square(np.full((50, 2), 1e8))
    assert left < right


def test_names_stand_at_the_medians_where_there_is_room(ring):
    dots = plane.make_plane(ring)
    found = plane.names_with_room(dots, dots.limits)
    assert sorted(found) == list(range(10))
    for digit, place in found.items():
        assert np.linalg.norm(place - RING[digit]) < 0.1
    middle = plane.names_with_room(dots, dots.middle)
    assert all(plane.inside(place, dots.middle) for place in middle.values())
    ring.codes[ring.labels == 9] = ring.codes[ring.labels == 4]
    found = plane.names_with_room(plane.make_plane(ring), dots.limits)
    assert len({4, 9} & set(found)) == 1


def test_pictures_stay_within(model, record):
    dots = plane.make_plane(record.test)
    fits(
        plane.latent_figure(dots, record.test.images),
        plane.random_figure(record.random),
    )
    fits(plane.plane_figure(model, dots.limits))
    chosen = [plane.choose_code(model, record.judge, record.test, d) for d in range(10)]
    fits(plane.digits_figure(chosen))
    planes = {"one": dots, "other": dots}
    fits(plane.comparison_figure(planes, dict.fromkeys(planes, record.random)))


def test_the_mosaic_is_decoded_where_it_lies():
    asked = []
    painter = torch.nn.Module()
    painter.decode = lambda codes: asked.append(codes) or torch.rand(len(codes), 28, 28)
    plane.plane_figure(painter, ((-2, 3), (0, 5)))
    codes = asked[0].reshape(25, 25, 2)
    even = (np.arange(25) + 0.5) / 25
    np.testing.assert_allclose(codes[0, :, 0], -2 + 5 * even)
    np.testing.assert_allclose(codes[::-1, 0, 1], 5 * even)


@pytest.mark.parametrize("code", [[0.5, -1], [80, -3], [-1e15, 1e15]])
def test_a_code_is_shown_wherever_it_lies(code, model, record):
    dots = plane.make_plane(record.test)
    with torch.no_grad():
        picture = model.decode([code])[0]
    figure = plane.code_figure(dots, code, picture, "title")
    scatter, decoded = figure.axes
    (star,) = [line for line in scatter.lines if line.get_marker() == "*"]
    low, high = scatter.get_xlim()
    assert low <= star.get_xdata()[0] <= high
    shown = decoded.images[0].get_array()
    np.testing.assert_allclose(shown, picture, atol=1e-6)


# --- Training


@pytest.fixture
def unfolding():
    moments = {
        step: {
            "codes": torch.full((5, 2), step + 1.0),
            "pictures": torch.rand(3, 28, 28),
        }
        for step in (1000, 0, 1, 4)
    }
    losses = torch.linspace(2, 1, 1000)
    return plane.make_unfolding(moments, losses, torch.arange(9)), losses


def test_unfolding(unfolding):
    found, losses = unfolding
    assert found.steps == [0, 1, 4, 1000]
    parts = losses[:1], losses[:1], losses[:4], losses[500:]
    assert found.losses == pytest.approx([part.mean().item() for part in parts])
    assert found.codes[:, 0, 0].tolist() == [1, 2, 5, 1001]
    assert found.pictures.shape == (4, 3, 28, 28)
    assert found.labels.tolist() == [0, 1, 2, 3, 4]


def test_pictures_of_the_training(record, images):
    moments = {
        step: {
            "codes": record.test.codes[:200] + step,
            "pictures": torch.rand(3, 28, 28),
        }
        for step in range(9)
    }
    losses = torch.linspace(2, 1, 1000)
    found = plane.make_unfolding(moments, losses, record.test.labels)
    curve = plane.Curve(losses, 1.5, "nats")
    training = plane.training_figure(found, images[:3], curve)
    fits(training, plane.unfolding_figure(found))
    assert "1.500" in texts(training)
    figure, draw_frame = plane.unfolding_frames(found)
    for number in (0, 8):
        draw_frame(number)
        assert f"step {number}" in texts(figure)
        fits(figure)
