"""Mode trees: ids, attributes, builders, text, and values as keys and in pickles."""

import pickle

import jax
import numpy as np
import pytest

import htfjax as htf

NESTED = {
    "order1": (0,),
    "chain_of_order1": (((0,),),),
    "flat": (0, 1, 2),
    "perfect": ((0, 1), (2, 3)),
    "matrix": ((0,), 1),
    "permuted": (2, (1, 0)),
    "ragged": ((0, (3,)), (2, (1, 4))),
    "one_child_inside": ((((0, 1),),), 2),
}


def from_nested(name: str) -> htf.ModeTree:
    return htf.ModeTree.from_nested(NESTED[name])


def post_order(nested: tuple) -> list:
    """Interior nodes as nested tuples, children first, left to right."""
    below = [node for kid in nested if isinstance(kid, tuple) for node in post_order(kid)]
    return [*below, nested]


def leaves(nested: tuple | int) -> list[int]:
    if isinstance(nested, int):
        return [nested]
    return [mode for kid in nested for mode in leaves(kid)]


def depth(nested: tuple | int) -> int:
    return 0 if isinstance(nested, int) else 1 + max(map(depth, nested))


@pytest.mark.parametrize("name", NESTED)
def test_ids_are_modes_then_post_order(name):
    tree, spelled = from_nested(name), post_order(NESTED[name])
    assert tree.order == len(leaves(NESTED[name]))
    assert tree.interior == tuple(range(tree.order, tree.order + len(spelled)))
    assert tree.num_nodes == tree.order + len(spelled)
    assert tree.root == tree.num_nodes - 1
    assert tree.children[: tree.order] == ((),) * tree.order


@pytest.mark.parametrize("name", NESTED)
def test_attributes_of_every_node(name):
    tree = from_nested(name)
    spelled = [*range(tree.order), *post_order(NESTED[name])]
    for k, node in enumerate(spelled):
        assert tree.modes[k] == tuple(sorted(leaves(node)))
        assert tree.height[k] == depth(node)
        assert [spelled[c] for c in tree.children[k]] == (
            [] if isinstance(node, int) else list(node)
        )
        assert all(tree.parent[c] == k for c in tree.children[k])
    assert tree.parent[tree.root] is None
    assert len(tree.parent) == len(tree.modes) == len(tree.height) == tree.num_nodes


@pytest.mark.parametrize("name", NESTED)
def test_nested_and_children_round_trip(name):
    tree = from_nested(name)
    assert tree.nested == NESTED[name]
    assert htf.ModeTree.from_nested(tree.nested) == tree
    assert htf.ModeTree(tree.children) == tree


def test_ids_of_a_mixed_tree_by_hand():
    tree = htf.ModeTree.from_nested(((3, 0), (2, (1,))))
    assert tree.children[4:] == ((3, 0), (1,), (2, 5), (4, 6))
    assert tree.modes[4:] == ((0, 3), (1,), (1, 2), (0, 1, 2, 3))
    assert tree.height == (0, 0, 0, 0, 1, 1, 2, 3)
    assert tree.parent == (4, 5, 6, 4, 7, 6, 7, None)


def test_lists_and_numpy_integers_spell_the_same_tree():
    spelled = [[np.int64(0), np.int8(1)], [2, 3]]
    tree = htf.ModeTree.from_nested(spelled)
    assert tree == htf.perfect(4)
    assert all(type(c) is int for kids in tree.children for c in kids)


@pytest.mark.parametrize("name", NESTED)
def test_equal_trees_are_one_key(name):
    tree, same = from_nested(name), from_nested(name)
    assert tree == same
    assert len({tree, same}) == 1


def test_child_order_makes_different_trees():
    assert htf.ModeTree.from_nested((0, 1)) != htf.ModeTree.from_nested((1, 0))
    assert htf.ModeTree.from_nested((0, (1, 2))) != htf.ModeTree.from_nested(((0, 1), 2))


@pytest.mark.parametrize("name", NESTED)
def test_pickles(name):
    tree = from_nested(name)
    assert tree.modes  # a cached attribute travels or is computed anew
    again = pickle.loads(pickle.dumps(tree))
    assert again == tree
    assert hash(again) == hash(tree)
    assert again.modes == tree.modes


def test_is_frozen():
    with pytest.raises(AttributeError):
        htf.flat(2).children = ()  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    "children",
    [
        (),
        ((),),
        ((), (0,), ()),
        ((), (), (0,), (1,)),
        ((), (), (0, 1, 1)),
        ((), (), (0, 1, 2)),
        ((), (), (0, -2)),
        ((), (), (0, 5)),
        ((), (), (), (), (2, 3), (0, 1), (5, 4)),
    ],
)
def test_children_that_are_no_tree_in_post_order_are_refused(children):
    with pytest.raises(ValueError, match="`children"):
        htf.ModeTree(children)


@pytest.mark.parametrize(
    ("order", "arity", "nested"),
    [
        (1, 2, (0,)),
        (2, 2, (0, 1)),
        (4, 2, ((0, 1), (2, 3))),
        (9, 3, ((0, 1, 2), (3, 4, 5), (6, 7, 8))),
        (4, 4, (0, 1, 2, 3)),
    ],
)
def test_perfect(order, arity, nested):
    assert htf.perfect(order, arity).nested == nested


@pytest.mark.parametrize("order", [8, 64])
def test_perfect_trees_are_level(order):
    tree = htf.perfect(order)
    assert tree.num_nodes == 2 * order - 1
    assert tree.height[tree.root] == order.bit_length() - 1
    assert all(len(tree.children[k]) == 2 for k in tree.interior)
    assert all(
        tree.height[c] == tree.height[k] - 1
        for k in tree.interior
        for c in tree.children[k]
    )


@pytest.mark.parametrize(("order", "arity"), [(3, 2), (6, 2), (8, 3), (2, 1)])
def test_perfect_refuses_other_orders(order, arity):
    with pytest.raises(ValueError, match=rf"`order={order}`.*`arity={arity}`"):
        htf.perfect(order, arity)


@pytest.mark.parametrize("order", [1, 2, 7])
def test_flat(order):
    assert htf.flat(order).nested == tuple(range(order))


def test_caterpillars():
    spelled = [htf.caterpillar(order).nested for order in (1, 2, 3, 4)]
    assert spelled == [(0,), (0, 1), ((0, 1), 2), (((0, 1), 2), 3)]


def test_a_deep_caterpillar():
    tree = htf.caterpillar(1024)
    assert tree.order == 1024
    assert tree.height[tree.root] == 1023
    assert tree.modes[tree.root] == tuple(range(1024))
    assert htf.ModeTree.from_nested(tree.nested) == tree
    assert hash(htf.caterpillar(1024)) == hash(tree)
    assert tree != htf.caterpillar(1023)
    text = str(tree).splitlines()
    assert len(text) == tree.num_nodes
    assert text[0] == f"{tree.root} {{0,1,2,3,4,5,6,7,...}}"


@pytest.mark.parametrize("warm", [False, True])
def test_a_deep_caterpillar_pickles(warm):
    tree = htf.caterpillar(1024)
    if warm:  # the nested tuples are 1023 deep; a pickle must not hold them
        assert len(tree.nested) == 2
    assert pickle.loads(pickle.dumps(tree)) == tree


def test_a_wide_tree_is_built_in_linear_time():
    assert htf.flat(4000).order == 4000


@pytest.mark.parametrize(
    ("order", "nested"),
    [
        (1, (0,)),
        (2, (0, 1)),
        (3, ((0, 1), (2,))),
        (4, ((0, 2), (1, 3))),
        (5, (((0, 2), (1, 3)), ((4,),))),
        (6, (((0, 3), (1, 4)), ((2, 5),))),
        (8, (((0, 4), (2, 6)), ((1, 5), (3, 7)))),
    ],
)
def test_interleaved(order, nested):
    assert htf.interleaved(order).nested == nested


@pytest.mark.parametrize(
    ("side", "patch", "nested"),
    [
        (1, 2, (0,)),
        (2, 2, (0, 1, 2, 3)),
        (2, 3, (0, 1, 2, 3)),
        (3, 2, ((0, 1, 3, 4), (2, 5), (6, 7), (8,))),
        (4, 2, ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15))),
    ],
)
def test_square_patches(side, patch, nested):
    assert htf.square_patches(side, patch).nested == nested


@pytest.mark.parametrize(("side", "patch"), [(5, 2), (6, 4), (7, 3), (9, 2), (9, 3)])
def test_square_patches_are_windows_of_the_image(side, patch):
    tree = htf.square_patches(side, patch)
    assert tree.order == side * side
    size = -(-side // patch)
    lowest = [k for k in tree.interior if tree.height[k] == 1]
    assert len(lowest) == size * size
    for i, k in enumerate(lowest_in_reading_order(tree, side)):
        top, left = patch * (i // size), patch * (i % size)
        window = [
            row * side + column
            for row in range(top, min(top + patch, side))
            for column in range(left, min(left + patch, side))
        ]
        assert tree.children[k] == tuple(window)


def lowest_in_reading_order(tree: htf.ModeTree, side: int) -> list[int]:
    lowest = [k for k in tree.interior if tree.height[k] == 1]
    return sorted(lowest, key=lambda k: divmod(tree.modes[k][0], side))


@pytest.mark.parametrize(
    ("order", "window", "pattern", "nested"),
    [
        (1, 2, "adjacent", (0,)),
        (4, 9, "adjacent", (0, 1, 2, 3)),
        (5, 2, "adjacent", (((0, 1), (2, 3)), ((4,),))),
        (7, 3, "adjacent", ((0, 1, 2), (3, 4, 5), (6,))),
        (5, 3, "half", ((0, 1, 2), (3, 4))),
        (8, 3, "half", ((0, 2, 4), (1, 3, 5), (6, 7))),
        (2, 3, "half", (0, 1)),
        (6, 3, "half", ((0, 2, 4), (1, 3, 5))),
        (4, 4, "square", (0, 1, 2, 3)),
        (
            16,
            4,
            "square",
            ((0, 1, 4, 5), (2, 3, 6, 7), (8, 9, 12, 13), (10, 11, 14, 15)),
        ),
    ],
)
def test_pooled_by_hand(order, window, pattern, nested):
    assert htf.pooled(order, window, pattern).nested == nested


@pytest.mark.parametrize(
    ("name", "other", "order", "window"),
    [
        ("adjacent", "checkerboard", 11, 3),
        ("half", "interleaved", 11, 3),
        ("square", "checkerboard_sq", 16, 4),
    ],
)
def test_patterns_have_two_names(name, other, order, window):
    assert htf.pooled(order, window, name) == htf.pooled(order, window, other)


@pytest.mark.parametrize("pattern", ["adjacent", "half"])
@pytest.mark.parametrize("window", [2, 3, 4])
@pytest.mark.parametrize("order", range(2, 14))
def test_pooled_levels_shrink_by_the_window(order, window, pattern):
    tree = htf.pooled(order, window, pattern)
    count, height = order, 0
    while count > 1:
        count, height = -(-count // window), height + 1
        level = [k for k in range(tree.num_nodes) if tree.height[k] == height]
        assert len(level) == count
    assert tree.height[tree.root] == height
    sizes = [len(tree.children[k]) for k in tree.interior]
    assert max(sizes) <= window
    assert tree.modes[tree.root] == tuple(range(order))


@pytest.mark.parametrize(
    ("order", "windows", "pattern", "nested"),
    [
        (6, (3, 2), "adjacent", ((0, 1, 2), (3, 4, 5))),
        (6, [2, 3], "adjacent", ((0, 1), (2, 3), (4, 5))),
        (5, (2, 3), "adjacent", ((0, 1), (2, 3), (4,))),
        (4, (4, 1, 1), "adjacent", (((0, 1, 2, 3),),)),
        (2, (1, 2), "adjacent", ((0,), (1,))),
        (4, (2, 1, 2), "half", (((0, 2),), ((1, 3),))),
        (1, (1, 1), "adjacent", ((0,),)),
    ],
)
def test_one_window_per_level(order, windows, pattern, nested):
    assert htf.pooled(order, windows, pattern).nested == nested


def test_windows_may_be_a_numpy_array():
    assert htf.pooled(6, np.array([3, 2])) == htf.pooled(6, (3, 2))  # pyright: ignore


@pytest.mark.parametrize("windows", [(), (2,), (2, 1, 1)])
def test_windows_must_reach_the_root(windows):
    with pytest.raises(ValueError, match=r"`window=.*more levels"):
        htf.pooled(4, windows)


def test_text_of_a_ragged_tree():
    assert str(htf.ModeTree.from_nested((((0,), 3), (2, 1)))) == (
        "7 {0,1,2,3}\n"
        "├── 5 {0,3}\n"
        "│   ├── 4 {0}\n"
        "│   │   └── 0\n"
        "│   └── 3\n"
        "└── 6 {1,2}\n"
        "    ├── 2\n"
        "    └── 1"
    )


def test_text_of_a_wide_tree():
    modes = [f"├── {n}" for n in range(9)]
    assert str(htf.flat(10)) == "\n".join(["10 {0,1,2,3,4,5,6,7,...}", *modes, "└── 9"])


def test_repr_rebuilds_the_tree():
    tree = htf.interleaved(5)
    assert eval(repr(tree), {"ModeTree": htf.ModeTree}) == tree


@pytest.mark.parametrize(
    "meant", [((0, 2), (1, 3)), [[0, 2], [1, 3]], "((0, 2), (1, 3))", "[(0,2),(1,3)]"]
)
def test_a_tree_may_be_nested_modes_or_their_text(meant):
    """Wherever a tree is meant; all give what the tree itself gives."""
    tree = htf.ModeTree.from_nested(((0, 2), (1, 3)))
    assert htf.as_tree(meant) == htf.as_tree(tree) == tree
    key, data = jax.random.key(0), (np.zeros((1, 4), int), [1.0])
    assert htf.gaussian_factors(key, meant, 2, 3, 0.1).tree == tree
    assert htf.balanced_factors(key, meant, 2, 3, 0.1).tree == tree
    assert htf.identity_factors(meant, 2, 3, 0.1).tree == tree
    assert htf.contraction_plan(meant, 2, 3, 5).tree == tree
    factors = htf.gaussian_factors(key, tree, 2, 3, 0.1)
    assert htf.completion_loss(meant, 2, *data)(factors) == (
        htf.completion_loss(tree, 2, *data)(factors)
    )
    assert htf.losses.Entries.at(meant, 2, data[0]).tree == tree


@pytest.mark.parametrize(
    ("meant", "kind", "words"),
    [
        ("nonsense", ValueError, r"`tree='nonsense'` is not a tree: at column 1"),
        ("(0)", TypeError, r"`tree='\(0\)'`: it must be a tuple of modes, got 0"),
        ("(0, 0)", ValueError, r"`tree='\(0, 0\)'`: it repeats the modes \[0\]"),
        ((0, 0), ValueError, r"`tree=\(0, 0\)`: it repeats the modes \[0\]"),
        (3, TypeError, r"`tree` must be a ModeTree, nested modes .* got 3"),
    ],
)
def test_what_is_no_tree_is_named(meant, kind, words):
    with pytest.raises(kind, match=words):
        htf.as_tree(meant)
