"""Constants of the calibrated scores (`hymem.ranking`), printed by ``python -m evals.calibrate``.

They are fitted on the development halves of LOCOMO and LongMemEval, with the default encoder.
Change them by running it, not by hand.
"""

from __future__ import annotations

# RELEVANCE_NAMED, RELEVANCE: log-odds that a turn holds part of the answer, for questions that name
# a speaker of the scope and for the others. FOUND: log-odds that memory holds anything on the
# question. SUFFICIENT: log-odds that the light tier holds all the evidence; below the probability
# GATE the deep tier is asked.

RELEVANCE_NAMED = {
    "dense": 3.3450,
    "lexical": 1.2257,
    "coverage": 0.3342,
    "dense_rank": 0.0243,
    "lexical_rank": 0.0691,
    "dense_2_before": -0.8454,
    "dense_before": 0.1616,
    "dense_after": 0.8541,
    "dense_2_after": 0.1016,
    "lexical_2_before": 1.1862,
    "lexical_before": 1.2533,
    "lexical_after": 0.0864,
    "lexical_2_after": 0.3618,
    "session_dense": 3.2280,
    "session_lexical": 1.8983,
    "has_unit": -0.3469,
    "unit_dense": 0.5065,
    "unit_lexical": 0.5284,
    "unit_rank": 0.1245,
    "unit_nearby": 0.0143,
    "time": 1.5000,
    "named": 1.5493,
    "length": 1.0143,
    "bias": -9.2315,
}
RELEVANCE = {
    "dense": 5.3477,
    "lexical": 0.2192,
    "coverage": 1.6651,
    "dense_rank": 0.1437,
    "lexical_rank": 0.2426,
    "dense_2_before": -1.3269,
    "dense_before": -2.0788,
    "dense_after": 0.8267,
    "dense_2_after": 1.2912,
    "lexical_2_before": 1.0007,
    "lexical_before": 1.4269,
    "lexical_after": -0.3941,
    "lexical_2_after": -0.0317,
    "session_dense": 3.8663,
    "session_lexical": 1.0552,
    "has_unit": 0.0248,
    "unit_dense": 0.5071,
    "unit_lexical": 1.0945,
    "unit_rank": 0.0320,
    "unit_nearby": 0.0274,
    "time": 1.5000,
    "named": 1.7560,
    "length": 0.9162,
    "bias": -7.1934,
}
FOUND = {
    "dense": 11.6410,
    "coverage": 6.3439,
    "named": 0.6671,
    "bias": -7.8952,
}
SUFFICIENT = {
    "top": 1.0672,
    "tail": -1.4353,
    "bias": 1.4235,
}
GATE = 0.6039
