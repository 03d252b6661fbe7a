#include "backend/cuda/device_range.h"

#include <algorithm>

#include "backend/cuda/driver_error.h"
#include "base/error.h"
#include "base/short_memory.h"
#include "base/text.h"

namespace kvi::cuda {
namespace {

constexpr uint64_t kMostBytes = uint64_t{1} << 48;  // more than a GPU can address

}  // namespace

DeviceRange::DeviceRange(std::shared_ptr<const Device> device, uint64_t num_bytes)
    : device_(std::move(device)), size_(num_bytes) {
  CUresult result = CUDA_ERROR_OUT_OF_MEMORY;
  if (size_ <= kMostBytes) {
    reserved_bytes_ = std::max((size_ + kGranule - 1) / kGranule, uint64_t{1}) * kGranule;
    const CurrentContext current(*device_);
    result = device_->api().mem_address_reserve(&address_, reserved_bytes_, kGranule, 0, 0);
  }
  if (!device_->check_memory(result, "reserve addresses")) {
    throw Error(Status::OUT_OF_MEMORY,
                concat("cannot reserve ", format_bytes(size_), " of the GPU's address space"))
        .amounts(size_, 0);
  }
}

DeviceRange::~DeviceRange() {
  const CurrentContext current(*device_, CurrentContext::ForRelease());
  device_->api().stream_synchronize(device_->stream());
  for (uint64_t i = 0; i < granules_.size(); ++i) {
    if (granules_[i].is_mapped) unmap(i);
  }
  device_->api().mem_address_free(address_, reserved_bytes_);
}

bool DeviceRange::commit(uint64_t offset, uint64_t num_bytes) {
  const uint64_t begin = offset / kUnit, end = (offset + num_bytes + kUnit - 1) / kUnit;
  KVI_CHECK(offset + num_bytes <= size_);
  if (begin >= end) return true;
  constexpr uint64_t kUnits = kGranule / kUnit;
  const CurrentContext current(*device_);
  granules_.resize(std::max<size_t>(granules_.size(), (end - 1) / kUnits + 1));
  for (uint64_t i = begin / kUnits; i <= (end - 1) / kUnits; ++i) {
    if (!granules_[i].is_mapped && !map(i)) return false;
    const Undo unmap_unused([&] {
      if (granules_[i].units.none()) unmap(i);
    });
    const uint64_t first = std::max(begin, i * kUnits), last = std::min(end, (i + 1) * kUnits);
    for (uint64_t unit = first; unit < last; ++unit) {
      if (granules_[i].units[unit % kUnits]) continue;
      uint64_t past = unit;
      while (past < last && !granules_[i].units[past % kUnits]) ++past;
      device_->check(device_->api().memset_d8_async(address_ + unit * kUnit, 0,
                                                    (past - unit) * kUnit, device_->stream()),
                     "clear memory");
      for (; unit < past; ++unit) granules_[i].units[unit % kUnits] = true;
    }
  }
  return true;
}

void DeviceRange::decommit(uint64_t offset, uint64_t num_bytes) {
  constexpr uint64_t kUnits = kGranule / kUnit;
  const uint64_t begin = (offset + kUnit - 1) / kUnit;
  // The range's end closes its last unit: nobody else can use the rest of it.
  const uint64_t end = offset + num_bytes >= size_ ? (size_ + kUnit - 1) / kUnit
                                                   : (offset + num_bytes) / kUnit;
  bool is_idle = false;
  for (uint64_t unit = begin; unit < std::min(end, granules_.size() * kUnits); ++unit) {
    Granule& granule = granules_[unit / kUnits];
    granule.units[unit % kUnits] = false;
    if (!granule.is_mapped || granule.units.any()) continue;
    const CurrentContext current(*device_, CurrentContext::ForRelease());
    // Kernels that are under way may still read it.
    if (!is_idle) device_->api().stream_synchronize(device_->stream());
    is_idle = true;
    unmap(unit / kUnits);
  }
}

bool DeviceRange::map(uint64_t index) {
  const DriverApi& api = device_->api();
  CUmemAllocationProp prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  prop.location.id = device_->handle();
  Granule& granule = granules_[index];
  const CUdeviceptr at = address_ + index * kGranule;
  if (!device_->check_memory(api.mem_create(&granule.memory, kGranule, &prop, 0),
                             "allocate memory for pages")) {
    return false;
  }
  CUresult result = api.mem_map(at, kGranule, 0, granule.memory, 0);
  if (result != CUDA_SUCCESS) {
    api.mem_release(granule.memory);
    return device_->check_memory(result, "map memory for pages");
  }
  const CUmemAccessDesc access = {prop.location, CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
  result = api.mem_set_access(at, kGranule, &access, 1);
  if (result != CUDA_SUCCESS) {
    api.mem_unmap(at, kGranule);
    api.mem_release(granule.memory);
    return device_->check_memory(result, "open memory for pages");
  }
  granule.is_mapped = true;
  ++num_mapped_;
  return true;
}

void DeviceRange::unmap(uint64_t index) noexcept {
  Granule& granule = granules_[index];
  device_->api().mem_unmap(address_ + index * kGranule, kGranule);
  device_->api().mem_release(granule.memory);
  granule = {};
  --num_mapped_;
}

}  // namespace kvi::cuda
