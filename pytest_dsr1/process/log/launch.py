"""The families about launchers: Slurm, MPI, and processes that are missing."""

from __future__ import annotations

import re

from pytest_dsr1.process.log.family import Family, one_of

CANCELLED = "slurm cancelled"
STEP_BUSY = "step busy"
WAITS = re.compile(r"step creation (?:temporarily|still) disabled")
"""What srun says while another step holds what its own step needs."""
UNSAID = ", and the log does not say why"
"""The end of a phrase that is left out where the log does."""

_LOST = f"lost one of its processes{UNSAID}"
_LOST_STEP = "look at the process's own log, and run it by hand with the command that was kept"

_NO_SLURM = (
    "unset SLURM_* for a plain command, or start it with `srun --mpi=pmix` and trtllm-llmapi-launch in "
    "engine.command"
)
_MPI_STEP = (
    "start it with `srun --mpi=pmix` (`srun --mpi=list` shows what there is), or unset SLURM_* for a plain "
    "command without srun"
)
_OPTIONS = "in slurm.srun of the site file, or in engine.command"
"""Where the options of srun are."""
END_STEP = f"end that step (`squeue --steps` lists them), or add --overlap to srun, {_OPTIONS}"
"""What to do about a step that waits for another one."""

FAMILIES = (
    Family(
        "container toolkit",
        one_of(
            r"could not select device driver",
            r"unknown or invalid runtime name: nvidia|unresolvable CDI devices",
            r"nvidia-container-(?:cli|runtime)\S* .*(?:not found|no such file)",
        ),
        "got no GPUs from the container runtime",
        "install the NVIDIA Container Toolkit on the host, then run `nvidia-ctk runtime configure "
        "--runtime=docker` and restart Docker",
        "moby's daemon, the NVIDIA Container Toolkit's troubleshooting",
    ),
    Family(
        "docker",
        one_of(
            r"permission denied while trying to connect to the Docker",
            r"docker\.sock.*(?:denied|refused|no such)",
            r"Cannot connect to the Docker daemon|Is the docker daemon running",
        ),
        "could not reach Docker",
        "start Docker (`systemctl status docker`), or put the user in the group docker and log in again",
        "docker's client",
    ),
    Family(
        "image",
        one_of(
            r"manifest unknown|manifest for .* not found|pull access denied|repository does not exist",
            r"No such image|invalid reference format|failed to import docker image|\.sqsh\b.*[Nn]o such file",
            r"No such file or directory: \S+\.sqsh|unauthorized: authentication required"
            r"|returned error code: 40[134]",
            r"no matching manifest for",
        ),
        "could not get its container image",
        "correct the image's name and tag in engine.command, and log in to its registry (`docker login`; for "
        "enroot: ~/.config/enroot/.credentials)",
        "docker's client, NVIDIA/pyxis, NVIDIA/enroot",
    ),
    Family(
        "cpu",
        one_of(r"exec format error|cannot execute binary file"),
        "could not be started, because it was built for another kind of CPU",
        "use an image or a program for this CPU (`uname -m`)",
        "errno 8",
    ),
    Family(
        "container program",
        one_of(
            r"exec: \"[^\"]+\": |executable file \S+ not found|exec:? \S+: (?:no such file|permission denied)"
        ),
        "could not start the program in its container",
        "correct the program in engine.command, or use an image that has it",
        "runc",
    ),
    Family(
        STEP_BUSY,
        one_of(WAITS.pattern, r"Unable to create step for job \d+: Requested nodes are busy"),
        "waited for another step of its Slurm job",
        END_STEP,
        "Slurm 22.05's srun",
        kind="consequence",
        calm=True,
    ),
    Family(
        "slurm time limit",
        one_of(r"CANCELLED AT .* DUE TO TIME LIMIT", r"error: .*\bDUE TO TIME LIMIT\b"),
        "was ended by Slurm: the job's time limit",
        "ask for more time (sbatch --time), or measure less",
        "slurmstepd 22.05",
        kind="stated",
    ),
    Family(
        "slurm preemption",
        one_of(r"CANCELLED AT .* DUE TO PREEMPTION"),
        "was ended by Slurm: another job has preempted this one",
        "run it again, in a partition or QOS that is not preempted",
        "slurmstepd 22.05",
        kind="stated",
    ),
    Family(
        "slurm node failure",
        one_of(r"CANCELLED AT .* DUE TO NODE FAILURE", r"srun: error: Node failure on", r"\bNODE_FAIL\b"),
        "was ended by Slurm: a node of the job has failed",
        "ask `scontrol show job` which node, and leave it out (--exclude)",
        "slurmstepd 22.05, srun",
        kind="stated",
    ),
    Family(
        "slurm mpi type",
        one_of(r"can not load PMIx library", r"(?:Invalid|cannot find) MPI (?:type|plugin)"),
        "could not start MPI",
        "use a type of `srun --mpi=list` (slurm.mpi of the site file); for pmix, Slurm's PMIx plugin and "
        "libpmix must be on every node",
        "Slurm 22.05's srun",
        final=True,
    ),
    Family(
        "slurm fewer nodes",
        one_of(r"can't run \d+ processes on \d+ nodes"),
        "was started on fewer nodes than asked for",
        "unset SLURM_NTASKS, which sbatch -n or another srun has set, or give srun --ntasks",
        "Slurm 22.05's srun, which goes on",
        passing=True,
    ),
    Family(
        "slurm nodes",
        one_of(r"Only allocated \d+ nodes asked for \d+"),
        "was not started by Slurm",
        "ask for as many nodes as hardware.nodes (sbatch --nodes)",
        "Slurm 22.05's srun",
    ),
    Family(
        "slurm processors",
        one_of(r"More processors requested than permitted"),
        "was not started by Slurm",
        "ask for whole nodes (sbatch --exclusive), or for a task per GPU (--ntasks-per-node)",
        "Slurm 22.05's srun",
    ),
    Family(
        "slurm credential",
        one_of(r"Job credential (?:expired|revoked)"),
        "was not started by Slurm",
        "compare the clocks of the nodes (`srun --ntasks-per-node=1 date +%s.%N`), and try again",
        "Slurm's FAQ",
    ),
    Family(
        "slurm option",
        one_of(r"srun: (?:unrecognized|ambiguous|invalid) option|srun: option .* requires an argument"),
        "was not started by Slurm",
        f"correct the option, {_OPTIONS}; those that begin with --container- need the plugin pyxis",
        "Slurm 22.05's srun",
    ),
    Family(
        "mpi spawn",
        one_of(r"MPI_ERR_SPAWN|could not spawn processes"),
        "could not start its worker processes through MPI",
        "below Slurm, " + _NO_SLURM,
        "dynamo#808, TensorRT-LLM#2476, #5495, unidist#298",
        final=True,
    ),
    Family(
        "mpi slots",
        one_of(
            r"All nodes which are allocated for this job are already filled",
            r"not enough slots available in the system",
        ),
        "was not given enough slots by MPI",
        "give the job as many tasks as engine.tp x engine.pp, or set "
        "OMPI_MCA_rmaps_base_oversubscribe=1; below "
        "Slurm, " + _NO_SLURM,
        "TensorRT-LLM#5854, #5495, open-mpi/ompi#10641",
        final=True,
    ),
    Family(
        "mpi start",
        one_of(
            r"appears to have been direct launched using \"?srun",
            r"OMPI was not built with SLURM|not built with SLURM's PMI",
            r"(?:PMI2?|PMIX|pmix)\w*_Init failed|(?:orte|ompi|opal|prte)_\w*init\w* failed",
            r"mpi/pmix: .*error",
        ),
        "could not start MPI",
        _MPI_STEP,
        "TensorRT-LLM#2316, dynamo#992, tensorrtllm_backend#712, Slurm 22.05",
        final=True,
    ),
    Family(
        "mpi init",
        one_of(r"An error occurred in MPI_Init|It looks like \w+_INIT failed"),
        "could not start MPI",
        _MPI_STEP,
        "Open MPI's help-mpi-runtime.txt, where the reason comes some lines later",
        final=True,
        passing=True,
    ),
    Family(
        "mpi root",
        one_of(r"mpirun (?:has detected an attempt to run|.*) as root|--allow-run-as-root"),
        "was refused by mpirun, because it runs as root",
        "add --allow-run-as-root to mpirun in engine.command",
        "Open MPI's help-orterun.txt",
    ),
    Family(
        "slurm launch",
        one_of(
            r"srun: error: Unable to (?:create step|allocate|confirm)",
            r"Requested nodes are busy|Requested node configuration is not available",
            r"srun: error: (?:Invalid|Unable|Job|Memory specification|invalid|Required|Batch job)",
            r"Job/step already completing",
        ),
        "was not started by Slurm",
        f"correct the options of srun, {_OPTIONS}; `scontrol show job` shows what the job has",
        "Slurm 22.05's srun",
    ),
    Family(
        "mpi program",
        one_of(
            r"mpirun was unable to (?:find|launch|start) the specified",
            r"execvp?\(?.*: No such file or directory|srun: error: .*execve\(\)",
        ),
        "was not found by its launcher",
        "correct the program's path in engine.command, or in slurm.launcher of the site file, for every node",
        "Open MPI's help-orterun.txt, slurmstepd",
    ),
    Family(
        "lost node",
        one_of(
            r"ORTE (?:has lost communication|was unable to reliably start)|PRTE has lost communication",
            r"PML add procs failed|Unable to reach a (?:remote )?peer",
            r"ssh: connect to host .*(?:refused|timed out|No route)|Host key verification failed",
        ),
        "could not reach one of its nodes",
        "check that the nodes reach each other, and the interface that MPI or UCX uses (UCX_NET_DEVICES)",
        "Open MPI's help-errmgr-base.txt, openucx/ucx",
        follows=True,
    ),
    Family(
        CANCELLED,
        one_of(
            r"\*\*\* (?:STEP|JOB) \S+ ON \S+ CANCELLED AT",
            r"srun: (?:Force Terminated|forcing job termination)|Job step aborted|Cancelled pending job step",
            r"Job allocation \d+ has been revoked",
        ),
        "was cancelled in Slurm",
        "ask `scontrol show job` whether scancel, preemption or another task's end did it",
        "slurmstepd 22.05: also a preemption with a grace time, and --kill-on-bad-exit",
        kind="aftermath",
        ends=True,
    ),
    Family(
        "failed task",
        one_of(r"srun: error: \S+: tasks? [\d,-]+: Exited with exit code \d+"),
        "lost a task",
        "look for that task's first error in the whole log",
        "Slurm's srun, which then ends the other tasks (--kill-on-bad-exit)",
        kind="aftermath",
        ends=True,
    ),
    Family(
        "first task",
        one_of(r"First task exited"),
        "was ended by srun some time after its first task had ended",
        "look for that task's first error in the whole log; if there is none, give srun --wait=0",
        "Slurm 22.05's srun --wait, also the site's WaitTime",
        kind="aftermath",
        quotes=False,
        ends=True,
    ),
    Family(
        "mpi abort",
        one_of(r"MPI_ABORT was invoked|exited with non-zero status"),
        "was ended by its launcher, because one of its processes failed",
        "look for that process's first error in the whole log",
        "Open MPI's help-mpi-api.txt, nccl-tests#322",
        kind="aftermath",
        quotes=False,
        ends=True,
    ),
    Family(
        "own end",
        one_of(r"Received sigquit from a child process"),
        _LOST,
        _LOST_STEP,
        "sglang's engine, which then ends its own processes with SIGKILL",
        kind="aftermath",
        quotes=False,
        calm=True,
        ends=True,
    ),
    Family(
        "worker",
        one_of(
            r"Executor worker returned error|Engine core initialization failed|initialization failed due "
            r"to an exception",
            r"[Ww]orker\w*( proc\w*)?( \S+)? (?:has |was )?(?:died|dead|terminated|was killed|exited"
            r"|failed)\b",
            r"EngineDeadError|EngineCore (?:encountered an issue|failed to start|died)|Engine core proc "
            r".* died",
            r"(?:Scheduler|Detokenizer|Subprocess|Child).*(?:died|hit an exception|unexpectedly)",
            r"ChildFailedError|A process in the process pool was terminated",
            r"Process \S+ (?:died|terminated|exited)",
        ),
        _LOST,
        _LOST_STEP,
        "TensorRT-LLM#7818, #7706, vllm#21882, #44411, sglang's scheduler",
        kind="aftermath",
        quotes=False,
        calm=True,
    ),
)
