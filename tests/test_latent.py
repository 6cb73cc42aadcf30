"""The plane of codes: its measures against NumPy, what its sentences say of one model and of another, the pictures."""

import numpy as np
import pytest
import torch

from autoencoder import Autoencoder, VariationalAutoencoder
from extras import latent

KINDS = [Autoencoder, VariationalAutoencoder]
ABOUT = "drawn digits, not MNIST, 3 steps"


def digits(count):
    """Images that differ by their label, and the labels."""
    images, labels = 0.3 * torch.rand(count, 28, 28), torch.arange(count) % 10
    images[torch.arange(count), 4 + 2 * labels] += 0.7
    return images, labels


def report(model, latent_dim=2):
    kept = {step: (torch.randn(200, latent_dim), torch.rand(8, 28, 28)) for step in (0, 1, 3)}
    return latent.report(model, *map(digits, (300, 400, 200)), torch.rand(3) + 0.1, kept, "model", "MSE", ABOUT)


def texts(figure):
    return " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_evaluated_and_its_mode_stays(kind, training):
    model, (images, _) = kind().eval(), digits(25)
    codes, reconstructions = (value.detach() for value in model(images))
    model.train(training)
    torch.testing.assert_close(latent.encode(model, images), codes.double())
    torch.testing.assert_close(latent.reconstruct(model, images), reconstructions)
    torch.testing.assert_close(latent.decode(model, codes.tolist()), reconstructions)
    assert model.training == training


def test_nearest_and_axes_against_numpy():
    others, codes = torch.randn(700, 784).double().numpy(), torch.randn(60, 784).double().numpy()
    distances, near = (np.linalg.norm(codes[:, None, :to] - others[:, :to], axis=2) for to in (784, 3))
    indices, found = latent.nearest(torch.from_numpy(codes[:, :3]), torch.from_numpy(others[:, :3]), 10)
    np.testing.assert_array_equal(indices, near.argsort(axis=1)[:, :10])
    np.testing.assert_allclose(found, np.sort(near, axis=1)[:, :10])
    indices, found = latent.nearest(*(torch.from_numpy(some).reshape(-1, 28, 28).float() for some in (codes, others)))
    np.testing.assert_array_equal(indices[:, 0], distances.argmin(axis=1))
    np.testing.assert_allclose(found[:, 0], distances.min(axis=1), rtol=1e-4)
    rows = others[:, :40] * np.linspace(0.1, 1, 40)
    expected = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2][:3]
    axes = latent.principal_axes(torch.from_numpy(rows), 3)[1].numpy()
    np.testing.assert_allclose(np.abs(axes.T @ expected.T), np.eye(3), atol=1e-9)  # signs are free


def test_slant_and_ink():
    images = torch.zeros(4, 28, 28)  # lines that lean to the right, not at all, and to the left; and no ink
    for up in range(-8, 9):
        for image, slope in enumerate((0.5, 0, -0.25)):
            images[image, 14 - up, 14 + round(slope * up)] = 1
    shape = latent.slant_and_ink(images)
    np.testing.assert_allclose(shape[:, 0], (0.5, 0, -0.25, 0), atol=0.03)
    np.testing.assert_allclose(shape[:, 1], (17 / 784, 17 / 784, 17 / 784, 0), rtol=1e-6)


def test_what_is_observed():
    codes, labels = torch.randn(1000, 2).double(), torch.arange(1000) % 10
    images = torch.rand(1000, 28, 28) * (0.5 + 0.1 * codes[:, :1, None].float().clamp(-3, 3))  # c1 tells the ink
    codes[labels == 3] += 100
    votes = 7 * torch.eye(10).long()[labels] + 3 * torch.eye(10).long()[(labels + 1) % 10]
    distances, middling, mixed, told = latent.observe(codes, codes, votes, (images, labels), (images, labels))
    apart = np.linalg.norm(codes.numpy() - np.median(codes.numpy(), axis=0), axis=1)
    assert middling == pytest.approx(np.median(apart), abs=0.02)
    assert distances[3] == pytest.approx(np.median(apart[labels == 3]), abs=0.1)
    assert (mixed[4][5], mixed[4][6]) == pytest.approx((0.15, 0))
    assert np.mean(told["ink"]) > 0.6
    assert np.mean(told["slant"]) < 0.3


def test_the_square_leaves_outliers_out():
    codes = np.random.default_rng(0).normal(size=(5000, 2)) * (1, 3)
    codes[0] = 1000
    (left, right), (low, high) = limits = latent.square(codes)
    assert right - left == pytest.approx(high - low)
    assert 0.95 < latent.inside(codes, limits).mean() < 1
    assert all(low < high for low, high in latent.square(np.full((50, 2), 1e8)))


def test_a_code_is_chosen_where_its_digit_is_dense_and_alone():
    model, (images, labels) = Autoencoder(), digits(100)
    codes = np.concatenate([np.random.default_rng(0).normal(at, 0.3, (500, 2)) for at in (0, 4)])
    plane = latent.Plane(codes, np.array([4, 9] * 250 + [4] * 500), latent.square(codes))  # around 0 half are 9s
    one = latent.choose(model, plane, (images, labels), 4)
    assert np.linalg.norm(np.subtract(one.code, 4)) < 0.6
    assert (one.share, one.of_all) == (1, 0.75)
    torch.testing.assert_close(one.picture, latent.decode(model, torch.tensor([one.code]))[0])
    assert one.nearest == labels[(images - one.picture).flatten(1).norm(dim=1).argmin()]
    assert latent.choose(model, plane, (images, labels), 9).share < 0.9, "there is no better place"


@pytest.mark.parametrize("there", [[3], [3, 5], list(range(10))])
def test_random_codes(there, monkeypatch):
    model, (images, labels) = Autoencoder(), digits(10)
    monkeypatch.setattr(latent, "RANDOM", 100)
    monkeypatch.setattr(latent, "decode", lambda _, codes: images[there].repeat(100, 1, 1)[: len(codes)])
    monkeypatch.setattr(latent, "reconstruct", lambda _, images: images)
    drawn, passing = latent.draw(model, torch.zeros(3, 2), (images, labels), digits(205)[0])
    assert [one.words for one in drawn] == list(model.random_codes(torch.zeros(3, 2), torch.zeros(3, 2)))
    for one in drawn:
        assert one.shares == pytest.approx([(digit in there) / len(there) for digit in range(10)], abs=0.01)
        assert latent.random_caption(one) == f"100% look like a digit, as varied as {len(there):.1f} of 10"
    assert passing < 0.4


def test_unfolding():
    losses, steps = torch.rand(1000), (1000, 0, 1, 4)
    kept = {step: (torch.full((5, 2), float(step)), None) for step in steps}
    seen = latent.unfolding(kept, losses, torch.arange(9))
    assert seen["steps"] == [0, 1, 4, 1000]
    assert seen["losses"] == pytest.approx(
        [some.mean().item() for some in (losses[:1], losses[:1], losses[:4], losses[500:])]
    )
    np.testing.assert_array_equal(seen["codes"][:, 0, 0], seen["steps"])


def test_what_is_said_of_the_loss():
    one = " ".join(latent.loss_sentences("nats", {"a": 130.0, "b": 4.44}, 206.3, (0.03, 0.04), 0.9, (1, 0.05, 0.4)))
    assert "134.4 = a 130.00 + b 4.44" in one and "206.3" in one
    assert "0.0400" in one and "1 principal component: 0.0500" in one


def test_what_is_said_of_the_plane():
    mixed, told = np.zeros((10, 10)), {"slant": [0.5, 0.9, *[0.7] * 8], "ink": [-0.2, *[0.1] * 9]}
    mixed[4, 9] = mixed[9, 4] = 0.21
    mixed[3, 8] = mixed[8, 3] = 0.12
    far, near, pairs, slant, ink = latent.observation([30, *[4] * 8, 2], 5, mixed.tolist(), told)
    assert all(words in far for words in ("0s lie farthest out", "30.0"))
    assert "9s lie nearest to it, at 2.0" in near
    assert all(words in pairs for words in ("4s and 9s are mixed most: 21%", "3s and 8s, with 12%"))
    assert "50% (0s) to 90% (1s)" in slant
    assert "0% (0s) to 10%" in ink
    assert "No digit lies far out" in next(latent.observation([5.5, *[5] * 9], 5, mixed.tolist(), told))


def test_what_is_said_of_random_codes():
    def said(*looks):
        drawn = [latent.Drawn("AB"[at], None, share, [0.1] * 8 + [0.05, 0.15]) for at, share in enumerate(looks)]
        return list(latent.random_sentences(drawn, 0.15))

    first, *_, verdict = said(0.9, 0.4)
    assert "A: 90% look like a digit, as varied as 9.7 of 10. Most often 9s come, least often 8s" in first
    assert "expects no digits, but with A most look like one." in verdict
    assert "expects no digits, and most look like none" in said(0.1, 0.4)[-1]
    assert "expects digits, and most look like one" in said(0.9)[-1]
    assert "expects digits, but most look like none" in said(0.1)[-1]
    assert "not judged" in said(np.nan)[0]


@pytest.mark.parametrize(("kind", "latent_dim"), [(Autoencoder, 2), (VariationalAutoencoder, 1), (Autoencoder, 3)])
def test_a_report(kind, latent_dim, tmp_path):
    sentences, figures = report(kind(latent_dim).double(), latent_dim)
    flat = {"plane.png", "digits.png", "digit4.png", "unfolding.png", "unfolding.gif"} if latent_dim == 2 else set()
    assert set(figures) == {"training.png", "latent.png", "random.png"} | flat
    assert any("need codes of two numbers" in line for line in sentences) == (latent_dim != 2)
    assert f"{latent_dim} principal component" in sentences[1]
    assert ("principal component" in texts(figures["latent.png"])) == (latent_dim == 3)
    if latent_dim == 2:
        figures.pop("unfolding.gif").save(tmp_path / "unfolding.gif", "pillow")
    assert all(ABOUT in texts(figure) for figure in figures.values())
    figures["latent.png"].savefig(tmp_path / "latent.png", dpi=30)


def test_nothing_is_said_of_what_was_not_learned(monkeypatch):
    model, looks_good = Autoencoder(), latent.Drawn("N(0, I)", torch.rand(64, 28, 28), 1.0, [0.1] * 10)
    torch.nn.init.zeros_(model.decoder[-3].weight)
    monkeypatch.setattr(latent, "draw", lambda *_: ([looks_good], 0.1))
    sentences, figures = report(model)
    assert "Nothing was learned" in " ".join(sentences)
    assert "look like a digit" not in " ".join((*sentences, texts(figures["random.png"])))
    torch.nn.init.constant_(model.encoder[1].weight, 1e38)
    with pytest.raises(FloatingPointError, match="the codes became"):
        report(model)


def test_names_stand_on_their_clusters_and_not_on_each_other():
    labels, centres = np.arange(5000) % 10, np.stack([np.cos(np.arange(10)), np.sin(np.arange(10))], axis=1) * 5
    codes = centres[labels] + np.random.default_rng(0).normal(size=(5000, 2)) * 0.3
    plane = latent.Plane(codes, labels, latent.square(codes))
    found = latent.places(plane, plane.limits)
    assert sorted(found) == list(range(10))
    assert all(np.linalg.norm(found[digit] - centres[digit]) < 0.6 for digit in range(10))
    moved = latent.places(plane, plane.limits, star=[found[4]])
    assert 4 not in moved or np.abs(moved[4] - found[4]).max() > 0.07 * np.ptp(plane.limits[0])
    assert latent.places(plane._replace(labels=np.random.default_rng(0).permutation(labels)), plane.limits) == {}


def test_the_mosaic_is_decoded_where_it_lies(monkeypatch):
    asked = []
    monkeypatch.setattr(latent, "decode", lambda _, codes: (asked.append(codes), torch.rand(len(codes), 28, 28))[1])
    latent.plane_figure(None, ((-2, 3), (0, 5)), ABOUT)
    codes, even = asked[0].reshape(25, 25, 2), (np.arange(25) + 0.5) / 25
    np.testing.assert_allclose(codes[0, :, 0], -2 + 5 * even)
    np.testing.assert_allclose(codes[::-1, 0, 1], 5 * even)


@pytest.mark.parametrize("code", [[0.5, -1], [80, -3], [-1e15, 1e15]])
def test_a_code_is_shown_wherever_it_lies(code):
    model = Autoencoder()
    images, labels = digits(100)
    plane = latent.plane(latent.encode(model, images), labels)
    scatter, image = latent.code_figure(model, code, plane, ABOUT).axes
    (star,) = (line for line in scatter.lines if line.get_marker() == "*")
    assert scatter.get_xlim()[0] <= star.get_xdata()[0] <= scatter.get_xlim()[1]
    np.testing.assert_allclose(image.images[0].get_array(), latent.decode(model, [code])[0], atol=1e-6)
