// The device layer over a driver that a test makes up: errors, memory, and every call failing in turn.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <memory>
#include <vector>

#include "backend/cuda/backend_on_driver.h"
#include "backend/cuda/cuda_backend.h"
#include "backend/cuda/device.h"
#include "backend/cuda/device_memory.h"
#include "backend/cuda/device_range.h"
#include "backend/cuda/driver_error.h"
#include "support/expect_error.h"
#include "support/fake_driver.h"
#include "support/seed.h"
#include "support/synthetic_model.h"

namespace kvi::cuda {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint64_t kGranule = DeviceRange::kGranule;

class CudaDriverTest : public testing::Test {
 protected:
  ~CudaDriverTest() override { EXPECT_TRUE(fake_.is_clean()); }

  std::shared_ptr<const Device> device() { return std::make_shared<Device>(fake_.open(), 0); }

  FakeDriver fake_;
};

TEST_F(CudaDriverTest, ATooOldDriverIsRefusedNamingBothVersions) {
  fake_.version = 11040;
  EXPECT_ERROR(fake_.open(), UNSUPPORTED, "runs CUDA 11.4;");
  EXPECT_ERROR(fake_.open(), UNSUPPORTED, "for CUDA " + version_text(kLeastDriverVersion));
}

TEST_F(CudaDriverTest, AnEntryPointThatIsMissingIsNamed) {
  fake_.missing = {"cuMemSetAccess"};
  EXPECT_ERROR(fake_.open(), UNSUPPORTED, "lacks cuMemSetAccess");
}

TEST_F(CudaDriverTest, DevicesThatAreNotThereAreNotFound) {
  EXPECT_ERROR(Device(fake_.open(), 1), NOT_FOUND, "there is no GPU 1; there are 1");
  EXPECT_ERROR(Device(fake_.open(), -1), NOT_FOUND, "no GPU -1");
  fake_.num_devices = 0;
  EXPECT_ERROR(Device(fake_.open(), 0), NOT_FOUND, "there is no GPU here");
}

TEST_F(CudaDriverTest, AnOldGpuIsListedButNotOpened) {
  fake_.major = 7, fake_.minor = 5;
  EXPECT_ERROR(Device(fake_.open(), 0), UNSUPPORTED, "compute capability 7.5");
  const std::vector<DeviceInfo> devices = list_devices(*fake_.open());
  ASSERT_EQ(devices.size(), 1u);
  EXPECT_EQ(devices[0].arch(), "sm_75");
  EXPECT_NE(devices[0].unsupported_reason, "");
  fake_.major = 9, fake_.maps_memory = false;
  EXPECT_ERROR(Device(fake_.open(), 0), UNSUPPORTED, "does not map virtual memory");
}

TEST_F(CudaDriverTest, ErrorsTellTheirCodeAndWhatWasTried) {
  const auto one = device();
  fake_.fail_call = "cuStreamSynchronize";
  fake_.fault = CUDA_ERROR_INVALID_VALUE;
  EXPECT_ERROR(one->synchronize(), INTERNAL,
               "cannot finish its work: CUDA_ERROR_INVALID_VALUE (1), made up by a test");
  EXPECT_FALSE(one->is_lost());
}

TEST_F(CudaDriverTest, AStickyErrorLatchesAndEverythingIsGivenBack) {
  const auto one = device();
  DeviceBuffer buffer(one, 1000, "a test");
  PinnedBuffer pinned(one, 1000);
  DeviceRange range(one, 8 * kMiB);
  ASSERT_TRUE(range.commit(0, 8 * kMiB));
  fake_.fail_call = "cuMemcpyHtoDAsync";
  fake_.fault = CUDA_ERROR_LAUNCH_FAILED;
  const std::vector<std::byte> bytes(10);
  EXPECT_ERROR(copy_to_device(*one, buffer.data(), bytes), DEVICE_LOST,
               "copy from the host: CUDA_ERROR_LAUNCH_FAILED (719)");
  EXPECT_TRUE(one->is_lost());
  fake_.calls.clear();
  EXPECT_ERROR(one->synchronize(), DEVICE_LOST, "CUDA_ERROR_LAUNCH_FAILED (719)");
  EXPECT_ERROR(DeviceBuffer(one, 1, "more"), DEVICE_LOST, "719");
  EXPECT_TRUE(fake_.calls.empty()) << "a lost device is asked nothing more";
}

TEST_F(CudaDriverTest, WhatDoesNotFitSaysHowMuchIsFree) {
  const auto one = device();
  DeviceBuffer buffer(one, 900 * kMiB, "a test");
  try {
    DeviceBuffer more(one, 200 * kMiB, "weights");
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.status(), Status::OUT_OF_MEMORY);
    EXPECT_EQ(error.needed(), 200 * kMiB);
    EXPECT_EQ(error.available(), 124 * kMiB);
    EXPECT_NE(error.message().find("for weights"), std::string::npos) << error.message();
  }
}

TEST_F(CudaDriverTest, ARangeMapsWholeGranulesAndGivesThemBack) {
  DeviceRange range(device(), 16 * kMiB);
  std::byte* const address = range.address();
  EXPECT_EQ(range.mapped_bytes(), 0u);
  ASSERT_TRUE(range.commit(3 * kMiB, 2 * kMiB));  // granules 1 and 2
  EXPECT_EQ(fake_.num_mappings, 2);
  EXPECT_EQ(fake_.allocated_bytes, 2 * kGranule);
  ASSERT_TRUE(range.commit(3 * kMiB, 2 * kMiB));
  EXPECT_EQ(range.mapped_bytes(), 2 * kGranule) << "committed twice, mapped once";
  range.decommit(3 * kMiB, kMiB);
  EXPECT_EQ(fake_.num_mappings, 1);
  range.decommit(4 * kMiB, 100) /* less than a unit */;
  EXPECT_EQ(fake_.num_mappings, 1);
  range.decommit(4 * kMiB, kMiB);
  EXPECT_EQ(fake_.allocated_bytes, 0u);
  EXPECT_EQ(range.address(), address);
}

TEST_F(CudaDriverTest, WhatIsCommittedAgainReadsAsZero) {
  DeviceRange range(device(), 5 * kMiB + 100);
  const auto at = [&](uint64_t offset) -> std::byte& { return range.address()[offset]; };
  ASSERT_TRUE(range.commit(0, 8192));
  EXPECT_EQ(at(0), std::byte{0});
  EXPECT_EQ(at(8191), std::byte{0});
  at(0) = at(5000) = std::byte{7};
  range.decommit(4096, 4096);
  ASSERT_TRUE(range.commit(4096, 4096));
  EXPECT_EQ(at(0), std::byte{7}) << "its neighbour stayed";
  EXPECT_EQ(at(5000), std::byte{0});
  ASSERT_TRUE(range.commit(5 * kMiB, 100));
  EXPECT_EQ(at(5 * kMiB + 99), std::byte{0});
  range.decommit(5 * kMiB, 100);
  EXPECT_EQ(fake_.num_mappings, 1) << "the end of the range is a whole unit";
}

TEST_F(CudaDriverTest, ARangeWithoutMemoryIsRefusedAndRetried) {
  fake_.memory_bytes = 4 * kGranule;
  DeviceRange range(device(), 16 * kMiB);
  EXPECT_FALSE(range.commit(0, 16 * kMiB));
  EXPECT_EQ(range.mapped_bytes(), 4 * kGranule);
  range.decommit(0, 16 * kMiB);
  EXPECT_EQ(fake_.allocated_bytes, 0u);
  EXPECT_TRUE(range.commit(8 * kMiB, 8 * kMiB));
  EXPECT_ERROR(DeviceRange(device(), UINT64_MAX), OUT_OF_MEMORY, "address space");
}

// Kernels do nothing here: this is about what is launched, and what the second of equal steps launches.
TEST_F(CudaDriverTest, ADecodingStepBecomesAGraphThatLaterOnesRun) {
  const auto backend = make_cuda_backend(fake_.open(), 0);
  SyntheticConfig config;
  config.num_layers = 2;
  config.embedding_len = 128;
  config.head_dim = config.rotary_dim = 64;
  config.ffn_len = 256;
  config.dtype = DType::BF16;
  config.kv_dtype = DType::BF16;
  const SyntheticModel model(*backend, config, 1);
  const auto executor = backend->make_executor(model.executor_shape(64, 8), {});
  SyntheticRun run(model, *executor, 8);
  const auto count = [&](const char* call) {
    return std::count(fake_.calls.begin(), fake_.calls.end(), call);
  };
  const auto decode = [&](int num_sequences, int position) {
    std::vector<SyntheticChunk> chunks;
    for (int s = 0; s < num_sequences; ++s) chunks.push_back({s, position, {s + 1}});
    fake_.calls.clear();
    run.run_layers(chunks);
  };
  run.step({{0, 0, std::vector<int32_t>(40, 5)}, {1, 0, {7}}});
  decode(5, 40);
  EXPECT_EQ(count("cuGraphInstantiateWithFlags"), 1);
  const int64_t num_nodes = count("cuGraphAddNode");
  EXPECT_EQ(count("cuLaunchKernelEx"), num_nodes);
  EXPECT_GT(num_nodes, 2 * 7);
  for (int num_sequences : {5, 7, 8}) {  // one graph serves all
    decode(num_sequences, 41);
    EXPECT_EQ(count("cuGraphLaunch"), 1);
    EXPECT_EQ(count("cuGraphInstantiateWithFlags") + count("cuLaunchKernelEx"), 0);
  }
  decode(2, 42);
  EXPECT_EQ(count("cuGraphInstantiateWithFlags"), 1);
  std::vector<int32_t> tokens(2);
  executor->choose(model.head(), std::vector<TokenChoice>(2), {}, tokens);
}

TEST_F(CudaDriverTest, WhatCouldNotBeClearedIsNotCommitted) {
  DeviceRange range(device(), 16 * kMiB);
  fake_.fail_call = "cuMemsetD8Async";
  fake_.fault = CUDA_ERROR_INVALID_VALUE;
  EXPECT_ERROR(range.commit(0, 4096), INTERNAL, "cannot clear memory");
  EXPECT_EQ(fake_.num_mappings, 0);
  fake_.fail_call = "";
  ASSERT_TRUE(range.commit(0, 4096));
  EXPECT_EQ(range.address()[4095], std::byte{0});
}

TEST_F(CudaDriverTest, APageThatCouldNotBeCopiedLosesTheDevice) {
  for (const char* call : {"cuCtxPushCurrent", "cuMemcpyDtoDAsync"}) {
    const auto backend = make_cuda_backend(fake_.open(), 0);
    const auto range = backend->reserve_pages(8192);
    ASSERT_TRUE(range->commit(0, 8192));
    fake_.fail_call = call;
    fake_.fault = CUDA_ERROR_INVALID_VALUE;
    backend->copy_page(range->address() + 4096, range->address(), 4096);
    fake_.fail_call = "";
    std::vector<std::byte> page(4096);
    EXPECT_ERROR(backend->read_page(range->address(), page), DEVICE_LOST, "cannot go on");
  }
}

TEST_F(CudaDriverTest, RandomCommitsAreWhatANaiveModelSays) {
  std::mt19937_64 random(test_seed());
  constexpr uint64_t kUnits = 3 * kGranule / DeviceRange::kUnit;
  DeviceRange range(device(), kUnits * DeviceRange::kUnit);
  std::vector<bool> committed(kUnits);
  for (int i = 0; i < 500; ++i) {
    const uint64_t first = random() % kUnits, count = 1 + random() % (kUnits - first);
    const bool commits = random() % 2 == 0;
    if (commits) {
      ASSERT_TRUE(range.commit(first * DeviceRange::kUnit, count * DeviceRange::kUnit));
    } else {
      range.decommit(first * DeviceRange::kUnit, count * DeviceRange::kUnit);
    }
    for (uint64_t unit = first; unit < first + count; ++unit) committed[unit] = commits;
    uint64_t num_granules = 0;
    for (uint64_t g = 0; g < 3; ++g) {
      bool any = false;
      for (uint64_t unit = 0; unit < kUnits / 3; ++unit) any |= committed[g * kUnits / 3 + unit];
      num_granules += any;
    }
    ASSERT_EQ(fake_.num_handles, static_cast<int>(num_granules));
    ASSERT_EQ(range.mapped_bytes(), num_granules * kGranule);
  }
}

TEST_F(CudaDriverTest, PagesGoOutAndComeBack) {
  const auto backend = make_cuda_backend(fake_.open(), 0);
  const std::vector<KvLayerShape> layers = {{0, 2, 8, 8, DType::F16, DType::F16}};
  const PageLayout layout = backend->page_layout(layers, 16);
  const PageLayout canonical = canonical_layout(layout);
  const auto range = backend->reserve_pages(4 * layout.page_bytes);
  ASSERT_TRUE(range->commit(0, 4 * layout.page_bytes));
  std::vector<std::byte> bytes(canonical.page_bytes), out(canonical.page_bytes);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 + 1);
  std::byte* first = range->address();
  std::byte* second = first + layout.page_bytes;
  backend->import_page(layout, first, canonical, bytes, 16);
  backend->copy_page(second, first, layout.page_bytes);
  backend->zero_page(first, layout.page_bytes);
  backend->export_page(layout, second, canonical, out, 16);
  EXPECT_EQ(out, bytes);
  backend->read_page(first, out);
  EXPECT_EQ(out, std::vector<std::byte>(out.size()));
  EXPECT_FALSE(backend->info().pages_are_host_memory);
  EXPECT_ERROR(backend->page_layout(layers, 12), INVALID_ARGUMENT, "power of two");
}

// Everything that an engine asks of a backend, once.
void use_backend(FakeDriver& fake) {
  const auto backend = make_cuda_backend(fake.open(), 0);
  SyntheticConfig config;
  config.has_head_norms = config.has_post_norms = config.has_biases = true;
  config.softcap = 5;
  SyntheticModel model(*backend, config, 1, false);
  const auto executor = backend->make_executor(model.executor_shape(8, 2),
                                               {1, Precision::f32_activations});
  SyntheticRun run(model, *executor, 2);
  run.step({{0, 0, {1, 2, 3}}, {1, 0, {4}}});
  run.step({{0, 3, {5}}});
  const uint64_t page_bytes = model.layout().page_bytes;
  const auto pages = backend->reserve_pages(2 * page_bytes);
  if (!pages->commit(0, 2 * page_bytes)) return;
  backend->zero_page(pages->address(), page_bytes);
  backend->copy_page(pages->address() + page_bytes, pages->address(), page_bytes);
  std::vector<std::byte> bytes(page_bytes);
  backend->export_page(model.layout(), pages->address(), canonical_layout(model.layout()), bytes,
                       16);
  backend->import_page(model.layout(), pages->address(), canonical_layout(model.layout()), bytes,
                       7);
  pages->decommit(0, 2 * page_bytes);
}

#ifdef __SANITIZE_ADDRESS__
constexpr int64_t kStep = 7;  // each backend takes twenty times as long
#else
constexpr int64_t kStep = 1;
#endif

TEST(CudaDriverFaultTest, EveryCallMayFailInTurn) {
  int64_t num_calls = 0;
  {
    FakeDriver fake;
    use_backend(fake);
    num_calls = fake.num_calls;
    EXPECT_TRUE(fake.is_clean());
  }
  ASSERT_GT(num_calls, 100);
  std::map<Status, int> statuses;
  for (CUresult fault :
       {CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_LAUNCH_FAILED}) {
    for (int64_t at = 0; at < num_calls; at += kStep) {
      FakeDriver fake;
      fake.fail_at = at;
      fake.fault = fault;
      try {
        use_backend(fake);
      } catch (const Error& error) {
        ++statuses[error.status()];
        if (is_sticky(fault) && fake.failed_call != "cuDriverGetVersion") {
          EXPECT_EQ(error.status(), Status::DEVICE_LOST) << fake.failed_call << error.message();
        }
      }
      EXPECT_TRUE(fake.is_clean())
          << "call " << at << ", " << fake.failed_call << ", fault " << fault;
    }
  }
  EXPECT_GT(statuses[Status::OUT_OF_MEMORY], 0);
  EXPECT_GT(statuses[Status::INTERNAL], 0);
  EXPECT_GT(statuses[Status::DEVICE_LOST], num_calls / kStep / 2);
  std::printf("of %lld calls one in %lld failed in three ways\n", static_cast<long long>(num_calls),
              static_cast<long long>(kStep));
}

TEST(CudaDeviceListTest, WhereThereIsNoDriverTheReasonSaysSo) {
  std::string why;
  const std::vector<DeviceDescription> found = devices(&why);
  if (!found.empty()) GTEST_SKIP() << "this machine has a GPU: " << found[0].name;
  EXPECT_NE(why, "");
  EXPECT_TRUE(throws_error([] { make_cuda_backend(0); }, Status::UNSUPPORTED, "") ||
              throws_error([] { make_cuda_backend(0); }, Status::NOT_FOUND, ""));
}

}  // namespace
}  // namespace kvi::cuda
