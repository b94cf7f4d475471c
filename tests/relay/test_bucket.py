from __future__ import annotations

from trioproxy.relay.bucket import Bucket


def taken(bucket, tries=1000):
    return sum(bucket.take() for _ in range(tries))


def test_it_begins_full_and_holds_one_second():
    bucket = Bucket(10.0, 100.0)
    assert taken(bucket) == 10
    bucket.refill(100.5)
    assert taken(bucket) == 5
    bucket.refill(200.0)
    assert taken(bucket) == 10


def test_whoever_keeps_to_the_rate_is_never_refused():
    bucket = Bucket(7.0, 0.0)
    taken(bucket)
    for step in range(1, 10_000):
        bucket.refill(step / 7.0)
        assert bucket.take()
        assert not bucket.take()


def test_less_than_one_a_second_is_one_at_a_time():
    bucket = Bucket(0.25, 0.0)
    assert taken(bucket) == 1
    bucket.refill(3.9)
    assert taken(bucket) == 0
    bucket.refill(4.0)
    assert taken(bucket) == 1
