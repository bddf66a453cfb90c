"""How the engine's programs are compiled, in one place, because the error model rests on it.

Fast-math is off by default in XLA; it is switched off here by name so that no flag of the environment can change that. On a CPU the
older emitters of fused loops are chosen: they halve the time to compile these long programs, which run as fast or faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

CPU = {"xla_cpu_enable_fast_math": False, "xla_cpu_use_fusion_emitters": False}


def options() -> dict[str, Any]:
    """Compiler options for the devices in use."""
    return dict(CPU) if jax.default_backend() == "cpu" else {}


def compiled(function: Callable[..., Any], **keywords: Any) -> Any:
    """`jax.jit` with these options.

    Args:
        function: pure JAX.
        keywords: as of `jax.jit`.
    """
    return jax.jit(function, compiler_options=options(), **keywords)
