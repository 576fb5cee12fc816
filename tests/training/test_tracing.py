"""A float module is followed by what it computes: as a chain of layers, or refused by name."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations, prune

from cipherfit.estimators.postprocessing import steps_of_module
from cipherfit.exceptions import UnsupportedModuleError
from cipherfit.predictor.postprocessing import post_process
from cipherfit.training.tracing import check_supported, trace

N_FEATURES, WIDTH = 5, 12


class Net(nn.Module):
    """Three linear layers, and a forward and parts as each case gives them."""

    def __init__(self, forward, n_outputs=2, **parts):
        super().__init__()
        self.first = nn.Linear(N_FEATURES, WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, n_outputs)
        self.steps = forward
        for name, part in parts.items():
            if isinstance(part, torch.Tensor):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x):
        return self.steps(self, x)


class Guide(Net):
    """As skorch's guide writes a forward, and with what people add to it."""

    def __init__(self):
        super().__init__(None)

    def forward(self, X, mask=None, scale: float = 2.0, **kwargs):
        assert isinstance(X, torch.Tensor)
        assert X.dtype == torch.float32, f"{X.dtype} {X.shape} {kwargs}"
        if X.dim() == 1:
            X = X.unsqueeze(0)
        if mask is not None:
            X = X * mask
        n, d = X.shape
        X = X.view(len(X), -1).reshape(n * d, 1).reshape(-1, 5)
        for layer in (self.first, self.second):
            X = F.relu(layer(X)) * scale
        return self.last(X)


def before(function, **parts):
    return lambda: Net(lambda m, x: m.last(F.relu(m.first(function(x)))), **parts)


def hidden(function, **parts):
    return lambda: Net(lambda m, x: m.last(function(m.first(x))), **parts)


def behind(function, n_outputs=2):
    return lambda: Net(lambda m, x: function(m.last(F.relu(m.first(x)))), n_outputs)


def whole(function, **parts):
    return lambda: Net(function, **parts)


def part(module):
    return lambda: Net(lambda m, x: m.last(m.part(m.first(x))), part=module)


def parametrized(wrap):
    return lambda: nn.Sequential(wrap(nn.Linear(N_FEATURES, WIDTH)), nn.ReLU(), nn.Linear(WIDTH, 2))


def in_place(m, x):
    h = m.first(x)
    h += 1
    h.relu_()
    h[:, 0] = 0.5
    return m.last(h)


PER_NEURON = torch.linspace(-2, 2, WIDTH)
CHAINS = {
    "skorch's guide": Guide,
    "float": before(lambda x: x.float()),
    "to type": before(lambda x: x.to(torch.float32)),
    "to device": before(lambda x: x.to("cpu").to(torch.device("cpu"), torch.float32)),
    "there and back": before(lambda x: x.double().type(torch.FloatTensor)),
    "to the type of a layer": whole(lambda m, x: m.last(m.first(x.to(m.first.weight.dtype)))),
    "contiguous": before(lambda x: x.contiguous().clone().detach()),
    "view": before(lambda x: x.view(x.size(0), -1)),
    "view by length": before(lambda x: x.view(len(x), x.shape[1])),
    "reshape": before(lambda x: x.reshape(-1, N_FEATURES)),
    "flatten": before(lambda x: torch.flatten(x, 1)),
    "squeeze": before(lambda x: x.unsqueeze(1).squeeze()),
    "split and cat": before(lambda x: torch.cat(x.split(2, dim=1), dim=1)),
    "three axes": whole(lambda m, x: m.last(F.relu(m.first(x[:, None]))).squeeze(1)),
    "standardized": before(lambda x: (x - torch.arange(5.0)) / 2),
    "default scale": before(lambda x: torch.nan_to_num(2 * x - 1)),
    "affine output": behind(lambda z: -1 + 4 * torch.sigmoid(z)),
    "minus output": behind(lambda z: 3 - 4 * z.sigmoid()),
    "softmax": behind(lambda z: F.softmax(z, dim=1)),
    "log_softmax": behind(lambda z: z.log_softmax(-1)),
    "squeezed hidden": hidden(lambda z: torch.relu(z.unsqueeze(1).squeeze()).unsqueeze(2)[:, :, 0]),
    "unused": whole(lambda m, x: [m.last(m.first(x)), m.second(m.first(x)) + x.mean()][0]),
    "squeezed output": behind(lambda z: z.squeeze(), 1),
    "flat output": behind(lambda z: z.view(-1), 1),
    "normalized output": behind(lambda z: z / (1 + z.abs().sum(dim=1, keepdim=True))),
    "scaled relu": hidden(lambda z: 0.5 * F.relu(z)),
    "1 - exp": hidden(lambda z: 1 - torch.exp(-F.relu(z))),
    "clamp": hidden(lambda z: torch.clamp(z, 0, 6)),
    "clamp by keywords": hidden(lambda z: torch.clamp(input=z, max=6.0, min=0)),
    "division": hidden(lambda z: z / 2),
    "divided by": hidden(lambda z: 2 / (1 + z.abs())),
    "square": hidden(lambda z: z**2),
    "power of 2": hidden(lambda z: 2 ** -z.abs()),
    "where": hidden(lambda z: torch.where(z > 0, z, 0.1 * z)),
    "where zero": hidden(lambda z: torch.where(z > 0, z, torch.zeros_like(z))),
    "where scalars": hidden(lambda z: torch.where(z > 0, 1.0, -1.0)),
    "zeros by shape": hidden(lambda z: torch.max(z, torch.zeros(z.size(0), z.shape[1]))),
    "sum of two": hidden(lambda z: F.relu(z) + 0.1 * z),
    "gate": hidden(lambda z: z * torch.sigmoid(z)),
    "condition as number": hidden(lambda z: z * (z > 0).float()),
    "numpy scalars": hidden(lambda z: np.float32(0.5) * z + z.relu() * np.sqrt(2)),
    "maximum of two": hidden(lambda z: torch.stack([z, -0.1 * z], -1).max(-1).values),
    "straight-through": hidden(lambda z: z + (z.relu() - z).detach()),
    "functional dropout": whole(
        lambda m, x: m.last(F.dropout(F.relu(m.first(x)), training=m.training))
    ),
    "per neuron": whole(lambda m, x: m.last(F.relu(m.first(x)) * m.c + m.c), c=PER_NEURON),
    "parameter per neuron": whole(
        lambda m, x: m.last(torch.tanh(m.first(x) * m.c)), c=nn.Parameter(PER_NEURON)
    ),
    "in place": whole(in_place),
    "in-place module": part(nn.ReLU(inplace=True)),
    "prelu": part(nn.PReLU(WIDTH)),
    "batch norm": part(nn.BatchNorm1d(WIDTH, momentum=None)),
    "alpha dropout": part(nn.AlphaDropout(0.3)),
    "feature dropout": part(nn.FeatureAlphaDropout(0.3)),
    "rrelu": part(nn.RReLU()),
    "unflatten": part(nn.Sequential(nn.Unflatten(1, (3, 4)), nn.SiLU(), nn.Flatten())),
    "module list": whole(
        lambda m, x: m.several[2](m.several[1](m.several[0](x))),
        several=nn.ModuleList([nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)]),
    ),
    "a layer twice": whole(lambda m, x: m.last(m.second(torch.tanh(m.second(m.first(x)))))),
    "no bias": lambda: nn.Sequential(nn.Linear(5, 4, bias=False), nn.ReLU(), nn.Linear(4, 2)),
    "weight norm": parametrized(parametrizations.weight_norm),
    "old weight norm": parametrized(nn.utils.weight_norm),
    "spectral norm": parametrized(parametrizations.spectral_norm),
    "old spectral norm": parametrized(nn.utils.spectral_norm),
    "matmul": whole(lambda m, x: m.last(F.relu(x @ m.w + m.first.bias)), w=torch.randn(5, 12)),
    "addmm": whole(
        lambda m, x: m.last(F.relu(torch.addmm(m.first.bias, x, m.first.weight.T)))
    ),
    "einsum": whole(lambda m, x: m.last(torch.einsum("nd,kd->nk", x, m.first.weight))),
    "masked weights": whole(
        lambda m, x: m.last(F.relu(F.linear(x, m.first.weight * m.w, m.first.bias))),
        w=(torch.arange(60) % 2).reshape(12, 5),
    ),
    "vector": whole(lambda m, x: F.relu(m.first(x)) @ m.v, v=PER_NEURON),
    "pruned": parametrized(lambda layer: prune.l1_unstructured(layer, "weight", 0.4)),
    "flip": hidden(lambda z: z.relu().flip(1)),
    "some features": before(lambda x: x[:, [0, 1, 2, 3, 3]]),
    "every second neuron": hidden(lambda z: z.relu()[:, ::2].repeat_interleave(2, 1)),
    "means of positions": hidden(lambda z: z.view(-1, 4, 3).relu().mean(2).repeat(1, 3)),
    "sums of channels": hidden(lambda z: z.view(-1, 4, 3).tanh().sum(1).repeat(1, 4)),
    "permuted": hidden(lambda z: z.view(-1, 4, 3).relu().permute(0, 2, 1).flatten(1)),
    "upsampled": hidden(lambda z: F.interpolate(z.relu()[:, None, :4], 12, mode="linear")[:, 0]),
    "rolled features": before(lambda x: (2 * x + 1).roll(1, 1)),
    "shuffled": whole(
        lambda m, x: m.last(F.channel_shuffle(m.first(x).relu().view(-1, 4, 3), 2).flatten(1))
    ),
    "numpy index": before(lambda x: x[:, np.arange(N_FEATURES)]),
    "one layer": lambda: nn.Linear(N_FEATURES, 2),
    "double": lambda: Net(lambda m, x: m.last(F.relu(m.first(x.double())))).double(),
}  # fmt: skip


def some_rows(n=40):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, N_FEATURES, generator=generator)


def settled(module):
    """Return a module in evaluation that has seen a batch, as after training."""
    like = next(module.parameters())
    module.train()(some_rows().to(like))
    return module.eval()


def evaluated(chain, x):
    x = x.double() * chain.before.scale + chain.before.shift
    for layer in chain.layers[:-1]:
        x = layer.tail(F.linear(x, layer.weight, layer.bias))
    last = chain.layers[-1]
    return chain.epilogue(F.linear(x, last.weight, last.bias))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_computes_what_the_module_computes(name):
    module = settled(CHAINS[name]())
    x = some_rows()
    with torch.no_grad():
        expected = module(x.to(next(module.parameters()))).double().reshape(len(x), -1)
    values = evaluated(trace(module, N_FEATURES), x)
    assert values.shape == expected.shape
    assert torch.allclose(values, expected, rtol=1e-4, atol=1e-5)
    # A row alone, which `squeeze` would take for something else, is the same row.
    assert torch.allclose(evaluated(trace(module, N_FEATURES), x[:1]), values[:1])


def parallel(m, x):
    return m.last(F.relu(m.first(x)) + m.other(x))


def residual(m, x):
    h = F.relu(m.first(x))
    return m.last(m.second(h) + h)


def two_heads(m, x):
    h = F.relu(m.first(x))
    return torch.cat([m.last(h), m.second(h)], dim=1)


def written(m, x):
    copied = torch.zeros(len(x), N_FEATURES)
    copied[:, 0] = x[:, 0]
    return m.first(copied)


def through_a_view(m, x):
    h = m.first(x)
    h.view(-1).mul_(2)
    return m.last(h)


def through_data(m, x):
    h = m.first(x)
    h.data.mul_(2)
    return m.last(h)


def remembering(m, x):
    past, m.past = m.past, m.first(x)
    return m.last(past[:1] + m.past)


OTHER = nn.Linear(N_FEATURES, WIDTH)
REFUSED = {
    "parallel": (whole(parallel, other=OTHER), "the input is used by several layers, first and o"),
    "residual": (whole(residual), "layer add joins the output of layer first and .* of layer sec"),
    "two heads": (whole(two_heads), "output of layer first is used by several layers, last and s"),
    "tuple": (whole(lambda m, x: (m.first(x), x)), "forward returns a tuple"),
    "dict": (whole(lambda m, x: {"y": m.first(x)}), "forward returns a dict"),
    "constant": (whole(lambda m, x: torch.zeros(len(x), 2)), "torch functions don't make of its"),
    "batch norm": (part(nn.BatchNorm1d(WIDTH, track_running_stats=False)), "layer part .* batch"),
    "batch norm first": (
        lambda: nn.Sequential(nn.BatchNorm1d(5, track_running_stats=False), nn.Linear(5, 2)),
        "layer 0 .* batch",
    ),
    "batch norm last": (
        lambda: nn.Sequential(nn.Linear(5, 2), nn.BatchNorm1d(2, track_running_stats=False)),
        "layer 1 .* batch",
    ),
    "batch function": (hidden(lambda z: F.batch_norm(z, None, None, training=True)), "layer batch"),
    "mean": (hidden(lambda z: z - z.mean(0)), r"layer mean changes what a row is: .* \(12,\)"),
    "length": (hidden(lambda z: z / len(z)), "layer div .* other rows of its batch"),
    "softmax of rows": (behind(lambda z: z.softmax(0)), "layer softmax .* other rows"),
    "group norm": (part(nn.GroupNorm(3, WIDTH)), "layer part is not.*; use batch norm"),
    "layer norm": (part(nn.LayerNorm(WIDTH)), "layer part is not elementwise"),
    "deep": (part(nn.Sequential(nn.ReLU(), nn.Softmax(1))), r"layer part\.1 is not elementwise"),
    "glu": (whole(lambda m, x: F.glu(m.second(F.glu(m.first(x)))), second=nn.Linear(6, 4)),
            "layer glu is not elementwise: it makes 6 columns of 12"),
    "parts": (hidden(lambda z: torch.cat(z.split(4, 1)[::-1], 1)), "layer cat is not element"),
    "rows": (hidden(lambda z: z.view(-1, 4).repeat(1, 3)), r"layer view .* become \(96, 4\)"),
    "transposed": (whole(lambda m, x: (m.last.weight @ m.first(x).T).T), "layer T changes what"),
    "first": (before(torch.relu), "layer relu comes before the first linear layer"),
    "clamp first": (before(lambda x: x.clamp(-10, 10)), "layer clamp comes before the first lin"),
    "sorted": (hidden(lambda z: z.sort(1).values), "layer sort is not elementwise, and linear"),
    "a band first": (before(lambda x: F.hardshrink(x / 30 - 4, 0.2)), "layer hardshrink comes bef"),
    "normalized": (hidden(lambda z: z / z.sum(1, keepdim=True)), "layer sum is not elementwise"),
    "nothing": (nn.Identity, "no linear layer"),
    "condition": (hidden(lambda z: z if z.sum() > 0 else -z), "bool looks at the values"),
    "number": (hidden(lambda z: z / z.max().item()), "item looks at the values"),
    "numpy": (before(lambda x: torch.from_numpy(x.numpy())), "numpy looks at the values"),
    "by length": (hidden(lambda z: z if len(z) % 2 else z.relu()), "takes other steps when it"),
    "always dropped": (hidden(F.dropout), "layer dropout is random in evaluation too"),
    "noise": (hidden(lambda z: z + torch.randn_like(z)), "layer randn_like is random"),
    "other noise": (hidden(lambda z: z + torch.randn(z.shape)), "neither on chance nor"),
    "constant noise": (hidden(lambda z: z + torch.randn(WIDTH)), "neither on chance nor"),
    "remembered": (whole(remembering, past=torch.zeros(1, WIDTH)), "reads what an earlier batch"),
    "not copied": (whole(None, lock=threading.Lock()), "Net can't be copied"),
    "summed rows": (
        whole(lambda m, x: torch.einsum("nd,kd->k", x, m.first.weight)), "layer einsum makes shape"
    ),
    "behind its back": (whole(through_data), "gives other values than the torch functions"),
    "weights of the data": (
        whole(lambda m, x: F.linear(torch.ones(4, 5), x)), "layer linear makes shape"
    ),
    "written": (whole(written), "layer setitem writes values into other tensors"),
    "view": (whole(through_a_view), "layer last reads what was changed elsewhere"),
    "features": (lambda: nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), "5 features, in layer 1: mat1"),
    "script": (part(torch.jit.script(nn.ReLU())), "no function of torch's|torch functions don't"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_chain_is_refused_by_name(name):
    module, message = REFUSED[name]
    with pytest.raises(UnsupportedModuleError, match=message):
        check_supported(module(), N_FEATURES)


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (behind(lambda z: -1 + 4 * torch.sigmoid(z)), ["sigmoid", "affine"]),
        (behind(lambda z: 1 / (1 + torch.exp(-z))), ["sigmoid"]),
        (behind(lambda z: torch.tanh(2 * z - 1) / 3), ["affine", "tanh", "affine"]),
        (behind(lambda z: z.softmax(-1)), ["softmax"]),
        (behind(lambda z: z.float().squeeze(), 1), []),
        (behind(lambda z: F.relu6(z).unsqueeze(1).flatten(1)), ["clip"]),
        (behind(lambda z: F.softplus(z, beta=2)), [None]),
        (behind(lambda z: z.clamp(min=-0.1)), [None]),
        (behind(lambda z: z.clamp(max=0.1), 1), [None]),
        (behind(lambda z: z.clamp(min=0)), ["relu"]),
        (behind(lambda z: z.clamp(-1e5, 1e5)), ["clip"]),
        (behind(lambda z: torch.cat([z, z.relu()], 1).softmax(1)), [None, "softmax"]),
        (behind(lambda z: torch.cat([1 - z.sigmoid(), z.sigmoid()], 1), 1), [None]),
    ],
)
def test_what_follows_the_last_layer_is_named_by_what_it_computes(module, names):
    module = module().eval()
    chain = trace(module, N_FEATURES)
    steps = steps_of_module(chain.epilogue, len(chain.layers[-1].bias))
    assert [getattr(step, "name", None) for step in steps] == names
    x = some_rows()
    with torch.no_grad():
        expected = module(x).reshape(len(x), -1)
        outputs = module.last(F.relu(module.first(x))).double().numpy()
    for kept in (steps, copy.deepcopy(steps), pickle.loads(pickle.dumps(steps))):
        np.testing.assert_allclose(post_process(outputs, kept), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "conversion",
    [
        lambda z: z.double().float(),
        lambda z: z.double().to(torch.float32),
        lambda z: z.double().type("torch.FloatTensor"),
    ],
)
def test_conversions_to_single_precision_lose_nothing(conversion):
    module = hidden(conversion)()
    x = some_rows()
    converted = evaluated(trace(module, N_FEATURES), x)
    module.steps = hidden(lambda z: z)().steps
    assert torch.equal(converted, evaluated(trace(module, N_FEATURES), x))


def test_tracing_leaves_module_and_random_state_as_they_are():
    module = CHAINS["batch norm"]().train()
    module.keeps = module.first.weight * 2  # has a history, so that it can't be deep-copied
    before = {name: value.clone() for name, value in module.state_dict().items()}
    noisy, state = REFUSED["noise"][0](), torch.get_rng_state()
    check_supported(module, N_FEATURES)
    with pytest.raises(UnsupportedModuleError):
        check_supported(noisy, N_FEATURES)
    assert torch.equal(torch.get_rng_state(), state)
    after = module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(each.training and not each._forward_hooks for each in module.modules())


def test_values_that_nothing_needs_any_more_are_let_go():
    def many(z):
        for _ in range(50):
            z = torch.sin(z)
        return z

    tail = trace(hidden(many)(), N_FEATURES).layers[0].tail
    rows = torch.zeros(2, WIDTH, dtype=torch.float64)
    assert len(tail.calls) == 50
    assert len(tail.values(rows)) == 51
    assert len(tail.values(rows, forget=True)) == 1
