"""Line searches: what they promise holds at the step they accept, and they end whatever they are told."""

import functools
import math

import numpy as np
import pytest
import reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from optlab import linesearch

SEARCHES = {
    "armijo": linesearch.armijo,
    "exact": linesearch.exact,
    "strong_wolfe": linesearch.strong_wolfe,
    "strong_wolfe 0.9": functools.partial(linesearch.strong_wolfe, c2=0.9),
    "strong_wolfe tight": functools.partial(linesearch.strong_wolfe, c1=1e-4, c2=1e-3),
}

# Functions of More and Thuente (1994), section 5, with value and slope.


def phi1(t, b=2.0):
    return -t / (t * t + b), (t * t - b) / (t * t + b) ** 2


def phi2(t, b=0.004):
    return (t + b) ** 5 - 2 * (t + b) ** 4, 5 * (t + b) ** 4 - 8 * (t + b) ** 3


def phi3(t, b=0.01, m=39):
    if t <= 1 - b:
        smooth, slope = 1 - t, -1.0
    elif t >= 1 + b:
        smooth, slope = t - 1, 1.0
    else:
        smooth, slope = (t - 1) ** 2 / (2 * b) + b / 2, (t - 1) / b
    w = m * math.pi / 2
    return smooth + 2 * (1 - b) / (m * math.pi) * math.sin(w * t), slope + (1 - b) * math.cos(w * t)


def yanai(b1, b2):
    def gamma(b):
        return math.sqrt(1 + b * b) - b

    def phi(t):
        p, q = math.hypot(1 - t, b2), math.hypot(t, b1)
        return gamma(b1) * p + gamma(b2) * q, -gamma(b1) * (1 - t) / p + gamma(b2) * t / q

    return phi


MORE_THUENTE = {
    "1": (phi1, 0.001, 0.1),
    "2": (phi2, 0.1, 0.1),
    "3": (phi3, 0.1, 0.1),
    "4": (yanai(0.001, 0.001), 0.001, 0.001),
    "5": (yanai(0.01, 0.001), 0.001, 0.001),
    "6": (yanai(0.001, 0.01), 0.001, 0.001),
}


@pytest.mark.parametrize("step0", [1e-3, 1e-1, 1e1, 1e3])
@pytest.mark.parametrize("name", MORE_THUENTE)
def test_strong_wolfe_on_the_functions_of_more_and_thuente(name, step0):
    phi, c1, c2 = MORE_THUENTE[name]
    trials = 0

    def counted(t):
        nonlocal trials
        trials += 1
        return phi(t)

    f0, slope0 = phi(0.0)
    c2 *= 1.0001  # the paper has c1 = c2 for most
    step = linesearch.drive(linesearch.strong_wolfe(f0, slope0, step0, c1=c1, c2=c2), counted)
    assert reference.wolfe(phi, f0, slope0, step, c1, c2)
    assert trials <= 16  # the paper needs 12 at most; halving instead of interpolation needs more than 20


@given(
    bowl=st.tuples(st.floats(0.125, 3, width=32), st.floats(0, 3, width=32)),
    wave=st.tuples(st.floats(-3, 3, width=32), st.floats(-3, 3, width=32)),
    step0=st.floats(1e-3, 1e3),
    c2=st.sampled_from([1e-3, 0.1, 0.9]),
    wall=st.sampled_from([0.3, 4.0, math.inf]),
    max_step=st.sampled_from([7.0, math.inf]),
)
@settings(deadline=None, max_examples=300)
def test_strong_wolfe_is_that_of_the_reference_trial_by_trial(bowl, wave, step0, c2, wall, max_step):
    def phi(t):
        if t >= wall:
            return math.nan, math.nan
        return (
            bowl[0] * t**2 + 0.1 * bowl[1] * t**3 + 5 * math.sin(wave[0] * t + wave[1]),
            2 * bowl[0] * t + 0.3 * bowl[1] * t**2 + 5 * wave[0] * math.cos(wave[0] * t + wave[1]),
        )

    f0, slope0 = phi(0.0)
    assume(slope0 < -1e-3)
    runs = []
    for search in (
        linesearch.strong_wolfe(f0, slope0, step0, c2=c2, max_step=max_step),
        reference.strong_wolfe(f0, slope0, step0, 1e-4, c2, max_step),
    ):
        tried = []
        step = linesearch.drive(search, lambda t, tried=tried: (tried.append(t), phi(t))[1])
        runs.append((tried, step))
    (ours, step), (theirs, expected) = runs
    # Rounding alone tells the two apart; it matters only once the interval has shrunk to little.
    same = min(len(ours), len(theirs), 12)
    np.testing.assert_allclose(ours[:same], theirs[:same], rtol=1e-6)
    if len(theirs) < 12:
        assert len(ours) == len(theirs)
        assert (step is None) == (expected is None)
        assert step is None or step == pytest.approx(expected, rel=1e-6)


@given(
    minimum=st.floats(1e-6, 1e6),
    quartic=st.floats(0, 10),
    step0=st.floats(1e-8, 1e8),
    height=st.floats(-1e3, 1e3),
)
@settings(deadline=None, max_examples=150)
def test_convex_lines(minimum, quartic, step0, height):
    def phi(t):
        u = t / minimum - 1
        return height + u**2 + quartic * u**4, (2 * u + 4 * quartic * u**3) / minimum

    f0, slope0 = phi(0.0)
    step = linesearch.drive(linesearch.strong_wolfe(f0, slope0, step0), phi)
    assert reference.wolfe(phi, f0 + 1e-12 * abs(f0), slope0, step, 1e-4, 0.1)
    step = linesearch.drive(linesearch.armijo(f0, slope0, step0), phi)
    assert phi(step)[0] <= f0 + 1e-4 * step * slope0
    step = linesearch.drive(linesearch.exact(f0, slope0, step0), phi)
    assert abs(step / minimum - 1) < (1e-6 if quartic < 1e-3 or quartic > 1e-1 else 1e-5)


@given(curvature=st.floats(1e-8, 1e8), slope=st.floats(-1e8, -1e-8), step0=st.floats(1e-8, 1e8))
@settings(deadline=None, max_examples=150)
def test_exact_takes_two_trials_on_a_quadratic(curvature, slope, step0):
    steps = []

    def phi(t):
        steps.append(t)
        return slope * t + curvature * t * t / 2, slope + curvature * t

    step = linesearch.drive(linesearch.exact(0.0, slope, step0), phi)
    assert step == pytest.approx(linesearch.exact_quadratic(slope, curvature), rel=1e-6)
    if 1e-2 < step0 / step < 1e4:
        assert len(steps) <= 3  # the third where rounding asks for it


def test_exact_quadratic_is_the_lowest_point():
    slope, curvature = -3.0, 4.0
    t = linesearch.exact_quadratic(slope, curvature)
    assert t == 0.75
    values = slope * np.linspace(0, 2, 201) + curvature / 2 * np.linspace(0, 2, 201) ** 2
    assert slope * t + curvature / 2 * t**2 <= values.min()


@pytest.mark.parametrize(
    ("slope", "curvature"), [(0.0, 1.0), (1.0, 1.0), (-1.0, 0.0), (-1.0, -2.0), (np.nan, 1.0)]
)
def test_exact_quadratic_refuses(slope, curvature):
    with pytest.raises(ValueError, match="expected"):
        linesearch.exact_quadratic(slope, curvature)


def test_armijo_is_the_first_of_its_steps_that_falls_enough():
    def phi(t):
        return (t - 0.1) ** 2, 2 * (t - 0.1)

    f0, slope0 = phi(0.0)
    tried = []
    step = linesearch.drive(
        linesearch.armijo(f0, slope0, 4.0, c1=0.3, shrink=0.25), lambda t: (tried.append(t), phi(t))[1]
    )
    assert tried == [4.0, 1.0, 0.25, 0.0625]
    assert step == tried[-1]
    assert all(phi(t)[0] > f0 + 0.3 * t * slope0 for t in tried[:-1])


# Lines that misbehave --------------------------------------------------------------------------------


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("wall", [1e-3, 0.5, 2.0, 50.0])
def test_values_beyond_a_wall_are_taken_back(search, bad, wall):
    """phi falls to its minimum at 1, and is not finite from the wall on."""

    def phi(t):
        return ((t - 1) ** 2, 2 * (t - 1)) if t < wall else (bad, bad)

    step = linesearch.drive(SEARCHES[search](1.0, -2.0, 100.0), phi)
    assert step is not None
    assert 0 < step < wall
    assert phi(step)[0] < 1.0
    if wall > 1 and search not in ("armijo", "strong_wolfe 0.9"):
        assert step == pytest.approx(1.0, abs=0.11)


def nowhere_finite(t):
    return math.nan, math.nan


def constant(t):
    return 1.0, 0.0


def lying_slope(t):
    """It rises, but says that it falls."""
    return 1.0 + t, -1.0


def endless(t):
    return 1.0 - t, -1.0


def noisy(t):
    return 1.0 + 1e-3 * math.sin(1e9 * t), math.cos(1e9 * t)


def minus_infinity(t):
    return -math.inf, -math.inf


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("phi", [nowhere_finite, constant, lying_slope, endless, noisy, minus_infinity])
def test_a_search_ends_and_does_not_raise_the_value(search, phi):
    trials = 0

    def counted(t):
        nonlocal trials
        trials += 1
        assert 0 < t < math.inf
        assert trials <= 200
        return phi(t)

    step = linesearch.drive(SEARCHES[search](1.0, -1.0, 1.0), counted)
    if phi is nowhere_finite:
        assert step is None
    if step is not None:
        assert phi(step)[0] <= 1.0 + 1e-14


def test_max_step_is_obeyed_and_taken_if_the_line_falls_on():
    tried = []
    step = linesearch.drive(
        linesearch.strong_wolfe(1.0, -1.0, 1.0, max_step=7.0), lambda t: (tried.append(t), endless(t))[1]
    )
    assert step == 7.0 == max(tried)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    ("f0", "slope0", "step0"),
    [
        (math.nan, -1.0, 1.0),
        (math.inf, -1.0, 1.0),
        (1.0, 0.0, 1.0),
        (1.0, 1.0, 1.0),
        (1.0, math.nan, 1.0),
        (1.0, -math.inf, 1.0),
        (1.0, -1.0, 0.0),
        (1.0, -1.0, -1.0),
        (1.0, -1.0, math.inf),
        (1.0, -1.0, math.nan),
    ],
)
def test_starts_that_make_no_sense_are_refused(search, f0, slope0, step0):
    with pytest.raises(ValueError, match="expected"):
        next(SEARCHES[search](f0, slope0, step0))


@pytest.mark.parametrize(
    "search",
    [
        functools.partial(linesearch.armijo, c1=1.0),
        functools.partial(linesearch.armijo, c1=-0.1),
        functools.partial(linesearch.armijo, shrink=1.0),
        functools.partial(linesearch.armijo, shrink=0.0),
        functools.partial(linesearch.armijo, shrink=math.nan),
        functools.partial(linesearch.exact, rtol=-1.0),
        functools.partial(linesearch.strong_wolfe, c2=1.0),
        functools.partial(linesearch.strong_wolfe, c1=0.5, c2=0.1),
        functools.partial(linesearch.strong_wolfe, c1=-1.0),
        functools.partial(linesearch.strong_wolfe, max_step=0.0),
        functools.partial(linesearch.strong_wolfe, max_step=math.nan),
    ],
)
def test_constants_out_of_range_are_refused(search):
    with pytest.raises(ValueError, match="expected"):
        next(search(1.0, -1.0, 1.0))


def test_exact_does_not_hunt_for_a_root_of_noise():
    """The slope is wrong by a millionth: no step reaches the tolerance."""
    trials = []

    def phi(t):
        trials.append(t)
        return (t - 1) ** 2, 2 * (t - 1) + (2e-6 if len(trials) % 2 else -2e-6)

    step = linesearch.drive(linesearch.exact(1.0, -2.0, 0.1), phi)
    assert step == pytest.approx(1, abs=1e-5)
    assert len(trials) < 60
