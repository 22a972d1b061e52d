"""Mobile-FRNet as a whole, at inference and in training, against the same network in plain torch layers."""

import pytest
import torch
from plain_network import PlainMobileFRNet

from frnet.models import create_model

# torch.compile takes minutes over the whole network: too long for bench/gpu_check.sh.
pytestmark = pytest.mark.cpu_only


def bytes_of(model: torch.nn.Module) -> int:
    """Of the weights, which have to be read at least."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


@pytest.fixture(scope="module")
def networks(device):
    """(frnet's, the plain one) with the same weights and settled statistics."""
    torch.manual_seed(0)
    model = create_model("mobile_frnet").to(device)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(16, 3, 120, 120, device=device))
    return model, PlainMobileFRNet().to(device).load_from(model)


@pytest.mark.parametrize("batch", [1, 32])
@pytest.mark.parametrize("form", ["network", "fused network"])
def test_inference(benchmark, contend, contender, device, batch, form, networks):
    benchmark.group = f"{form} inference batch {batch}"
    model, plain = (network.eval() for network in networks)
    x = torch.randn(batch, 3, 120, 120, device=device)
    with torch.inference_mode():
        contend(contender, model if form == "network" else model.fuse(), plain, (x,), bytes_of(model))


@pytest.mark.parametrize("batch", [64])
def test_training(benchmark, contend, contender, device, batch, networks):
    benchmark.group = f"network training batch {batch}"
    model, plain = (network.train() for network in networks)
    x = torch.randn(8 if benchmark.disabled else batch, 3, 120, 120, device=device)  # untimed, any batch will do

    def step(network, x):
        network.zero_grad(set_to_none=True)
        y = network(x)
        y.square().mean().backward()
        return y.detach()

    contend(contender, model, plain, (x,), 3 * bytes_of(model), call=step)
