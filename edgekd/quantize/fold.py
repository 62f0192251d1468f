"""Fold batch norm into the convolution before it, as every runtime does when it deploys."""

from __future__ import annotations

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights


def fold_batch_norm(network: fx.GraphModule) -> fx.GraphModule:
    """Return a network without the batch norms that directly follow a convolution or linear layer; same outputs.

    Batch norms elsewhere (pre-activation networks) stay. The given network is left as it was. `meta["folded"]` of the
    result says which layer each batch norm has gone into.
    """
    folded = copy_graph(network)
    folded.meta["folded"] = {}
    for node in list(folded.graph.nodes):
        norm = module_of(folded, node)
        source = node.args[0] if node.op == "call_module" else None
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)) or not isinstance(source, fx.Node):
            continue
        layer = module_of(folded, source)
        called_once = sum(n.target == source.target for n in folded.graph.nodes if n.op == "call_module") == 1
        if not isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear)) or len(source.users) != 1 or not called_once:
            continue
        _fold(layer, norm)
        folded.meta["folded"][str(node.target)] = str(source.target)
        node.replace_all_uses_with(source)
        folded.graph.erase_node(node)
    folded.recompile()
    folded.delete_all_unused_submodules()
    return folded.eval()


def copy_graph(network: fx.GraphModule) -> fx.GraphModule:
    """Return a network with a graph and weights of its own, to be rewritten without touching the given one."""
    from edgekd.prune.slicing import copy_network

    graph = fx.Graph()
    values: dict[fx.Node, fx.Node] = {}
    output = graph.graph_copy(network.graph, values)
    graph.output(output)
    for old, new in values.items():
        new.meta = dict(old.meta)
    return fx.GraphModule(copy_network(network), graph, class_name="Network")


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the module a node calls, or None if it calls none."""
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _fold(layer: nn.Conv1d | nn.Conv2d | nn.Linear, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ValueError("a batch norm without running statistics cannot be folded")
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    with torch.no_grad():
        layer.weight, layer.bias = fuse(layer.weight, layer.bias, mean, variance, norm.eps, norm.weight, norm.bias)
    # torch makes the bias of a layer that had none a constant, which training would then never move.
    layer.bias.requires_grad_(norm.bias is None or norm.bias.requires_grad)
