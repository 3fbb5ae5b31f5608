"""A listed rename keeps the hash of recorded code, and hides nothing else."""

import ast
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from snellen.core import package
from snellen.core.errors import InputError
from snellen.core.system import find_system, list_systems
from snellen.reproduction import experiment_code, renames
from snellen.reproduction.experiment_code import experiment_hash, recorded_files
from snellen.reproduction.renames import (
    Renames,
    as_recorded,
    faults,
    identifiers,
    read_renames,
    words_as_recorded,
)

BEFORE = '''"""A search."""

from snellen.systems.searching.old_rows import Batch, Rows, first_of

WAYS = ("told", "asked")


class Search:
    told: int = 1

    def asked(self, rows: Rows, *, told: Batch) -> int:
        """How many."""
        found = [told for told in rows if first_of(told)]
        return len(found) + self.told


def run(search: Search) -> str:
    return f"{search.asked(Rows(), told=Batch())} told"
'''
AFTER = '''"""A search."""

from snellen.systems.searching.new_rows import Batch, ImageRows, first_of

WAYS = ("told", "asked")


class Search:
    reported: int = 1

    def requested(self, rows: ImageRows, *, reported: Batch) -> int:
        """How many."""
        found = [reported for reported in rows if first_of(reported)]
        return len(found) + self.reported


def run(search: Search) -> str:
    return f"{search.requested(ImageRows(), reported=Batch())} told"
'''
TABLE = Renames(
    names={"ImageRows": "Rows"},
    modules={
        "snellen.systems.searching.new_rows": "snellen.systems.searching.old_rows",
        "snellen.systems.searching.new_search": "snellen.systems.searching.old_search",
    },
    files={"systems/searching/new_search.py": {"reported": "told", "requested": "asked"}},
)


@pytest.fixture
def hashed(tmp_path, monkeypatch):
    """The hash of a system of one file, under a table."""
    monkeypatch.setattr(experiment_code, "package", SimpleNamespace(root=lambda: tmp_path))
    system = find_system("smooth-inversion").model_copy(update={"name": "searching", "methods": ()})

    def write(code, file="old_search.py", table=None):
        folder = tmp_path / "systems" / "searching"
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        (folder / file).write_text(code)
        monkeypatch.setattr(experiment_code, "read_renames", lambda: table or Renames())
        return experiment_hash(system)

    return write


def test_names_modules_and_files_that_are_listed_keep_the_hash(hashed):
    assert hashed(AFTER, "new_search.py", TABLE) == hashed(BEFORE)
    assert hashed(AFTER, "new_search.py") != hashed(BEFORE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("reported: int = 1", "reported: int = 2"),
        ("len(found) +", "len(found) -"),
        ("len(found) + self.reported", "len(found) + self.other"),
        ('WAYS = ("told", "asked")', 'WAYS = ("reported", "asked")'),
        ("reported=Batch())} told", "reported=Batch())} reported"),
        ("Batch, ImageRows, first_of", "Batch, ImageRows, first_of as last_of"),
        ("def run(", "def start("),
        ("class Search:\n", "class Search:\n    more: int = 0\n"),
    ],
)
def test_any_other_change_breaks_it(hashed, old, new):
    assert old in AFTER
    assert hashed(AFTER.replace(old, new), "new_search.py", TABLE) != hashed(BEFORE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("found = [reported for reported in rows", "found = [told for told in rows"),
        ("+ self.reported", "+ self.told"),
        ("reported: Batch", "told: Batch"),
    ],
)
def test_two_names_that_would_become_one_are_refused(hashed, old, new):
    assert old in AFTER
    with pytest.raises(
        InputError, match=r"new_search.py has both 'reported' and 'told', and .*/renames.toml calls both"
    ):
        hashed(AFTER.replace(old, new), "new_search.py", TABLE)


def test_two_rows_to_one_earlier_name_are_refused_where_both_names_occur():
    names = {"first": "told", "second": "told"}
    assert ast.unparse(as_recorded(ast.parse("first = 1"), names, {}, "a.py")) == "told = 1"
    with pytest.raises(InputError, match=r"a.py has both 'second' and 'first'"):
        as_recorded(ast.parse("first, second = 1, 2"), names, {}, "a.py")


def words_kept(code):
    return ast.unparse(words_as_recorded(ast.parse(code), {"val": "tune"}, "a.py"))


def test_a_word_within_strings_is_read_as_it_was():
    code = 'x = (f"val.{name} of {val}", "the val split", "val", "eval", "valid", "co-val", "val_set")'
    before = "x = (f'tune.{name} of {val}', 'the tune split', 'tune', 'eval', 'valid', 'co-val', 'val_set')"
    assert words_kept(code) == before
    assert words_kept('x = "fine-tune on val"') == "x = 'fine-tune on tune'"


@pytest.mark.parametrize("code", ['x = "val", "tune"', 'x = "tune"', 'x = f"tune.{name}"'])
def test_strings_with_the_word_before_are_refused(code):
    with pytest.raises(InputError, match=r"strings of a.py hold 'tune', which .*renames.toml lists .* name of 'val'"):
        words_kept(code)


def test_words_keep_the_hash_in_their_files_alone(hashed):
    before, after = 'x = "tune"\nval = "told"', 'x = "val"\nval = "told"'
    file = "systems/searching/old_search.py"
    assert hashed(after, table=Renames(words={"val": {"tune": [file]}})) == hashed(before)
    assert hashed(after, table=Renames(words={"val": {"tune": ["another.py"]}})) != hashed(before)
    table = Renames(words={"val": {"tune": [file]}})
    assert hashed(after.replace("told", "val"), table=table) != hashed(before), "another string became the word"


def test_a_name_that_is_its_own_name_before_is_exempt_in_its_file(hashed):
    file = "systems/searching/old_search.py"
    table = Renames(names={"val": "tune"}, files={file: {"val": "val"}})
    assert hashed("val = 1", table=table) == hashed("val = 1")
    assert hashed("val = 1", table=Renames(names=table.names)) == hashed("tune = 1")


def test_more_than_a_word_is_a_fault(house):
    assert "'a photo' is no single word" in house("", Renames(words={"a photo": {"one": []}}))


@pytest.mark.parametrize(
    "code",
    [
        "import a.new as new",
        "def f(x, /, new, *rest, other=new, **more): global new",
        "class new(b.new, metaclass=new): new: int",
        "try:\n    pass\nexcept E as new:\n    pass",
        "match x:\n    case A(new=1) | [*new] | {'k': 1, **new}:\n        pass",
        "f(new=1, *new)\nlambda new: new",
        "async def new(): nonlocal new",
        "(new := 1)",
    ],
)
def test_a_name_is_found_wherever_python_has_one(code):
    tree = ast.parse(code)
    assert "new" in identifiers(tree)
    after = as_recorded(tree, {"new": "old"}, {}, "a.py")
    assert ("old" in identifiers(after), "new" in identifiers(after)) == (True, False)


def test_imports_are_in_the_order_of_their_earlier_names():
    after = "from snellen.b import CONST, Alpha, Check, fast\nfrom snellen.c import one\nx = 1"
    before = "from snellen.a import one\nfrom snellen.b import CONST, Check, Delta, fast\nx = 1"
    found = as_recorded(ast.parse(after), {"Alpha": "Delta"}, {"snellen.c": "snellen.a"}, "a.py")
    assert ast.unparse(found) == before


def test_imports_of_the_package_are_sorted_as_the_formatter_sorts_them():
    """Otherwise a file without any rename would change its hash."""
    for path in sorted({path for system in list_systems() for path in recorded_files(system)})[::7]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert ast.dump(as_recorded(ast.parse(ast.unparse(tree)), {}, {}, path.name)) == ast.dump(tree), path


@pytest.fixture
def house(tmp_path):
    """A package of two files, one of which a record covers."""
    for file, text in (("core/new_rows.py", "def report(): ..."), ("systems/a/method.py", "")):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    def check(code, table, **others):
        (tmp_path / "systems" / "a" / "method.py").write_text(code)
        for file, text in others.items():
            (tmp_path / "core" / f"{file}.py").write_text(text)
        return faults(table, [tmp_path / "systems" / "a" / "method.py"], tmp_path)

    return check


@pytest.mark.parametrize("row", [{"max": "largest"}, {"size": "len"}, {"yes": "class"}])
def test_a_builtin_or_a_keyword_in_the_table_is_a_fault(house, row):
    assert "no name may be a keyword or a builtin" in house("x = 1", Renames(names=row))[0]


def test_an_import_from_a_module_that_still_has_the_earlier_name_is_a_fault(house):
    code, table = "from snellen.core.new_rows import report", Renames(names={"report": "tell"})
    assert house(code, table) == []
    found = house(code, table, new_rows="def report(): ...\ndef tell(): ...")
    assert found == ["systems/a/method.py imports report: snellen.core.new_rows still has tell"]


def test_two_names_that_were_one_cannot_take_each_others_place(house):
    table = Renames(names={"report": "tell", "explain": "tell"})
    both = "def report(): ...\ndef explain(): ..."
    (found,) = house("from snellen.core.new_rows import report", table, new_rows=both)
    assert found.endswith("snellen.core.new_rows has explain, which was the same name")
    assert house("from snellen.core.new_rows import report", table, new_rows="def report(): ...") == []
    assert house("x.report", table) == ["systems/a/method.py: report and explain were all tell"]


@pytest.mark.parametrize("code", ["x.reported", "f(reported=1)"])
@pytest.mark.parametrize(
    "other",
    ["class A:\n    told: int", "def told(): ...", "def f(told): ...", "class A:\n    def f(self): self.told = 1"],
)
def test_a_field_that_still_bears_the_earlier_name_anywhere_is_a_fault(house, code, other):
    table = Renames(files={"systems/a/method.py": {"reported": "told"}})
    assert house(code, table, others="def f(): told = 1") == []
    (found,) = house(code, table, others=other)
    assert found.startswith("core/others.py:"), found
    assert "defines told" in found
    assert house("reported = 1", table, others=other) == [], "a variable reaches into no other file"


def test_modules_of_the_table_have_moved(house):
    table = Renames(modules={"snellen.core.new_rows": "snellen.core.old_rows"})
    assert house("", table) == []
    assert "old_rows is still there" in house("", table, old_rows="")[0]
    assert "new is not there" in house("", Renames(modules={"snellen.core.new": "snellen.core.gone"}))[0]


def test_no_row_of_the_table_can_hide_a_change():
    paths = sorted({path for system in list_systems() for path in recorded_files(system)})
    assert faults(read_renames(), paths, package.root()) == []


def test_every_row_of_the_table_is_used():
    table, root = read_renames(), package.root()
    texts = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in {path for system in list_systems() for path in recorded_files(system)}
    }
    assert set(table.files) <= set(texts), "files that are gone, or that no record covers"
    unused = [
        f"{file}: {name}"
        for file, names in table.files.items()
        for name in names
        if name not in identifiers(ast.parse(texts[file]))
    ]
    unused += [name for name in table.names if not any(name in text for text in texts.values())]
    unused += [
        f"{file}: {word}"
        for word, rows in table.words.items()
        for paths in rows.values()
        for file in paths
        if not re.search(rf"\b{word}\b", texts.get(file, ""))
    ]
    assert not unused, f"drop these rows of {renames.TABLE}: {unused}"


def test_the_table_does_not_depend_on_where_it_is_read():
    code = "from snellen.reproduction.renames import read_renames; print(len(read_renames().files))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert int(found.stdout) == len(read_renames().files) > 0
