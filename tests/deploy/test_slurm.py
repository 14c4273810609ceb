"""The Slurm job, with stand-ins for the two programs of Slurm that it calls."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def job(tmp_path: Path) -> dict[str, str]:
    for name, body in {
        "srun": 'printf "%s\\n" "$@" >"$CALLS/srun"; echo "$MASTER_ADDR" >"$CALLS/master"; exit "${STATUS:-0}"',
        "scontrol": 'if [[ $1 == show ]]; then printf "node%s\\n" {7..20000}; else echo "$*" >"$CALLS/scontrol"; fi',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(tmp_path), "SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "64", "SLURM_JOB_ID": "5",
    }  # fmt: skip


def submit(job: dict[str, str]) -> int:
    bash = shutil.which("bash")
    assert bash
    return subprocess.run(
        [bash, ROOT / "deploy/training/slurm.sbatch", "c.yaml", "out"], cwd=ROOT, env=job, check=False
    ).returncode


def test_the_step_gets_the_cores_of_the_job(job: dict[str, str]) -> None:
    """srun does not take the number from the job since Slurm 22.05."""
    assert submit(job) == 0
    called = Path(job["CALLS"], "srun").read_text(encoding="utf-8").splitlines()
    assert "--cpus-per-task=64" in called
    assert called[-2:] == ["c.yaml", "out"]


def test_a_run_that_was_stopped_is_queued_again(job: dict[str, str]) -> None:
    assert submit(job | {"STATUS": "75"}) == 75
    assert Path(job["CALLS"], "scontrol").read_text(encoding="utf-8") == "requeue 5\n"


def test_the_first_node_of_a_long_list_is_the_master(job: dict[str, str]) -> None:
    """A list longer than a pipe holds: a reader that stops after its first line would end the job."""
    assert submit(job) == 0
    assert Path(job["CALLS"], "master").read_text(encoding="utf-8") == "node7\n"
