"""What loads rows from memory, in the interpreter."""

import torch
import triton.language as tl
from triton import jit

from dec_kernels.backends.triton.kernels.products import load_rows
from tests.conftest import on_the_interpreter

pytestmark = on_the_interpreter


@jit
def _copy(rows, out):
    (chunk,) = load_rows(rows, 2**25 + tl.arange(0, 16).to(tl.int64), None, 0, 1, 1, 64)
    tl.store(out + tl.arange(0, 16)[:, None] * 64 + tl.arange(0, 64)[None, :], chunk)


def test_offsets_pass_2_to_the_31() -> None:
    """Rows far into a tensor: what is stored there comes back, though its offset does not fit into 32 bits."""
    whole = torch.empty(2**25 + 16, 64, dtype=torch.bfloat16)  # 4 GiB that nothing but its last rows touches
    whole[2**25 :] = torch.arange(1024.0).view(16, 64)
    out = torch.empty(16, 64, dtype=torch.bfloat16)
    _copy[(1,)](whole.view(torch.float16), out.view(torch.float16))
    assert torch.equal(out, whole[2**25 :])
