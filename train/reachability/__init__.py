"""Sound, differentiable, batched reachability of sampled closed loops in JAX; a library of its own inside tubepilot."""
