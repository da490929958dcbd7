"""What a user fills in: the keys of `marey cluster init`, with their types, defaults and limits; the only place."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

TEXT = re.compile(r"[\w@%+=:,./~-]+", re.ASCII)
"""Values that mean the same in YAML, in a shell and in an address; passwords do not belong into a definition."""
LABEL = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
"""Names that every object of Kubernetes can carry, also with an ending."""


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What the keys of all targets have in common."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int):
                if value < 0:
                    raise ValueError(f"{field.name} must be at least 0, not {value}")
            elif value != field.default and not TEXT.fullmatch(value):
                raise ValueError(
                    f"{field.name} must be one word of ASCII letters, digits and @%+=:,./~-_, not {value!r}"
                )


@dataclass(frozen=True, kw_only=True)
class Slurm(Keys):
    """The keys of `slurm`. Variables of the environment of `sbatch` win over them, and its options over all."""

    partition: str = ""
    """Partition of the jobs; the cluster's own default where it is empty."""
    account: str = ""
    """Account that the jobs are charged to; likewise."""
    venv: str = "$SLURM_SUBMIT_DIR/.venv"
    """Environment with marey, under the same path on all nodes."""
    workspace: str = "$SLURM_SUBMIT_DIR/marey-work"
    """Where runs and checkpoints go."""
    mlflow: str = ""
    """The MLflow server, which jobs on several nodes need."""

    def fill(self, text: str) -> str:
        """Return one of the .sbatch files, which are complete without values, with these."""
        for variable, value in (
            ("MAREY_VENV", self.venv),
            ("MAREY_WORK", self.workspace),
            ("MLFLOW_TRACKING_URI", self.mlflow),
        ):
            start = f"${{{variable}:-"
            before, _, after = text.partition(start)
            text = f"{before}{start}{value}}}{after.partition('}')[2]}"
        options = {"partition": self.partition, "account": self.account}
        lines = "".join(f"#SBATCH --{name}={value}\n" for name, value in options.items() if value)
        return text.replace("#SBATCH --job-name", f"{lines}#SBATCH --job-name", 1)


@dataclass(frozen=True, kw_only=True)
class Definition(Keys):
    """The keys of every other target."""

    images: str
    """Registry and name of the images that `make images` builds, without a tag: registry.example.com/me/marey."""
    workspace: str
    """Where runs and checkpoints go: an address such as s3://bucket/work, or a folder that all machines see."""
    name: str = "marey"
    """Name of the cluster, and beginning of the names of all that belongs to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not LABEL.fullmatch(self.name):
            raise ValueError(
                f"name must have at most 30 characters, small letters, digits and hyphens, not {self.name}"
            )
        if ":" in self.images.rpartition("/")[2]:
            raise ValueError(f"images must have no tag, which `make images` sets (:cpu, :cuda): {self.images}")
        if "://" in self.workspace and "@" in self.workspace:
            raise ValueError("workspace must be an address without a password or key")


@dataclass(frozen=True, kw_only=True)
class Workers:
    """The keys of targets that start workers for jobs, and end them."""

    cpu_workers: int = 8
    """Most machines without GPUs at once."""
    gpu_workers: int = 4
    """Most machines with GPUs at once."""
    cpu_worker_cpus: int = 8
    """CPUs of a machine without GPUs."""
    gpu_worker_cpus: int = 8
    """CPUs of a machine with GPUs."""
    gpu_worker_gpus: int = 1
    """GPUs of a machine with GPUs."""
    idle_seconds: int = 300
    """Seconds after which an idle machine is given back."""
    disk_gb: int = 200
    """Disk of each machine, in gigabytes, for shards being made and the cache of shards."""

    @property
    def max_resources(self) -> str:
        """What all workers have together, as MAREY_MAX_RESOURCES takes it."""
        cpus = self.cpu_workers * self.cpu_worker_cpus + self.gpu_workers * self.gpu_worker_cpus
        return f"CPU={cpus},GPU={self.gpu_workers * self.gpu_worker_gpus}"


@dataclass(frozen=True, kw_only=True)
class Kuberay(Workers, Definition):
    """The keys of `kuberay`."""

    run: str = "marey-run"
    """Name of the run that the RayJob makes; a job with the name of an earlier run resumes it."""
    head_cpus: int = 2
    """CPUs of the head, where the drivers of jobs run."""
    head_memory_gb: int = 8
    """Memory of the head."""
    cpu_worker_memory_gb: int = 16
    """Memory of a worker without GPUs."""
    gpu_worker_memory_gb: int = 32
    """Memory of a worker with GPUs."""
    retries: int = 3
    """Times that a failed RayJob starts again, on a new cluster, and resumes."""
    deadline_seconds: int = 172_800
    """Seconds after which a RayJob is ended."""
    spot_label: str = "karpenter.sh/capacity-type"
    """Label by which spot nodes are known; docs/cluster/kubernetes.md lists those of other clouds."""
    spot_value: str = "spot"
    """Value of that label."""
    database_gb: int = 20
    """Disk of the MLflow database."""


@dataclass(frozen=True, kw_only=True)
class RayUp(Definition):
    """The keys of both targets of `ray up`."""

    mlflow: str
    """The MLflow server, as all machines reach it: http://10.0.0.2:5000."""
    token: str = "~/.ray/auth_token"
    """File of this machine with the token that every request to the cluster must bring."""
    mlflow_login: str = "~/.mlflow/credentials"
    """File of this machine with the name and password for the MLflow server."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "@" in self.mlflow:
            raise ValueError("mlflow must be an address without a password, which belongs into the file mlflow_login")


@dataclass(frozen=True, kw_only=True)
class Aws(Workers, RayUp):
    """The keys of `aws`."""

    ami: str
    """Machine image with docker and NVIDIA's driver: a Deep Learning Base AMI with Ubuntu."""
    instance_profile: str
    """ARN of the profile with which machines use the bucket, and the head starts and ends machines."""
    region: str = "us-west-2"
    """Region of AWS."""
    head_type: str = "m7i.large"
    """Machine type of the head."""
    cpu_type: str = "c7i.2xlarge"
    """Machine type without GPUs; cpu_worker_cpus says what it has."""
    gpu_type: str = "g6.2xlarge"
    """Machine type with GPUs; gpu_worker_cpus and gpu_worker_gpus say what it has."""

    @property
    def most_workers(self) -> int:
        """Most machines at once, the head aside."""
        return self.cpu_workers + self.gpu_workers

    @property
    def idle_minutes(self) -> float:
        """`idle_seconds`, as `ray up` takes it."""
        return self.idle_seconds / 60


@dataclass(frozen=True, kw_only=True)
class OnPremise(RayUp):
    """The keys of `on-premise`."""

    head: str
    """Address of the head, as the other machines reach it."""
    workers: str
    """Addresses of the other machines, with commas between them."""
    shared: str = "/shared"
    """Folder that all machines have under the same path, for videos and datasets."""
    tag: str = "cpu"
    """The image that all machines run: cpu or cuda."""
    ssh_user: str = "ubuntu"
    """Account on all machines, with the number 1000 as in the images, that may use docker."""
    ssh_key: str = "~/.ssh/id_ed25519"
    """File of this machine with the key for that account."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tag not in ("cpu", "cuda"):
            raise ValueError(f"tag must be cpu or cuda, not {self.tag}")
        if not all(self.workers.split(",")):
            raise ValueError(f"workers must be addresses with one comma between them, not {self.workers}")

    @property
    def worker_list(self) -> str:
        """The items of a list in YAML."""
        return ", ".join(f'"{address}"' for address in self.workers.split(","))
