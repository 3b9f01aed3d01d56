"""Wrong calls of trees and builders: what their errors say."""

# Wrong types are the point here.
# pyright: reportArgumentType=false

import htfjax as htf
from tests import mistakes

MISTAKES = [
    ("tree_int", lambda: htf.ModeTree.from_nested(0), TypeError, "`nested` tuple `(0,)`"),
    ("tree_str", lambda: htf.ModeTree.from_nested("01"), TypeError, "`nested` '01'"),
    ("tree_float", lambda: htf.ModeTree.from_nested((0, 1.0)), TypeError, "`nested` 1.0"),
    ("tree_bool", lambda: htf.ModeTree.from_nested((False, True)), TypeError, "`nested`"),
    ("tree_none", lambda: htf.ModeTree.from_nested((0, None)), TypeError, "`nested` None"),
    ("tree_empty", lambda: htf.ModeTree.from_nested(()), ValueError, "`nested` empty"),
    ("tree_hole", lambda: htf.ModeTree.from_nested((0, ())), ValueError, "`nested` empty"),
    ("tree_repeat", lambda: htf.ModeTree.from_nested(((0, 1), (1, 2))),
     ValueError, "`nested` repeats [1] once"),
    ("tree_missing", lambda: htf.ModeTree.from_nested(((0, 1), 3)),
     ValueError, "`nested` misses [2] 0..3"),
    ("tree_negative", lambda: htf.ModeTree.from_nested((0, -1)),
     ValueError, "`nested -1 at least 0"),
    ("children", lambda: htf.ModeTree(((), (), (0, 3))),
     ValueError, "`children` from_nested"),
    ("children_words", lambda: htf.ModeTree(((), (), ("0", "1"))),
     (TypeError, ValueError), "`children`"),
    ("flat_zero", lambda: htf.flat(0), ValueError, "`order=0` at least 1"),
    ("flat_float", lambda: htf.flat(2.0), TypeError, "`order` integer 2.0"),
    ("perfect_six", lambda: htf.perfect(6), ValueError, "`order=6` `arity=2` pooled"),
    ("pooled_pattern", lambda: htf.pooled(4, 2, "odd"), ValueError, "`pattern='odd'` half"),
    ("pooled_window", lambda: htf.pooled(4, 1), ValueError, "`window=1` at least 2"),
    ("pooled_levels", lambda: htf.pooled(4, (2,)), ValueError, "`window=(2,)` 2 nodes"),
    ("pooled_square", lambda: htf.pooled(5, 4, "square"),
     ValueError, "`pattern='square'` 5 nodes square_patches"),
    ("patch_one", lambda: htf.square_patches(4, 1), ValueError, "`patch=1` at least 2"),
    ("children_none", lambda: htf.ModeTree(None), TypeError, "`children` tuples None"),
    ("children_strings", lambda: htf.ModeTree(("", "", "01")),
     TypeError, "`children` tuples"),
    ("pattern_list", lambda: htf.pooled(4, 2, []), TypeError, "`pattern=[]` adjacent"),
    ("window_bytes", lambda: htf.pooled(4, b"ab"), TypeError, "`window` integer"),
    ("arity_half", lambda: htf.perfect(4, 1.5), TypeError, "`arity` integer 1.5"),
]  # fmt: skip


@mistakes.every(MISTAKES)
def test_message(call, kind, words):
    mistakes.assert_named(call, kind, words)
