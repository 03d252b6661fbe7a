#include "backend/cpu/cpu_backend.h"

#include <cstring>
#include <vector>

#include "support/expect_error.h"

namespace kvi::cpu {
namespace {

KvLayerShape layer_of(DType key_dtype, DType value_dtype) {
  return {0, 2, 64, 64, key_dtype, value_dtype};
}

TEST(CpuBackendTest, EveryInstructionSetOfTheMachineMakesABackendOfTheSameNumerics) {
  for (Isa isa : supported_isas()) {
    auto backend = make_cpu_backend(isa);
    EXPECT_EQ(backend->info().name, "cpu");
    EXPECT_EQ(backend->info().device_name, isa_name(isa));
    EXPECT_EQ(backend->info().numerics_id, make_cpu_backend(Isa::scalar)->info().numerics_id);
  }
}

TEST(CpuBackendTest, AnInstructionSetThatTheMachineLacksIsRefusedByName) {
  bool found = false;
  for (Isa isa : kAllIsas) {
    if (!*why_unsupported(isa)) continue;
    found = true;
    EXPECT_ERROR(make_cpu_backend(isa), UNSUPPORTED, isa_name(isa));
  }
  if (!found) GTEST_SKIP() << "this machine has every instruction set";
}

TEST(CpuBackendTest, PagesAreAPowerOfTwoOfTokensFrom16To256) {
  auto backend = make_cpu_backend(Isa::scalar);
  const std::vector<KvLayerShape> layers = {layer_of(DType::F16, DType::F16)};
  for (int page_len : {16, 32, 64, 128, 256}) {
    const PageLayout layout = backend->page_layout(layers, page_len);
    EXPECT_EQ(layout.page_len, page_len);
    EXPECT_EQ(layout.page_bytes, uint64_t{2} * 2 * 2 * 64 * page_len);
    EXPECT_EQ(layout.plane(0, PlaneRole::key).slot_stride, 2u);
    EXPECT_EQ(layout.plane(0, PlaneRole::value).dim_stride, 2u);
  }
  for (int page_len : {-16, 0, 1, 8, 17, 48, 512}) {
    EXPECT_ERROR(backend->page_layout(layers, page_len), INVALID_ARGUMENT, "power of two");
  }
}

TEST(CpuBackendTest, KvTypesThatAttentionCannotReadAreRefused) {
  auto backend = make_cpu_backend(Isa::scalar);
  for (DType dtype : {DType::F16, DType::BF16, DType::F32}) {
    EXPECT_NO_THROW(backend->page_layout({layer_of(dtype, dtype)}, 16));
  }
  EXPECT_ERROR(backend->page_layout({layer_of(DType::F16, DType::F32)}, 16), UNSUPPORTED,
               "F16 keys");
  EXPECT_ERROR(backend->page_layout({layer_of(DType::Q8_0, DType::Q8_0)}, 16), UNSUPPORTED, "Q8_0");
  KvLayerShape uneven = layer_of(DType::F16, DType::F16);
  uneven.value_dim = 32;
  EXPECT_ERROR(backend->page_layout({uneven}, 16), UNSUPPORTED, "values of 32");
}

TEST(CpuBackendTest, PagesAreHostMemoryThatCanBeCopied) {
  auto backend = make_cpu_backend(Isa::scalar);
  auto range = backend->reserve_pages(1 << 20);
  ASSERT_TRUE(range->commit(0, 8192));
  std::memset(range->address(), 0x5a, 4096);
  backend->copy_page(range->address() + 4096, range->address(), 4096);
  EXPECT_EQ(std::memcmp(range->address() + 4096, range->address(), 4096), 0);
}

}  // namespace
}  // namespace kvi::cpu
