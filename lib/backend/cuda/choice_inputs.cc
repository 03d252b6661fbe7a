#include "backend/cuda/choice_inputs.h"

#include <cstring>

#include "base/error.h"

namespace kvi::cuda {

static_assert(sizeof(SampleEdit) == sizeof(kvi::LogitEdit));

ChoiceInputs::Arrays::Arrays(int max_choices, Scratch& scratch)
    : rows(scratch.take<SampleRow>(max_choices)),
      logit_rows(scratch.take<int32_t>(max_choices)),
      tokens(scratch.take<int32_t>(max_choices)) {}

uint64_t ChoiceInputs::bytes(int max_choices) {
  Scratch count(nullptr);
  Arrays(max_choices, count);
  return count.size_bytes();
}

ChoiceInputs::ChoiceInputs(std::shared_ptr<const Device> device, const ExecutorShape& shape)
    : device_(std::move(device)),
      host_memory_(device_, bytes(shape.max_logit_rows)),
      device_memory_(device_, bytes(shape.max_logit_rows), "the inputs of sampling"),
      host_scratch_(host_memory_.data()),
      device_scratch_(device_memory_.data()),
      host_(shape.max_logit_rows, host_scratch_),
      on_device_(shape.max_logit_rows, device_scratch_) {}

ChoiceInputs::OnDevice ChoiceInputs::upload(std::span<const TokenChoice> choices,
                                            std::span<const kvi::LogitEdit> edits) {
  for (size_t i = 0; i < choices.size(); ++i) {
    const TokenChoice& choice = choices[i];
    host_.logit_rows[i] = choice.row;
    host_.rows[i] = {.unit = choice.unit,
                     .temperature = choice.temperature,
                     .top_p = choice.top_p,
                     .min_p = choice.min_p,
                     .top_k = choice.top_k,
                     .first_edit = choice.first_edit,
                     .num_edits = choice.num_edits};
  }
  const std::byte* end = reinterpret_cast<const std::byte*>(host_.logit_rows + choices.size());
  copy_to_device(*device_, device_memory_.data(), {host_memory_.data(), end});
  if (!edits.empty()) {
    if (host_edits_ == nullptr || host_edits_->size_bytes() < edits.size_bytes()) {
      device_->synchronize();
      host_edits_ = std::make_unique<PinnedBuffer>(device_, 2 * edits.size_bytes());
      device_edits_ = std::make_unique<DeviceBuffer>(device_, 2 * edits.size_bytes(),
                                                     "the inputs of sampling");
    }
    std::memcpy(host_edits_->data(), edits.data(), edits.size_bytes());
    copy_to_device(*device_, device_edits_->data(), {host_edits_->data(), edits.size_bytes()});
  }
  return {on_device_.logit_rows, on_device_.rows,
          device_edits_ != nullptr ? reinterpret_cast<const SampleEdit*>(device_edits_->data())
                                   : nullptr,
          on_device_.tokens};
}

void ChoiceInputs::download(std::span<int32_t> tokens) {
  copy_to_host(*device_, std::as_writable_bytes(std::span(host_.tokens, tokens.size())),
               reinterpret_cast<const std::byte*>(on_device_.tokens));
  device_->synchronize();
  std::memcpy(tokens.data(), host_.tokens, tokens.size_bytes());
}

}  // namespace kvi::cuda
