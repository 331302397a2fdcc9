"""What was submitted: one small file for each submission, `paths.work`/slurm/TIME-SWEEP/submission.json."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from della.files import write_atomically


@dataclass(frozen=True)
class Submission:
    """Jobs that were submitted together: their number, on which cluster, for which sweep, where their logs are.

    submitted: seconds since 1970. arguments: of the first worker.
    """

    job: str
    cluster: str | None
    sweep: str
    experts: str
    select: str
    workers: int
    submitted: float
    arguments: list[str]
    folder: str

    def write(self) -> None:
        """Puts it into its folder."""
        write_atomically(Path(self.folder) / "submission.json", (json.dumps(asdict(self), indent=1) + "\n").encode())


def submissions(work: Path) -> list[Submission]:
    """What was submitted, the oldest first; a file that cannot be read is left out."""
    found = []
    for path in sorted(work.glob("slurm/*/submission.json")):
        try:
            found.append(Submission(**json.loads(path.read_bytes())))
        except (OSError, ValueError, TypeError):
            continue
    return sorted(found, key=lambda submission: submission.submitted)
