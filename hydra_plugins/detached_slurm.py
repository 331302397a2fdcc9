"""Hydra's launcher behind hydra/launcher=slurm; Hydra looks for plugins in packages of this folder's name.

Its options are hydra-submitit-launcher's, and those below; configs/hydra/launcher/slurm.yaml says what each is for.
That launcher waits for its jobs; this one hands the sweep's workers to Slurm and ends (scripts/slurm/submit.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.config import SlurmQueueConf
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import SlurmLauncher


@dataclass
class DetachedSlurmConf(SlurmQueueConf):
    _target_: str = "hydra_plugins.detached_slurm.DetachedSlurmLauncher"
    wait: bool = False
    deaths: int = 3
    python: str | None = None
    srun_args: list[str] = field(default_factory=list)


class DetachedSlurmLauncher(SlurmLauncher):
    """Submits one job for each worker of a sweep."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        from scripts.slurm.submit import submit  # Hydra imports every plugin whatever the command

        assert self.config is not None
        options: dict[str, Any] = dict(self.params)
        submit(options, [list(overrides) for overrides in job_overrides], self.config)
        return []


ConfigStore.instance().store(
    group="hydra/launcher", name="detached_slurm", node=DetachedSlurmConf, provider="detached_slurm"
)
