"""Constants of the scores (`hymem.read.ranking`, `hymem.read.features`), written by
``hymem-eval calibrate``. Change them by running it, not by hand.

Fitted at commit 83e670b5ae with the encoder 3a1d0106b7a1-T4-int8
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
    "dense": 0.6415,
    "late": 0.5882,
    "late_window": 0.6028,
    "coverage": 0.0000,
    "session_late": 0.0000,
    "coverage_window": 0.0000,
    "named": 0.0000,
    "time": 2.0000,
}
LATE_NAMED = {
    "dense": 0.3180,
    "late": 0.4553,
    "late_window": 0.6914,
    "coverage": 0.0000,
    "session_late": 0.8202,
    "coverage_window": 0.0000,
    "named": 1.1259,
    "time": 2.0000,
}
PLAIN = {
    "dense": 1.0299,
    "late": 0.0000,
    "late_window": 0.0000,
    "coverage": 2.0620,
    "session_late": 0.0000,
    "coverage_window": 2.7142,
    "named": 1.0625,
    "time": 2.0000,
}
# Log-odds that memory holds anything on the question, by what is measured; and the probability
# from which on that counts as found: 98.5% of own questions reach it.
FOUND = {
    "late+dense+coverage": {
        "late": 1.2568,
        "dense": 0.2949,
        "coverage": 2.0077,
        "named": 3.5290,
        "turns": -0.9616,
        "bias": -1.7033,
    },
    "dense+coverage": {
        "dense": 0.6885,
        "coverage": 6.6970,
        "named": 3.7076,
        "turns": -1.0296,
        "bias": -1.0983,
    },
    "late+dense": {
        "late": 1.5872,
        "dense": 0.2984,
        "named": 3.5225,
        "turns": -0.9434,
        "bias": -1.8766,
    },
    "dense": {
        "dense": 1.3746,
        "named": 3.9285,
        "turns": -0.8754,
        "bias": -1.3562,
    },
    "coverage": {
        "coverage": 7.4254,
        "named": 3.4797,
        "turns": -0.7630,
        "bias": -0.7550,
    },
}
FOUND_AT = 0.1937
# Log-odds that a turn is evidence, from its share of the scores and whether anything is found.
RELEVANT = {
    "share": 1.0409,
    "found": 0.0773,
    "bias": 0.9032,
}
# Log-odds that the best few turns hold all the evidence; below the probability GATE, which is set
# and not fitted, the deep tier is asked.
SUFFICIENT = {
    "top": 0.6457,
    "tail": -0.9379,
    "bias": 0.3713,
}
GATE = 0.5000
# Share of the evidence expected in a full block that an adaptive one leaves out.
EXPENDABLE = 0.0300
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
