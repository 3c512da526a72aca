"""The options that describe optics, for every command that needs a PSF."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import typer

PER_CHANNEL = ("wavelength", "excitation", "fwhm")
"""Options that may be repeated, once for every channel."""


def _option(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, rich_help_panel="PSF")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Optics:
    """What the command line says of the optics; None where it says nothing.

    Attributes:
        model_option: what the option of the model is called.
    """

    model_option: ClassVar[str] = "--model"

    model: Annotated[
        str | None,
        _option(
            "widefield (the default), confocal, light-sheet, gibson-lanni or gaussian."
        ),
    ] = None
    na: Annotated[float | None, _option("Numerical aperture.", "--na")] = None
    wavelength: Annotated[
        list[float] | None,
        _option(
            "Emission wavelength, µm (0.52). For several channels repeat the option: "
            "--wavelength 0.46 --wavelength 0.52."
        ),
    ] = None
    index: Annotated[
        float | None,
        _option("Refractive index of the immersion (1.0 air, 1.33 water, 1.518 oil)."),
    ] = None
    vectorial: Annotated[
        bool,
        _option(
            "With polarisation: wider above an NA of half the index.", "--vectorial"
        ),
    ] = False
    aberration: Annotated[
        list[str] | None,
        _option(
            "NAME=WAVES (rms, of the emission) or NAME=RADIANSrad: spherical=0.1, "
            "coma=0.6rad. NAME is a Zernike polynomial: a name (astigmatism, "
            "vertical-coma, ...), n,m or a Noll index. Repeat it."
        ),
    ] = None
    excitation: Annotated[
        list[float] | None,
        _option(
            "confocal: excitation wavelength, µm (default: as --wavelength). Repeat it "
            "for every channel."
        ),
    ] = None
    pinhole: Annotated[
        float | None,
        _option("confocal: diameter of the pinhole in Airy units (default 1)."),
    ] = None
    sheet_fwhm: Annotated[
        float | None, _option("light-sheet: its thickness (FWHM), µm.")
    ] = None
    sheet_angle: Annotated[
        float | None,
        _option("light-sheet: angle to the focal plane, degrees (default 0)."),
    ] = None
    depth: Annotated[
        float | None,
        _option("gibson-lanni: depth in the sample, below the coverslip, µm."),
    ] = None
    through_depth: Annotated[
        bool,
        _option(
            "gibson-lanni: a PSF for every depth of the stack, whose first plane is at "
            "--depth.",
            "--through-depth",
        ),
    ] = False
    sample_index: Annotated[
        float | None,
        _option("gibson-lanni: refractive index of the sample (default 1.33)."),
    ] = None
    design_index: Annotated[
        float | None,
        _option("gibson-lanni: immersion that the lens is made for (default --index)."),
    ] = None
    coverslip: Annotated[
        float | None,
        _option("gibson-lanni: thickness of the coverslip, µm (default 170)."),
    ] = None
    design_coverslip: Annotated[
        float | None,
        _option("gibson-lanni: thickness that the lens is made for, µm (default 170)."),
    ] = None
    coverslip_index: Annotated[
        float | None,
        _option("gibson-lanni: refractive index of the coverslip (default 1.515)."),
    ] = None
    working_distance: Annotated[
        float | None,
        _option("gibson-lanni: from lens to coverslip in focus on it, µm (150)."),
    ] = None
    fwhm: Annotated[
        list[str] | None,
        _option(
            "gaussian: full width at half maximum, µm as z,y,x (or y,x). Repeat it for "
            "every channel."
        ),
    ] = None

    def given(self) -> list[str]:
        """Names of the fields that the user has set."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return [
            name
            for name, value in values.items()
            if not (value is None or value is False or value == [])  # 0.0 is given
        ]

    def of_channel(self, channel: int, channels: int) -> "Optics":
        """The optics of one channel: at most one value of what may be repeated."""
        chosen = {
            name: [of_channel(option(name), getattr(self, name), channel, channels)]
            for name in PER_CHANNEL
            if getattr(self, name)
        }
        return dataclasses.replace(self, **chosen)


def option(name: str) -> str:
    """The option that sets a field: "sheet_fwhm" is --sheet-fwhm."""
    return f"--{name.replace('_', '-')}"


def of_channel(name: str, values: Sequence[Any], channel: int, channels: int) -> Any:
    """The value for a channel, of one value for all or of one for each."""
    if len(values) not in (1, channels):
        raise ValueError(
            f"{name} is given {len(values)} times for {channels} channel"
            f"{'s' * (channels > 1)}; give it once, or once per channel."
        )
    return values[channel if len(values) > 1 else 0]


def with_options(**groups: type) -> Callable[..., Callable[..., None]]:
    """Give a command the options of some dataclasses in place of single parameters.

    Args:
        groups: the class of every parameter that stands for a group of options.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        fields = {
            name: inspect.signature(cls).parameters for name, cls in groups.items()
        }

        @functools.wraps(command)
        def wrapper(**arguments: Any) -> None:
            made = {
                name: cls(**{field: arguments.pop(field) for field in fields[name]})
                for name, cls in groups.items()
            }
            command(**arguments, **made)

        parameters: list[inspect.Parameter] = []
        for parameter in inspect.signature(command).parameters.values():
            parameters += fields.get(
                parameter.name, {parameter.name: parameter}
            ).values()
        keywords = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        wrapper.__signature__ = inspect.Signature(keywords)  # pyright: ignore
        wrapper.__annotations__ = {p.name: p.annotation for p in keywords}
        return wrapper

    return decorate


with_optics = with_options(optics=Optics)
"""Give a command the options of `Optics` in place of its parameter `optics`."""
