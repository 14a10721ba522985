"""Constants of the scores (`hymem.ranking`, `hymem.features`), written by
``python -m evals.calibrate``. Change them by running it, not by hand.

Fitted at commit 1a9717f981 with the encoder 3a1d0106b7a1-T4-int8
on the development collections of ``evals``: locomo (760 questions), longmemeval (20 questions),
long replies (100 questions), allusions (240 questions), preferences (120 questions), meetings
(180 questions).
"""

from __future__ import annotations

# What an unrelated turn has by chance: mean and spread of its cosine to a question, and the
# mean of late interaction; with the default encoder.
DENSE_MEAN = 0.2526
DENSE_SPREAD = 0.0978
LATE_MEAN = 0.2428
# Log-odds that a turn holds part of the answer, against the other turns: for encoders with token
# codes, where the question names nobody who speaks, and where it does; and for other encoders.
LATE = {
    "dense": 0.6428,
    "late": 0.5880,
    "late_window": 0.6028,
    "coverage": 0.0000,
    "session_late": 0.0000,
    "coverage_window": 0.0000,
    "named": 0.0000,
    "time": 2.0000,
}
LATE_NAMED = {
    "dense": 0.3186,
    "late": 0.4555,
    "late_window": 0.6922,
    "coverage": 0.0000,
    "session_late": 0.8172,
    "coverage_window": 0.0000,
    "named": 1.1259,
    "time": 2.0000,
}
PLAIN = {
    "dense": 1.0318,
    "late": 0.0000,
    "late_window": 0.0000,
    "coverage": 2.0612,
    "session_late": 0.0000,
    "coverage_window": 2.7138,
    "named": 1.0624,
    "time": 2.0000,
}
# Log-odds that memory holds anything on the question, by what is measured; and the probability
# from which on that counts as found: 98.5% of own questions reach it.
FOUND = {
    "late+dense+coverage": {
        "late": 1.2563,
        "dense": 0.2979,
        "coverage": 2.0058,
        "named": 3.5309,
        "turns": -0.9605,
        "bias": -1.7264,
    },
    "dense+coverage": {
        "dense": 0.6930,
        "coverage": 6.6919,
        "named": 3.7083,
        "turns": -1.0310,
        "bias": -1.0976,
    },
    "late+dense": {
        "late": 1.5863,
        "dense": 0.3015,
        "named": 3.5246,
        "turns": -0.9418,
        "bias": -1.9059,
    },
    "dense": {
        "dense": 1.3822,
        "named": 3.9295,
        "turns": -0.8784,
        "bias": -1.3546,
    },
    "coverage": {
        "coverage": 7.4254,
        "named": 3.4797,
        "turns": -0.7630,
        "bias": -0.7550,
    },
}
FOUND_AT = 0.1934
# Log-odds that a turn is evidence, from its share of the scores and whether anything is found.
RELEVANT = {
    "share": 1.0409,
    "found": 0.0773,
    "bias": 0.9033,
}
# Log-odds that the best few turns hold all the evidence; below the probability GATE, which is set
# and not fitted, the deep tier is asked.
SUFFICIENT = {
    "top": 0.6456,
    "tail": -0.9381,
    "bias": 0.3709,
}
GATE = 0.5000
# Share of the evidence expected in a full block that an adaptive one leaves out.
EXPENDABLE = 0.0200
# Chosen by hand on the development collections. In a search the newer of those within
# NEWER_WITHIN of the best gain up to NEWER as log-odds; so much of it where the question does not
# ask for now.
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
