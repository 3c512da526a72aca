"""Double precision for one test, under all supported versions of JAX."""

import jax


def x64():
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()
