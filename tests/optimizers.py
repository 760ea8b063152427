"""The table of all optimizers with their slow forms: every test of optimizers runs over it."""

from dataclasses import dataclass, fields
from functools import partial

import reference

import optlab


@dataclass(frozen=True)
class Row:
    """An optimizer, the slow form of its step, and where that wants its gradient (None: at x)."""

    opt: optlab.Optimizer
    step: object
    look: object = None


def row(opt, step, look=None, **others):
    """A row whose slow form gets the fields of the optimizer."""
    hyper = {field.name: getattr(opt, field.name) for field in fields(opt)}
    return Row(opt, partial(step, **hyper), look)


def switched(first, second, at):
    """The slow form of a switch."""

    def step(x, g, state):
        t = state["steps"] = state.get("steps", 0) + 1
        which, part = ("first", first) if t <= at else ("second", second)
        x = part.step(x, g, state.setdefault(which, {}))
        state |= {f"{which}_{name}": value for name, value in state[which].items() if name != "t"}
        return x

    def look(x, state):
        which, part = ("first", first) if state.get("steps", 0) < at else ("second", second)
        return x if part.look is None else part.look(x, state.get(which, {}))

    return Row(optlab.Switch(first.opt, second.opt, at), step, look if first.look or second.look else None)


ADAM = row(optlab.Adam(lr=0.01), reference.adam_step)
NESTEROV = row(optlab.Nesterov(lr=1e-4), reference.nesterov_step, reference.nesterov_look)

OPTIMIZERS = {
    "SGD": row(optlab.SGD(lr=1e-3), reference.sgd_step),
    "Adam": ADAM,
    "Adam, others": row(optlab.Adam(lr=0.02, beta1=0.5, beta2=0.9, eps=1e-3), reference.adam_step),
    "Adam, TensorFlow": row(optlab.Adam(lr=0.01, eps=1e-2, form="tensorflow"), reference.adam_step),
    "Adam, uncorrected": row(optlab.Adam(lr=0.01, form="uncorrected"), reference.adam_step),
    "Momentum": row(optlab.Momentum(lr=1e-4), reference.momentum_step),
    "Momentum, PyTorch": row(optlab.Momentum(lr=1e-4, momentum=0.5, form="pytorch"), reference.momentum_step),
    "Nesterov": NESTEROV,
    "Nesterov, PyTorch": row(optlab.Nesterov(lr=1e-4, form="pytorch"), reference.nesterov_step),
    "DeltaBarDelta": row(
        optlab.DeltaBarDelta(lr=1e-4, increase=1e-5, decrease=0.3), reference.delta_bar_delta_step
    ),
    "AdaGrad": row(optlab.AdaGrad(lr=0.1), reference.adagrad_step),
    "AdaGrad, initial": row(optlab.AdaGrad(lr=0.1, initial=0.3, eps=1e-3), reference.adagrad_step),
    "AdaGrad, mean": row(optlab.AdaGrad(lr=0.01, form="mean"), reference.adagrad_step),
    "AdaGrad, TensorFlow": row(optlab.AdaGrad(lr=0.1, eps=0.1, form="tensorflow"), reference.adagrad_step),
    "RMSProp": row(optlab.RMSProp(lr=0.01), reference.rmsprop_step),
    "RMSProp, first": row(optlab.RMSProp(lr=0.01, form="first_gradient"), reference.rmsprop_step),
    "RMSProp, momentum": row(
        optlab.RMSProp(lr=1e-3, momentum=0.9), reference.rmsprop_step, reference.nesterov_look
    ),
    "RMSProp, PyTorch": row(optlab.RMSProp(lr=1e-3, momentum=0.9, form="pytorch"), reference.rmsprop_step),
    "RMSProp, TensorFlow": row(
        optlab.RMSProp(lr=1e-3, momentum=0.9, eps=0.1, form="tensorflow"), reference.rmsprop_step
    ),
    "RMSProp, no momentum": row(optlab.RMSProp(lr=1e-3, form="tensorflow"), reference.rmsprop_step),
    "AdaDelta": row(optlab.AdaDelta(), reference.adadelta_step),
    "AdamW": row(optlab.AdamW(lr=0.01, weight_decay=0.02, eta=0.5), reference.adamw_step),
    "AdamW, PyTorch": row(optlab.AdamW(lr=0.01, weight_decay=0.5, form="pytorch"), reference.adamw_step),
    "AMSGrad": row(optlab.AMSGrad(lr=1e-3, beta2=0.9), reference.amsgrad_step),
    "AMSGrad, PyTorch": row(optlab.AMSGrad(lr=0.01, beta2=0.9, form="pytorch"), reference.amsgrad_step),
    "NAdam": row(optlab.NAdam(lr=0.01), reference.nadam_step),
    "NAdam, PyTorch": row(optlab.NAdam(lr=0.01, form="pytorch"), reference.nadam_step),
    "NAdam, constant": row(optlab.NAdam(lr=0.01, form="constant"), reference.nadam_step),
    "RAdam": row(optlab.RAdam(lr=0.01), reference.radam_step),
    "RAdam, PyTorch": row(optlab.RAdam(lr=0.01, beta2=0.9, form="pytorch"), reference.radam_step),
    "Adam to Nesterov": switched(ADAM, NESTEROV, 3),
    "Nesterov to Adam": switched(NESTEROV, ADAM, 3),
}
