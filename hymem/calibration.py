"""Constants of the scores (`hymem.ranking`, `hymem.features`), written by
``python -m evals.calibrate``. Change them by running it, not by hand.

Fitted at commit fb366a3681 with the encoder 3a1d0106b7a1-T4-int8
on the development collections of ``evals``: locomo (760 questions), longmemeval (20 questions),
long replies (100 questions), allusions (240 questions), preferences (120 questions), meetings
(180 questions).
"""

from __future__ import annotations

# What an unrelated turn has by chance: mean and spread of its cosine to a question, and the
# mean of late interaction; with the default encoder.
DENSE_MEAN = 0.2504
DENSE_SPREAD = 0.0995
LATE_MEAN = 0.2406
# Log-odds that a turn holds part of the answer, against the other turns: for encoders with token
# codes, and for those without.
LATE = {
    "dense": 0.3692,
    "late": 0.7985,
    "dense_window": 0.2548,
    "late_window": 0.4681,
    "coverage": 1.0000,
    "coverage_window": 0.0000,
    "named": 1.2347,
    "time": 2.0000,
}
PLAIN = {
    "dense": 0.7346,
    "late": 0.0000,
    "dense_window": 0.3577,
    "late_window": 0.0000,
    "coverage": 2.5061,
    "coverage_window": 2.3424,
    "named": 1.2777,
    "time": 2.0000,
}
# Log-odds that memory holds anything on the question, by what is measured; and the probability
# from which on that counts as found: 98.5% of own questions reach it.
FOUND = {
    "late+dense+coverage": {
        "late": 1.4053,
        "dense": -0.0138,
        "coverage": 2.8121,
        "named": 5.1220,
        "turns": -1.1596,
        "bias": -0.7344,
    },
    "dense+coverage": {
        "dense": 0.4681,
        "coverage": 7.6422,
        "named": 5.1902,
        "turns": -1.2127,
        "bias": -0.1156,
    },
    "late+dense": {
        "late": 1.8613,
        "dense": 0.0348,
        "named": 5.1234,
        "turns": -1.1525,
        "bias": -0.9822,
    },
    "dense": {
        "dense": 1.4173,
        "named": 5.5350,
        "turns": -1.1328,
        "bias": -0.3907,
    },
    "coverage": {
        "coverage": 8.1888,
        "named": 5.0454,
        "turns": -1.0259,
        "bias": 0.0652,
    },
}
FOUND_AT = 0.2365
# Log-odds that a turn is evidence, from its share of the scores and whether anything is found.
RELEVANT = {
    "share": 1.0556,
    "found": 0.0590,
    "bias": 0.9624,
}
# Log-odds that the best few turns hold all the evidence; below the probability GATE, which is set
# and not fitted, the deep tier is asked.
SUFFICIENT = {
    "top": 0.5535,
    "tail": -1.0114,
    "bias": 0.1559,
}
GATE = 0.5000
# Share of the evidence expected in a full block that an adaptive one leaves out.
EXPENDABLE = 0.0400
