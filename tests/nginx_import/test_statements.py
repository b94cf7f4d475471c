from trioproxy.nginx_import.statements import LONGEST_QUOTE, Place, Statement, named, walk

HERE = Place(0, 3, "nginx.conf")


def statement(name, *args, block=None):
    return Statement(name, args, HERE, block)


def test_a_place_is_shown_as_editors_take_it():
    assert str(HERE) == "nginx.conf:3"


def test_places_are_sorted_by_file_and_line():
    assert Place(0, 9, "z") < Place(1, 2, "a") < Place(1, 10, "a")


def test_a_statement_is_shown_with_its_arguments():
    assert str(statement("proxy_set_header", "Connection", "")) == 'proxy_set_header Connection ""'
    assert str(statement("log_format", "a b")) == 'log_format "a b"'


def test_what_cannot_be_printed_is_shown_escaped():
    assert str(statement("set", "$a", "x\n\x1b")) == "set $a x\\n\\x1b"


def test_a_long_statement_is_cut():
    shown = str(statement("server_name", *["example.com"] * 20))
    assert len(shown) == LONGEST_QUOTE and shown.endswith("...")


def test_two_statements_are_never_equal():
    assert len({statement("gzip", "on"), statement("gzip", "on")}) == 2


def test_a_statement_without_arguments_or_block_has_empty_ones():
    empty = statement("least_conn")
    assert (empty.value, empty.inner) == ("", ())


def test_all_statements_are_walked_outer_ones_first():
    inner = statement("listen", "80")
    outer = statement("server", block=(inner,))
    assert list(walk([outer])) == [outer, inner]
    assert named([outer, inner], "listen", "other") == [inner]
