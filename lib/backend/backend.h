// What computes: a device that holds weights and KV pages, and executors that run layers on it.
//
// The ops are block-sized, so that a backend can fuse inside them. A backend knows no policy: which
// sequence, page or token comes next is decided above, in ids and counts.
//
// Numeric contract: the reduction order of every output depends on absolute positions and weight
// shapes only, never on the number of rows, threads, chunks or sequences. Attention reads K and V
// only after they were rounded into pages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/layer.h"
#include "base/memory_range.h"
#include "tensor/dtype.h"
#include "tensor/layout.h"

namespace kvi {

// Weights as the backend arranges them. Immutable after loading; shared by executors.
class Matrix {
 public:
  virtual ~Matrix() = default;
  virtual int64_t rows() const = 0;
  virtual int64_t cols() const = 0;
  virtual DType dtype() const = 0;          // of the file
  virtual uint64_t size_bytes() const = 0;  // as arranged
};

class Vector {  // f32
 public:
  virtual ~Vector() = default;
  virtual int64_t size() const = 0;
};

// Where a matrix comes from. The backend pulls a few rows at a time, so loading needs little memory
// beyond the arranged weights.
struct MatrixSource {
  DType dtype = DType::F32;
  int64_t rows = 0, cols = 0;
  // Fills dst with rows [first, first + n) as stored. May throw; may be called from several threads.
  std::function<void(int64_t first, int64_t n, std::span<std::byte> dst)> read_rows;
};

// How quantized weights meet activations. Weights of plain types always meet f32.
enum class Precision {
  int8_activations,  // int8 per 32 values: fast
  f32_activations,   // the exact path
};

// The rows of one step. Each sequence's rows are consecutive positions.
struct SequenceRows {
  int first_row = 0;
  int num_rows = 0;
  int first_position = 0;
};
struct BatchRows {
  int num_rows = 0;
  std::span<const SequenceRows> sequences;
  std::span<const int32_t> positions;  // [num_rows]
};

// KV pages of one layer, for every sequence of the batch. Token at position p of sequence s lies in
// page tables[s][p / page_len], slot p % page_len. Key j is visible to query i iff 0 <= i - j and,
// in a window, i - j < window; pages wholly outside may be kNoPage.
struct KvSegment {
  const PageLayout* layout = nullptr;
  const Plane* key = nullptr;  // this layer's planes in layout
  const Plane* value = nullptr;
  std::byte* pages = nullptr;                       // page p begins at p * layout->page_bytes
  std::span<const std::span<const PageId>> tables;  // by sequence
  int window = 0;                                   // tokens; 0: all
};

// What is done to a token's logit before the next token is chosen: plus bias; divided by repetition where positive,
// times it where not; minus penalty.
struct LogitEdit {
  int32_t token = 0;
  float bias = 0, repetition = 1, penalty = 0;
};
inline float edited(float logit, const LogitEdit& edit) {
  logit += edit.bias;
  if (edit.repetition != 1) logit = logit > 0 ? logit / edit.repetition : logit * edit.repetition;
  return logit - edit.penalty;
}

// How the token after a row is chosen, with the meanings of SamplingOptions: the choice depends on the row's logits and
// on this alone.
struct TokenChoice {
  int row = 0;
  float temperature = 0, top_p = 1, min_p = 0;
  int top_k = 0;
  double unit = 0;  // the random number, in [0, 1)
  // Of different tokens.
  int first_edit = 0, num_edits = 0;
};

struct ExecutorShape {
  int max_rows = 0;        // rows of one step
  int max_logit_rows = 0;  // of which logits are wanted
  int embedding_len = 0;
  int q_len = 0;   // num_heads * head_dim, the largest of all layers
  int kv_len = 0;  // num_kv_heads * head_dim, likewise
  int ffn_len = 0;
  int num_heads = 0, head_dim = 0;
  int64_t vocab_size = 0;
  int max_context = 0;
  int max_sequences = 0;
};

struct ExecutorOptions {
  int num_threads = 1;
  Precision precision = Precision::int8_activations;
};

// Runs steps, one at a time: begin_step, then the ops in layer order on the hidden state that the
// executor keeps, [max_rows, embedding_len]. Not thread-safe; engines have one each.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual uint64_t scratch_bytes() const = 0;

  virtual void begin_step(const BatchRows& batch) = 0;  // what its spans point to outlives the step
  virtual void embed(const EmbeddingWeights& weights, std::span<const int32_t> token_ids) = 0;
  // Norm, projections, per-head norms, rotation; K and V of every row are rounded into their slots.
  virtual void qkv_rope_store(const AttentionWeights& weights, const KvSegment& kv) = 0;
  // Softmax attention of the rows' queries over segments, merged by log-sum-exp in list order.
  virtual void attention(const AttentionWeights& weights, std::span<const KvSegment> segments) = 0;
  virtual void out_residual(const AttentionWeights& weights) = 0;
  virtual void mlp(const MlpWeights& weights) = 0;
  virtual void end_layers() = 0;  // after the last one
  // logits: [rows.size(), vocab], in host memory.
  virtual void head(const HeadWeights& weights, std::span<const int32_t> rows, float* logits) = 0;

  // Whether it chooses tokens itself, so that their logits need not come to the host.
  virtual bool can_choose() const { return false; }
  // tokens: [choices.size()]; -1 where no logit is a number above -infinity. Requires: can_choose(), at most
  // max_logit_rows choices.
  virtual void choose(const HeadWeights&, std::span<const TokenChoice>, std::span<const LogitEdit>,
                      std::span<int32_t>) {}
};

struct BackendInfo {
  std::string name;         // "cpu"
  std::string device_name;  // "avx512_vnni"
  // Names the rounding of this backend's arithmetic: results of equal ids are bitwise equal.
  std::string numerics_id;
  uint64_t memory_bytes = 0;  // of the device, in all
  // Whether the host reads and writes pages by their addresses; else through read_page and write_page alone.
  bool pages_are_host_memory = true;
};

// A page on its way between the device and host memory.
struct PageTransfer {
  std::byte* page = nullptr;
  std::byte* host = nullptr;
  uint64_t num_bytes = 0;
  bool to_host = true;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual const BackendInfo& info() const = 0;

  // Throws OUT_OF_MEMORY, and whatever the source throws.
  virtual std::unique_ptr<Matrix> load_matrix(const MatrixSource& source) = 0;
  virtual std::unique_ptr<Vector> load_vector(std::span<const float> values) = 0;
  // What load_matrix will take, and the most it holds besides while it runs.
  virtual uint64_t matrix_bytes(DType dtype, int64_t rows, int64_t cols) const = 0;
  virtual uint64_t load_scratch_bytes(DType dtype, int64_t rows, int64_t cols) const = 0;

  virtual PageLayout page_layout(const std::vector<KvLayerShape>& layers, int page_len) const = 0;
  // Addresses of the device, which only it may follow, unless info() says otherwise.
  virtual std::unique_ptr<MemoryRange> reserve_pages(uint64_t num_bytes) = 0;
  // Host memory that pages are copied to and from fast.
  virtual std::unique_ptr<MemoryRange> reserve_host_pages(uint64_t num_bytes) = 0;
  // Whoever asked for these has gone on before they are done. Where one fails the device is lost, so that nobody ever
  // reads what lacks it.
  virtual void copy_page(std::byte* to, const std::byte* from, uint64_t num_bytes) noexcept = 0;
  virtual void zero_page(std::byte* page, uint64_t num_bytes) noexcept = 0;
  // Pages' bytes as they are, out to host memory and back in, in any order; done on return. Any thread; nobody else
  // touches the pages or the memory meanwhile.
  virtual void transfer(std::span<const PageTransfer> transfers) = 0;
  void read_page(const std::byte* page, std::span<std::byte> bytes) {
    const PageTransfer out = {const_cast<std::byte*>(page), bytes.data(), bytes.size(), true};
    transfer({&out, 1});
  }
  void write_page(std::byte* page, std::span<const std::byte> bytes) {
    const PageTransfer in = {page, const_cast<std::byte*>(bytes.data()), bytes.size(), false};
    transfer({&in, 1});
  }
  // The first num_slots slots of a page, out to host memory in the canonical layout and back in. Of what comes out the
  // rest is zero; of the page it stays as it was. Any thread; nobody writes to the page meanwhile.
  virtual void export_page(const PageLayout& layout, const std::byte* page,
                           const PageLayout& canonical, std::span<std::byte> bytes,
                           int num_slots) = 0;
  virtual void import_page(const PageLayout& layout, std::byte* page, const PageLayout& canonical,
                           std::span<const std::byte> bytes, int num_slots) = 0;

  virtual std::unique_ptr<Executor> make_executor(const ExecutorShape& shape,
                                                  const ExecutorOptions& options) = 0;
  virtual uint64_t scratch_bytes(const ExecutorShape& shape,
                                 const ExecutorOptions& options) const = 0;
};

}  // namespace kvi
