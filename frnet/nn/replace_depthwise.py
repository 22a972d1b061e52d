"""Puts our modules into somebody else's model."""

from __future__ import annotations

import copy
import logging
from dataclasses import dataclass

from torch import nn

from .chain import Chain, ChainedDepthwiseConv2d, Link, PassOn, Scope, called_next
from .depthwise_conv2d import DepthwiseConv2d
from .recognise import activation_name, class_name, has_hooks, same_padding, squeeze_excite_like, why_not_depthwise
from .sync_batch_norm2d import SyncBatchNorm2d

__all__ = ["DepthwisePart", "find_depthwise", "replace_depthwise"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DepthwisePart:
    """One part of a model that :func:`replace_depthwise` knows.

    Attributes:
        name: of the module in the model.
        kind: "depthwise_conv2d" or "squeeze_excite".
        norm: name of the batch normalisation that is computed with the convolution, or None.
        activation: name of the activation that is computed with it, or None; timm's normalisations hold their own.
        function: what that activation or normalisation applies, as :mod:`frnet.ops` calls it.
        replaced: whether the module is replaced.
        reason: why it is not, or why a convolution is replaced alone, without ``norm``.
    """

    name: str
    kind: str
    norm: str | None = None
    activation: str | None = None
    function: str = "none"
    replaced: bool = True
    reason: str = ""


def replace_depthwise(model: nn.Module, inplace: bool = False) -> nn.Module:
    """Swaps depthwise convolutions, the batch normalisation and activation behind them, and SE modules for ours.

    The model computes the same, in training and in evaluation, and keeps its state-dict keys, parameters and module
    names: checkpoints load in both directions, optimisers built before an ``inplace`` replacement go on working.

    * A depthwise ``nn.Conv2d`` becomes a :class:`frnet.nn.DepthwiseConv2d` with the same parameters, at its place.
    * Where a ``BatchNorm2d`` (or timm's ``BatchNormAct2d``) and then a ReLU, ReLU6, Hardswish or SiLU follow, the
      new convolution computes them as well, as long as that forward runs that was found to call them one after the
      other. They stay where and what they are, hold their parameters and statistics, and pass on what they are given;
      their ``training`` still decides about the statistics. At all other times each of them is its layer alone: called
      by somebody else, copied, pickled, put into another model, fused. And so are all three once one of them has been
      exchanged (``convert_sync_batchnorm``, adapters) or has got a hook, a parametrisation or another forward;
      :func:`synchronise_batch_norm` exchanges none and synchronises what the convolution computes.
    * SE modules of timm and torchvision become a :class:`frnet.nn.SqueezeExcite` around the same two layers.

    What follows what is found by symbolic execution (``torch.fx``) of the forward of the one module that calls the
    convolution, in both modes, with all modules below taken as they are. This is more robust than tracing the whole
    model, whose forward often cannot be traced and would come back as another class, and more general than knowing
    the containers of each library. Where even that forward cannot be followed, the convolution is replaced alone.
    The search calls such forwards with stand-ins for tensors, so they should have no effects outside the model.

    Left as they are: channel multipliers, subclasses of ``Conv2d``, padding that is not zeros or not symmetric,
    modules with hooks or parametrisations. Left to themselves behind our convolution: torch's SyncBatchNorm, frozen
    and other normalisations, modules that the model uses in more than one place. :func:`find_depthwise` says which
    and why.
    ``nn.DataParallel`` does not work on the result; ``DistributedDataParallel`` does.

    Args:
        model: any module.
        inplace: whether the model itself is changed, rather than a copy.

    Returns:
        The model, or the copy; if the model is itself a depthwise convolution or SE module, what takes its place.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        >>> ours = replace_depthwise(model)
        >>> type(ours[0]).__name__, list(ours.state_dict()) == list(model.state_dict())
        ('ChainedDepthwiseConv2d', True)
        >>> x = torch.randn(2, 8, 15, 15)
        >>> torch.allclose(ours.eval()(x), model.eval()(x), atol=1e-5)
        True
    """
    tree = _Tree(model if inplace else copy.deepcopy(model))
    for part in tree.parts():
        if not part.replaced:
            _log.info("replace_depthwise: %s stays: %s", part.name or "the model", part.reason)
        elif part.kind == "squeeze_excite":
            tree.swap(part, squeeze_excite_like(tree.module(part.name)))
        else:
            tree.swap(part, tree.depthwise(part))
    return tree.root.model


def find_depthwise(model: nn.Module) -> list[DepthwisePart]:
    """What :func:`replace_depthwise` would do with each depthwise convolution and SE module; changes nothing.

    Example:
        >>> from torch import nn
        >>> for part in find_depthwise(nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 3, groups=8))):
        ...     print(part.name, part.replaced, part.reason)
        0 True torch.Conv2d follows
        1 False it has 16 output channels for 8 input channels
    """
    return _Tree(model).parts()


class _Tree:
    """A model below a root, so that it is some module's child too, and who holds which module under which name."""

    def __init__(self, model: nn.Module) -> None:
        self.root = nn.Module()
        self.root.model = model
        self.names = {module: name.removeprefix("model").removeprefix(".") for name, module in self._named()}
        self.places: dict[nn.Module, list[tuple[nn.Module, str]]] = {}
        self.scopes: dict[nn.Module, Scope] = {}
        for owner in self.root.modules():
            for name, child in owner._modules.items():
                if child is not None:
                    self.places.setdefault(child, []).append((owner, name))

    def _named(self):
        return ((name, module) for name, module in self.root.named_modules() if module is not self.root)

    def module(self, name: str) -> nn.Module:
        return self.root.model.get_submodule(name)

    def parts(self) -> list[DepthwisePart]:
        found = []
        for module, name in self.names.items():
            if isinstance(module, nn.Conv2d):
                if module.groups == module.in_channels and (module.groups > 1 or module.out_channels == 1):
                    found.append(self._convolution(module, name))
                continue
            gate = squeeze_excite_like(module)
            if gate is not None:
                reason = gate if isinstance(gate, str) else ""
                found.append(DepthwisePart(name, "squeeze_excite", replaced=not reason, reason=reason))
        return found

    def _convolution(self, conv: nn.Conv2d, name: str) -> DepthwisePart:
        kind = "depthwise_conv2d"
        reason = why_not_depthwise(conv)
        if reason:
            return DepthwisePart(name, kind, replaced=False, reason=reason)
        try:
            behind = self.behind(conv)
        except ValueError as error:
            return DepthwisePart(name, kind, reason=str(error))
        if behind is None:
            return DepthwisePart(name, kind, replaced=False, reason="the forward of its owner does not call it")
        if not behind:
            return DepthwisePart(name, kind, reason="no batch normalisation follows")
        norm, *activation = behind
        function = _function_inside(norm)
        reason = self._why_not_taken(conv, norm, function)
        if reason:
            return DepthwisePart(name, kind, reason=reason)
        following = activation_name(activation[0]) if activation and len(self.places[activation[0]]) == 1 else None
        if function == "none" and following not in (None, "none"):
            return DepthwisePart(name, kind, self.names[norm], self.names[activation[0]], following)
        return DepthwisePart(name, kind, self.names[norm], None, function)

    def _why_not_taken(self, conv: nn.Conv2d, norm: nn.Module, function: str | None) -> str:
        if function is None:
            return f"{class_name(norm)} follows"
        if norm.num_features != conv.out_channels:
            return "the normalisation that follows has another number of channels"
        if has_hooks(norm):
            return "the normalisation that follows has hooks, or a forward of its own"
        return "the normalisation that follows has several places" if len(self.places[norm]) > 1 else ""

    def behind(self, conv: nn.Conv2d) -> list[nn.Module] | None:
        """The modules that are called on the result, one after the other; None where nobody calls the convolution."""
        if len(self.places[conv]) > 1:
            raise ValueError("it has several places")
        scope = self.scope(conv)
        if "forward" in vars(scope):
            raise ValueError(f"{type(scope).__name__} has a forward of its own")
        names = called_next(scope, self.path(scope, conv))
        return None if names is None else [scope.get_submodule(name) for name in names]

    def scope(self, conv: nn.Conv2d) -> nn.Module:
        """The module whose forward calls the convolution: above a ModuleList and such."""
        scope, _ = self.places[conv][0]
        while type(scope).forward is nn.Module.forward and len(self.places.get(scope, ())) == 1:
            scope, _ = self.places[scope][0]
        return scope

    def path(self, scope: nn.Module, module: nn.Module) -> str:
        """The module's name as seen from the scope."""
        return next(name for name, other in scope.named_modules() if other is module)

    def swap(self, part: DepthwisePart, new: nn.Module) -> None:
        for owner, name in self.places[self.module(part.name)]:
            setattr(owner, name, new)

    def depthwise(self, part: DepthwisePart) -> DepthwiseConv2d:
        """Ours in place of a convolution, with what follows it."""
        conv = self.module(part.name)
        kind = DepthwiseConv2d if part.norm is None else ChainedDepthwiseConv2d
        shape = (conv.out_channels, conv.kernel_size, conv.stride, same_padding(conv), conv.dilation)
        new = kind(*shape, bias=conv.bias is not None, device="meta").train(conv.training)
        new.weight, new.bias = conv.weight, conv.bias
        if part.norm is not None:
            norm = self.module(part.norm)
            computed = [norm] if part.activation is None else [norm, self.module(part.activation)]
            scope, members = self.scope(conv), [conv, *computed, *norm.children()]
            paths = [self.path(scope, module) for module in members]
            new.chain = Chain(part.function, len(computed))
            for module in computed:
                module.forward = PassOn(new.chain, module)
            links = [Link.of(scope, path, module) for path, module in zip(paths, [new, *members[1:]], strict=True)]
            if scope not in self.scopes:
                self.scopes[scope] = Scope(scope)
            self.scopes[scope].chains.append((new.chain, links))
        return new


def _function_inside(norm: nn.Module) -> str | None:
    """What a batch normalisation does itself to its result; None where the module is none that we compute."""
    if type(norm) in (nn.BatchNorm2d, SyncBatchNorm2d):
        return "none"
    if class_name(norm) != "timm.BatchNormAct2d" or activation_name(getattr(norm, "drop", None)) != "none":
        return None
    return activation_name(norm.act)
