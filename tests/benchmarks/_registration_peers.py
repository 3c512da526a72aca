"""Other programs that register volumes, behind one signature.

Each takes (fixed, moving, voxel size) and returns a function from points (n, 3), voxels
(z, y, x) of the fixed volume, to those of the moving one.
"""

import functools
import importlib.util

import numpy as np


def simpleitk(fixed, moving, size=(1, 1, 1), *, share=0.2, start="GEOMETRY"):
    """Correlation, regular-step gradient descent, three levels."""
    import SimpleITK as sitk

    images = [sitk.GetImageFromArray(v) for v in (fixed, moving)]
    for image in images:
        image.SetSpacing([float(s) for s in size[::-1]])
    first = sitk.CenteredTransformInitializer(
        *images,
        sitk.AffineTransform(3),
        getattr(sitk.CenteredTransformInitializerFilter, start),
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    if share < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(share, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-4, numberOfIterations=300
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([2, 1, 0])
    method.SetInitialTransform(first, inPlace=False)
    found = method.Execute(*images)

    def points_to(points):
        places = (points * size)[:, ::-1]
        there = [found.TransformPoint([float(v) for v in p]) for p in places]
        return np.array(there)[:, ::-1] / size

    return points_to


def elastix(fixed, moving, size=(1, 1, 1), *, samples=8192, iterations=500):
    """Correlation, adaptive stochastic gradient descent, three levels."""
    import itk

    images = [
        itk.image_view_from_array(np.ascontiguousarray(v)) for v in (fixed, moving)
    ]
    for image in images:
        image.SetSpacing([float(s) for s in size[::-1]])
    settings = itk.ParameterObject.New()
    wanted = settings.GetDefaultParameterMap("affine", 3)
    wanted["Metric"] = ["AdvancedNormalizedCorrelation"]
    wanted["MaximumNumberOfIterations"] = [str(iterations)]
    wanted["NumberOfSpatialSamples"] = [str(samples)]
    wanted["WriteResultImage"] = ["false"]
    settings.AddParameterMap(wanted)
    _, found = itk.elastix_registration_method(
        *images, parameter_object=settings, log_to_console=False
    )
    values = found.GetParameterMap(0)
    numbers = np.array([float(v) for v in values["TransformParameters"]])
    centre = np.array([float(v) for v in values["CenterOfRotationPoint"]])
    linear, shift = numbers[:9].reshape(3, 3), numbers[9:]

    def points_to(points):
        places = (points * size)[:, ::-1]
        return ((places - centre) @ linear.T + centre + shift)[:, ::-1] / size

    return points_to


def ants(fixed, moving, size=(1, 1, 1), *, kind="Affine"):
    """Mutual information, its own schedule; starts from the centres of mass."""
    import ants as program

    spacing = tuple(float(s) for s in size)
    images = [program.from_numpy(v, spacing=spacing) for v in (fixed, moving)]
    found = program.registration(*images, type_of_transform=kind)
    transform = program.read_transform(found["fwdtransforms"][0])

    def points_to(points):
        places = [transform.apply_to_point(tuple(p)) for p in points * size]
        return np.array(places) / size

    return points_to


def available():
    """name -> function, of the programs that are installed."""
    peers = {
        "SimpleITK, 20 % of the voxels": ("SimpleITK", simpleitk, {}),
        "SimpleITK, 5 %, moments": (
            *("SimpleITK", simpleitk),
            {"share": 0.05, "start": "MOMENTS"},
        ),
        "elastix, 8192 samples": ("itk", elastix, {}),
        "ANTs Affine": ("ants", ants, {"kind": "Affine"}),
        "ANTs AffineFast": ("ants", ants, {"kind": "AffineFast"}),
    }
    return {
        name: functools.partial(run, **options)
        for name, (module, run, options) in peers.items()
        if importlib.util.find_spec(module)
    }
