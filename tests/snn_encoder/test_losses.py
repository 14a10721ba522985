"""Each term of the loss on cases whose value is known."""

from __future__ import annotations

import pytest
import torch

from snn_encoder.studies import losses as tried
from snn_encoder.train import losses


def unit(*rows: tuple[float, ...]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


def test_terms_vanish_for_the_teachers_own_vectors() -> None:
    y = torch.randn(12, 8)
    z = 3 * y  # length does not matter
    assert losses.cosine(z, y).item() == pytest.approx(0, abs=1e-6)
    assert losses.relational(z, y).item() == pytest.approx(0, abs=1e-5)
    assert tried.bank(z, y, unit(*torch.randn(5, 8).tolist())).item() == pytest.approx(0, abs=1e-5)


def test_cosine_of_a_right_angle_is_one() -> None:
    assert losses.cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]])).item() == 1


def test_relational_ignores_rotations_and_sees_distances() -> None:
    y = torch.randn(12, 8)
    turn = torch.linalg.qr(torch.randn(8, 8))[0]
    assert losses.relational(y @ turn, y).item() == pytest.approx(0, abs=1e-4)
    assert losses.relational(y.roll(1, 0), y).item() > 0.1


def test_self_teacher_uses_reliable_texts_only() -> None:
    y = unit((1, 0, 0), (0, 1, 0), (0, 0, 1))
    last = unit((1, 0.1, 0), (1, 0.1, 0), (0, 0, 1))  # the second is nearest to the first's
    z = last.clone().requires_grad_()
    assert tried.self_teacher(z, last, y).item() == pytest.approx(0, abs=1e-6)
    torch.autograd.backward(tried.self_teacher(z * torch.tensor([1.0, 0.5, 2.0]), last, y))
    assert z.grad is not None
    assert z.grad[1].abs().sum() == 0


def test_self_teacher_without_a_reliable_text_is_zero() -> None:
    y = unit((1, 0), (0, 1))
    z = torch.randn(2, 2, requires_grad=True)
    loss = tried.self_teacher(z, y.flip(0), y)
    torch.autograd.backward(loss)
    assert loss.item() == 0
    assert z.grad is not None
    assert not z.grad.any()


def test_branches_follow_the_teacher_and_their_reliable_mean() -> None:
    y = unit((1, 0), (0, 1))
    assert tried.branches([y], y, y).item() == pytest.approx(0, abs=1e-6)
    # no head and not z is reliable: only the teacher's part is left, and no NaN
    assert tried.branches([y.flip(0)], y.flip(0), y).item() == pytest.approx(1)


def test_features_are_squared_distances_of_unit_vectors() -> None:
    y = unit((1, 0), (0, 1))
    assert tried.features([5 * y, y.flip(0)], y).item() == pytest.approx(2)


@pytest.mark.parametrize(("mean", "wanted"), [(0.1, 0.0), (0.2, 0.05), (0.01, 0.01)])
def test_firing_is_a_hinge(mean: float, wanted: float) -> None:
    found = losses.firing(torch.tensor([mean, 0.1]), high=0.15, low=0.02)
    assert found.item() == pytest.approx(wanted)
