"""Run the contract's cases on LiberTEM; for its own interpreter, see test_contract_against_libertem.py.

Usage: ``python libertem_contract.py out.npz``.
"""

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from libertem.api import Context
from libertem.common.container import MaskContainer
from libertem.udf import UDF

sys.path.insert(0, str(Path(__file__).parent))

from contract_run import run_all


def main(target):
    """Write all results."""
    names = SimpleNamespace(UDF=UDF, MaskContainer=MaskContainer)
    with Context.make_with("inline") as context:

        def load(data, sig_dims=2, sync_offset=0):
            return context.load(
                "memory", data=data, sig_dims=sig_dims, sync_offset=sync_offset, num_partitions=3
            )

        np.savez(target, **run_all(names, context, load))


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
