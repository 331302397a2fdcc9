"""A Slurm cluster of one node on this machine, for tests: real daemons, on loopback, in a folder of their own.

    with Cluster(folder) as cluster:
        cluster.ask("sinfo")
        subprocess.run(command, env=cluster.environment)

Needs root and Debian's packages slurm-wlm and munge. Its clocks are quick: a requeued job may start again after
REQUEUE_SECONDS (Slurm's default: 121), a process that a signal does not end is killed after KILL_SECONDS.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CPUS = 8  # as many jobs may run at once, however many cores there are
REQUEUE_SECONDS, KILL_SECONDS = 6, 4
CONF = """
ClusterName=onenode
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={daemon}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire={requeue}
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
MpiDefault=none
ReturnToService=2
KillWait={kill}
OverTimeLimit=0
MailProg=/bin/true
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why no cluster can be started here; None if one can."""
    if absent := [name for name in PROGRAMS if not shutil.which(name, path=_path())]:
        return f"{', '.join(absent)}: not installed (apt-get install slurm-wlm munge)"
    return None if os.getuid() == 0 else "a cluster for tests is started by root"


class Cluster:
    """Started on entry, ended on exit with everything that it ran."""

    def __init__(self) -> None:
        self.host = socket.gethostname().split(".")[0]
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # short: a socket's path has at most 107 characters
        self.environment = {**os.environ, "PATH": _path(), "SLURM_CONF": str(self.folder / "slurm.conf")}
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(subprocess.SubprocessError, OSError, AssertionError):  # the processes end anyway
            if self._processes[1:]:
                self.clear()
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self._processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for left in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(left, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask(self, *command: str) -> str:
        """What a command of Slurm's prints; an error if it fails."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def clear(self) -> None:
        """Ends every job, and has the node take jobs."""
        self.ask("scancel", "--full", "--user=root")
        self.wait(lambda: not self.jobs(), KILL_SECONDS + 15)
        if self._state() != "idle":
            self.ask("scontrol", "update", f"nodename={self.host}", "state=resume")
            self.wait(self._is_idle, 30)

    def jobs(self) -> dict[str, str]:
        """Job, in an array ARRAY_TASK -> state, of those that are queued or run."""
        listed = self.ask("squeue", "-h", "-r", "-O", "JobArrayID:64,State:32").splitlines()
        return dict(line.split() for line in listed)

    def wait(self, what, seconds: float = 120.0) -> None:
        """Until `what()` holds."""
        deadline = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < deadline, f"waited in vain; jobs: {self.jobs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        """The ends of the daemons' logs."""
        return "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("*.log")))

    def _start(self) -> None:
        folder = self.folder
        for name in ("state", "spool"):
            (folder / name).mkdir()
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        folder.chmod(0o755)
        ports = dict(zip(("controller", "daemon"), _free_ports(2), strict=True))
        times = {"requeue": REQUEUE_SECONDS, "kill": KILL_SECONDS}
        conf = CONF.format(host=self.host, folder=folder, cpus=CPUS, **ports, **times)
        (folder / "slurm.conf").write_text(conf)
        munge = {name: folder / f"munge.{name}" for name in ("key", "socket", "pid", "log", "seed")}
        files = [f"--{name if name == 'socket' else f'{name}-file'}={path}" for name, path in munge.items()]
        self._run("munged", "--foreground", "--force", "--num-threads=2", *files)
        self.wait_for_file(munge["socket"])
        self._run("slurmctld", "-D")
        self._run("slurmd", "-D", "-N", self.host)
        self.wait(self._is_idle, 60)

    def wait_for_file(self, path: Path) -> None:
        deadline = time.monotonic() + 30
        while not path.exists():
            assert time.monotonic() < deadline, self.logs()
            time.sleep(0.05)

    def _is_idle(self) -> bool:
        assert all(process.poll() is None for process in self._processes), self.logs()
        return self._state() == "idle"

    def _state(self) -> str:
        done = subprocess.run(["sinfo", "-h", "-o", "%T"], env=self.environment, capture_output=True, text=True)
        return done.stdout.strip()

    def _run(self, *command: str) -> None:
        with open(self.folder / f"{command[0]}.out", "wb") as out:
            self._processes.append(
                subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            )

    def _left(self) -> list[int]:
        """Processes that still belong to this cluster: their environment names its configuration."""
        found, mark = [], f"SLURM_CONF={self.folder}".encode()
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mark in (place / "environ").read_bytes() and int(place.name) != os.getpid():
                    found.append(int(place.name))
        return found


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
