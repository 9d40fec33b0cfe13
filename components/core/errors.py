"""The errors a user can meet. The type says who must act; the message says what, where, expected,
and what to do.

`assert` stays for what a programmer broke. The command line turns each of these into one readable
message and the exit status in `exit_code`, never into a traceback.
"""


class LavaflowError(Exception):
    """Root of every error that has a remedy; `retryable` tells the step layer whether trying again
    can help.
    """

    exit_code = 1
    retryable = False


class ConfigError(LavaflowError):
    """The user asked for something that does not exist or does not fit: change the option or the
    recipe.
    """

    exit_code = 2


class DataError(LavaflowError):
    """A record, an image or an annotation file is wrong: mend the data or allow more rejects."""

    exit_code = 3


class StoreError(LavaflowError):
    """The store cannot be read or written: check the address, the rights and the space."""

    exit_code = 4


class StoreUnavailable(StoreError):
    """The store does not answer for the moment (throttled, time-out): trying again can help."""

    retryable = True


class ArtifactError(LavaflowError):
    """An artifact is missing, altered or of another kind than the step needs."""

    exit_code = 4


class LeaseLost(LavaflowError):
    """Another driver took over this step's lease; the loser must stop at once and publish
    nothing.
    """

    exit_code = 5


class CheckpointError(LavaflowError):
    """A model folder or training checkpoint is incomplete, damaged or of another recipe."""

    exit_code = 6


class Stopped(LavaflowError):
    """Work was asked to stop and has saved what it had: the same command goes on from there."""

    exit_code = 130


class TrainingError(LavaflowError):
    """Training cannot go on (a loss that is not finite, a worker that keeps dying)."""

    exit_code = 7


class TrainingInterrupted(TrainingError):
    """What steers the workers of a stage died: trying again goes on from the last checkpoint."""

    retryable = True


class ClusterError(LavaflowError):
    """The Ray cluster cannot be reached or lacks the resources that were asked for."""

    exit_code = 8


class RegistryError(LavaflowError):
    """The model registry cannot be reached, or the version or alias does not exist."""

    exit_code = 9


class GateRefused(LavaflowError):
    """The gate found a benchmark clearly below the champion's: the alias was not moved."""

    exit_code = 10


class ServingError(LavaflowError):
    """The service cannot be started, reached or changed (a port in use, a replica that fails to
    start).
    """

    exit_code = 11


class StepFailed(LavaflowError):
    """A step of the chain failed; the message ends with the command that resumes."""

    exit_code = 12


class EndpointError(LavaflowError):
    """A model behind an API does not answer: start it or mend the network, then go on."""

    exit_code = 13
    retryable = True
