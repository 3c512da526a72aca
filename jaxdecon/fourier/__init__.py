"""Fast transform sizes, centring and real-FFT products, on one device or several."""

from ._sharded import filter_slabs as filter_slabs
from ._sharded import map_slabs as map_slabs
from ._sharded import transfer_of_slabs as transfer_of_slabs
from ._sharded import zero_frequency as zero_frequency
from ._sizes import next_fast_len as next_fast_len
from ._transfer import centre_kernel as centre_kernel
from ._transfer import embed_kernel as embed_kernel
from ._transfer import filter_real as filter_real
from ._transfer import frequency_grid as frequency_grid
from ._transfer import transfer_function as transfer_function
from ._transfer import unwrap_kernel as unwrap_kernel
