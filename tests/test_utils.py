"""MNIST read, pictures as they were given, files, flags, and errors in one line."""

import gzip
import hashlib
import io
import re
import resource
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import image, pyplot, rcParams
from PIL import Image
from torchvision.utils import make_grid

import autoencoder
import utils
from tests.conftest import ROOT, run_script
from utils import UserError, show

BLACK = torch.zeros(28, 28)
WHITE = torch.ones(28, 28)
IMAGES = "t10k-images-idx3-ubyte.gz"
LABELS = "t10k-labels-idx1-ubyte.gz"


# --- Data


def test_mnist_is_the_published_one():
    sums = re.findall(
        r"`(\S+\.gz)` \| `(\w{32})`", (ROOT / "data/README.md").read_text()
    )
    assert len(sums) == 4
    for name, expected in sums:
        assert hashlib.md5((utils.DATA / name).read_bytes()).hexdigest() == expected


def test_mnist_is_read():
    images, labels = utils.load_mnist(False)
    assert (images.shape, images.dtype) == ((10_000, 28, 28), np.uint8)
    assert labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert np.bincount(labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert images.mean() / 255 == pytest.approx(0.1325, abs=1e-4)


@pytest.mark.parametrize("read", [utils.read_idx, autoencoder.read_with_mnist])
def test_both_ways_to_read_agree(few, read):
    images, labels = utils.load_mnist(False, few, read)
    expected = utils.load_mnist(False)
    assert np.array_equal(images, expected[0][:1000])
    assert np.array_equal(labels, expected[1][:1000])


def broken(content):
    """What may be wrong with a file, by what the line says."""
    middle = bytearray(content)
    middle[len(content) // 2] ^= 255
    return {
        "is damaged or of another kind": [
            content[:-100], bytes(middle), b"", b"no gzip", gzip.compress(b"other"),
        ],
        "expected (N, 28, 28)": [gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 1, 7]))],
    }  # fmt: skip


@pytest.mark.parametrize("read", [utils.read_idx, autoencoder.read_with_mnist])
def test_broken_files_are_a_line(few, tmp_path, read):
    shutil.copytree(few, tmp_path, dirs_exist_ok=True)
    path = tmp_path / IMAGES
    for line, contents in broken(path.read_bytes()).items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(UserError, match=re.escape(line)) as error:
                utils.load_mnist(False, tmp_path, read)
            assert str(tmp_path) in str(error.value)
            assert "\n" not in str(error.value)


def test_missing_files_are_a_line(tmp_path):
    with pytest.raises(UserError, match="is missing; git checkout data"):
        utils.load_mnist(False, tmp_path)


def test_labels_of_other_images_are_a_line(few, tmp_path):
    shutil.copytree(few, tmp_path, dirs_exist_ok=True)
    shutil.copy(utils.DATA / LABELS, tmp_path)
    with pytest.raises(UserError, match=r"labels have the shape \(10000,\)"):
        utils.load_mnist(False, tmp_path)
    content = bytearray(gzip.decompress((few / LABELS).read_bytes()))
    content[8:] = bytes(label % 8 for label in content[8:])  # no 8 and no 9
    (tmp_path / LABELS).write_bytes(gzip.compress(content))
    with pytest.raises(UserError, match=r"expected .* each of 0 to 9"):
        utils.load_mnist(False, tmp_path)


# --- One's own pictures


@pytest.fixture
def seven():
    """A large black 7 on white paper, and MNIST's own."""
    digit = utils.load_mnist(False)[0][0]
    sheet = np.full((500, 400), 255, np.uint8)
    large = Image.fromarray(digit).resize((280, 280), Image.Resampling.BICUBIC)
    sheet[150:430, 60:340] -= np.array(large)
    return Image.fromarray(sheet), torch.from_numpy(digit) / 255


def inverted(picture):
    return Image.eval(picture, lambda grey: 255 - grey)


def transparent(picture):
    ink = Image.new("RGBA", picture.size, "black")
    ink.putalpha(inverted(picture))
    return ink


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture,
        inverted,
        transparent,
        lambda picture: picture.convert("RGB").resize((90, 110)),
        lambda picture: Image.eval(picture, lambda grey: 100 + grey // 2),
    ],
)
def test_own_picture_becomes_like_mnist(seven, change, tmp_path, capsys):
    picture, expected = seven
    change(picture).save(tmp_path / "seven.png")
    found = utils.load_image(tmp_path / "seven.png")
    assert (found.shape, found.dtype) == ((1, 28, 28), torch.float32)
    assert (found[0] - expected).square().mean() < 0.01
    assert "seven.png" in capsys.readouterr().out


def test_a_phones_rotation_is_applied(seven, tmp_path):
    picture, expected = seven
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    turned = picture.transpose(Image.Transpose.ROTATE_90)
    turned.save(tmp_path / "seven.jpg", exif=exif)
    found = utils.load_image(tmp_path / "seven.jpg")
    assert (found[0] - expected).square().mean() < 0.01


@pytest.mark.parametrize("grey", [0, 255])
def test_a_sheet_without_a_digit_is_a_line(tmp_path, grey):
    Image.new("L", (50, 50), grey).save(tmp_path / "sheet.png")
    with pytest.raises(UserError, match=r"sheet\.png: there is no ink"):
        utils.load_image(tmp_path / "sheet.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(UserError, match="cannot be read as a picture"):
        utils.load_image(tmp_path / "text.png")


# --- Pictures shown


def pixel(path):
    """The pixel in the middle of a saved picture."""
    pixels = image.imread(path)
    return pixels[len(pixels) // 2, pixels.shape[1] // 2, :3]


@pytest.mark.parametrize(
    ("picture", "grey"),
    [
        (torch.full((28, 28), 0.5), 0.5),
        (np.full((28, 28), 0.5), 0.5),
        (torch.full((28, 28), 0.5, dtype=torch.bfloat16), 0.5),
        (torch.full((28, 28), 7.0), 1),
        (torch.full((28, 28), -7.0), 0),
        (torch.full((28, 28), 51), 0.2),
        (np.full((28, 28), 51, np.uint8), 0.2),
        (torch.ones(28, 28, dtype=torch.bool), 1),
        (torch.linspace(-1, 3, 784).view(28, 28), 0.5),
    ],
)
def test_show_has_black_for_0_and_white_for_1(picture, grey, tmp_path):
    show(picture, tmp_path / "shown.png")
    assert pixel(tmp_path / "shown.png") == pytest.approx(grey, abs=0.05)


@pytest.mark.parametrize(
    ("images", "count"),
    [
        (BLACK, 1),
        (BLACK[None], 1),
        (torch.rand(3, 40, 50), 1),
        (torch.rand(40, 50, 3), 1),
        (np.random.rand(40, 50, 3), 1),
        (torch.zeros(3, 28, 28), 1),
        (make_grid(WHITE[None]), 1),
        (torch.stack([BLACK, WHITE, BLACK]), 3),
        (autoencoder.sample_train(3, generator=0), 3),
        (torch.zeros(2, 28, 28), 2),
        (torch.zeros(5, 1, 28, 28), 5),
        (torch.zeros(4, 3, 28, 28), 4),
        ([BLACK, WHITE], 2),
        ([np.zeros((28, 28)), WHITE], 2),
    ],
)
def test_show_knows_how_many_images_there_are(images, count):
    assert len(utils.draw_images(images).axes) == count


def test_a_colour_stays():
    red = np.zeros((40, 40, 3))
    red[..., 0] = 1
    for picture in (red, torch.from_numpy(red).movedim(-1, 0)):
        (axis,) = utils.draw_images(picture).axes
        assert np.array_equal(axis.images[0].get_array(), red)


@pytest.mark.parametrize(
    "images",
    [[], torch.zeros(0, 28, 28), torch.zeros(28), torch.full((28, 28), np.nan)],
)
def test_show_refuses_what_is_no_image(images):
    with pytest.raises(ValueError, match="image"):
        show(images)


def test_show_names_the_path_that_it_was_given(tmp_path):
    with pytest.raises(UserError, match=r"out has no suffix"):
        show(BLACK, tmp_path / "out")
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        show(BLACK, tmp_path / "nowhere" / "out.png")
    assert not list(tmp_path.iterdir())


def test_a_style_of_ones_own_stays_out(tmp_path, monkeypatch):
    gradient = torch.linspace(0, 1, 784).view(28, 28)
    show(gradient, tmp_path / "plain.png", title="title")
    for name, value in {
        "image.origin": "lower",
        "text.usetex": True,
        "figure.facecolor": "black",
        "text.color": "white",
    }.items():
        monkeypatch.setitem(rcParams, name, value)
    show(gradient, tmp_path / "styled.png", title="title")
    plain, styled = [
        (tmp_path / name).read_bytes() for name in ("plain.png", "styled.png")
    ]
    assert plain == styled
    assert rcParams["image.origin"] == "lower"


@pytest.mark.parametrize("colour", [(0.3, 0.3, 0.3), (0.9, 0.1, 0.1)])
def test_small_pictures_look_the_same(colour, tmp_path):
    picture = np.random.default_rng(0).random((40, 40, 1)) * np.array(colour)
    for small, name in ((False, "large.png"), (True, "small.png")):
        utils.save_figure(utils.draw_images(picture), tmp_path / name, small)
    large = image.imread(tmp_path / "large.png")[:, :, :3]
    small = Image.open(tmp_path / "small.png").convert("RGB")
    assert np.abs(np.asarray(small) / 255 - large).max() < 0.1
    sizes = [(tmp_path / name).stat().st_size for name in ("small.png", "large.png")]
    assert sizes[0] < 0.8 * sizes[1]


def test_show_without_a_path_says_where_nothing_can_be_seen(capsys):
    show(BLACK)
    assert "no display" in capsys.readouterr().err
    assert not pyplot.get_fignums()


# --- Files


def test_a_full_disk_names_the_file_and_keeps_the_one_before(tmp_path):
    path = tmp_path / "model.pt"
    utils.save_weights({"a": torch.ones(10)}, path)
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as from a full disk
    try:
        with pytest.raises(OSError, match=r"too large.*model\.pt"):
            utils.save_weights({"a": torch.ones(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [before]


def test_a_file_that_another_program_holds_stays(tmp_path, monkeypatch, capsys):
    """As on Windows, for a second or for longer."""
    path = tmp_path / "text.txt"
    utils.save_text("before", path)
    replace = Path.replace
    failures = iter([True, True, False])

    def held(part, target):
        if next(failures, True):
            raise PermissionError
        return replace(part, target)

    monkeypatch.setattr(Path, "replace", held)
    monkeypatch.setattr(utils.time, "sleep", lambda _: None)
    utils.save_text("after", path)
    assert path.read_text() == "after"
    utils.save_text("later", path)
    assert path.read_text() == "after"
    assert "text.txt: another program holds this file" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["text.txt"]


# --- Flags, folders, ends


@pytest.fixture
def parser():
    return utils.make_parser("", 64, 1e-4)


def test_a_run_with_other_settings_has_a_folder_of_its_own(parser, tmp_path):
    args = parser.parse_args(["--seed", "3", "--lr", "0.1"])
    args.figures = tmp_path
    run = utils.start_run(parser, args, "x", "20 epochs", ["seed", "lr"])
    assert run.folder == tmp_path / "x-seed3-lr0.1"
    assert run.about == "MNIST, 20 epochs, --lr 0.1"
    assert run.page == run.folder / "explore.html"
    assert run.sibling("y") == tmp_path / "y-seed3-lr0.1"
    default = utils.start_run(parser, args, "x", "20 epochs", ["batch_size"])
    assert default.folder == tmp_path / "x"
    assert default.page == tmp_path / "explore.html"


def test_a_run_on_other_data_says_so(parser, few, tmp_path):
    args = parser.parse_args(["--data", str(few), "--figures", str(tmp_path)])
    run = utils.start_run(parser, args, "x", "20 epochs", ["seed"])
    assert run.about == f"{few.name}, 20 epochs"
    assert run.folder.name == f"x-data{few.name}"


def test_long_names_of_folders_are_cut_and_differ():
    names = {utils.folder_name("x", {"sweep": "1.0 " * count}) for count in (50, 51)}
    assert len(names) == 2
    assert max(map(len, names)) <= 100


def test_the_command_line_of_a_notebook_is_not_read(parser, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "--f=/tmp/kernel.json"])
    assert utils.parse_flags(parser, "codelet7.py").seed == 0
    monkeypatch.setattr(sys, "argv", ["codelet7.py", "--f=/tmp/kernel.json"])
    with pytest.raises(SystemExit):
        utils.parse_flags(parser, "codelet7.py")


@pytest.mark.parametrize(
    "command",
    [
        "codelet7.py --epochs 0",
        "codelet7.py --epochs many",
        "codelet7.py --lr nan",
        "codelet7.py --rho 1",
        "codelet7.py --penalty-weight -1",
        "codelet7.py --sweep -1",
        "codelet7.py --sweep --penalty-weight 1",
        "codelet7.py --seed -1",
        "codelet7.py --no-such-flag",
        "codelet7.py --device cuda",
        "autoencoder.py --steps 0",
        "autoencoder.py --code 1",
        "autoencoder.py --code 1 nan",
        "autoencoder.py --code 1 2 --anew",
        "autoencoder.py --threads 0",
    ],
)
def test_a_wrong_flag_is_one_line(command, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.chdir(tmp_path)
    name, *arguments = command.split()
    assert run_script(name, *arguments).status == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.strip().count("\n") == 0
    assert arguments[0] in errors
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("a\nb"), "x.py: error: a b"),
        (KeyboardInterrupt(), "x.py: stopped by Ctrl-C"),
        (OSError(28, "No space left", "file"), "x.py: error: [Errno 28] No space left"),
        (FloatingPointError("nan"), "x.py: error: nan"),
        (MemoryError(), "out of memory; choose smaller settings"),
        (RuntimeError("can't allocate memory"), "out of memory"),
    ],
)
def test_an_error_is_one_line(error, line):
    def main():
        torch.set_flush_denormal(True)
        raise error

    with pytest.raises(SystemExit) as end:
        utils.run_script(main, "x.py")
    assert line in end.value.code
    assert "\n" not in end.value.code
    assert torch.tensor(1e-40).mul(0.5) != 0  # what `main` changed is as before


def test_a_path_in_letters_that_the_console_lacks_is_printed(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="cp932")
    monkeypatch.setattr(sys, "stdout", stream)
    utils.run_script(lambda: print("f\u00e9vrier/\u20ac"), "x.py")
    stream.flush()
    assert b"vrier/" in stream.buffer.getvalue()
