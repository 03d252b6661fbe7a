// In the place of the CUDA backend where the library was built without it.
#include "backend/cuda/cuda_backend.h"
#include "base/error.h"

namespace kvi::cuda {
namespace {

constexpr char kReason[] =
    "this build of the library has no CUDA backend (KVINFER_CUDA); use the CPU";

}  // namespace

bool is_built() { return false; }

std::vector<DeviceDescription> devices(std::string* why_none) {
  if (why_none != nullptr) *why_none = kReason;
  return {};
}

std::unique_ptr<Backend> make_cuda_backend(int) { throw Error(Status::UNSUPPORTED, kReason); }

}  // namespace kvi::cuda
