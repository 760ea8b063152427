"""`stored` gives what the function gives, and runs it only when something has changed."""

import numpy as np
import pytest

from optlab import experiments


@pytest.fixture
def calls():
    return []


@pytest.fixture
def experiment(calls):
    @experiments.stored
    def slow(n, seed=0):
        calls.append((n, seed))
        return {"x": np.random.default_rng(seed).normal(size=n)}

    return slow


def test_runs_every_time_without_a_store(experiment, calls, monkeypatch):
    monkeypatch.delenv("OPTLAB_STORE", raising=False)
    experiment(3)
    experiment(3)
    assert calls == [(3, 0), (3, 0)]


def test_runs_once_for_each_set_of_arguments(experiment, calls, monkeypatch, tmp_path):
    monkeypatch.setenv("OPTLAB_STORE", str(tmp_path / "new folder"))
    first = experiment(3)
    again = experiment(3)
    np.testing.assert_array_equal(first["x"], again["x"])
    assert again["x"] is not first["x"]
    experiment(n=3, seed=0)
    assert calls == [(3, 0)]
    experiment(3, seed=1)
    experiment(4)
    assert calls == [(3, 0), (3, 1), (4, 0)]


def test_runs_again_when_the_code_has_changed(experiment, calls, monkeypatch, tmp_path):
    monkeypatch.setenv("OPTLAB_STORE", str(tmp_path))
    experiment(3)
    monkeypatch.setattr(experiments, "fingerprint", lambda function: "other")
    experiment(3)
    assert calls == [(3, 0), (3, 0)]


def test_fingerprint_sees_the_package_and_the_module_itself(monkeypatch, tmp_path):
    package = tmp_path / "optlab"
    (package / "experiments").mkdir(parents=True)
    names = ("cg.py", "kernel.so", "experiments/race.py", "experiments/other.py")
    parts = {name: package / name for name in names}
    for part in parts.values():
        part.write_text("old")
    monkeypatch.setattr(experiments, "__file__", str(package / "experiments" / "__init__.py"))
    defined = {}
    exec(compile("def race(): pass", parts["experiments/race.py"], "exec"), defined)

    def fingerprint():
        return experiments.fingerprint.__wrapped__(defined["race"])

    seen = {fingerprint()}
    for name in ("cg.py", "kernel.so", "experiments/race.py"):
        parts[name].write_text("new")
        seen.add(fingerprint())
    assert len(seen) == 4
    parts["experiments/other.py"].write_text("new")
    assert fingerprint() in seen


def test_an_error_is_not_stored(monkeypatch, tmp_path):
    monkeypatch.setenv("OPTLAB_STORE", str(tmp_path))

    @experiments.stored
    def fails():
        raise ValueError("no result")

    with pytest.raises(ValueError, match="no result"):
        fails()
    assert not list(tmp_path.iterdir())
