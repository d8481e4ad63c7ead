"""ARMOR from Python: the shared library of armor-core, by ctypes and numpy on its C ABI.

    import armor_core
    layer = armor_core.factorize(weight, hessian, armor_core.Options(left_block=32, iterations=60))
    layer.report.loss, layer.reconstruct()

`armor_core.library` says where the shared library is looked for. Jobs need a library with the feature `checkpoint`.
Shapes are those of a linear layer of m outputs and k inputs.
"""

from armor_core.abi import DTYPES, Correction, PackedSizes, Report, Sizes
from armor_core.accumulator import Accumulator
from armor_core.errors import ArmorError
from armor_core.factorization import Factorization, factorize
from armor_core.job import Job
from armor_core.library import features, load_library, version
from armor_core.options import Options
from armor_core.packed import Packed
from armor_core.pair_accumulator import PairAccumulator
from armor_core.progress import Progress, ProgressFunction
from armor_core.registration import await_transformers

await_transformers()

__version__ = "0.1.0"  # that of the Rust crate
__all__ = [
    "DTYPES",
    "Accumulator",
    "ArmorError",
    "Correction",
    "Factorization",
    "Job",
    "Options",
    "Packed",
    "PackedSizes",
    "PairAccumulator",
    "Progress",
    "ProgressFunction",
    "Report",
    "Sizes",
    "factorize",
    "features",
    "load_library",
    "version",
]
