"""The dense and the variational autoencoder: their contracts, checkpoints, pictures, and by running them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backend_bases import MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import distributions

import autoencoder
import utils
from digits import draw_digits
from tests.running import ROOT, interrupt_script, run_script

KINDS = [autoencoder.Autoencoder, autoencoder.VariationalAutoencoder]
PICTURES = ["four.png", "latent.png", "plane.png", "random.png", "reconstructions.png", "training.png"]
DEVICE = torch.device("cpu")


@pytest.fixture
def drawn(monkeypatch):
    """Makes the project see 3,000 drawn training digits and 1,000 test digits."""
    sets = {
        train: utils.Digits(*draw_digits(3000 if train else 1000, seed=train), utils.DRAWN) for train in (True, False)
    }
    monkeypatch.setattr(utils, "load_digits", lambda train=True, data=None: sets[train])
    monkeypatch.setattr(autoencoder, "DRAWN_CODES", 2000)
    autoencoder.load_tensors.cache_clear()
    yield sets
    autoencoder.load_tensors.cache_clear()


def settings(*arguments):
    return autoencoder.flags().parse_args([str(argument) for argument in arguments])


def new_run(kind=autoencoder.Autoencoder, *arguments):
    chosen = settings("--steps", 40, *arguments)
    torch.manual_seed(chosen.seed)
    return autoencoder.Run(kind(), chosen, utils.DRAWN), chosen


def weights_of(path):
    return torch.load(path, weights_only=True)["weights"]


# --- Models


@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_ranges(kind):
    model = kind(latent_dim=2).eval()
    codes, reconstructions = model(torch.rand(5, 28, 28))
    assert codes.shape == (5, 2) and reconstructions.shape == (5, 28, 28)
    assert 0 <= reconstructions.min() and reconstructions.max() <= 1
    assert model.decoder(100 * torch.randn(3, 2)).shape == (3, 28, 28)


def test_submodules_are_the_assignments():
    model = autoencoder.Autoencoder()
    images = torch.rand(5, 28, 28)
    codes, reconstructions = model(images)
    assert torch.equal(codes, model.encoder(images)) and torch.equal(reconstructions, model.decoder(codes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(5, 784), (28, 28), (5, 1, 28, 28), (5, 28, 27)])
def test_wrong_images_are_refused(kind, shape):
    for module in (kind(), kind().encoder):
        with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}.*\(N, 28, 28\)"):
            module(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(5, 3), (2,), (5, 2, 1)])
def test_wrong_codes_are_refused(shape):
    with pytest.raises(ValueError, match=rf"{re.escape(str(shape))}.*\(N, 2\)"):
        autoencoder.Autoencoder().decoder(torch.zeros(shape))


def test_mean_squared_error():
    model, images = autoencoder.Autoencoder(), torch.rand(7, 28, 28)
    expected = np.square(model(images)[1].detach().double().numpy() - images.double().numpy()).mean()
    assert model.losses(images)[0].item() == pytest.approx(expected, rel=1e-5)


def test_kl_against_torch_distributions():
    torch.manual_seed(0)
    standard = distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    for scale in (0.1, 1, 20):
        mu, logvar = torch.randn(50, 2).double() * scale, torch.randn(50, 2).double() * scale
        expected = distributions.kl_divergence(distributions.Normal(mu, torch.exp(logvar / 2)), standard)
        torch.testing.assert_close(autoencoder.kl_divergence(mu, logvar), expected)
    assert autoencoder.kl_divergence(torch.zeros(1), torch.zeros(1)).item() == 0


@pytest.mark.parametrize("logvar", [-1e4, -20, 20, 1e4])
def test_extreme_log_variances_stay_finite(logvar):
    model, images = autoencoder.VariationalAutoencoder(), torch.rand(4, 28, 28)
    last = model.encoder.layers[-1]
    with torch.no_grad():
        last.bias[2:] = logvar
    losses = model.losses(images)
    sum(losses).backward()
    assert all(loss.isfinite() for loss in losses)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    limited = max(-20, min(20, logvar))
    mu, _ = model.posterior(images)
    expected = distributions.kl_divergence(distributions.Normal(mu, np.exp(limited / 2)), distributions.Normal(0, 1))
    assert losses[1].item() == pytest.approx(expected.sum().item() / 4, rel=0.02)


def test_likelihood_against_torch_distributions():
    model, images = autoencoder.VariationalAutoencoder(), torch.rand(6, 28, 28)
    for gain in (1, 300):  # also where the sigmoid is 0 or 1 in float32
        with torch.no_grad():
            model.decoder.layers[-1].weight *= gain
            torch.manual_seed(3)
            reconstruction = model.losses(images)[0]
            torch.manual_seed(3)
            logits = model.decoder.logits(autoencoder.reparameterise(*model.posterior(images)))
        expected = (
            -distributions.Bernoulli(logits=logits.double(), validate_args=False).log_prob(images.double()).sum() / 6
        )
        assert reconstruction.item() == pytest.approx(expected.item(), rel=1e-5)


def test_samples_when_training_and_means_when_evaluating():
    model, images = autoencoder.VariationalAutoencoder(), torch.rand(1, 28, 28).expand(4000, -1, -1)
    mu, logvar = (value[0].detach() for value in model.posterior(images))
    assert torch.equal(model.eval()(images)[0], model.posterior(images)[0])
    codes = model.train()(images)[0].detach()
    torch.testing.assert_close(codes.mean(dim=0), mu, atol=0.1, rtol=0)
    torch.testing.assert_close(codes.var(dim=0), logvar.exp(), atol=0, rtol=0.15)


# --- Data


def test_sample_train(drawn):
    images, labels = autoencoder.sample_train(2000, return_labels=True)
    assert images.shape == (2000, 28, 28) and images.dtype == torch.float32
    assert labels.shape == (2000,) and labels.dtype == torch.int64
    assert 0 <= images.min() and images.max() <= 1 and images.max() > 0.9
    assert torch.equal(
        autoencoder.sample_train(5, generator=np.random.default_rng(1)),
        autoencoder.sample_train(5, generator=np.random.default_rng(1)),
    )
    assert not torch.equal(autoencoder.sample_train(5), autoencoder.sample_train(5))


def test_sample_train_draws_evenly_and_without_repeats(drawn):
    images, labels = autoencoder.sample_train(3000, return_labels=True)  # all of them
    expected = drawn[True].images.reshape(3000, -1)
    assert sorted(map(bytes, (images * 255).round().byte().view(3000, -1).numpy())) == sorted(map(bytes, expected))
    assert labels.bincount().tolist() == np.bincount(drawn[True].labels).tolist()
    counts = sum(autoencoder.sample_train(200, True)[1].bincount(minlength=10) for _ in range(200))
    assert (counts / counts.sum() - 0.1).abs().max() < 0.01


def test_labels_belong_to_their_images(drawn):
    by_image = {bytes(image): label for image, label in zip(drawn[True].images, drawn[True].labels)}
    for image, label in zip(*autoencoder.sample_train(50, return_labels=True)):
        assert by_image[bytes((image * 255).round().byte().numpy())] == label


@pytest.mark.parametrize("count", [0, -1, 3001])
def test_sample_train_refuses(drawn, count):
    with pytest.raises(ValueError, match=f"N is {count}; expected 1 to 3,000"):
        autoencoder.sample_train(count)


# --- Training and checkpoints


@pytest.mark.parametrize("kind", KINDS)
def test_training_lowers_the_loss_and_a_seed_repeats_it(drawn, kind, tmp_path):
    histories = []
    for seed in (0, 0, 1):
        run, chosen = new_run(kind, "--seed", seed, "--steps", 150)
        autoencoder.train(run, chosen, DEVICE, torch.rand(8, 28, 28), tmp_path / "checkpoint.pt")
        histories.append(run.history.sum(dim=1))
    assert histories[0][-20:].mean() < 0.9 * histories[0][:20].mean()
    assert torch.equal(histories[0], histories[1]) and not torch.equal(histories[0], histories[2])


@pytest.mark.parametrize(
    "terminal, pattern",
    [
        (True, r"(\rstep \d{2,3}/230  MSE 0\.\d{4}  \d+ steps/s  0:\d\d left +){3}\n"),
        (False, r"step 230/230  MSE 0\.\d{4}  \d+ steps/s  0:00 left\n"),
    ],
)
def test_progress(drawn, tmp_path, monkeypatch, capsys, terminal, pattern):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    run, chosen = new_run(autoencoder.Autoencoder, "--steps", 230)
    autoencoder.train(run, chosen, DEVICE, torch.rand(8, 28, 28), tmp_path / "checkpoint.pt")
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_kl_collapses_in_neither_dimension(drawn, tmp_path):
    run, chosen = new_run(autoencoder.VariationalAutoencoder, "--steps", 1000)
    autoencoder.train(run, chosen, DEVICE, torch.rand(8, 28, 28), tmp_path / "checkpoint.pt")
    images, _ = autoencoder.load_tensors(False, None, DEVICE)
    with torch.no_grad():
        mu, logvar = run.model.posterior(images)
    assert logvar.abs().max() < autoencoder.LOGVAR_LIMIT
    assert (autoencoder.kl_divergence(mu, logvar).mean(dim=0) > 0.5).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_ends_in_the_same_weights(drawn, kind, tmp_path, monkeypatch):
    samples = torch.rand(8, 28, 28)
    whole, chosen = new_run(kind)
    autoencoder.train(whole, chosen, DEVICE, samples, tmp_path / "whole.pt")

    first, chosen = new_run(kind)
    step = autoencoder.train_step

    def interrupted_step(*arguments):
        if first.step == 17:
            os.kill(os.getpid(), signal.SIGINT)
        return step(*arguments)

    monkeypatch.setattr(autoencoder, "train_step", interrupted_step)
    with pytest.raises(KeyboardInterrupt, match="at step 18; .*--resume"):
        autoencoder.train(first, chosen, DEVICE, samples, tmp_path / "parts.pt")
    monkeypatch.setattr(autoencoder, "train_step", step)
    torch.rand(1000)  # whatever the random state was, the checkpoint's counts
    second, chosen = new_run(kind)
    second.load(tmp_path / "parts.pt", resume=True)
    assert second.step == 18
    autoencoder.train(second, chosen, DEVICE, samples, tmp_path / "parts.pt")

    expected, got = (torch.load(tmp_path / name, weights_only=True) for name in ("whole.pt", "parts.pt"))
    for name, weight in expected["weights"].items():
        assert torch.equal(weight, got["weights"][name])
    assert torch.equal(expected["history"], got["history"])
    assert expected["tracked"].keys() == got["tracked"].keys() == {0, 40}


def test_checkpoints_on_the_way(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "CHECKPOINT_EVERY", 15)
    steps, save = [], autoencoder.Run.save
    monkeypatch.setattr(autoencoder.Run, "save", lambda run, path: (steps.append(run.step), save(run, path)))
    run, chosen = new_run()
    autoencoder.train(run, chosen, DEVICE, torch.rand(8, 28, 28), tmp_path / "checkpoint.pt")
    assert steps == [15, 30, 40]


SAVE_FOREVER = """
import sys, torch
sys.path.insert(0, {root!r})
import autoencoder, utils
settings = autoencoder.flags().parse_args(["--steps", "40"])
run = autoencoder.Run(autoencoder.Autoencoder(), settings, utils.DRAWN)
from pathlib import Path
while True:
    run.step = run.step % 40 + 1
    run.save(Path({path!r}))
    print(run.step, flush=True)
"""


def test_a_kill_while_saving_leaves_a_good_checkpoint(tmp_path):
    path = tmp_path / "checkpoint.pt"
    code = SAVE_FOREVER.format(root=str(ROOT), path=str(path))
    for delay in (0.003, 0.017):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        run, _ = new_run()
        run.load(path, resume=True)
        assert run.step >= 1


def test_a_failure_while_saving_leaves_the_old_checkpoint(drawn, tmp_path, monkeypatch):
    run, _ = new_run()
    run.save(tmp_path / "checkpoint.pt")
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def full_disk(_, path):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full_disk)
    with pytest.raises(OSError):
        run.save(tmp_path / "checkpoint.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize("flag, theirs, mine", [("--batch-size", 100, 200), ("--lr", 0.01, 0.001), ("--seed", 5, 0)])
def test_other_settings_are_refused(tmp_path, flag, theirs, mine):
    path = tmp_path / "checkpoint.pt"
    new_run(autoencoder.Autoencoder, flag, theirs)[0].save(path)
    with pytest.raises(utils.UserError, match=f"was made with {flag} {theirs}, this run has {mine}"):
        new_run()[0].load(path, resume=True)
    new_run()[0].load(path, resume=False)  # pictures can be made all the same


@pytest.mark.parametrize("resume", [True, False])
def test_another_model_or_data_set_is_refused(tmp_path, resume):
    path = tmp_path / "checkpoint.pt"
    for kind, other in (KINDS, KINDS[::-1]):
        new_run(kind)[0].save(path)
        with pytest.raises(utils.UserError, match="--variational"):
            new_run(other)[0].load(path, resume)
    run, _ = new_run()
    run.settings["--data"] = utils.MNIST
    run.save(path)
    with pytest.raises(utils.UserError, match="--data MNIST, this run has drawn digits"):
        new_run()[0].load(path, resume)


def test_a_checkpoint_beyond_the_run_is_refused(tmp_path):
    run, _ = new_run()
    run.step = 40
    run.save(tmp_path / "checkpoint.pt")
    with pytest.raises(utils.UserError, match="at step 40, beyond this run's --steps 39"):
        new_run(autoencoder.Autoencoder, "--steps", 39)[0].load(tmp_path / "checkpoint.pt", resume=True)


@pytest.mark.parametrize("damage", ["empty", "cut", "flipped", "text", "pickle", "missing"])
def test_damaged_checkpoints_are_refused(tmp_path, damage):
    path = tmp_path / "checkpoint.pt"
    run, _ = new_run()
    run.save(path)
    whole = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":  # code that would run if it were unpickled without care
        torch.save({"settings": Path("x")}, path)
    else:
        middle = len(whole) // 2
        path.write_bytes(
            {
                "empty": b"",
                "cut": whole[:-1000],
                "text": b"not a checkpoint",
                "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
            }[damage]
        )
    expected = "there is no checkpoint" if damage == "missing" else "is damaged, or not a checkpoint"
    with pytest.raises(utils.UserError, match=expected) as error:
        new_run()[0].load(path, resume=False)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_loss_that_explodes_stops_the_run(drawn, tmp_path):
    run, chosen = new_run(autoencoder.Autoencoder, "--lr", "1e30")
    with pytest.raises(utils.UserError, match="the loss became nan by step 40; try a smaller --lr"):
        autoencoder.train(run, chosen, DEVICE, torch.rand(8, 28, 28), tmp_path / "checkpoint.pt")
    assert list(tmp_path.iterdir()) == []


# --- Measurements and pictures


def test_neighbour_share_against_numpy():
    generator = np.random.default_rng(0)
    codes, labels = generator.normal(size=(700, 2)), generator.integers(0, 10, 700)
    codes += labels[:, None]
    tests, test_labels = codes[:150] + 0.1, labels[:150]
    right = 0
    for code, label in zip(tests, test_labels):
        nearest = np.argsort(np.square(codes - code).sum(axis=1))[:10]
        right += np.bincount(labels[nearest], minlength=10).argmax() == label
    share = autoencoder.neighbour_share(*map(torch.from_numpy, (codes, labels, tests, test_labels)))
    assert share == pytest.approx(right / 150)


def test_neighbour_share_takes_two_seconds_at_most():
    codes, labels = torch.randn(60_000, 2), torch.randint(10, (60_000,))
    start = time.perf_counter()
    autoencoder.neighbour_share(codes, labels, codes[:1000], labels[:1000])
    assert time.perf_counter() - start < 0.2 * 3  # a tenth of the work; three times the time, for a busy machine


def clusters():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 10, 5000)
    centres = np.stack([np.cos(np.arange(10)), np.sin(np.arange(10))], axis=1) * 5
    return autoencoder.Plane.of(centres[labels] + generator.normal(size=(5000, 2)) * 0.3, labels), centres


def test_best_code_lies_among_the_label():
    plane, centres = clusters()
    for label in range(10):
        assert np.linalg.norm(plane.best_code(label) - centres[label]) < 0.6


def test_best_code_avoids_other_labels():
    generator = np.random.default_rng(0)
    codes = np.concatenate([generator.normal(0, 0.3, (900, 2)), generator.normal(4, 0.3, (500, 2))])
    labels = np.array([4, 9] * 450 + [4] * 500)  # more 4s in all at 0, but among as many 9s
    assert np.linalg.norm(np.subtract(autoencoder.Plane.of(codes, labels).best_code(4), 4)) < 0.8


def test_plane_is_square_and_leaves_outliers_out():
    codes = np.random.default_rng(0).normal(size=(5000, 2)) * (1, 3)
    codes[0] = 1000
    (left, right), (low, high) = autoencoder.Plane.of(codes, np.zeros(5000, int)).limits
    assert right - left == pytest.approx(high - low) and 12 < high - low < 17


@pytest.mark.parametrize("count", [1, 3])
def test_plot(tmp_path, count):
    figure = autoencoder.plot(autoencoder.Autoencoder(), torch.rand(count, 28, 28), tmp_path / "pairs.png")
    assert len(figure.axes) == 2 * count
    assert [axis.get_title() for axis in figure.axes[:2]] == ["original", "reconstruction"]
    assert (tmp_path / "pairs.png").stat().st_size > 0


@pytest.mark.parametrize("kind", KINDS)
def test_plane_picture_lies_as_the_scatter_does(kind, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(utils, "save", lambda figure, path: figures.append(figure))
    plane, _ = clusters()
    model = kind()
    asked = []
    monkeypatch.setattr(
        autoencoder, "decode", lambda _, codes: (asked.append(codes), torch.rand(len(codes), 28, 28))[1]
    )
    autoencoder.save_latent(plane, None, utils.DRAWN)
    autoencoder.save_plane(model, plane, None, utils.DRAWN)
    scatter, images = (figure.axes[0] for figure in figures)
    assert scatter.get_position().bounds == images.get_position().bounds
    codes = asked[0].reshape(25, 25, 2)
    assert (np.diff(codes[0, :, 0]) > 0).all() and (np.diff(codes[:, 0, 1]) < 0).all()
    if kind is autoencoder.Autoencoder:
        assert scatter.get_xlim() == images.get_xlim() and scatter.get_ylim() == images.get_ylim()
    else:
        quantiles = distributions.Normal(0, 1).cdf(torch.from_numpy(codes[0, :, 0])).numpy()
        np.testing.assert_allclose(quantiles, (np.arange(25) + 0.5) / 25, atol=1e-6)


# --- The explorer


@pytest.fixture
def explorer():
    figure = Figure(figsize=(8, 4))
    FigureCanvasAgg(figure)
    figure.canvas.blit = lambda *_: None  # a canvas in a window copies the pixels to the screen here
    model = autoencoder.Autoencoder()
    autoencoder.wire_explorer(figure, model, clusters()[0], utils.DRAWN)
    figure.canvas.draw()
    return figure, model


def send(figure, name, code, axis=0):
    x, y = figure.axes[axis].transData.transform(code)
    figure.canvas.callbacks.process(name, MouseEvent(name, figure.canvas, x, y, button=1))


def test_explorer_decodes_the_code_under_the_mouse(explorer):
    figure, model = explorer
    before = np.asarray(figure.canvas.buffer_rgba()).copy()
    send(figure, "motion_notify_event", (1.5, -2))
    picture, caption = figure.axes[1].images[0], figure.axes[1].texts[0]
    np.testing.assert_allclose(picture.get_array(), autoencoder.decode(model, [(1.5, -2)])[0], atol=1e-5)
    assert caption.get_text() == "(1.50, -2.00)"
    changed = (np.asarray(figure.canvas.buffer_rgba()) != before).any(axis=(0, 2)).nonzero()[0]
    assert changed.min() >= np.floor(figure.axes[1].bbox.x0), "only the right side is drawn anew"
    send(figure, "motion_notify_event", (5, 5), axis=1)  # outside the scatter nothing happens
    assert caption.get_text() == "(1.50, -2.00)"


def test_explorer_pins_a_click(explorer, capsys):
    figure, _ = explorer
    lines, texts = len(figure.axes[0].lines), len(figure.axes[0].texts)
    send(figure, "button_press_event", (1, 2))
    assert "code (1.00, 2.00)" in capsys.readouterr().out
    assert len(figure.axes[0].lines) == lines + 1
    assert [text.get_text() for text in figure.axes[0].texts[texts:]] == ["(1.00, 2.00)"]


def test_explorer_follows_without_lag(explorer):
    figure, _ = explorer
    start = time.perf_counter()
    for number in range(50):
        send(figure, "motion_notify_event", (number / 10, 1))
    assert (time.perf_counter() - start) / 50 < 0.020


def test_explorer_without_a_display():
    matplotlib.use("agg")
    with pytest.raises(utils.UserError, match="no display.*--code"):
        autoencoder.explore(None, None, utils.DRAWN)


# --- The script


def test_a_batch_larger_than_the_set_is_refused(drawn, tmp_path):
    with pytest.raises(utils.UserError, match="--batch-size 3001: there are only 3,000"):
        autoencoder.main(settings("--batch-size", 3001, "--figures", tmp_path))


def test_main_on_few_drawn_digits(drawn, tmp_path, capsys):
    figures = ("--figures", tmp_path)
    for flag, folder in (([], "autoencoder"), (["--variational"], "variational")):
        autoencoder.main(settings("--steps", 60, *figures, *flag))
        assert sorted(path.name for path in (tmp_path / "drawn" / folder).iterdir()) == ["checkpoint.pt", *PICTURES]
        output = capsys.readouterr().out
        assert re.search(r"mean squared error: 0\.\d{4} training, 0\.\d{4} test", output)
        assert re.search(r"label rightly: \d+\.\d%", output) and "standard deviation" in output
        assert ("negative ELBO" in output) == bool(flag)
        (tmp_path / "drawn" / folder / "four.png").unlink()
        autoencoder.main(settings("--load", tmp_path / "drawn" / folder / "checkpoint.pt", *figures, *flag))
        assert "After 60 steps" in capsys.readouterr().out and (tmp_path / "drawn" / folder / "four.png").exists()
        autoencoder.main(settings("--code", "-1.5", "100", *figures, *flag))
        assert (tmp_path / "drawn" / folder / "code.png").exists()
    autoencoder.main(settings("--compare", *figures))
    autoencoder.main(settings("--steps", 20, *figures))
    assert torch.load(tmp_path / "drawn" / "autoencoder" / "previous.pt", weights_only=True)["step"] == 60
    assert (tmp_path / "drawn" / "unruly_or_tamed.png").exists()


def test_script_interrupted_and_resumed(tmp_path):
    status, errors = interrupt_script("autoencoder.py", "--steps", "1500", cwd=tmp_path, at="step 1,000/")
    assert status != 0 and "Traceback" not in str(errors)
    assert re.fullmatch(
        r"autoencoder.py: stopped by Ctrl-C at step 1,\d{3}; the same command with --resume .*", errors[-1]
    )
    done = run_script("autoencoder.py", "--steps", "1500", "--resume", cwd=tmp_path)
    assert done.returncode == 0 and "Going on from step" in done.stdout
    assert re.search(r"^step 1,500/1,500  MSE 0\.\d{4}  \d+ steps/s  0:00 left$", done.stdout, re.MULTILINE)
    folder = tmp_path / "figures" / "drawn" / "autoencoder"
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.pt", *PICTURES]


def test_mistakes_end_in_one_line(tmp_path):
    done = run_script("autoencoder.py", "--resume", cwd=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("autoencoder.py: error: there is no checkpoint")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--load", "nowhere.pt"], "there is no checkpoint nowhere.pt"),
        (["--code", "1", "2"], "there is no checkpoint"),
        (["--compare"], "there is no checkpoint"),
        (["--load", "some.pt", "--resume"], "leave out --resume"),
    ],
)
def test_mistakes_name_what_to_do(drawn, tmp_path, flags, message):
    with pytest.raises(utils.UserError, match=message):
        autoencoder.main(settings("--figures", tmp_path, *flags))


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="needs the real MNIST")
@pytest.mark.parametrize(
    "flags, pattern, bound",
    [
        ([], r"mean squared error: .* (0\.\d{4}) test", 0.0430),  # the mean image gives 0.0675, PCA 0.0560
        (["--variational"], r"negative ELBO on the test set: (\d+\.\d)", 152),
    ],
)
def test_a_few_thousand_real_steps(tmp_path, capsys, flags, pattern, bound):
    autoencoder.load_tensors.cache_clear()
    autoencoder.main(settings("--data", os.environ["MNIST_DIR"], "--figures", tmp_path, "--steps", 2000, *flags))
    assert float(re.search(pattern, capsys.readouterr().out)[1]) < bound
