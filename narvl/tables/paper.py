"""The paper's own figures (arXiv 2403.02249; V100 16 GB, batch size 1; AR is OFA by beam search, NAR is greedy).

Keys are data set, then metric; a metric's split is the last word of its name, as in the paper's tables.
"""

from __future__ import annotations

from collections.abc import Mapping

Scores = Mapping[str, Mapping[str, float]]

_COCO = ("BLEU-4", "METEOR", "CIDEr", "SPICE")
_CURVE = ("CIDEr", "ms")


def _coco(*values: float) -> dict[str, float]:
    return dict(zip((*_COCO, "ms"), values, strict=False))


def _curve(values: Mapping[int, tuple[float, float]]) -> dict[int, dict[str, float]]:
    return {key: dict(zip(_CURVE, pair, strict=True)) for key, pair in values.items()}


#: Table 1: base, AR and NAR.
TABLE_1: Mapping[str, Scores] = {
    "ofa": {
        "refcoco": {"Acc@0.5 val": 88.15, "Acc@0.5 testA": 90.08, "Acc@0.5 testB": 83.45, "ms": 133.6},
        "refcoco+": {"Acc@0.5 val": 81.67, "Acc@0.5 testA": 86.40, "Acc@0.5 testB": 74.49, "ms": 133.1},
        "refcocog": {"Acc@0.5 val": 81.92, "Acc@0.5 test": 82.02, "ms": 132.8},
        "snli-ve": {"accuracy dev": 89.0, "accuracy test": 89.0, "ms": 68.0},
        "vqa": {"accuracy test-dev": 77.48, "accuracy test-std": 77.58, "ms": 645.1},
        "coco": _coco(41.0, 30.9, 138.2, 24.2, 366.0),
    },
    "narvl": {
        "refcoco": {"Acc@0.5 val": 88.78, "Acc@0.5 testA": 90.63, "Acc@0.5 testB": 84.67, "ms": 54.8},
        "refcoco+": {"Acc@0.5 val": 82.35, "Acc@0.5 testA": 87.15, "Acc@0.5 testB": 74.74, "ms": 54.6},
        "refcocog": {"Acc@0.5 val": 82.27, "Acc@0.5 test": 82.69, "ms": 54.8},
        "snli-ve": {"accuracy dev": 89.0, "accuracy test": 89.0, "ms": 48.7},
        "vqa": {"accuracy test-dev": 75.69, "accuracy test-std": 75.75, "ms": 50.7},
        "coco": _coco(36.4, 28.7, 123.1, 22.5, 51.2),
    },
}

#: Beside table 1: the autoregressive base model scores every answer of a list.
ALL_CANDIDATES: Scores = {"vqa": {"accuracy test-dev": 78.0, "accuracy test-std": 78.1, "ms": 15_415.0}}

#: Tables 2 to 5: NAR, huge.
TABLES_2_TO_5: Scores = {
    "refcoco": {"Acc@0.5 val": 91.8, "Acc@0.5 testA": 94.24, "Acc@0.5 testB": 88.01, "ms": 150.8},
    "refcoco+": {"Acc@0.5 val": 87.90, "Acc@0.5 testA": 92.18, "Acc@0.5 testB": 81.2},
    "refcocog": {"Acc@0.5 val": 87.7, "Acc@0.5 test": 88.42},
    "snli-ve": {"accuracy dev": 91.1, "accuracy test": 91.1},
    "vqa": {"accuracy test-dev": 79.59, "accuracy test-std": 79.39, "ms": 81.5},
    "coco": _coco(40.1, 30.6, 136.7, 24.3, 130.6),
}

#: Tables 6 (RefCOCO) and 7 (COCO): what the decoder reads.
DECODER_INPUT: Mapping[str, Scores] = {
    "encoder": {
        "refcoco": {"Acc@0.5 val": 87.78, "Acc@0.5 testA": 89.89, "Acc@0.5 testB": 83.24, "ms": 82.8},
        "coco": _coco(36.4, 28.6, 121.8, 22.0, 58.7),
    },
    "queries": {
        "refcoco": {"Acc@0.5 val": 88.78, "Acc@0.5 testA": 90.63, "Acc@0.5 testB": 84.67, "ms": 54.9},
        "coco": _coco(36.4, 28.7, 123.1, 22.5, 51.2),
    },
}

#: Table 8: COCO without distillation.
LOSS: Scores = {
    "cross-entropy": _coco(17.54, 18.57, 66.85, 11.89),
    "Q-CTC": _coco(26.69, 24.06, 93.24, 17.38),
}

#: Table 9: distillation off and on.
DISTILLATION: Mapping[str, Scores] = {
    "off": {"coco": {"BLEU-4": 26.7, "CIDEr": 93.2}, "vqa": {"accuracy test-dev": 74.21, "accuracy test-std": 74.4}},
    "on": {"coco": {"BLEU-4": 36.4, "CIDEr": 123.1}, "vqa": {"accuracy test-dev": 75.69, "accuracy test-std": 75.75}},
}

#: Table 10: COCO by the number of queries, one epoch.
QUERIES = _curve(
    {10: (96.90, 51.3), 20: (110.35, 51.7), 100: (108.76, 52.0), 500: (107.34, 53.8), 1000: (105.90, 60.4)}
)

#: Table 11: COCO by the beam of CTC's search; 0 is greedy.
BEAM = _curve({0: (123.15, 51.2), 5: (124.03, 69.0), 20: (124.15, 70.2), 100: (124.25, 122.9)})

#: Figure 5: RefCOCO val by size; NAR's other splits are of tables 1 and 2.
SIZES: Mapping[str, Mapping[str, Mapping[str, float]]] = {
    "narvl": {
        "tiny": {"Acc@0.5 val": 80.4, "Acc@0.5 testA": 84.64, "Acc@0.5 testB": 73.8, "ms": 30.7},
        "base": {"Acc@0.5 val": 88.8, "Acc@0.5 testA": 90.63, "Acc@0.5 testB": 84.67, "ms": 54.9},
        "huge": {"Acc@0.5 val": 91.8, "Acc@0.5 testA": 94.24, "Acc@0.5 testB": 88.01, "ms": 150.8},
    },
    "ofa": {
        "tiny": {"Acc@0.5 val": 79.9, "ms": 89.0},
        "base": {"Acc@0.5 val": 88.5, "ms": 133.6},
        "huge": {"Acc@0.5 val": 91.2, "ms": 284.9},
    },
}
