"""What Python source says to the interpreter, apart from what it says to people.

In: source text. Out: its syntax tree without words, and the digest of a tree. Words are comments,
layout, docstrings, annotations of functions that nothing reads, and texts in messages of errors and
of the log. So a typo in a docstring is no other program. The form is this module's own because
`ast.dump` differs between Python versions; from 3.11 to 3.14 equal source has equal digests.
"""

import ast
import hashlib
import json
from itertools import groupby
from typing import Any

# Fields that repeat what the tree says elsewhere, or that are about comments and spelling.
_SILENT = ("ctx", "kind", "type_comment", "type_ignores")

_LOG_NAME = "log"


def without_words(source: str) -> ast.Module:
    """Return the tree of Python source without its words."""
    tree: ast.Module = _WordsOut().visit(ast.parse(source))
    return tree


def tree_digest(tree: ast.AST) -> str:
    """Return the sha256 of a tree that `without_words` made, or of a part of it."""
    return hashlib.sha256(json.dumps(_form(tree)).encode()).hexdigest()


def is_typing_only(node: ast.AST) -> bool:
    """Return whether a node is an `if TYPE_CHECKING:`, which never runs."""
    if not isinstance(node, ast.If):
        return False
    test = node.test
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")
    return name == "TYPE_CHECKING"


class _WordsOut(ast.NodeTransformer):
    """Takes words out of a tree. A node that vanishes leaves its field empty."""

    def __init__(self) -> None:
        self._in_message = False
        self._in_function = False

    def visit_Expr(self, node: ast.Expr) -> Any:
        value = node.value
        # Docstrings, also those under fields.
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            return None
        return self._message(node) if _is_log_call(value) else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> Any:
        return None  # may stand in for a docstring

    def visit_If(self, node: ast.If) -> Any:
        if is_typing_only(node):
            node.body = []
        return self.generic_visit(node) if node.body or node.orelse else None

    def visit_Raise(self, node: ast.Raise) -> Any:
        return self._message(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        node.msg = None
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> Any:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        return self._message(node) if name.endswith("Error") else self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> Any:
        return None if self._in_message and isinstance(node.value, str) else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> Any:
        if self._in_message:
            return None
        self.generic_visit(node)
        # Versions differ in how they cut the fixed parts.
        whole: list[ast.expr] = []
        for fixed, parts in groupby(node.values, lambda part: isinstance(part, ast.Constant)):
            if fixed:
                text = "".join(str(getattr(part, "value", "")) for part in parts)
                whole += [ast.Constant(text)] if text else []
            else:
                whole += parts
        node.values = whole
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        return self._function(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return self._scope(node, in_function=False)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        # The annotation of a field decides what pydantic makes of a value; a local one nothing.
        if not self._in_function:
            return self.generic_visit(node)
        return self.visit(ast.Assign([node.target], node.value)) if node.value else None

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Any:
        # A decorator may read the signature: an HTTP route does.
        if not node.decorator_list:
            node.returns = None
            arguments = node.args
            for one in (
                *arguments.posonlyargs,
                *arguments.args,
                *arguments.kwonlyargs,
                *(extra for extra in (arguments.vararg, arguments.kwarg) if extra is not None),
            ):
                one.annotation = None
        return self._scope(node, in_function=True)

    def _scope(self, node: ast.AST, in_function: bool) -> Any:
        before, self._in_function = self._in_function, in_function
        self.generic_visit(node)
        self._in_function = before
        return node

    def _message(self, node: ast.AST) -> Any:
        before, self._in_message = self._in_message, True
        self.generic_visit(node)
        self._in_message = before
        return node


def _is_log_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == _LOG_NAME
    )


def _form(value: Any) -> Any:
    """Return a node as nested lists of its kind and its fields that are not empty."""
    if isinstance(value, list):
        return [_form(one) for one in value]
    if isinstance(value, ast.Constant):
        constant = value.value
        # A text as it is: `repr` depends on the version's table of printable characters.
        return [type(constant).__name__, constant if isinstance(constant, str) else repr(constant)]
    if not isinstance(value, ast.AST):
        return value
    fields: list[Any] = [type(value).__name__]
    for name in value._fields:
        field = getattr(value, name, None)
        if field is not None and field != [] and name not in _SILENT:
            fields += [name, _form(field)]
    return fields
