"""The quantizer of transformers for compressed models: `from_pretrained` builds their layers from the factors."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from armor_core.inference.experts import ArmorExperts
from armor_core.inference.factor_linear import FactorLinear
from armor_core.inference.linear import ArmorLinear
from armor_core.inference.unpack import file_of
from armor_core.model.layer_file import ENDINGS
from armor_core.model.stored import WORDS_OF_FILE, StoredModel

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from armor_core.inference.places import Place
    from armor_core.model.layer_file import LayerFile

METHOD = "armor"
FORMAT = "factors"
WEIGHTS = ("armor-model.safetensors.index.json", "armor-model.safetensors")
PLAIN = ("model.safetensors.index.json", "model.safetensors")


@register_quantization_config(METHOD)
class ArmorConfig(QuantizationConfigMixin):
    """`quantization_config` of a compressed model's config.json; docs/formats.md has its keys."""

    def __init__(self, **keys: Any) -> None:  # noqa: ANN401 - the values of JSON
        """Takes the keys."""
        self.__dict__.update(keys)
        self.quant_method = METHOD

    def to_dict(self) -> dict[str, Any]:
        """The keys."""
        return copy.deepcopy(self.__dict__)


@register_quantizer(METHOD)
class ArmorQuantizer(HfQuantizer):
    """Puts layers of factors in the place of those of the model's class."""

    requires_calibration = True

    def __init__(self, quantization_config: ArmorConfig, **named: Any) -> None:  # noqa: ANN401 - transformers' own
        """Takes the configuration."""
        super().__init__(quantization_config, **named)
        self._layers: dict[str, tuple[torch.nn.Module, str]] = {}
        self._names_on_disk: dict[str, str] = {}
        self._stored: StoredModel | None = None

    def validate_environment(self, *_arguments: object, **named: Any) -> None:  # noqa: ANN401 - transformers' own
        """Refuses what cannot be run."""
        keys = self.quantization_config.to_dict()
        if keys.get("format") != FORMAT:
            raise ValueError(
                f"the model is stored in the format {keys.get('format')}, and only {FORMAT} can be run here: compress "
                f"it with --format {FORMAT}, or with --format reconstructed for programs that know only plain weights"
            )
        if keys.get("base") is not None:
            raise ValueError(
                f"its other tensors are quantised ({keys['base'].get('quant_method')}), which cannot be run"
            )
        devices = named.get("device_map")
        places = set(devices.values()) if isinstance(devices, dict) else {devices}
        if not places <= {None, "cpu", "auto", torch.device("cpu")} or (
            places == {"auto"} and torch.cuda.is_available()
        ):
            raise ValueError(
                f"device_map: {devices}; packed layers run on the CPU: load the model without device_map, then "
                "armor_core.inference.unpack(model, torch.bfloat16, train='none').to('cuda')"
            )

    def update_attn_implementation(self, config: PretrainedConfig) -> PretrainedConfig:
        """Names the file of the weights, and has experts run one by one: only these loops take the weights apart."""
        folder = Path(config.name_or_path)
        found = next((name for name in WEIGHTS if (folder / name).is_file()), None)
        # What `save_pretrained` has written into the folder later has the names of any model.
        if found is not None and not any((folder / name).is_file() for name in PLAIN):
            config.transformers_weights = found
        config._experts_implementation = "eager"
        return config

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **named: Any) -> None:  # noqa: ANN401
        """Makes the layers, without their factors."""
        from armor_core.inference.places import Names

        self._stored = StoredModel(Path(named["checkpoint_files"][0]).parent)
        names = Names(model)
        for place in names.places(self._stored.compressed):
            self._replace(model, place)
        ends = "|".join(end.replace(".", r"\.") for end in ENDINGS)
        known = set(model._keys_to_ignore_on_load_unexpected or [])
        model._keys_to_ignore_on_load_unexpected = known | {rf"\.({ends})$"}

    def update_weight_conversions(self, weight_conversions: list[Any], model: PreTrainedModel) -> list[Any]:
        """Leaves out what only makes parameters that are not there any more, also when the model is saved."""
        from armor_core.inference.places import makes_one_of

        names = list(model.state_dict())
        return [conversion for conversion in weight_conversions if makes_one_of(conversion, names)]

    def _replace(self, model: PreTrainedModel, place: Place) -> None:
        """Replaces what has a parameter: a linear layer, or the parameter itself where it is a stack of experts."""
        path, _, parameter = place.parameter.rpartition(".")
        module = model.get_submodule(path)
        shape = module.get_parameter(parameter).shape
        if place.experts is None and len(shape) == 2 and parameter == "weight":
            layer = self._stored.compressed[place.tensor].layers[0]
            outputs, inputs = self._stored.layer_shape(layer)
            if {outputs, inputs} != set(shape):
                raise ValueError(f"{place.tensor}: is {outputs} × {inputs}, and the model has {list(shape)} there")
            made = ArmorLinear(inputs, outputs, getattr(module, "bias", None))
            self._layers[path] = (made, layer)
            model.set_submodule(path, made)
            # Or transformers would give the weight that is not there random numbers.
            made._is_hf_initialized = model.get_submodule(path.rpartition(".")[0])._is_hf_initialized = True
            return
        if len(shape) != 3:
            raise ValueError(f"{place.parameter}: has shape {list(shape)}, which is neither a layer's nor a stack's")
        stems = self._stems(place)
        shapes = [[self._stored.layer_shape(stem) for stem in parts] for parts in stems]
        made = [[ArmorLinear(inputs, outputs) for outputs, inputs in parts] for parts in shapes]
        for expert, parts in enumerate(stems):
            for index, stem in enumerate(parts):
                self._layers[f"{path}.{parameter}.experts.{expert}.{index}"] = (made[expert][index], stem)
        outputs, inputs = sum(rows for rows, _ in shapes[0]), shapes[0][0][1]
        transposed = self._is_transposed(place) if outputs == inputs else shape[2] == outputs
        stack = ArmorExperts(made, transposed=transposed)
        if stack.shape != shape:
            raise ValueError(f"{place.parameter}: is {list(stack.shape)}, and the model has {list(shape)} there")
        del module._parameters[parameter]
        module._is_hf_initialized = True
        setattr(module, parameter, stack)

    def _stems(self, place: Place) -> list[list[str]]:
        """The layers on disk of each expert of a stack."""
        compressed = self._stored.compressed
        if place.experts is None:
            return [[layer] for layer in compressed[place.tensor].layers]
        return [[compressed[part].layers[0] for part in parts] for parts in place.experts]

    def _is_transposed(self, place: Place) -> bool:
        """Whether a stack of square weights is [experts, in, out] in memory."""
        return place.experts is None and self._stored.compressed[place.tensor].transposed != place.flipped

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_named: Any) -> PreTrainedModel:  # noqa: ANN401
        """Packs the factors, a layer at a time."""
        for path, (layer, stem) in self._layers.items():
            try:
                layer.put(self._stored.layer_file(stem))
            except ValueError as error:
                raise ValueError(f"{self._stored.folder}: {path}: {error}") from error
        # The model alone keeps its layers.
        self._names_on_disk = {path: stem for path, (_, stem) in self._layers.items()}
        self._layers, self._stored = {}, None
        return model

    def get_state_dict_and_metadata(self, model: PreTrainedModel) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
        """What `save_pretrained` writes: the tensors and words that the model was made from, or what became of them."""
        from armor_core.inference.places import Names

        state = {name: tensor for name, tensor in model.state_dict().items() if not self._of_layers(name)}
        names, words = Names(model), {}
        for path, stem in self._names_on_disk.items():
            file = file_in(model.get_submodule(path))
            for end, tensor in file.tensors.items():
                state[f"{names.renamed(stem)}.{end}"] = tensor
            words |= {key if key in WORDS_OF_FILE else f"{stem}.{key}": word for key, word in file.words.items()}
        return state, words

    def _of_layers(self, name: str) -> bool:
        """Whether a tensor of the state is a factor, which is stored by its name on disk."""
        path, _, end = name.rpartition(".")
        return path in self._names_on_disk and end != "bias"

    @property
    def is_trainable(self) -> bool:
        """Once the layers are unpacked."""
        return True

    @property
    def is_compileable(self) -> bool:
        """The product with a packed layer is an operator."""
        return True

    def is_serializable(self, **_named: object) -> bool:
        """Yes."""
        return True


def file_in(layer: torch.nn.Module) -> LayerFile:
    """What is stored of a layer, packed or unpacked."""
    return file_of(layer, layer.dtypes) if isinstance(layer, FactorLinear) else layer.file()
