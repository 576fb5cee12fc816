"""The quantized, pruned multi-layer perceptron, as a torch module."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from cipherfit.exceptions import InvalidParameterError
from cipherfit.limits import MAX_ACCUM_BITS, MAX_CODE_BITS, MAX_LOOKUP_BITS
from cipherfit.parameters import integer
from cipherfit.training.activations import build_activation
from cipherfit.training.autograd import OutputUnitsFunction
from cipherfit.training.client_layers import ClientLayers
from cipherfit.training.linear import QuantLinear
from cipherfit.training.quantizers import ActivationQuantizer, InputQuantizer
from cipherfit.training.random_layers import RandomLayer
from cipherfit.training.ranges import Relevance
from cipherfit.training.surroundings import own_settings
from cipherfit.training.widths import (
    LayerWidths,
    check_accumulator,
    default_in_bits,
    default_lookup_bits,
    hidden_widths_of,
    max_active_neurons,
    multiplied,
    per_layer,
)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalization that also trains on a batch of one row, by its running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalize `x` (n_samples, n_features)."""
        if self.training and len(x) == 1:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        return super().forward(x)


class QuantNetwork(nn.Module):
    """A chain of quantized layers: what can be lowered to an integer graph.

    Parameters
    ----------
    features : nn.Sequential
        An `InputQuantizer`, then any `RandomLayer`, then `QuantLinear` layers; between two of them
        whatever turns real values into codes elementwise, ending with an `ActivationQuantizer`.
    n_outputs : int
        Number of outputs of the last linear layer.
    rounding : {"approximate", "exact"} or sequence of them
        How the circuit rounds away the bits that a lookup does not read, in all encrypted hidden
        layers or in each.
    n_client_layers : int, default=0
        How many of the hidden layers, from the first on, the client computes in the clear.
    """

    has_units: Tensor
    output_scale: Tensor
    output_mean: Tensor

    def __init__(
        self,
        features: nn.Sequential,
        n_outputs: int,
        rounding: str | Sequence[str],
        *,
        n_client_layers: int = 0,
    ) -> None:
        super().__init__()
        self.features = features
        self.rounding = rounding
        self.n_client_layers = n_client_layers
        n_hidden = len(self.encrypted_layers) - 1
        self.roundings = per_layer("rounding", rounding, n_hidden, _which(n_client_layers))
        for each in self.roundings:
            if each not in ("approximate", "exact"):
                raise InvalidParameterError(
                    f"Invalid rounding: {each!r} is neither 'approximate' nor 'exact'"
                )
        self.register_buffer("has_units", torch.tensor(False))
        self.register_buffer("output_scale", torch.ones(n_outputs, dtype=torch.float64))
        self.register_buffer("output_mean", torch.zeros(n_outputs, dtype=torch.float64))

    @property
    def input_quantizer(self) -> InputQuantizer:
        """The quantizer of the inputs, which in FHE runs on the client."""
        quantizer = self.features[0]
        assert isinstance(quantizer, InputQuantizer)
        return quantizer

    @property
    def linear_layers(self) -> list[QuantLinear]:
        """The linear layers that train, first to last."""
        return [layer for layer in self.features if isinstance(layer, QuantLinear)]

    @property
    def random_layers(self) -> list[RandomLayer]:
        """The client's layers that are fixed by a seed."""
        return [layer for layer in self.features if isinstance(layer, RandomLayer)]

    @property
    def encrypted_layers(self) -> list[QuantLinear]:
        """The linear layers behind those of the client."""
        return self.linear_layers[self.n_client_layers - len(self.random_layers) :]

    def forward(self, x: Tensor) -> Tensor:
        """Forward pass.

        In training it runs in the inputs' precision; in evaluation in double precision, where it
        equals the integer graph to the last code.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, input_dim)
            Network input.

        Returns
        -------
        x : torch.Tensor of shape (n_samples, n_outputs)
            Network prediction, of the type of `x`.
        """
        if self.training:
            outputs: Tensor = self.features(x)
            if not bool(self.has_units):
                return outputs
            # The gradient is that of outputs in units of their own, lest targets of a tiny or huge
            # unit leave the optimizer's range.
            scaled: Tensor = OutputUnitsFunction.apply(  # type: ignore[no-untyped-call]
                outputs, self.output_scale.to(x.dtype), self.output_mean.to(x.dtype)
            )
            return scaled
        exact = torch.func.functional_call(self.features, double_state(self.features), x.double())
        return self._scale_outputs(exact).to(x.dtype)

    def _scale_outputs(self, x: Tensor) -> Tensor:
        return x * self.output_scale.to(x.dtype) + self.output_mean.to(x.dtype)


class SparseQuantNeuralNetImpl(QuantNetwork):
    """Sparse quantized multi-layer perceptron that is compatible with FHE constraints.

    Weights and activations are quantized to few bits while training (QAT), and pruning in every
    forward keeps each accumulator within `n_accum_bits`, for *every* input that the quantizer can
    emit.

    Parameters
    ----------
    input_dim : int
        Number of input features, at least 1.
    n_layers : int
        Number of linear layers, at least 1.
    n_outputs : int
        Number of classes or regression targets, at least 1.
    n_hidden_neurons_multiplier : int or float, default=4
        Hidden layers have ``n_hidden_neurons_multiplier * max_active_neurons()`` neurons.
    n_w_bits : int, default=3
        Bits of a weight, in [1, 16].
    n_a_bits : int, default=3
        Bits of an activation, in [1, 16]; those of an input follow, see `n_in_bits`.
    n_accum_bits : int, default=8
        Bits that every accumulator fits, in [1, 48].
    activation_function : type, default=nn.ReLU
        Elementwise torch activation class, built without arguments.
    n_hidden_neurons : int or sequence of int or None, optional
        Neurons of every hidden layer, or of each, where None stands for the default: what the
        multiplier gives; in client layers 2 learned neurons per feature, within [16, 256], 1024
        random ones that read pairs, or 16 per feature and at most 2048 that read patches.
    n_lookup_bits : int or sequence of int, optional
        Top bits of a hidden accumulator that its lookup reads, in [1, 16], in every encrypted
        hidden layer or in each. Default: all of them up to 6, else 6 or one more than the
        activations have: cheap in FHE, and fine enough.
    n_in_bits : int, optional
        Bits of an input, in [1, 16]. Default: `n_a_bits`, or more where there are so few inputs
        that the accumulator has room for them, or fewer where there are so many that it has too
        little for their weights: see `default_in_bits`. They cost no lookups. Where random neurons
        read them: 7.
    rounding : {"approximate", "exact"} or sequence of them, default="approximate"
        How the circuit rounds away the bits that a lookup does not read, in every encrypted hidden
        layer or in each. Approximate rounding is several times faster, and may move a value next to
        a rounding threshold to its neighbour.
    n_client_layers : int, default=0
        How many of the hidden layers, from the first on, the client computes in the clear, in
        [0, n_layers - 1]. What follows alone is encrypted, and `n_w_bits`, `n_a_bits` and
        `n_accum_bits` are its widths; without hidden layers there, it needs no lookups.
    client_layers : {"random", "learned"}, default="random"
        Where the weights of client layers come from. "random": drawn from torch's seed, and fixed;
        they say nothing of the training data or of the layers behind, whose weights all stay
        secret. "learned": trained with the rest, which is the most accurate. Their weights are then
        **public**: every client holds them.
    client_features : {"auto", "pairs", "patches"}, default="auto"
        What the neurons of a random layer read: one or two features each, or a rectangle of an
        image each. "auto": patches where `image_shape` is given or the number of features is a
        square of at least 8 x 8, else pairs.
    image_shape : (height, width) or (height, width, channels), optional
        Shape of the image whose pixels are the features, row by row. Default for patches: a square.
    n_client_w_bits, n_client_a_bits, n_client_accum_bits : int, optional
        Widths of client layers, which cost nothing encrypted: of weights, in [1, 16], and of
        accumulators, in [1, 48], of learned ones (default: 5 and 16), and of activations, in
        [1, 16] (default: 4), which are the codes that the encrypted part takes in.

    Attributes
    ----------
    features : nn.Sequential
        The layers: codes flow into every linear layer, real values out of it.
    n_in_bits : int
        Bits of an input code, as given or chosen.

    Raises
    ------
    ValueError
        If a parameter is invalid, or no neuron could be active within the accumulator's bits.
    """

    n_accum_bits: int

    @own_settings()
    def __init__(
        self,
        input_dim: int,
        n_layers: int,
        n_outputs: int,
        n_hidden_neurons_multiplier: float = 4,
        n_w_bits: int = 3,
        n_a_bits: int = 3,
        n_accum_bits: int = 8,
        activation_function: type[nn.Module] = nn.ReLU,
        *,
        n_hidden_neurons: int | Sequence[int | None] | None = None,
        n_lookup_bits: int | Sequence[int] | None = None,
        n_in_bits: int | None = None,
        rounding: str | Sequence[str] = "approximate",
        n_client_layers: int = 0,
        client_layers: str = "random",
        client_features: str = "auto",
        image_shape: Sequence[int] | None = None,
        n_client_w_bits: int | None = None,
        n_client_a_bits: int | None = None,
        n_client_accum_bits: int | None = None,
    ) -> None:
        input_dim = integer("input_dim", input_dim, 1, what="number of input dimensions")
        n_layers = integer("n_layers", n_layers, 1, what="number of layers")
        n_outputs = integer("n_outputs", n_outputs, 1, what="number of outputs")
        n_w_bits = integer("n_w_bits", n_w_bits, 1, MAX_CODE_BITS, what="quantization bitwidth")
        n_a_bits = integer("n_a_bits", n_a_bits, 1, MAX_CODE_BITS, what="quantization bitwidth")
        n_accum_bits = integer(
            "n_accum_bits", n_accum_bits, 1, MAX_ACCUM_BITS, what="accumulator bitwidth"
        )
        check_accumulator(n_accum_bits, n_w_bits, n_a_bits, "activation")
        client = ClientLayers.chosen(
            n_client_layers,
            n_layers - 1,
            client_layers,
            features=client_features,
            input_dim=input_dim,
            image_shape=image_shape,
            n_w_bits=n_client_w_bits,
            n_a_bits=n_client_a_bits,
            n_accum_bits=n_client_accum_bits,
        )
        n_encrypted = n_layers - 1 - client.n_layers
        if n_lookup_bits is None:
            n_lookup_bits = default_lookup_bits(n_accum_bits, n_a_bits)
        lookup_bits = [
            integer("n_lookup_bits", bits, 1, MAX_LOOKUP_BITS, what="lookup bitwidth")
            for bits in per_layer(
                "n_lookup_bits", n_lookup_bits, n_encrypted, _which(client.n_layers)
            )
        ]
        widths = [client.widths] * client.n_layers + [
            LayerWidths(n_w_bits, n_accum_bits, bits, n_a_bits) for bits in [*lookup_bits, None]
        ]
        if n_in_bits is None:
            if client.n_layers:
                n_in_bits = client.default_in_bits(input_dim)
            else:
                n_in_bits = default_in_bits(input_dim, n_w_bits, n_a_bits, n_accum_bits)
        n_in_bits = integer("n_in_bits", n_in_bits, 1, MAX_CODE_BITS, what="quantization bitwidth")
        if client.n_layers:
            n_code_bits = client.widths.n_a_bits
            check_accumulator(n_accum_bits, n_w_bits, n_code_bits, "client activation")
        if client.kind is None:
            name = "n_client_accum_bits" if client.n_layers else "n_accum_bits"
            check_accumulator(widths[0].n_accum_bits, widths[0].n_w_bits, n_in_bits, "input", name)
        most_active = max_active_neurons(n_accum_bits, n_w_bits, n_a_bits)
        defaults = [partial(client.default_neurons, input_dim)] * client.n_layers
        defaults += [partial(multiplied, n_hidden_neurons_multiplier, most_active)] * n_encrypted
        hidden_widths = hidden_widths_of(n_hidden_neurons, defaults)
        drawn = client.draw(input_dim, hidden_widths[: client.n_layers], n_in_bits)
        trained = _build(
            [input_dim, *hidden_widths, n_outputs][len(drawn) :],
            activation_function,
            n_in_bits=client.widths.n_a_bits if drawn else n_in_bits,
            widths=widths[len(drawn) :],
        )
        features = nn.Sequential(InputQuantizer(input_dim, n_in_bits), *drawn, *trained)
        super().__init__(features, n_outputs, rounding, n_client_layers=client.n_layers)
        self.input_dim = input_dim
        self.n_layers = n_layers
        self.n_outputs = n_outputs
        self.n_hidden_neurons_multiplier = n_hidden_neurons_multiplier
        self.n_w_bits = n_w_bits
        self.n_a_bits = n_a_bits
        self.n_accum_bits = n_accum_bits
        self.n_lookup_bits = n_lookup_bits
        self.n_in_bits = n_in_bits
        self.activation_function = activation_function
        self.hidden_widths = hidden_widths
        self.n_client_a_bits = client.widths.n_a_bits
        self.client_layers = client_layers

    def max_active_neurons(self) -> int:
        """Return how many non-zero weights a neuron may have in the worst case.

        ``floor((2**n_accum_bits - 1) / ((2**n_w_bits - 1) * (2**n_a_bits - 1)))``: as many fit when
        every weight and activation is at its maximum. The mask that runs in training uses the
        exact bound, which lets more and smaller weights stay.

        Returns
        -------
        n : int
            Maximum number of active (non-zero weight) neurons.
        """
        return max_active_neurons(self.n_accum_bits, self.n_w_bits, self.n_a_bits)

    def extra_repr(self) -> str:
        """Say which layers are the client's, and what that discloses."""
        if not self.n_client_layers:
            return ""
        said = "drawn from a seed" if self.random_layers else "learned: their weights are public"
        return f"{self.n_client_layers} client layer(s), {said}"

    @property
    def pruned_layers(self) -> set[QuantLinear]:
        """Layers whose pruning is not permanent yet."""
        return {layer for layer in self.linear_layers if not bool(layer.settled)}

    def enable_pruning(self) -> None:
        """Enable pruning; it must be made permanent to write its zeros into the weights."""
        for layer in self.linear_layers:
            layer.settled.fill_(False)

    def make_pruning_permanent(self) -> None:
        """Write the learned pruning into the weights, as exact zeros."""
        for layer in self.pruned_layers:
            layer.settle()

    def on_train_end(self) -> None:
        """Make the pruning permanent when training has ended."""
        self.make_pruning_permanent()

    def calibrate(self, x: Tensor, y: Tensor | None = None, *, by: Relevance | None = None) -> None:
        """Choose the input quantizer, and the outputs' unit, from data.

        Parameters
        ----------
        x : torch.Tensor of shape (n_samples, input_dim)
            Inputs, finite. Without this call the first training batch serves.
        y : torch.Tensor of shape (n_samples, n_outputs), optional
            Regression targets: their mean and standard deviation become the origin and the unit
            of the outputs.
        by : Relevance, optional
            Targets of any kind, and weights of rows, which tell what rare inputs are worth a code.
        """
        self.input_quantizer.calibrate(x, by=by)
        if y is not None:
            y = y.detach().to(torch.float64)
            spread = y.std(dim=0, unbiased=False)
            self.has_units.fill_(True)
            self.output_mean.copy_(y.mean(dim=0))
            self.output_scale.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))


def _which(n_client_layers: int) -> str:
    """Say which hidden layers parameters of lookups are for."""
    return "encrypted hidden" if n_client_layers else "hidden"


def _build(
    sizes: Sequence[int],
    activation_function: type[nn.Module],
    *,
    n_in_bits: int,
    widths: Sequence[LayerWidths],
) -> list[nn.Module]:
    """Return the layers that train: `sizes` are those of the codes, `widths` one per layer."""
    layers: list[nn.Module] = []
    for (fan_in, fan_out), bits in zip(itertools.pairwise(sizes), widths, strict=True):
        last = bits.n_lookup_bits is None
        linear = QuantLinear(
            fan_in,
            fan_out,
            n_w_bits=bits.n_w_bits,
            n_in_bits=n_in_bits,
            n_accum_bits=bits.n_accum_bits,
            n_lookup_bits=bits.n_lookup_bits,
            bias=last,
        )
        layers.append(linear)
        if not last:
            activation = build_activation(activation_function)
            quantizer = ActivationQuantizer(fan_out, bits.n_a_bits, activation)
            layers += [BatchNorm(fan_out), activation, quantizer]
            n_in_bits = bits.n_a_bits
    return layers


def double_state(module: nn.Module) -> dict[str, Tensor]:
    """Return a module's parameters and floating-point buffers in double precision."""
    state: dict[str, Tensor] = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return {
        name: value.double() if value.is_floating_point() else value
        for name, value in state.items()
    }
