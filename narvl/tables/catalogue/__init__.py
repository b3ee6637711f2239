"""The tables and figures, one module each."""

from __future__ import annotations

from narvl.tables.catalogue import (
    beam,
    blank,
    boxes,
    captions,
    decoder_input,
    distillation,
    largest,
    losses,
    propagation,
    queries,
    references,
    sizes,
    table1,
    task_queries,
    teachers,
    texts,
    theory,
    tokens,
)
from narvl.tables.table import Table

#: In the paper's order; its supplement, and the questions that it leaves open, follow.
TABLES: dict[str, Table] = {
    "table1": table1,
    "tables2-5": largest,
    "tables6-7": decoder_input,
    "table8": losses,
    "table9": distillation,
    "table10": queries,
    "table11": beam,
    "figure5": sizes,
    "supplement-figure1": propagation,
    "supplement-figure2": tokens,
    "supplement-table1": texts,
    "supplement-table2": captions,
    "queries": task_queries,
    "teachers": teachers,
    "blank": blank,
    "boxes": boxes,
    "references": references,
    "theory": theory,
}
