"""The README: its commands are those that CI runs, its files and names are there."""

import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
SHELL = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


def test_ci_runs_every_command():
    run = re.findall(r"^ *run (?:env )?(.*)$", (ROOT / ".ci" / "run").read_text(), re.M)
    ran = {re.sub(r" --(quiet|steps 2000)\b", "", command) for command in run}
    assert len(SHELL) > 5
    assert set(SHELL) == ran
    assert len(README.splitlines()) <= 150


def test_files_are_there():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link
    tree = next(block for kind, block in BLOCKS if kind == "text")
    for name in re.findall(r"^ *([\w./]+)  ", tree, re.M):
        assert list(ROOT.rglob(name.rstrip("/"))), name


def test_numbers_are_those_of_the_committed_runs():
    """All decimals and shares up to the table that has no such runs; in brackets stand other seeds."""
    reports = " ".join(
        path.read_text() for path in (ROOT / "figures").glob("[acv]*/*.txt")
    ).replace(" %", "%")
    text = re.sub(
        r"(?s:^```.*?^```$)|\]\([^)]*\)|\(\d[^)]*\)",
        "",
        README.split("**More numbers")[0],
        flags=re.M,
    )
    numbers = re.findall(r"\d+(?:\.\d+)?%|\d+\.\d+", text.replace(" %", "%"))
    assert len(numbers) > 50
    odd = {
        number for number in numbers if not re.search(rf"(?<![\d.]){number}", reports)
    }
    assert odd == {
        "0.1307",
        "0.3081",
        "0.4%",
        "0.002",
        "1.44",
    }  # of pixels, 60 epochs, a learning rate, a nat
    errors = re.search(
        r'"errors":\[(.*?)\]', (ROOT / "figures" / "explore.html").read_text("utf-8")
    )[1].split(",")
    assert all(
        f"{float(error):.4f}" in reports for error in errors
    )  # the page shows the same sweep


def test_floors():
    """Nothing in extras imports utils or a script; sweep imports nodes, and there is no other arrow."""
    arrow = re.compile(
        r"^ *(?:from|import) ((?:\.|extras|utils|codelet7|autoencoder)\S*)", re.M
    )
    found = [
        (path.stem, name)
        for path in (ROOT / "extras").glob("*.py")
        for name in arrow.findall(path.read_text())
    ]
    assert found == [("sweep", "extras.nodes")]
