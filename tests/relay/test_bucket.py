from __future__ import annotations

from trioproxy.relay.bucket import Bucket, Quota


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


def test_a_quota_counts_frames_and_those_of_them_that_begin_messages():
    quota = Quota.of(2, 4, 0.0)
    assert [quota.take(opcode) for opcode in (1, 2, 9, 0, 10)] == [True, True, True, True, False]
    quota.refill(1.0)
    assert [quota.take(opcode) for opcode in (1, 1, 1, 0)] == [True, True, False, True]


def test_each_of_them_may_be_without_limit():
    messages, frames = Quota.of(1, 0, 0.0), Quota.of(0, 1, 0.0)
    assert [messages.take(opcode) for opcode in (9, 0, 1, 9, 0, 2)] == [True, True, True, True, True, False]
    assert [frames.take(opcode) for opcode in (1, 9)] == [True, False]
    for quota in (messages, frames):
        quota.refill(1.0)
        assert quota.take(1) and not quota.take(1)
    assert Quota.of(0, 0, 0.0) is None
