"""A tensor of one's own with missing cells: factors, ranks and a held-out error.

Here 1024 cells of five modes, every third one missing, of rank one around their mean; with
another array only `mine`, the tree and the width change. Takes 5 s.
"""

import numpy as np

rng = np.random.default_rng(0)
mine = 20 + 3 * np.einsum("a,b,c,d,e->abcde", *rng.normal(size=(5, 4)))
mine[rng.random(mine.shape) < 1 / 3] = np.nan

# %% Ten lines with `mine`
import jax

import htfjax as htf

data = htf.observed(mine, key=jax.random.key(0))
tree = htf.as_tree("(((0, 1), (2, 3)), 4)")
start = htf.gaussian_factors(jax.random.key(1), tree, data.mode_dims, 6, 0.2)
optimizer, loss = htf.group_rmsprop(1e-2), data.loss(tree)
final, course = htf.descend(start, loss, optimizer, num_steps=600, record_every=300)
ranks = [int(htf.numerical_rank(htf.singular_values(final, v), 0.05)) for v in (5, 6, 7)]
error, table = data.test_error(final), data.decode(htf.end_tensor(final))
print(f"ranks {ranks}, error {error:.2g} where cells deviate by {data.scale:.2g}")
