"""A sweep over learning rate and scale of the start: errors at the end as a diagram.

Takes 10 s; the runs are saved in `runs/sweep`, and running the script again resumes them.
"""

import htfjax as htf

model = htf.problems.Completion(mode_dims=4, widths=8, observed=128, target_rank=2)
axes = {"learning_rate": (3e-3, 1e-2, 3e-2), "init_std": (0.03, 0.1, 0.3)}
grid = htf.runs.Grid(model, seeds=range(4), axes=axes)
*_, last = htf.runs.run(grid, "runs/sweep", until_step=3000, record_every=100)
htf.plot.phase_diagram(htf.load_results("runs/sweep")).figure.savefig("runs/sweep.png")
