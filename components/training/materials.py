"""What a stage works on: the model it starts from, the batches it sees, the folder it leaves.

In: paths and the stage's settings. Out: opened model, loader and writer. This is the one place
where training meets the model and data floors; everything heavy is imported inside functions.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from components.core.errors import CheckpointError, ConfigError
from components.training.config import BasePaths, StageConfig
from components.training.engines.precision import autocasts

if TYPE_CHECKING:
    from torch import nn

    from components.data.config import ImageSpec, PreparedData
    from components.data.loader.loader import Batch, Loader
    from components.model.learning.freeze import Trainable
    from components.model.sizes.shapes import LlavaShapes
    from components.training.engines.engine import SummedLoss


log = logging.getLogger(__name__)

IMAGE_CACHE = ".cache/lavaflow/images"
"""Where images of an object store are kept on a worker's machine, below the home folder."""


Locate = Callable[[], Path]
"""Brings a folder to the machine on which it is called; picklable."""


class BatchSource(Protocol):
    """Yields one rank's share of each global batch, from any step on."""

    num_steps: int

    def batches(self, start_step: int = 0) -> "Iterator[Batch]":
        """Yield the share of global batch `start_step`, `start_step + 1`, ..."""
        ...


@dataclass(frozen=True)
class OpenedModel:
    """A model in memory with all that is needed to read its data and to save it again."""

    model: Any
    tokenizer: Any
    image_spec: "ImageSpec"
    image_token_id: int
    pad_token_id: int
    patches_per_image: int

    def set_up(self, config: StageConfig) -> "Trainable":
        """Freeze what does not learn in the stage, add adapters, and return the counts."""
        from components.model.learning.freeze import count_parameters, freeze_for_stage
        from components.model.learning.lora import add_lora

        freeze_for_stage(self.model, config.train)
        if config.lora is not None:
            add_lora(self.model, config.lora, config.seed)
        return count_parameters(self.model)

    def summed_loss(self, config: StageConfig) -> "SummedLoss":
        """Return the module that an engine trains, in the stage's precision on this machine."""
        from components.training.engines.engine import SummedLoss

        autocast = autocasts(config)
        if autocast:
            self.autocast_on_cpu()
        return SummedLoss(self.loss_module(), autocast)

    def autocast_on_cpu(self) -> None:
        """Make the model ready for bf16 products on a CPU, where its weights stay fp32.

        Parts of which nothing learns are kept in bf16, as on a GPU: the products take them so in
        any case, and a cast of each weight in each pass is saved (stage 1: 8% more samples/s). What
        learns stays exact.
        """
        import torch

        from components.model.attention.cpu_attention import half_positions
        from components.model.learning.freeze import part_modules

        for modules in part_modules(self.model).values():
            if not any(p.requires_grad for module in modules for p in module.parameters()):
                for module in modules:
                    module.to(torch.bfloat16)
        half_positions(self.model.model.language_model)
        # Torch's fused attention is slow in bf16 on a CPU, its backward most of all. Measured at
        # 130 tokens, width 192, one core: a step of 0.35 s not 0.46 s; stage 1 0.27, 0.36.
        self.model.set_attn_implementation("eager")

    def loss_module(self) -> "nn.Module":
        """Return the module whose forward is the loss; it shares the model's weights."""
        from components.model.loss import LossModel

        return LossModel(self.model, self.image_spec)


@dataclass(frozen=True)
class Materials:
    """Where a stage's model and data are; only addresses and settings, so it travels to workers.

    All but `located` wants the paths of this machine.
    """

    start: BasePaths | str | Locate
    """The two base parts, or the LLaVA folder an earlier stage left."""
    data: str | Locate
    """Folder of the prepared data."""

    def located(self) -> "Materials":
        """Return the same on this machine: what lies elsewhere is copied here, once a machine.

        Raises ArtifactError, ConfigError or StoreError for what cannot be had.
        """
        from components.model.folders import local_folder

        start = self.start
        if isinstance(start, BasePaths):
            here: BasePaths | str = start.with_(
                vision_tower_path=str(local_folder(start.vision_tower_path)),
                language_model_path=str(local_folder(start.language_model_path)),
            )
        else:
            here = _path(start)
        return replace(self, start=here, data=_path(self.data))

    @property
    def data_path(self) -> str:
        """Folder of the prepared data on this machine."""
        assert isinstance(self.data, str), "not located yet"
        return self.data

    def open_model(self, config: StageConfig) -> OpenedModel:
        """Return the model the stage starts from: fp32, on the CPU, nothing frozen yet."""
        from components.model import build, checkpoint
        from components.model.tokenizer import check_positions

        prepared, start = self._prepared(), self._start()
        if isinstance(start, BasePaths):
            check_positions(start.language_model_path, prepared.max_tokens)
            parts = build.build_llava(
                start.vision_tower_path,
                start.language_model_path,
                connector=start.connector,
                feature_layer=start.feature_layer,
                select=start.select,
                seed=config.seed,
            )
            model, tokenizer = parts.model, parts.tokenizer
            image_token_id, patches = parts.image_token_id, build.patches_per_image(model.config)
        else:
            loaded = checkpoint.load_checkpoint(start, dtype="float32", device="cpu")
            check_positions(start, prepared.max_tokens)
            model, tokenizer = loaded.model, loaded.tokenizer
            image_token_id, patches = loaded.image_token_id, loaded.patches_per_image
        self._check(prepared, config, image_token_id, patches)
        return OpenedModel(
            model, tokenizer, prepared.image, image_token_id, int(tokenizer.pad_token_id), patches
        )

    def open_batches(
        self, opened: OpenedModel, config: StageConfig, rank: int, world_size: int
    ) -> BatchSource:
        """Return this rank's share of every global batch."""
        return self._loader(opened, config, rank, world_size)

    def shapes(self) -> "LlavaShapes | None":
        """Return the sizes of the model, or None for a kind whose sizes are not known."""
        from components.model.sizes.shapes import read_llava_shapes, read_shapes

        start = self._start()
        try:
            if isinstance(start, BasePaths):
                return read_shapes(
                    start.vision_tower_path,
                    start.language_model_path,
                    start.connector,
                    start.feature_layer,
                    start.select,
                )
            return read_llava_shapes(start)
        except (CheckpointError, ConfigError) as error:
            log.info("arithmetic and memory are not told: %s", error)
            return None

    def fit_memory(self, config: StageConfig, num_workers: int, gpu_bytes: int) -> StageConfig:
        """Return the stage with a micro-batch that fits into GPUs of so many bytes.

        Raises ConfigError, with advice, where none does.
        """
        from components.training.planning.memory_fit import fit

        shapes, prepared = self.shapes(), self._prepared()
        if shapes is None or not prepared.num_rows:
            return config
        rows = prepared.num_rows + prepared.num_validation
        images = min(1.0, prepared.num_images / rows)
        return fit(shapes, config, num_workers, gpu_bytes, prepared.num_tokens / rows, images)

    def open_validation(
        self, opened: OpenedModel, config: StageConfig, rank: int, world_size: int
    ) -> BatchSource | None:
        """Return this rank's share of the held-out rows, or None where none are held out."""
        from components.data.shards import VALIDATION

        if self._prepared().num_validation < world_size:
            return None
        return self._loader(opened, config, rank, world_size, kind=VALIDATION, drop_last=False)

    def content_digest(self) -> str:
        """Return the digest of the prepared rows and images."""
        return self._prepared().content_digest

    def sources(self) -> list[str]:
        """Return the names of the data's sources, in the same order everywhere."""
        return sorted(self._prepared().sources)

    def write_model(
        self, opened: OpenedModel, config: StageConfig, folder: Path, facts: dict[str, Any]
    ) -> None:
        """Write the model as an ordinary LLaVA folder, in bf16 unless the stage ran in fp32."""
        import torch

        from components.model import checkpoint
        from components.model.learning.lora import merge_lora

        if config.lora is not None:
            # Before the weights are rounded, which would lose small changes.
            merge_lora(opened.model)
        if config.precision == "bf16":
            opened.model.to(torch.bfloat16)
        checkpoint.save(
            opened.model,
            opened.tokenizer,
            folder,
            opened.image_spec,
            config.template,
            extra={"stage": config.canonical(), **facts},
        )

    def _loader(
        self,
        opened: OpenedModel,
        config: StageConfig,
        rank: int,
        world_size: int,
        **options: Any,
    ) -> "Loader":
        from components.data.loader.image_cache import ImageCache
        from components.data.loader.loader import Loader

        return Loader(
            self.data_path,
            global_batch=config.global_batch,
            pad_token_id=opened.pad_token_id,
            rank=rank,
            world_size=world_size,
            seed=config.seed,
            epochs=config.epochs if not options else 1,
            pack_tokens=config.pack_tokens,
            num_threads=config.loader_threads,
            image_cache=ImageCache(Path.home() / IMAGE_CACHE, config.image_cache_bytes),
            **options,
        )

    def _start(self) -> BasePaths | str:
        assert not callable(self.start), "not located yet"
        return self.start

    def _prepared(self) -> "PreparedData":
        from components.data.shards import read_prepared

        return read_prepared(self.data_path)

    def _check(
        self, prepared: "PreparedData", config: StageConfig, image_token_id: int, patches: int
    ) -> None:
        found = {
            "template": (prepared.template, config.template),
            "image_token_id": (prepared.image_token_id, image_token_id),
            "patches_per_image": (prepared.patches_per_image, patches),
        }
        for name, (in_data, wanted) in found.items():
            if in_data != wanted:
                raise ConfigError(
                    f"{self.data_path}: prepared with {name}={in_data!r}, but {config.name} works "
                    f"with {wanted!r}; prepare the data with the same base models and template"
                )


def _path(where: str | Locate) -> str:
    return str(where()) if callable(where) else where
