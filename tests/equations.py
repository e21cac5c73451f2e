"""The cells of recurrent networks as their papers have them, one token at a time in float64."""

import numpy as np


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def parts(weights, name, count):
    """The kernel, the recurrent kernel and the bias of each of so many gates."""
    of_gates = (weights[f"{name}/{w}"] for w in ("kernel", "recurrent_kernel", "bias"))
    return zip(*(np.split(w, count, axis=-1) for w in of_gates), strict=True)


def lstm_step(weights, name, x, h, c):
    """Graves 2013, equations 7 to 11; gates lie in the order i, f, g, o."""
    (wi, ui, bi), (wf, uf, bf), (wg, ug, bg), (wo, uo, bo) = parts(weights, name, 4)
    pi, pf, po = weights.get(f"{name}/peepholes", np.zeros((3, len(c))))
    i = sigmoid(x @ wi + h @ ui + pi * c + bi)
    f = sigmoid(x @ wf + h @ uf + pf * c + bf)
    c = f * c + i * np.tanh(x @ wg + h @ ug + bg)
    o = sigmoid(x @ wo + h @ uo + po * c + bo)
    return o * np.tanh(c), c


def gru_step(weights, name, x, h, reset_after=False):
    """Cho et al. 2014, equations 5 to 8; gates lie in the order z, r, g."""
    (wz, uz, bz), (wr, ur, br), (wg, ug, bg) = parts(weights, name, 3)
    z, r = sigmoid(x @ wz + h @ uz + bz), sigmoid(x @ wr + h @ ur + br)
    if reset_after:
        g = np.tanh(x @ wg + bg + r * (h @ ug + weights[f"{name}/recurrent_bias"]))
    else:
        g = np.tanh(x @ wg + bg + (r * h) @ ug)
    return z * h + (1 - z) * g


def softmax(scores):
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum()


def maxout(weights, hidden, token, context):
    """The output of Cho et al. 2014 (appendix A.1.2) and Bahdanau et al. 2015 (A.2.2)."""
    t = hidden @ weights["from_hidden/kernel"] + weights["from_hidden/bias"]
    t = t + token @ weights["from_token/kernel"] + context @ weights["from_context/kernel"]
    t = np.array([max(t[2 * i], t[2 * i + 1]) for i in range(len(t) // 2)])
    return t @ weights["logits/kernel"] + weights["logits/bias"]
