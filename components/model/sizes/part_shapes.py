"""The sizes of the three parts of a LLaVA and the number of their parameters.

In: widths, heads and layers. Out: parameters and matrix elements by arithmetic; no file is read
(`shapes.py` does), no module built. Reference: the modules of transformers 5.23 (llama, mistral,
qwen2, qwen3, phi3; clip, siglip) and `connectors.py`, whose parameters the tests count.
"""

from dataclasses import dataclass

from components.model.connector_names import ConnectorKind


@dataclass(frozen=True)
class LanguageShape:
    """A decoder of the Llama family: gated feed-forward, grouped heads, RMSNorm."""

    kind: str
    layers: int
    width: int
    ffn_width: int
    heads: int
    kv_heads: int
    head_width: int
    rows: int
    """Rows of the vocabulary, with the new tokens and rounded."""
    tied: bool
    """Whether the head's matrix is that of the embeddings."""
    biases: int
    """Bias elements of a layer."""
    head_norms: bool
    """Whether queries and keys have a norm of their own (Qwen3)."""

    @property
    def attention_width(self) -> int:
        """Width of the queries of all heads."""
        return self.heads * self.head_width

    @property
    def layer_matrices(self) -> int:
        """Elements of a layer's matrices."""
        kv_width = self.kv_heads * self.head_width
        attention = self.width * (2 * self.attention_width + 2 * kv_width)
        return attention + 3 * self.width * self.ffn_width

    @property
    def body(self) -> int:
        """Parameters of all layers and of the last norm."""
        norms = 2 * self.width + (2 * self.head_width if self.head_norms else 0)
        return self.layers * (self.layer_matrices + norms + self.biases) + self.width

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding table."""
        return self.rows * self.width

    def adapters(self, rank: int) -> int:
        """Parameters of LoRA adapters on all linear layers (`lora.add_lora`)."""
        queries, keys = self.attention_width, self.kv_heads * self.head_width
        if self.kind == "phi3":  # one linear for queries, keys and values, one for gate and up
            ends = self.width + queries + 2 * keys + self.width + 2 * self.ffn_width
        else:
            ends = 3 * self.width + queries + 2 * keys + 2 * (self.width + self.ffn_width)
        ends += queries + self.width + self.ffn_width + self.width
        return self.layers * rank * ends


@dataclass(frozen=True)
class VisionShape:
    """A CLIP or SigLIP tower."""

    kind: str
    layers: int
    width: int
    ffn_width: int
    image_px: int
    patch_px: int
    channels: int
    pools: bool
    """Whether it has an attention pool behind its layers (SigLIP), which a LLaVA never runs."""

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.image_px // self.patch_px) ** 2

    @property
    def has_class_token(self) -> bool:
        """Whether a class token goes before the patches, as in CLIP."""
        return self.kind == "clip_vision_model"

    @property
    def positions(self) -> int:
        """Positions within the tower."""
        return self.patches + self.has_class_token

    @property
    def parameters(self) -> int:
        """Parameters of the whole tower, those behind the layer that is read included."""
        width, ffn = self.width, self.ffn_width
        norm = 2 * width
        mlp = 2 * width * ffn + ffn + width
        layer = 4 * width * width + 4 * width + mlp + 2 * norm
        patch = width * self.channels * self.patch_px**2
        around = patch + self.positions * width
        if self.has_class_token:
            around += width + 2 * norm  # class token; norms before and after the layers
        else:
            around += width + norm  # bias of the patches; norm after the layers
        pool = width + 4 * width * width + 4 * width + norm + mlp if self.pools else 0
        return self.layers * layer + around + pool


@dataclass(frozen=True)
class ConnectorShape:
    """What turns the tower's patches into positions of the language model."""

    form: ConnectorKind
    patch_width: int
    """Width of what it reads: the tower's, once per layer that is read."""
    width: int
    """Width of the language model."""

    @property
    def parameters(self) -> int:
        """Parameters in all."""
        first, square = self.patch_width * self.width, self.width**2 + self.width
        if self.form.kind == "identity":
            return 0
        if self.form.kind == "mlp":
            return first + self.width + (self.form.count - 1) * square
        # Queries; patches without bias; query, key, value, attended, projection; three norms
        return self.form.count * self.width + first + 5 * square + 6 * self.width

    def products(self, patches: int) -> tuple[int, int]:
        """Multiply-adds for one image: of the matrix on the patches, and of all behind it."""
        if self.form.kind == "identity":
            return 0, 0
        first, square = patches * self.patch_width * self.width, self.width**2
        if self.form.kind == "mlp":
            return first, (self.form.count - 1) * patches * square
        # Keys and values of patches; attended and projection of queries; scores and values. The
        # queries' own matrix runs once a batch, not once an image.
        queries = self.form.count
        attention = 2 * queries * patches * self.width
        return first, 2 * (patches + queries) * square + attention
