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
    "dense": 3.3410,
    "lexical": 1.2198,
    "coverage": 0.3375,
    "dense_rank": 0.0244,
    "lexical_rank": 0.0698,
    "dense_2_before": -0.8462,
    "dense_before": 0.1612,
    "dense_after": 0.8578,
    "dense_2_after": 0.1006,
    "lexical_2_before": 1.1863,
    "lexical_before": 1.2533,
    "lexical_after": 0.0843,
    "lexical_2_after": 0.3619,
    "session_dense": 3.2309,
    "session_lexical": 1.8980,
    "has_unit": -0.3431,
    "unit_dense": 0.4951,
    "unit_lexical": 0.5273,
    "unit_rank": 0.1247,
    "unit_nearby": 0.0155,
    "time": 1.5000,
    "named": 1.5521,
    "length": 1.0147,
    "bias": -9.2329,
}
RELEVANCE = {
    "dense": 5.3410,
    "lexical": 0.2177,
    "coverage": 1.6681,
    "dense_rank": 0.1433,
    "lexical_rank": 0.2427,
    "dense_2_before": -1.3264,
    "dense_before": -2.0796,
    "dense_after": 0.8254,
    "dense_2_after": 1.2901,
    "lexical_2_before": 1.0003,
    "lexical_before": 1.4271,
    "lexical_after": -0.3939,
    "lexical_2_after": -0.0313,
    "session_dense": 3.8655,
    "session_lexical": 1.0547,
    "has_unit": 0.0301,
    "unit_dense": 0.5328,
    "unit_lexical": 1.0819,
    "unit_rank": 0.0319,
    "unit_nearby": 0.0273,
    "time": 1.5000,
    "named": 1.7536,
    "length": 0.9151,
    "bias": -7.1789,
}
FOUND = {
    "dense": 19.4614,
    "coverage": 12.0518,
    "bias": -13.5215,
}
SUFFICIENT = {
    "top": 0.9896,
    "tail": -1.5648,
    "bias": 0.9945,
}
GATE = 0.5660
