"""README and answers: their numbers are those of the committed runs, their files and
names are there. If numbers fail after a run of your own: git checkout figures."""

import ast
import re

import pytest

from extras import nodes
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SPARSE = "codelet7/report.txt"
SWEEP = "codelet7/sparsity.txt"
DENSE = "autoencoder/report.txt"
VARIATIONAL = "variational/report.txt"
SEEDS = "seeds.txt"
SOURCES = [  # a report, a row of it, and the numbers that are taken from there
    (SPARSE, "train loss", "0.8034 0.5308"),
    (SPARSE, "published train loss", "0.8029 0.5329"),
    (SPARSE, "test loss", "0.5337"),
    (SPARSE, "recognised by the nearest mean pattern", "71% 46%"),
    (SPARSE, "the same with the raw pixels", "82%"),
    (SPARSE, "weighted penalty in the loss", "0.09%"),
    (SPARSE, "activations below 0.1", "29%"),
    (SPARSE, "activations above 0.9", "26%"),
    (SPARSE, "squared error, training images", "0.5290"),
    (SPARSE, "with activations rounded to 0 or 1", "0.5586"),
    (SPARSE, "4 ", "96 7s"),
    (SPARSE, "6 ", "96 2s"),
    (SPARSE, "8 ", "96 0s"),
    (SPARSE, "9 ", "92 7s 34%"),
    (SWEEP, "untrained", "1.0213 0.28 to 0.68 0 of 10"),
    (SWEEP, "0 ", "0.5349 0.42 to 0.59 0 of 10"),
    (SWEEP, "0.0001", "0.5328 0.40 to 0.58 0.09% 0 of 10"),
    (SWEEP, "0.003", "0.5293 0.30 to 0.43 0 of 10"),
    (SWEEP, "0.1 ", "0.5680 0.5725 0.09 to 0.11 4 of 10"),
    (SWEEP, "0.03 ", "0.5475 0.14 to 0.19 2 of 10"),
    (SWEEP, "1 ", "0.6144 0.05 to 0.06 3 of 10"),
    (DENSE, "loss, test images", "0.03080"),
    (DENSE, "with the last weights, not averaged", "0.03166"),
    (DENSE, "mean squared error, test images", "0.0308 0.0557 0.0675"),
    (DENSE, "10-NN, test images", "91.5% 44.2%"),
    (DENSE, "N(0, I)", "59% 4.9"),
    (DENSE, "the codes' own mean and spread", "70% 7.5"),
    (DENSE, "N(0, 100^2 I)", "31% 4.3"),
    (DENSE, "reconstructions of test images", "84% 9.8"),
    (DENSE, "averages of two different digits", "12% 7.1"),
    (DENSE, "a code for a 4", "(0.485, 2.06)"),
    (DENSE, "4s among the 50 nearest codes", "90%"),
    (VARIATIONAL, "loss, training images", "126.6"),
    (VARIATIONAL, "loss, test images", "130.5 205.8"),
    (VARIATIONAL, "mean squared error, test images", "0.0312"),
    (VARIATIONAL, "10-NN, test images", "89.9%"),
    (VARIATIONAL, "N(0, I)", "71% 9.7"),
    (VARIATIONAL, "the codes' own mean and spread", "73% 9.6"),
    (VARIATIONAL, "N(0, 100^2 I)", "16% 3.6"),
    (VARIATIONAL, "reconstructions of test images", "83% 9.8"),
    (VARIATIONAL, "averages of two different digits", "12% 7.0"),
    (SEEDS, "train loss, epoch 1 ", "0.8034 0.8049"),
    (SEEDS, "train loss, epoch 20", "0.5308 0.5327"),
    (SEEDS, "dense: mean squared error, test images", "0.0308 0.0305 0.0313"),
    (SEEDS, "dense: N(0, I): recognised", "72% 49%"),
    (SEEDS, "dense: N(0, I): different", "4.9 2.3"),
    (SEEDS, "dense: codes within 2 of the origin", "12.0%"),
    (SEEDS, "dense: neighbours of 6s", "95% 94%"),
    (SEEDS, "dense: slant of 1s", "99% 99% 99% 99%"),
    (SEEDS, "dense: slant of 2s", "69% 62% 68% 59%"),
    (SEEDS, "variational: loss, test images", "130.5 129.8 131.1 131.2"),
    (SEEDS, "variational: N(0, I): recognised", "73% 60%"),
    (SEEDS, "variational: N(0, I): different", "9.8 8.8"),
]
NUMBER = r"\d+(?:\.\d+)?%|\d+\.\d+"
# The assignments', the weights of the sweep, the worked example, "over 90% sure", and
# the versions of Python.
KNOWN = re.findall(
    NUMBER,
    "0.05 0.0001 0.003 0.03 0.1 0.1307 0.3081 0.3326 0.7225 0.0939 1.1490 "
    "0.2 0.3 0.4 0.5 0.6 0.8 0.9 0.95 90% 3.10",
)


def row_of(report, name):
    """What stands in a row of a report, after its name."""
    lines = (ROOT / "figures" / report).read_text("utf-8").splitlines()
    (row,) = [line for line in lines if line.strip().startswith(name)]
    return row.strip().removeprefix(name)


@pytest.mark.parametrize(("report", "name", "numbers"), SOURCES)
def test_numbers_are_those_of_the_committed_runs(report, name, numbers):
    left = row_of(report, name)
    for number in numbers.split():
        before, found, left = left.partition(number)
        is_part = before[-1:].isdigit() or left[:1].isdigit()
        hint = f"no {number} in the row; after a run of your own: git checkout figures"
        assert found and not is_part, hint


def known_numbers():
    sources = " ".join(numbers for _, _, numbers in SOURCES)
    return {*re.findall(NUMBER, sources), *KNOWN}


def test_the_readme_has_no_other_numbers():
    text = README.split("**More numbers")[0]
    text = re.sub(r"(?s:^```.*?^```$)|\]\([^)]*\)", "", text, flags=re.MULTILINE)
    found = set(re.findall(NUMBER, text.replace("1e-8", "")))
    assert len(found) > 50
    assert found - known_numbers() == set()


def test_the_answers_have_no_other_numbers():
    answers = nodes.read_answers()
    table = answers.pop("table")
    found = set(re.findall(NUMBER, " ".join(answers.values())))
    assert len(found) > 20
    assert found - known_numbers() == set()
    report = (ROOT / "figures" / SPARSE).read_text("utf-8")
    assert report == f"MNIST, 20 epochs\n\n{table}\n"


def test_files_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    for link in links:
        assert (ROOT / link).exists(), link
    (tree,) = [block for kind, block in BLOCKS if kind == "text"]
    for name in re.findall(r"^([\w./]+)  ", tree, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_the_models_are_loaded_as_it_says(monkeypatch):
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    monkeypatch.chdir(ROOT)
    lines = code.splitlines()
    names = {}
    exec("\n".join(lines[: lines.index("") + 4]), names)
    assert {"sparse", "dense", "variational"} <= set(names)


def test_it_is_short():
    text = re.sub(r"(?s:^```.*?^```$)|^\|.*$", "", README, flags=re.MULTILINE)
    assert len(text.split()) <= 1_400


def imported(path):
    """The project's own modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "extras":
            names = [f"extras.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in OWN)


OWN = ("extras", "utils", "codelet7", "autoencoder")
ARROWS = {
    "nodes": {"extras.measures"},
    "plane": {"extras.measures", "extras.judge"},
    "judge": {"extras.measures"},
    "sweep": {"extras.nodes"},
}


def test_arrows_go_down_only():
    """Nothing in extras imports utils or a script."""
    paths = list((ROOT / "extras").glob("*.py"))
    assert len(paths) > 8
    for path in paths:
        assert set(imported(path)) == ARROWS.get(path.stem, set()), path.name
