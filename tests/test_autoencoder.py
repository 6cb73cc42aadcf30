"""The dense and the variational autoencoder: formulas, samples, training, what a stop leaves, the script."""

import copy
import math
import multiprocessing
import random
import re
import resource
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

import autoencoder
import utils
from autoencoder import Autoencoder, VariationalAutoencoder, plot, sample_train, train
from extras.checkpoint import Run
from tests.conftest import ROOT, needs_mnist

KINDS = [Autoencoder, VariationalAutoencoder]
SETTINGS = {"batch_size": 50, "lr": 1e-3, "seed": 0}


@pytest.fixture
def few(script, digits):
    """`sample_train` on few digits, and 100 test images, `(100, 28, 28)`."""
    return torch.from_numpy(digits[1].images[:100]) / 255


def new_run(kind, images, **settings):
    torch.manual_seed(0)
    return Run(kind(), images, **SETTINGS | settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
def test_shapes_and_ranges(kind, latent_dim):
    model = kind(latent_dim)
    codes, reconstructions = model(torch.rand(3, 28, 28))
    assert codes.shape == (3, latent_dim)
    assert reconstructions.shape == (3, 28, 28)
    assert 0 <= reconstructions.min() <= reconstructions.max() <= 1
    assert torch.equal(model.decoder(codes), reconstructions)
    for shape in ((3, 784), (3, 1, 28, 28), (28, 28), (0, 28, 28)):
        with pytest.raises(ValueError, match=r"expected \(N, 28, 28\)"):
            model.losses(torch.zeros(shape))
    for value in (-0.42, 2.82, 255, math.nan):
        with pytest.raises(ValueError, match="expected 0 to 1"):
            model.losses(torch.full((3, 28, 28), value))


def test_elbo_by_pytorchs_distributions():
    torch.manual_seed(0)
    model, images = VariationalAutoencoder().double(), torch.rand(7, 28, 28).double().round()
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


def test_codes_are_samples_in_training_means_in_evaluation_and_within_limits():
    model, images = VariationalAutoencoder(), torch.rand(3, 28, 28)
    assert not torch.equal(model(images)[0], model(images)[0])
    assert torch.equal(model.eval()(images)[0], model.posterior(images)[0])
    for value in (-1e6, 1e6):
        torch.nn.init.constant_(model.encoder[-1].bias, value)
        assert sum(model.losses(images).values()).isfinite()


def test_baseline_is_the_loss_of_the_mean_image():
    images = torch.rand(50, 28, 28)
    mean = images.mean(dim=0).expand_as(images)
    assert Autoencoder().baseline(images) == pytest.approx(F.mse_loss(mean, images).item(), rel=1e-4)
    nats = F.binary_cross_entropy(mean, images, reduction="sum").item() / 50
    assert VariationalAutoencoder().baseline(images) == pytest.approx(nats, rel=1e-4)


# --- Samples


def test_sample_train(few, digits):
    images, labels = sample_train(3_000, return_labels=True)
    assert (images.shape, images.dtype, labels.dtype) == ((3_000, 28, 28), torch.float32, torch.int64)
    pairs = zip((255 * images).round().byte().numpy(), labels.tolist(), strict=True)
    drawn = sorted((image.tobytes(), label) for image, label in pairs)  # each image once, with its own label
    assert drawn == sorted(zip(map(bytes, digits[0].images), digits[0].labels, strict=True))
    for N in (0, 3_001):
        with pytest.raises(ValueError, match="expected 1 to 3000"):
            sample_train(N)
    assert not torch.equal(sample_train(5), sample_train(5))
    assert torch.equal(sample_train(5, generator=0), sample_train(5, generator=0))
    generator = np.random.default_rng(0)
    assert not torch.equal(sample_train(5, generator=generator), sample_train(5, generator=generator))


def test_another_package_named_mnist(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mnist", types.ModuleType("mnist"))
    with pytest.raises(utils.UserError, match="pip install mnist"):
        autoencoder.read_with_mnist(tmp_path / "train-images-idx3-ubyte.gz")


def test_the_package_mnist_reads_what_numpy_reads():
    train_set = utils.load_digits(True, needs_mnist(), autoencoder.read_with_mnist)
    assert np.array_equal(train_set.images, utils.load_digits(True, needs_mnist()).images)


# --- Training


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_the_textbooks(few, kind):
    """Beside a plain loop with a plain Adam, and an average of the weights by its formula."""
    falls = kind is VariationalAutoencoder
    run = new_run(kind, few, falls=falls)
    model, losses = copy.deepcopy(run.model), []
    average = [torch.zeros_like(weight) for weight in model.parameters()]
    optimizer, generator = torch.optim.Adam(model.parameters(), lr=(1 + falls) * 1e-3), np.random.default_rng(0)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0 if falls else 1, 30)
    torch.manual_seed(5)
    for step in range(1, 31):
        loss = sum(model.losses(sample_train(50, generator=generator)).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
        share = 9 / (step + 8)
        average = [(1 - share) * a + share * w.detach() for a, w in zip(average, model.parameters(), strict=True)]
    torch.manual_seed(5)
    train(run, 30, choose=False)
    assert run.losses.tolist() == pytest.approx(losses, rel=1e-3)
    for ours, expected in zip(run.averaged.parameters(), average, strict=True):
        assert torch.allclose(ours, expected, atol=2e-4)
    assert set(run.kept) >= {0, 1, 30}
    assert torch.equal(run.kept[30][0], run.averaged(few)[0])


def train_script(folder, digits):
    """What a process does that is killed: the script, which saves every 20 steps."""
    utils.load_digits = lambda train=True, data=None, read=None: digits[not train]
    autoencoder.load_tensors.cache_clear()
    autoencoder.PLOTTED, autoencoder.SAVE_STEPS = 100, 20
    autoencoder.plot = lambda *_: sys.exit(0)  # at the end, without pictures
    flags = ["--variational", "--steps", "300", "--batch-size", "8", "--threads", "1"]
    sys.argv = ["autoencoder.py", *flags, "--figures", str(folder)]
    utils.run(autoencoder.main, "autoencoder.py")


def test_a_killed_training_goes_on(digits, tmp_path):
    """Ten kills at random moments, two of them while two runs share a folder; then the weights of an unbroken run."""

    def start(folder):
        process = multiprocessing.get_context("fork").Process(target=train_script, args=(tmp_path / folder, digits))
        process.start()
        return process

    for kill in range(10):
        running = [start("killed") for _ in range(1 + (kill % 5 == 4))]
        time.sleep(random.uniform(0.05, 0.4))
        for process in running:
            process.kill()
            process.join()
    saved = []
    for folder in ("killed", "unbroken"):
        (last := start(folder)).join(60)
        assert last.exitcode == 0
        saved.append(torch.load(next((tmp_path / folder).rglob("checkpoint.pt"))))
    assert saved[0]["step"] == 300
    torch.testing.assert_close(saved[0]["latest"], saved[1]["latest"], rtol=0, atol=0)


def test_a_loss_that_is_no_number_stops_before_it_is_saved(few, tmp_path):
    run = new_run(Autoencoder, few, lr=1e9)
    with pytest.raises(FloatingPointError, match="smaller --lr"):
        train(run, 50, tmp_path / "checkpoint.pt", choose=False)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def saved(few, tmp_path):
    train(run := new_run(Autoencoder, few), 5, tmp_path / "checkpoint.pt", choose=False)
    return run, tmp_path / "checkpoint.pt"


def test_a_full_disk_keeps_the_checkpoint_before(saved):
    run, path = saved
    before, (soft, hard) = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as from a full disk, half a file and an OSError
    try:
        with pytest.raises(OSError, match="too large"):
            train(run, 6, path, choose=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.read_bytes() for path in path.parent.iterdir()] == [before]


def test_checkpoints_are_plain_and_damaged_and_foreign_ones_are_refused(saved, few):
    run, path = saved
    model, content = Autoencoder(), path.read_bytes()
    model.load_state_dict(torch.load(path, weights_only=True)["weights"])
    assert torch.equal(model(few)[0], run.averaged(few)[0])
    assert len(content) < 10e6
    middle = bytearray(content)
    middle[len(content) // 2] ^= 1
    for damaged in (bytes(middle), content[:-1000], b"", b"something else"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            new_run(Autoencoder, few).load(path)
    path.write_bytes(content)
    with pytest.raises(ValueError, match="another model"):
        new_run(VariationalAutoencoder, few).load(path)
    with pytest.raises(ValueError, match="was started with"):
        new_run(Autoencoder, few, lr=1.0).load(path)


@pytest.mark.parametrize(
    ("dtype", "seconds", "allowed"),
    [(torch.float64, 0.01, True), (torch.bfloat16, 0.01, False), (torch.float64, 1, False)],
)
def test_fast_products_are_allowed_where_they_are_faster_and_exact(dtype, seconds, allowed, monkeypatch):
    times, matmul = iter([1, seconds]), torch.backends.mkldnn.matmul
    monkeypatch.setattr(autoencoder.timeit, "repeat", lambda *_, **__: [next(times)])
    monkeypatch.setattr(autoencoder.F, "linear", lambda a, b: (a.to(dtype) @ b.to(dtype).T).float())
    autoencoder.allow_fast_products()
    found, matmul.fp32_precision = matmul.fp32_precision, "none"
    assert (found == "bf16") == allowed


def test_a_gpu_of_apple_can_do_everything():
    """No method that the sources call is in PyTorch's list of what MPS lacks."""
    text = (Path(torch.__file__).parent / "testing" / "_internal" / "common_mps.py").read_text()
    lacking = set(re.findall(r'"([a-z_.]+)": None', text[text.index("UNIMPLEMENTED") :].split("}")[0]))
    lacking = {name.split(".")[-1] for name in lacking} - {"to", "double"}  # which here are for the CPU
    assert "mode" in lacking
    for path in (ROOT / "autoencoder.py", ROOT / "codelet7.py", *(ROOT / "extras").glob("*.py")):
        called = set(re.findall(r"\.([a-z_]+)\(", path.read_text()))
        assert not called & lacking, path.name


# --- The script


def test_script(script, tmp_path, monkeypatch):
    """Both models; then again, which draws without training, and `--anew`, which trains."""
    flags, name = ["--steps", "20", "--batch-size", "20", "--threads", "1"], "-steps20-batch-size20"
    folder = tmp_path / "figures" / "drawn" / f"autoencoder{name}"
    status, _, errors = script("autoencoder.py", *flags, "--code", "0", "0")
    assert (status, errors.count("\n"), "leave --code out" in errors) == (1, 0, True)
    status, out, errors = script("autoencoder.py", *flags)
    assert (status, errors, "step 20/20" in out) == (0, "", True)
    pictures = ("reconstructions", "training", "latent", "plane", "random", "digits", "digit4", "unfolding")
    more = {"unfolding.gif", "checkpoint.pt", "explore.html", "report.txt"}
    assert {path.name for path in folder.iterdir()} == {f"{name}.png" for name in pictures} | more
    monkeypatch.setattr(autoencoder.latent, "report", lambda *_: ([], {}))  # which takes seconds
    assert script("autoencoder.py", *flags, "--variational")[::2] == (0, "")
    assert (folder.parent / f"unruly_or_tamed{name}.png").exists()
    monkeypatch.setattr(autoencoder.latent, "compare", lambda *_: Figure())
    assert script("autoencoder.py", *flags, "--latent-dim", "3")[::2] == (0, "")
    assert script("autoencoder.py", *flags, "--latent-dim", "3", "--code", "1", "2", "3")[::2] == (0, "")
    before = (checkpoint := folder / "checkpoint.pt").read_bytes()
    assert script("autoencoder.py", *flags, "--code", "0.5", "-1")[0] == 0
    assert (folder / "code.png").exists()
    status, _, errors = script("autoencoder.py", *flags, "--code", "3e38", "3e38")
    assert (status, errors.count("\n"), "overflows" in errors) == (1, 0, True)
    status, out, _ = script("autoencoder.py", *flags)
    assert (status, "holds 20 of 20 steps" in out, "step 20/20" in out) == (0, True, False)
    assert checkpoint.read_bytes() == before
    status, out, _ = script("autoencoder.py", *flags, "--anew")
    assert (status, "step 20/20" in out) == (0, True)
    checkpoint.write_bytes(before[:100])
    status, _, errors = script("autoencoder.py", *flags)
    assert (status, errors.count("\n"), "--anew trains again" in errors) == (1, 0, True)


def test_plot(few, monkeypatch):
    shown = []
    monkeypatch.setattr(autoencoder, "show", lambda pairs, *_, **__: shown.append(pairs))
    plot(model := Autoencoder(), few[:3])
    assert torch.equal(shown[0][::2], few[:3])
    torch.testing.assert_close(shown[0][1::2], model(few[:3])[1])
