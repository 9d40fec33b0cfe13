"""The code part of a step's key: digests of all source that makes its result.

In: a step function. Out: name -> digest, of the function and what it uses of its own module, and of
each module of the project that can be reached from there by imports: at the top or inside
functions, by a name in a text ("package.module:function") or by one put together
(`f"package.{name}"`), and of the data files that such a module opens beside itself. Less the
modules of `unwatched.py`. Modules are read, not imported: the key of training must not load torch.

Not here: what of a file counts (`syntax.py`), settings and inputs (`keys.py`).
"""

import ast
import copy
import hashlib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from components.core.errors import ConfigError
from workflows.steps.identity.source_cache import SourceFacts, user_cache
from workflows.steps.identity.syntax import is_typing_only, tree_digest, without_words
from workflows.steps.identity.unwatched import is_unwatched

ROOT = Path(__file__).resolve().parents[3]
"""The folder that holds the project's packages."""

PACKAGES = ("components", "workflows")

_OURS = f"(?:{'|'.join(PACKAGES)})"
_MODULE = re.compile(rf"({_OURS}(?:\.\w+)+)(?::\w+)?")
_FOLDER = re.compile(rf"({_OURS}(?:\.\w+)*)\.")
_SCOPES = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
)  # fmt: skip
_FILE_NAME = re.compile(r"[\w.-]+\.\w+")


def code_digests(
    function: Callable[..., Any], settings: Mapping[str, Any], root: Path = ROOT
) -> dict[str, str]:
    """Return name -> digest of all source that decides what a step function makes.

    Of modules whose names are put together, `f"components.evaluation.benchmarks.{name}"`, those
    count that the step's setting `benchmarks` lists; all of the folder where there is no such
    setting. Raises ConfigError for a function without a source file, or source with an error.
    """
    cache = user_cache(module_facts)
    digests, facts = _of_step_function(function, root)
    seen: set[str] = set()
    todo = _led_to(facts, settings, root)
    while todo:
        module = todo.pop()
        if module in seen:
            continue
        seen.add(module)
        path = _module_path(module, root)
        if path is None or is_unwatched(module):
            continue
        try:
            facts = cache.facts(path.read_bytes())
        except (SyntaxError, UnicodeDecodeError) as error:
            line = getattr(error, "lineno", None) or 1
            raise ConfigError(
                f"{path}:{line}: not Python that can be read ({error}); mend it, or the key of "
                f"{_name(function)} is unknown"
            ) from None
        digests[module] = facts.digest
        for name in facts.files:
            if (path.parent / name).is_file():
                data = (path.parent / name).read_bytes()
                digests[f"{module}/{name}"] = hashlib.sha256(data).hexdigest()
        todo += _led_to(facts, settings, root)
    cache.save()
    return dict(sorted(digests.items()))


def module_facts(source: bytes) -> SourceFacts:
    """Return the digest of a module's source, and what it leads to."""
    tree = without_words(source.decode())
    nodes = list(ast.walk(tree))
    files: set[str] = set()
    if any(isinstance(node, ast.Name) and node.id == "__file__" for node in nodes):
        texts = (node.value for node in nodes if isinstance(node, ast.Constant))
        files = {text for text in texts if isinstance(text, str) and _FILE_NAME.fullmatch(text)}
    return SourceFacts(tree_digest(tree), *_imports(nodes), sorted(files))


def _of_step_function(
    function: Callable[..., Any], root: Path
) -> tuple[dict[str, str], SourceFacts]:
    """Return the digests of a step function and of what it uses of its own module, and what these
    import. What the module imports for other steps does not count.
    """
    function = inspect.unwrap(function)
    module, name = str(getattr(function, "__module__", "")), _name(function)
    path = _module_path(module, root) or _source_path(function)
    text = path.read_text(encoding="utf-8") if path is not None else ""
    trees = _trees(text)
    start, bare = (_find(tree, name) for tree in trees)
    if start is None or bare is None:
        raise ConfigError(
            f"step function {name!r} has no source file; define it with `def` in a module"
        )
    # Names are looked for in annotations too: that of `config` tells where its class is.
    whole, wordless = (_definitions(tree) for tree in trees)
    reached, todo = {name: (start, bare)}, [start]
    while todo:
        for one in _uses(todo.pop()) & set(whole) - set(reached):
            reached[one] = whole[one], wordless[one]
            todo.append(whole[one])
    nodes = [node for statement, _ in reached.values() for node in ast.walk(statement)]
    digests = {
        f"{module}:{one}": tree_digest(bare)
        for one, (_, bare) in reached.items()
        if not isinstance(bare, ast.Import | ast.ImportFrom)
    }
    return digests, SourceFacts("", *_imports(nodes), [])


@lru_cache(maxsize=16)
def _trees(text: str) -> tuple[ast.Module, ast.Module]:
    """Return the tree of a step function's module, and the one without words."""
    return ast.parse(text), without_words(text)


def _definitions(tree: ast.Module) -> dict[str, ast.AST]:
    """Return the statement of a module that gives each of its names."""
    found: dict[str, ast.AST] = {}
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[statement.name] = statement
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            # One name of `from module import a, b` brings in that one alone.
            for alias in statement.names:
                one = copy.copy(statement)
                one.names = [alias]
                found[alias.asname or alias.name.split(".")[0]] = one
        elif not is_typing_only(statement):
            names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            found |= {node.id: statement for node in names if isinstance(node.ctx, ast.Store)}
    return found


def _uses(statement: ast.AST) -> set[str]:
    """Return the names that a statement takes from its module."""
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
        return _names([statement])
    outside = [statement.args, statement.returns, *statement.decorator_list]
    own = {argument.arg for argument in ast.walk(statement.args) if isinstance(argument, ast.arg)}
    todo: list[ast.AST] = list(statement.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.alias):
            own.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif not isinstance(node, _SCOPES):
            todo += ast.iter_child_nodes(node)
    return _names(outside) | (_names(statement.body) - own)


def _names(nodes: Iterable[ast.AST | None]) -> set[str]:
    """Return the names read anywhere in some nodes."""
    inner = (one for node in nodes if node is not None for one in ast.walk(node))
    return {one.id for one in inner if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)}


def _find(tree: ast.AST, qualified_name: str) -> ast.AST | None:
    """Return the function or class of that name, such as `outer.<locals>.inner`."""
    outer, _, rest = qualified_name.partition(".")
    if outer == "<locals>":
        return _find(tree, rest)
    for node in ast.walk(tree):
        if node is not tree and getattr(node, "name", None) == outer:
            return _find(node, rest) if rest else node
    return None


def _imports(nodes: Iterable[ast.AST]) -> tuple[list[str], list[str]]:
    """Return the project's modules that nodes of a tree may import, and the folders of those whose
    names are put together. A name may be that of something within a module.
    """
    modules: set[str] = set()
    folders: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            modules.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if named := _MODULE.fullmatch(node.value):
                modules.add(named[1])
        elif isinstance(node, ast.JoinedStr) and node.values:
            first = node.values[0]
            if isinstance(first, ast.Constant) and (named := _FOLDER.fullmatch(str(first.value))):
                folders.add(named[1])
    ours = sorted(name for name in modules if name.split(".")[0] in PACKAGES)
    return ours, sorted(folders)


def _led_to(facts: SourceFacts, settings: Mapping[str, Any], root: Path) -> list[str]:
    """Return the names of modules that are imported, packages around them included."""
    names = list(facts.imports)
    for folder in facts.folders:
        *_, last = parts = folder.split(".")
        everything = (path.stem for path in root.joinpath(*parts).glob("[!_]*.py"))
        names += [f"{folder}.{one}" for one in settings.get(last, everything)]
    found = []
    for name in names:
        parts = name.split(".")
        found += [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return found


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__qualname__", repr(function)))


def _module_path(name: str, root: Path) -> Path | None:
    """Return the file of one of the project's modules; None for the name of anything else."""
    if name.split(".")[0] not in PACKAGES:
        return None
    place = root.joinpath(*name.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((path for path in files if path.is_file()), None)


def _source_path(function: Callable[..., Any]) -> Path | None:
    """Return the file of a function from elsewhere than the project (a test's)."""
    try:
        return Path(inspect.getsourcefile(function) or "")
    except TypeError:
        return None
