/* BLAKE3 of many buffers at once. Chunks of all buffers, then parents of all trees, stand side by side in the lanes, so
 * that a hundred small tensors take hardly longer than one large. Source: the BLAKE3 paper, sections 2.1 and 5. */
#include "blake3_impl.h"

/* A longer buffer is cut into pieces of this many chunks, a power of two: each is a complete subtree. */
#define PIECE_CHUNKS 1024
#define PIECE_BYTES ((uint64_t)PIECE_CHUNKS * BLAKE3_CHUNK)
#define CV 32

/* A subtree on its way to one chaining value: a whole buffer, or a piece of one. */
struct piece {
  const uint8_t *input;
  uint64_t length, first_chunk;
  size_t buffer;      /* which buffer this is of */
  size_t live, place; /* chaining values that are left, and where they start */
  int is_whole, is_last;
};

/* Pieces whose chunks fit the chaining values, and what waits to be hashed of them. */
struct batch {
  struct piece pieces[PIECE_CHUNKS];
  size_t count, used;
  uint8_t cvs[PIECE_CHUNKS * CV];
  struct assay_blake3_group group;
  struct assay_blake3_states ends;
  const uint8_t *end_inputs[ASSAY_BLAKE3_LANES];
  size_t end_lengths[ASSAY_BLAKE3_LANES];
  uint32_t end_roots[ASSAY_BLAKE3_LANES];
  uint8_t *end_outputs[ASSAY_BLAKE3_LANES];
  size_t end_count;
};

/* The subtrees of one long buffer, left to right, as in the paper's section 5.1.2. */
struct stack {
  uint8_t cvs[64 * CV];
  size_t depth;
};

static void flush_group(struct batch *batch) {
  if (batch->group.count) assay_kernels.blake3_hash(&batch->group);
  batch->group.count = 0;
}

static void push(struct batch *batch, const uint8_t *input, uint64_t counter, uint32_t last, uint8_t *output) {
  struct assay_blake3_group *group = &batch->group;
  const size_t lane = group->count++;
  group->inputs[lane] = input;
  group->counter_low[lane] = (uint32_t)counter;
  group->counter_high[lane] = (uint32_t)(counter >> 32);
  group->last[lane] = last;
  group->outputs[lane] = output;
  if (group->count == ASSAY_BLAKE3_LANES) flush_group(batch);
}

/* Move the state of a lane. */
static void move_end(struct batch *batch, size_t to, size_t from) {
  struct assay_blake3_states *s = &batch->ends;
  for (int i = 0; i < 8; i++) s->cv[i][to] = s->cv[i][from];
  s->counter_low[to] = s->counter_low[from];
  s->counter_high[to] = s->counter_high[from];
  batch->end_inputs[to] = batch->end_inputs[from];
  batch->end_lengths[to] = batch->end_lengths[from];
  batch->end_roots[to] = batch->end_roots[from];
  batch->end_outputs[to] = batch->end_outputs[from];
}

/* Hash the waiting chunks that are not full, block by block; a finished one gives its lane to the last. */
static void flush_ends(struct batch *batch) {
  struct assay_blake3_states *s = &batch->ends;
  uint8_t padded[ASSAY_BLAKE3_LANES][BLAKE3_BLOCK];
  for (size_t lane = 0; lane < batch->end_count; lane++) s->flags[lane] = BLAKE3_CHUNK_START;
  while (batch->end_count) {
    for (size_t lane = 0; lane < batch->end_count; lane++) {
      const size_t left = batch->end_lengths[lane], taken = left < BLAKE3_BLOCK ? left : BLAKE3_BLOCK;
      s->blocks[lane] = batch->end_inputs[lane];
      s->lengths[lane] = (uint32_t)taken;
      if (taken == left) s->flags[lane] |= BLAKE3_CHUNK_END | batch->end_roots[lane];
      if (taken < BLAKE3_BLOCK) {
        memset(padded[lane], 0, BLAKE3_BLOCK);
        if (taken) memcpy(padded[lane], batch->end_inputs[lane], taken);
        s->blocks[lane] = padded[lane];
      }
    }
    assay_kernels.blake3_compress(batch->end_count, s);
    for (size_t lane = batch->end_count; lane-- > 0;) {
      const int ended = (s->flags[lane] & BLAKE3_CHUNK_END) != 0;
      if (ended) {
        for (int i = 0; i < 8; i++) store_le32(batch->end_outputs[lane] + 4 * i, s->cv[i][lane]);
        move_end(batch, lane, --batch->end_count);
      } else {
        batch->end_inputs[lane] += BLAKE3_BLOCK;
        batch->end_lengths[lane] -= BLAKE3_BLOCK;
      }
      s->flags[lane] = 0;
    }
  }
}

static void push_end(struct batch *batch, const uint8_t *input, size_t length, uint64_t counter, uint32_t root,
                     uint8_t *output) {
  const size_t lane = batch->end_count++;
  for (int i = 0; i < 8; i++) batch->ends.cv[i][lane] = blake3_iv[i];
  batch->ends.counter_low[lane] = (uint32_t)counter;
  batch->ends.counter_high[lane] = (uint32_t)(counter >> 32);
  batch->end_inputs[lane] = input;
  batch->end_lengths[lane] = length;
  batch->end_roots[lane] = root;
  batch->end_outputs[lane] = output;
  if (batch->end_count == ASSAY_BLAKE3_LANES) flush_ends(batch);
}

/* All chunks of all pieces. */
static void hash_chunks(struct batch *batch) {
  batch->group.blocks = BLAKE3_CHUNK / BLAKE3_BLOCK;
  batch->group.first = BLAKE3_CHUNK_START;
  for (size_t p = 0; p < batch->count; p++) {
    const struct piece *piece = &batch->pieces[p];
    const uint32_t root = piece->is_whole && piece->live == 1 ? BLAKE3_ROOT : 0;
    const size_t full = (size_t)(piece->length / BLAKE3_CHUNK);
    for (size_t c = 0; c < piece->live; c++) {
      const uint8_t *input = full ? piece->input + BLAKE3_CHUNK * c : piece->input;
      uint8_t *output = batch->cvs + CV * (piece->place + c);
      if (c < full)
        push(batch, input, piece->first_chunk + c, BLAKE3_CHUNK_END | root, output);
      else
        push_end(batch, input, (size_t)(piece->length % BLAKE3_CHUNK), piece->first_chunk + c, root, output);
    }
  }
  flush_group(batch);
  flush_ends(batch);
}

/* One level of all trees: neighbours join, the last of an odd number moves up. Returns whether there is another. */
static int join_level(struct batch *batch) {
  int more = 0;
  for (size_t p = 0; p < batch->count; p++) {
    const struct piece *piece = &batch->pieces[p];
    const uint32_t root = piece->is_whole && piece->live == 2 ? BLAKE3_ROOT : 0;
    uint8_t *cvs = batch->cvs + CV * piece->place;
    for (size_t i = 0; i < piece->live / 2; i++) push(batch, cvs + 2 * CV * i, 0, root, cvs + CV * i);
  }
  flush_group(batch);
  for (size_t p = 0; p < batch->count; p++) {
    struct piece *piece = &batch->pieces[p];
    uint8_t *cvs = batch->cvs + CV * piece->place;
    if (piece->live > 1 && piece->live % 2) memmove(cvs + CV * (piece->live / 2), cvs + CV * (piece->live - 1), CV);
    piece->live = piece->live / 2 + piece->live % 2;
    more |= piece->live > 1;
  }
  return more;
}

/* Join the two topmost subtrees of the stack. */
static void join_top(struct batch *batch, struct stack *stack, uint32_t root) {
  uint8_t *left = stack->cvs + CV * (stack->depth - 2);
  push(batch, left, 0, root, left);
  flush_group(batch);
  stack->depth--;
}

/* A piece of a long buffer is done. Subtrees of equal size join, but the last joins everything, up to the root. */
static void stack_piece(struct batch *batch, const struct piece *piece, struct stack *stack, uint8_t *digest) {
  memcpy(stack->cvs + CV * stack->depth++, batch->cvs + CV * piece->place, CV);
  if (piece->is_last) {
    while (stack->depth > 1) join_top(batch, stack, stack->depth == 2 ? BLAKE3_ROOT : 0);
    memcpy(digest, stack->cvs, CV);
    stack->depth = 0;
    return;
  }
  for (uint64_t pieces = piece->first_chunk / PIECE_CHUNKS + 1; pieces % 2 == 0; pieces /= 2) join_top(batch, stack, 0);
}

static void run_batch(struct batch *batch, struct stack *stack, uint8_t *digests) {
  hash_chunks(batch);
  batch->group.blocks = 1;
  batch->group.first = BLAKE3_PARENT;
  while (join_level(batch)) continue;
  for (size_t p = 0; p < batch->count; p++) {
    const struct piece *piece = &batch->pieces[p];
    uint8_t *digest = digests + CV * piece->buffer;
    if (piece->is_whole) memcpy(digest, batch->cvs + CV * piece->place, CV);
    else stack_piece(batch, piece, stack, digest);
  }
  batch->count = batch->used = 0;
}

void assay_blake3_many(size_t count, const uint8_t *const *inputs, const uint64_t *lengths, uint8_t *digests) {
  struct batch batch;
  struct stack stack;
  batch.count = batch.used = batch.group.count = batch.end_count = stack.depth = 0;
  for (size_t i = 0; i < count; i++) {
    uint64_t done = 0;
    do {
      const uint64_t left = lengths[i] - done, length = left < PIECE_BYTES ? left : PIECE_BYTES;
      const size_t chunks = length ? (size_t)((length + BLAKE3_CHUNK - 1) / BLAKE3_CHUNK) : 1;
      if (batch.used + chunks > PIECE_CHUNKS) run_batch(&batch, &stack, digests);
      batch.pieces[batch.count++] = (struct piece){
          .input = done ? inputs[i] + done : inputs[i],
          .length = length,
          .first_chunk = done / BLAKE3_CHUNK,
          .buffer = i,
          .live = chunks,
          .place = batch.used,
          .is_whole = length == lengths[i],
          .is_last = left == length,
      };
      batch.used += chunks;
      done += length;
    } while (done < lengths[i]);
  }
  if (batch.count) run_batch(&batch, &stack, digests);
}
