/* The ABI of the native library, and nothing else.
 *
 * Plain C11. No function keeps memory or a pointer, or touches Python. Lengths are in bytes unless a name says otherwise.
 * Which instruction sets are used changes speed and never a bit. */
#ifndef ASSAY_KERNELS_H
#define ASSAY_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ASSAY_API __attribute__((visibility("default")))
#else
#define ASSAY_API
#endif

/* Instruction sets beyond the baseline of the platform, as bits. AVX2 includes FMA, F16C and BMI2; AVX512 includes F, BW,
 * DQ and VL and implies AVX2. */
#define ASSAY_SHA 1u
#define ASSAY_AVX2 2u
#define ASSAY_AVX512 4u

/* dispatch.c */
ASSAY_API const char *assay_source_digest(void);         /* hex SHA-256 of the sources that this library was built from */
ASSAY_API uint32_t assay_detect_features(void);          /* what processor and operating system allow */
ASSAY_API uint32_t assay_use_features(uint32_t allowed); /* choose among them; returns what is used; not thread-safe */

/* known_answers.c: the name of the first kernel in use that gives a wrong answer, or NULL. */
ASSAY_API const char *assay_find_wrong_kernel(void);

/* sha256_batch.c. Message i is data[offsets[i] .. offsets[i + 1]); digests: count * 32. */
ASSAY_API void assay_sha256_many(size_t count, const uint8_t *data, const uint64_t *offsets, uint8_t *digests);

/* SHA-256(prefix || pair) of count pairs of 64 bytes; prefix: 3; digests: count * 32, may be the memory of the pairs. */
ASSAY_API void assay_sha256_pairs(const uint8_t *prefix, size_t count, const uint8_t *pairs, uint8_t *digests);

/* The root over count >= 1 leaf hashes in the tree shape of RFC 9162; node = SHA-256(prefix || left || right).
 * prefix: 3; hashes: count * 32, overwritten, the root is its first 32. */
ASSAY_API void assay_merkle_root(const uint8_t *prefix, size_t count, uint8_t *hashes);

/* weight_sums.c. Element types of weights. */
#define ASSAY_F16 0u
#define ASSAY_BF16 1u
#define ASSAY_F32 2u
#define ASSAY_F64 3u

/* Five sums of every block of 4,096 elements, the last one shorter, of elements a of earlier and b of later: |b - a|,
 * (b - a)^2, |a|, a^2, b^2. Bytes are little-endian, of any alignment. sums: 5 * ceil(count / 4096). */
ASSAY_API void assay_weight_sums(uint32_t type, size_t count, const uint8_t *earlier, const uint8_t *later, double *sums);

/* state_tree.c: a state of one layout. The caller owns everything that is pointed at. */
struct assay_state {
  size_t count, split;     /* tensors, and how many of them are in the model tree: those come first */
  uint8_t *leaves;         /* the leaf messages of all tensors; the last 32 bytes of each are its digest's place */
  const uint64_t *offsets; /* count + 1: where each message starts */
  const uint8_t *digests;  /* count * 32: BLAKE3 of the tensors */
  uint8_t *hashes;         /* (count + 1) * 32, scratch */
  uint8_t model_prefix[3], rest_prefix[3], state_prefix[3];
  uint8_t alias_leaf[32]; /* hash of the last leaf of the model tree */
  uint8_t empty_rest[32]; /* root of the rest tree if it has no leaf */
  uint8_t roots[96];      /* result: model root, rest root, state root */
};

ASSAY_API void assay_state_roots(struct assay_state *state);

/* ledger_tree.c: the ledger state tree with all its leaves. The caller owns everything, and makes room for more. */
#define ASSAY_LEDGER_LEAF 68u    /* bytes of a leaf */
#define ASSAY_LEDGER_NODE 48u    /* bytes of a node */
#define ASSAY_LEDGER_CHANGE 65u  /* bytes of a change: path, 1 to set or 0 to delete, value hash */
#define ASSAY_LEDGER_CHUNK 8192u /* leaves or nodes that have their room together */
#define ASSAY_LEDGER_LEAVES 1    /* room for leaves is lacking */
#define ASSAY_LEDGER_NODES 2     /* room for nodes is lacking */

/* Leaves or nodes, by number. The caller sets chunks (a table that never moves) and room, and used to 1 at first. */
struct assay_ledger_pool {
  uint8_t **chunks;
  uint32_t room, used;        /* items that there is room for; the number of the first that was never used */
  uint32_t free, fresh, dead; /* lists: of those given back, those of the update, those that it replaces; 0: none */
  uint32_t fresh_count, dead_count, lacks;
};

struct assay_ledger_tree {
  struct assay_ledger_pool leaves, nodes;
  uint64_t count;                    /* leaves */
  uint32_t root, next_root;          /* of what was kept last; of the update, if there is one */
  uint8_t hash[32], next_hash[32];   /* of the same two; at first that of the empty tree */
  uint8_t leaf_prefix[3], node_prefix[3], empty[32];
};

/* Compute what changes with unique paths do; they are sorted in place. An update that was not kept is forgotten. Return 0,
 * or what there is no room for: then nothing was done. */
ASSAY_API int assay_ledger_tree_update(struct assay_ledger_tree *tree, size_t count, uint8_t *changes);

/* Keep the update that was computed last, or forget it. */
ASSAY_API void assay_ledger_tree_settle(struct assay_ledger_tree *tree, int keep);

/* Write the siblings (256 * 32) of a path in what was kept last, from the root down, and return their number. other: 65
 * bytes, 1 and the leaf of another path that stands in its place; or 0. May run beside an update. */
ASSAY_API size_t assay_ledger_tree_prove(const struct assay_ledger_tree *tree, const uint8_t *path, uint8_t *siblings,
                                         uint8_t *other);

/* blake3_batch.c. Unkeyed BLAKE3 of each buffer, any length, any number of them; digests: count * 32. */
ASSAY_API void assay_blake3_many(size_t count, const uint8_t *const *inputs, const uint64_t *lengths, uint8_t *digests);

/* step_chain.c: where a walk along the rows of a run's log stands. */
struct assay_chain {
  uint64_t step, position;   /* the last row that holds, 0: none yet; the byte behind it */
  const uint8_t *programs;   /* program_count * 32: their ids */
  size_t program_count;
  uint8_t leaf[32];          /* of that row, or of the start */
  uint8_t scalars[32];       /* digest of the scalars row in force, if has_scalars */
  uint32_t has_scalars;
  uint8_t leaf_prefix[2], scalars_prefix[2];
};

#define ASSAY_CHAIN_END 0     /* so many rows hold, or all that there are */
#define ASSAY_CHAIN_OTHER 1   /* the next row has a form that the caller must decode; its check was not looked at */
#define ASSAY_CHAIN_MARK 2    /* next is a mark, or no row at all */
#define ASSAY_CHAIN_DAMAGED 3 /* the next row's check or length does not fit */
#define ASSAY_CHAIN_DIFFERS 4 /* the next row's leaf does not follow */

/* Verify up to `rows` rows of data, size bytes, from the chain's position <= size on; return what comes next. */
ASSAY_API int assay_verify_rows(struct assay_chain *chain, const uint8_t *data, uint64_t size, uint64_t rows);

#endif
