# %% [markdown]
r"""
# Which learning rates and starts lead to a small error?

How far a run comes in a given number of steps depends on its learning rate and on the
scale of its start. Under gradient flow the wait before the first component rises grows as
$\mathrm{std}^{-(h - 2)}$ with $h$ trained matrices, seven here; `group_rmsprop`, whose step
adapts, makes it shorter. A sweep shows where the boundary lies.

The example runs nine settings with four seeds each, 36 runs that share one compiled
program, then the same grid by two processes together. It takes 20 s, 10 of them for the
job itself; the runs are saved in `runs/sweep`, and running the script again resumes them.
"""

# %% The job
import htfjax as htf

model = htf.problems.Completion(mode_dims=4, widths=8, observed=128, target_rank=2)
axes = {"learning_rate": (3e-3, 1e-2, 3e-2), "init_std": (0.03, 0.1, 0.3)}
grid = htf.runs.Grid(model, seeds=range(4), axes=axes)
*_, last = htf.runs.run(grid, "runs/sweep", until_step=3000, record_every=100)
htf.plot.phase_diagram(htf.load_results("runs/sweep")).figure.savefig("runs/sweep.png")

# %% [markdown]
r"""
*Error at the end of 3000 steps by learning rate and scale of the start, the median of four
seeds. Hatched, here all: most of the four runs were ended by the number of steps, not by
convergence.*

The slowest rate from the smallest start left its plateau last and is the furthest from
the target. On several machines, or
several processes of one, the same call shares the runs out: each process joins by
`jax.distributed.initialize` and then runs the same script. Here two processes of this
machine do so, and what they find equals the runs above bit for bit.
"""

# %% The same grid by two processes
import socket
import subprocess
import sys
from pathlib import Path

WORKER = """
import sys

import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
import htfjax as htf

model = htf.problems.Completion(mode_dims=4, widths=8, observed=128, target_rank=2)
axes = {"learning_rate": (3e-3, 1e-2, 3e-2), "init_std": (0.03, 0.1, 0.3)}
grid = htf.runs.Grid(model, seeds=range(4), axes=axes)
*_, last = htf.runs.run(grid, "runs/shared", until_step=3000, record_every=100)
"""
Path("runs/worker.py").write_text(WORKER, "utf-8")
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{free.getsockname()[1]}"
workers = [
    subprocess.Popen(
        [sys.executable, "runs/worker.py", address, str(number)], stdout=subprocess.DEVNULL
    )
    for number in range(2)
]
assert [worker.wait() for worker in workers] == [0, 0]

alone, shared = (htf.load_results(f"runs/{name}") for name in ("sweep", "shared"))
assert alone.loss.equals(shared.loss)
print("36 runs by two processes equal those of one, bit for bit")
