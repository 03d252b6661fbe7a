// What a step tells the kernels besides weights: token ids, positions, whose row is whose, page tables.
//
// Written into pinned memory and copied from there on the stream, so a step's arrays are refilled only after all work
// of the step before is done. Arrays never move, as graphs need it.
//
// Not thread-safe; the executor's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/device_range.h"
#include "backend/scratch.h"
#include "cuda/rows.h"

namespace kvi::cuda {

class StepInputs {
 public:
  // Of the fixed arrays; page tables take 8 bytes a sequence and 4 a page beyond, when they are used.
  static uint64_t fixed_bytes(const ExecutorShape& shape);

  StepInputs(std::shared_ptr<const Device> device, const ExecutorShape& shape);

  // Waits for the step before. Rows from batch.num_rows up to padded_rows are nobody's: token 0 at position 0 of
  // sequence -1.
  void begin_step(const BatchRows& batch, int padded_rows);
  // Brings them and what begin_step was given to the device.
  void upload(std::span<const int32_t> token_ids);
  const int32_t* token_ids() const { return device_.token_ids; }
  const int32_t* positions() const { return device_.positions; }

  // Waits for what used the last ones.
  const int32_t* upload_logit_rows(std::span<const int32_t> rows);
  // Tables of equal address are uploaded once a step. The n-th of a step lie where the n-th of the last one did.
  PageTables upload_tables(std::span<const std::span<const PageId>> tables);

 private:
  struct Arrays {
    Arrays(const ExecutorShape& shape, Scratch& scratch);
    int32_t* positions;   // [max_rows]
    int32_t* sequence;    // [max_rows]
    int32_t* token_ids;   // [max_rows]
    int32_t* logit_rows;  // [max_logit_rows]
  };
  // The page tables of one layer group, on both sides: where each sequence's begin, and all pages.
  struct Tables {
    Tables(const std::shared_ptr<const Device>& device, uint64_t most_bytes)
        : on_device(device, most_bytes) {}
    std::unique_ptr<PinnedBuffer> host;
    DeviceRange on_device;                            // committed as far as host reaches
    const std::span<const PageId>* source = nullptr;  // of this step
  };

  Tables& next_tables(uint64_t num_bytes);
  PageTables on_device(const Tables& tables) const;

  const std::shared_ptr<const Device> device_handle_;
  const int max_rows_, max_sequences_, max_context_;
  PinnedBuffer host_memory_;
  DeviceBuffer device_memory_;
  Scratch host_scratch_, device_scratch_;
  Arrays host_, device_;
  int padded_rows_ = 0;
  std::vector<std::unique_ptr<Tables>> tables_;
  size_t num_used_tables_ = 0;  // in this step
};

}  // namespace kvi::cuda
