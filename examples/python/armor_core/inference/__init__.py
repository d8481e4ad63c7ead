"""Runs compressed models: modules of PyTorch that compute with the factors, and a quantizer of transformers.

`import armor_core` is enough for transformers to load a folder that a job wrote:

    import armor_core
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained("OUT")

The layers of the model are then `ArmorLinear`, which keep the packed factors and compute y = A (S (B x)) on the CPU.
`unpack` turns them into `FactorLinear`, whose factors are parameters of PyTorch, to train them or to move them to a
GPU; `pack` turns them back.
"""

from armor_core.inference.experts import ArmorExperts
from armor_core.inference.factor_linear import FactorLinear
from armor_core.inference.linear import ArmorLinear
from armor_core.inference.unpack import pack, unpack

__all__ = ["ArmorExperts", "ArmorLinear", "FactorLinear", "pack", "unpack"]
