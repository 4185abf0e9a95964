/* SHA-256 over lanes of a vector, for the files that define, for a type VEC: ADD, ROR(x, n), SHR(x, n), XOR3, CHOOSE,
 * MAJORITY and SET. Source: FIPS 180-4, section 6.2.2. */
#ifndef ASSAY_SHA256_LANES_H
#define ASSAY_SHA256_LANES_H

#include "sha256_constants.h"

/* One step of the schedule, in place: w[t % 16] becomes word t. */
#define SCHEDULE(w, t)                                                                                                 \
  do {                                                                                                                 \
    const VEC before = w[((t) + 1) % 16], near = w[((t) + 14) % 16];                                                   \
    const VEC small0 = XOR3(ROR(before, 7), ROR(before, 18), SHR(before, 3));                                          \
    const VEC small1 = XOR3(ROR(near, 17), ROR(near, 19), SHR(near, 10));                                              \
    w[(t) % 16] = ADD(ADD(w[(t) % 16], small0), ADD(w[((t) + 9) % 16], small1));                                       \
  } while (0)

/* One round; the state stays where it is and its names turn: s[(i - t) mod 8]. */
#define AT(i, t) s[((i) + 64 - (t)) % 8]
#define ROUND(s, w, t)                                                                                                 \
  do {                                                                                                                 \
    const VEC a = AT(0, t), e = AT(4, t);                                                                              \
    const VEC big1 = XOR3(ROR(e, 6), ROR(e, 11), ROR(e, 25)), big0 = XOR3(ROR(a, 2), ROR(a, 13), ROR(a, 22));          \
    const VEC t1 = ADD(ADD(ADD(AT(7, t), SET(assay_sha256_k[t])), ADD(CHOOSE(e, AT(5, t), AT(6, t)), w[(t) % 16])),    \
                       big1);                                                                                          \
    AT(3, t) = ADD(AT(3, t), t1);                                                                                      \
    AT(7, t) = ADD(t1, ADD(big0, MAJORITY(a, AT(1, t), AT(2, t))));                                                    \
  } while (0)

/* All rounds; unrolled by sixteen so that every index is a constant. */
#define SIXTEEN(STEP, t)                                                                                               \
  STEP((t) + 0);                                                                                                       \
  STEP((t) + 1);                                                                                                       \
  STEP((t) + 2);                                                                                                       \
  STEP((t) + 3);                                                                                                       \
  STEP((t) + 4);                                                                                                       \
  STEP((t) + 5);                                                                                                       \
  STEP((t) + 6);                                                                                                       \
  STEP((t) + 7);                                                                                                       \
  STEP((t) + 8);                                                                                                       \
  STEP((t) + 9);                                                                                                       \
  STEP((t) + 10);                                                                                                      \
  STEP((t) + 11);                                                                                                      \
  STEP((t) + 12);                                                                                                      \
  STEP((t) + 13);                                                                                                      \
  STEP((t) + 14);                                                                                                      \
  STEP((t) + 15)
#define FIRST_STEP(t) ROUND(s, w, t)
#define LATER_STEP(t)                                                                                                  \
  SCHEDULE(w, t);                                                                                                      \
  ROUND(s, w, t)
#define ALL_ROUNDS                                                                                                     \
  SIXTEEN(FIRST_STEP, 0);                                                                                              \
  SIXTEEN(LATER_STEP, 16);                                                                                             \
  SIXTEEN(LATER_STEP, 32);                                                                                             \
  SIXTEEN(LATER_STEP, 48)

#endif
