import tomllib

from trioproxy.nginx_import.document import NO_COMMENT, Document, Item, Table
from trioproxy.nginx_import.statements import Place, Statement

SERVER = Statement("server", ("a:1",), Place(0, 3, "/etc/nginx/nginx.conf"))
BLOCK = Statement("upstream", ("up",), Place(0, 2, "/etc/nginx/nginx.conf"), (SERVER,))


def pool():
    table = Table("[pools.up]", BLOCK)
    table.add("balance", "least-connections", SERVER)
    table.add("attempts", 3, None, comment="tries")
    table.add("retry_on", ["connect"], SERVER, comment=NO_COMMENT)
    table.items["upstreams"] = [Item("a:1", SERVER), Item({"address": "b:1", "backup": True}, SERVER)]
    inner = Table("[pools.up.passive]")
    inner.add("window", 1.5)
    table.inner = [inner, Table("[pools.up.empty]")]
    return table


def test_the_text_says_on_the_right_what_nginx_called_it():
    lines = Document(["head"], [pool()]).text.splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "# head",
        "",
        "[pools.up] # nginx.conf:2: upstream up {",
        'balance = "least-connections" # server a:1;',
        "attempts = 3 # tries",
        'retry_on = ["connect"]',
        "upstreams = [",
        '"a:1", # server a:1;',
        '{ address = "b:1", backup = true }, # server a:1;',
        "]",
        "",
        "[pools.up.passive]",
        "window = 1.5",
    ]
    assert tomllib.loads("\n".join(lines))["pools"]["up"]["upstreams"][1]["backup"] is True


def test_every_line_leads_back_to_its_part():
    table = pool()
    lines = Document([], [table]).lines()
    assert lines[0].table is None
    assert (lines[1].table, lines[1].part) == (table, None)
    assert lines[2].part is table.settings[0]
    assert lines[6].part is table.items["upstreams"][0]


def test_a_remark_stands_on_a_line_of_its_own():
    table = Table("[a]", remark="why\nthis")
    table.add("key", 1)
    assert Document([], [table]).text == "\n[a]\n# why\\nthis\nkey = 1\n"


def test_tables_without_settings_are_not_written():
    assert Document([], [Table("[server]")]).text == "\n"


def test_comments_are_printable_and_lines_bounded():
    odd = Statement("set", ("$a", "b" * 300), Place(0, 1, "x\n\udcff.conf"))
    table = Table("[a]", odd)
    table.add("key", 1, odd)
    table.add("long", "y" * 300, odd)
    text = Document([], [table]).text
    assert text.replace("\n", "").isprintable()
    assert tomllib.loads(text)["a"]["key"] == 1
    assert len(text.splitlines()[1]) <= 120
