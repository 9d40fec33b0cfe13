"""The learning rate over the steps."""

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from components.training.schedule import learning_rate, warmup_steps


@pytest.mark.parametrize(("num_steps", "ratio"), [(1, 0.03), (10, 0.0), (100, 0.03), (37, 0.5)])
def test_equals_hugging_face_at_every_step(num_steps, ratio):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-5)
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup_steps(num_steps, ratio), num_steps)
    for step in range(num_steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate(step, num_steps, ratio, 2e-5) == pytest.approx(expected, abs=1e-18)
        optimizer.step()
        schedule.step()


def test_warm_up_rounds_up_as_the_original():
    assert warmup_steps(2181, 0.03) == 66
    assert warmup_steps(5198, 0.03) == 156
