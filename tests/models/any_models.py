# mypy: ignore-errors
# Users write no types, return what they like, and leave things lying about: that is the point of this file.
"""Models as users have them, tiny: every one of them has to go through `edgeds export` as it stands."""

from collections import namedtuple

import torch
import torch.nn.functional as F
from torch import nn


def dw_pw(inp, oup, stride=1):
    return nn.Sequential(
        nn.Conv2d(inp, inp, 3, stride, 1, groups=inp, bias=False),
        nn.BatchNorm2d(inp),
        nn.ReLU6(inplace=True),
        nn.Conv2d(inp, oup, 1, bias=False),
        nn.BatchNorm2d(oup),
        nn.ReLU6(inplace=True),
    )


class SSD(nn.Module):
    """Two feature maps, boxes and scores of both flattened and concatenated; a dict, and a picture that is not square."""

    input_shape = (1, 3, 32, 48)

    def __init__(self, classes=3, anchors=2):
        super().__init__()
        self.classes = classes
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stages = nn.ModuleList([dw_pw(8, 16, 2), dw_pw(16, 16, 2)])
        self.box = nn.ModuleList([nn.Conv2d(16, anchors * 4, 3, padding=1) for _ in range(2)])
        self.cls = nn.ModuleList([nn.Conv2d(16, anchors * classes, 1) for _ in range(2)])

    def forward(self, x):
        x = F.relu(self.stem(x))
        boxes, scores = [], []
        for stage, box, cls in zip(self.stages, self.box, self.cls):  # noqa: B905  as users do
            x = stage(x)
            boxes.append(box(x).permute(0, 2, 3, 1).contiguous().view(x.size(0), -1, 4))
            scores.append(cls(x).permute(0, 2, 3, 1).reshape(x.shape[0], -1, self.classes))
        return {"boxes": torch.cat(boxes, 1), "scores": torch.cat(scores, dim=1).sigmoid()}


class FPN(nn.Module):
    """Three levels, nearest upsampling, lateral additions in place; a list comes out."""

    input_shape = (1, 3, 32, 32)

    def __init__(self):
        super().__init__()
        self.c1, self.c2, self.c3 = dw_pw(3, 8, 2), dw_pw(8, 12, 2), dw_pw(12, 16, 2)
        self.l1, self.l2, self.l3 = nn.Conv2d(8, 8, 1), nn.Conv2d(12, 8, 1), nn.Conv2d(16, 8, 1)
        self.smooth = nn.Conv2d(8, 8, 3, padding=1, groups=8)  # shared by all levels

    def forward(self, x):
        c1 = self.c1(x)
        c2 = self.c2(c1)
        c3 = self.c3(c2)
        p3 = self.l3(c3)
        p2 = self.l2(c2)
        p2 += F.interpolate(p3, scale_factor=2, mode="nearest")
        p1 = self.l1(c1)
        p1 += F.interpolate(p2, size=p1.shape[-2:])
        return [self.smooth(p) for p in (p1, p2, p3)]


class UNet(nn.Module):
    """Depthwise decoder, skip concatenation; logits and the mask, which are integers."""

    input_shape = (1, 3, 32, 32)

    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.mid = dw_pw(3, 8), dw_pw(8, 16, 2), dw_pw(16, 16, 2)
        self.up = nn.Upsample(scale_factor=2)
        self.dec2, self.dec1 = dw_pw(32, 8), dw_pw(16, 8)
        self.out = nn.Conv2d(8, 2, 1)

    def forward(self, x):
        d1 = self.down1(x)
        d2 = self.down2(d1)
        x = self.mid(d2)
        x = self.dec2(torch.cat([self.up(x), d2], dim=1))
        x = self.dec1(torch.cat((self.up(x), d1), 1))
        logits = self.out(x)
        return logits, logits.argmax(1)


class Keywords(nn.Module):
    """One-dimensional separable convolutions over 40 mel bands."""

    input_shape = (1, 40, 64)

    def __init__(self, classes=5):
        super().__init__()
        layers = []
        for inp, oup in ((40, 24), (24, 24), (24, 32)):
            layers += [nn.Conv1d(inp, inp, 9, 2, 4, groups=inp), nn.Conv1d(inp, oup, 1), nn.BatchNorm1d(oup), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Dropout(0.2))
        self.fc = nn.Linear(32, classes)

    def forward(self, x):
        return self.fc(self.net(x).mean(-1))


class Fusion(nn.Module):
    """A picture and a few numbers about it."""

    input_shapes = ((1, 3, 24, 32), (1, 6))

    def __init__(self):
        super().__init__()
        self.image_net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), dw_pw(8, 16, 2))
        self.numbers_net = nn.Sequential(nn.Linear(6, 16), nn.ReLU())
        self.head = nn.Linear(32, 4)

    def forward(self, image, numbers):
        a = F.adaptive_avg_pool2d(self.image_net(image), 1).flatten(1)
        return self.head(torch.cat([a, self.numbers_net(numbers)], dim=-1))


class FourAtOnce(nn.Module):
    """A batch of four cameras, written down in the model."""

    input_shape = (4, 3, 32, 32)

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), dw_pw(8, 16, 2), dw_pw(16, 16))
        self.classifier = nn.Linear(16, 5)

    def forward(self, x):
        x = self.features(x).mean([2, 3])
        return self.classifier(x.view(4, -1))


class InPlace(nn.Module):
    """Adds, scales and assigns to slices in place, shares modules, and normalizes its raw pixels itself."""

    input_shape = (1, 3, 32, 32)

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 8, 3, 2, 1, bias=True)
        self.block = dw_pw(8, 8)
        self.act = nn.ReLU(inplace=True)  # shared
        self.fc = nn.Linear(8, 10)

    def forward(self, x):
        x = x.float() / 255.0
        x = (x - self.mean) / self.std
        x = self.act(self.conv(x))
        for _ in range(2):
            y = self.block(x)  # the same weights twice
            y *= 0.5
            x = x + y
            x.clamp_(max=6)
        x[:, :2] += x[:, 2:4]
        x[:, 7:] = 0.5
        x = self.act(x)
        x = F.dropout(x, 0.1, self.training)
        return self.fc(torch.flatten(F.avg_pool2d(x, x.shape[2:]), 1))


Match = namedtuple("Match", ["left", "right", "distance"])


class Siamese(nn.Module):
    """One net over two pictures; a namedtuple with a distance of one number a sample."""

    input_shapes = ((1, 1, 24, 24), (1, 1, 24, 24))

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), dw_pw(8, 12, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )

    def forward(self, a, b):
        a, b = self.net(a), self.net(b)
        return Match(a, b, (a - b).abs().sum(1, keepdim=True))


class Nested(nn.Module):
    """Nested outputs, one of them a view, from a model that was left in training mode by its author."""

    input_shape = (1, 3, 32, 32)

    def __init__(self):
        super().__init__()
        self.body = dw_pw(3, 8, 4)
        self.heads = nn.ModuleDict({"age": nn.Linear(8, 1), "kind": nn.Linear(8, 3)})
        self.drop = nn.Dropout()
        self.train()

    def forward(self, x):
        f = self.body(x)
        v = self.drop(f.mean(dim=(2, 3)))
        return {"out": {name: head(v) for name, head in self.heads.items()}, "features": [f, v]}


class Tokens(nn.Module):
    """Token numbers come as floats, and become integers inside."""

    input_shape = (1, 12)

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 16)
        self.conv = nn.Conv1d(16, 16, 3, padding=1, groups=16)
        self.point = nn.Conv1d(16, 8, 1)
        self.fc = nn.Linear(8, 2)

    def forward(self, ids):
        x = self.table(ids.long()).transpose(1, 2)
        return self.fc(F.relu(self.point(self.conv(x))).mean(2))


class TopBoxes(nn.Module):
    """What two of three formats take: the best three scores of many."""

    input_shape = (1, 3, 16, 16)

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 4, 3, 2, 1)

    def forward(self, x):
        scores = self.head(x).flatten(1)
        best, where = scores.topk(3)
        return {"best": best, "where": where}
