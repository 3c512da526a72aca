"""One of two processes that hold half a volume each; see `test_sharded.py`.

python tests/_two_hosts.py PROCESS PORT DATA RESULT
"""

import functools
import sys

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

import jaxdecon as jd

DEVICES = 2


def main(process, port, data, result):
    jax.config.update("jax_num_cpu_devices", DEVICES)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    assert jax.device_count() == 2 * DEVICES
    mesh = jd.operators.z_mesh()
    image, psf = (np.load(data)[name] for name in ("image", "psf"))
    half = len(image) // 2
    mine = image[process * half :][:half]
    slabs = NamedSharding(mesh, PartitionSpec("z"))
    whole = jax.make_array_from_process_local_data(slabs, mine, image.shape)
    assert not whole.is_fully_addressable
    solve = functools.partial(
        jd.richardson_lucy,
        psf=psf,
        iterations=2,
        back_projector="wiener-butterworth",
        mesh=mesh,
    )
    found = {"held": solve(whole), "copied": solve(image)}
    blur = jd.operators.Convolution.from_psf(psf, image.shape, mesh=mesh)
    scheme = jd.deconvolution.RichardsonLucy()
    solved = jd.deconvolve(whole, blur, scheme, iterations=3, background=1.0)
    found["driver"] = solved.raise_for_status().value
    np.savez(result, **{name: local(array) for name, array in found.items()})


def local(array):
    """The slabs that this process holds, in order."""
    shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start)
    return np.concatenate([shard.data for shard in shards])


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
