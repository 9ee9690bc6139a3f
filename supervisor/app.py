"""The app: the modules that declare the user's tasks, and how a process imports them."""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import sys
import threading
import traceback
import types
import zipimport
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..actors.errors import AppFailed, NoRuntime
from ..actors.qualified_names import program, suggestion
from .linux.python_command import absolute_entries

#: The user's script runs under this name if it is not the main program, as in multiprocessing.
MP_MAIN = "__mp_main__"
#: What a program that uses a Runtime has around that.
GUARD = 'if __name__ == "__main__":'

_process = types.SimpleNamespace(loading=False)
#: The same of a thread of a worker: other threads run tasks meanwhile.
_late = threading.local()
#: Modules that ran as `__main__` before the user's script took the name. Keeps their globals alive.
_former_mains: list[types.ModuleType] = []


@dataclass
class AppSpec:
    """The modules to import and their search path. Plain data for the supervisor and the fork server."""

    modules: list[str] = field(default_factory=list)
    """Importable names, in order."""
    main_path: str | None = None
    """A script to load as `__mp_main__`, so that its `if __name__ == "__main__":` block does not run."""
    sys_path: list[str] = field(default_factory=list)
    """Entries to put before those already on `sys.path`."""
    cwd: str | None = None
    """Folder to change to before the import."""
    argv: list[str] = field(default_factory=list)
    """The script's `sys.argv`; if empty, `sys.argv` stays as it is."""
    objects: list[str] = field(default_factory=list)
    """Names that these modules must have, as "module:name"."""

    def pack(self) -> dict[str, Any]:
        """As a map of plain values."""
        return asdict(self)

    @classmethod
    def unpack(cls, packed: dict[str, Any]) -> AppSpec:
        """The reverse of `pack`. Unknown keys (from a later release) are ignored."""
        return cls(**{key: value for key, value in packed.items() if key in cls.__dataclass_fields__})

    @classmethod
    def of_main(cls, extra_modules: Iterable[str] = ()) -> AppSpec:
        """Describe this process's main program in the form that a worker loads.

        `python -m pkg.mod` gives the module pkg.mod; a script gives its file; a REPL and `python -c` give nothing.
        A launcher (an installed command, a `__main__.py`) is left out if it declares no task.
        """
        main = program()
        spec = cls(sys_path=absolute_entries(sys.path), cwd=os.getcwd(), argv=list(sys.argv))
        name = getattr(main.get("__spec__"), "name", None)
        file = main.get("__file__")
        if name is not None and name != "__main__":
            if name.rpartition(".")[2] != "__main__" or _declares_tasks(main):
                spec.modules.append(name)
        elif file is not None and _is_readable(file) and (file.endswith(".py") or _declares_tasks(main)):
            spec.main_path = os.path.abspath(file)
        spec.modules += [module for module in dict.fromkeys(extra_modules) if module not in spec.modules]
        return spec

    @classmethod
    def parse(cls, text: str, cwd: str | os.PathLike[str] | None = None) -> AppSpec:
        """Parse `module`, `pkg.module` or `path/to/file.py`; raises AppFailed for anything else.

        An app is a module with all its tasks. A name after a colon, as in `module:app`, only has to exist in it.
        """
        folder = os.path.abspath(cwd or os.getcwd())
        target, _, attribute = text.partition(":")
        if attribute.endswith(".py") or "/" in attribute:  # A path that contains a colon.
            target, attribute = text, ""
        if (attribute or text.endswith(":")) and not attribute.isidentifier():
            raise AppFailed(
                f"{text!r} names no app; write {target!r}, or a name of that module after the colon"
            )
        if target.endswith(".py") or "/" in target:
            path = os.path.join(folder, os.path.expanduser(target))
            module, root = _module_of(os.path.abspath(path))
            return cls([module], None, [root], folder, objects=[f"{module}:{attribute}"] if attribute else [])
        if not all(part.isidentifier() for part in target.split(".")):
            raise AppFailed(f"{text!r} names no app; write it as module, package.module or path/to/file.py")
        return cls([target], None, [folder], folder, objects=[text] if attribute else [])

    @classmethod
    def parse_all(cls, texts: Sequence[str], cwd: str | os.PathLike[str] | None = None) -> AppSpec:
        """One app of several such texts, in this order. Raises AppFailed if two are modules of the same name."""
        whole = cls()
        given: dict[str, str] = {}
        for text in texts:
            spec = cls.parse(text, cwd)
            (module,), (root,) = spec.modules, spec.sys_path
            if module in given:
                raise AppFailed(
                    f"{given[module]!r} and {text!r} are both the module {module}: give it once; if they are two "
                    "files, rename one of them"
                )
            given[module] = text
            for other in whole.sys_path:
                if other != root and _holds(other, module):
                    raise AppFailed(
                        f"{other} has a module {module.partition('.')[0]}, too, which would be loaded in place of "
                        f"{text!r}; rename one of them"
                    )
            whole.modules.append(module)
            whole.sys_path += [root] if root not in whole.sys_path else []
            whole.cwd = spec.cwd
            whole.objects += spec.objects
        return whole


def _module_of(path: str) -> tuple[str, str]:
    """The name of the module in this file, with the packages around it, and the folder to import it from."""
    folder, file = os.path.split(path)
    stem = file.removesuffix(".py")
    if not os.path.isfile(path):
        raise AppFailed(f"there is no file {path}; give the path of a .py file, or the name of a module")
    if "." in stem or not path.endswith(".py"):
        raise AppFailed(f"{path} cannot be imported by that name; rename it to a plain name.py")
    parts = [stem]
    while os.path.isfile(os.path.join(folder, "__init__.py")) and os.path.basename(folder).isidentifier():
        folder, package = os.path.split(folder)
        parts.insert(0, package)
    if len(parts) > 1 and stem == "__init__":
        parts.pop()
    if parts[0] in sys.stdlib_module_names or parts[0] == __name__.partition(".")[0]:
        what = "file" if len(parts) == 1 else f"folder {parts[0]}"
        raise AppFailed(
            f"{path} has the name of the module {parts[0]}, which would be loaded instead; rename the {what}"
        )
    return ".".join(parts), folder


def _holds(folder: str, module: str) -> bool:
    """Whether a module of this name would be imported from this folder."""
    path = os.path.join(folder, module.partition(".")[0])
    return os.path.isfile(f"{path}.py") or os.path.isfile(os.path.join(path, "__init__.py"))


def _is_readable(file: str) -> bool:
    """Whether this is a file, or the `__main__.py` of a zip archive, as `python app.pyz` runs it."""
    return os.path.isfile(file) or os.path.isfile(os.path.dirname(file))


def _declares_tasks(main: dict[str, Any]) -> bool:
    from ..actors.task.declaration import Task

    return any(isinstance(value, Task) for value in list(main.values()))


def loading() -> bool:
    """True while this process, or this thread of a worker, imports an app. No runtime may be used meanwhile.

    Otherwise a script without `if __name__ == "__main__":` around its runtime would start itself again and again.
    """
    return _process.loading or getattr(_late, "loading", False)


def load_late(module: str) -> None:
    """Import a module of the app in a worker that runs tasks. Raises AppFailed, like `load_app`."""
    importlib.invalidate_caches()
    _guarded(module, lambda: importlib.import_module(module), _late)


def lacks_guard(error: BaseException) -> bool:
    """Whether the error says that the program must put its use of a Runtime under a guard."""
    return isinstance(error, AppFailed) and not error.remote_traceback and GUARD in str(error)


def load_app(spec: AppSpec) -> None:
    """Import the app into this process. `sys.path`, the working folder and `sys.argv` stay changed.

    Raises AppFailed for any error of the app; `remote_traceback` holds the user's frames.
    """
    if spec.cwd is not None:
        try:
            os.chdir(spec.cwd)
        except OSError as error:
            raise AppFailed(f"the app's folder {spec.cwd} cannot be entered: {error.strerror}") from error
    sys.path[:] = dict.fromkeys([*spec.sys_path, *sys.path])
    if spec.argv:
        sys.argv[:] = spec.argv
    if spec.main_path is not None:
        _guarded(spec.main_path, lambda: _load_main(str(spec.main_path)))
    load_modules(spec.modules)
    for text in spec.objects:
        _check_object(*text.split(":"))


def _check_object(module: str, name: str) -> None:
    """Raise AppFailed if the module has no such name."""
    if hasattr(sys.modules[module], name):
        return
    tasks = [task.partition(":")[2] for task in declared_tasks() if task.startswith(f"{module}:")]
    others = [name for name in vars(sys.modules[module]) if not name.startswith("_")]
    raise AppFailed(
        f"the module {module} has no {name!r}.{suggestion(name, [*tasks, *others])} Its tasks are "
        f"{', '.join(tasks) or 'none: declare them with @task'}; to serve them all, write {module}"
    )


def load_modules(modules: Iterable[str]) -> None:
    """Import these modules. Raises AppFailed, like `load_app`."""
    importlib.invalidate_caches()
    for module in modules:
        _guarded(module, lambda module=module: importlib.import_module(module))


def declared_tasks() -> dict[str, dict[str, Any]]:
    """The tasks declared in this process so far: task name -> options, as plain data."""
    from ..actors.task.declaration import registry

    return {name: task.declared() for name, task in registry.items()}


def code_digest() -> str:
    """A digest of the source files of the modules that declare tasks, and of what they have imported from beside them.

    It changes with a deploy that changes one of these files. Installed packages count only if they declare tasks.
    """
    from ..actors.task.declaration import registry

    declaring = {task.body.__module__ for task in registry.values() if task.body is not None}
    places = {folder for name in declaring if (folder := _place_of(name)) is not None}
    files = {
        file
        for module in list(sys.modules.values())
        if (file := getattr(module, "__file__", None)) is not None
        and isinstance(file, str)
        and any(file == place or file.startswith(place + os.sep) for place in places)
        and ("site-packages" not in file or any("site-packages" in place for place in places))
    }
    digest = hashlib.sha256()
    for file in sorted(files):
        try:
            with io.open_code(file) as source:
                digest.update(hashlib.sha256(source.read()).digest())
        except OSError:
            continue  # in a zip file, or removed
    return digest.hexdigest()[:16]


def _place_of(name: str) -> str | None:
    """The folder of a module's outermost package, or that of a module in none; its file if others share the folder."""
    top = sys.modules.get(name.partition(".")[0])
    file = getattr(top, "__file__", None)
    if not isinstance(file, str):
        return None
    folder = os.path.dirname(file)
    return file if os.path.basename(folder) in ("site-packages", "dist-packages") else folder


def declared_trees(spec: AppSpec) -> list[dict[str, Any]]:
    """The supervision trees that are variables of the app's modules and in no other one, as plain data.

    Raises AppFailed for two of one id, and for one that cannot be started.
    """
    name = f"{__package__.rpartition('.')[0]}.actors.trees.supervisor"
    if name not in sys.modules:
        return []
    kind = sys.modules[name].Supervisor
    found = {
        id(value): value
        for module in spec.modules
        for value in vars(sys.modules[module]).values()
        if isinstance(value, kind)
    }
    nested = {id(each) for tree in found.values() for each in tree.children}
    trees: dict[str, Any] = {}
    for number, tree in found.items():
        if number not in nested and trees.setdefault(tree.id, tree) is not tree:
            raise AppFailed(f"the app has two supervision trees with the id {tree.id!r}: rename one of them")
    try:
        return [tree.pack() for tree in trees.values()]
    except Exception as error:
        raise AppFailed(f"a supervision tree of the app cannot be started: {error}") from error


def _guarded(what: str, load: Any, importer: Any = _process) -> None:
    importer.loading = True
    try:
        load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # The message for a Runtime in the wrong place says all; a traceback would hide it.
        trace = "" if isinstance(error, NoRuntime) else user_traceback(error)
        raise AppFailed(_message(what, error), trace) from error
    finally:
        importer.loading = False


def _message(what: str, error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return (
            f"the app {what} ended the program while being imported (SystemExit: {error.code}); "
            'put the code that it runs under `if __name__ == "__main__":`'
        )
    if isinstance(error, ModuleNotFoundError) and error.name and f"{what}.".startswith(f"{error.name}."):
        return (
            f"the app {what} cannot be loaded: there is no module {error.name}; check the name and the folder"
        )
    if isinstance(error, NoRuntime):
        return f"the app {what} cannot be imported: {error} ({_place(error)})"
    summary = str(error).strip().partition("\n")[0]
    return f"the app {what} cannot be imported: {type(error).__name__}{summary and ': '}{summary}"


def _place(error: BaseException) -> str:
    """File and line of the app that led to an error of ours."""
    ours = os.path.dirname(os.path.dirname(__file__)) + os.sep
    frames = traceback.extract_tb(error.__traceback__)
    frame = next(
        (frame for frame in reversed(frames) if not frame.filename.startswith((ours, "<frozen "))), frames[-1]
    )
    return f"{frame.filename}:{frame.lineno}"


def user_traceback(error: BaseException) -> str:
    """The error's traceback as Python prints it, without our frames above the user's code."""
    trace = error.__traceback__
    while trace is not None and _is_plumbing(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace))


def _is_plumbing(filename: str) -> bool:
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen ")


def _load_main(path: str) -> None:
    """Run a script as `__mp_main__`. The module is `__main__` too afterwards, as in multiprocessing's spawn.

    runpy is not used because it drops the module afterwards: a function's globals would then be another dict than
    that of `sys.modules["__main__"]`.
    """
    module = types.ModuleType(MP_MAIN)
    module.__file__ = path
    former = sys.modules["__main__"]
    _former_mains.append(former)
    code = _code_of(path)
    sys.modules["__main__"] = sys.modules[MP_MAIN] = module
    try:
        exec(code, vars(module))  # noqa: S102 - the user's own program
    except BaseException:
        sys.modules["__main__"] = former
        raise


def _code_of(path: str) -> types.CodeType:
    folder, name = os.path.split(path)
    if not os.path.isfile(folder):
        with io.open_code(path) as file:
            return compile(file.read(), path, "exec")
    return zipimport.zipimporter(folder).get_code(name.removesuffix(".py"))
