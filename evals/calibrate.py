"""Fit the constants of ``hymem/calibration.py`` on the development half, and print them.

    python -m evals.calibrate --data FOLDER

Three small models, each on top of the one before: relevance of a turn (listwise softmax loss over a
question's candidates, then Platt scaling), "nothing found" (own against foreign questions), and
whether the light tier suffices. LOCOMO counts with raw turns alone, with offline units and with the
data's observations; LongMemEval with the user's turns, every fourth question with offline units.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evals.data import Locomo, is_development, load_locomo, open_longmemeval, stream_longmemeval
from evals.encoders import load_encoder
from evals.gate import Trial, run_trials
from evals.history import locomo_history, longmemeval_history
from evals.longmemeval import user_evidence
from evals.systems import HyMemMemory, HyMemSystem
from hymem import Config, calibration, ranking
from hymem.features import NAMES
from hymem.types import Encoder, Scope

Floats = NDArray[np.float64]

CANDIDATES = 180
RIDGE = 1e-3
# LongMemEval has a tenth of LOCOMO's examples for the model of first-person questions and is the
# only data of its kind, so each counts this often.
LONGMEMEVAL_WEIGHT = 3
# Every so manieth question that names a speaker also counts there, lest words weigh too little.
NAMED_STEP = 6
# Too few of the questions name a date to fit its weight: enough to decide between equal matches.
TIME = 1.5
# Foreign questions name nobody of the memory they are asked of, which alone would tell them. So
# every so manieth is also asked with the names of those who speak there: some questions that
# nothing answers are about somebody known.
RENAMED_STEP = 3
# Share of foreign questions, by their own names, that must come back empty: above the promised .80,
# as far as own questions hardly suffer.
FOREIGN_EMPTY = 0.85
# Tokens that the gate may spend, as a share of always-deep's; the promise is .40.
GATE_TOKENS = 0.365


@dataclass(frozen=True, slots=True)
class Example:
    """A question's candidates. ``values``: ``float64[m, len(NAMES)]``; ``relevant``: ``bool[m]``;
    ``presence``: as in ``ranking.presence``."""

    values: Floats
    relevant: NDArray[np.bool_]
    presence: dict[str, float]

    @property
    def named(self) -> bool:
        return bool(self.values[:, NAMES.index("named")].any())

    @property
    def logits(self) -> Floats:
        """By the constants now in force."""
        chosen = calibration.RELEVANCE_NAMED if self.named else calibration.RELEVANCE
        result: Floats = self.values @ np.array([chosen[n] for n in NAMES]) + chosen["bias"]
        return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of the benchmark data (default: HYMEM_DATA)")
    parser.add_argument("--encoder", default="spiking")
    options = parser.parse_args()
    encoder = load_encoder(options.encoder)
    locomo = _development(load_locomo(options.data))
    _note(f"LOCOMO with {encoder.version}")
    own, foreign, renamed = locomo_examples(encoder, locomo)
    _note("LongMemEval")
    first_person = list(longmemeval_examples(encoder, options.data))
    everyone = [one for examples in own.values() for one in examples]
    fit_relevance(everyone, first_person)
    fit_found([*everyone, *LONGMEMEVAL_WEIGHT * first_person], foreign, renamed)
    _note("light and deep tiers")
    system = HyMemSystem("calibration", encoder, Config(gate="score"))
    fit_gate(own["offline"], list(run_trials(system, locomo)))
    print(_constants())


# -- examples ------------------------------------------------------------------------------------


def locomo_examples(
    encoder: Encoder, locomo: Locomo
) -> tuple[dict[str, list[Example]], list[Example], list[Example]]:
    """Own questions by kind of unit; the next conversation's questions; and every so manieth of
    those with the names of this conversation's speakers."""
    own: dict[str, list[Example]] = {"raw": [], "offline": [], "given": []}
    foreign: list[Example] = []
    renamed: list[Example] = []
    for index, conversation in enumerate(locomo.conversations):
        other = locomo.conversations[(index + 1) % len(locomo.conversations)]
        for kind, examples in own.items():
            system = HyMemSystem(
                kind, encoder, Config(), given_facts=kind == "given", extract=kind != "raw"
            )
            memory = system.load(locomo_history(conversation))
            examples += [
                example(memory, question.text, set(question.evidence))
                for question in conversation.questions
                if question.category < 5 and question.evidence
            ]
            texts = [question.text for question in other.questions if question.category < 5]
            foreign += [example(memory, text, set()) for text in texts]
            names = dict(zip(other.speakers, conversation.speakers, strict=True))
            renamed += [
                example(memory, _rename(text, names), set()) for text in texts[::RENAMED_STEP]
            ]
            memory.close()
    return own, foreign, renamed


def _rename(text: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        text = re.sub(rf"\b{re.escape(old)}\b", new, text)
    return text


def longmemeval_examples(encoder: Encoder, data: str | None) -> Iterator[Example]:
    questions = stream_longmemeval(open_longmemeval("s", data))
    for number, question in enumerate(questions):
        turns, _ = user_evidence(question)
        if question.abstention or not turns or not is_development(question.id):
            continue
        system = HyMemSystem("lme", encoder, Config(), extract=number % 4 == 0)
        memory = system.load(longmemeval_history(question, ("user",)))
        yield example(memory, question.text, turns)
        memory.close()


def example(memory: HyMemMemory, question: str, evidence: set[str]) -> Example:
    """What the retriever knows of a question's candidates, and which of them are evidence."""
    retriever = memory.hymem._parts.retriever
    found, items = retriever.examine(
        Scope(memory.user_id),
        question,
        candidates=CANDIDATES,
        vector=retriever.encode(question),
        now=memory.now,
    )
    relevant = [
        not evidence.isdisjoint(memory.messages(found.sources[row])) for row in items.rows.tolist()
    ]
    return Example(
        items.values,
        np.array(relevant, bool),
        ranking.presence(found, items),
    )


# -- fitting -------------------------------------------------------------------------------------


def fit_relevance(locomo: Sequence[Example], first_person: Sequence[Example]) -> None:
    """Weights and bias of both relevance models, set in ``hymem.calibration``."""
    named = [one for one in locomo if one.named]
    others = [one for one in locomo if not one.named]
    first_person = [*others, *LONGMEMEVAL_WEIGHT * list(first_person), *named[::NAMED_STEP]]
    sets = {"RELEVANCE_NAMED": named, "RELEVANCE": first_person}
    for name, examples in sets.items():
        weights = listwise([one for one in examples if one.relevant.any()])
        logits = np.concatenate([one.values @ weights for one in examples])
        relevant = np.concatenate([one.relevant for one in examples])
        bias, slope = logistic(logits[:, None], relevant)
        model = dict(zip(NAMES, (weights * slope).tolist(), strict=True))
        model |= {"time": TIME, "bias": bias}
        getattr(calibration, name).update(model)
        _note(f"{name}: {len(examples)} questions")


def fit_found(
    own: Sequence[Example], foreign: Sequence[Example], renamed: Sequence[Example]
) -> None:
    """The model of "nothing found", its bias set so that ``FOREIGN_EMPTY`` come back empty."""
    examples = [*own, *foreign, *renamed]
    inputs = np.array([list(one.presence.values()) for one in examples])
    is_own = np.arange(len(examples)) < len(own)
    _, *weights = logistic(inputs, is_own)
    odds = inputs @ np.array(weights)
    is_foreign = slice(len(own), len(own) + len(foreign))
    bias = -float(np.quantile(odds[is_foreign], FOREIGN_EMPTY))
    names = [*examples[0].presence, "bias"]
    calibration.FOUND.update(zip(names, [*weights, bias], strict=True))
    _note(f"own questions that come back empty: {np.mean(odds[is_own] + bias < 0):.3f}")


def fit_gate(examples: Sequence[Example], trials: Sequence[Trial]) -> None:
    """The model of "light suffices", and the threshold at which the gate spends ``GATE_TOKENS``."""
    inputs = np.array([list(ranking.sufficiency(one.logits).values()) for one in examples])
    light_right = np.array([trial.light_right for trial in trials])
    bias, *weights = logistic(inputs, light_right)
    names = list(ranking.sufficiency(examples[0].logits))
    calibration.SUFFICIENT.update(dict(zip(names, weights, strict=True)) | {"bias": bias})
    scores = ranking.probability(inputs @ np.array(weights) + bias)
    light = np.array([trial.light_tokens for trial in trials])
    deep = np.array([trial.deep_tokens for trial in trials])
    for threshold in np.sort(scores)[::-1]:
        goes_deep = scores < threshold
        share = np.where(goes_deep, deep, light).sum() / deep.sum()
        if share <= GATE_TOKENS:
            break
    kept = np.where(goes_deep, [t.deep_right for t in trials], light_right).sum()
    kept = kept / sum(t.deep_right for t in trials)
    calibration.GATE = float(threshold)
    _note(f"gate: {share:.3f} of deep's tokens, {kept:.3f} of its all-evidence rate")


def listwise(examples: Sequence[Example], steps: int = 40) -> Floats:
    """Weights, ``float64[len(NAMES)]``, that minimise the mean cross-entropy between the softmax of
    a question's scores and its evidence: Newton's method with step halving, on scaled features."""
    scale = np.concatenate([one.values for one in examples]).std(axis=0)
    scale[scale == 0] = 1.0
    lists = [(one.values / scale, one.relevant / one.relevant.sum()) for one in examples]
    weights = np.zeros(len(scale))
    loss, gradient, hessian = _listwise_loss(lists, weights)
    for _ in range(steps):
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (new := _listwise_loss(lists, weights - size * step))[0] > loss and size > 1e-6:
            size /= 2
        weights = weights - size * step
        gain, (loss, gradient, hessian) = loss - new[0], new
        if gain < 1e-7:
            break
    result: Floats = weights / scale
    return result


def _listwise_loss(
    lists: Sequence[tuple[Floats, Floats]], weights: Floats
) -> tuple[float, Floats, Floats]:
    """The loss of ``listwise`` with its gradient and Hessian."""
    loss = RIDGE * float(weights @ weights)
    gradient = 2 * RIDGE * weights
    hessian = 2 * RIDGE * np.eye(len(weights))
    for values, target in lists:
        logits = values @ weights
        logits = logits - logits.max()
        share = np.exp(logits)
        total = share.sum()
        share /= total
        mean = share @ values
        loss += float(np.log(total) - target @ logits) / len(lists)
        gradient = gradient + (mean - target @ values) / len(lists)
        hessian += ((values * share[:, None]).T @ values - np.outer(mean, mean)) / len(lists)
    return loss, gradient, hessian


def logistic(inputs: Floats, labels: NDArray[np.bool_], steps: int = 50) -> list[float]:
    """Bias and weights of a logistic regression, by Newton's method.

    ``inputs``: ``float64[n, k]``; ``labels``: ``bool[n]``. A small ridge keeps it finite."""
    design = np.column_stack([np.ones(len(inputs)), inputs])
    weights = np.zeros(design.shape[1])
    ridge = 1e-6 * len(design) * np.eye(design.shape[1])
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (chance - labels) + ridge @ weights
        hessian = (design.T * (chance * (1 - chance))) @ design + ridge
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return [float(weight) for weight in weights]


# -- printing ------------------------------------------------------------------------------------


def _development(locomo: Locomo) -> Locomo:
    chosen = tuple(one for one in locomo.conversations if is_development(one.id))
    return replace(locomo, conversations=chosen)


def _constants() -> str:
    """The constants now in force, as the second part of ``hymem/calibration.py``."""
    parts = []
    for name in ("RELEVANCE_NAMED", "RELEVANCE", "FOUND", "SUFFICIENT"):
        model = getattr(calibration, name)
        body = "".join(f'    "{key}": {number:.4f},\n' for key, number in model.items())
        parts.append(f"{name} = {{\n{body}}}\n")
    return "".join([*parts, f"GATE = {calibration.GATE:.4f}"])


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
