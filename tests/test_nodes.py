"""Hidden nodes: measured as by NumPy, tabled as measured, drawn within their pages."""

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

import codelet7
from extras import nodes


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return codelet7.SparseAutoencoder(784, 3)


@pytest.fixture(scope="module")
def found(model, normalised, labels):
    return nodes.measure_nodes(model, normalised, labels)


def hidden_by_numpy(model, images):
    x = images.flatten(1).double().numpy()
    weight = model.encoder[0].weight.detach().double().numpy()
    bias = model.encoder[0].bias.detach().double().numpy()
    return 1 / (1 + np.exp(-x @ weight.T - bias))


def fits(*figures):
    """Whatever is drawn lies within its figure."""
    for figure in figures:
        box = figure.get_tightbbox(FigureCanvasAgg(figure).get_renderer())
        assert (box.min >= 0).all(), box
        assert (box.max <= figure.get_size_inches()).all(), box


def texts(figure):
    with_text = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(artist.get_text() for artist in with_text)


def test_nodes_are_those_of_numpy(model, normalised, labels, found):
    hidden = hidden_by_numpy(model, normalised)
    digits = [hidden[labels == digit].mean(axis=0) for digit in range(10)]
    np.testing.assert_allclose(found.mean, hidden.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.by_digit.T, digits, rtol=1e-5)
    predicted = np.array(digits)[labels]
    explained = 1 - (hidden - predicted).var(axis=0) / hidden.var(axis=0)
    np.testing.assert_allclose(found.explained, explained, atol=1e-4)
    weight = model.decoder[0].weight.detach().numpy()
    np.testing.assert_array_equal(found.painted[2].ravel(), weight[:, 2])


def test_extremes_are_those_of_numpy(model, normalised, labels, found):
    order = hidden_by_numpy(model, normalised)[:, 1].argsort()
    assert found.least_active[1, :5].tolist() == order[:5].tolist()
    assert found.most_active[1, :5].tolist() == order[:-6:-1].tolist()
    expected = np.bincount(labels[order[-100:].copy()], minlength=10)
    assert found.most_digits[1].tolist() == expected.tolist()


def test_a_node_stands_for_a_digit_if_twice_as_active():
    by_digit = np.full((3, 10), 0.4)
    by_digit[1, 7] = 0.79
    by_digit[2, 7] = 0.81
    same = SimpleNamespace(by_digit=by_digit)
    assert nodes.NodeMeasures.count_standing_for_a_digit(same) == 1


def test_the_whole_model_is_that_of_numpy(model, normalised, labels):
    data = normalised, labels
    found = nodes.measure_model(model, *data, normalised[:500], labels[:500])
    x = normalised.flatten(1).double().numpy()
    hidden = hidden_by_numpy(model, normalised)
    weight = model.decoder[0].weight.detach().double().numpy()
    bias = model.decoder[0].bias.detach().double().numpy()
    errors = (np.tanh(hidden @ weight.T + bias) - x) ** 2
    rounded = (np.tanh(hidden.round() @ weight.T + bias) - x) ** 2
    mean = hidden.mean(axis=0)
    penalty = np.sum(0.05 * np.log(0.05 / mean) + 0.95 * np.log(0.95 / (1 - mean)))
    assert found.error == pytest.approx(errors.mean(), rel=1e-5)
    assert found.test_error == pytest.approx(errors[:500].mean(), rel=1e-5)
    assert found.rounded_error == pytest.approx(rounded.mean(), rel=1e-5)
    share = 1e-4 * penalty / (errors.mean() + 1e-4 * penalty)
    assert found.penalty_share == pytest.approx(share, rel=1e-4)
    assert found.low == pytest.approx((hidden < 0.1).mean(), abs=1e-3)
    assert found.high == pytest.approx((hidden > 0.9).mean(), abs=1e-3)


def test_share_recognised():
    labels = torch.arange(20) % 10
    rows = labels[:, None].float() + torch.zeros(20, 2)
    near = rows + 0.4
    far = rows + 0.6
    assert nodes.share_recognised(rows, labels, near, labels) == 1
    assert nodes.share_recognised(rows, labels, far, labels) == pytest.approx(0.1)


# --- The table, pictures and pages


def make_record(model, normalised, labels, published):
    losses = SimpleNamespace(train=[0.9, 0.7], test=[0.8, 0.6])
    data = normalised, labels
    trained = copy.deepcopy(model)
    return nodes.analyse(model, trained, losses, published, data, data)


@pytest.fixture(scope="module")
def record(model, normalised, labels):
    return make_record(model, normalised, labels, {1: 0.8029, 2: 0.5329})


def test_the_table_has_a_line_for_each_number(record, found):
    lines = record.table.splitlines()
    assert "published train loss" in record.table
    trained = next(line for line in lines if line.startswith("train loss"))
    assert trained.split()[-2:] == ["0.9000", "0.7000"]
    node = next(line for line in lines if line.split()[:1] == ["1"])
    assert f"{found.mean[1]:.2f}" in node
    most = found.most_digits[1]
    assert f"{most.max()} {most.argmax()}s" in node


def test_an_untrained_model_gets_its_table_too(model, normalised, labels):
    dead = copy.deepcopy(model)
    torch.nn.init.zeros_(dead.encoder[0].weight)
    assert "nan" not in make_record(dead, normalised, labels, {}).table


def test_pictures_and_pages_show_all_and_stay_within(record):
    fits(
        nodes.nodes_figure(record.trained, record.untrained),
        nodes.losses_figure(record.losses, record.published),
    )
    pages = nodes.make_pages(record, {})
    fits(*pages)
    assert "published" in texts(pages[1])
    assert "extras/answers.txt" in texts(pages[0])


def test_the_ground_of_images_is_black_beside_their_reconstructions(record):
    pairs = record.pairs.clone()
    pairs[1] = -1  # as dark as a Tanh can be, darker than the ground of images
    page = nodes.reconstructions_page(dataclasses.replace(record, pairs=pairs), {})
    grid = page.axes[1].images[0].get_array()
    assert grid[2, 2] == grid[2, 32] == 0
    assert grid.max() == 1


def test_more_nodes_than_a_page_has_room_for(normalised, labels):
    model = codelet7.SparseAutoencoder(784, 40)
    record = make_record(model, normalised, labels, {})
    fits(nodes.nodes_figure(record.trained, record.untrained))
    fits(*nodes.make_pages(record, {}))


@pytest.fixture
def answers(record):
    sections = "losses", "sparse", "nodes", "node 2", "reconstructions", "top images"
    return {name: f"Words on {name}." for name in sections} | {"table": record.table}


def test_the_answers_stand_on_their_pages(record, answers):
    pages = nodes.make_pages(record, answers)
    assert len(pages) == 5
    for page, section in zip(
        pages,
        ["sparse", "nodes", "node 2", "reconstructions", "top images"],
        strict=True,
    ):
        assert f"Words on {section}." in texts(page)
    assert "has other numbers" not in texts(pages[0])
    other = nodes.make_pages(record, answers | {"table": "other"})
    assert "has other numbers" in texts(other[0])


def test_the_written_answers_fit_on_their_pages(model, normalised, labels):
    ten = codelet7.SparseAutoencoder(784, 10)
    record = make_record(ten, normalised, labels, {})
    answers = nodes.read_answers()
    assert {"losses", "sparse", "nodes", "table"} <= set(answers)
    pages = nodes.make_pages(record, answers)
    for page in pages:
        renderer = FigureCanvasAgg(page).get_renderer()
        page.draw(renderer)
        for axis in page.axes:
            for text in axis.texts:
                box = text.get_window_extent(renderer)
                assert box.x1 <= page.bbox.x1, text
                if not axis.axison and not axis.images:
                    assert box.y0 >= axis.bbox.y0 - 3, text  # not into what is below
