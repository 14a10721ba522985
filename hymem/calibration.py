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
    "dense": 0.6514,
    "lexical": 1.6114,
    "coverage": 2.4737,
    "dense_rank": 0.1352,
    "lexical_rank": 0.1689,
    "dense_2_before": -0.1484,
    "dense_before": -0.2515,
    "dense_after": 0.0641,
    "dense_2_after": 0.2279,
    "lexical_2_before": -0.7680,
    "lexical_before": -0.8901,
    "lexical_after": 0.4555,
    "lexical_2_after": 0.3232,
    "session_dense": 0.0795,
    "session_lexical": 0.0118,
    "has_unit": 0.1684,
    "unit_dense": 0.6416,
    "unit_lexical": 1.7775,
    "unit_rank": 0.1174,
    "unit_nearby": -0.0215,
    "time": 1.5000,
    "named": 0.1193,
    "length": 0.0393,
    "bias": -4.5362,
}
RELEVANCE = {
    "dense": 0.8697,
    "lexical": 1.5435,
    "coverage": 2.9323,
    "dense_rank": 0.1687,
    "lexical_rank": 0.1817,
    "dense_2_before": 0.1236,
    "dense_before": 0.4172,
    "dense_after": 0.5618,
    "dense_2_after": 0.4308,
    "lexical_2_before": 0.2029,
    "lexical_before": 0.3757,
    "lexical_after": 0.5695,
    "lexical_2_after": 0.7097,
    "session_dense": 0.7409,
    "session_lexical": 0.8355,
    "has_unit": 0.0620,
    "unit_dense": 0.7823,
    "unit_lexical": 1.4795,
    "unit_rank": 0.1067,
    "unit_nearby": 0.0867,
    "time": 1.5000,
    "named": 0.0000,
    "length": -0.0495,
    "bias": -2.6927,
}
FOUND = {
    "dense": 22.9395,
    "coverage": 16.6614,
    "top": -1.3489,
    "bias": -17.9792,
}
SUFFICIENT = {
    "top": 0.6792,
    "tail": -1.0557,
    "bias": 0.1730,
}
GATE = 0.5010
