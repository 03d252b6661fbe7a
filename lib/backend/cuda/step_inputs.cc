#include "backend/cuda/step_inputs.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace kvi::cuda {
namespace {

constexpr uint64_t kLeastTableBytes = uint64_t{64} << 10;
constexpr uint64_t kLeastPageLen = 16;

uint64_t aligned(uint64_t num_bytes) {
  return (num_bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment;
}

}  // namespace

// One copy brings the first three: they lie side by side.
StepInputs::Arrays::Arrays(const ExecutorShape& shape, Scratch& scratch)
    : positions(scratch.take<int32_t>(shape.max_rows)),
      sequence(scratch.take<int32_t>(shape.max_rows)),
      token_ids(scratch.take<int32_t>(shape.max_rows)),
      logit_rows(scratch.take<int32_t>(shape.max_logit_rows)) {}

uint64_t StepInputs::fixed_bytes(const ExecutorShape& shape) {
  Scratch count(nullptr);
  Arrays(shape, count);
  return count.size_bytes();
}

StepInputs::StepInputs(std::shared_ptr<const Device> device, const ExecutorShape& shape)
    : device_handle_(std::move(device)),
      max_rows_(shape.max_rows),
      max_sequences_(shape.max_sequences),
      max_context_(shape.max_context),
      host_memory_(device_handle_, fixed_bytes(shape)),
      device_memory_(device_handle_, fixed_bytes(shape), "the inputs of a step"),
      host_scratch_(host_memory_.data()),
      device_scratch_(device_memory_.data()),
      host_(shape, host_scratch_),
      device_(shape, device_scratch_) {}

void StepInputs::begin_step(const BatchRows& batch, int padded_rows) {
  KVI_CHECK(batch.num_rows <= padded_rows && padded_rows <= max_rows_);
  device_handle_->synchronize();
  num_used_tables_ = 0;
  padded_rows_ = padded_rows;
  std::copy(batch.positions.begin(), batch.positions.end(), host_.positions);
  std::fill(host_.positions + batch.num_rows, host_.positions + padded_rows, 0);
  std::fill(host_.sequence + batch.num_rows, host_.sequence + padded_rows, -1);
  for (size_t s = 0; s < batch.sequences.size(); ++s) {
    std::fill_n(host_.sequence + batch.sequences[s].first_row, batch.sequences[s].num_rows,
                static_cast<int32_t>(s));
  }
}

void StepInputs::upload(std::span<const int32_t> token_ids) {
  std::copy(token_ids.begin(), token_ids.end(), host_.token_ids);
  std::fill(host_.token_ids + token_ids.size(), host_.token_ids + padded_rows_, 0);
  const std::byte* first = reinterpret_cast<const std::byte*>(host_.positions);
  const std::byte* end = reinterpret_cast<const std::byte*>(host_.token_ids + padded_rows_);
  copy_to_device(*device_handle_, reinterpret_cast<std::byte*>(device_.positions), {first, end});
}

const int32_t* StepInputs::upload_logit_rows(std::span<const int32_t> rows) {
  device_handle_->synchronize();
  std::copy(rows.begin(), rows.end(), host_.logit_rows);
  copy_to_device(*device_handle_, reinterpret_cast<std::byte*>(device_.logit_rows),
                 std::as_bytes(std::span(host_.logit_rows, rows.size())));
  return device_.logit_rows;
}

PageTables StepInputs::on_device(const Tables& tables) const {
  const std::byte* data = tables.on_device.address();
  const uint64_t first_bytes = aligned(static_cast<uint64_t>(max_sequences_) * sizeof(int64_t));
  return {reinterpret_cast<const int32_t*>(data + first_bytes),
          reinterpret_cast<const int64_t*>(data), device_.sequence};
}

PageTables StepInputs::upload_tables(std::span<const std::span<const PageId>> tables) {
  for (size_t i = 0; i < num_used_tables_; ++i) {
    if (tables_[i]->source == tables.data()) return on_device(*tables_[i]);
  }
  KVI_CHECK(tables.size() <= static_cast<size_t>(max_sequences_));
  const uint64_t first_bytes = aligned(static_cast<uint64_t>(max_sequences_) * sizeof(int64_t));
  uint64_t num_pages = 0;
  for (std::span<const PageId> table : tables) num_pages += table.size();
  const uint64_t num_bytes = first_bytes + num_pages * sizeof(PageId);
  Tables& one = next_tables(num_bytes);
  one.source = tables.data();

  int64_t* first = reinterpret_cast<int64_t*>(one.host->data());
  PageId* pages = reinterpret_cast<PageId*>(one.host->data() + first_bytes);
  int64_t next = 0;
  for (std::span<const PageId> table : tables) {
    *first++ = next;
    std::copy(table.begin(), table.end(), pages + next);
    next += std::ssize(table);
  }
  copy_to_device(*device_handle_, one.on_device.address(), {one.host->data(), num_bytes});
  return on_device(one);
}

StepInputs::Tables& StepInputs::next_tables(uint64_t num_bytes) {
  if (num_used_tables_ == tables_.size()) {
    const uint64_t most_pages = static_cast<uint64_t>(max_context_) / kLeastPageLen + 1;
    const uint64_t most_bytes = static_cast<uint64_t>(max_sequences_) *
                                (sizeof(int64_t) + most_pages * sizeof(PageId));
    tables_.push_back(std::make_unique<Tables>(
        device_handle_, std::max(kLeastTableBytes, 2 * most_bytes + kScratchAlignment)));
  }
  Tables& one = *tables_[num_used_tables_++];
  if (one.host == nullptr || one.host->size_bytes() < num_bytes) {
    const uint64_t wanted = std::max(kLeastTableBytes, 2 * num_bytes);
    if (!one.on_device.commit(0, std::min(wanted, one.on_device.size_bytes()))) {
      throw Error(Status::OUT_OF_MEMORY, concat(device_handle_->info().name, " has no ",
                                                format_bytes(wanted), " for page tables"))
          .amounts(wanted, device_handle_->memory_info().free);
    }
    one.host = std::make_unique<PinnedBuffer>(device_handle_, wanted);
  }
  return one;
}

}  // namespace kvi::cuda
