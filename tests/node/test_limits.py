"""What a caller may take: the bucket of tokens, without any server."""

from hypothesis import given
from hypothesis import strategies as st

from assay.node.api.limits import RateLimit


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def test_a_burst_then_the_rate():
    """As many at once as the burst, then as the rate gives; others are not disturbed; 0 bounds nothing."""
    clock = Clock()
    limit = RateLimit(4, 5, clock)
    assert [limit.is_within("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert limit.is_within("b")
    clock.now += 0.25
    assert [limit.is_within("a") for _ in range(2)] == [True, False]
    clock.now += 1000
    assert [limit.is_within("a") for _ in range(6)] == [True] * 5 + [False]
    assert all(RateLimit(0, 1, clock).is_within("a") for _ in range(100))


@given(st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_rate_times_time_and_burst(waits):
    """Whatever the pace of the caller, in any time it gets at most burst + rate × time."""
    clock, limit = Clock(), None
    limit = RateLimit(3, 4, clock)
    got = 0
    for wait in waits:
        clock.now += wait
        got += limit.is_within("a")
    assert got <= 4 + 3 * (clock.now - 100.0) + 1e-6


def test_memory_is_bounded():
    """After a million addresses only the last ten thousand are remembered."""
    limit = RateLimit(1, 1, Clock())
    for number in range(30_000):
        limit.is_within(str(number))
    assert len(limit._buckets) == 10_000
