"""The engine's sentences as its code writes them, for the test that holds the catalogue of reasons whole.

An f-string is a template: texts with places between them. Sentences begin where somebody is told something - refusals
and errors, warnings, notes, verdicts, the worker's messages - and are followed from there to the names, constants and
functions that they are put together from. Nothing is imported and nothing is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from string import Formatter

ROOT = Path(__file__).parents[1]
# The files of the engine: what renders, and of the trainer what a preflight may find and what writes captions.
ENGINE = ("models/**/*.py", "pipelines/**/*.py", "training/preflight.py", "training/captioner.py", "training/data/*.py")
# A value between two texts: any one, a number that is written as numbers are, words of the catalogue.
PLACE, NUMBER, WORDS = "\0", "\1", "\2"
ANY = re.compile("[\0\1\2]")
Template = str  # texts with places between them

# Modules whose sentences never reach a page, and why.
NO_PAGE = {
    "pipelines/batch.py": "progress of `diorama render`, in a terminal",
    "pipelines/chat.py": "a chat endpoint is named on the command line alone",
    "pipelines/cli.py": "the command line",
    "pipelines/dryrun.py": "`diorama render --dry-run`",
    "pipelines/expansion/jobtable.py": "CSV files are read by the command line alone",
    "pipelines/farm/cluster.py": "batches of the command line",
    "pipelines/farm/fetched.py": "storage is named on the command line alone",
    "pipelines/farm/manifest.py": "batches of the command line",
    "pipelines/farm/place.py": "batches of the command line",
    "pipelines/farm/station.py": "batches of the command line",
    "pipelines/files/storage.py": "storage is named on the command line alone",
    "pipelines/files/jobfile.py": "job files are read by the command line alone",
    "pipelines/shelf/table.py": "`diorama models`",
}
# Calls that say something, and which of their arguments does.
TELLING: dict[str, tuple[int | str, ...]] = {
    "Refusal": (1, "reason"), "Unwritable": (0,), "MediaError": (0,), "CheckpointError": (0,), "HistoryError": (0,),
    "QueueError": (0,), "BrokenScene": (0,), "Again": (2,), "Slot": (4, 5, "why"), "replace": ("why", "problem"),
    "Verdict": ("reasons",), "End": ("problem",), "Shelved": (4,), "interrupted": (1,), "_leave": (4,), "tell": (0,),
    "Restored": (1,), "AdapterError": (0,), "Fault": (1,), "Finding": (1, 2),
}  # fmt: skip
# Errors that say nothing on a page, and why.
SILENT = {
    "Cancelled": "a render that was told to stop",
    "Halted": "of batches, which the command line alone renders",
    "NoAnswer": "of chat endpoints, which the command line alone names",
    "Refused": "of job files, which the command line alone reads",
    "StorageError": "of storage, which the command line alone names",
    "_Headless": "its text is a folder's name",
    "_Unreadable": "of job files",
}
# What a value of a sentence may be that is no word for people.
NO_WORDS = {
    "grid": "what the cells' files begin with",
    **dict.fromkeys(("audio", "layers", "mask", "repeats", "weight"), "a key of a row of metadata"),
    **dict.fromkeys(("folder", "huggingface", "metadata", "webdataset"), "a source's kind, as run files have it"),
}
# Names that hold sentences: they are appended to, added to or assigned.
HOLDING = {"warnings", "_notes", "notes", "reasons", "problem"}
# Functions that return or yield sentences, where nothing above shows it.
SAYING = {
    "too_long", "strangers", "_missing", "_changed", "_different", "_loose", "_versions", "_apart", "sentence",
    "__str__",
}  # fmt: skip
# Modules whose ValueErrors become the reason of a refusal.
JUDGING = {"pipelines/job.py", "pipelines/files/recipe.py", "pipelines/files/media.py"}
# What an error is called where it is caught.
CAUGHT = {"error", "refusal", "problem"}
# Functions through which a text goes as it is.
PASSING = {"on_one_line", "str", "tuple", "list"}


@dataclass(frozen=True)
class Sentence:
    """A template, and where it stands."""

    text: Template
    at: str


@dataclass
class Module:
    """One file: its tree, and what its names are."""

    name: str
    tree: ast.Module
    owner: dict[ast.AST, ast.FunctionDef | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        def own(node: ast.AST, function: ast.FunctionDef | None) -> None:
            for child in ast.iter_child_nodes(node):
                self.owner[child] = function
                own(child, child if isinstance(child, ast.FunctionDef) else function)

        own(self.tree, None)

    @cached_property
    def imports(self) -> dict[str, str]:
        """Names that come from another file, and that file; of a library there is none."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                folder = Path(self.name).parents[node.level - 1] if node.level else Path()
                source = f"{(folder / node.module.replace('.', '/')).as_posix()}.py"
                found |= {each.asname or each.name: source for each in node.names}
        return found

    @cached_property
    def constants(self) -> dict[str, ast.expr]:
        """What stands at the top of the file under a name."""
        found: dict[str, ast.expr] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name):
                    found[target.id] = node.value
        return found

    def function(self, name: str) -> ast.FunctionDef | None:
        """A function at the top of the file."""
        return next((node for node in self.tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)

    def assigned(self, function: ast.FunctionDef | None, name: str) -> list[ast.expr]:
        """What a function puts into a name of its own."""
        return [
            node.value
            for node in ast.walk(function or ast.Module([], []))
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.NamedExpr | ast.AugAssign) and node.value is not None
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name) and target.id == name
        ]


class Sentences:
    """All sentences of the engine.

    Attributes:
        found: each under its text with plain places alone.
    """

    def __init__(self, root: Path = ROOT) -> None:
        paths = sorted(path for files in ENGINE for path in root.glob(files))
        names = {path.relative_to(root).as_posix(): path for path in paths}
        self.modules = {name: Module(name, ast.parse(path.read_text())) for name, path in names.items()}
        self.found: dict[Template, Sentence] = {}
        self._followed: dict[object, bool] = {}  # functions, and whether they return words
        for module in self.modules.values():
            if module.name not in NO_PAGE:
                for node in ast.walk(module.tree):
                    for said in self._told(module, node):
                        self._keep(module, said)

    @property
    def errors(self) -> set[str]:
        """Names of the engine's own exceptions."""
        classes = [
            node for module in self.modules.values() for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)
        ]
        names = {"Exception", "ValueError", "OSError", "RuntimeError", *TELLING}
        while more := {each.name for each in classes if {_name(base) for base in each.bases} & names} - names:
            names |= more
        return names & {each.name for each in classes}

    # ------------------------------------------------------------ where sentences begin

    def _told(self, module: Module, node: ast.AST) -> Iterator[ast.expr]:
        if isinstance(node, ast.Call):
            called = _name(node.func)
            which = (0,) if called == "ValueError" and module.name in JUDGING else TELLING.get(called, ())
            yield from _arguments(node, which)
            if isinstance(node.func, ast.Attribute):
                adds = called in ("append", "extend") and _name(node.func.value) in HOLDING
                yield from node.args[:1] if adds or called == "_note" else ()
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value in HOLDING | {"why"}:
                    yield value
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(_name(target) in HOLDING for target in targets):
                yield node.value
        elif isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple) and module.name.startswith("training/"):
            yield from (each for each in node.value.elts if not _one_word(each))  # a finding's kind is no sentence
        elif isinstance(node, ast.FunctionDef) and node.name in SAYING:
            yield from _returned(node)

    # ------------------------------------------------------------ what they are put together from

    def _keep(self, module: Module, node: ast.expr) -> bool:
        """Note what an expression may say; whether it says words."""
        worded = False
        for text in self._texts(module, node):
            plain = re.sub(f"^{ANY.pattern}: (?=.*[A-Za-z]{{2}})", "", text, flags=re.S)  # FILE: reason, FIELD: reason
            if _worded(plain) and plain not in NO_WORDS:
                worded = True
                key, at = ANY.sub(PLACE, plain), f"{module.name}:{node.lineno}"
                before = self.found.setdefault(key, Sentence(plain, at))
                # Said in two places, it is known best where most is known of its values.
                self.found[key] = Sentence("".join(map(max, before.text, plain)), before.at)
        return worded

    def _texts(self, module: Module, node: ast.expr) -> list[Template]:
        """What an expression may say; a value is a place, and what it is put together from is followed."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else [PLACE]
        if isinstance(node, ast.JoinedStr):
            return ["".join(each) for each in product(*(self._texts(module, part) for part in node.values))]
        if isinstance(node, ast.FormattedValue):
            if node.conversion == ord("r"):
                return [PLACE]
            form = node.format_spec.values[0] if isinstance(node.format_spec, ast.JoinedStr) else None
            texts = self._texts(module, node.value)
            return [NUMBER] if isinstance(form, ast.Constant) and re.search("[,efg]$", str(form.value)) else texts
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            texts = ["".join(each) for each in product(self._texts(module, node.left), self._texts(module, node.right))]
            return texts if any(map(_worded, texts)) else [PLACE]
        if isinstance(node, ast.IfExp):
            return [*self._texts(module, node.body), *self._texts(module, node.orelse)]
        if isinstance(node, ast.BoolOp):
            return [text for value in node.values for text in self._texts(module, value)]
        if isinstance(node, ast.Name):
            return self._texts_of_name(module, node)
        if isinstance(node, ast.List | ast.Tuple | ast.ListComp | ast.GeneratorExp):
            for each in [node.elt] if isinstance(node, ast.ListComp | ast.GeneratorExp) else node.elts:
                self._keep(module, each.value if isinstance(each, ast.Starred) else each)
            return [PLACE]
        if isinstance(node, ast.Subscript):
            return self._texts_of_table(module, node.value)
        if isinstance(node, ast.Attribute):
            return [WORDS if node.attr in ("reason", "strerror") else PLACE]
        return self._texts_of_call(module, node) if isinstance(node, ast.Call) else [PLACE]

    def _texts_of_name(self, module: Module, node: ast.Name) -> list[Template]:
        function = module.owner.get(node)
        values = module.assigned(function, node.id)
        if not values and function is not None and any(each.arg == node.id for each in function.args.args):
            return [WORDS if self._follow_argument(module, function, node.id) else PLACE]
        if not values:
            owner, value = self._constant(module, node.id)
            texts = self._texts(owner, value) if isinstance(value, ast.Constant | ast.BinOp) else []
            return texts if any(map(_worded, texts)) else [self._looped(module, function, node.id)]
        texts = [text for value in values if not _holds(value, node) for text in self._texts(module, value)]
        return list(dict.fromkeys(texts)) if any(map(_worded, texts)) else [max(texts, default=PLACE)]

    def _looped(self, module: Module, function: ast.FunctionDef | None, name: str) -> Template:
        """Of a name that a loop gives one word after another, from a table or a list that is written there."""
        for loop in ast.walk(function or ast.Module([], [])):
            if isinstance(loop, ast.For) and isinstance(loop.target, ast.Tuple):
                names = [_name(each) for each in loop.target.elts]
                if name == names[-1] and isinstance(loop.iter, ast.Call) and _name(loop.iter.func) == "items":
                    assert isinstance(loop.iter.func, ast.Attribute)
                    return self._texts_of_table(module, loop.iter.func.value)[0]
                if name == names[-1] and isinstance(loop.iter, ast.Tuple):
                    lines = [each.elts[-1] for each in loop.iter.elts if isinstance(each, ast.Tuple)]
                    return WORDS if any([self._keep(module, each) for each in lines]) else PLACE
        return PLACE

    def _texts_of_table(self, module: Module, node: ast.expr) -> list[Template]:
        """Of words that are chosen from a table by a name of the code."""
        if isinstance(node, ast.Name):
            own = module.assigned(module.owner.get(node), node.id)
            owner, table = (module, own[0]) if own else self._constant(module, node.id)
            if isinstance(table, ast.Dict):
                return [WORDS if all([self._keep(owner, value) for value in table.values]) else PLACE]
            if own:  # a list of such words
                found = [each for each in ast.walk(own[0]) if isinstance(each, ast.Call) and _name(each.func) == "get"]
                return [max((text for each in found for text in self._texts_of_call(module, each)), default=PLACE)]
        return [PLACE]

    def _texts_of_call(self, module: Module, node: ast.Call) -> list[Template]:
        called = _name(node.func)
        if called in PASSING and node.args:
            texts = self._texts(module, node.args[0])
            return [WORDS] if called == "str" and _name(node.args[0]) in CAUGHT else texts
        if isinstance(node.func, ast.Attribute):
            if called == "format":
                for each in node.keywords:
                    self._keep(module, each.value)
                return [_unformatted(text) for text in self._texts(module, node.func.value)]
            if called == "get":
                otherwise = [self._keep(module, each) for each in node.args[1:] if isinstance(each, ast.Constant)]
                texts = self._texts_of_table(module, node.func.value)
                return [WORDS] if any(otherwise) else texts
            if called == "join":
                listed = isinstance(node.args[0], ast.GeneratorExp | ast.ListComp)
                return [PLACE if listed else max(self._texts(module, node.args[0]))]
            if called in ("splitlines", "strip", "removeprefix", "replace", "items"):
                return [PLACE]
        owner = self.modules.get(module.imports.get(called, module.name), module)
        function = owner.function(called) or next(
            (each for each in ast.walk(owner.tree) if isinstance(each, ast.FunctionDef) and each.name == called), None
        )
        if function is None or owner.name in NO_PAGE:
            return [PLACE]
        if function not in self._followed:
            self._followed[function] = False
            self._followed[function] = any([self._keep(owner, value) for value in _returned(function)])
        return [WORDS if self._followed[function] else PLACE]

    def _constant(self, module: Module, name: str) -> tuple[Module, ast.expr | None]:
        owner = self.modules.get(module.imports.get(name, module.name), module)
        return owner, owner.constants.get(name)

    def _follow_argument(self, module: Module, function: ast.FunctionDef, name: str) -> bool:
        """What callers in the same file give to a function that says it; whether those are words."""
        key = (function, name)
        if key not in self._followed:
            self._followed[key] = False
            before = [each.arg for each in function.args.args if each.arg != "self"].index(name)
            self._followed[key] = any(
                [
                    self._keep(module, given)
                    for node in ast.walk(module.tree)
                    if isinstance(node, ast.Call) and _name(node.func) == function.name
                    for given in _arguments(node, (before, name))
                ]
            )
        return self._followed[key]


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _arguments(call: ast.Call, which: Sequence[int | str]) -> Iterator[ast.expr]:
    for each in which:
        if isinstance(each, int):
            yield from call.args[each : each + 1]
        else:
            yield from (keyword.value for keyword in call.keywords if keyword.arg == each)


def _returned(function: ast.FunctionDef) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        if isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) and node.value is not None:
            yield node.value


def _holds(value: ast.expr, name: ast.Name) -> bool:
    return any(isinstance(each, ast.Name) and each.id == name.id for each in ast.walk(value))


def _worded(text: str) -> bool:
    return bool(re.search(r"[A-Za-z]{2}", text))


def _one_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and " " not in str(node.value)


def _unformatted(text: str) -> Template:
    return "".join(
        before + ("" if name is None else NUMBER if re.search("[,efg]$", form or "") else PLACE)
        for before, name, form, _ in Formatter().parse(text)
    )
