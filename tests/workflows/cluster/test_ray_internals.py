"""The private names of Ray that reaching a cluster uses."""

import importlib
import logging

from tests.private_names import missing
from workflows.cluster import ray_internals


def test_this_version_of_ray_has_what_is_used_of_it() -> None:
    """Read in ray 2.60. A logger that is gone would talk to the user again."""
    setup = f"{ray_internals.AUTHENTICATION}.authentication_token_setup"
    used = {f"{setup}:maybe_enable_token_auth_if_token_available": ["warn_if_disabled"]}
    assert missing(used) == []
    for name in (setup, *ray_internals.TALKATIVE):
        importlib.import_module(name)
        assert name in logging.root.manager.loggerDict


def test_only_errors_of_rays_job_client_are_shown() -> None:
    ray_internals.quiet_job_client()
    ray_internals.quiet_token_advice()
    levels = [logging.getLogger(name).getEffectiveLevel() for name in ray_internals.TALKATIVE]
    assert levels == [logging.ERROR] * 3
