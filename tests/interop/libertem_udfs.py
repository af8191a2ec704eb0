"""Run LiberTEM's UDFs and mask generators; for its own interpreter, see test_udfs_against_libertem.py.

Usage: ``python libertem_udfs.py in.npz out.npz``.  `in.npz` holds ``data`` and ``roi``.
"""

import sys
import warnings
from types import SimpleNamespace

import numpy as np
from libertem import masks
from libertem.api import Context
from libertem.udf import com, raw, stddev, sumsigudf
from libertem.udf import sum as sum_
from libertem.udf.masks import ApplyMasksUDF

COM = [
    {},
    {"cy": 10.5, "cx": 9, "r": 7.5, "ri": 2.5},
    {"scan_rotation": 33, "flip_y": True, "regression": 0},
    {"regression": 1, "scan_rotation": -100},
    {"regression": np.array([[1, 2], [0.1, 0.2], [-0.3, 0.4]])},
]


def weights(shape):
    """Make some masks, the same on both sides."""
    return np.random.default_rng(7).random((3, *shape)).astype(np.float32)


def udfs(namespace, shape):
    """Return the UDFs under test, from a module-like object that has their classes."""
    return [
        namespace.SumUDF(),
        namespace.SumSigUDF(),
        namespace.ApplyMasksUDF(mask_factories=lambda: weights(shape)),
        namespace.ApplyMasksUDF(mask_factories=lambda: weights(shape), shifts=(3, -2)),
        namespace.StdDevUDF(),
        namespace.PickUDF(),
        *(namespace.CoMUDF.with_params(**params) for params in COM),
    ]


def generate(masks):
    """Return masks of all generators, from LiberTEM's module or ours."""
    rho, phi = masks.polar_map(5.3, 4.1, 13, 11, stretchY=1.4, angle=0.3)
    dense = {
        "circular": masks.circular(5.3, 4.1, 13, 11, 3),
        "circular_antialiased": masks.circular(5.6, 4.1, 13, 11, 3.2, antialiased=True),
        "ring": masks.ring(5.3, 4.1, 13, 11, 4, 2),
        "ring_antialiased": masks.ring(5.3, 4.1, 13, 11, 4.5, 0.25, antialiased=True),
        "radial_gradient": masks.radial_gradient(5, 4, 13, 11, 3),
        "template": masks.radial_gradient_background_subtraction(rho, 2.2, 4),
        "background_subtraction": masks.background_subtraction(5, 4, 13, 11, 4, 2),
        "background_antialiased": masks.background_subtraction(5, 4, 13, 11, 4, 2, antialiased=True),
        "balance": masks.balance(np.array([[1, -2.0], [3, -5]])),
        "rectangular": masks.rectangular(6, 7, -3, -2, 13, 11),
        "gradient_x": masks.gradient_x(13, 11),
        "gradient_y": masks.gradient_y(13, 11),
        "rho": rho,
        "phi": phi,
        "bounding_radius": np.array([masks.bounding_radius(c, 4, 13, 11) for c in (0, 5, 6.5, 20)]),
        "bins": masks.radial_bins(5, 4, 13, 11, radius=5, radius_inner=1, n_bins=3, use_sparse=False),
    }
    sparse = {
        "all_bins": masks.radial_bins(32, 32, 64, 64),
        "stamps": masks.sparse_template_multi_stack([0, 1], [0, -1], [3, 9], np.ones((2, 3)), 13, 11),
        "disks": masks.sparse_circular_multi_stack([0, 1, 1], [0, 4, 9], [3, 7, 7], 13, 11, 1.5),
    }
    return {**dense, **{name: stack.todense() for name, stack in sparse.items()}}


def main(source, target):
    """Write all results."""
    with np.load(source) as file:
        data, roi = file["data"], file["roi"]
    results = {f"mask {name}": mask for name, mask in generate(masks).items()}
    with Context.make_with("inline") as context:
        dataset = context.load("memory", data=data, num_partitions=3)
        namespace = SimpleNamespace(
            ApplyMasksUDF=ApplyMasksUDF,
            CoMUDF=com.CoMUDF,
            PickUDF=raw.PickUDF,
            StdDevUDF=stddev.StdDevUDF,
            SumSigUDF=sumsigudf.SumSigUDF,
            SumUDF=sum_.SumUDF,
        )
        for label, selection in (("all", None), ("roi", roi)):
            for i, udf in enumerate(udfs(namespace, data.shape[2:])):
                for name, buffer in context.run_udf(dataset, udf, roi=selection).items():
                    results[f"{label} {i} {name}"] = buffer.data
    shifts = results["all 6 raw_shifts"]
    for label, selection in (("all", None), ("mask", roi), ("slices", np.s_[2:10, 3:])):
        guess = com.guess_corrections(shifts[..., 0], shifts[..., 1], roi=selection)
        results[f"guess {label}"] = np.array(guess, dtype=float)
    np.savez(target, **results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
