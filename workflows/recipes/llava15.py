"""LLaVA-1.5 at its published scale (arXiv 2310.03744 v2; haotian-liu/LLaVA at c121f043,
scripts/v1_5).

Out: `PipelineConfig`s with the original's numbers. Raw data and base folders are the user's own:
`--set raw_uri=... --set base.vision_tower=... --set base.language_model=...`. Not yet run by this
project.
"""

from components.data.config import MIXTURE_SOURCES, ImageSpec, MixtureConfig, PrepareConfig
from components.data.mixture.published import PUBLISHED_ROWS
from components.evaluation.config import LLAVA15_BENCHMARKS, EvaluationConfig
from components.model.learning.lora_settings import LoraSettings
from components.serving.config import ServingConfig
from components.training.config import StageConfig
from workflows.config import BaseConfig, PipelineConfig, RegistryConfig

CLIP_PX = 336  # openai/clip-vit-large-patch14-336
NUM_GPUS = 8  # one node of eight A100, as published


def llava15_7b() -> PipelineConfig:
    """Vicuna-7B v1.5 under CLIP-L/14-336: 558K captions, then the 665K mixture, on eight GPUs."""
    return PipelineConfig(
        name="llava15_7b",
        description="LLaVA-1.5 7B: 558K + 665K samples on eight GPUs (published: 13.5 h on A100)",
        base=BaseConfig(
            vision_tower="openai/clip-vit-large-patch14-336", language_model="lmsys/vicuna-7b-v1.5"
        ),
        # pretrain.sh passes no image_aspect_ratio: stage 1 crops, stage 2 pads.
        pretrain_data=PrepareConfig(
            stage="pretrain",
            template="plain",
            image=ImageSpec(size_px=CLIP_PX, aspect="crop"),
            max_tokens=2048,
            embed_images=False,
        ),
        finetune_data=PrepareConfig(
            stage="finetune",
            template="vicuna_v1",
            image=ImageSpec(size_px=CLIP_PX, aspect="pad"),
            max_tokens=2048,
            # Appendix A.2: OCR-VQA is sampled. The released file holds fewer Visual Genome images
            # than there are, too; which ones is not published, so they are drawn by seed.
            mixture=MixtureConfig(
                sources=tuple(source for source in MIXTURE_SOURCES if source != "grocery"),
                limits={source: PUBLISHED_ROWS[source] for source in ("ocrvqa", "visual_genome")},
            ),
            embed_images=False,
        ),
        # scripts/v1_5/pretrain.sh
        pretrain=StageConfig(
            name="pretrain",
            train=("connector",),
            template="plain",
            learning_rate=1e-3,
            global_batch=256,
            micro_batch=32,
            zero_stage=2,
            num_workers=NUM_GPUS,
            num_cpus_per_worker=8,
            loader_threads=4,
            num_gpus_per_worker=1,
            # The original writes none before the end; 2,180 steps take some hours.
            checkpoint_every_steps=200,
            activation_checkpointing=True,
        ),
        # scripts/v1_5/finetune.sh, without its group_by_modality_length: a batch holds rows with
        # and without images, dealt out by length. The paper (appendix A.2) found a gain in speed
        # in groups of one kind, none in quality.
        finetune=StageConfig(
            name="finetune",
            train=("connector", "language_model"),
            template="vicuna_v1",
            learning_rate=2e-5,
            global_batch=128,
            micro_batch=16,
            zero_stage=3,
            num_workers=NUM_GPUS,
            num_cpus_per_worker=8,
            loader_threads=4,
            num_gpus_per_worker=1,
            checkpoint_every_steps=500,
            activation_checkpointing=True,
        ),
        # model_vqa_loader.py: fp16, greedy.
        evaluation=EvaluationConfig(
            benchmarks=LLAVA15_BENCHMARKS,
            dtype="float16",
            batch_size=16,
            num_actors=NUM_GPUS,
            gpus_per_actor=1,
        ),
        registry=RegistryConfig(model_name="llava15-7b"),
        # On several nodes the proxy must listen beyond the loopback of the node that deploys.
        serving=ServingConfig(
            host="0.0.0.0", dtype="bfloat16", num_gpus_per_replica=1, num_cpus_per_replica=4
        ),
    )


def llava15_7b_lora() -> PipelineConfig:
    """The same with LoRA in the second stage: scripts/v1_5/finetune_lora.sh (fits 24 GB cards)."""
    return _with_lora(llava15_7b(), "llava15_7b_lora", "7B")


def llava15_13b_lora() -> PipelineConfig:
    """Vicuna-13B v1.5 with LoRA in the second stage: scripts/v1_5/finetune_lora.sh."""
    return _with_lora(llava15_13b(), "llava15_13b_lora", "13B")


def llava15_7b_h200x1() -> PipelineConfig:
    """The 7B recipe on one GPU of 141 GB: the same batches, cut into packs of a token budget.

    Differs from the original where one GPU must: packs of whole samples in place of 32 and 16
    samples at once, and no activation checkpointing in stage 1, whose frozen language model leaves
    room for 16,384 tokens. Stage 2 keeps ZeRO-3: on one GPU it splits nothing, but its optimizer
    step goes group by group; `lavaflow plan` estimates 112 GiB, and 143 GiB, too much, for ZeRO-2.
    Not yet run.
    """
    recipe = llava15_7b()
    one = {"num_workers": 1, "num_cpus_per_worker": 14, "loader_threads": 8}
    return recipe.with_(
        name="llava15_7b_h200x1",
        description="LLaVA-1.5 7B on one GPU of 141 GB: the same recipe, packed",
        pretrain=recipe.pretrain.with_(
            **one, pack_tokens=16_384, activation_checkpointing=False, checkpoint_every_s=1_800
        ),
        finetune=recipe.finetune.with_(**one, pack_tokens=8_192, checkpoint_every_s=1_800),
        evaluation=recipe.evaluation.with_(num_actors=1),
        registry=RegistryConfig(model_name="llava15-7b"),
    )


def _with_lora(recipe: PipelineConfig, name: str, size: str) -> PipelineConfig:
    return recipe.with_(
        name=name,
        description=f"LLaVA-1.5 {size} with LoRA in the second stage, on eight GPUs",
        # finetune_lora.sh: LoRA 2e-4, connector 2e-5 (mm_projector_lr), rank 128, alpha 256.
        finetune=recipe.finetune.with_(
            learning_rate=2e-4, connector_learning_rate=2e-5, lora=LoraSettings()
        ),
        registry=RegistryConfig(model_name=f"{recipe.registry.model_name}-lora"),
    )


def llava15_13b() -> PipelineConfig:
    """Vicuna-13B v1.5; the same scripts (published: 5.5 + 20 h on eight A100)."""
    recipe = llava15_7b()
    return recipe.with_(
        name="llava15_13b",
        description="LLaVA-1.5 13B: the same recipe (published: 25.5 h on A100)",
        base=recipe.base.with_(language_model="lmsys/vicuna-13b-v1.5"),
        registry=RegistryConfig(model_name="llava15-13b"),
    )
