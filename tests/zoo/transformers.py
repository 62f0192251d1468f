"""Networks whose residual stream is normalized over its channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from zoo.network import CLASSES, Inputs, Network, images


class _ChannelsFirstNorm(nn.Module):
    """Layer norm over the channels of `[batch, channels, height, width]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _ConvNeXtBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand, self.reduce = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        out = self.scale * self.reduce(F.gelu(self.expand(out)))
        return x + out.permute(0, 3, 1, 2)


class _Pooled(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.classify = nn.LayerNorm(channels, eps=1e-6), nn.Linear(channels, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classify(self.norm(x.mean((-2, -1))))


def convnext() -> nn.Module:
    """Depthwise 7x7, layer norm and linear layers with the channels last, a learned scale on each branch."""
    stem = [nn.Conv2d(3, 16, 4, stride=4), _ChannelsFirstNorm(16)]
    down = [_ChannelsFirstNorm(16), nn.Conv2d(16, 32, 2, stride=2)]
    return nn.Sequential(*stem, _ConvNeXtBlock(16), *down, _ConvNeXtBlock(32), _Pooled(32))


class _PackedAttention(nn.Module):
    """Queries, keys and values from one linear layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).reshape(batch, tokens, width))


class _ViTBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width), _PackedAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class _ViT(nn.Module):
    def __init__(self, width: int = 48, heads: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, stride=8)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, 17, width))
        self.blocks = nn.Sequential(*(_ViTBlock(width, heads) for _ in range(2)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_token.expand(x.shape[0], -1, -1), x), 1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


def vit() -> nn.Module:
    """Patches, a class token, position embeddings, packed attention and MLPs."""
    return _ViT()


class _MaskedAttention(nn.Module):
    """Attention as arithmetic: a product, a sum with the mask, softmax, a product."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out, self.norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        query, key, value = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = torch.matmul(query, key.transpose(-1, -2)) / query.shape[-1] ** 0.5
        attended = torch.matmul(torch.softmax(scores + mask, -1), value)
        merged = attended.permute(0, 2, 1, 3).contiguous().view(x.shape)
        return self.norm(self.out(merged) + x)

    def _split(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).permute(0, 2, 1, 3)


class _BertLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = _MaskedAttention(width, heads)
        self.expand, self.reduce = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        x = self.attention(x, mask)
        return self.norm(self.reduce(F.gelu(self.expand(x))) + x)


VOCABULARY, TOKENS = 60, 12


class _Bert(nn.Module):
    def __init__(self, width: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(TOKENS, width)
        self.register_buffer("position_ids", torch.arange(TOKENS)[None], persistent=False)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList([_BertLayer(width, heads) for _ in range(2)])
        self.pool, self.classify = nn.Linear(width, width), nn.Linear(width, CLASSES)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.words(input_ids) + self.places(self.position_ids[:, : input_ids.shape[1]]))
        mask = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * -1e4
        for layer in self.layers:
            x = layer(x, mask)
        return self.classify(torch.tanh(self.pool(x[:, 0])))


def bert() -> nn.Module:
    """Token and position embeddings, attention written out with an additive mask, norms after the sums."""
    return _Bert()


def _token_arguments(batch: int, seed: int) -> Inputs:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCABULARY, (batch, TOKENS), generator=generator)
    lengths = torch.randint(3, TOKENS + 1, (batch, 1), generator=generator)
    return ids, (torch.arange(TOKENS)[None] < lengths).long()


def _named_token_arguments(batch: int, seed: int) -> Inputs:
    ids, mask = _token_arguments(batch, seed)
    return {"input_ids": ids, "attention_mask": mask}


_BERT = (
    "Devlin, Chang, Lee, Toutanova 2019, BERT: Pre-training of Deep Bidirectional Transformers for Language "
    "Understanding, NAACL, arXiv:1810.04805"
)
_STREAM = "layer norm reads the residual stream over all channels"
NETWORKS = (
    Network(
        name="convnext",
        factory=convnext,
        example_inputs=images(3, 32, 32),
        published="Liu, Mao, Wu, Feichtenhofer, Darrell, Xie 2022, A ConvNet for the 2020s, CVPR, arXiv:2201.03545",
        left_whole=(("0", _STREAM), ("2.depthwise", _STREAM), ("2.reduce", _STREAM), ("4", _STREAM)),
    ),
    Network(
        name="vit",
        factory=vit,
        example_inputs=images(3, 32, 32),
        published=(
            "Dosovitskiy et al. 2021, An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale, "
            "ICLR, arXiv:2010.11929"
        ),
        left_whole=(("patches", _STREAM), ("blocks.0.attention.out", _STREAM), ("blocks.0.mlp.2", _STREAM)),
    ),
    Network(
        name="bert",
        factory=bert,
        example_inputs=_token_arguments,
        published=_BERT,
        left_whole=(("words", _STREAM), ("layers.0.attention.out", _STREAM), ("layers.0.reduce", _STREAM)),
    ),
    Network(
        name="bert_named",
        factory=bert,
        example_inputs=_named_token_arguments,
        published=f"{_BERT}; its inputs by name",
        left_whole=(("words", _STREAM), ("layers.0.attention.out", _STREAM), ("layers.0.reduce", _STREAM)),
    ),
)
