"""Correct frames and run UDFs on them with LiberTEM, for test_corrections_against_libertem.py.

Usage: ``python libertem_corrections.py out.npz``.
"""

import sys
import warnings

import numpy as np
import sparse

# Shape of a frame, and which pixels are excluded: every so many.
FRAMES = {(40,): 7, (20, 19): 23, (19, 20): 10_000, (7, 6, 8): 11, (3, 4, 5, 4): 17}
DTYPES = ["u2", "f8"]
# Shape of a frame, type of the data, and what is corrected; LiberTEM compiles anew for each type.
RUNS = [
    ((20, 19), "u2", "dark"),
    ((20, 19), "u2", "gain"),
    ((20, 19), "u2", "pixels"),
    ((20, 19), "u2", "dark gain pixels"),
    ((7, 6, 8), "f4", "dark gain pixels"),
    ((7, 6, 8), "f8", "dark gain pixels"),
]


def make(seed, sig):
    """Return dark frame, gain map and excluded pixels; none of these is without neighbours."""
    rng = np.random.default_rng(seed)
    excluded = np.zeros(sig, bool)
    excluded.reshape(-1)[:: FRAMES[sig]] = True
    return {"dark": rng.random(sig) * 5, "gain": rng.random(sig) + 0.5, "pixels": excluded}


def counts(seed, shape, dtype):
    """Return frames."""
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


def run_cases(context, correction_set, udfs, load):
    """Run UDFs with corrections; return results by case."""
    results = {}
    roi = np.random.default_rng(2).random((5, 6)) < 0.7
    for sig, dtype, use in RUNS:
        made = make(1, sig)
        given = {name: made[name] for name in use.split()}
        if "pixels" in given:
            given["excluded_pixels"] = sparse.COO(given.pop("pixels"))
        corrections = correction_set(**given)
        for label, selected in (("all", None), ("roi", roi)):
            dataset = load(context, counts(3, (5, 6, *sig), dtype), len(sig))
            found = context.run_udf(dataset=dataset, udf=udfs(sig), roi=selected, corrections=corrections)
            for i, result in enumerate(found):
                for name, buffer in result.items():
                    results[f"{sig} {dtype} {use} {label} {i} {name}"] = np.asarray(buffer.data)
    return results


def correct_cases(correct, correct_dot_masks):
    """Correct arrays and masks at hand; return results by case."""
    results = {}
    for sig in FRAMES:
        made = make(4, sig)
        pixels = np.stack(np.nonzero(made["pixels"]))
        for dtype in DTYPES:
            frames = counts(5, (3, *sig), dtype)
            results[f"correct {sig} {dtype}"] = correct(frames, made["dark"], made["gain"], pixels)
        masks = np.random.default_rng(6).random((2, *sig))
        results[f"masks {sig}"] = correct_dot_masks(masks, made["gain"], pixels)
        moved = correct_dot_masks(sparse.COO(masks * (masks > 0.5)), made["gain"], pixels)
        results[f"sparse masks {sig}"] = moved.todense()
    return results


def main(path):
    """Write LiberTEM's results."""
    from libertem.api import Context
    from libertem.corrections.detector import correct, correct_dot_masks
    from libertem.io.corrections import CorrectionSet
    from libertem.udf.masks import ApplyMasksUDF
    from libertem.udf.stddev import StdDevUDF
    from libertem.udf.sum import SumUDF
    from libertem.udf.sumsigudf import SumSigUDF

    def udfs(sig):
        weights = np.random.default_rng(7).random((2, *sig)).astype(np.float32)
        return [SumUDF(), SumSigUDF(), StdDevUDF(), ApplyMasksUDF(mask_factories=lambda: weights)]

    def load(context, data, sig_dims):
        return context.load("memory", data=data, sig_dims=sig_dims, num_partitions=3)

    results = correct_cases(correct, correct_dot_masks)
    results.update(run_cases(Context.make_with("inline"), CorrectionSet, udfs, load))
    np.savez(path, **results)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1])
