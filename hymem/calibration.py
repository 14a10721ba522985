"""Constants of the scores (`hymem.ranking`, `hymem.features`), written by
``python -m evals.calibrate``. Change them by running it, not by hand.

Fitted at commit a2ce571efd with the encoder 3a1d0106b7a1-T4-int8
on the development collections of ``evals``: locomo (760 questions), longmemeval (20 questions),
long replies (100 questions), allusions (240 questions), preferences (120 questions), meetings
(180 questions).
"""

from __future__ import annotations

# What an unrelated turn has by chance: mean and spread of its cosine to a question, and the
# mean of late interaction; with the default encoder.
DENSE_MEAN = 0.2523
DENSE_SPREAD = 0.0991
LATE_MEAN = 0.2372
# Log-odds that a turn holds part of the answer, against the other turns: for encoders with token
# codes, and for those without.
LATE = {
    "dense": 0.64,
    "late": 0.62,
    "late_window": 0.58,
    "coverage": 0.0,
    "session_late": 0.0,
    "coverage_window": 0.0,
    "named": 0.0,
    "time": 2.0,
}
LATE_NAMED = LATE | {"dense": 0.39, "late": 0.5, "session_late": 0.7, "named": 1.2}
PLAIN = {
    "dense": 1.0476,
    "late": 0.0000,
    "late_window": 0.0000,
    "coverage": 2.0694,
    "session_late": 0.0,
    "coverage_window": 2.7371,
    "named": 1.0643,
    "time": 2.0000,
}
# Log-odds that memory holds anything on the question, by what is measured; and the probability
# from which on that counts as found: 98.5% of own questions reach it.
FOUND = {
    "late+dense+coverage": {
        "late": 1.2559,
        "dense": 0.3390,
        "coverage": 1.9727,
        "named": 3.5935,
        "turns": -0.9975,
        "bias": -1.6371,
    },
    "dense+coverage": {
        "dense": 0.7331,
        "coverage": 6.7185,
        "named": 3.7717,
        "turns": -1.0657,
        "bias": -1.0709,
    },
    "late+dense": {
        "late": 1.5824,
        "dense": 0.3353,
        "named": 3.5921,
        "turns": -0.9800,
        "bias": -1.7903,
    },
    "dense": {
        "dense": 1.4034,
        "named": 4.0531,
        "turns": -0.9203,
        "bias": -1.2727,
    },
    "coverage": {
        "coverage": 7.4254,
        "named": 3.4797,
        "turns": -0.7630,
        "bias": -0.7550,
    },
}
FOUND_AT = 0.1966
# Log-odds that a turn is evidence, from its share of the scores and whether anything is found.
RELEVANT = {
    "share": 1.0463,
    "found": 0.0793,
    "bias": 0.9498,
}
# Log-odds that the best few turns hold all the evidence; below the probability GATE, which is set
# and not fitted, the deep tier is asked.
SUFFICIENT = {
    "top": 0.5835,
    "tail": -0.9835,
    "bias": 0.2185,
}
GATE = 0.5000
# Share of the evidence expected in a full block that an adaptive one leaves out.
EXPENDABLE = 0.0300
# Chosen by hand on the development collections. In a search the newer of those within NEWER_WITHIN
# of the best gain up to NEWER as log-odds; so much of it where the question does not ask for now.
NEWER = 2.0000
NEWER_WITHIN = 3.0000
NEWER_OTHERWISE = 0.1500
# In a block a turn counts as much as one beside it, less STEP for each step away (1 to 3 tried);
# odds are divided by a text's tokens to the power LENGTH_PENALTY (0 to 1.3 tried); the further
# passages of a long text count FURTHER less, and each FURTHER_STEP less than the one before: a good
# text is better read whole, but not if it is endless (0.7 to 3 and 0 to 1.5 tried).
STEP = 2.0000
LENGTH_PENALTY = 1.0000
FURTHER = 1.5000
FURTHER_STEP = 0.2500
