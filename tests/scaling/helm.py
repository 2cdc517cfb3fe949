"""What Dagster's chart renders from `deploy/helm-values.yaml`; helm itself is not run."""

from typing import Any

import yaml

from tests.projects import REPOSITORY

DAGSTER_HOME = "/opt/dagster/dagster_home"
# Of a release that is called `dagster`.
CODE_LOCATIONS = "dagster-dagster-user-deployments"


def read_values() -> dict[str, Any]:
    """The values."""
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "deploy/helm-values.yaml").read_text())
    return found


def instance_settings(values: dict[str, Any]) -> dict[str, Any]:
    """The `dagster.yaml` of webserver, daemon and runs."""
    launcher = values["runLauncher"]["config"]["k8sRunLauncher"]
    database = values["postgresql"]
    secret = values["global"]["postgresqlSecretName"]
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    assert values["dagsterDaemon"]["runCoordinator"] == {"enabled": False}
    return {
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": {
                "load_incluster_config": True,
                "job_namespace": "default",
                "image_pull_policy": "Always",
                "service_account_name": "dagster",
                "dagster_home": DAGSTER_HOME,
                "instance_config_map": "dagster-instance",
                "postgres_password_secret": secret,
                "resources": launcher["resources"],
                "security_context": launcher["securityContext"],
                "run_k8s_config": _snake(launcher["runK8sConfig"]),
            },
        },
        "storage": {
            "postgres": {
                "postgres_db": {
                    "username": database["postgresqlUsername"],
                    "password": {"env": "DAGSTER_PG_PASSWORD"},
                    "hostname": database["postgresqlHost"],
                    "db_name": database["postgresqlDatabase"],
                    "port": database["service"]["port"],
                    "params": {},
                }
            }
        },
        "run_monitoring": {
            "enabled": monitoring["enabled"],
            "start_timeout_seconds": monitoring["startTimeoutSeconds"],
            "max_resume_run_attempts": monitoring["maxResumeRunAttempts"],
            "poll_interval_seconds": monitoring["pollIntervalSeconds"],
            "free_slots_after_run_end_seconds": monitoring["freeSlotsAfterRunEndSeconds"],
        },
        "telemetry": values["telemetry"],
        **values["additionalInstanceConfig"],
    }


def container_context(values: dict[str, Any]) -> dict[str, Any]:
    """What the code location hands on to its runs and their steps."""
    (location,) = values["dagster-user-deployments"]["deployments"]
    assert location["includeConfigInLaunchedRuns"] == {"enabled": True}
    return {
        "k8s": {
            "image_pull_policy": location["image"]["pullPolicy"],
            "env_config_maps": [f"{CODE_LOCATIONS}-{location['name']}-user-env"],
            "env_secrets": [secret["name"] for secret in location["envSecrets"]],
            "volume_mounts": location["volumeMounts"],
            "volumes": location["volumes"],
            "namespace": "default",
            "service_account_name": f"{CODE_LOCATIONS}-user-deployments",
            "run_k8s_config": {"pod_spec_config": {"automount_service_account_token": True}},
        }
    }


def _snake(config: dict[str, Any]) -> dict[str, Any]:
    """`podSpecConfig` as `pod_spec_config`; what is below it is Kubernetes' and stays."""
    return {
        "".join(f"_{c.lower()}" if c.isupper() else c for c in key): value
        for key, value in config.items()
    }
