"""Makes a model of transformers from a folder, also from one that a job has compressed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import torch
import transformers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from armor_core.model.stored import StoredModel

LISTED = 3


@dataclasses.dataclass
class Family:
    """What a folder's configuration makes of its tensors: a class of transformers, with a language head or without."""

    config: transformers.PretrainedConfig
    model_class: type[transformers.PreTrainedModel]
    has_head: bool


def family(folder: Path) -> Family:
    """The class of a folder's model; the head counts where the folder's own class has one."""
    config = transformers.AutoConfig.from_pretrained(folder)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    if config.is_encoder_decoder:
        raise ValueError(
            f"{folder}: {config.model_type} has an encoder and a decoder, and such models are not run here"
        )
    classes = {
        made.__name__: made
        for mapping in (transformers.MODEL_FOR_CAUSAL_LM_MAPPING, transformers.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING)
        for made in [mapping.get(type(config), None)]
        if made is not None
    }
    named = (config.architectures or [next(iter(classes), None)])[0]
    if named in classes:
        return Family(config, classes[named], has_head=True)
    if type(config) not in transformers.MODEL_MAPPING:
        raise ValueError(f"{folder}: transformers {transformers.__version__} has no model of type {config.model_type}")
    return Family(config, transformers.MODEL_MAPPING[type(config)], has_head=False)


def load_dense(
    folder: Path,
    dtype: str | torch.dtype = "auto",
    device: str = "cpu",
    *,
    trust_remote_code: bool = False,
    complete: bool = False,
) -> transformers.PreTrainedModel:
    """Loads a model that is not compressed, to observe its layers; of one for images and text the language part runs.

    With `trust_remote_code` the folder may bring code of its own. With `complete` a ValueError names tensors that the
    folder lacks; transformers makes these up otherwise.
    """
    if trust_remote_code:
        auto = transformers.AutoModelForCausalLM
        model = auto.from_pretrained(folder, dtype=dtype, trust_remote_code=True)
    else:
        made = family(folder)
        model, info = made.model_class.from_pretrained(folder, dtype=dtype, output_loading_info=True)
        if complete:
            refuse_missing(folder, made, info)
    model.set_experts_implementation("eager")  # as while experts are observed, so that every pass computes the same
    return model.to(device).eval()


def load(
    stored: StoredModel,
    dtype: str | torch.dtype = "auto",
    device: str = "cpu",
    changed: Callable[[str, torch.Tensor], torch.Tensor] | None = None,
) -> transformers.PreTrainedModel:
    """Loads the model of a folder, in the type of its configuration or in `dtype`.

    `changed` gives what a tensor is replaced by, from its name on disk and the tensor. A ValueError names tensors that
    the model's class needs and the folder lacks.
    """
    made = family(stored.folder)
    if stored.format is None and changed is None:
        model, info = made.model_class.from_pretrained(
            stored.folder, config=made.config, dtype=dtype, output_loading_info=True
        )
    else:
        wanted = (made.config.dtype or "auto") if dtype == "auto" else dtype
        wanted = wanted if isinstance(wanted, torch.dtype) else getattr(torch, wanted, None)
        tensors = {}
        for name in stored.names():
            kept = stored.tensor(name) if changed is None else changed(name, stored.tensor(name))
            tensors[name] = kept.to(wanted) if wanted is not None and kept.is_floating_point() else kept
        model, info = made.model_class.from_pretrained(
            None, config=made.config, state_dict=tensors, dtype=wanted or "auto", output_loading_info=True
        )
    refuse_missing(stored.folder, made, info)
    return model.to(device).eval()


def refuse_missing(folder: Path, made: Family, info: dict[str, Any]) -> None:
    """A ValueError names the tensors that the folder lacks, for which transformers has put random numbers."""
    # The output of an encoder's pooler is not read.
    missing = sorted(name for name in info["missing_keys"] if made.has_head or not name.startswith("pooler."))
    if missing:
        more = f" and {len(missing) - LISTED} more" if len(missing) > LISTED else ""
        raise ValueError(f"{folder}: lacks the tensors {', '.join(missing[:LISTED])}{more}")
