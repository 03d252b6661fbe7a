// Snapshots through the C ABI: into another process, through functions, from hostile files, onto disks that fail.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "support/seed.h"
#include "support/snapshot_process.h"
#include "support/snapshot_sample.h"

namespace kvi {
namespace {

std::string tiny(const std::string& name) {
  return std::string(KVINFER_TEST_DATA) + "/models/tiny/" + name;
}

std::vector<int32_t> random_tokens(size_t count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) token = static_cast<int32_t>(random() % 256);
  return tokens;
}

std::string content_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class SnapshotReloadTest : public testing::TestWithParam<const char*> {};

TEST_P(SnapshotReloadTest, ColdSavedAndReloadedInAnotherProcessGiveTheSameBits) {
  const uint64_t seed = test_seed();
  for (const size_t prompt_len : {5, 100}) {
    expect_reload_is_bitwise_equal(tiny(GetParam()), random_tokens(prompt_len, seed));
  }
}

INSTANTIATE_TEST_SUITE_P(Models, SnapshotReloadTest,
                         testing::Values("llama-q4_1.gguf", "llama-bf16.gguf", "gemma3-q4_k_m.gguf",
                                         "mistral", "qwen2-q8_0.gguf", "qwen3-f16.gguf",
                                         "gpt2-f32.gguf"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace_if(
                               name.begin(), name.end(), [](char c) { return !std::isalnum(c); },
                               '_');
                           return name;
                         });

class SnapshotCapiTest : public testing::Test {
 protected:
  void SetUp() override {
    session_ = session_with(engine_, random_tokens(60, test_seed()));
    EXPECT_EQ(continue_session(session_, 4).status, KVI_OK);
    tokens_ = tokens_of(session_);
  }
  void TearDown() override {
    if (session_ != nullptr) {
      EXPECT_EQ(continue_session(session_, 4).cached_tokens, tokens_.size() - 1);
      kvi_session_release(session_);
    }
    close_engine(engine_);
  }
  std::string saved() {
    EXPECT_EQ(kvi_session_save(session_, path_.data(), path_.size(), nullptr), KVI_OK);
    return content_of(path_);
  }
  struct Taken {
    kvi_status status = KVI_OK;
    kvi_snapshot_result result = {};
    std::vector<int32_t> tokens;
    Continuation next;
  };
  // Also inspects and verifies the file, and lets what was loaded go on.
  Taken load(const std::string& bytes) {
    const std::string path = folder_.write("hostile", bytes);
    Taken taken;
    kvi_snapshot_info info;
    kvi_snapshot_info_init(&info, sizeof info);
    const kvi_status inspected = kvi_snapshot_inspect(path.data(), path.size(), &info, nullptr);
    EXPECT_TRUE(inspected == KVI_OK || inspected == KVI_CORRUPT || inspected == KVI_UNSUPPORTED);
    kvi_snapshot_result_init(&taken.result, sizeof taken.result);
    EXPECT_EQ(kvi_snapshot_verify(path.data(), path.size(), &taken.result, nullptr), KVI_OK);
    EXPECT_LE(taken.result.num_kv_tokens, taken.result.num_tokens);
    EXPECT_LT(strnlen(taken.result.text, sizeof taken.result.text), sizeof taken.result.text);
    kvi_session* loaded = nullptr;
    taken.status = kvi_session_load(engine_, path.data(), path.size(), nullptr, &loaded,
                                    &taken.result, nullptr);
    EXPECT_TRUE(taken.status == KVI_OK || taken.status == KVI_CORRUPT ||
                taken.status == KVI_UNSUPPORTED)
        << kvi_status_name(taken.status);
    if (taken.status != KVI_OK) {
      EXPECT_EQ(loaded, nullptr);
      return taken;
    }
    taken.tokens = tokens_of(loaded);
    EXPECT_EQ(taken.tokens.size(), taken.result.num_tokens);
    if (!taken.tokens.empty()) taken.next = continue_session(loaded, 2);
    // K and V that somebody made up may give no logits: that ends the request, and nothing else.
    EXPECT_TRUE(taken.next.status == KVI_OK || taken.next.status == KVI_CORRUPT);
    kvi_session_release(loaded);
    return taken;
  }
  uint64_t used_bytes() const {
    kvi_stats stats;
    kvi_stats_init(&stats, sizeof stats);
    EXPECT_EQ(kvi_engine_get_stats(engine_, &stats, nullptr), KVI_OK);
    return stats.kv_used_bytes;
  }

  const TempFolder folder_;
  const std::string path_ = folder_.path("session.kvs");
  kvi_engine* engine_ = open_engine(tiny("llama-q4_1.gguf"));
  kvi_session* session_ = nullptr;
  std::vector<int32_t> tokens_;
};

TEST_F(SnapshotCapiTest, InspectAndVerifyNeedNoModel) {
  const std::string bytes = saved();
  kvi_snapshot_info info;
  kvi_snapshot_info_init(&info, sizeof info);
  ASSERT_EQ(kvi_snapshot_inspect(path_.data(), path_.size(), &info, nullptr), KVI_OK);
  EXPECT_EQ(info.version, 1u);
  EXPECT_EQ(info.num_tokens, tokens_.size());
  EXPECT_EQ(info.num_kv_tokens, tokens_.size() - 1);
  EXPECT_EQ(info.page_len, 16u);
  EXPECT_EQ(info.num_groups, 1u);
  EXPECT_EQ(info.num_pages, (tokens_.size() - 1 + 15) / 16);
  EXPECT_EQ(info.size_bytes, bytes.size());
  EXPECT_EQ(std::strlen(info.model_fingerprint), 64u);
  EXPECT_STREQ(info.numerics_id, "cpu-1/int8");
  EXPECT_STREQ(info.library_version, "0.1.0");
  kvi_snapshot_result result;
  kvi_snapshot_result_init(&result, sizeof result);
  ASSERT_EQ(kvi_snapshot_verify(path_.data(), path_.size(), &result, nullptr), KVI_OK);
  EXPECT_EQ(result.reason, KVI_SNAPSHOT_COMPLETE);
  EXPECT_EQ(result.num_tokens, tokens_.size());
  EXPECT_EQ(result.num_kv_tokens, tokens_.size() - 1);
  EXPECT_EQ(result.num_pages, info.num_pages);
}

TEST_F(SnapshotCapiTest, CutAndFlippedFilesGiveAPrefixAndTheReason) {
  const std::string bytes = saved();
  std::mt19937_64 random(test_seed());
  for (int i = 0; i < 200; ++i) {
    std::string damaged = bytes;
    const size_t at = random() % bytes.size();
    if (i % 2 == 0) {
      damaged.resize(at);
    } else {
      damaged[at] = static_cast<char>(damaged[at] ^ (1 << random() % 8));
    }
    SCOPED_TRACE((i % 2 == 0 ? "cut at " : "flipped at ") + std::to_string(at));
    const Taken taken = load(damaged);
    EXPECT_NE(taken.result.reason, KVI_SNAPSHOT_COMPLETE);
    EXPECT_GT(std::strlen(taken.result.text), 0u);
    EXPECT_EQ(taken.next.status, KVI_OK);
    ASSERT_LE(taken.tokens.size(), tokens_.size());
    EXPECT_TRUE(std::equal(taken.tokens.begin(), taken.tokens.end(), tokens_.begin()));
  }
  const Taken longer = load(bytes + "x");
  EXPECT_EQ(longer.tokens, tokens_);
}

// Each field of a header with checksums that hold takes absurd values; then nothing that follows can be trusted either.
TEST_F(SnapshotCapiTest, HostileHeadersAreAnsweredWithAStatus) {
  const std::string bytes = saved();
  SnapshotPreamble preamble;
  std::memcpy(&preamble, bytes.data(), sizeof preamble);
  const auto header_bytes = std::as_bytes(
      std::span(bytes).subspan(sizeof preamble, preamble.header_bytes));
  const std::string rest = bytes.substr(sizeof preamble + preamble.header_bytes + 16);
  int num_loaded = 0;
  for (size_t at = 0; at < header_bytes.size(); ++at) {
    for (const unsigned value : {0x00u, 0x7fu, 0xffu}) {
      std::vector<std::byte> changed(header_bytes.begin(), header_bytes.end());
      changed[at] = std::byte{static_cast<unsigned char>(value)};
      SCOPED_TRACE("byte " + std::to_string(at) + " is " + std::to_string(value));
      const Taken taken = load(sealed_header(changed, kSnapshotVersion) + rest);
      num_loaded += taken.status == KVI_OK;
      if (std::equal(changed.begin(), changed.end(), header_bytes.begin())) {
        EXPECT_EQ(taken.tokens, tokens_);
      } else {
        EXPECT_TRUE(taken.tokens.empty());  // the other parts belong to another header
      }
    }
  }
  EXPECT_GT(num_loaded, 0);
  for (const uint32_t version : {0u, 2u, UINT32_MAX}) {
    EXPECT_EQ(load(sealed_header(header_bytes, version) + rest).status,
              version > kSnapshotVersion ? KVI_UNSUPPORTED : KVI_CORRUPT);
  }
}

// Whole snapshots, with all checksums right, of sessions that cannot be.
TEST_F(SnapshotCapiTest, WellFormedLiesAreAnsweredWithAStatus) {
  const std::string bytes = saved();
  SnapshotPreamble preamble;
  std::memcpy(&preamble, bytes.data(), sizeof preamble);
  SnapshotReason reason;
  const std::optional<SnapshotHeader> header = decode_snapshot_header(
      std::as_bytes(std::span(bytes).subspan(sizeof preamble, preamble.header_bytes)), reason);
  ASSERT_TRUE(header);
  const auto with = [&](const auto& change) {
    SnapshotHeader changed = *header;
    change(changed);
    return load(make_snapshot(changed, 7).bytes);  // of random tokens and pages
  };
  const Taken random_kv = with([](auto&) {});
  EXPECT_EQ(random_kv.result.reason,
            KVI_SNAPSHOT_DAMAGED_TOKENS);  // some are outside the vocabulary
  EXPECT_EQ(with([](auto& h) { h.page_len = 1, h.groups = {}, h.kv_len = 0; }).result.reason,
            KVI_SNAPSHOT_OTHER_LAYOUT);
  EXPECT_EQ(with([](auto& h) { h.numerics_id = "cpu-1/int8 "; }).result.reason,
            KVI_SNAPSHOT_OTHER_NUMERICS);
  EXPECT_EQ(with([](auto& h) { h.groups[0].window = 16; }).result.reason,
            KVI_SNAPSHOT_OTHER_LAYOUT);
  EXPECT_EQ(with([](auto& h) { h.groups.push_back(h.groups[0]); }).result.reason,
            KVI_SNAPSHOT_OTHER_LAYOUT);
  EXPECT_EQ(with([](auto& h) { h.model_fingerprint += "0"; }).status, KVI_UNSUPPORTED);
  EXPECT_EQ(with([](auto& h) { h.num_tokens = 100'000, h.kv_len = 0; }).status, KVI_OK);
  // The longest that a header may claim, with nothing behind it.
  SnapshotHeader claims = *header;
  claims.num_tokens = INT32_MAX;
  claims.kv_len = INT32_MAX;
  const Taken taken = load(sealed_header(encode_snapshot_header(claims), kSnapshotVersion));
  EXPECT_EQ(taken.result.reason, KVI_SNAPSHOT_TRUNCATED);
  // Text that would garble a terminal comes out escaped.
  SnapshotHeader garbled = *header;
  garbled.model_name = "\x1b[2J\xff" + std::string(4000, 'n');
  const std::string file = folder_.write("garbled", make_snapshot(garbled, 1).bytes);
  kvi_snapshot_info info;
  kvi_snapshot_info_init(&info, sizeof info);
  ASSERT_EQ(kvi_snapshot_inspect(file.data(), file.size(), &info, nullptr), KVI_OK);
  EXPECT_EQ(std::string(info.model_name).substr(0, 12), "\\x1b[2J\\xffn");
  EXPECT_EQ(std::strlen(info.model_name), sizeof info.model_name - 1);
}

struct Script {
  std::string bytes = {};
  size_t offset = 0;
  int num_calls = 0, answer_at = -1;
  int32_t answer = KVI_CONTINUE;
  kvi_session* to_release = nullptr;
};

int32_t write_script(void* user, const void* bytes, size_t size) {
  Script& script = *static_cast<Script*>(user);
  if (script.num_calls++ == script.answer_at) return script.answer;
  kvi_session_release(std::exchange(script.to_release, nullptr));
  script.bytes.append(static_cast<const char*>(bytes), size);
  return KVI_CONTINUE;
}

int32_t read_script(void* user, void* buffer, size_t capacity, size_t* size) {
  Script& script = *static_cast<Script*>(user);
  EXPECT_EQ(*size, 0u);
  EXPECT_GT(capacity, 0u);
  if (script.num_calls++ == script.answer_at) return script.answer;
  *size = std::min<size_t>({capacity, script.bytes.size() - script.offset, 1000});
  std::memcpy(buffer, script.bytes.data() + script.offset, *size);
  script.offset += *size;
  return KVI_CONTINUE;
}

TEST_F(SnapshotCapiTest, FunctionsThatFailEndTheCallAndNothingHalfMadeStays) {
  const std::string bytes = saved();
  Script whole;
  ASSERT_EQ(kvi_session_save_to(session_, write_script, &whole, nullptr), KVI_OK);
  EXPECT_EQ(whole.bytes, bytes);
  const uint64_t used = used_bytes();
  for (const auto& [answer, status] : {std::pair<int32_t, kvi_status>{KVI_CANCEL, KVI_CANCELLED},
                                       {KVI_STOP, KVI_IO},
                                       {-1, KVI_IO},
                                       {INT32_MAX, KVI_IO}}) {
    for (int at = 0; at < whole.num_calls; ++at) {
      Script script{.answer_at = at, .answer = answer};
      EXPECT_EQ(kvi_session_save_to(session_, write_script, &script, nullptr), status);
      EXPECT_EQ(used_bytes(), used);
    }
    Script counted{.bytes = bytes};
    kvi_session* loaded = nullptr;
    ASSERT_EQ(
        kvi_session_load_from(engine_, read_script, &counted, nullptr, &loaded, nullptr, nullptr),
        KVI_OK);
    EXPECT_EQ(tokens_of(loaded), tokens_);
    kvi_session_release(std::exchange(loaded, nullptr));
    for (int at = 0; at < counted.num_calls; ++at) {
      Script script{.bytes = bytes, .answer_at = at, .answer = answer};
      EXPECT_EQ(
          kvi_session_load_from(engine_, read_script, &script, nullptr, &loaded, nullptr, nullptr),
          status);
      EXPECT_EQ(loaded, nullptr);
      EXPECT_EQ(used_bytes(), used);
    }
  }
}

TEST_F(SnapshotCapiTest, AFunctionMayReleaseTheSessionThatIsBeingSaved) {
  const std::string bytes = saved();
  Script script{.to_release = session_};
  EXPECT_EQ(kvi_session_save_to(session_, write_script, &script, nullptr), KVI_OK);
  EXPECT_EQ(script.bytes, bytes);
  session_ = nullptr;
  EXPECT_EQ(used_bytes(), 0u);
}

// A limit on the size of files stands for a full disk.
TEST_F(SnapshotCapiTest, AFullDiskIsIoWithPathAndBytesAndTheOldFileStays) {
  const std::string old = saved();
  EXPECT_EQ(continue_session(session_, 2).status, KVI_OK);
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {1000, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  kvi_error* error = nullptr;
  EXPECT_EQ(kvi_session_save(session_, path_.data(), path_.size(), &error), KVI_IO);
  setrlimit(RLIMIT_FSIZE, &before);
  const std::string message = kvi_error_message(error);
  kvi_error_release(error);
  EXPECT_NE(message.find("bytes to '" + path_ + "' after "), std::string::npos) << message;
  EXPECT_EQ(content_of(path_), old);
  size_t num_files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder_.path())) {
    ++num_files;
  }
  EXPECT_EQ(num_files, 1u);
  session_ = (kvi_session_release(session_), nullptr);
}

TEST_F(SnapshotCapiTest, NothingIsWrittenWhereNothingCanBe) {
  kvi_error* error = nullptr;
  const std::string read_only = "/proc/kvinfer-session.kvs";
  const kvi_status status = kvi_session_save(session_, read_only.data(), read_only.size(), &error);
  EXPECT_TRUE(status == KVI_IO || status == KVI_NOT_FOUND) << kvi_status_name(status);
  EXPECT_NE(std::string(kvi_error_message(error)).find(read_only), std::string::npos);
  kvi_error_release(error);
}

}  // namespace
}  // namespace kvi
