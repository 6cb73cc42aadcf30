"""Reads a student's file, and tells its errors in a line.

Of the file are executed the imports, classes, functions and assignments that the checks
need, and what those need in turn. Never loops or bare calls at top level, nor an
assignment that is not needed: many scripts train as soon as they are imported.
"""

import ast
import contextlib
import dis
import traceback
import types

import pytest

MODULE = "solution"  # the name under which a student's file runs


def find_file(path, assignment):
    """The file of an assignment, "codelet7" or "autoencoder"; None where it is missing.

    Args:
        path: a folder with `codelet7.py` or `autoencoder.py`, or one such file, by
            whatever name.
    """
    if path.is_dir():
        file = path / f"{assignment}.py"
        return file if file.exists() else None
    is_codelet7 = b"SparseAutoencoder" in path.read_bytes()
    return path if is_codelet7 == (assignment == "codelet7") else None


def load(path, names):
    """Executes what the definitions of `names` in a file need; returns the module."""
    tree = ast.parse(path.read_bytes())
    tree = TopLevel().visit(tree)
    tree.body = needed(tree.body, names)
    module = types.ModuleType(MODULE)
    module.__file__ = str(path)
    exec(compile(tree, str(path), "exec", dont_inherit=True), vars(module))
    return module


class TopLevel(ast.NodeTransformer):
    """Takes loops and bare calls out of a file, also out of its if, try and with."""

    def drop(self, node):
        return ast.copy_location(ast.Pass(), node)

    def keep(self, node):
        return node

    visit_Expr = visit_For = visit_While = visit_Assert = visit_Delete = drop
    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = keep


def needed(statements, names):
    """The statements that bind `names`, and those that bind what these use."""
    names = set(names)
    while True:
        chosen = [one for one in statements if names & bound(one) or is_blind(one)]
        used = set().union(*(names_used(code_of(one)) for one in chosen))
        if used <= names:
            return chosen
        names |= used


def is_blind(statement):
    """Whether it does not say what it binds: import *, or the future."""
    if not isinstance(statement, ast.ImportFrom):
        return False
    return statement.module == "__future__" or statement.names[0].name == "*"


def code_of(statement):
    return compile(ast.Module([statement], []), "", "exec", dont_inherit=True)


def bound(statement):
    """The global names that a statement binds."""
    return names_of(code_of(statement), {"STORE_NAME"})


def names_used(code):
    """The global names that code uses, also in the functions that it defines."""
    names = names_of(code, {"LOAD_NAME", "LOAD_GLOBAL", "LOAD_FROM_DICT_OR_GLOBALS"})
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= names_used(constant)
    return names


def names_of(code, operations):
    """The names on which code does one of these operations of Python's byte code."""
    instructions = dis.get_instructions(code)
    return {step.argval for step in instructions if step.opname in operations}


# --- Errors --------------------------------------------------------------------------


def fail(message):
    """Fails a check with a message that is all there is to read."""
    raise pytest.fail.Exception(message, pytrace=False) from None


def expect(condition, message):
    """Fails a check with a message, unless the condition holds."""
    if not condition:
        fail(message)


@contextlib.contextmanager
def errors_in_a_line():
    """Errors of a student's file fail the check, with a line instead of a traceback."""
    try:
        yield
    except Exception as error:
        fail(describe(error))


def describe(error):
    """Where in a student's file an error was raised, and what it says."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    frames = frames_in_solution(error)
    if not frames:
        return message
    frame, line = frames[-1]
    function = frame.f_code.co_name
    if isinstance(error, NotImplementedError) and not str(error):
        whole_name = getattr(frame.f_code, "co_qualname", function)  # since Python 3.11
        return f"{whole_name} is not written yet"
    place = f"line {line}" if function == "<module>" else f"line {line}, in {function}"
    return f"{place}: {message}"


def frames_in_solution(error):
    """The frames of an error's traceback that lie in the student's file, with lines."""
    return [
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == MODULE
    ]


def line_in_solution(error):
    """How far down in the student's file an error was raised; 0 for outside of it."""
    frames = frames_in_solution(error)
    return frames[-1][1] if frames else 0
