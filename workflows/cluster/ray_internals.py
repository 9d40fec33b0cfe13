"""What reaching a cluster uses of Ray that is not public, in one place. Read in ray 2.60.

In: nothing. Out: this process sends its token, and Ray keeps to itself what is not for our users.
tests/workflows/cluster/test_ray_internals.py names what another version took away.
"""

import logging

AUTHENTICATION = "ray._private.authentication"
TALKATIVE = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers that tell of each upload and attempt of a job; what matters of it is said by us."""


def quiet_token_advice() -> None:
    """Silence Ray's advice about its token, which is on by default for local clusters."""
    logging.getLogger(AUTHENTICATION).setLevel(logging.ERROR)


def quiet_job_client() -> None:
    """Silence the client of Ray's jobs, errors excepted."""
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.ERROR)


def use_token() -> None:
    """Send this user's Ray token, if there is one, to the clusters that this process talks to.

    Ray does so by itself for a cluster that it finds, not for an address that it is given. A
    cluster without authentication ignores the token (both seen with ray 2.60).
    """
    from ray._private.authentication.authentication_token_setup import (
        maybe_enable_token_auth_if_token_available,
    )

    quiet_token_advice()
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
