// Keys of a build with KVINFER_KEY_BITS=8: what tests of colliding keys rest on.
#include <gtest/gtest.h>

#include <set>

#include <algorithm>
#include <cstring>
#include <random>

#include "cache/cache_manager.h"
#include "cache/prefix_key.h"
#include "support/seed.h"

namespace kvi {
namespace {

TEST(ShortKeyTest, KeysHaveTheirFirstBitsOnlyAndCollide) {
  std::set<Digest> keys;
  Digest key = enter_scope(root_digest({"m", "l", "n", ""}), scope_salt({}, "tenant"));
  for (TokenId token = 0; token < 4000; ++token) {
    key = page_key(key, std::span(&token, 1));
    for (size_t byte = 1; byte < key.size(); ++byte) ASSERT_EQ(key[byte], 0);
    keys.insert(key);
  }
  EXPECT_LE(keys.size(), 256u);
  EXPECT_GT(keys.size(), 10u);
}

TEST(ShortKeyTest, SaltsStayWhole) {
  EXPECT_NE(scope_salt({}, "tenant")[31] | scope_salt({}, "other")[31], 0);
}

TEST(ShortKeyTest, RootsStayWhole) {
  EXPECT_NE(root_digest({"m", "l", "n", ""})[31] | root_digest({"m", "k", "n", ""})[31], 0);
}

// The cache of one model and layout. Some of its tenants computed some of the prompts, which are the same for all;
// each page tells whose it is and which tokens it ends.
class SharedNothing {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr int kNumTenants = 48, kNumPages = 5;

  SharedNothing(const std::string& model, int page_len,
                std::span<const std::vector<TokenId>> prompts)
      : name_(model + std::to_string(page_len)), page_len_(page_len), prompts_(prompts) {
    PageLayout layout;
    layout.page_len = page_len;
    layout.page_bytes = kPageBytes;
    CacheOptions options;
    options.budget_bytes = kNumTenants * prompts.size() * (kNumPages + 1) * kPageBytes;
    options.identity = {
        .model = model, .layout = std::to_string(page_len), .numerics = "", .adapter = ""};
    cache_ = std::make_unique<CacheManager>(std::vector<LayerGroup>{{layout, 0}}, options,
                                            reserve_host_memory);
    for (int tenant = 0; tenant < kNumTenants; ++tenant) {
      const int scope = cache_->prefixes().scope_of_tenant(std::to_string(tenant));
      tenants_.push_back(cache_->make_sequence(scope));
      for (size_t prompt = 0; prompt < prompts.size(); ++prompt) {
        if (has_computed(tenant, prompt)) compute(tenant, start_of(prompt, kNumPages));
      }
    }
  }

  // Looks the prompt up; returns how many of the pages found are not what they are to be.
  int look_up(int tenant, size_t prompt) {
    const auto tokens = start_of(prompt, kNumPages);
    const PrefixMatch match = cache_->prefixes().match(
        tenants_[static_cast<size_t>(tenant)], tokens, static_cast<int>(tokens.size()), false);
    int expected = 0;
    for (size_t other = 0; other < prompts_.size(); ++other) {
      if (!has_computed(tenant, other)) continue;
      const auto theirs = start_of(other, kNumPages);
      const auto common = std::ranges::mismatch(tokens, theirs).in1 - tokens.begin();
      expected = std::max(expected, static_cast<int>(common) / page_len_);
    }
    EXPECT_EQ(match.num_pages, expected);
    num_found_ += match.num_pages;
    int num_wrong = 0;
    for (int page = 0; page < match.num_pages; ++page) {
      const PageId id = cache_->prefixes().tree().place(match.path[static_cast<size_t>(page)],
                                                        TierId::device, 0);
      num_wrong += std::memcmp(address(id), content(tenant, start_of(prompt, page + 1)).data(),
                               sizeof(Digest)) != 0;
    }
    return num_wrong;
  }
  int64_t num_found() const { return num_found_; }

 private:
  static bool has_computed(int tenant, size_t prompt) {
    return tenant % 2 == 0 && (static_cast<size_t>(tenant) / 2 + prompt) % 3 != 0;
  }
  std::span<const TokenId> start_of(size_t prompt, int num_pages) const {
    return std::span(prompts_[prompt]).first(static_cast<size_t>(num_pages * page_len_));
  }
  std::byte* address(PageId page) const {
    return cache_->pages(0) + static_cast<uint64_t>(page) * kPageBytes;
  }
  Digest content(int tenant, std::span<const TokenId> tokens) const {
    Sha256 sha;
    sha.update(std::as_bytes(std::span(name_)));
    sha.update(std::as_bytes(std::span(&tenant, 1)));
    sha.update(std::as_bytes(tokens));
    return sha.finish();
  }
  void compute(int tenant, std::span<const TokenId> tokens) {
    SequencePages pages = tenants_[static_cast<size_t>(tenant)];
    std::vector<PageCopy> copies;
    ASSERT_TRUE(cache_->reserve(pages, static_cast<int>(tokens.size()), copies));
    cache_->finish_copies(copies);  // zeroing, before all of it is written
    for (int page = 0; page < kNumPages; ++page) {
      const Digest written = content(tenant,
                                     tokens.first(static_cast<size_t>((page + 1) * page_len_)));
      std::memcpy(address(pages.tables[0][static_cast<size_t>(page)]), written.data(),
                  written.size());
    }
    cache_->commit(pages, static_cast<int>(tokens.size()), tokens);
    cache_->release(pages);
  }

  const std::string name_;
  const int page_len_;
  const std::span<const std::vector<TokenId>> prompts_;
  std::unique_ptr<CacheManager> cache_;
  std::vector<SequencePages> tenants_;  // empty ones
  int64_t num_found_ = 0;
};

TEST(ShortKeyTest, EqualTokensAcrossTenantsModelsAndLayoutsShareNothing) {
  constexpr int kNumLookups = 1'000'000, kNumPrompts = 24;
  std::mt19937_64 random(test_seed());
  std::vector<std::vector<TokenId>> prompts(kNumPrompts);
  for (std::vector<TokenId>& prompt : prompts) {
    prompt.resize(SharedNothing::kNumPages * 4);
    for (size_t i = 0; i < prompt.size(); ++i)  // few starts, so that many share one
      prompt[i] = i % 3 == 0 ? static_cast<TokenId>(random() % 2) : 0;
  }
  std::vector<std::unique_ptr<SharedNothing>> caches;
  for (const char* model : {"llama", "gemma", "qwen"}) {
    for (int page_len : {2, 3, 4})
      caches.push_back(std::make_unique<SharedNothing>(model, page_len, prompts));
  }
  int64_t num_wrong = 0, num_found = 0;
  for (int i = 0; i < kNumLookups && !testing::Test::HasFailure(); ++i) {
    num_wrong += caches[random() % caches.size()]->look_up(
        static_cast<int>(random() % SharedNothing::kNumTenants), random() % kNumPrompts);
  }
  for (const auto& cache : caches) num_found += cache->num_found();
  EXPECT_EQ(num_wrong, 0);
  EXPECT_GT(num_found, kNumLookups);
}

}  // namespace
}  // namespace kvi
