"""How are the paper and htfjax cited?

`CITATION.cff` says the same for readers of the repository.
"""

import argparse
import sys

import htfjax as htf

from .common.names import typed

PAPER = """\
@inproceedings{razin2022implicit,
  title = {Implicit Regularization in Hierarchical Tensor Factorization and Deep
           Convolutional Neural Networks},
  author = {Razin, Noam and Maman, Asaf and Cohen, Nadav},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2022},
  eprint = {2201.11729},
  archivePrefix = {arXiv},
}"""
HTFJAX = """\
@software{htfjax,
  title = {htfjax: hierarchical tensor factorization in JAX},
  author = {{The htfjax authors}},
  version = {VERSION},
}"""


def entries() -> str:
    """BibTeX of the paper, and of htfjax in the version at hand."""
    return f"{PAPER}\n\n{HTFJAX.replace('VERSION', htf.__version__)}\n"


def main() -> int:
    """The command line."""
    argparse.ArgumentParser(
        prog=typed("cite"),
        description="Prints BibTeX entries: the paper arXiv:2201.11729, and htfjax.",
    ).parse_args()
    sys.stdout.write(entries())
    return 0


if __name__ == "__main__":
    sys.exit(main())
