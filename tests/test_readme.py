"""The example in the README runs and gives what it promises."""

import re
from pathlib import Path

import numpy as np

README = Path(__file__).resolve().parent.parent / "README.md"


def test_example_of_the_readme(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line]) == 14
    names = {}
    exec(code, names)
    assert names["run"].success
    np.testing.assert_allclose(names["best"].x, 1, atol=1e-4)
    np.testing.assert_allclose(names["path"].x[-1], 1, atol=1e-4)
    assert names["net"](names["learned"].x) < 0.5 < names["net"](names["net"].x0)
    assert len(capsys.readouterr().out.splitlines()) >= 4
