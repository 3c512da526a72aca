"""Change of data type without silent loss."""

import numpy as np


def convert(data: np.ndarray, dtype: str | np.dtype, *, scale: float = 1.0):
    """Data as another type: rounded for integers, refused if values do not fit.

    Args:
        data: any numbers.
        dtype: the type wanted, e.g. "uint16".
        scale: factor applied first, so that large values can be made to fit.

    Returns:
        The data in the new type.

    Raises:
        ValueError: a value does not fit (nothing is ever wrapped or clipped), or is
            NaN or infinite where an integer is needed.
    """
    wanted = np.dtype(dtype)
    if scale != 1.0:
        data = data * np.asarray(scale, np.result_type(data.dtype, np.float32))
    if wanted.kind == "f":
        return _to_float(data, wanted)
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise ValueError(f"NaN or infinite values cannot be written as {wanted}.")
        data = np.rint(data)
    if data.size:
        low, high = data.min().item(), data.max().item()  # Python compares exactly
        limits = np.iinfo(wanted)
        if low < limits.min or high > limits.max:
            raise ValueError(
                f"values from {low:.6g} to {high:.6g} do not fit {wanted} "
                f"({limits.min} to {limits.max}): write float32, or scale by "
                f"{limits.max / max(high, 1e-30):.3g} or less (`scale=`, on the "
                f"command line `--scale`)."
            )
    return data.astype(wanted)


def _to_float(data: np.ndarray, wanted: np.dtype) -> np.ndarray:
    with np.errstate(over="ignore"):
        result = data.astype(wanted)
    if data.size and np.isfinite(data).all() and not np.isfinite(result).all():
        raise ValueError(f"values up to {abs(data).max():.6g} do not fit {wanted}.")
    return result
