/* Five sums over two tensors: one entry for all element types, under the floating-point mode that IEEE 754 has by default.
 *
 * The order of every addition is fixed (spec/weight-analysis.md, WGT-2 to WGT-4); verification/weight_analysis/sums.py is the
 * oracle. */
#include "kernels_impl.h"

#if ASSAY_X86_64
#include <xmmintrin.h>
#else
#include <fenv.h>
#endif

void assay_weight_sums(uint32_t type, size_t count, const uint8_t *earlier, const uint8_t *later, double *sums) {
#if ASSAY_X86_64
  const unsigned before = _mm_getcsr();
  _mm_setcsr(0x1f80u); /* round to nearest even, subnormals kept, no traps: whatever the process has set */
  assay_kernels.weight_sums(type, count, earlier, later, sums);
  _mm_setcsr(before);
#else
  fenv_t before;
  fegetenv(&before);
  fesetenv(FE_DFL_ENV);
  assay_kernels.weight_sums(type, count, earlier, later, sums);
  fesetenv(&before);
#endif
}
