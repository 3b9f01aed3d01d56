# %% [markdown]
r"""
# Does a smaller start separate the rises?

The growth of a local component is $\dot\sigma \propto \sigma^{2 - 2/L}$, so a component
that starts at $\sigma_0$ waits for a time of order $\sigma_0^{-(1 - 2/L)}$, while the rise
itself takes a time that does not depend on $\sigma_0$. The smaller the start, the longer
the waits against the rises, and the more the components come one at a time.

The **index of incrementality** says it in a number: the median, over the rises of a run, of
the gap between the half-rises of one singular value and the next, over the width of the
earlier rise (from 10 to 90 %). Above one, a rise ends before the next begins.

The example descends from starts of four scales, six seeds each, and takes 10 s.
"""

# %% Twenty-four runs in one folder
import matplotlib.pyplot as plt
import numpy as np

import htfjax as htf

model = htf.problems.Completion(
    mode_dims=6, widths=12, observed=600, target_rank=3, target_norm=36.0
)
scales = (0.4, 0.2, 0.1, 0.05)
grid = htf.runs.Grid(model, seeds=range(6), axes={"init_std": scales})
*_, last = htf.runs.run(grid, "runs/scales", until_step=8000, record_every=10)
runs = htf.load_results("runs/scales")

# %% The index of each run
index = np.full((len(scales), 6), np.nan)
for i, scale in enumerate(scales):
    for seed in range(6):
        run = runs.sel(init_std=scale, seed=seed, modes="0,1")
        values = run.singular_value.transpose("step", "index").values
        rises = htf.rise_times(run.step.values, values, active=0.02)
        index[i, seed] = htf.incrementality(rises)
medians = np.nanmedian(index, axis=1)

# %% The picture
figure, axes = plt.subplots(1, 3, figsize=(8.0, 3.2), layout="constrained")
for ax, scale in zip(axes, (scales[0], scales[-1]), strict=False):
    run = runs.sel(init_std=scale, seed=1)
    htf.plot.spectra(run, node_or_modes="0,1", top=3, labels=False, ax=ax)
    ax.set(title=f"start {scale}", ylabel="singular values of {0, 1}")
axes[2].plot(scales, index, ".", color="0.5")
axes[2].plot(scales, medians, "o-", color=htf.plot.colors(3)[1])
axes[2].axhline(1.0, color="0.5", lw=0.8, ls=":")
axes[2].set(xscale="log", xlabel="scale of the start", ylabel="index of incrementality")
axes[2].set(xticks=scales, xticklabels=map(str, scales))
axes[2].minorticks_off()
axes[2].grid(alpha=0.25)
plt.show()

print("medians:", dict(zip(scales, medians.round(2).tolist(), strict=True)))
assert medians[-1] > 2 * medians[0]

# %% [markdown]
r"""
*Left and middle: the three largest singular values of the matricization of modes 0 and 1,
for one seed, from the largest and from the smallest start. Right: the index of every run
(grey; runs with a single rise have none) and its median.*

From the large start the values rise together; from the small one each waits for its turn.
Which value a component belongs to is not unique, so rises are read off singular values,
which do not depend on how weights share a norm.
"""
