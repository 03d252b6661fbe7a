// The most that a GPU does, measured: bytes read a second from its memory, copied within it and to and from the host.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <random>
#include <vector>

#include "backend/cuda/device.h"
#include "backend/cuda/device_memory.h"

namespace kvi::cuda {

struct GpuCeilings {
  double read = 0, copy = 0;  // bytes a second; a copied byte counts twice: read and written
  double to_device = 0, to_host = 0;
};

template <typename Call>
double median_seconds(int rounds, const Call& call) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> seconds;
  for (int i = 0; i < rounds; ++i) {
    const auto start = Clock::now();
    call();
    seconds.push_back(std::chrono::duration<double>(Clock::now() - start).count());
  }
  std::nth_element(seconds.begin(), seconds.begin() + rounds / 2, seconds.end());
  return seconds[rounds / 2];
}

inline void fill_random(const Device& device, const DeviceBuffer& buffer) {
  std::vector<uint64_t> words((32 << 20) / 8);
  std::mt19937_64 random(7);
  for (uint64_t& word : words) word = random();
  const auto bytes = std::as_bytes(std::span(words));
  for (uint64_t at = 0; at < buffer.size_bytes(); at += bytes.size()) {
    copy_to_device(device, buffer.data() + at,
                   bytes.first(std::min<uint64_t>(bytes.size(), buffer.size_bytes() - at)));
  }
  device.synchronize();
}

// image: of ceilings.cu
inline GpuCeilings measure_ceilings(const std::shared_ptr<const Device>& device,
                                    const void* image) {
  constexpr uint64_t kBytes = uint64_t{4} << 30, kHostBytes = uint64_t{1} << 30;
  constexpr int kRounds = 9;
  struct ReadParams {
    const std::byte* data;
    std::byte* out;
    int64_t count;
  };
  const DriverApi& api = device->api();
  const DeviceBuffer from(device, kBytes, "a ceiling"), to(device, kBytes, "a ceiling");
  fill_random(*device, from);
  fill_random(*device, to);
  const PinnedBuffer host(device, kHostBytes);
  std::memset(host.data(), 0x5a, kHostBytes);

  const CurrentContext current(*device);
  CUlibrary library = nullptr;
  CUkernel kernel = nullptr;
  CUfunction function = nullptr;
  device->check(api.library_load_data(&library, image, nullptr, nullptr, 0, nullptr, nullptr, 0),
                "load");
  device->check(api.library_get_kernel(&kernel, library, "read_only"), "find read_only");
  device->check(api.kernel_get_function(&function, kernel), "load read_only");

  int num_multiprocessors = 0;
  device->check(
      api.device_get_attribute(&num_multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
                               device->handle()),
      "describe itself");
  GpuCeilings ceilings;
  for (unsigned blocks_each : {2u, 4u}) {
    ReadParams params = {from.data(), to.data(), static_cast<int64_t>(kBytes / 16)};
    void* arguments[] = {&params};
    CUlaunchConfig config = {};
    config.gridDimX = static_cast<unsigned>(num_multiprocessors) * blocks_each;
    config.gridDimY = config.gridDimZ = config.blockDimY = config.blockDimZ = 1;
    config.blockDimX = 512;
    config.hStream = device->stream();
    const double seconds = median_seconds(kRounds, [&] {
      device->check(api.launch_kernel_ex(&config, function, arguments, nullptr), "read");
      device->synchronize();
    });
    ceilings.read = std::max(ceilings.read, kBytes / seconds);
  }
  const auto address = [](const std::byte* data) { return reinterpret_cast<CUdeviceptr>(data); };
  ceilings.copy = 2 * kBytes / median_seconds(kRounds, [&] {
                    device->check(api.memcpy_d_to_d_async(address(to.data()), address(from.data()),
                                                          kBytes, device->stream()),
                                  "copy");
                    device->synchronize();
                  });
  ceilings.to_device = kHostBytes / median_seconds(kRounds, [&] {
                         device->check(api.memcpy_h_to_d_async(address(to.data()), host.data(),
                                                               kHostBytes, device->stream()),
                                       "copy");
                         device->synchronize();
                       });
  ceilings.to_host = kHostBytes / median_seconds(kRounds, [&] {
                       device->check(api.memcpy_d_to_h_async(host.data(), address(from.data()),
                                                             kHostBytes, device->stream()),
                                     "copy");
                       device->synchronize();
                     });
  api.library_unload(library);
  return ceilings;
}

}  // namespace kvi::cuda
