from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest

from understudy.actors import qualified_names
from understudy.actors.qualified_names import class_name, module_name, note_program, program, suggestion


def main_with(monkeypatch: pytest.MonkeyPatch, name: str, spec: ModuleSpec | None) -> None:
    module = ModuleType(name)
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("name", ["__main__", "__mp_main__"])
def test_a_script_is_main_in_every_process(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    main_with(monkeypatch, name, None)
    assert module_name(name) == "__main__"


@pytest.mark.parametrize("name", ["__main__", "__mp_main__"])
def test_a_module_run_with_dash_m_keeps_its_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    main_with(monkeypatch, name, ModuleSpec("shop.jobs", None))
    assert module_name(name) == "shop.jobs"


def test_a_script_that_no_process_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "__mp_main__", raising=False)
    assert module_name("__mp_main__") == "__main__"


def test_all_others_are_called_what_they_are_called() -> None:
    assert module_name("shop.jobs") == "shop.jobs"
    assert class_name(ModuleSpec) == "_frozen_importlib:ModuleSpec"


def test_a_program_that_a_profiler_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qualified_names, "_run_by_another", [])
    main_with(monkeypatch, "__main__", ModuleSpec("cProfile", None))
    main = vars(sys.modules["__main__"])
    note_program({"__name__": "shop.jobs"})
    note_program({})
    note_program(main)
    assert program() is main
    assert module_name("__main__") == "cProfile"
    run = {"__name__": "__main__", "__spec__": None, "__file__": "play.py"}
    note_program(run)
    assert program() is run
    assert module_name("__main__") == "__main__"
    note_program(main)
    assert program() is main


def test_a_bare_name_suggests_the_only_task_of_that_name() -> None:
    known = ["shop:ok", "shop:pay", "post:pay", "post:oks"]
    assert suggestion("ok", known) == " Did you mean 'shop:ok'?"
    assert suggestion("pay", known) == "", "there are two"
    assert suggestion("shop:pya", known) == " Did you mean 'shop:pay'?"
