from trioproxy.wire.buffer import Buffer


def test_what_comes_into_an_empty_buffer_goes_out_uncopied():
    data = bytes(1000)
    buffer = Buffer()
    buffer.add(data)
    assert buffer.take(1000) is data
    assert len(buffer) == 0


def test_bytes_go_out_in_the_order_they_came():
    buffer = Buffer()
    buffer.add(b"abc")
    assert buffer.take(1) == b"a"
    buffer.add(b"def")
    assert buffer.take(2) == b"bc"
    buffer.add(b"ghi")
    assert len(buffer) == 6
    assert buffer.take(100) == b"defghi"
    assert buffer.take(100) == b""


def test_what_is_taken_is_bytes_even_when_it_came_in_pieces():
    buffer = Buffer()
    buffer.add(b"abc")
    buffer.add(b"def")
    taken = buffer.take(6)
    assert taken == b"abcdef" and isinstance(taken, bytes)


def test_skipped_bytes_are_gone():
    buffer = Buffer()
    buffer.add(b"abc")
    buffer.skip(2)
    assert buffer.take(9) == b"c"
    buffer.add(b"abc")
    buffer.skip(3)
    assert len(buffer) == 0
    assert buffer.take(9) == b""
    data = b"def"
    buffer.add(data)
    assert buffer.take(9) is data


def test_the_bytes_already_taken_are_not_kept_while_others_wait():
    buffer = Buffer()
    buffer.add(bytes(1000))
    for _ in range(100):
        buffer.take(1000)
        buffer.add(bytes(1000))
        buffer.add(b"x")
    assert len(buffer.data) < 5000
