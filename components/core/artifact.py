"""What a step leaves behind: a folder in the store, its digest, and a typed record about it.

In: the body a step function returns. Out: the same body with `uri` and `digest` filled in by the step
layer, which also writes the manifest. Each floor defines its own bodies (prepared data, a model
checkpoint, scores ...) as subclasses; this module knows none of them.
"""

from pydantic import Field

from components.core.config import Config


class Artifact(Config):
    """A published output of a step. Subclasses add typed fields; a step function returns one with `uri` empty."""

    uri: str = Field(default="")
    """Folder of the artifact's files in the store; filled in when the step publishes."""
    digest: str = Field(default="")
    """sha256 over the manifest and the typed fields: equal content, equal digest, wherever it lies."""
