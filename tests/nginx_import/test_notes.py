import pytest

from trioproxy.nginx_import.notes import Fate, Kind, Meaning, Notes
from trioproxy.nginx_import.statements import Place, Statement


def statement(line, name="gzip", block=None):
    return Statement(name, ("on",), Place(0, line, "n.conf"), block)


@pytest.fixture
def notes():
    return Notes()


def test_notes_are_sorted_by_line_and_name_their_kind(notes):
    notes.left_over(statement(5), "no")
    notes.warning(statement(2), "odd")
    assert [str(note) for note in notes.all] == ["n.conf:2: warning: odd", "n.conf:5: left over: gzip on: no"]


def test_nothing_is_said_twice(notes):
    one = statement(1)
    notes.harmless(one, "why")
    notes.harmless(one, "why")
    assert len(notes.all) == 1


def test_the_worst_fate_wins(notes):
    one = statement(1)
    notes.left_over(one, "half of it")
    notes.converted(one)
    assert notes.fate(one) is Fate.LEFT_OVER
    notes.mistake(one, "wrong")
    assert notes.fate(one) is Fate.MISTAKE
    assert notes.fate(statement(2)) is None


def test_a_block_takes_what_it_holds_along(notes):
    inner, kept = statement(2), statement(3)
    block = statement(1, "location", (inner, kept))
    notes.left_over(block, "no", but=[kept])
    assert [notes.fate(each) for each in (block, inner, kept)] == [Fate.LEFT_OVER, Fate.LEFT_OVER, None]
    assert notes.undecided([block]) == [kept]
    notes.harmless(kept, "whatever")
    assert notes.decided == {block, inner, kept}
    assert (notes.count(Fate.LEFT_OVER), notes.count(Fate.HARMLESS)) == (2, 1)


def test_converted_passes_over_what_is_not_there(notes):
    notes.converted(None)
    assert not notes.decided


def test_a_difference_has_a_meaning(notes):
    notes.difference(statement(1), Meaning.SEAM, "a slash")
    assert [note.meaning for note in notes.of(Kind.DIFFERENCE)] == [Meaning.SEAM]
    assert str(notes.all[0]) == "n.conf:1: difference (seam): a slash"


def test_a_general_difference_is_said_once(notes):
    notes.general(statement(1), Meaning.IDLE, "first")
    notes.general(statement(2), Meaning.IDLE, "second")
    notes.general(statement(3), Meaning.CONNECTION, "other")
    assert [note.message for note in notes.all] == ["first", "other"]


def test_a_mistake_may_stand_where_no_statement_is(notes):
    notes.mistake_at(Place(0, 7, "n.conf"), "no end")
    assert [str(note) for note in notes.of(Kind.MISTAKE)] == ["n.conf:7: mistake: no end"]
