"""The whole recipe on a laptop: the pocket world, a tiny base, minutes on two cores.

Out: a `PipelineConfig`. The two stages have the form of LLaVA-1.5's; their numbers were found by
trial on two cores (see each comment), because a model of 5 M parameters learns at other rates than
one of 7 B.
"""

from pathlib import Path

from components.data.config import MIXTURE_SOURCES, ImageSpec, MixtureConfig, PrepareConfig
from components.data.pocket.config import PocketConfig
from components.evaluation.config import LLAVA15_BENCHMARKS, EvaluationConfig
from components.registry.gate import GateConfig
from components.serving.config import ServingConfig
from components.training.config import StageConfig
from workflows.artifacts import SampleQuestions
from workflows.config import BaseConfig, PipelineConfig, RegistryConfig

BASE = Path(__file__).parents[1] / "tiny_base"
IMAGE = ImageSpec(size_px=84, aspect="pad")
# Each computes with one thread. Two of them leave room on two cores for some replicas of a running
# service (0.1 each), so that the next version can be trained beside it.
WORKER_CPUS = 0.75
# Longest mixture row is below this; a longer one would be cut, as at 2048 in the original.
MAX_TOKENS = 512


def tiny() -> PipelineConfig:
    """Everything at once on two cores, without GPU, network or model hub."""
    return PipelineConfig(
        name="tiny",
        description="The pocket world on a laptop: two cores, no GPU, no network, minutes",
        pocket=PocketConfig(),
        base=BaseConfig(
            vision_tower=str(BASE / "vision_tower"),
            language_model=str(BASE / "language_model"),
        ),
        pretrain_data=PrepareConfig(
            stage="pretrain", template="plain", image=IMAGE, max_tokens=MAX_TOKENS
        ),
        finetune_data=PrepareConfig(
            stage="finetune",
            template="vicuna_v1",
            image=IMAGE,
            max_tokens=MAX_TOKENS,
            # Each A-OKVQA row is repeated once per option; all of them would be a third of the
            # mixture.
            mixture=MixtureConfig(sources=MIXTURE_SOURCES, limits={"aokvqa": 1200}),
            validation_share=0.02,
        ),
        pretrain=StageConfig(
            name="pretrain",
            train=("connector",),
            template="plain",
            learning_rate=4e-3,
            global_batch=32,
            epochs=1,
            micro_batch=16,
            zero_stage=2,
            num_workers=2,
            num_cpus_per_worker=WORKER_CPUS,
            checkpoint_every_steps=100,
        ),
        finetune=StageConfig(
            name="finetune",
            train=("connector", "language_model"),
            template="vicuna_v1",
            learning_rate=1e-3,
            global_batch=32,
            epochs=1,
            max_steps=120,  # half an epoch, about 0.6 s each on two cores
            micro_batch=16,
            zero_stage=3,
            num_workers=2,
            num_cpus_per_worker=WORKER_CPUS,
            checkpoint_every_steps=20,
            validate_every_steps=40,
        ),
        evaluation=EvaluationConfig(
            benchmarks=(*LLAVA15_BENCHMARKS, "grocery"),
            text_only_control=True,
            batch_size=64,
            num_actors=2,
            cpus_per_actor=WORKER_CPUS,
        ),
        registry=RegistryConfig(model_name="lavaflow-tiny", gate=GateConfig()),
        serving=ServingConfig(max_new_tokens=256, num_cpus_per_replica=0.1),
        samples=SampleQuestions(
            files=("eval/grocery/questions.jsonl", "eval/vqav2/llava_vqav2_val.jsonl")
        ),
    )
