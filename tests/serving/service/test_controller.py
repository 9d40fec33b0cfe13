"""The private names of Serve that the border to its controller uses."""

from tests.private_names import missing

CLIENT = "ray.serve._private.client:ServeControllerClient"


def test_this_version_of_serve_has_what_is_used_of_it() -> None:
    """Read in ray 2.60. `config["applications"]` is what `get_serve_details` hands back."""
    from ray.serve.schema import ApplicationDetails, ServeDeploySchema, ServeInstanceDetails

    used = {
        "ray.serve.context:_get_global_client": ["raise_if_no_controller_running"],
        f"{CLIENT}.deploy_apps": ["config"],
        f"{CLIENT}.get_serve_details": [],
        f"{CLIENT}.http_config": [],
    }
    assert missing(used) == []
    assert "applications" in ServeDeploySchema.model_fields
    assert "applications" in ServeInstanceDetails.model_fields
    assert "deployed_app_config" in ApplicationDetails.model_fields
