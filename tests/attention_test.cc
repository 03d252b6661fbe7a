#include "backend/cpu/attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "support/seed.h"
#include "support/vector_testing.h"
#include "tensor/half.h"

namespace kvi::cpu {
namespace {

struct Shape {
  int num_heads = 4, num_kv_heads = 2, head_dim = 64;
  int page_len = 16;
  int window = 0;
  float softcap = 0;
  DType dtype = DType::F16;
};

struct Row {
  int sequence;
  int position;
};

// Sequences with random K and V in scattered pages. Everything that is not a key of a sequence is NaN:
// slots past its end, pages that nobody owns. What a window has left behind is not even in the tables.
class KvScene {
 public:
  KvScene(const Shape& shape, std::vector<int> context_lens, std::mt19937_64& random)
      : shape_(shape), context_lens_(std::move(context_lens)), layout_(make_layout(shape)) {
    int num_pages = 3;
    for (int len : context_lens_) num_pages += (len + shape.page_len - 1) / shape.page_len;
    std::vector<PageId> ids(num_pages);
    for (int i = 0; i < num_pages; ++i) ids[i] = i;
    std::shuffle(ids.begin(), ids.end(), random);
    memory_.resize(num_pages * layout_.page_bytes / 4 + 64);
    const float nan = std::numeric_limits<float>::quiet_NaN();  // also NaN as two f16 or bf16
    uint32_t poison = shape.dtype == DType::F32 ? std::bit_cast<uint32_t>(nan) : 0x7fff7fff;
    std::fill(memory_.begin(), memory_.end(), poison);
    tables_.resize(context_lens_.size());
    for (size_t s = 0; s < context_lens_.size(); ++s) {
      keys_.push_back(random_kv(context_lens_[s], random));
      values_.push_back(random_kv(context_lens_[s], random));
      for (int p = 0; p * shape.page_len < context_lens_[s]; ++p) {
        tables_[s].push_back(ids.back());
        ids.pop_back();
      }
      for (int position = 0; position < context_lens_[s]; ++position) {
        for (int h = 0; h < shape.num_kv_heads; ++h) {
          for (int d = 0; d < shape.head_dim; ++d) {
            store(layout_.planes[0], s, position, h, d, keys_[s]);
            store(layout_.planes[1], s, position, h, d, values_[s]);
          }
        }
      }
    }
  }

  const Shape& shape() const { return shape_; }
  int kv_len() const { return shape_.num_kv_heads * shape_.head_dim; }
  std::span<float> key(int sequence, int position) {
    return std::span(keys_[sequence]).subspan(position * kv_len(), kv_len());
  }

  // Pages that no query at first_position or later sees, as tables with kNoPage and as NaN.
  void drop_pages_before_window(int sequence, int first_position) {
    const int first_key = std::max(0, first_position + 1 - shape_.window);
    for (int page = 0; (page + 1) * shape_.page_len <= first_key; ++page) {
      tables_[sequence][page] = kNoPage;
    }
  }

  KvSegment segment(std::span<const std::span<const PageId>> tables) {
    return {.layout = &layout_,
            .key = &layout_.planes[0],
            .value = &layout_.planes[1],
            .pages = reinterpret_cast<std::byte*>(memory_.data()),
            .tables = tables,
            .window = shape_.window};
  }
  const std::vector<PageId>& table(int sequence) const { return tables_[sequence]; }

  AttentionWeights weights() const {
    AttentionWeights weights;
    weights.num_heads = shape_.num_heads;
    weights.num_kv_heads = shape_.num_kv_heads;
    weights.head_dim = shape_.head_dim;
    weights.softmax_scale = 1.5f / std::sqrt(static_cast<float>(shape_.head_dim));
    weights.logit_softcap = shape_.softcap;
    return weights;
  }

  // Adds to (sum, out) what the query sees here, as softmax without the division.
  void attend_exactly(int sequence, int position, int head, const float* query, double& sum,
                      std::vector<double>& out) {
    const AttentionWeights w = weights();
    const int kv_head = head / (shape_.num_heads / shape_.num_kv_heads);
    const int first = shape_.window == 0 ? 0 : std::max(0, position + 1 - shape_.window);
    for (int key = first; key <= position; ++key) {
      const float* k = keys_[sequence].data() + key * kv_len() + kv_head * shape_.head_dim;
      const float* v = values_[sequence].data() + key * kv_len() + kv_head * shape_.head_dim;
      double score = 0;
      for (int d = 0; d < shape_.head_dim; ++d) score += double{query[d]} * k[d];
      score *= w.softmax_scale;
      if (shape_.softcap > 0) score = shape_.softcap * std::tanh(score / shape_.softcap);
      const double weight = std::exp(score);
      sum += weight;
      for (int d = 0; d < shape_.head_dim; ++d) out[d] += weight * v[d];
    }
  }

 private:
  static PageLayout make_layout(const Shape& shape) {
    KvLayerShape layer;
    layer.num_kv_heads = shape.num_kv_heads;
    layer.key_dim = layer.value_dim = shape.head_dim;
    layer.key_dtype = layer.value_dtype = shape.dtype;
    return keys_by_dim_layout({layer}, shape.page_len);
  }

  std::vector<float> random_kv(int len, std::mt19937_64& random) {
    std::vector<float> values = random_values(int64_t{len} * kv_len(), random);
    for (float& value : values) {
      if (shape_.dtype == DType::F16) value = f16_to_f32(f32_to_f16(value));
      if (shape_.dtype == DType::BF16) value = bf16_to_f32(f32_to_bf16(value));
    }
    return values;
  }

  void store(const Plane& plane, size_t sequence, int position, int head, int dim,
             const std::vector<float>& values) {
    const float value = values[position * kv_len() + head * shape_.head_dim + dim];
    std::byte* at = reinterpret_cast<std::byte*>(memory_.data()) +
                    tables_[sequence][position / shape_.page_len] * layout_.page_bytes +
                    plane.offset + head * plane.head_stride +
                    position % shape_.page_len * plane.slot_stride + dim * plane.dim_stride;
    if (shape_.dtype == DType::F32) {
      std::memcpy(at, &value, 4);
    } else {
      const uint16_t half = shape_.dtype == DType::F16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(at, &half, 2);
    }
  }

  Shape shape_;
  std::vector<int> context_lens_;
  PageLayout layout_;
  std::vector<uint32_t> memory_;
  std::vector<std::vector<PageId>> tables_;
  std::vector<std::vector<float>> keys_, values_;  // [position, kv_head, head_dim], rounded
};

// A query of each (sequence, position), the same whatever the step that asks it.
std::vector<float> query_of(const Shape& shape, int sequence, int position) {
  std::mt19937_64 random(static_cast<uint64_t>(sequence) * 1000003 +
                         static_cast<uint64_t>(position));
  return random_values(shape.num_heads * shape.head_dim, random);
}

// Runs one step over chunks of sequences of one or more scenes, and returns [row, q_len].
std::vector<float> attend(std::vector<KvScene*> scenes, const VectorOps& ops, int num_threads,
                          const std::vector<SequenceRows>& chunks,
                          const std::vector<int>& sequences) {
  const Shape& shape = scenes[0]->shape();
  BatchRows batch;
  std::vector<int32_t> positions;
  std::vector<float> queries;
  int max_context = 1;
  for (size_t i = 0; i < chunks.size(); ++i) {
    batch.num_rows += chunks[i].num_rows;
    for (int r = 0; r < chunks[i].num_rows; ++r) {
      const int position = chunks[i].first_position + r;
      positions.push_back(position);
      const std::vector<float> query = query_of(shape, sequences[i], position);
      queries.insert(queries.end(), query.begin(), query.end());
      max_context = std::max(max_context, position + 1);
    }
  }
  batch.sequences = chunks;
  batch.positions = positions;

  ExecutorShape executor_shape;
  executor_shape.max_rows = batch.num_rows;
  executor_shape.num_heads = shape.num_heads;
  executor_shape.head_dim = shape.head_dim;
  executor_shape.max_context = max_context;
  executor_shape.max_sequences = static_cast<int>(chunks.size());
  Scratch count(nullptr);
  PagedAttention(executor_shape, num_threads, count);
  AlignedMemory memory(count.size_bytes());
  std::memset(memory.data(), 0xff, count.size_bytes());  // NaN
  Scratch scratch(memory.data());
  PagedAttention attention(executor_shape, num_threads, scratch);

  std::vector<std::vector<std::span<const PageId>>> tables(scenes.size());
  std::vector<KvSegment> segments;
  for (size_t i = 0; i < scenes.size(); ++i) {
    for (int sequence : sequences) tables[i].push_back(scenes[i]->table(sequence));
    segments.push_back(scenes[i]->segment(tables[i]));
  }
  std::vector<float> out(queries.size(), kUntouched);
  ThreadPool pool(num_threads);
  attention.run(pool, ops, batch, scenes[0]->weights(), segments, queries.data(), out.data());
  return out;
}

std::vector<float> attend(KvScene& scene, const VectorOps& ops, int num_threads, int sequence,
                          int first_position, int num_rows) {
  return attend({&scene}, ops, num_threads, {{0, num_rows, first_position}}, {sequence});
}

void expect_exact(std::vector<KvScene*> scenes, int sequence, int first_position,
                  const std::vector<float>& out) {
  const Shape& shape = scenes[0]->shape();
  const int q_len = shape.num_heads * shape.head_dim;
  for (int r = 0; r < static_cast<int>(out.size()) / q_len; ++r) {
    const std::vector<float> query = query_of(shape, sequence, first_position + r);
    for (int h = 0; h < shape.num_heads; ++h) {
      double sum = 0;
      std::vector<double> exact(shape.head_dim, 0.0);
      for (KvScene* scene : scenes) {
        scene->attend_exactly(sequence, first_position + r, h, query.data() + h * shape.head_dim,
                              sum, exact);
      }
      for (int d = 0; d < shape.head_dim; ++d) {
        ASSERT_NEAR(out[r * q_len + h * shape.head_dim + d], exact[d] / sum, 5e-6)
            << "position " << first_position + r << " head " << h << " dim " << d;
      }
    }
  }
}

class AttentionTest : public VectorOpsTest {
 protected:
  std::mt19937_64 random_{test_seed()};
};

TEST_P(AttentionTest, EqualsSoftmaxOverContiguousKeysForEveryHeadShape) {
  for (int head_dim : {8, 16, 40, 64, 80, 128, 256}) {
    for (auto [num_kv_heads, group] : {std::pair{1, 1}, {1, 4}, {3, 3}, {2, 9}, {1, 7}, {1, 40}}) {
      Shape shape;
      shape.num_kv_heads = num_kv_heads;
      shape.num_heads = num_kv_heads * group;
      shape.head_dim = head_dim;
      KvScene scene(shape, {300}, random_);
      for (auto [first, rows] : {std::pair{0, 1}, {0, 21}, {255, 3}, {290, 10}, {299, 1}}) {
        expect_exact({&scene}, 0, first, attend(scene, ops(), 2, 0, first, rows));
      }
    }
  }
}

TEST_P(AttentionTest, EveryPageLengthAndElementTypeIsRead) {
  for (DType dtype : {DType::F16, DType::BF16, DType::F32}) {
    for (int page_len : {16, 32, 64, 128, 256}) {
      Shape shape;
      shape.page_len = page_len;
      shape.dtype = dtype;
      shape.head_dim = 72;
      KvScene scene(shape, {530}, random_);
      for (auto [first, rows] : {std::pair{0, 18}, {page_len - 1, 2}, {517, 13}}) {
        expect_exact({&scene}, 0, first, attend(scene, ops(), 2, 0, first, rows));
      }
    }
  }
}

TEST_P(AttentionTest, WindowsHideWhatLiesBeforeThemAndItsPagesAreNotRead) {
  for (int window : {1, 2, 15, 16, 17, 31, 64, 255, 256, 257, 400}) {
    for (int page_len : {16, 64}) {
      Shape shape;
      shape.window = window;
      shape.page_len = page_len;
      for (auto [first, rows] :
           {std::pair{0, 40}, {window - 1, 3}, {590, 9}, {599, 1}, {512, 20}}) {
        KvScene scene(shape, {800}, random_);
        scene.drop_pages_before_window(0, first);
        expect_exact({&scene}, 0, first, attend(scene, ops(), 2, 0, first, rows));
      }
    }
  }
}

TEST_P(AttentionTest, ValuesThatAQueryDoesNotSeeCannotReachItEvenWhenInfinite) {
  Shape shape;
  shape.dtype = DType::F32;
  shape.window = 24;
  KvScene scene(shape, {64}, random_);
  const std::vector<float> before = attend(scene, ops(), 1, 0, 40, 1);
  const PageLayout layout = *scene.segment({}).layout;
  for (int position : {16, 41, 42}) {  // just outside the window on both sides
    for (int h = 0; h < shape.num_kv_heads; ++h) {
      const Plane& plane = layout.planes[1];
      std::byte* row = scene.segment({}).pages + scene.table(0)[position / 16] * layout.page_bytes +
                       plane.offset + h * plane.head_stride + position % 16 * plane.slot_stride;
      const float infinite = std::numeric_limits<float>::infinity();
      for (int d = 0; d < shape.head_dim; ++d) std::memcpy(row + d * 4, &infinite, 4);
    }
  }
  const std::vector<float> chunk = attend(scene, ops(), 1, 0, 40, 3);
  EXPECT_TRUE(same_bits(before, std::span(chunk).first(before.size())));
}

TEST_P(AttentionTest, SoftcapBoundsTheScores) {
  Shape shape;
  shape.softcap = 2;
  KvScene scene(shape, {300}, random_);
  expect_exact({&scene}, 0, 280, attend(scene, ops(), 2, 0, 280, 20));
}

TEST_P(AttentionTest, SegmentsAreMergedAsOneSoftmax) {
  Shape first_shape, second_shape;
  second_shape.page_len = 64;
  second_shape.window = 100;
  KvScene first(first_shape, {700}, random_), second(second_shape, {700}, random_);
  for (auto [position, rows] : {std::pair{0, 5}, {690, 10}, {699, 1}}) {
    const std::vector<float> out = attend({&first, &second}, ops(), 2, {{0, rows, position}}, {0});
    expect_exact({&first, &second}, 0, position, out);
  }
}

TEST_P(AttentionTest, ChunkSizesDoNotChangeABit) {
  for (int window : {0, 200}) {
    Shape shape;
    shape.num_heads = 9;
    shape.num_kv_heads = 3;
    shape.head_dim = 16;
    shape.window = window;
    KvScene scene(shape, {600}, random_);
    const std::vector<float> whole = attend(scene, ops(), 1, 0, 0, 600);
    for (int chunk : {1, 16, 128, 512}) {
      std::vector<float> out;
      for (int first = 0; first < 600; first += chunk) {
        if (chunk == 1 && first % 7 != 0) {  // every seventh is enough
          out.insert(out.end(), whole.begin() + first * 144, whole.begin() + (first + 1) * 144);
          continue;
        }
        const std::vector<float> part = attend(scene, ops(), 2, 0, first,
                                               std::min(chunk, 600 - first));
        out.insert(out.end(), part.begin(), part.end());
      }
      EXPECT_TRUE(same_bits(whole, out)) << "chunk " << chunk << " window " << window;
    }
  }
}

TEST_P(AttentionTest, NeighboursInTheBatchAndThreadsDoNotChangeABit) {
  Shape shape;
  shape.num_heads = 6;
  shape.num_kv_heads = 2;
  KvScene scene(shape, {900, 17, 300, 1, 513, 40}, random_);
  const std::vector<SequenceRows> chunks = {{0, 1, 899}, {1, 3, 14},   {4, 44, 256},
                                            {48, 1, 0},  {49, 1, 512}, {50, 2, 30}};
  const int q_len = shape.num_heads * shape.head_dim;
  for (int num_threads : {1, 2, 3}) {
    const std::vector<float> together = attend({&scene}, ops(), num_threads, chunks,
                                               {0, 1, 2, 3, 4, 5});
    for (int s = 0; s < 6; ++s) {
      for (int threads_alone : {1, 3}) {
        const std::vector<float> alone = attend(scene, ops(), threads_alone, s,
                                                chunks[s].first_position, chunks[s].num_rows);
        EXPECT_TRUE(same_bits(
            alone, std::span(together).subspan(chunks[s].first_row * q_len, alone.size())))
            << "sequence " << s << " threads " << num_threads;
      }
    }
  }
}

TEST_P(AttentionTest, EveryInstructionSetGivesTheBitsOfTheScalarOne) {
  for (int head_dim : {16, 40, 64, 80, 256}) {
    for (int group : {1, 2, 3, 5, 8}) {
      Shape shape;
      shape.num_kv_heads = 1;
      shape.num_heads = group;
      shape.head_dim = head_dim;
      shape.softcap = group == 2 ? 10 : 0;
      shape.window = group == 3 ? 77 : 0;
      shape.dtype = group == 5 ? DType::BF16 : DType::F16;
      KvScene scene(shape, {400}, random_);
      for (auto [first, rows] : {std::pair{399, 1}, {380, 20}}) {
        EXPECT_TRUE(same_bits(attend(scene, ops(), 2, 0, first, rows),
                              attend(scene, kScalarVectorOps, 1, 0, first, rows)));
      }
    }
  }
}

std::atomic<int64_t> keys_attended;
void count_keys(const AttentionCall& call) {
  const int last = std::min(call.end_key, call.first_position + call.num_positions);
  keys_attended += std::max(0, last - call.first_key) * call.group;
  kScalarVectorOps.attend(call);
}

TEST(AttentionWorkTest, ADecodedTokenReadsEachKeyOnceForEachHead) {
  std::mt19937_64 random(test_seed());
  VectorOps counting = kScalarVectorOps;
  counting.attend = count_keys;
  KvScene scene(Shape(), {1000}, random);
  for (int position : {0, 99, 500, 999}) {
    keys_attended = 0;
    attend(scene, counting, 2, 0, position, 1);
    EXPECT_EQ(keys_attended, (position + 1) * scene.shape().num_heads);
  }
}

INSTANTIATE_TEST_SUITE_P(, AttentionTest, vector_isas(), isa_test_name);

}  // namespace
}  // namespace kvi::cpu
