/* The roots of a model state above the digests of its tensors. Source: spec/model-state.md. */
#include <string.h>

#include "kernels_impl.h"

void assay_state_roots(struct assay_state *state) {
  const size_t split = state->split, rest = state->count - split;
  uint8_t *model_hashes = state->hashes, *rest_hashes = state->hashes + 32 * (split + 1);
  for (size_t i = 0; i < state->count; i++)
    memcpy(state->leaves + state->offsets[i + 1] - 32, state->digests + 32 * i, 32);
  assay_sha256_many(split, state->leaves, state->offsets, model_hashes);
  assay_sha256_many(rest, state->leaves, state->offsets + split, rest_hashes);
  memcpy(model_hashes + 32 * split, state->alias_leaf, 32);
  assay_merkle_root(state->model_prefix, split + 1, model_hashes);
  if (rest) assay_merkle_root(state->rest_prefix, rest, rest_hashes);
  memcpy(state->roots, model_hashes, 32);
  memcpy(state->roots + 32, rest ? rest_hashes : state->empty_rest, 32);
  uint8_t both[64];
  memcpy(both, state->roots, 64);
  assay_merkle_root(state->state_prefix, 2, both);
  memcpy(state->roots + 64, both, 32);
}
