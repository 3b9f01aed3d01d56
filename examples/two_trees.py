# %% [markdown]
r"""
# Does the mode tree decide which targets are of low rank?

A tensor of order four that is of low rank on the tree $((0, 1), (2, 3))$ has few singular
values as a matrix with the modes $\{0, 1\}$ as rows. A model on the tree
$((0, 2), (1, 3))$ groups other modes: it has to build the same target from components at
$\{0, 2\}$ and $\{1, 3\}$, by which its rank is up to the square of the other one.

The example trains both models on the same targets from small starts, twenty seeds each, and
compares the singular values by $\{0, 1\}$. It takes 10 s; the runs are saved in
`runs/two_trees`, and running the script again resumes them.
"""

# %% The job
import htfjax as htf

trees = ("((0, 1), (2, 3))", "((0, 2), (1, 3))")
model = htf.problems.Completion(mode_dims=4, widths=8, observed=128, target_tree=trees[0])
grid = htf.runs.Grid(model, seeds=range(20), axes={"tree": trees})
*_, last = htf.runs.run(grid, "runs/two_trees", until_step=3000, record_every=50)
runs = htf.load_results("runs/two_trees")

# %% The picture
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 2, figsize=(7.4, 3.6), sharey=True, layout="constrained")
for ax, tree in zip(axes, trees, strict=True):
    htf.plot.bands(runs.sel(tree=tree), ax=ax)
    ax.set_title(f"model on {tree}")
axes[1].set_ylabel("")
figure.savefig("runs/two_trees.png")
plt.show()

ends = runs.singular_value.isel(modes=0, step=-1)
active = (ends > 0.05 * ends.max("index")).sum("index").median("seed")
print("median number of active singular values:", active.values.astype(int).tolist())
assert float(active[0]) < float(active[1])

# %% [markdown]
r"""
*Singular values of the end tensor with modes 0 and 1 as rows: median and 10 to 90 % of
twenty seeds, for a model on the target's tree and for one on another.*

On the target's own tree one value carries most of the tensor, and the second leaves zero
late. On the other tree four are active by then, because the products that its components
at $\{0, 2\}$ and $\{1, 3\}$ make are of high rank by $\{0, 1\}$: what descent keeps low is
the rank at the nodes of the model's own tree.

A grid is seeds times any fields of a setting. Its runs share compiled programs, and its
folder survives a kill.
"""
