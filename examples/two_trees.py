"""Two mode trees over 20 seeds: bands of singular values, a picture for each.

The target has low rank on ((0, 1), (2, 3)); the model has that tree, or another one. Takes
10 s; the runs are saved in `runs/two_trees`, and running the script again resumes them.
"""

import htfjax as htf

trees = ("((0, 1), (2, 3))", "((0, 2), (1, 3))")
model = htf.problems.Completion(mode_dims=4, widths=8, observed=128, target_tree=trees[0])
grid = htf.runs.Grid(model, seeds=range(20), axes={"tree": trees})
*_, last = htf.runs.run(grid, "runs/two_trees", until_step=3000, record_every=50)
runs = htf.load_results("runs/two_trees")
for i, tree in enumerate(trees):
    htf.plot.bands(runs.sel(tree=tree)).figure.savefig(f"runs/two_trees/{i}.png")
