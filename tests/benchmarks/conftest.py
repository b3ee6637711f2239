"""The benchmarks as modules: their folders on the path, as their own commands have them."""

from __future__ import annotations

import sys
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS / name) for name in ("hardening", "leads", "speed", "")]
