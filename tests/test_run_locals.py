"""Locals as they are declared, and as tests give them values."""

from __future__ import annotations

import importlib.util
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from chatrt.errors import UsageError
from chatrt.run_locals import local, local_values
from chatrt.run_values import LocalValues, enter_values


def load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestDeclaration:
    def test_two_of_one_id(self) -> None:
        """An id belongs to one local of a program."""
        first = local("twice", int)
        with pytest.raises(UsageError, match="two locals are called 'twice'"):
            local("twice", int)
        assert first.id == "twice"

    def test_two_of_one_id_in_two_files(self, tmp_path: Path) -> None:
        """That the two do not know of each other is no excuse."""
        for name in ("one", "two"):
            (tmp_path / f"{name}.py").write_text("from chatrt import local\nbudget = local('of-two-files', int)\n")
        one = load(tmp_path / "one.py")
        with pytest.raises(UsageError, match="of-two-files"):
            load(tmp_path / "two.py")
        assert one.budget.id == "of-two-files"

    def test_a_module_is_loaded_again(self, tmp_path: Path) -> None:
        """A file that is executed once more declares its own again, also with the local on another line."""
        path = tmp_path / "reloaded.py"
        path.write_text("from chatrt import local\nbudget = local('reloaded', int, default=lambda: 1)\n")
        before = load(path)
        path.write_text("from chatrt import local\n\n\nbudget = local('reloaded', int, default=lambda: 22)\n")
        again = load(path)
        with local_values({}):
            assert again.budget.get() == 22
        assert before.budget is not again.budget

    def test_two_of_one_id_in_one_file(self, tmp_path: Path) -> None:
        """Within one execution of a file an id is taken, whatever line it stands on."""
        path = tmp_path / "double.py"
        path.write_text("from chatrt import local\na = local('double', int)\nb = local('double', int)\n")
        with pytest.raises(UsageError, match="double"):
            load(path)

    def test_a_local_that_is_gone(self) -> None:
        """An id is free again when nobody has the local any more."""
        local("gone", int)
        assert local("gone", str).id == "gone"

    def test_no_id(self) -> None:
        """Without an id there is nothing to find a value by."""
        with pytest.raises(UsageError, match="needs an id"):
            local("", int)

    def test_a_type_that_cannot_be_stored(self) -> None:
        """A type that pydantic knows nothing of is refused where it is declared."""
        with pytest.raises(UsageError, match="cannot be durable"):
            local("lock", threading.Thread, durable=True)

    def test_a_type_that_need_not_be_stored(self) -> None:
        """What is not durable may be anything."""
        thread = threading.Thread()
        with local_values({(held := local("thread", threading.Thread)): thread}):
            assert held.get() is thread


class TestOutsideOfARun:
    @pytest.mark.parametrize("use", ["get", "changed", "reset"])
    def test_no_value(self, use: str) -> None:
        """Where no run is, a local has no value to read or change."""
        lonely = local(f"lonely-{use}", int, default=int)
        with pytest.raises(UsageError, match="inside of a run"):
            getattr(lonely, use)()

    def test_given_by_a_test(self) -> None:
        """Code that is called without a run finds what a test gave."""
        budget = local("given", int)
        with local_values({budget: 7}):
            assert budget.get() == 7
        with pytest.raises(UsageError):
            budget.get()

    def test_the_inner_one_wins(self) -> None:
        """Blocks stand in each other: the inner one adds to the outer one and goes before it."""
        first, second = local("nested-1", int), local("nested-2", int)
        with local_values({first: 1, second: 2}):
            with local_values({second: 22}):
                assert (first.get(), second.get()) == (1, 22)
            assert second.get() == 2


@pytest.fixture
def values():
    """A run's values, as if this test was inside of a run."""
    values = LocalValues({})
    enter_values(values)
    yield values
    enter_values(None)


class TestInside:
    def test_no_value_yet(self, values: LocalValues) -> None:
        """Without a default a local that nobody gave a value has none, and says how it gets one."""
        with pytest.raises(UsageError, match=r"no value yet.*on_boot"):
            local("none-yet", int).get()

    def test_the_default_is_made_once(self, values: LocalValues) -> None:
        """Each run has one default value of its own, not a new one for each look."""
        seen = local("defaulted", list[str], default=list)
        seen.get().append("a")
        assert seen.get() == ["a"]

    def test_init_takes_the_place_of_the_default(self, values: LocalValues) -> None:
        """Who looked before `on_boot` had its say does not keep it from giving a value."""
        count = local("looked-before", int, default=int)
        assert count.get() == 0
        assert count.init(5) == 5

    def test_init_leaves_what_is_there(self, values: LocalValues) -> None:
        """`on_boot` may fire again: what has been set since is kept, and told."""
        count = local("init-again", int)
        count.set(2)
        assert (count.init(5), count.get()) == (2, 2)

    def test_reset(self, values: LocalValues) -> None:
        """After a reset the default is made anew, and `init` may give a value."""
        count = local("was-reset", list[int], default=lambda: [0])
        count.set([9])
        count.reset()
        assert count.get() == [0]
        assert count.init([3]) == [3]

    def test_local_values_are_for_tests(self, values: LocalValues) -> None:
        """Inside of a run values are set; giving them there would hide those of the run."""
        with pytest.raises(UsageError, match="for tests"), local_values({}):
            pass


class TestChanged:
    @pytest.mark.parametrize("durable", [False, True])
    def test_set(self, values: LocalValues, durable: bool) -> None:
        """Setting counts once, also with an equal value."""
        count = local(f"set-{durable}", int, durable=durable)
        count.init(1)
        assert not count.changed()
        count.set(1)
        assert (count.changed(), count.changed()) == (True, False)

    def test_inside_of_a_durable_value(self, values: LocalValues) -> None:
        """What would be stored of a durable value is compared, so a change inside of it is seen."""
        seen = local("mutated", list[str], default=list, durable=True)
        assert not seen.changed()
        seen.get().append("a")
        assert (seen.changed(), seen.changed()) == (True, False)

    def test_inside_of_another_value(self, values: LocalValues) -> None:
        """Of a value that is not durable only its place is watched."""
        seen = local("mutated-freely", list[str], default=list)
        seen.get().append("a")
        assert not seen.changed()

    def test_reset_counts(self, values: LocalValues) -> None:
        """Losing the value is a change."""
        count = local("reset-counts", int, durable=True)
        count.init(1)
        count.reset()
        assert (count.changed(), count.changed()) == (True, False)

    def test_never_had_one(self, values: LocalValues) -> None:
        """A local that nobody gave anything has not changed."""
        assert not local("untouched", int).changed()


def test_the_public_name_is_not_a_module():
    """`from chatrt import local` gives the function whatever was imported before."""
    import chatrt

    assert chatrt.local is local
    assert "chatrt.local" not in sys.modules
