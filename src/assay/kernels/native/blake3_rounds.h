/* The seven rounds of BLAKE3 over whatever a lane vector is. The includer defines, for a type VEC: ADD, XOR, ROT16, ROT12,
 * ROT8 and ROT7. Source: the BLAKE3 paper, section 2.2. */
#ifndef ASSAY_BLAKE3_ROUNDS_H
#define ASSAY_BLAKE3_ROUNDS_H

/* Where registers are scarce the includer keeps the third row of the state elsewhere, and says when it must be there. */
#ifndef ROW_C
#define ROW_C(v, c) v[c]
#define PARK
#endif

/* Four quarter rounds that do not wait for each other, step by step; x: message words added first, y: second. */
#define QUARTERS(v, m, a0, b0, c0, d0, a1, b1, c1, d1, a2, b2, c2, d2, a3, b3, c3, d3, x0, y0, x1, y1, x2, y2, x3, y3) \
  do {                                                                                                                 \
    v[a0] = ADD(ADD(v[a0], m[x0]), v[b0]); v[a1] = ADD(ADD(v[a1], m[x1]), v[b1]);                                      \
    v[a2] = ADD(ADD(v[a2], m[x2]), v[b2]); v[a3] = ADD(ADD(v[a3], m[x3]), v[b3]);                                      \
    v[d0] = ROT16(XOR(v[d0], v[a0])); v[d1] = ROT16(XOR(v[d1], v[a1]));                                                \
    v[d2] = ROT16(XOR(v[d2], v[a2])); v[d3] = ROT16(XOR(v[d3], v[a3]));                                                \
    ROW_C(v, c0) = ADD(ROW_C(v, c0), v[d0]); ROW_C(v, c1) = ADD(ROW_C(v, c1), v[d1]);                                  \
    ROW_C(v, c2) = ADD(ROW_C(v, c2), v[d2]); ROW_C(v, c3) = ADD(ROW_C(v, c3), v[d3]);                                  \
    v[b0] = ROT12(XOR(v[b0], ROW_C(v, c0))); v[b1] = ROT12(XOR(v[b1], ROW_C(v, c1)));                                  \
    v[b2] = ROT12(XOR(v[b2], ROW_C(v, c2))); v[b3] = ROT12(XOR(v[b3], ROW_C(v, c3)));                                  \
    PARK;                                                                                                              \
    v[a0] = ADD(ADD(v[a0], m[y0]), v[b0]); v[a1] = ADD(ADD(v[a1], m[y1]), v[b1]);                                      \
    v[a2] = ADD(ADD(v[a2], m[y2]), v[b2]); v[a3] = ADD(ADD(v[a3], m[y3]), v[b3]);                                      \
    v[d0] = ROT8(XOR(v[d0], v[a0])); v[d1] = ROT8(XOR(v[d1], v[a1]));                                                  \
    v[d2] = ROT8(XOR(v[d2], v[a2])); v[d3] = ROT8(XOR(v[d3], v[a3]));                                                  \
    ROW_C(v, c0) = ADD(ROW_C(v, c0), v[d0]); ROW_C(v, c1) = ADD(ROW_C(v, c1), v[d1]);                                  \
    ROW_C(v, c2) = ADD(ROW_C(v, c2), v[d2]); ROW_C(v, c3) = ADD(ROW_C(v, c3), v[d3]);                                  \
    v[b0] = ROT7(XOR(v[b0], ROW_C(v, c0))); v[b1] = ROT7(XOR(v[b1], ROW_C(v, c1)));                                    \
    v[b2] = ROT7(XOR(v[b2], ROW_C(v, c2))); v[b3] = ROT7(XOR(v[b3], ROW_C(v, c3)));                                    \
    PARK;                                                                                                              \
  } while (0)

/* Columns of the state, then its diagonals; the rest of the arguments is the order of the message words. */
#define COLUMNS(v, m, s0, s1, s2, s3, s4, s5, s6, s7)                                                                  \
  QUARTERS(v, m, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15, s0, s1, s2, s3, s4, s5, s6, s7)
#define DIAGONALS(v, m, s0, s1, s2, s3, s4, s5, s6, s7)                                                                \
  QUARTERS(v, m, 0, 5, 10, 15, 1, 6, 11, 12, 2, 7, 8, 13, 3, 4, 9, 14, s0, s1, s2, s3, s4, s5, s6, s7)

/* EACH(half, words): how a half round is done, for one state or for several in turn. */
#define ROUNDS(EACH)                                                                                                   \
  EACH(COLUMNS, 0, 1, 2, 3, 4, 5, 6, 7);                                                                               \
  EACH(DIAGONALS, 8, 9, 10, 11, 12, 13, 14, 15);                                                                       \
  EACH(COLUMNS, 2, 6, 3, 10, 7, 0, 4, 13);                                                                             \
  EACH(DIAGONALS, 1, 11, 12, 5, 9, 14, 15, 8);                                                                         \
  EACH(COLUMNS, 3, 4, 10, 12, 13, 2, 7, 14);                                                                           \
  EACH(DIAGONALS, 6, 5, 9, 0, 11, 15, 8, 1);                                                                           \
  EACH(COLUMNS, 10, 7, 12, 9, 14, 3, 13, 15);                                                                          \
  EACH(DIAGONALS, 4, 0, 11, 2, 5, 8, 1, 6);                                                                            \
  EACH(COLUMNS, 12, 13, 9, 11, 15, 10, 14, 8);                                                                         \
  EACH(DIAGONALS, 7, 2, 5, 3, 0, 1, 6, 4);                                                                             \
  EACH(COLUMNS, 9, 14, 11, 5, 8, 12, 15, 1);                                                                           \
  EACH(DIAGONALS, 13, 3, 0, 10, 2, 6, 4, 7);                                                                           \
  EACH(COLUMNS, 11, 15, 5, 0, 1, 9, 8, 6);                                                                             \
  EACH(DIAGONALS, 14, 10, 2, 12, 3, 4, 7, 13)

#endif
