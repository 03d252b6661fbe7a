// What the sampling kernel is told of the rows whose next tokens it chooses, and what it answers.
//
// Written into pinned memory and copied from there on the stream; refilled after download has waited for the answers.
//
// Not thread-safe; the executor's.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "backend/backend.h"
#include "backend/cuda/device_memory.h"
#include "backend/scratch.h"
#include "cuda/sampling.h"

namespace kvi::cuda {

class ChoiceInputs {
 public:
  ChoiceInputs(std::shared_ptr<const Device> device, const ExecutorShape& shape);

  struct OnDevice {
    const int32_t* logit_rows;  // [choices]
    const SampleRow* rows;      // [choices]
    const SampleEdit* edits;    // of all
    int32_t* tokens;            // [choices]
  };
  OnDevice upload(std::span<const TokenChoice> choices, std::span<const kvi::LogitEdit> edits);
  void download(std::span<int32_t> tokens);  // waits

 private:
  struct Arrays {
    Arrays(int max_choices, Scratch& scratch);
    SampleRow* rows;
    int32_t* logit_rows;
    int32_t* tokens;
  };
  static uint64_t bytes(int max_choices);

  const std::shared_ptr<const Device> device_;
  PinnedBuffer host_memory_;
  DeviceBuffer device_memory_;
  Scratch host_scratch_, device_scratch_;
  Arrays host_, on_device_;
  std::unique_ptr<PinnedBuffer> host_edits_;  // as many as there ever were, doubled
  std::unique_ptr<DeviceBuffer> device_edits_;
};

}  // namespace kvi::cuda
