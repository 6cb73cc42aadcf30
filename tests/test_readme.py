"""The README: its commands are those that CI runs, its files and names are there."""

import ast
import json
import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
EXTRAS = list((ROOT / "extras").glob("*.py"))
SHELL = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


def test_ci_runs_every_command():
    run = re.findall(r"^ *run (?:env )?(.*)$", (ROOT / ".ci" / "run").read_text(), re.M)
    ran = {re.sub(r" --(quiet|steps 2000)\b", "", command) for command in run}
    assert len(SHELL) > 5
    assert set(SHELL) == ran


def test_files_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link
    tree = next(block for kind, block in BLOCKS if kind == "text")
    for name in re.findall(r"^ *([\w./]+)  ", tree, re.M):
        assert list(ROOT.rglob(name.rstrip("/"))), name


def test_it_is_short():
    assert len(README.splitlines()) <= 150
    prose = re.sub(r"(?s:^```.*?^```$)|^\|.*$|\]\([^)]*\)", "", README, flags=re.M)
    assert 500 < len(prose.split()) <= 1_100


def test_numbers_are_those_of_the_committed_runs():
    """In the tables of models: what stands outside brackets, which hold other seeds, and with `python`'s runs alone."""
    reports = " ".join(path.read_text() for path in (ROOT / "figures").glob("[acv]*/*.txt"))
    tables = re.findall(r"^\|.*$", README.split("**More numbers")[0], re.M)
    numbers = re.findall(r"\d+\.\d+", re.sub(r"\(.*?\)", "", " ".join(tables)))
    assert len(numbers) > 30
    assert not [number for number in numbers if number not in reports]
    for sentence in re.findall(r"\d+(?:\.\d+)? %", README.split("## The autoencoder")[0]):
        assert sentence.replace(" ", "") in reports.replace(" ", "")


def test_the_page_shows_the_same_sweep():
    page = (ROOT / "figures" / "explore.html").read_text("utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="run">(.*?)</script>', page, re.S)[1])
    sweep = data["models"]["sweep"]
    table = (ROOT / "figures" / "codelet7" / "sparsity.txt").read_text()
    for weight, error in zip(sweep["weights"], sweep["errors"], strict=True):
        assert re.search(rf"^ +{weight:g} +[\d.]+ +{error:.4f} ", table, re.M)


def test_floors():
    """Nothing in extras imports utils or a script; sweep imports nodes, and there is no other arrow."""
    arrows = []
    for path in EXTRAS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                arrows += [(path.stem, name) for name in (node.module, *(alias.name for alias in node.names))]
            elif isinstance(node, ast.Import):
                arrows += [(path.stem, alias.name) for alias in node.names]
    ours = {path.stem for path in ROOT.glob("*.py")} | {"extras", *(f"extras.{path.stem}" for path in EXTRAS)}
    assert {arrow for arrow in arrows if arrow[1] in ours} == {("sweep", "extras.nodes")}
