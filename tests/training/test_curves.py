"""A point of the curves: means over its interval, sources apart, the share of the peak."""

import resource
import sys
from types import SimpleNamespace

import pytest
import torch

from components.model.sizes.shapes import read_shapes
from components.training import curves
from components.training.curves import Arithmetic, LogInterval
from components.training.loop import SourceLoss, StepOutcome
from tests.training.tiny import stage


def outcome(loss, of_sources, **changes):
    values = {"grad_norm": 1.0, "num_samples": 8, "num_tokens": 400, "num_supervised_tokens": 40}
    return StepOutcome(loss, **{**values, **changes}, of_sources=of_sources)


def test_a_point_is_the_mean_of_its_steps(base, monkeypatch):
    shapes = read_shapes(base.vision_tower_path, base.language_model_path)
    arithmetic = Arithmetic(shapes, stage(), world_size=2, peak_flops=1e9)
    monkeypatch.setattr(curves.time, "perf_counter", lambda: 14.0)
    interval = LogInterval(started=10.0, arithmetic=arithmetic)
    interval.outcomes += [
        outcome(2.0, {"gqa": SourceLoss(30.0, 10), "okvqa": SourceLoss(50.0, 30)}, data_wait_s=1.0),
        outcome(1.0, {"gqa": SourceLoss(40.0, 40)}, num_images=8, grad_norm=3.0),
    ]
    point = interval.point(1e-3)
    assert point["train/loss"] == 1.5
    assert point["train/grad_norm"] == 2.0
    assert point["train/samples_per_s"] == 4.0
    assert point["train/tokens_per_s"] == 200.0
    assert point["train/data_wait_share"] == 0.25
    assert point["train/loss/gqa"] == pytest.approx(70 / 50)
    assert point["train/loss/okvqa"] == pytest.approx(50 / 30)
    assert point["train/peak_memory_bytes"] > 1e6
    # Half of all FLOPs are one device's; a step with images takes more than one without.
    text, images = map(arithmetic.flops, interval.outcomes)
    assert text < images
    assert point["train/model_tflops_per_s"] == pytest.approx((text + images) / 2 / 4 / 1e12)
    assert point["train/mfu"] == pytest.approx((text + images) / 2 / 4 / 1e9)


def test_a_device_of_unknown_peak_has_no_share(base):
    shapes = read_shapes(base.vision_tower_path, base.language_model_path)
    interval = LogInterval(arithmetic=Arithmetic(shapes, stage(), 1, None))
    interval.outcomes.append(outcome(1.0, {}))
    assert "train/mfu" not in interval.point(1e-3)
    assert "train/mfu" not in LogInterval(outcomes=interval.outcomes).point(1e-3)


def test_the_peak_of_memory_has_each_system_s_unit(monkeypatch):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=peak))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sizes = {}
    for system in ("linux", "darwin"):
        monkeypatch.setattr(sys, "platform", system)
        sizes[system] = LogInterval(outcomes=[outcome(1.0, {})]).point(1e-3)
    assert sizes["linux"]["train/peak_memory_bytes"] == peak * 1024  # kilobytes, getrusage(2)
    assert sizes["darwin"]["train/peak_memory_bytes"] == peak  # bytes
