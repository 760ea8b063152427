"""What importing costs, which names there are, and that results travel."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

import optlab


def run(code):
    """Run code in a fresh interpreter, warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )


def test_import_brings_neither_scipy_nor_matplotlib():
    done = run("import sys, optlab; print(*{m.split('.')[0] for m in sys.modules} & {'scipy', 'matplotlib'})")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_solving_does_not_bring_matplotlib():
    done = run(
        "import sys, optlab; optlab.cg([[2.0]], [1.0]); optlab.nonlinear_cg(lambda x: x[0] ** 2, [1.0]);"
        "print('matplotlib' in sys.modules)"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", optlab.__all__)
def test_every_name_is_there(name):
    assert name in dir(optlab)
    assert getattr(optlab, name) is getattr(optlab, name)


def test_star_import():
    names = {}
    exec("from optlab import *", names)
    assert set(optlab.__all__) <= set(names)


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="no attribute 'sgd_'"):
        optlab.sgd_  # noqa: B018


@pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, *(lambda r, p=p: pickle.loads(pickle.dumps(r, p)) for p in range(2, 6))],
)
def test_results_can_be_copied_and_pickled(copied):
    result = optlab.cg([[2.0, 1.0], [1.0, 3.0]], [1.0, 2.0], history=True)
    other = copied(result)
    assert type(other) is optlab.Result
    assert other.keys() == result.keys()
    np.testing.assert_array_equal(other.x, result.x)
    assert (other.success, other.nit, other.message) == (result.success, result.nit, result.message)
    assert type(other.history) is optlab.History
    for name in ("fun", "grad_norm", "step", "nfev", "x"):
        np.testing.assert_array_equal(getattr(other.history, name), getattr(result.history, name))


def test_result_is_scipys():
    from scipy.optimize import OptimizeResult

    result = optlab.cg([[2.0]], [1.0])
    assert isinstance(result, OptimizeResult)
    assert result["x"] is result.x
    assert "Converged" in repr(result)
    with pytest.raises(AttributeError):
        result.nothing  # noqa: B018


@pytest.mark.parametrize("make", [optlab.jacobi, optlab.incomplete_cholesky])
def test_preconditioners_keep_their_own_numbers(make):
    """The matrix may change afterwards."""
    A = np.array([[4.0, 1.0], [1.0, 3.0]])
    M = make(A)
    before = M @ np.ones(2)
    A[:] = np.nan
    np.testing.assert_array_equal(M @ np.ones(2), before)
