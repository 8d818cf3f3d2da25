import pytest

from kubetask_controller.runtime.ratelimiter import (
    BucketRateLimiter,
    ItemExponentialFailureRateLimiter,
    MaxOfRateLimiter,
)


def test_the_delay_of_an_item_doubles_with_each_failure_up_to_the_cap():
    limiter = ItemExponentialFailureRateLimiter()
    delays = [limiter.when("a") for _ in range(20)]
    assert delays[:4] == [0.005, 0.01, 0.02, 0.04]
    assert delays[17] == pytest.approx(655.36)
    assert delays[18:] == [1000, 1000]


def test_items_fail_each_on_its_own():
    limiter = ItemExponentialFailureRateLimiter(1, 60)
    assert [limiter.when("a"), limiter.when("a"), limiter.when("b")] == [1, 2, 1]
    assert (limiter.num_requeues("a"), limiter.num_requeues("c")) == (2, 0)


def test_a_forgotten_item_starts_over():
    limiter = ItemExponentialFailureRateLimiter(1, 60)
    limiter.when("a")
    limiter.when("a")
    limiter.forget("a")
    limiter.forget("never failed")
    assert limiter.num_requeues("a") == 0
    assert limiter.when("a") == 1


def test_an_item_that_has_failed_for_ages_stays_at_the_cap():
    limiter = ItemExponentialFailureRateLimiter(1, 1000)
    for _ in range(2000):
        delay = limiter.when("a")
    assert delay == 1000
    assert limiter.num_requeues("a") == 2000


def test_a_bucket_lets_a_burst_pass_and_then_its_rate():
    now = 100.0
    limiter = BucketRateLimiter(10, 3, monotonic=lambda: now)
    assert [limiter.when(n) for n in range(5)] == pytest.approx([0, 0, 0, 0.1, 0.2])
    now += 1000
    assert [limiter.when(n) for n in range(4)] == pytest.approx([0, 0, 0, 0.1])


def test_a_bucket_refills_at_its_rate():
    now = 0.0
    limiter = BucketRateLimiter(10, 1, monotonic=lambda: now)
    limiter.when("a")
    now += 0.05
    assert limiter.when("b") == pytest.approx(0.05)


@pytest.mark.parametrize(("qps", "burst"), [(0, 1), (-1, 1), (1, 0)])
def test_a_bucket_that_would_never_let_anything_pass_is_refused(qps, burst):
    with pytest.raises(ValueError, match="qps > 0"):
        BucketRateLimiter(qps, burst)


def test_of_several_limiters_the_strictest_counts_and_all_keep_count():
    slow, fast = ItemExponentialFailureRateLimiter(5, 60), ItemExponentialFailureRateLimiter(1, 60)
    limiter = MaxOfRateLimiter(slow, fast, BucketRateLimiter(1, 100, monotonic=lambda: 0.0))
    assert limiter.when("a") == 5
    assert fast.when("a") == 2
    assert limiter.num_requeues("a") == 2
    limiter.forget("a")
    assert limiter.num_requeues("a") == 0
