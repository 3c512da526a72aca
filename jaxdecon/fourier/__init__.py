"""Fast transform sizes, centring and real-FFT products."""

from ._sizes import next_fast_len as next_fast_len
from ._transfer import centre_kernel as centre_kernel
from ._transfer import embed_kernel as embed_kernel
from ._transfer import filter_real as filter_real
from ._transfer import frequency_grid as frequency_grid
from ._transfer import transfer_function as transfer_function
from ._transfer import unwrap_kernel as unwrap_kernel
