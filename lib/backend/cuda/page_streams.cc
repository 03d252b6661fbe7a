#include "backend/cuda/page_streams.h"

namespace kvi::cuda {

PageStreams::PageStreams(std::shared_ptr<const Device> device) : device_(std::move(device)) {
  const DriverApi& api = device_->api();
  const CurrentContext current(*device_);
  try {
    device_->check(api.stream_create(&in_, CU_STREAM_NON_BLOCKING), "create a stream");
    device_->check(api.stream_create(&out_, CU_STREAM_NON_BLOCKING), "create a stream");
    device_->check(api.event_create(&enqueued_, CU_EVENT_DISABLE_TIMING), "create an event");
  } catch (...) {
    release();
    throw;
  }
}

PageStreams::~PageStreams() {
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  release();
}

void PageStreams::release() noexcept {
  const DriverApi& api = device_->api();
  for (CUstream stream : {in_, out_}) {
    if (stream == nullptr) continue;
    api.stream_synchronize(stream);
    api.stream_destroy(stream);
  }
  if (enqueued_ != nullptr) api.event_destroy(enqueued_);
}

void PageStreams::transfer(std::span<const PageTransfer> transfers) {
  if (transfers.empty()) return;
  const DriverApi& api = device_->api();
  const CurrentContext current(*device_);
  try {
    enqueue(transfers);
  } catch (...) {
    // What is under way reads and writes memory that the caller is about to use again.
    api.stream_synchronize(in_);
    api.stream_synchronize(out_);
    throw;
  }
  const CUresult copied_in = api.stream_synchronize(in_), copied_out = api.stream_synchronize(out_);
  device_->check(copied_in, "copy pages from the host");
  device_->check(copied_out, "copy pages to the host");
}

void PageStreams::enqueue(std::span<const PageTransfer> transfers) {
  const DriverApi& api = device_->api();
  const std::lock_guard lock(mutex_);
  device_->check(api.event_record(enqueued_, device_->stream()), "record an event");
  for (CUstream stream : {in_, out_}) {
    device_->check(api.stream_wait_event(stream, enqueued_, 0), "wait for an event");
  }
  for (const PageTransfer& one : transfers) {
    const CUdeviceptr page = reinterpret_cast<CUdeviceptr>(one.page);
    if (one.to_host) {
      device_->check(api.memcpy_d_to_h_async(one.host, page, one.num_bytes, out_), "copy a page");
    } else {
      device_->check(api.memcpy_h_to_d_async(page, one.host, one.num_bytes, in_), "copy a page");
    }
  }
}

}  // namespace kvi::cuda
