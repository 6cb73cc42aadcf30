"""The README: its commands are those that CI runs, its files and names are there."""

import ast
import importlib
import re

from tests.conftest import ROOT

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.M | re.S)
SHELL = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]


def test_ci_runs_every_command():
    run = re.findall(r"^ +run (?:env )?(.*)$", (ROOT / ".ci" / "run").read_text(), re.M)
    ran = {re.sub(r" --(quiet|steps 2000|rounds 2)\b", "", command) for command in run}
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


def test_names_can_be_imported():
    for kind, block in BLOCKS:
        for node in ast.walk(ast.parse(block if kind == "python" else "")):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, name.name) for name in node.names)


def test_it_is_short():
    assert len(README.splitlines()) <= 150
    prose = re.sub(r"^```.*?^```$|^\|.*$|\]\([^)]*\)", "", README, flags=re.M | re.S)
    assert len(prose.split()) <= 1_250
