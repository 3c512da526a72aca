"""Units of length and time, as files spell them."""

MICROMETRES = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer"), 1.0),
    **dict.fromkeys(("micrometre", "micrometers", "\\u00b5m"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-3),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1e3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 1e4),
    **dict.fromkeys(("m", "meter", "metre"), 1e6),
    **dict.fromkeys(("å", "angstrom", "ångström"), 1e-4),
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-6),
    **dict.fromkeys(("inch", "in"), 25400.0),
}

SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond"), 1e-3),
    **dict.fromkeys(("µs", "μs", "us", "microsecond"), 1e-6),
    **dict.fromkeys(("min", "minute"), 60.0),
    **dict.fromkeys(("h", "hour"), 3600.0),
}


def in_micrometres(value: float | None, unit: str | None) -> float | None:
    """A length in µm; None if it or its unit is not known."""
    return _convert(value, unit, MICROMETRES)


def in_seconds(value: float | None, unit: str | None) -> float | None:
    """A time in seconds; None if it or its unit is not known."""
    return _convert(value, unit, SECONDS)


def _convert(value, unit, factors) -> float | None:
    factor = factors.get((unit or "").strip().lower())
    return None if value is None or factor is None else float(value) * factor
