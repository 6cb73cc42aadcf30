"""The dense and the variational autoencoder beyond the assignment's checks: formulas,
inputs, samples, training, the script."""

import copy

import mnist
import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

import autoencoder
import utils
from autoencoder import Autoencoder, VariationalAutoencoder, sample_train, train
from tests.conftest import run_script

KINDS = [Autoencoder, VariationalAutoencoder]


# --- The models


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@pytest.mark.parametrize("shape", [(28, 28), (1, 28, 28), (784,)])
def test_images_of_any_shape_come_back_in_it(kind, latent_dim, shape):
    model = kind(latent_dim)
    images = torch.rand(3, *shape)
    codes, reconstructions = model(images)
    assert codes.shape == (3, latent_dim)
    assert reconstructions.shape == images.shape
    assert model.encode(images).shape == (3, latent_dim)
    assert model.loss(images).isfinite()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_encode_and_decode_do_without_samples(kind, training):
    model = kind().train(training)
    images = torch.rand(3, 28, 28)
    codes = model.encode(images)
    assert torch.equal(codes, model.encode(images))
    pictures = model.decode(codes.double())
    assert pictures.shape == (3, 28, 28)
    torch.testing.assert_close(model.decode(codes.tolist()), pictures)
    if not training:
        assert torch.equal(model(images)[0], codes)


def test_the_variational_codes_are_samples_in_training():
    model = VariationalAutoencoder()
    images = torch.rand(3, 28, 28)
    assert not torch.equal(model(images)[0], model(images)[0])
    mu, logvar = model.posterior(images)
    assert torch.equal(model.encode(images), mu)
    assert logvar.shape == (3, 2)


@pytest.mark.parametrize("value", [-1e6, 1e6])
def test_extreme_variances_have_a_finite_loss(value):
    model = VariationalAutoencoder()
    torch.nn.init.constant_(model.encoder[-1].bias, value)
    assert model.loss(torch.rand(3, 28, 28)).isfinite()


@pytest.mark.parametrize("kind", KINDS)
def test_other_inputs_are_refused(kind):
    model = kind()
    for shape in ((28, 28), (3, 783), (0, 28, 28)):
        for refuses in (model, model.encode, model.losses):
            with pytest.raises(ValueError, match=r"expected \(N, 28, 28\)"):
                refuses(torch.zeros(shape))
    for refuses in (model, model.encode, model.losses):
        with pytest.raises(TypeError, match=r"torch\.from_numpy"):
            refuses(np.zeros((3, 28, 28), np.float32))
    for value in (-0.42, 2.82, 255, torch.nan):
        images = torch.full((3, 28, 28), value)
        for refuses in (model.encode, model.losses):
            with pytest.raises(ValueError, match="expected 0 to 1"):
                refuses(images)


@pytest.mark.parametrize("value", [1.0000001, -0.0016, 1.009])
def test_what_a_resize_leaves_is_taken(value):
    for kind in KINDS:
        images = torch.rand(3, 28, 28)
        images[0, 0, 0] = value
        assert kind().loss(images).isfinite()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_forward_can_be_exported_and_mapped(kind):
    model = kind().eval()
    images = torch.rand(4, 28, 28)
    exported = torch.export.export(model, (images,))
    torch.testing.assert_close(exported.module()(images)[1], model(images)[1])
    each = torch.func.vmap(lambda image: model(image[None])[1][0])(images)
    torch.testing.assert_close(each, model(images)[1])


def test_elbo_by_pytorchs_distributions():
    torch.manual_seed(0)
    model = VariationalAutoencoder().double()
    images = torch.rand(7, 28, 28).double().round()
    mu, logvar = model.posterior(images)
    posterior = Normal(mu, (logvar / 2).exp())
    torch.manual_seed(1)
    losses = model.losses(images)
    torch.manual_seed(1)
    codes = mu + torch.randn_like(mu) * posterior.stddev
    expected = -Bernoulli(model.decoder(codes)).log_prob(images).sum() / 7
    assert losses["reconstruction"].item() == pytest.approx(expected.item(), rel=1e-6)
    expected = kl_divergence(posterior, Normal(0.0, 1.0)).sum() / 7
    assert losses["KL"].item() == pytest.approx(expected.item(), rel=1e-6)
    torch.manual_seed(1)
    assert model.loss(images).item() == pytest.approx(sum(losses.values()).item())


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_the_mean_image(kind, images):
    """Of a decoder that gives the mean image and an encoder that tells nothing, by the
    model's own loss."""
    model = kind().double()
    mean = images.double().mean(dim=0).clamp(1e-9, 1 - 1e-9)
    for layer in (model.encoder[-1], model.decoder[-3]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        model.decoder[-3].bias.copy_(mean.logit().flatten())
    pixels = images.double()
    found = autoencoder.measure_losses(model, model, pixels, pixels)
    assert found.mean_image == pytest.approx(found.test, rel=1e-6)


# --- Samples


@pytest.fixture
def few_samples(few, monkeypatch):
    monkeypatch.setattr(mnist, "temporary_dir", lambda: few)


@pytest.mark.usefixtures("few_samples")
def test_a_sample_has_each_image_once_with_its_label(few):
    images, labels = sample_train(3_000, return_labels=True)
    assert images.dtype == torch.float32
    assert labels.dtype == torch.int64
    pixels = (255 * images).round().byte().numpy()
    found = sorted(
        (a.tobytes(), b) for a, b in zip(pixels, labels.tolist(), strict=True)
    )
    pairs = zip(*utils.load_mnist(True, few), strict=True)
    assert found == sorted((a.tobytes(), b) for a, b in pairs)


@pytest.mark.usefixtures("few_samples")
def test_samples_differ_but_for_the_same_seed():
    assert not torch.equal(sample_train(5), sample_train(5))
    assert torch.equal(sample_train(5, generator=0), sample_train(5, generator=0))
    generator = np.random.default_rng(0)
    first = sample_train(5, generator=generator)
    assert not torch.equal(first, sample_train(5, generator=generator))
    for N in (0, 3_001):
        with pytest.raises(ValueError, match="expected 1 to 3000"):
            sample_train(N)


def test_samples_are_mnists_where_nobody_has_set_a_folder():
    assert autoencoder.data_folder() == utils.DATA
    assert len(autoencoder.load_tensors(True)[0]) == 60_000


# --- Training


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("few_samples")
def test_training_is_the_textbooks(kind):
    """Beside a plain loop with a plain Adam, and a rate by its formula."""
    torch.manual_seed(0)
    model = kind()
    other = copy.deepcopy(model)
    generator = np.random.default_rng(3)
    optimizer = torch.optim.Adam(other.parameters())
    torch.manual_seed(5)
    for step in range(30):
        falling = kind is VariationalAutoencoder
        optimizer.param_groups[0]["lr"] = 2e-3 * (1 - step / 30) if falling else 1e-3
        loss = other.loss(sample_train(50, generator=generator))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.manual_seed(5)
    train(model, 30, 50, lr=1e-3, seed=3)
    for ours, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours, expected, atol=2e-4)


# --- Pictures, and the model on disk


def test_plot_shows_pairs(images, tmp_path):
    model = Autoencoder()
    pairs = autoencoder.reconstruction_pairs(model, images[:3])
    assert torch.equal(pairs[::2], images[:3])
    torch.testing.assert_close(pairs[1::2], model(images[:3])[1].detach())
    autoencoder.plot(model, images[:1], tmp_path / "pair.png")
    assert (tmp_path / "pair.png").stat().st_size > 1_000
    with pytest.raises(ValueError, match="expected 0 to 1"):
        autoencoder.plot(model, 255 * images[:1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent_dim", [1, 2, 4])
def test_a_saved_model_is_told_by_its_widths(kind, latent_dim, images, tmp_path):
    model = kind(latent_dim)
    utils.save_weights(model.state_dict(), tmp_path / "model.pt")
    loaded = autoencoder.load(tmp_path / "model.pt")
    assert type(loaded) is kind
    assert not loaded.training
    assert torch.equal(loaded.encode(images), model.encode(images))


def test_other_files_than_the_models_are_a_line(tmp_path):
    path = tmp_path / "model.pt"
    for state in ({"a": torch.ones(1)}, {"encoder.0.weight": torch.ones(2, 3)}, [1]):
        utils.save_weights(state, path)
        with pytest.raises(utils.UserError, match="of another model"):
            autoencoder.load(path)


@pytest.mark.parametrize("key", autoencoder.KINDS)
def test_the_committed_models_are_trained(key, images, labels):
    model = autoencoder.load(utils.FIGURES / key / "model.pt")
    assert type(model) is autoencoder.KINDS[key]
    reconstructions = model.decode(model.encode(images))
    assert (reconstructions - images).square().mean() < 0.034  # the mean image: 0.067


# --- The script

FLAGS = ["--steps", "3", "--batch-size", "20", "--threads", "1"]
PICTURES = {
    *(f"{name}.png" for name in ("reconstructions", "training", "latent", "plane")),
    *(f"{name}.png" for name in ("random", "digits", "digit4", "unfolding")),
    "unfolding.gif",
}
FILES = {"checkpoint.pt", "model.pt", "explore.html", "report.txt"}


@pytest.fixture(scope="module")
def figures(few, tmp_path_factory):
    """Where both models were trained for three steps."""
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "reduce_colours", lambda _: None)  # takes seconds
        for kind in ([], ["--variational"]):
            flags = [*FLAGS, *kind, "--data", few, "--figures", folder]
            assert run_script("autoencoder.py", *flags).status == 0
    return folder


@pytest.fixture
def run(few, figures):
    """Function that runs the script again, with more flags."""
    where = ["--data", few, "--figures", figures]
    return lambda *more: run_script("autoencoder.py", *FLAGS, *where, *more)


def folder_of(figures, kind="autoencoder"):
    (folder,) = figures.glob(f"{kind}-steps3-batch-size20-data*")
    return folder


def test_the_script_saves_everything(figures):
    for kind in autoencoder.KINDS:
        folder = folder_of(figures, kind)
        assert {path.name for path in folder.iterdir()} == PICTURES | FILES
    assert list(figures.glob("unruly_or_tamed-steps3-batch-size20-data*.png"))


def test_the_report_is_a_table_in_ascii(figures, few):
    report = (folder_of(figures) / "report.txt").read_text("utf-8")
    assert report.isascii()
    assert report.startswith(f"{few.name}, 3 steps, --batch-size 20\n")
    assert "learned more than the mean image" in report


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr(autoencoder, "save_pictures", lambda *_: None)


@pytest.mark.usefixtures("no_pictures")
def test_a_trained_run_is_drawn_again_and_not_trained(run, figures, capsys):
    checkpoint = folder_of(figures) / "checkpoint.pt"
    before = checkpoint.read_bytes()
    assert run().status == 0
    out = capsys.readouterr().out
    assert "holds 3 of 3 steps" in out
    assert "step 3/3" not in out
    assert checkpoint.read_bytes() == before


@pytest.mark.usefixtures("no_pictures")
def test_anew_trains_again(run, capsys):
    assert run("--anew").status == 0
    assert "step 3/3" in capsys.readouterr().out


@pytest.mark.usefixtures("no_pictures")
def test_a_damaged_checkpoint_is_a_line(run, figures):
    checkpoint = folder_of(figures) / "checkpoint.pt"
    before = checkpoint.read_bytes()
    checkpoint.write_bytes(before[:100])
    end = run()
    checkpoint.write_bytes(before)
    assert end.status == 1
    assert "--anew trains again" in end.line
    assert "\n" not in end.line


def test_a_code_is_decoded(run, figures):
    assert run("--code", "0.5", "-1").status == 0
    assert (folder_of(figures) / "code.png").exists()
    assert "overflows" in run("--code", "3e38", "3e38").line


def test_a_code_of_no_trained_model_is_a_line(few, tmp_path):
    flags = ["--steps", "7", "--data", few, "--figures", tmp_path, "--code", "0", "0"]
    end = run_script("autoencoder.py", *flags)
    assert end.status == 1
    assert "leave --code out to train" in end.line


def test_the_committed_model_decodes_where_no_run_is(tmp_path):
    end = run_script("autoencoder.py", "--code", "0", "0", "--figures", tmp_path)
    assert end.status == 0
    assert [path.name for path in (tmp_path / "autoencoder").iterdir()] == ["code.png"]


def test_other_numbers_of_a_code_have_no_plane(run, few, figures):
    assert run("--latent-dim", "3").status == 0
    (folder,) = figures.glob("*latent-dim3*")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "checkpoint.pt", "model.pt", "report.txt",
        "reconstructions.png", "training.png", "random.png",
    }  # fmt: skip
    assert run("--latent-dim", "3", "--code", "1", "2", "3").status == 0


@pytest.mark.slow
def test_a_run_that_learned_nothing_says_so(few, tmp_path, monkeypatch):
    monkeypatch.setattr(utils, "reduce_colours", lambda _: None)  # takes seconds
    flags = ["--steps", "12", "--batch-size", "20", "--threads", "1", "--lr", "1"]
    where = ["--data", few, "--figures", tmp_path]
    end = run_script("autoencoder.py", "--variational", *flags, *where)
    assert end.status == 0, end.line
    (folder,) = tmp_path.glob("variational*")
    report = (folder / "report.txt").read_text()
    learned = next(line for line in report.splitlines() if "learned more" in line)
    assert learned.split()[-1] == "no"
