"""The private names of Ray and DeepSpeed that training uses, and what stays where they are gone."""

import inspect

import pytest

from components.training import ray_internals
from tests.private_names import missing

CALLBACKS = "ray.train.v2._internal.callbacks"
POLICY = "ray.train.v2._internal.execution.scaling_policy:FixedScalingPolicy"
TRAINER = "ray.train.v2.api.data_parallel_trainer:DataParallelTrainer"


def test_this_version_of_ray_has_what_is_used_of_it() -> None:
    """Read in ray 2.60. The callbacks and switches are told by their names."""
    used = {
        "ray._private.state:state.get_max_resources_from_cluster_config": [],
        "ray._private.state:state._connect_and_get_accessor": [],
        "ray._raylet:GlobalStateAccessor.get_placement_group_table": [],
        "ray._private.services:get_webui_url_from_internal_kv": [],
        f"{TRAINER}._create_default_callbacks": [],
        f"{TRAINER}._initialize_and_run_controller": [],
        "ray.train.v2._internal.execution.controller:TrainController": ["scaling_policy"],
        POLICY: ["scaling_config"],
        f"{POLICY}._send_resource_request": [],
        f"{POLICY}._maybe_send_resource_request": [],
        f"{POLICY}._cancel_resource_request": [],
        f"{CALLBACKS}.datasets:DatasetsCallback": [],
        f"{CALLBACKS}.placement_group_callback:PlacementGroupCleanerCallback": [],
        "ray.train.v2._internal.constants:CHECKPOINT_MANAGER_SNAPSHOT_FILENAME": [],
        "ray.train.v2._internal.exceptions:CheckpointManagerInitializationError": [],
    }
    assert missing(used) == []
    from ray.core.generated.gcs_pb2 import PlacementGroupTableData
    from ray.train.v2._internal import constants

    fields = {"placement_group_id", "creator_actor_dead", "is_detached", "state"}
    assert fields <= set(PlacementGroupTableData.DESCRIPTOR.fields_by_name)
    assert "REMOVED" in PlacementGroupTableData.PlacementGroupState.keys()  # noqa: SIM118 -- protobuf
    switches = {value for value in vars(constants).values() if isinstance(value, str)}
    assert {
        "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER",
    } <= switches


def test_this_version_of_deepspeed_has_what_is_used_of_it() -> None:
    """Read in deepspeed 0.19. What an instance holds is looked for in the source of its class."""
    from components.training.engines.deepspeed_engine import import_deepspeed

    import_deepspeed(use_gpu=False)
    zero = "deepspeed.runtime.zero"
    used = {
        "deepspeed.ops:__compatible_ops__": [],
        "deepspeed.runtime.compiler:compile": [],
        "deepspeed.runtime.compiler:dummy_decorator": [],
        f"{zero}.muon.muon_optimizer": [],
        "deepspeed:DeepSpeedEngine.set_gradient_accumulation_boundary": ["is_boundary"],
        "deepspeed:DeepSpeedEngine.backward": [],
        "deepspeed:DeepSpeedEngine.get_global_grad_norm": [],
        "deepspeed.utils:safe_get_full_fp32_param": [],
        "deepspeed.utils:safe_get_full_optimizer_state": [],
        "deepspeed.utils:safe_set_full_fp32_param": [],
        "deepspeed.utils:safe_set_full_optimizer_state": [],
        "deepspeed.utils:safe_set_local_fp32_param": [],
        "deepspeed.utils:safe_set_local_optimizer_state": [],
        f"{zero}.stage3:DeepSpeedZeroOptimizer_Stage3.get_local_fp32_param": [],
        f"{zero}.stage_1_and_2:DeepSpeedZeroOptimizer._lazy_init_hp_params_optimizer_state": [],
    }
    assert missing(used) == []
    from deepspeed.runtime import engine
    from deepspeed.runtime.zero import partition_parameters, stage3, stage_1_and_2
    from deepspeed.utils import mixed_precision_linkage

    held = {
        "scale_wrt_gas": engine,  # its decorator hides the parameters of `backward`
        "self.fp32_partitioned_groups_flat": stage3,
        "self.single_partition_of_fp32_groups": stage_1_and_2,
        ".ds_tensor": partition_parameters,
        "._hp_mapping": mixed_precision_linkage,
    }
    gone = [name for name, where in held.items() if name not in inspect.getsource(where)]
    assert gone == []


def test_without_the_private_names_training_behaves_like_plain_ray_train(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another version took away costs time or a clean-up, not the run."""
    state = pytest.importorskip("ray._private.state")
    services = pytest.importorskip("ray._private.services")
    monkeypatch.setattr(state, "state", object())
    monkeypatch.setattr(services, "get_webui_url_from_internal_kv", lambda: 1 / 0)
    assert ray_internals.autoscaler_limits() == {}
    assert ray_internals.orphaned_groups() == []
    assert ray_internals._surplus_callbacks(has_datasets=True) == set()
