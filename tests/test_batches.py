"""Batches: what an epoch holds, in which order, and that it comes again."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optlab.batches import Batches

ORDERS = ["each_epoch", "once", "given", "replacement"]
X, Y = np.arange(30.0).reshape(10, 3), np.arange(10)


def epoch(batches):
    return [np.asarray(b).tolist() for b in batches]


@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.sampled_from(ORDERS), st.integers(0, 2**40))
def test_an_epoch_holds_each_sample_once(n, size, drop_last, order, seed):
    if drop_last and size > n:
        return
    y = np.arange(n)
    batches = Batches(y, y * 2, size=size, order=order, rng=seed, drop_last=drop_last)
    for _ in range(2):
        parts = list(batches)
        assert len(parts) == len(batches) == (n // size if drop_last else -(-n // size))
        for a, b in parts:
            np.testing.assert_array_equal(b, 2 * a)
        lengths = [len(a) for a, _ in parts]
        seen = np.concatenate([a for a, _ in parts])
        if order == "replacement":
            assert lengths == [size] * len(batches)
            assert set(seen.tolist()) <= set(range(n))
        else:
            assert lengths[:-1] == [size] * (len(batches) - 1)
            assert lengths[-1] == (size if drop_last else n - size * (len(batches) - 1))
            assert len(set(seen.tolist())) == len(seen)
            if not drop_last:
                assert sorted(seen.tolist()) == list(range(n))


def test_orders():
    given = Batches(Y, size=3, order="given")
    assert epoch(given) == epoch(given) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    once = Batches(Y, size=3, order="once", rng=0)
    assert epoch(once) == epoch(once) != epoch(given)
    each = Batches(Y, size=3, rng=0)
    first, second = epoch(each), epoch(each)
    assert first != second
    assert each.order == "each_epoch"
    drawn = Batches(np.arange(1000), size=100, order="replacement", rng=0)
    seen = np.concatenate(list(drawn))
    assert len(set(seen.tolist())) == pytest.approx(1000 * (1 - np.exp(-1)), abs=60)


def test_every_order_is_equally_likely():
    batches = Batches(np.arange(3), size=3, rng=0)
    counts = {}
    for _ in range(6000):
        (order,) = (tuple(b.tolist()) for b in batches)
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6
    assert all(abs(c - 1000) < 150 for c in counts.values())  # 5 standard deviations


@pytest.mark.parametrize("order", ORDERS)
def test_indices_are_the_same_epoch(order):
    one, other = (Batches(X, Y, size=4, order=order, rng=3) for _ in range(2))
    for _ in range(3):
        for index, (x, y) in zip(one.indices(), other, strict=True):
            assert index.dtype == np.int64
            np.testing.assert_array_equal(X[index], x)
            np.testing.assert_array_equal(Y[index], y)


def test_arrays_of_any_shape_and_type():
    arrays = [X.astype(np.float32), Y.astype(str), np.zeros((10, 2, 3, 4)), Y > 4, np.zeros((10, 0))]
    for order in ORDERS:
        for batch in Batches(*arrays, size=4, order=order, rng=0):
            assert isinstance(batch, tuple)
            for part, whole in zip(batch, arrays, strict=True):
                assert part.dtype == whole.dtype
                assert part.shape[1:] == whole.shape[1:]
                assert part.flags.c_contiguous
    (batch,) = Batches([[1, 2], [3, 4]], order="given")
    assert batch.tolist() == [[1, 2], [3, 4]]
    for part in Batches(np.asfortranarray(X), size=4, order="once", rng=0):
        assert isinstance(part, np.ndarray)
        assert part.flags.c_contiguous


@pytest.mark.parametrize("order", ["each_epoch", "once", "replacement"])
def test_batches_are_copies(order):
    data = X.copy()
    parts = list(Batches(data, size=4, order=order, rng=0))
    for i, part in enumerate(parts):
        assert not np.shares_memory(part, data)
        assert not any(np.shares_memory(part, other) for other in parts[:i])
        part[:] = -1.0
    np.testing.assert_array_equal(data, X)


def test_batches_in_the_given_order_are_read_only_views():
    data = X.copy()
    for part in Batches(data, size=4, order="given"):
        assert np.shares_memory(part, data)
        with pytest.raises(ValueError, match="read-only"):
            part[:] = 0.0
    data[:] = 0.0  # the reader's own array stays writeable


@pytest.mark.parametrize("order", ORDERS)
def test_indices_cannot_be_changed(order):
    for index in Batches(X, size=4, order=order, rng=0).indices():
        with pytest.raises(ValueError, match="read-only"):
            index[:] = 0


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))])
def test_a_copy_goes_on_with_the_same_batches(order, duplicate):
    batches = Batches(X, Y, size=4, order=order, rng=7)
    for _ in batches:
        pass
    next(iter(batches))  # an epoch left early
    other = duplicate(batches)
    assert len(other) == len(batches)
    assert repr(other) == repr(batches)
    for _ in range(3):
        for (x, y), (u, v) in zip(batches, other, strict=True):
            np.testing.assert_array_equal(x, u)
            np.testing.assert_array_equal(y, v)
    third = duplicate(batches)
    mine = [y.tolist() for _, y in batches]  # they do not disturb each other
    assert [y.tolist() for _, y in third] == mine


def test_copies_share_the_data():
    batches = Batches(X, rng=0)
    assert copy.copy(batches).arrays[0] is batches.arrays[0]
    assert copy.deepcopy(batches).arrays[0] is not batches.arrays[0]


def test_two_epochs_at_once_do_not_disturb_each_other():
    batches = Batches(np.arange(20), size=3, rng=0)
    pairs = list(zip(batches, batches, strict=True))
    for i in range(2):
        assert sorted(np.concatenate([p[i] for p in pairs]).tolist()) == list(range(20))


def test_seeds_and_generators():
    def first(rng):
        return epoch(Batches(Y, size=10, rng=rng))

    assert first(5) == first(np.int64(5)) == first(5)
    assert first(5) != first(6)
    rng = np.random.default_rng(1)
    one, other = first(rng), first(rng)
    assert one != other  # each has a child of its own
    assert rng.random() == np.random.default_rng(1).random()  # and the parent's numbers stay
    again = np.random.default_rng(1)
    assert [first(again), first(again)] == [one, other]


@pytest.mark.parametrize("data", [np.empty(1_000_000), np.empty((2, 1_000_000)).T], ids=["C", "Fortran"])
def test_a_batch_with_replacement_takes_no_more_memory_from_more_data(data):
    data[:] = 1.0
    batches = Batches(data, size=8, order="replacement", rng=0)
    tracemalloc.start()
    assert (next(iter(batches)) == 1.0).all()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_what_batches_say_of_themselves():
    batches = Batches(X, size=4, rng=0, drop_last=True)
    assert repr(batches) == "Batches(10 samples, size=4, order='each_epoch', drop_last=True)"
    assert (batches.n, batches.size, batches.drop_last, len(batches)) == (10, 4, True, 2)


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        ((), {}, ValueError, "arrays: expected at least one, got none"),
        ((X, Y[:9]), {}, ValueError, r"arrays\[1\]: expected 10 samples as arrays\[0\] has, got 9"),
        ((X[:0],), {}, ValueError, "arrays: expected at least one sample"),
        ((3.0,), {}, ValueError, r"arrays\[0\]: expected at least one axis, got the number 3.0"),
        ((X, None), {}, TypeError, r"arrays\[1\]: expected an array of numbers, got NoneType"),
        (([[1, 2], [3]],), {}, ValueError, r"arrays\[0\]: expected an array, got list"),
        ((np.ma.masked_array(X),), {}, TypeError, r"arrays\[0\]: expected an array without a mask"),
        ((X,), {"size": 0}, ValueError, "size: expected an integer >= 1, got 0"),
        ((X,), {"size": -3}, ValueError, "size: expected an integer >= 1, got -3"),
        ((X,), {"size": 2.5}, TypeError, "size: expected an integer, got 2.5"),
        ((X,), {"size": None}, TypeError, "size: expected an integer, got None"),
        ((X,), {"size": 11, "drop_last": True}, ValueError, "size: expected at most 10, .*, got 11"),
        ((X,), {"order": "random"}, ValueError, "order: expected one of 'each_epoch', .*, got 'random'"),
        ((X,), {"order": None}, ValueError, "order: expected one of"),
        ((X,), {"order": ["once"]}, ValueError, "order: expected one of"),
        ((X,), {"rng": None}, ValueError, "rng: expected a Generator or a seed as order is 'each_epoch'"),
        ((X,), {"rng": None, "order": "replacement"}, ValueError, "rng: expected a Generator or a seed"),
        ((X,), {"rng": "seed"}, TypeError, "rng: expected a Generator or a seed, got 'seed'"),
        ((X,), {"rng": 1.0}, TypeError, "rng: expected a Generator or a seed, got 1.0"),
        ((X,), {"rng": -1}, ValueError, "rng: expected an integer >= 0, got -1"),
        ((X,), {"rng": np.random.RandomState(0)}, TypeError, "rng: expected a Generator or a seed"),
    ],
)
def test_arguments_are_checked(arrays, options, error, message):
    with pytest.raises(error, match=message):
        Batches(*arrays, **({"rng": 0} | options))
