"""The page of the trained models: what is written into it and, in a real browser without a network, what it does."""

import argparse
import json
import re
import shutil
import webbrowser

import numpy as np
import pytest
import torch
from torch import nn

import autoencoder
import checkpoint
import codelet7
import explore
import latent
import utils
from digits import draw_digits

CHROMIUM = shutil.which("chromium")
TEST = utils.Digits(*draw_digits(400, seed=1), utils.DRAWN)
IMAGES = torch.from_numpy(TEST.images) / 255
KINDS = {
    "autoencoder": autoencoder.Autoencoder,
    "variational": autoencoder.VariationalAutoencoder,
    "sparse": lambda: codelet7.SparseAutoencoder(28 * 28, 10),
}


def normalised(images):
    return (images.flatten(1) - codelet7.MEAN) / codelet7.STD


def last_linear(net):
    return [module for module in net.modules() if isinstance(module, nn.Linear)][-1]


@pytest.fixture(scope="module")
def models():
    """The three models after 20 steps on drawn digits; then some weights are grown, so that codes lie as far apart and
    pictures are as sharp as after a long training, for which rounded weights matter most."""
    torch.manual_seed(0)
    images = torch.from_numpy(draw_digits(1000, seed=0)[0]) / 255
    models = {key: make() for key, make in KINDS.items()}
    for key, model in models.items():
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        for batch in images.split(50):
            x = normalised(batch)
            loss = model.loss_function(x, *model(x)) if key == "sparse" else sum(model.losses(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            last_linear(model.decoder).weight.mul_(8)
            if key != "sparse":
                last_linear(model.encoder).weight[:2] *= 4 / model.eval()(images)[0].std(dim=0).max()
    return {key: model.eval() for key, model in models.items()}


@pytest.fixture(scope="module")
def trained(models):
    """`models` as `explore.write_page` takes them."""
    images, labels = (torch.from_numpy(array) for array in draw_digits(1000, seed=0))
    planes = {
        key: latent.Plane.of(models[key], images / 255, labels, "drawn digits, 20 steps")
        for key in ("autoencoder", "variational")
    }
    return {**planes, "sparse": (models["sparse"], "drawn digits, 20 steps")}


@pytest.fixture(scope="module")
def path(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explore.html"
    explore.write_page(path, TEST, **trained)
    return path


# --- What is written


def test_page_is_one_file_of_at_most_3_5_mb(path):
    assert 100_000 < path.stat().st_size <= 3_500_000
    assert not re.search(r"https?://|src=|@import", path.read_text("utf-8").replace('"http', "http"))


@pytest.mark.parametrize("module", [nn.Softplus(), nn.GELU(approximate="tanh"), nn.Conv2d(1, 1, 3)])
def test_a_module_that_the_page_cannot_compute_is_named(module):
    with pytest.raises(utils.UserError, match=f"cannot compute {type(module).__name__}"):
        explore.describe(nn.Sequential(nn.ReLU(), module))


def test_names_and_commands_are_those_of_the_models():
    for key in ("autoencoder", "variational"):
        kind = KINDS[key]
        assert explore.MODELS[key][:2] == (kind.NAME, kind.FOLDER)
        assert explore.MODELS[key][-1] == kind.COMMAND


@pytest.mark.parametrize(
    ("display", "quiet", "expected"),
    [(True, False, ""), (True, True, "Not opened, as asked"), (False, False, "There is no display")],
)
def test_opens_in_a_browser_or_says_why_not(path, monkeypatch, capsys, display, quiet, expected):
    opened = []
    monkeypatch.setattr(explore.sys, "platform", "linux")
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", ":0")
    explore.open_page(path, quiet)
    assert opened == ([] if expected else [path.as_uri()])
    assert capsys.readouterr().out.startswith(expected)


def settings(figures, **flags):
    return argparse.Namespace(figures=str(figures), data=None, no_open=True, **flags)


@pytest.fixture
def drawn(monkeypatch):
    """Makes the project see few drawn digits."""
    sets = {True: utils.Digits(*draw_digits(1000, seed=0), utils.DRAWN), False: TEST}
    monkeypatch.setattr(utils, "load_digits", lambda train=True, *_: sets[train])
    monkeypatch.setattr(latent, "PLOTTED", 800)
    autoencoder.load_tensors.cache_clear()
    yield
    autoencoder.load_tensors.cache_clear()


def test_nothing_trained_is_one_line(drawn, tmp_path):
    with pytest.raises(utils.UserError, match=r"nothing has been trained under .*drawn; python autoencoder.py"):
        explore.explore(settings(tmp_path), {})


def save(folder, models, key, **more):
    name = explore.MODELS[key][2]
    folder.mkdir(parents=True)
    contents = {"weights": models[key].state_dict(), "step": 20, "settings": {"epochs": 2}, **more}
    checkpoint.save_file(folder / name, contents)


def test_the_run_with_the_flags_comes_first_then_the_default_then_the_latest(tmp_path, models):
    base, name = "autoencoder", checkpoint.FINISHED
    assert explore.latest_of(tmp_path, {}, base, name) is None
    save(tmp_path / "autoencoder-steps20", models, base)
    assert explore.latest_of(tmp_path, {}, base, name).parent.name == "autoencoder-steps20"
    save(tmp_path / "autoencoder", models, base)
    assert explore.latest_of(tmp_path, {"steps": 30}, base, name).parent.name == "autoencoder"
    assert explore.latest_of(tmp_path, {"steps": 20}, base, name).parent.name == "autoencoder-steps20"


# --- In the browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("there is no chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        with_root = ["--no-sandbox"]  # a container's root may not have one
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=with_root)


@pytest.fixture
def visit(browser):
    """Function that opens a page by its path, with the network cut; at the end no page may have printed anything to
    the console or have asked for anything but its own file."""
    contexts, said, asked = [], [], set()

    def visit(path, anchor="", width=1400, height=900, **options):
        context = browser.new_context(offline=True, viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.add(request.url.split("#")[0]))
        page.goto(f"{path.as_uri()}{anchor}")
        visit.pages.append(path.as_uri())
        return page

    visit.pages = []
    yield visit
    for context in contexts:
        context.close()
    assert said == []
    assert asked == set(visit.pages)


def centre(page, selector):
    box = page.locator(selector).first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


RED = """canvas => {
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  copy.drawImage(canvas, 0, 0);
  return Array.from(copy.getImageData(0, 0, canvas.width, canvas.height).data).filter((_, i) => !(i % 4));
}"""


def compute(page, expression, **arrays):
    """The value of a JavaScript expression, in which the page's functions and these arrays have their names."""
    text = json.dumps(arrays, default=explore.as_json)
    names = ", ".join(arrays)
    return json.loads(
        page.evaluate(
            f"text => {{ const {{ {names} }} = JSON.parse(text, revive); return JSON.stringify({expression}) }}", text
        )
    )


def pixels(page, selector):
    """The grey values 0 to 255 that a canvas shows, `(28, 28)`."""
    return np.array(page.locator(selector).first.evaluate(RED)).reshape(28, 28)


@torch.no_grad()
def test_decoded_pixels_are_pytorchs(visit, path, trained):
    page = visit(path)
    generator = np.random.default_rng(0)
    for key in ("autoencoder", "variational"):
        plane = trained[key]
        codes = generator.uniform(*np.transpose(plane.limits), (200, 2)).astype(np.float32)
        shown = compute(page, f"codes.map((code) => Array.from(decode({key}, code)))", codes=codes.tolist())
        expected = plane.model.decoder(torch.from_numpy(codes)).flatten(1)
        assert np.ptp(expected.numpy(), axis=0).max() > 0.3
        assert np.abs(np.array(shown) - expected.numpy()).max() < 2 / 255
        # what is on the screen is what was computed, rounded
        code = trained[key].codes[0].astype(float).round(2).tolist()
        page.evaluate(f"code => planes.{key}.pin(code)", code)
        expected = plane.model.decoder(torch.tensor([code]))[0]
        picture = pixels(page, f".plane.{key} .picture")
        assert np.abs(picture / 255 - expected.numpy()).max() < 2 / 255 + 0.5 / 255


@torch.no_grad()
def test_codes_are_pytorchs(visit, path, models, trained):
    page = visit(path)
    images = IMAGES[:200]
    for key, model in models.items():
        each = f"encode({key}, images.subarray(784 * i, 784 * (i + 1)))"
        found = compute(
            page,
            f"Array.from({{ length: 200 }}, (_, i) => Object.values({each}).map((numbers) => Array.from(numbers)))",
            images=images,
        )
        code = np.array([numbers[0] for numbers in found])
        if key == "sparse":
            assert np.abs(code - model.encoder(normalised(images)).numpy()).max() < 0.01
            continue
        low, high = trained[key].limits[0]
        assert np.abs(code - model(images)[0].numpy()).max() < 0.01 * (high - low)
        if key == "variational":
            logvar = 2 * np.log([numbers[1] for numbers in found])
            assert np.abs(logvar - model.posterior(images)[1].numpy()).max() < 0.01 * (high - low)


@torch.no_grad()
def test_paintings_and_errors_are_pytorchs(visit, path, models):
    page = visit(path)
    page.locator("#tests button").nth(7).click()
    image = IMAGES[np.argmax(TEST.labels == 7)]
    sparse = models["sparse"](normalised(image[None]))[1] * codelet7.STD + codelet7.MEAN
    paintings = [models[key](image[None])[1].flatten() for key in ("autoencoder", "variational")] + [sparse.flatten()]
    mean = torch.from_numpy(TEST.images.mean(axis=0).round() / 255).flatten()
    captions = page.locator("#tiles figcaption").all_inner_texts()
    for caption, painting in zip(captions[1:], [*paintings, mean], strict=True):
        error = (painting - image.flatten()).square().mean().item()
        assert float(re.search(r"error ([\d.]+)", caption)[1]) == pytest.approx(error, rel=0.01, abs=2e-4)
    assert np.abs(pixels(page, "#tiles canvas >> nth=0") - 255 * image.numpy()).max() <= 1


@torch.no_grad()
def test_every_kind_of_layer_is_pytorchs(visit, path):
    torch.manual_seed(0)
    norm = nn.LayerNorm(20)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    net = nn.Sequential(nn.Linear(30, 20), norm, nn.GELU(), autoencoder.Residual(20, normalise=True))
    net += nn.Sequential(nn.Linear(20, 20), nn.Tanh(), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 9), nn.Sigmoid())
    inputs = 3 * torch.randn(50, 30)
    script = "rows.map((row) => Array.from(apply(layers, Float32Array.from(row))))"
    outputs = compute(visit(path), script, layers=explore.describe(net), rows=inputs.tolist())
    assert np.abs(np.array(outputs) - net(inputs).numpy()).max() < 1e-3


def star(page, key):
    """The place of a plane's star in percent of its side, from the top left."""
    text = page.locator(f".plane.{key} .star").get_attribute("transform")
    return tuple(float(number) for number in re.findall(r"-?[\d.]+", text))


def draw(page, *strokes):
    """Draws on the pad with the mouse; strokes are points in shares of its side."""
    page.locator("#pad").scroll_into_view_if_needed()
    box = page.locator("#pad").bounding_box()
    for points in strokes:
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.mouse.move(*places[0])
        page.mouse.down()
        for place in places[1:]:
            page.mouse.move(*place, steps=5)
        page.mouse.up()
    page.evaluate("() => new Promise(requestAnimationFrame)")


def test_a_drawn_digit_is_brought_into_mnists_form_and_moves_everything(visit, path):
    page = visit(path)
    before = {key: star(page, key) for key in ("autoencoder", "variational")}
    captions = page.locator("figcaption").all_inner_texts()
    bars = page.locator("#bars input").evaluate_all("bars => bars.map(bar => bar.value)")
    draw(page, [(0.4, 0.2), (0.3, 0.6), (0.8, 0.6)], [(0.65, 0.3), (0.6, 0.9)])
    image = pixels(page, "#tiles canvas >> nth=0")
    rows, columns = np.nonzero(image)
    assert np.ptp(rows) == 19  # the longer side fills 20 pixels
    assert np.ptp(columns) < 19
    centres = [(image.sum(axis=axis) * np.arange(28)).sum() / image.sum() for axis in (0, 1)]
    assert np.abs(np.array(centres) - 14).max() <= 0.51
    assert len(np.unique(image)) > 10  # grey edges
    assert all(star(page, key) != before[key] for key in before)
    changed = zip(captions, page.locator("figcaption").all_inner_texts(), strict=True)
    assert sum(then != now for then, now in changed) == 5  # all but the image's own
    assert bars != page.locator("#bars input").evaluate_all("bars => bars.map(bar => bar.value)")
    assert page.locator("#tests [aria-pressed=true]").count() == 0
    page.locator("#clear").click()
    assert {key: star(page, key) for key in before} == before
    assert page.locator("#pad span").is_visible()


def test_the_drawing_is_fitted_as_mnists_digits_were(visit, path):
    block = np.random.default_rng(0).random((20, 13)).round(3)
    side, zoom, (top, left) = 280, 9, (70, 31)
    grey = np.zeros((side, side))
    grey[top : top + 20 * zoom, left : left + 13 * zoom] = np.kron(block, np.ones((zoom, zoom)))
    found = compute(visit(path), "Array.from(likeMnist(grey, 280))", grey=grey.astype(np.float32))
    y, x = (round(14 - (block.sum(axis=1 - axis) @ np.arange(n)) / block.sum()) for axis, n in ((0, 20), (1, 13)))
    expected = np.zeros((28, 28))
    expected[y : y + 20, x : x + 13] = block
    assert np.abs(np.reshape(found, (28, 28)) - expected).max() < 1e-5


def anchor(page):
    return page.evaluate("location.hash")


def code_of(page, key):
    return page.locator(f".plane.{key} .code").inner_text()


def test_the_mouse_decodes_and_a_click_pins(visit, path, trained):
    page = visit(path)
    plane, selector = trained["autoencoder"], ".plane.autoencoder"
    resting = pixels(page, f"{selector} .picture")
    box = page.locator(f"{selector} .map").bounding_box()
    x, y = box["x"] + 0.25 * box["width"], box["y"] + 0.25 * box["height"]
    page.mouse.move(x, y)
    assert (pixels(page, f"{selector} .picture") != resting).any()
    page.mouse.move(5, 5)
    assert (pixels(page, f"{selector} .picture") == resting).all()
    page.mouse.click(x, y)
    (low1, high1), (low2, high2) = plane.limits
    expected = low1 + 0.25 * (high1 - low1), low2 + 0.75 * (high2 - low2)
    pinned = [float(number) for number in re.search(r"#autoencoder=(.*)", anchor(page))[1].split(",")]
    assert np.abs(np.array(pinned) - expected).max() < 0.01 * (high1 - low1)
    near = (np.hypot(*(plane.codes - pinned).T) < 0.04 * (high1 - low1)).sum()
    assert f"Dots in the ring: {near or 'none'}" in page.locator(f"{selector} .near").inner_text()
    page.mouse.move(5, 5)
    assert (pixels(page, f"{selector} .picture") != resting).any()


def test_a_finger_decodes_and_a_tap_pins(visit, path):
    page = visit(path, width=360, height=740, has_touch=True, is_mobile=True)
    page.locator(".plane.variational .map").tap()
    assert "#variational=" in anchor(page)
    page.locator("#pad").tap()
    page.wait_for_function("document.querySelector('#pad span').hidden")


def test_the_keyboard_alone_does_it_all(visit, path):
    page = visit(path)
    page.locator(".plane.variational .map").focus()
    first = code_of(page, "variational")
    page.keyboard.press("ArrowRight")
    second = code_of(page, "variational")
    page.keyboard.press("Shift+ArrowUp")
    assert len({first, second, code_of(page, "variational")}) == 3
    page.keyboard.press("Enter")
    assert "#variational=" in anchor(page)
    for _ in range(2):  # the next two stops: the links' one, then the button
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "random":
            break
    page.locator(".plane.variational .random").focus()
    page.keyboard.press("Enter")
    page.locator(".plane.variational .slider").focus()
    at_b = code_of(page, "variational")
    page.keyboard.press("Home")
    assert code_of(page, "variational") != at_b
    page.locator("#pad").focus()
    before = star(page, "variational")
    for key in ["Space", *["ArrowDown"] * 9, "Space", "ArrowLeft"]:
        page.keyboard.press(key)
    page.evaluate("() => new Promise(requestAnimationFrame)")
    assert star(page, "variational") != before
    page.keyboard.press("Delete")
    assert star(page, "variational") == before
    page.locator("#bars input").nth(3).focus()
    painted = pixels(page, "#nodes figure canvas")
    page.keyboard.press("End")
    assert page.locator("#bars input").nth(3).input_value() == "1"
    assert (pixels(page, "#nodes figure canvas") != painted).any()
    # everything that can be operated can be reached by Tab
    reachable = "all => all.filter(one => one.tabIndex < 0 || !(one.ariaLabel || one.innerText)).length"
    assert page.locator("button, input, a, [role=application]").evaluate_all(reachable) == 0


@torch.no_grad()
def test_a_dragged_bar_changes_the_painting(visit, path, models):
    page = visit(path)
    bar = page.locator("#bars input").nth(2)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    x = box["x"] + box["width"] / 2
    page.mouse.move(x, box["y"] + 0.9 * box["height"])
    page.mouse.down()
    page.mouse.move(x, box["y"] + 0.25 * box["height"], steps=4)
    page.mouse.up()
    assert float(bar.input_value()) == pytest.approx(0.75, abs=0.03)
    values = [float(value) for value in page.locator("#bars input").evaluate_all("bars => bars.map(bar => bar.value)")]
    painted = (models["sparse"].decoder(torch.tensor([values])).view(28, 28) * codelet7.STD + codelet7.MEAN).clamp(0)
    shown = pixels(page, "#nodes figure canvas") / 255 * (codelet7.MEAN + codelet7.STD)
    assert np.abs(shown - painted.numpy()).max() < 2 / 255
    page.get_by_role("button", name="As for the image").click()
    assert float(bar.input_value()) == pytest.approx(
        models["sparse"].encoder(normalised(IMAGES[[np.argmax(TEST.labels == 4)]]))[0, 2].item(), abs=0.02
    )


def test_a_walk_leads_from_one_pin_to_the_other(visit, path):
    page = visit(path, "#variational=-1.5,0.25")
    assert page.locator(".plane.variational .play").is_disabled()
    page.evaluate("location.hash = '#variational=0.5,-0.75'")
    page.locator(".plane.variational .slider").fill("0.5")
    assert code_of(page, "variational") == "(\u22120.50,\u00a0\u22120.25)"
    page.locator(".plane.variational .play").click()
    page.wait_for_function("document.querySelector('.variational .slider').value != 0.5")
    page.locator(".plane.variational .play").click()
    assert page.locator(".plane.variational .play").inner_text() == "Play"


def test_a_link_leads_to_a_code(visit, path):
    page = visit(path, "#variational=-0.74,-0.26&autoencoder=0.5,1")
    assert code_of(page, "variational") == "(\u22120.74,\u00a0\u22120.26)"
    assert code_of(page, "autoencoder") == "(0.50,\u00a01.00)"
    page.evaluate("location.hash = '#variational=0.5,0.25'")
    page.wait_for_function("document.querySelector('.variational .code').innerText.includes('0.25')")
    for nonsense in ("#variational=1", "#variational=a,b", "#nothing=1,2", "#variational=1,2,3", "#%"):
        page.evaluate("hash => location.hash = hash", nonsense)
    assert code_of(page, "variational") == "(0.50,\u00a00.25)"
    page.locator(".plane.variational .random").click()
    assert re.search(r"#autoencoder=0.5,1&variational=-?[\d.]+,-?[\d.]+$", anchor(page))


def test_the_middle_can_be_enlarged(visit, path, trained):
    page, plane = visit(path, "#variational=0.1,0.1"), trained["variational"]
    (low1, high1), (low2, high2) = latent.square(plane.codes, tail=0.15)
    button = page.get_by_role("button", name="Enlarge the middle").last
    before = star(page, "variational")
    for pressed in ("true", "false"):
        button.click()
        assert button.get_attribute("aria-pressed") == pressed
        page.locator(".plane.variational .map").click()
        found = [float(number) for number in re.search(r"variational=(.*)", anchor(page))[1].split(",")]
        if pressed == "true":
            assert (
                np.abs(np.array(found) - [(low1 + high1) / 2, (low2 + high2) / 2]).max() < 0.01 * (high1 - low1) + 0.005
            )
            assert star(page, "variational") != before
    assert star(page, "variational") == before


def test_one_digit_alone_can_be_shown_and_a_decoded_picture_be_passed_on(visit, path):
    page = visit(path)
    dots = page.locator(".plane.autoencoder .dots")
    total = f"canvas => ({RED})(canvas).reduce((sum, value) => sum + value)"
    before = dots.evaluate(total)
    page.get_by_role("button", name="only 4s").click()
    assert dots.evaluate(total) != before
    page.get_by_role("button", name="only 4s").click()
    assert dots.evaluate(total) == before
    page.locator(".plane.autoencoder .random").click()
    picture = pixels(page, ".plane.autoencoder .picture")
    page.locator(".plane.autoencoder .use").click()
    assert np.abs(pixels(page, "#tiles canvas >> nth=0") - picture).max() <= 1


LAYOUT = """() => {
  const shown = [...document.querySelectorAll("h1, h2, h3, p, button, input, canvas, figcaption, .map, #pad, footer")]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().width);
  const wrong = [];
  const name = (one) => `${one.tagName} ${one.className} ${one.textContent.slice(0, 30)}`;
  for (const one of shown) {
    const box = one.getBoundingClientRect();
    if (box.left < 0 || box.right > innerWidth + 0.5) wrong.push(`${name(one)} is cut off`);
    if (one.scrollWidth > one.clientWidth + 1 && one.clientWidth) wrong.push(`${name(one)} is too narrow`);
    for (const other of shown) {
      if (one.contains(other) || other.contains(one) || one.closest(".map") || other.closest(".map")) continue;
      const two = other.getBoundingClientRect();
      const wide = Math.min(box.right, two.right) - Math.max(box.left, two.left);
      const high = Math.min(box.bottom, two.bottom) - Math.max(box.top, two.top);
      if (wide > 1 && high > 1) wrong.push(`${name(one)} overlaps ${name(other)}`);
    }
  }
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("the page scrolls sideways");
  return wrong;
}"""


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (768, "dark"), (1400, "light")])
def test_nothing_is_cut_off_or_overlaps(visit, path, width, scheme):
    page = visit(path, "#autoencoder=-0.5,0.5&variational=1,1", width=width, color_scheme=scheme)
    page.locator(".plane.variational .random").click()
    draw(page, [(0.5, 0.2), (0.5, 0.8)])
    assert page.evaluate(LAYOUT) == []
    planes = [page.locator(f".plane.{key}").bounding_box() for key in ("autoencoder", "variational")]
    assert (planes[0]["y"] == planes[1]["y"]) == (width == 1400)  # side by side, or one above the other
    colours = page.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    paper, ink = (sum(int(part) for part in re.findall(r"\d+", colour)) / 3 for colour in colours)
    assert (ink > 200 and paper < 50) if scheme == "dark" else (ink < 50 and paper > 200)


def test_a_page_of_what_was_trained_names_what_was_not(visit, drawn, tmp_path, models, capsys):
    save(tmp_path / "drawn" / "autoencoder-steps20", models, "autoencoder")
    explore.explore(settings(tmp_path), {})
    path = tmp_path / "drawn" / "explore-steps20.html"  # not the page of the default settings
    assert str(path) in capsys.readouterr().out
    page = visit(path, width=360)
    assert page.locator("#drawn").is_visible()
    assert page.get_by_text("20 steps").count() == 1
    for command in ("python autoencoder.py --variational", "python codelet7.py"):
        assert page.locator(f"code:text-is('{command}')").count() == 1
    assert page.locator("code:text-is('python autoencoder.py')").count() == 0
    assert page.evaluate(LAYOUT) == []
    draw(page, [(0.5, 0.2), (0.5, 0.8)])
    assert "error" in page.locator("#tiles").inner_text()


def test_a_page_of_the_sparse_model_alone_and_of_damaged_files(visit, drawn, tmp_path, models):
    save(tmp_path / "drawn" / "codelet7", models, "sparse")
    explore.explore(settings(tmp_path), {})
    page = visit(tmp_path / "drawn" / "explore.html")
    assert page.locator("#bars input").count() == 10
    assert page.locator(".map").count() == 0
    file = tmp_path / "drawn" / "codelet7" / "model.pt"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(utils.UserError, match="damaged"):
        explore.explore(settings(tmp_path), {})
